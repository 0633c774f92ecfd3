"""Rows of jobs that did not run, and of what became of telling it (S7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select

from node.model import Addressee, Job, JobState, NewEvidence, StudyState
from node.storage.database import Database
from node.storage.intake_rows import note_own_uids
from node.storage.job_values import job_query, to_job
from node.storage.lease_rows import add_delivery, add_evidence
from node.storage.note_roles import is_not_run
from node.storage.tables import decision, evidence, job, refusal_note, study

#: States of a job that will not run, as long as nobody retries it.
NOT_RUN_STATES = (JobState.REFUSED, JobState.FAILED)


class Telling(StrEnum):
    """What became of telling that a job did not run."""

    WAITS = "waits"
    MADE = "made"
    LEFT_OUT = "left out"


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A job that did not run, of which nobody was told yet."""

    job: Job
    study_id: int
    #: Whether its study is where the rules left it.
    settled: bool
    #: Name of the peer that sent the study, "" if unknown.
    peer: str


def silences(db: Database, *, since: float, now: float, limit: int = 100) -> tuple[Silence, ...]:
    """Return jobs that ended without running since then and are due for a look, oldest first."""
    settled = study.c.state.in_([StudyState.ROUTED.value, StudyState.HELD.value])
    looked_at = and_(refusal_note.c.job_id == job.c.id, refusal_note.c.attempt == job.c.attempt)
    waits = and_(refusal_note.c.state == Telling.WAITS.value, refusal_note.c.next_look_at <= now)
    query = (
        job_query()
        .add_columns(study.c.id.label("its_study"), settled.label("settled"), study.c.peer)
        .outerjoin(refusal_note, looked_at)
        .where(
            job.c.state.in_([state.value for state in NOT_RUN_STATES]),
            job.c.ended_at >= since,
            ~job.c.shadow,
            or_(refusal_note.c.id.is_(None), waits),
        )
        .order_by(job.c.ended_at, job.c.id)
        .limit(limit)
    )
    with db.read() as connection:
        return tuple(
            Silence(
                job=to_job(row), study_id=row.its_study, settled=bool(row.settled), peer=row.peer
            )
            for row in connection.execute(query)
        )


def is_latest_word(db: Database, one: Silence) -> bool:
    """Return whether the rule's last decision about the study is this job's."""
    query = (
        select(decision.c.job_id)
        .where(decision.c.study_id == one.study_id, decision.c.rule == one.job.rule)
        .order_by(decision.c.id.desc())
        .limit(1)
    )
    with db.read() as connection:
        row = connection.execute(query).first()
    return row is None or row.job_id == one.job.id


def count_equal(db: Database, like: Job, *, since: float, until: float) -> int:
    """Return how many jobs of the rule and plugin ended with the same code in that time."""
    query = select(func.count()).where(
        *_like(like),
        job.c.ended_at > since,
        job.c.ended_at <= until,
    )
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def left_out_lately(db: Database, like: Job, code: str, *, since: float) -> bool:
    """Return whether an equal refusal was left out for that code since then."""
    query = (
        select(refusal_note.c.id)
        .join(job, job.c.id == refusal_note.c.job_id)
        .where(*_like(like), refusal_note.c.code == code, refusal_note.c.at >= since)
        .limit(1)
    )
    with db.read() as connection:
        return connection.execute(query).first() is not None


def note_telling(
    db: Database,
    one: Job,
    state: Telling,
    *,
    code: str = "",
    sentence: str = "",
    now: float,
    next_look_at: float = 0.0,
) -> None:
    """Note that nobody is told, or not yet, and why."""
    with db.write() as connection:
        _note(connection, one, state, (code, sentence), now, next_look_at)


def notes_made(db: Database, job_id: str) -> int:
    """Return how often it was already told that this job did not run."""
    query = select(func.count(func.distinct(evidence.c.role))).where(
        evidence.c.job_id == job_id, is_not_run()
    )
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def commit_not_run(
    db: Database,
    one: Job,
    made: Sequence[NewEvidence],
    to: Sequence[Addressee],
    *,
    now: float,
) -> bool:
    """Put the reports into the outbox; False if the job was retried meanwhile."""
    unchanged = (job.c.id == one.id, job.c.attempt == one.attempt, job.c.state == one.state.value)
    with db.write() as connection:
        still = connection.execute(select(job.c.id).where(*unchanged).with_for_update()).first()
        if still is None:
            return False
        for new in made:
            evidence_id = add_evidence(connection, one.id, new, now)
            for addressee in to:
                if addressee.encoding == new.encoding:
                    add_delivery(connection, one.id, evidence_id, new, addressee, now=now)
        note_own_uids(connection, [new.sop_instance_uid for new in made], now)
        _note(connection, one, Telling.MADE, ("", ""), now, 0.0)
    return True


def telling_of(db: Database, job_id: str) -> tuple[Telling, str, str] | None:
    """Return state, code and sentence of the last attempt to tell; None before the first."""
    query = (
        select(refusal_note)
        .where(refusal_note.c.job_id == job_id)
        .order_by(refusal_note.c.attempt.desc())
        .limit(1)
    )
    with db.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else (Telling(row.state), row.code, row.sentence)


def _like(one: Job) -> tuple[Any, ...]:
    return (
        job.c.rule == one.rule,
        job.c.plugin == one.plugin,
        job.c.reason_code == one.reason_code,
        job.c.state.in_([state.value for state in NOT_RUN_STATES]),
    )


def _note(
    connection: Connection,
    one: Job,
    state: Telling,
    why: tuple[str, str],
    now: float,
    next_look_at: float,
) -> None:
    key = {"job_id": one.id, "attempt": one.attempt}
    connection.execute(
        delete(refusal_note).where(
            refusal_note.c.job_id == one.id, refusal_note.c.attempt == one.attempt
        )
    )
    values = {"state": state.value, "code": why[0], "sentence": why[1], "at": now}
    connection.execute(insert(refusal_note).values(**key, **values, next_look_at=next_look_at))
