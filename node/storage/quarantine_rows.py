"""Rows of what is kept and acknowledged, but must not be processed (S11)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from node.storage.database import Database
from node.storage.statements import columns_of, insert_if_absent
from node.storage.tables import quarantine


@dataclass(frozen=True, kw_only=True)
class NewQuarantine:
    """A durable file that is acknowledged but must not be processed."""

    received_at: float
    code: str
    sentence: str
    path: str
    sha256: str
    size_bytes: int
    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    calling_ae: str
    called_ae: str


def record_quarantine(db: Database, new: NewQuarantine) -> None:
    """Add an object to the quarantine; the same bytes twice are one row."""
    names = tuple(NewQuarantine.__dataclass_fields__)
    with db.write() as connection:
        insert_if_absent(connection, quarantine, columns_of(new, names))


def list_quarantine(db: Database, *, limit: int = 100) -> tuple[NewQuarantine, ...]:
    """Return what lies in quarantine, the latest first."""
    names = tuple(NewQuarantine.__dataclass_fields__)
    query = select(quarantine).order_by(quarantine.c.id.desc()).limit(limit)
    with db.read() as connection:
        return tuple(NewQuarantine(**columns_of(row, names)) for row in connection.execute(query))
