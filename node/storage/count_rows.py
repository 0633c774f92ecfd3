"""How many rows there are, for listings that show only some, and studies by a part of a UID."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from node.storage.database import Database
from node.storage.tables import delivery, job, quarantine, study

_TABLES = {"studies": study, "jobs": job, "deliveries": delivery, "quarantine": quarantine}


def count_rows(db: Database, listing: str, states: Sequence[str] = ()) -> int:
    """Return how many rows a listing has in all, of all states or only some."""
    table = _TABLES[listing]
    query = select(func.count()).select_from(table)
    if states:
        query = query.where(table.c.state.in_(list(states)))
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def studies_starting(db: Database, prefix: str, *, limit: int = 10) -> tuple[str, ...]:
    """Return Study Instance UIDs that start with `prefix`: itself alone, if it is one."""
    uid = study.c.study_instance_uid
    query = select(uid).where(uid.startswith(prefix, autoescape=True)).order_by(uid).limit(limit)
    with db.read() as connection:
        if connection.execute(select(uid).where(uid == prefix)).first():
            return (prefix,)
        return tuple(str(row[0]) for row in connection.execute(query))


def refused_jobs(db: Database, plugin: str, code: str) -> tuple[str, ...]:
    """Return the ids of a plugin's jobs that were refused with this code, the oldest first."""
    query = (
        select(job.c.id)
        .where(job.c.plugin == plugin, job.c.state == "REFUSED", job.c.reason_code == code)
        .order_by(job.c.created_at)
    )
    with db.read() as connection:
        return tuple(str(row[0]) for row in connection.execute(query))
