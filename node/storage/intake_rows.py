"""Rows of what came in: studies, series, instances, quarantine; who is connected beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from node.model import (
    LEGAL_STUDY_CHANGES,
    Instance,
    InstanceState,
    Origin,
    Study,
    StudyState,
    check_change,
)
from node.storage.arrival_rows import (
    INSTANCE_COLUMNS,
    NewInstance,
    Recorded,
    may_reopen,
    record_instance,
    record_instance_in,
    record_instances,
)
from node.storage.database import Database
from node.storage.presence_rows import (
    OpenAssociation,
    acquire_leadership,
    clear_receiver,
    close_association,
    open_association,
    open_associations,
    resign_leadership,
)
from node.storage.quarantine_rows import NewQuarantine, list_quarantine, record_quarantine
from node.storage.statements import columns_of, insert_if_absent
from node.storage.tables import instance, own_uid, series, study

__all__ = [
    "NewInstance",
    "NewQuarantine",
    "OpenAssociation",
    "Recorded",
    "acquire_leadership",
    "change_instances",
    "change_study",
    "clear_receiver",
    "close_association",
    "conflicting_instances",
    "find_version",
    "get_study",
    "instances_of_study",
    "list_quarantine",
    "list_studies",
    "may_reopen",
    "note_own_uids",
    "open_association",
    "open_associations",
    "record_instance",
    "record_instance_in",
    "record_instances",
    "record_quarantine",
    "resign_leadership",
    "studies_in_state",
    "studies_of",
    "unresolved_instances",
    "versions_of",
]


# --- instances -------------------------------------------------------------------------------


def find_version(db: Database, sop_instance_uid: str, content_sha256: str) -> Instance | None:
    """Return the row of these very bytes, None if they were not here."""
    with db.read() as connection:
        row = connection.execute(
            _VERSION, {"sop": sop_instance_uid, "sha256": content_sha256}
        ).first()
    return None if row is None else _to_instance(row)


_INSTANCES: Final = (
    select(instance, study.c.study_instance_uid, series.c.series_instance_uid, series.c.modality)
    .join(study, instance.c.study_id == study.c.id)
    .join(series, instance.c.series_id == series.c.id)
)
_VERSION: Final = _INSTANCES.where(
    instance.c.sop_instance_uid == bindparam("sop"),
    instance.c.content_sha256 == bindparam("sha256"),
)


#: Most UIDs in one question: databases limit the parameters of a statement.
_AT_ONCE: Final = 500
_STUDY_OF_IMAGE: Final = (
    select(instance.c.sop_instance_uid, study.c.study_instance_uid)
    .join(study, instance.c.study_id == study.c.id)
    .where(instance.c.sop_instance_uid.in_(bindparam("uids", expanding=True)))
    .distinct()
)
_STUDY_OF_SERIES: Final = (
    select(series.c.series_instance_uid, study.c.study_instance_uid)
    .join(study, series.c.study_id == study.c.id)
    .where(series.c.series_instance_uid.in_(bindparam("uids", expanding=True)))
)


_MODEL_COLUMNS: Final = (
    "id",
    "study_instance_uid",
    "series_instance_uid",
    "modality",
    *INSTANCE_COLUMNS,
)


def _to_instance(row: Row[Any]) -> Instance:
    return Instance(
        state=InstanceState(row.state), origin=Origin(row.origin), **columns_of(row, _MODEL_COLUMNS)
    )


def instances_of_study(db: Database, study_instance_uid: str) -> tuple[Instance, ...]:
    """Return every version of every instance of a study, in order of arrival."""
    query = _INSTANCES.where(study.c.study_instance_uid == study_instance_uid)
    with db.read() as connection:
        return tuple(map(_to_instance, connection.execute(query.order_by(instance.c.id))))


def versions_of(db: Database, sop_instance_uid: str) -> tuple[Instance, ...]:
    """Return every version of one SOP Instance UID, in order of arrival."""
    query = _INSTANCES.where(instance.c.sop_instance_uid == sop_instance_uid)
    with db.read() as connection:
        return tuple(map(_to_instance, connection.execute(query.order_by(instance.c.id))))


def conflicting_instances(db: Database) -> tuple[Instance, ...]:
    """Return versions in conflict that wait for a choice (S2), by instance and arrival."""
    query = _INSTANCES.where(instance.c.state == InstanceState.CONFLICT.value)
    with db.read() as connection:
        rows = connection.execute(query.order_by(instance.c.sop_instance_uid, instance.c.id))
        return tuple(map(_to_instance, rows))


def unresolved_instances(db: Database, *, limit: int = 1000) -> tuple[Instance, ...]:
    """Return versions that wait for their comparison (S2), oldest first."""
    query = _INSTANCES.where(instance.c.state == InstanceState.UNRESOLVED.value)
    with db.read() as connection:
        rows = connection.execute(query.order_by(instance.c.id).limit(limit))
        return tuple(map(_to_instance, rows))


def studies_of(db: Database, uids: Collection[str]) -> Mapping[str, frozenset[str]]:
    """Return the studies in which images and series of these UIDs lie; unknown UIDs: left out."""
    found: dict[str, set[str]] = {}
    asked = sorted(uids)
    parts = [asked[at : at + _AT_ONCE] for at in range(0, len(asked), _AT_ONCE)]
    with db.read() as connection:
        for part, statement in product(parts, (_STUDY_OF_IMAGE, _STUDY_OF_SERIES)):
            for uid, study_uid in connection.execute(statement, {"uids": part}):
                found.setdefault(uid, set()).add(study_uid)
    return {uid: frozenset(studies) for uid, studies in found.items()}


def change_instances(db: Database, states: Mapping[int, InstanceState]) -> None:
    """Set the state of instances by row id, all in one transaction."""
    with db.write() as connection:
        for row_id, state in states.items():
            connection.execute(
                update(instance).where(instance.c.id == row_id).values(state=state.value)
            )


def note_own_uids(connection: Connection, uids: Sequence[str], now: float) -> None:
    """Remember SOP UIDs that we made, inside the transaction that makes them ours (S17)."""
    for uid in uids:
        insert_if_absent(connection, own_uid, {"sop_instance_uid": uid, "at": now})


# --- studies ---------------------------------------------------------------------------------

_STUDY_COLUMNS: Final = (
    "id",
    "study_instance_uid",
    "revision",
    "first_received_at",
    "last_received_at",
    "completed_at",
    "completed_reason",
    "calling_ae",
    "called_ae",
    "peer",
)


def _to_study(row: Row[Any]) -> Study:
    return Study(state=StudyState(row.state), **columns_of(row, _STUDY_COLUMNS))


def get_study(db: Database, study_instance_uid: str) -> Study | None:
    """Return a study, None if nothing of it came."""
    query = select(study).where(study.c.study_instance_uid == study_instance_uid)
    with db.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else _to_study(row)


def list_studies(db: Database, *, limit: int = 100, offset: int = 0) -> tuple[Study, ...]:
    """Return studies, the latest arrival first."""
    query = select(study).order_by(study.c.last_received_at.desc(), study.c.id.desc())
    with db.read() as connection:
        return tuple(map(_to_study, connection.execute(query.limit(limit).offset(offset))))


def studies_in_state(db: Database, state: StudyState) -> tuple[Study, ...]:
    """Return the studies in one state, the longest quiet first."""
    query = select(study).where(study.c.state == state.value)
    with db.read() as connection:
        return tuple(map(_to_study, connection.execute(query.order_by(study.c.last_received_at))))


def change_study(
    db: Database,
    study_instance_uid: str,
    old: StudyState,
    new: StudyState,
    *,
    now: float,
    reason: str = "",
    unless_after: float | None = None,
) -> bool:
    """Move a study from `old` to `new` if it still is in `old`; return whether it was.

    COMPLETE counts one revision more and keeps `now` and `reason`.

    Parameters
    ----------
    unless_after : float, optional
        Change nothing if an instance arrived after that time: what the caller looked at is
        no longer all.
    """
    check_change(LEGAL_STUDY_CHANGES, old, new)
    condition = (study.c.study_instance_uid == study_instance_uid) & (study.c.state == old.value)
    if unless_after is not None:
        condition &= study.c.last_received_at <= unless_after
    values: dict[str, Any] = {"state": new.value}
    if new is StudyState.COMPLETE:
        values |= {
            "completed_at": now,
            "completed_reason": reason,
            "revision": study.c.revision + 1,
        }
    with db.write() as connection:
        return connection.execute(update(study).where(condition).values(**values)).rowcount == 1
