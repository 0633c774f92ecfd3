"""Rows that completion and version decisions read and change; every change is compare-and-swap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from node.model import (
    LEGAL_STUDY_CHANGES,
    InstanceState,
    Origin,
    StudyState,
    check_change,
)
from node.storage.database import Database
from node.storage.tables import instance, series, study

#: Why `reindex` held a study: not even a version that is settled opens it, only a person
#: or new images do.
HELD_BY_REINDEX = "rows were made again from files; results exist, whether they arrived is unknown"

#: How the reason of a study begins that waits for a person because images are missing.
INCOMPLETE = "incomplete: "


@dataclass(frozen=True, kw_only=True)
class ReceivingStudy:
    """A study that may be complete, with what its query peer last counted (S13)."""

    id: int
    study_instance_uid: str
    last_received_at: float
    calling_ae: str
    called_ae: str
    peer: str
    #: Instances by image series at the query peer; None: not asked, or it did not answer.
    archive_counts: Mapping[str, int] | None
    archive_counted_at: float | None
    #: The first of the queries in a row whose counts were the same and equal to ours.
    archive_equal_since: float | None
    #: When the images changed last.
    last_image_at: float = 0.0
    #: When and why the study was complete before; None and "": it never was.
    completed_at: float | None = None
    completed_reason: str = ""

    @property
    def has_only_new_contours(self) -> bool:
        """Return whether it was complete, and nothing but contours re-opened it.

        An image that was being recorded while the study was closed is the last thing that
        came, whatever its time says.
        """
        return (
            self.completed_at is not None
            and not self.completed_reason.startswith(INCOMPLETE)
            and self.last_image_at <= self.completed_at
            and self.last_image_at < self.last_received_at
        )


def receiving_studies(db: Database) -> tuple[ReceivingStudy, ...]:
    """Return the studies that are RECEIVING, the longest quiet first."""
    columns = [study.c[name] for name in ReceivingStudy.__dataclass_fields__]
    query = select(*columns).where(study.c.state == StudyState.RECEIVING.value)
    with db.read() as connection:
        rows = connection.execute(query.order_by(study.c.last_received_at, study.c.id))
        return tuple(ReceivingStudy(**row._mapping) for row in rows)


def counts_by_series(
    db: Database, study_id: int, not_images: frozenset[str]
) -> Mapping[str, tuple[str, int]]:
    """Return (modality, instances) by series of a study: what peers routed to us, no versions.

    Series of a modality in `not_images`, our own objects and retrieved ones do not count.
    """
    query = (
        select(
            series.c.series_instance_uid,
            series.c.modality,
            func.count(func.distinct(instance.c.sop_instance_uid)),
        )
        .join(instance, instance.c.series_id == series.c.id)
        .where(
            instance.c.study_id == study_id,
            instance.c.origin == Origin.ROUTED.value,
            series.c.modality.not_in(not_images),
        )
        .group_by(series.c.series_instance_uid, series.c.modality)
    )
    with db.read() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def keep_counts(
    db: Database,
    study_id: int,
    *,
    counts: Mapping[str, int] | None,
    counted_at: float,
    equal_since: float | None,
) -> None:
    """Remember what the query peer counted."""
    values = {
        "archive_counts": None if counts is None else dict(counts),
        "archive_counted_at": counted_at,
        "archive_equal_since": equal_since,
    }
    with db.write() as connection:
        connection.execute(update(study).where(study.c.id == study_id).values(**values))


def complete_study(
    db: Database, receiving: ReceivingStudy, *, now: float, reason: str, hold: bool
) -> bool:
    """Close a study, unless something arrived since `receiving` was read; return whether.

    Only an image set that changed brings a study to RECEIVING (S14), so that each completion
    is a new revision. With `hold` it waits for a person instead of the rules.
    """
    check_change(LEGAL_STUDY_CHANGES, StudyState.RECEIVING, StudyState.COMPLETE)
    state = StudyState.COMPLETE
    if hold:
        check_change(LEGAL_STUDY_CHANGES, state, StudyState.HELD)
        state = StudyState.HELD
    statement = (
        update(study)
        .where(
            study.c.id == receiving.id,
            study.c.state == StudyState.RECEIVING.value,
            study.c.last_received_at == receiving.last_received_at,
        )
        .values(
            state=state.value,
            revision=study.c.revision + 1,
            completed_at=now,
            completed_reason=reason,
        )
    )
    with db.write() as connection:
        return connection.execute(statement).rowcount == 1


def restart_quiet_time(db: Database, receiving: ReceivingStudy, *, now: float) -> None:
    """Count the quiet time from `now`, unless something arrived since `receiving` was read."""
    statement = (
        update(study)
        .where(
            study.c.id == receiving.id,
            study.c.last_received_at == receiving.last_received_at,
        )
        .values(last_received_at=now)
    )
    with db.write() as connection:
        connection.execute(statement)


def release_held(db: Database, study_instance_uid: str, *, reason: str) -> bool:
    """Give a HELD study to the rules, with the revision it has; return whether it was HELD."""
    check_change(LEGAL_STUDY_CHANGES, StudyState.HELD, StudyState.COMPLETE)
    statement = (
        update(study)
        .where(
            study.c.study_instance_uid == study_instance_uid,
            study.c.state == StudyState.HELD.value,
        )
        .values(
            state=StudyState.COMPLETE.value,
            completed_reason=study.c.completed_reason + f"; {reason}",
        )
    )
    with db.write() as connection:
        return connection.execute(statement).rowcount == 1


def settle_versions(
    db: Database,
    old: Mapping[int, InstanceState],
    new: Mapping[int, InstanceState],
    *,
    reopen_study_uid: str = "",
    now: float,
) -> bool:
    """Change the states of all versions of one instance, if all still are as in `old`.

    Parameters
    ----------
    old, new : mapping of row id to state
        What the caller saw, and what is true now.
    reopen_study_uid : str
        A study whose images count as changed by this; "" = none.
    """
    with db.write() as connection:
        found = connection.execute(
            select(instance.c.id, instance.c.state).where(instance.c.id.in_(old))
        )
        if {row.id: InstanceState(row.state) for row in found} != dict(old):
            return False
        for row_id, state in new.items():
            statement = update(instance).where(instance.c.id == row_id)
            connection.execute(statement.values(state=state.value))
        if reopen_study_uid:
            reopen_study(connection, reopen_study_uid, now)
    return True


def reopen_study(connection: Connection, study_instance_uid: str, now: float) -> None:
    """Send a study back to RECEIVING because one of its images counts as changed (S2, S14).

    The quiet time is not started again: nothing is under way. A study that `reindex` held
    stays so: its work may have been done and delivered.
    """
    row = connection.execute(
        select(study.c.id, study.c.state, study.c.completed_reason).where(
            study.c.study_instance_uid == study_instance_uid
        )
    ).one()
    values: dict[str, Any] = {"last_image_at": now}
    state = StudyState(row.state)
    held = state is StudyState.HELD and row.completed_reason == HELD_BY_REINDEX
    if state is not StudyState.RECEIVING and not held:
        check_change(LEGAL_STUDY_CHANGES, state, StudyState.RECEIVING)
        values["state"] = StudyState.RECEIVING.value
    connection.execute(update(study).where(study.c.id == row.id).values(**values))
