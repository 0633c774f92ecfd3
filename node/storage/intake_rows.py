"""Rows of what came in: studies, series, instances, quarantine; who is connected beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from node.model import (
    LEGAL_STUDY_CHANGES,
    Instance,
    InstanceState,
    Origin,
    Study,
    StudyState,
    check_change,
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
    "record_quarantine",
    "resign_leadership",
    "studies_in_state",
    "unresolved_instances",
    "versions_of",
]

#: Modalities and SOP classes that never re-open a study (S14): SR with dose and KOS, PR.
_NEVER_REOPEN_MODALITIES: Final = frozenset({"SR", "PR", "KO"})
_NEVER_REOPEN_SOP_CLASSES: Final = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")


class Recorded(StrEnum):
    """What a received instance turned out to be."""

    #: Its SOP Instance UID was not here.
    NEW = "NEW"
    #: These very bytes were here; nothing was added.
    SAME = "SAME"
    #: The UID was here with other bytes; both are kept, the comparison is to do (S2).
    VERSION = "VERSION"


@dataclass(frozen=True, kw_only=True)
class NewInstance:
    """A durable file about to become a row."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    content_sha256: str
    pixel_sha256: str
    #: Relative to the data folder.
    path: str
    size_bytes: int
    received_at: float
    calling_ae: str
    called_ae: str
    #: Name of the configured peer, "" if promiscuous.
    peer: str
    origin: Origin = Origin.ROUTED


def may_reopen(sop_class_uid: str, modality: str, origin: Origin) -> bool:
    """Return whether an arriving object can change what a plugin would see (S14, S15).

    Others' SEG and RTSTRUCT can: they may be a region of interest.

    Examples
    --------
    >>> may_reopen("1.2.840.10008.5.1.4.1.1.2", "CT", Origin.ROUTED)
    True
    >>> may_reopen("1.2.840.10008.5.1.4.1.1.88.67", "SR", Origin.ROUTED)
    False
    """
    return (
        origin is Origin.ROUTED
        and modality not in _NEVER_REOPEN_MODALITIES
        and not sop_class_uid.startswith(_NEVER_REOPEN_SOP_CLASSES)
    )


# --- instances -------------------------------------------------------------------------------


def find_version(db: Database, sop_instance_uid: str, content_sha256: str) -> Instance | None:
    """Return the row of these very bytes, None if they were not here."""
    with db.read() as connection:
        row = connection.execute(
            _VERSION, {"sop": sop_instance_uid, "sha256": content_sha256}
        ).first()
    return None if row is None else _to_instance(row)


def record_instance(db: Database, new: NewInstance) -> Recorded:
    """Add an instance with its study and series, in one transaction.

    A version that arrives while another is here is UNRESOLVED until the engine has compared
    them. An object that may re-open its study sends it back to RECEIVING (S14).

    Raises
    ------
    StorageUnavailable
        If the database does not take it; nothing is recorded.
    """
    with db.write() as connection:
        return record_instance_in(connection, new)


def record_instance_in(connection: Connection, new: NewInstance) -> Recorded:
    """Do `record_instance` inside a write transaction of the caller (reindex)."""
    origin = _origin(connection, new)
    reopens = may_reopen(new.sop_class_uid, new.modality, origin)
    study_row = _study_for(connection, new)
    versions = connection.execute(_DIGESTS, {"sop": new.sop_instance_uid}).scalars().all()
    if new.content_sha256 in versions:
        _touch_study(connection, study_row, new.received_at, reopens=False)
        return Recorded.SAME
    recorded = Recorded.VERSION if versions else Recorded.NEW
    state = InstanceState.UNRESOLVED if recorded is Recorded.VERSION else InstanceState.STORED
    values = {
        "study_id": study_row.id,
        "series_id": _series_id(connection, study_row.id, new),
        "state": state.value,
        "origin": origin.value,
        **columns_of(new, _INSTANCE_COLUMNS),
    }
    connection.execute(_INSERT, values)
    _touch_study(connection, study_row, new.received_at, reopens=reopens)
    return recorded


