"""Rows of clinical values that persons entered: only added, the last of a name holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from node.clinical_values import Value
from node.errors import NodeError
from node.model import LEGAL_STUDY_CHANGES, StudyState, check_change
from node.storage.database import Database
from node.storage.decision_rows import record_release
from node.storage.statements import columns_of
from node.storage.tables import clinical_value, study

_COLUMNS: Final = ("id", "name", "value", "unit", "entered_by", "way", "at")
_SENTENCE: Final = "a clinical value was entered"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a person said of one clinical value."""

    id: int
    name: str
    #: As it was given; None: what was said before is taken back.
    value: Value | None
    #: UCUM, as it was given; "" = none.
    unit: str
    entered_by: str
    #: ``command`` or ``http``.
    way: str
    at: float


@dataclass(frozen=True, kw_only=True)
class NewEntry:
    """An entry that was checked and is about to become a row."""

    name: str
    value: Value | None
    unit: str
    entered_by: str
    way: str


class NoSuchStudy(NodeError):
    """Nothing of the study is here."""

    code = "NO_SUCH_STUDY"


def enter_values(
    db: Database,
    study_instance_uid: str,
    entries: Sequence[NewEntry],
    *,
    look_again: bool,
    now: float,
) -> tuple[tuple[Entry, ...], bool]:
    """Add entries, all or none.

    Parameters
    ----------
    look_again : bool
        Whether the rules must look at the study again if they did already. Its age does not
        hold it then: a person named this very study (S15).

    Returns
    -------
    (entries, again)
        As stored; and whether the rules look at the study again.

    Raises
    ------
    NoSuchStudy
        If nothing of the study is here.
    """
    with db.write() as connection:
        row: Any = connection.execute(
            select(study.c.id, study.c.state, study.c.revision)
            .where(study.c.study_instance_uid == study_instance_uid)
            .with_for_update()
        ).first()
        if row is None:
            raise NoSuchStudy("there is no such study here; `sentinel-node studies` lists them")
        stored = tuple(_add(connection, row.id, entry, now) for entry in entries)
        again = look_again and _to_the_rules(connection, row, now)
    return stored, again


def entries_of_study(db: Database, study_instance_uid: str) -> tuple[Entry, ...]:
    """Return every entry of a study, the oldest first."""
    query = (
        select(clinical_value)
        .join(study, clinical_value.c.study_id == study.c.id)
        .where(study.c.study_instance_uid == study_instance_uid)
        .order_by(clinical_value.c.id)
    )
    with db.read() as connection:
        return tuple(Entry(**columns_of(row, _COLUMNS)) for row in connection.execute(query))


def holding(entries: Iterable[Entry]) -> Mapping[str, Entry]:
    """Return the entry of each name that holds: the last one, unless it takes back."""
    last = {entry.name: entry for entry in entries}
    return {name: entry for name, entry in last.items() if entry.value is not None}


def _add(connection: Connection, study_id: int, entry: NewEntry, now: float) -> Entry:
    values = {**columns_of(entry, _COLUMNS[1:-1]), "at": now}
    adding = insert(clinical_value).values(study_id=study_id, **values)
    row_id = connection.execute(adding.returning(clinical_value.c.id)).scalar_one()
    return Entry(id=row_id, **values)


def _to_the_rules(connection: Connection, row: Any, now: float) -> bool:
    """Count one revision more; a study that still waits for images or a person stays so."""
    if row.state not in (StudyState.ROUTED.value, StudyState.COMPLETE.value):
        return False
    if row.state == StudyState.ROUTED.value:
        check_change(LEGAL_STUDY_CHANGES, StudyState.ROUTED, StudyState.COMPLETE)
        record_release(connection, row, _SENTENCE, now)
    connection.execute(
        update(study)
        .where(study.c.id == row.id)
        .values(
            state=StudyState.COMPLETE.value,
            revision=row.revision + 1,
            completed_at=now,
            completed_reason=_SENTENCE,
        )
    )
    return True
