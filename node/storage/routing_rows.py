"""What routing commits: decisions, jobs and the study's state, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select, update

from node.errors import NodeError
from node.model import LEGAL_STUDY_CHANGES, Job, JobState, Study, StudyState, check_change
from node.storage.completion_rows import release_held
from node.storage.database import Database
from node.storage.decision_rows import Decision, record_decision, record_release
from node.storage.job_rows import insert_job_in, supersede
from node.storage.retry_rows import resume, wait_again
from node.storage.tables import study as study_table
from node.storage.waiting_rows import renew_reason, start_waiting


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What one rule decided, about to become rows."""

    decision: Decision
    #: To run, or REFUSED; None: the rule makes no job.
    job: Job | None = None


def commit_routing(
    db: Database, seen: Study, rulings: Sequence[Ruling], *, state: StudyState, now: float
) -> tuple[Decision, ...] | None:
    """Record what the rules decided of a study, and move it to `state`.

    Equal work becomes the decision ``same work``; if it ended badly and a person wants it again,
    or its files are well now, it begins again. Jobs of older revisions whose input set is
    no longer wanted are superseded (S14).

    Returns
    -------
    tuple of Decision, or None
        As recorded; None if the study changed since `seen` was read: nothing was recorded.
    """
    check_change(LEGAL_STUDY_CHANGES, StudyState.COMPLETE, state)
    unchanged = (
        (study_table.c.id == seen.id)
        & (study_table.c.state == StudyState.COMPLETE.value)
        & (study_table.c.revision == seen.revision)
    )
    with db.write() as connection:
        moved = connection.execute(update(study_table).where(unchanged).values(state=state.value))
        if moved.rowcount != 1:
            return None
        made = tuple(_settle(connection, seen, ruling, now) for ruling in rulings)
        for decision in made:
            record_decision(connection, seen.id, decision)
    return made


def release_to_rules(db: Database, study_instance_uid: str, *, now: float) -> None:
    """Give a held study to the rules, whatever its age, with the revision it has (S15).

    Raises
    ------
    NodeError
        If there is no such study, or it is not held.
    """
    reason = "released by an administrator"
    with db.write() as connection:
        row: Any = connection.execute(
            select(study_table.c.id, study_table.c.state, study_table.c.revision)
            .where(study_table.c.study_instance_uid == study_instance_uid)
            .with_for_update()
        ).first()
        if row is None:
            raise NodeError("there is no such study")
        if row.state != StudyState.HELD.value:
            raise NodeError(f"the study is {row.state}, not HELD; there is nothing to release")
        # Before the study moves: the sweep that finds it must find the word as well.
        record_release(connection, row, reason, now)
    release_held(db, study_instance_uid, reason=reason)


def _settle(connection: Connection, seen: Study, ruling: Ruling, now: float) -> Decision:
    decision, job = ruling.decision, ruling.job
    if decision.outcome == "held":
        return decision
    wanted = job.fingerprint if job is not None else ""
    started = start_waiting(connection, seen.id, job) if job is not None else ""
    supersede(connection, seen.id, decision.rule, revision=seen.revision, keep=wanted, now=now)
    if job is None:
        return decision
    kept = insert_job_in(connection, job)
    resumed = resume(connection, kept, job)
    if kept.id in (job.id, started) or resumed or job.state is JobState.REFUSED:
        return replace(decision, job_id=kept.id)
    if waits := wait_again(connection, kept, job):
        return replace(decision, job_id=waits)
    if job.state is kept.state is JobState.WAITING:
        renew_reason(connection, kept.id, job)
        return replace(decision, job_id=kept.id)
    return replace(
        decision,
        outcome="same work",
        job_id=kept.id,
        sentence=f"the same images were given to job {kept.id}, which is {kept.state}",
    )
