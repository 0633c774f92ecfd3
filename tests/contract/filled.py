"""One row in every table, and its dump: `python -m tests.contract.filled > dumps/0001.sql`.

Run it before a step changes the tables: the dump is the schema before that step (E3).
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from sqlalchemy import Boolean, Float, Integer, Table, insert

from node.storage.database import Database
from node.storage.migrate import migrate
from node.storage.tables import metadata


def fill(database: Database) -> None:
    """Insert one row into every table, parents first; every reference is to row 1."""
    with database.write() as connection:
        for table in metadata.sorted_tables:
            connection.execute(insert(table).values(**_row(table)))


def _row(table: Table) -> dict[str, object]:
    row: dict[str, object] = {}
    for column in table.columns:
        if column.foreign_keys or (column.primary_key and isinstance(column.type, Integer)):
            target = next(iter(column.foreign_keys)).column.type if column.foreign_keys else None
            row[column.name] = 1 if target is None or isinstance(target, Integer) else "x"
        elif isinstance(column.type, Boolean):
            row[column.name] = True
        elif isinstance(column.type, Integer):
            row[column.name] = 7
        elif isinstance(column.type, Float):
            row[column.name] = 1.5
        else:
            row[column.name] = "x"
    return row


def dump() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.db"
        url = f"sqlite:///{path}"
        migrate(url, Path(folder))
        database = Database(url)
        fill(database)
        database.close()
        with closing(sqlite3.connect(path)) as connection:
            return "\n".join(connection.iterdump()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(dump())
