"""Statements that every module of rows needs, and a quick way to run one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from node.errors import StorageUnavailable


def columns_of(value: object, names: Iterable[str]) -> dict[str, Any]:
    """Return the named attributes of a value or row, as keywords of another."""
    return {name: getattr(value, name) for name in names}


def insert_if_absent(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row unless one with the same key is there.

    Another process may insert the same row between our look and this statement.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())


def refuses_writes(error: BaseException | None) -> bool:
    """Return whether SQLite has a file, or the connection to it, open for reading only."""
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY")


class Prepared:
    """A statement of plain columns that runs for every instance.

    On SQLite it is compiled once and run by the driver: SQLAlchemy's way to it takes ten times
    as long as the statement.

    Parameters
    ----------
    statement : Executable
        With named parameters.
    """

    def __init__(self, statement: Executable):
        self._statement = statement
        self._sql = ""
        if isinstance(statement, ClauseElement):
            dialect = sqlite.dialect(paramstyle="named")
            self._sql = str(statement.compile(dialect=dialect))

    def rows(self, connection: Connection, **values: Any) -> Sequence[Any]:
        """Run a query; return all of its rows, as tuples.

        Raises
        ------
        StorageUnavailable
            If the database does not do it.
        """
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, values).all()
        rows: Sequence[Any] = self._run(connection, values).fetchall()
        return rows

    def run(self, connection: Connection, **values: Any) -> None:
        """Run a change.

        Raises
        ------
        StorageUnavailable
            If the database does not do it.
        """
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, values)
        else:
            self._run(connection, values)

    def _run(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._sql, values)
        except sqlite3.Error as error:
            cursor.close()
            if refuses_writes(error):
                connection.invalidate(error)
            raise StorageUnavailable(f"database: {error}") from error
        return cursor
