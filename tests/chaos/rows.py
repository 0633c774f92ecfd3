"""What the rows of a node say, read beside it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One look at all tables that matter."""

    study: tuple[Row, ...]
    instance: tuple[Row, ...]
    decision: tuple[Row, ...]
    job: tuple[Row, ...]
    evidence: tuple[Row, ...]
    delivery: tuple[Row, ...]
    withdrawal: tuple[Row, ...]
    leader: tuple[Row, ...]
    association: tuple[Row, ...]


def read_rows(data: Path) -> Rows:
    """Read all tables in one transaction."""
    with closing(_open(data)) as rows:
        rows.execute("BEGIN")
        names = Rows.__dataclass_fields__
        found = {name: tuple(map(dict, rows.execute(f"SELECT * FROM {name}"))) for name in names}
    for job in found["job"]:
        job["uids"] = frozenset(
            uid for chosen in json.loads(job["inputs"]) for uid in chosen["sop_instance_uids"]
        )
    return Rows(**found)


def integrity(data: Path) -> str:
    """Return what SQLite says about its own file: "ok"."""
    with closing(_open(data)) as rows:
        return str(rows.execute("PRAGMA integrity_check").fetchone()[0])


def _open(data: Path) -> sqlite3.Connection:
    rows = sqlite3.connect(data / "node.db", timeout=10, isolation_level=None)
    rows.row_factory = sqlite3.Row
    return rows
