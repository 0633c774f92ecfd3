"""Which rows of evidence are notes about a run, told by their role."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, or_

from node.model import NOT_RUN, REJECTION, WITHDRAWN
from node.storage.tables import evidence


def takes_back(table: FromClause = evidence) -> ColumnElement[bool]:
    """Return the condition that an object withdraws others (S8)."""
    role: Any = table.c.role
    return or_(role.startswith(WITHDRAWN), role.startswith(REJECTION))


def is_not_run(table: FromClause = evidence) -> ColumnElement[bool]:
    """Return the condition that an object says that a job did not run (S7)."""
    role: Any = table.c.role
    found: ColumnElement[bool] = role.startswith(NOT_RUN)
    return found
