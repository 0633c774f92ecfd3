"""Rows of decisions: what each rule said of each revision of a study, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from node.storage.database import Database
from node.storage.statements import columns_of
from node.storage.tables import decision, study

_COLUMNS: Final = (
    *("study_revision", "rule", "plugin", "at", "outcome", "code", "sentence", "document"),
    "job_id",
)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one rule said of one revision of a study."""

    study_revision: int
    #: Name of the rule; "" for a word about the study itself (released from HELD).
    rule: str
    plugin: str
    at: float
    #: ``scheduled``, ``same work``, ``refused``, ``held``, ``not matched`` or ``released``.
    outcome: str
    code: str = ""
    sentence: str = ""
    #: JSON-able: predicates with values, candidates with scores, guards.
    document: Mapping[str, Any] = field(default_factory=dict)
    job_id: str | None = None


def record_decision(connection: Connection, study_id: int, made: Decision) -> None:
    """Add a decision inside a write transaction of the caller."""
    values = columns_of(made, _COLUMNS)
    values["document"] = dict(made.document)
    connection.execute(insert(decision).values(study_id=study_id, **values))


def record_release(connection: Connection, study_row: Any, sentence: str, now: float) -> None:
    """Add that the rules look at a study again, inside a write transaction of the caller."""
    released = Decision(
        study_revision=study_row.revision,
        rule="",
        plugin="",
        at=now,
        outcome="released",
        sentence=sentence,
    )
    record_decision(connection, study_row.id, released)


def decisions_of_study(db: Database, study_instance_uid: str) -> tuple[Decision, ...]:
    """Return every decision about a study, the oldest first."""
    query = (
        select(decision)
        .join(study, decision.c.study_id == study.c.id)
        .where(study.c.study_instance_uid == study_instance_uid)
        .order_by(decision.c.id)
    )
    with db.read() as connection:
        return tuple(Decision(**columns_of(row, _COLUMNS)) for row in connection.execute(query))


def latest_decisions(db: Database, study_instance_uid: str) -> tuple[Decision, ...]:
    """Return the last decision of each rule, in the order they were made."""
    last = {one.rule: one for one in decisions_of_study(db, study_instance_uid)}
    return tuple(sorted(last.values(), key=lambda one: one.at))


def judged_at(db: Database, study_instance_uid: str) -> Mapping[tuple[str, str], float]:
    """Return when each rule last had the study for a plugin, by the names of both.

    What a rule once took is not new to it when a contour comes (S15); what it held or passed by,
    or took for another plugin, is.
    """
    query = (
        select(decision.c.rule, decision.c.plugin, func.max(decision.c.at).label("at"))
        .join(study, study.c.id == decision.c.study_id)
        .where(
            study.c.study_instance_uid == study_instance_uid,
            decision.c.outcome.in_(("scheduled", "waiting", "refused", "same work")),
        )
        .group_by(decision.c.rule, decision.c.plugin)
        .order_by(func.max(decision.c.at))
    )
    with db.read() as connection:
        rows = connection.execute(query).all()
    # In order of time: of several versions of a plugin the last word counts.
    return {(row.rule, row.plugin.partition("@")[0]): row.at for row in rows}


def released_at(db: Database, study_instance_uid: str) -> float | None:
    """Return when an administrator last released a held study, None if never (S15)."""
    query = (
        select(func.max(decision.c.at))
        .join(study, decision.c.study_id == study.c.id)
        .where(study.c.study_instance_uid == study_instance_uid, decision.c.outcome == "released")
    )
    with db.read() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else float(found)
