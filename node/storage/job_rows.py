"""Rows of jobs: made once (S1), listed, superseded (S14), run again by a person's word."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, select, update

from node.errors import NodeError, RefusalCode
from node.model import (
    LEGAL_DELIVERY_CHANGES,
    LEGAL_JOB_CHANGES,
    LEGAL_STUDY_CHANGES,
    DeliveryState,
    Job,
    JobState,
    StudyState,
    check_change,
)
from node.storage.database import Database
from node.storage.job_values import (
    SUPERSEDED,
    existing_job,
    insert_row,
    job_query,
    latest_run,
    to_job,
)
from node.storage.lease_rows import (
    DRAINED,
    MOST_FAILURES,
    MOST_LOST_LEASES,
    claim_job,
    end_job,
    finish_job,
    heartbeat,
    release_expired,
)
from node.storage.switch_rows import is_plugin_off, plugins_off, set_plugin_switch
from node.storage.tables import attempt, delivery, job, study

__all__ = [
    "DRAINED",
    "MOST_FAILURES",
    "MOST_LOST_LEASES",
    "SUPERSEDED",
    "Way",
    "claim_job",
    "end_job",
    "finish_job",
    "get_job",
    "get_report",
    "heartbeat",
    "insert_job",
    "insert_job_in",
    "is_plugin_off",
    "jobs_of_study",
    "list_jobs",
    "new_job_id",
    "plugins_off",
    "release_expired",
    "rerun",
    "resume_refused",
    "retry_job",
    "set_plugin_switch",
    "supersede",
]

#: Job states in which nothing more happens by itself.
_ENDED: Final = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)
#: Why a job was refused that may be well when its study is looked at again.
_OF_FILES: Final = (RefusalCode.UID_CONFLICT.value, RefusalCode.INPUT_CHANGED.value)


def new_job_id() -> str:
    """Return 32 hex digits, never drawn before: UIDs of the evidence come from it (S1)."""
    return secrets.token_hex(16)


def insert_job(db: Database, new: Job) -> Job:
    """Add a job, unless equal work is here already: then return that one (S1)."""
    with db.write() as connection:
        return insert_job_in(connection, new)


def insert_job_in(connection: Connection, new: Job) -> Job:
    """Do `insert_job` inside a write transaction of the caller.

    The last run of equal work counts. If it was canceled, or superseded so that nothing of it
    was delivered, the work is wanted again: a new run number.
    """
    known = latest_run(connection, new.fingerprint)
    if known is None:
        insert_row(connection, new)
        return new
    if known.state is not JobState.CANCELED and known.reason_code != SUPERSEDED:
        return known
    again = replace(new, run_number=known.run_number + 1)
    insert_row(connection, again)
    return again


@dataclass(frozen=True, kw_only=True)
class Way:
    """Where results go."""

    destinations: tuple[str, ...]
    shadow: bool


def rerun(db: Database, job_id: str, *, way: Way | None = None, now: float) -> Job:
    """Schedule the same work as a new run: new run number, new UIDs (S1).

    Parameters
    ----------
    way : Way or None
        Where its result goes; None = where that of the last run went.

    Raises
    ------
    NodeError
        If there is no such job, or its last run has not ended.
    """
    with db.write() as connection:
        old = existing_job(connection, job_id)
        last = latest_run(connection, old.fingerprint) or old
        if last.state not in _ENDED:
            raise NodeError(f"run {last.run_number} of this job is {last.state}: not ended")
        again = _fresh(last, way, now)
        insert_row(connection, again)
        return again


def retry_job(db: Database, job_id: str, *, way: Way | None = None, now: float) -> None:
    """Let a FAILED or REFUSED job be tried again, with all its attempts.

    A job that the rules refused before it ran goes back to them: its study is looked at anew,
    so that no guard is passed by (S22). So does one that used a region of a report, also if it
    is COMPLETED: an edit of it re-opens no study by itself (S14); and one whose result another
    job of the study may have lacked. `way` is as in `rerun`.

    Raises
    ------
    NodeError
        If there is no such job, or nothing of it can be tried again.
    """
    with db.write() as connection:
        old = existing_job(connection, job_id)
        of_report = any(roi.source_kind == "SR" for roi in old.rois)
        ended_badly = old.state in (JobState.FAILED, JobState.REFUSED)
        if not ended_badly and not (of_report and old.state is JobState.COMPLETED):
            raise NodeError(
                f"the job is {old.state}; only FAILED and REFUSED ones can be retried, "
                "and COMPLETED ones that used a region of a report (SR)"
            )
        if old.attempt == 0 or of_report or _is_missed(connection, old):
            _route_again(connection, old, now)
        if ended_badly and old.attempt > 0:
            _begin_again(connection, old, _way_of(old) if way is None else way)


def resume_refused(connection: Connection, kept: Job, wanted: Job) -> bool:
    """Let work begin that was refused because of its files, now that the rules find them well.

    An image had two versions, or was gone, when the job ran; then one was chosen, or came again.

    Parameters
    ----------
    connection : write transaction of the caller
    kept : Job
        The last run of equal work.
    wanted : Job
        As the rules would have it inserted.

    Returns
    -------
    bool
        Whether it is SCHEDULED again.
    """
    if wanted.state is not JobState.SCHEDULED or kept.state is not JobState.REFUSED:
        return False
    if kept.reason_code not in _OF_FILES:
        return False
    _begin_again(connection, kept, _way_of(wanted))
    return True


def _begin_again(connection: Connection, old: Job, to: Way) -> None:
    check_change(LEGAL_JOB_CHANGES, old.state, JobState.SCHEDULED)
    connection.execute(
        update(attempt)
        .where(attempt.c.job_id == old.id, attempt.c.outcome.in_(("failed", "lease lost")))
        .values(outcome="retried")
    )
    values = {"state": JobState.SCHEDULED.value, "reason_code": "", "reason": ""}
    connection.execute(
        update(job)
        .where(job.c.id == old.id)
        .values(**values, ended_at=None, destinations=list(to.destinations), shadow=to.shadow)
    )


def get_job(db: Database, job_id: str) -> Job:
    """Return a job; raises `NodeError` if there is none."""
    with db.read() as connection:
        return existing_job(connection, job_id)


def list_jobs(
    db: Database, *, limit: int = 100, offset: int = 0, states: Sequence[JobState] = ()
) -> tuple[Job, ...]:
    """Return jobs, the newest first; all states or only some."""
    query = job_query().order_by(job.c.created_at.desc(), job.c.id.desc())
    if states:
        query = query.where(job.c.state.in_([state.value for state in states]))
    with db.read() as connection:
        return tuple(to_job(row) for row in connection.execute(query.limit(limit).offset(offset)))


def jobs_of_study(db: Database, study_instance_uid: str) -> tuple[Job, ...]:
    """Return the jobs of a study, the oldest first."""
    query = job_query().where(study.c.study_instance_uid == study_instance_uid)
    with db.read() as connection:
        rows = connection.execute(query.order_by(job.c.created_at, job.c.id))
        return tuple(to_job(row) for row in rows)


def get_report(db: Database, job_id: str) -> Mapping[str, Any]:
    """Return what the worker measured: numbers, seconds, memory; {} before the end."""
    with db.read() as connection:
        found = connection.execute(select(job.c.report).where(job.c.id == job_id)).scalar()
    return dict(found or {})


def supersede(
    connection: Connection,
    study_id: int,
    rule: str,
    *,
    revision: int,
    keep: str,
    now: float,
) -> int:
    """Stop what older revisions of a study still want to deliver for a rule (S14).

    Jobs that wait are CANCELED; running ones finish but are not delivered; of completed ones
    only what no destination has seen anything of is stopped.

    Parameters
    ----------
    connection : write transaction of the caller
    revision : int
        The new revision of the study.
    keep : str
        Fingerprint of the work that is wanted now: equal work goes on.

    Returns
    -------
    int
        How many jobs were touched.
    """
    older = (
        (job.c.study_id == study_id)
        & (job.c.rule == rule)
        & (job.c.study_revision < revision)
        & (job.c.fingerprint != keep)
    )
    why = {
        "reason_code": SUPERSEDED,
        "reason": f"the images of the study, or what is known of it, changed: revision {revision}",
    }
    for old in (JobState.SCHEDULED, JobState.WAITING):
        check_change(LEGAL_JOB_CHANGES, old, JobState.CANCELED)
    waiting = job.c.state.in_([JobState.SCHEDULED.value, JobState.WAITING.value])
    canceled = connection.execute(
        update(job).where(older, waiting).values(state=JobState.CANCELED.value, ended_at=now, **why)
    )
    running = connection.execute(
        update(job).where(older, job.c.state == JobState.IN_PROGRESS.value).values(**why)
    )
    completed = connection.execute(
        select(job.c.id).where(older, job.c.state == JobState.COMPLETED.value)
    )
    stopped = sum(_stop_untouched(connection, row.id, why) for row in completed.all())
    return canceled.rowcount + running.rowcount + stopped


def _stop_untouched(connection: Connection, job_id: str, why: Mapping[str, str]) -> bool:
    """Cancel the deliveries of a completed job if no destination was offered any of them."""
    check_change(LEGAL_DELIVERY_CHANGES, DeliveryState.PENDING, DeliveryState.CANCELED)
    rows = connection.execute(
        select(delivery.c.attempts, delivery.c.owner, delivery.c.state)
        .where(delivery.c.job_id == job_id)
        .with_for_update()
    ).all()
    idle = (DeliveryState.PENDING.value, 0, "")
    if not rows or any((row.state, row.attempts, row.owner) != idle for row in rows):
        return False
    connection.execute(
        update(delivery)
        .where(delivery.c.job_id == job_id)
        .values(
            state=DeliveryState.CANCELED.value,
            reason=f"{why['reason_code']}: {why['reason']}",
        )
    )
    connection.execute(update(job).where(job.c.id == job_id).values(**why))
    return True


def _way_of(old: Job) -> Way:
    return Way(destinations=old.destinations, shadow=old.shadow)


def _fresh(old: Job, way: Way | None, now: float) -> Job:
    to = _way_of(old) if way is None else way
    return replace(
        old,
        id=new_job_id(),
        destinations=to.destinations,
        shadow=to.shadow,
        run_number=old.run_number + 1,
        state=JobState.SCHEDULED,
        reason_code="",
        reason="",
        attempt=0,
        created_at=now,
        started_at=None,
        ended_at=None,
        owner="",
        lease_until=None,
    )


def _is_missed(connection: Connection, ended: Job) -> bool:
    """Return whether a job of the study was refused for want of a region: it may be this one's."""
    query = (
        select(job.c.id)
        .join(study, study.c.id == job.c.study_id)
        .where(
            study.c.study_instance_uid == ended.study_instance_uid,
            job.c.plugin != ended.plugin,
            job.c.state == JobState.REFUSED.value,
            job.c.reason_code == RefusalCode.ROI_MISSING.value,
            job.c.attempt == 0,
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _route_again(connection: Connection, refused: Job, now: float) -> None:
    check_change(LEGAL_STUDY_CHANGES, StudyState.ROUTED, StudyState.COMPLETE)
    connection.execute(
        update(study)
        .where(
            study.c.study_instance_uid == refused.study_instance_uid,
            study.c.state == StudyState.ROUTED.value,
        )
        .values(
            state=StudyState.COMPLETE.value,
            revision=study.c.revision + 1,
            completed_at=now,
            completed_reason="a job is retried",
        )
    )
