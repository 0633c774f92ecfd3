"""Alembic revisions of the rows, carried by the wheel (E3); run by `node.storage.migrate`."""
