"""What `reindex` asks of the rows, and how it adds to them; it never removes any."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import func, select, update

from node.model import InstanceState, StudyState
from node.storage.completion_rows import HELD_BY_REINDEX
from node.storage.database import Database
from node.storage.intake_rows import NewInstance, Recorded, note_own_uids, record_instance_in
from node.storage.tables import instance, quarantine, study


def known_paths(db: Database) -> frozenset[str]:
    """Return the paths of all rows that have a file: instances and quarantine."""
    kept = select(instance.c.path).where(instance.c.state != InstanceState.DUPLICATE.value)
    with db.read() as connection:
        paths = set(connection.execute(kept).scalars())
        return frozenset(paths | set(connection.execute(select(quarantine.c.path)).scalars()))


def dropped_paths(db: Database) -> tuple[str, ...]:
    """Return the paths of versions whose file is not kept (S2), and that no other row needs."""
    dropped = instance.c.state == InstanceState.DUPLICATE.value
    needed = select(instance.c.path).where(~dropped)
    query = select(instance.c.path).where(dropped, instance.c.path.not_in(needed))
    with db.read() as connection:
        return tuple(connection.execute(query).scalars())


def known_studies(db: Database) -> frozenset[str]:
    """Return the UIDs of all studies that have a row."""
    with db.read() as connection:
        return frozenset(connection.execute(select(study.c.study_instance_uid)).scalars())


def latest_arrival(db: Database) -> float:
    """Return when the newest instance arrived, 0.0 if there is none."""
    with db.read() as connection:
        return float(connection.execute(select(func.max(instance.c.received_at))).scalar() or 0.0)


def adopt_instances(db: Database, instances: Sequence[NewInstance]) -> int:
    """Record durable files in one transaction; return how many had no row."""
    with db.write() as connection:
        recorded = [record_instance_in(connection, new) for new in instances]
    return sum(1 for each in recorded if each is not Recorded.SAME)


def note_own(db: Database, sop_instance_uids: Sequence[str], now: float) -> None:
    """Remember SOP UIDs that we made (S17)."""
    with db.write() as connection:
        note_own_uids(connection, sop_instance_uids, now)


def hold_new_studies(db: Database, study_instance_uids: Collection[str], *, now: float) -> int:
    """Let studies that just came back wait for a person, their first revision complete."""
    held = 0
    with db.write() as connection:
        for uid in study_instance_uids:
            statement = update(study).where(
                study.c.study_instance_uid == uid,
                study.c.state == StudyState.RECEIVING.value,
            )
            held += connection.execute(
                statement.values(
                    state=StudyState.HELD.value,
                    revision=1,
                    completed_at=now,
                    completed_reason=HELD_BY_REINDEX,
                )
            ).rowcount
    return held