_INSTANCE_COLUMNS: Final = (
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "content_sha256",
    "pixel_sha256",
    "path",
    "size_bytes",
    "received_at",
    "calling_ae",
    "called_ae",
)


# Built once: making a statement costs more than running it, and this runs for every instance.
_OURS: Final = select(own_uid.c.at).where(own_uid.c.sop_instance_uid == bindparam("sop"))
_STUDY: Final = (
    select(study).where(study.c.study_instance_uid == bindparam("study")).with_for_update()
)
_SERIES: Final = select(series.c.id).where(
    series.c.study_id == bindparam("study"), series.c.series_instance_uid == bindparam("series")
)
_DIGESTS: Final = select(instance.c.content_sha256).where(
    instance.c.sop_instance_uid == bindparam("sop")
)
_INSERT: Final = insert(instance)
_TOUCH: Final = (
    update(study)
    .where(study.c.id == bindparam("row"))
    .values(
        last_received_at=bindparam("received"),
        last_image_at=bindparam("image"),
        state=bindparam("new_state"),
    )
)
_INSTANCES: Final = (
    select(instance, study.c.study_instance_uid, series.c.series_instance_uid, series.c.modality)
    .join(study, instance.c.study_id == study.c.id)
    .join(series, instance.c.series_id == series.c.id)
)
_VERSION: Final = _INSTANCES.where(
    instance.c.sop_instance_uid == bindparam("sop"),
    instance.c.content_sha256 == bindparam("sha256"),
)


def _origin(connection: Connection, new: NewInstance) -> Origin:
    ours = connection.execute(_OURS, {"sop": new.sop_instance_uid}).first() is not None
    return Origin.OWN if ours else new.origin


def _study_for(connection: Connection, new: NewInstance) -> Row[Any]:
    """Return the study's row, made if absent and locked against other receivers."""
    at = new.received_at
    values = {
        "study_instance_uid": new.study_instance_uid,
        "state": StudyState.RECEIVING.value,
        "revision": 0,
        "first_received_at": at,
        "last_received_at": at,
        "last_image_at": at,
        "calling_ae": new.calling_ae,
        "called_ae": new.called_ae,
        "peer": new.peer,
    }
    key = {"study": new.study_instance_uid}
    found = connection.execute(_STUDY, key).first()
    if found is None:
        insert_if_absent(connection, study, values)
        found = connection.execute(_STUDY, key).one()
    return found


def _series_id(connection: Connection, study_id: int, new: NewInstance) -> int:
    key = {"study": study_id, "series": new.series_instance_uid}
    found = connection.execute(_SERIES, key).scalar()
    if found is None:
        values = {
            "study_id": study_id,
            "series_instance_uid": new.series_instance_uid,
            "modality": new.modality[:16],
        }
        insert_if_absent(connection, series, values)
        found = connection.execute(_SERIES, key).scalar_one()
    return int(found)


def _touch_study(connection: Connection, row: Row[Any], at: float, *, reopens: bool) -> None:
    state = StudyState(row.state)
    if reopens and state is not StudyState.RECEIVING:
        check_change(LEGAL_STUDY_CHANGES, state, StudyState.RECEIVING)
        state = StudyState.RECEIVING
    values = {
        "row": row.id,
        "received": max(row.last_received_at, at),
        "image": max(row.last_image_at, at) if reopens else row.last_image_at,
        "new_state": state.value,
    }
    connection.execute(_TOUCH, values)


_MODEL_COLUMNS: Final = (
    "id",
    "study_instance_uid",
    "series_instance_uid",
    "modality",
    *_INSTANCE_COLUMNS,
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


def unresolved_instances(db: Database, *, limit: int = 1000) -> tuple[Instance, ...]:
    """Return versions that wait for their comparison (S2), oldest first."""
    query = _INSTANCES.where(instance.c.state == InstanceState.UNRESOLVED.value)
    with db.read() as connection:
        rows = connection.execute(query.order_by(instance.c.id).limit(limit))
        return tuple(map(_to_instance, rows))


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
