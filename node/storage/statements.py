"""Two statements that every module of rows needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def columns_of(value: object, names: Iterable[str]) -> dict[str, Any]:
    """Return the named attributes of a value or row, as keywords of another."""
    return {name: getattr(value, name) for name in names}


def insert_if_absent(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row unless one with the same key is there.

    Another process may insert the same row between our look and this statement.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())
