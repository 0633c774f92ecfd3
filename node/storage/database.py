"""One way to the rows: every write transaction starts with BEGIN IMMEDIATE (E1)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from node.errors import SchemaMismatch, StorageUnavailable
from node.storage.statements import refuses_writes
from node.toml_file import masked

#: The Alembic revision that this program reads and writes; one more with each migration.
SCHEMA_REVISION = "0005"

_BUSY_TIMEOUT_MS = 10_000


class Database:
    """Connections to the rows of one node.

    Parameters
    ----------
    url : str
        SQLAlchemy address; ``sqlite:////path/node.db`` or ``postgresql+psycopg://…``.
    """

    def __init__(self, url: str):
        self.url = url
        self._engine = _make_engine(url)

    @property
    def engine(self) -> Engine:
        """Return the engine, for migrations only."""
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        """Return whether rows live in the embedded default."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction; commit at the end, roll back on any error.

        Raises
        ------
        StorageUnavailable
            If the database is locked, full, gone or read-only (A700).
        """
        try:
            with (
                self._engine.connect().execution_options(node_write=True) as connection,
                connection.begin(),
            ):
                yield connection
        except (OperationalError, sqlite3.OperationalError) as error:
            raise StorageUnavailable(f"database: {_reason(error)}") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read transaction, rolled back at the end."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (OperationalError, sqlite3.OperationalError) as error:
            raise StorageUnavailable(f"database: {_reason(error)}") from error

    def check_schema(self) -> None:
        """Raise `SchemaMismatch` unless the rows have exactly our schema (E3)."""
        found = schema_revision(self)
        if found != SCHEMA_REVISION:
            raise SchemaMismatch(
                f"the database has schema {found or 'none'}, this program needs "
                f"{SCHEMA_REVISION}; stop the node and run `sentinel-node upgrade`"
            )

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()


def schema_revision(database: Database) -> str:
    """Return the schema's revision as Alembic wrote it, "" if there is none."""
    try:
        with database.engine.connect() as connection:
            row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    except DBAPIError:  # no such table, or no database yet
        return ""
    return str(row[0]) if row else ""


def _reason(error: BaseException) -> str:
    """Return the driver's words without the statement, whose values could name a patient."""
    return masked(str(getattr(error, "orig", error)))


def _make_engine(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        _ReadOnlyConnections(engine)
    return engine


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    # pysqlite must not begin transactions by itself: see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # S12: committed means on the disk
        cursor.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error:
        connection.close()  # the pool does not know it yet
        raise
    finally:
        cursor.close()


class _ReadOnlyConnections:
    """Keep no connection that was opened while the file system was read-only.

    SQLite then opens the file for reading, and stays so: kept, such a connection would refuse
    every write long after the file system is well again. What SQLite knows of the file is shared
    by all connections of a process, and new ones take it over, so the first write that fails
    drops all: those at rest at once, one in use by another thread when it is given back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._generation = 0
        event.listen(engine, "connect", self._opened)
        event.listen(engine, "handle_error", self._failed)
        event.listen(engine, "invalidate", self._given_up)
        event.listen(engine, "checkin", self._given_back)

    def _opened(self, _connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["generation"] = self._generation

    def _failed(self, context: ExceptionContext) -> None:
        if refuses_writes(context.original_exception):
            context.is_disconnect = True
            if context.execution_context is not None:
                # As long as somebody holds the error, its frames hold the cursor, and SQLite
                # closes no connection that a statement is open on.
                context.execution_context.cursor.close()

    def _given_up(
        self, _connection: Any, _record: ConnectionPoolEntry, error: BaseException | None
    ) -> None:
        if refuses_writes(error):
            self._generation += 1
            self._engine.dispose()

    def _given_back(self, connection: Any, record: ConnectionPoolEntry) -> None:
        if connection is not None and record.info.get("generation") != self._generation:
            record.invalidate()


def _begin_sqlite(connection: Connection) -> None:
    # E1: a deferred transaction that reads and then writes loses updates of other processes.
    write = connection.get_execution_options().get("node_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def process_token() -> str:
    """Return a name for this process as owner of leases, unlike any other's."""
    return f"{os.uname().nodename}:{os.getpid()}:{os.urandom(4).hex()}"
