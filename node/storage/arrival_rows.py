"""Rows of an instance that arrives: the hot path of the receiver, by prepared statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from node.model import LEGAL_STUDY_CHANGES, InstanceState, Origin, StudyState, check_change
from node.storage.database import Database
from node.storage.statements import Prepared, columns_of, insert_if_absent
from node.storage.tables import instance, own_uid, series, study

#: Modalities and SOP classes that never re-open a study (S14): SR with dose and KOS, PR.
_NEVER_REOPEN_MODALITIES: Final = frozenset({"SR", "PR", "KO"})
_NEVER_REOPEN_SOP_CLASSES: Final = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")


#: They may hold a region that a plugin waits for, and are no images.
_CONTOUR_MODALITIES: Final = frozenset({"SEG", "RTSTRUCT"})


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


def record_instances(db: Database, arrived: Sequence[NewInstance]) -> list[Recorded]:
    """Do `record_instance` for several in one transaction, one sync of the disk for all.

    Raises
    ------
    StorageUnavailable
        If the database does not take one of them; nothing is recorded.
    """
    # In one order in every process, so that none waits for another's study in a circle.
    order = sorted(range(len(arrived)), key=lambda at: arrived[at].study_instance_uid)
    with db.write() as connection:
        recorded = {at: record_instance_in(connection, arrived[at]) for at in order}
    return [recorded[at] for at in range(len(arrived))]


def record_instance_in(connection: Connection, new: NewInstance) -> Recorded:
    """Do `record_instance` inside a write transaction of the caller (reindex)."""
    sop = new.sop_instance_uid
    origin = Origin.OWN if _OURS.rows(connection, sop=sop) else new.origin
    row = _study_for(connection, new)
    versions = _DIGESTS.rows(connection, sop=sop)
    if any(digest == new.content_sha256 for (digest,) in versions):
        _touch_study(connection, row, new.received_at, reopens=False)
        return Recorded.SAME
    recorded = Recorded.VERSION if versions else Recorded.NEW
    state = InstanceState.UNRESOLVED if recorded is Recorded.VERSION else InstanceState.STORED
    _INSERT.run(
        connection,
        study_id=row.id,
        series_id=_series_id(connection, row.id, new),
        state=state.value,
        origin=origin.value,
        **columns_of(new, INSTANCE_COLUMNS),
    )
    reopens = may_reopen(new.sop_class_uid, new.modality, origin)
    image = reopens and new.modality not in _CONTOUR_MODALITIES
    _touch_study(connection, row, new.received_at, reopens=reopens, image=image)
    return recorded


#: Columns that a row takes as they are from what arrived.
INSTANCE_COLUMNS: Final = (
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

_OURS: Final = Prepared(select(own_uid.c.at).where(own_uid.c.sop_instance_uid == bindparam("sop")))
_STUDY: Final = Prepared(
    select(study.c.id, study.c.state, study.c.last_received_at, study.c.last_image_at)
    .where(study.c.study_instance_uid == bindparam("study"))
    .with_for_update()
)
_SERIES: Final = Prepared(
    select(series.c.id).where(
        series.c.study_id == bindparam("study"),
        series.c.series_instance_uid == bindparam("series"),
    )
)
_DIGESTS: Final = Prepared(
    select(instance.c.content_sha256).where(instance.c.sop_instance_uid == bindparam("sop"))
)
_INSERT: Final = Prepared(
    insert(instance).values(
        {
            name: bindparam(name)
            for name in ("study_id", "series_id", "state", "origin", *INSTANCE_COLUMNS)
        }
    )
)
_TOUCH: Final = Prepared(
    update(study)
    .where(study.c.id == bindparam("row"))
    .values(
        last_received_at=bindparam("received"),
        last_image_at=bindparam("image"),
        state=bindparam("new_state"),
    )
)


class _StudyRow(NamedTuple):
    id: int
    state: str
    last_received_at: float
    last_image_at: float


def _study_for(connection: Connection, new: NewInstance) -> _StudyRow:
    """Return the study's row, made if absent and locked against other receivers."""
    found = _STUDY.rows(connection, study=new.study_instance_uid)
    if not found:
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
        insert_if_absent(connection, study, values)
        found = _STUDY.rows(connection, study=new.study_instance_uid)
    return _StudyRow(*found[0])


def _series_id(connection: Connection, study_id: int, new: NewInstance) -> int:
    found = _SERIES.rows(connection, study=study_id, series=new.series_instance_uid)
    if not found:
        values = {
            "study_id": study_id,
            "series_instance_uid": new.series_instance_uid,
            "modality": new.modality[:16],
        }
        insert_if_absent(connection, series, values)
        found = _SERIES.rows(connection, study=study_id, series=new.series_instance_uid)
    return int(found[0][0])


def _touch_study(
    connection: Connection, row: _StudyRow, at: float, *, reopens: bool, image: bool = False
) -> None:
    state = StudyState(row.state)
    if reopens and state is not StudyState.RECEIVING:
        check_change(LEGAL_STUDY_CHANGES, state, StudyState.RECEIVING)
        state = StudyState.RECEIVING
    _TOUCH.run(
        connection,
        row=row.id,
        received=max(row.last_received_at, at),
        image=max(row.last_image_at, at) if image else row.last_image_at,
        new_state=state.value,
    )
