"""Bring the rows to this program's schema, after a backup (E3). No role does this by itself."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from node.errors import SchemaMismatch
from node.storage.database import SCHEMA_REVISION, Database, schema_revision

_FOLDER = Path(__file__).parent / "migrations"


def migrate(database_url: str, backup_dir: Path, *, backed_up: bool = False) -> tuple[str, str]:
    """Create or upgrade the tables to `SCHEMA_REVISION`; nothing happens if they are there.

    Parameters
    ----------
    database_url : str
        SQLAlchemy address of the rows.
    backup_dir : Path
        Where the copy of an SQLite database goes before anything is changed.
    backed_up : bool
        The administrator has saved a PostgreSQL database by `pg_dump`, which we do not run.

    Returns
    -------
    (old, new) : str
        Revisions before and after; "" = there were no tables.

    Raises
    ------
    SchemaMismatch
        If the rows are newer than this program, or a PostgreSQL database is not backed up.
    """
    database = Database(database_url)
    try:
        old = schema_revision(database)
        if old == SCHEMA_REVISION:
            return old, old
        _check_known(old)
        if old:
            _back_up(database, backup_dir, old, backed_up=backed_up)
        with database.write() as connection:
            _upgrade(connection)
        return old, schema_revision(database)
    finally:
        database.close()


def _check_known(old: str) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if old and old not in known:
        raise SchemaMismatch(
            f"the database has schema {old}, this program knows up to {SCHEMA_REVISION}; "
            "install the newer program again, or go back to the backup"
        )


def _back_up(database: Database, backup_dir: Path, old: str, *, backed_up: bool) -> None:
    if database.is_sqlite:
        back_up_sqlite(database.url, backup_dir, old)
    elif not backed_up:
        raise SchemaMismatch(
            f"the database has schema {old}, this program needs {SCHEMA_REVISION}; save it with "
            "`pg_dump --format=custom`, then run `sentinel-node upgrade --backed-up`"
        )


def back_up_sqlite(database_url: str, backup_dir: Path, schema: str) -> Path:
    """Copy a live SQLite database by its online backup, check the copy, and return its path."""
    source = make_url(database_url).database
    backup_dir.mkdir(parents=True, exist_ok=True)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = backup_dir / f"node-schema-{schema}-{moment}-{os.urandom(3).hex()}.db"
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # S28
    with closing(sqlite3.connect(str(source))) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        sound = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if sound != "ok":
        raise SchemaMismatch(f"the backup of schema {schema} is damaged; nothing was changed")
    return target


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_FOLDER))


def _upgrade(connection: Connection) -> None:
    """Run all missing revisions inside the transaction of `connection`."""
    scripts = _scripts()

    def steps(revision: str | tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
        return list(scripts._upgrade_revs(SCHEMA_REVISION, revision))  # type: ignore[arg-type]

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, fn=steps)
        with environment.begin_transaction():
            environment.run_migrations()
