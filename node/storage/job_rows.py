"""Rows of jobs: made once (S1), listed, superseded (S14), run again by a person's word."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, select, update

from node.errors import NodeError
from node.model import (
    LEGAL_DELIVERY_CHANGES,
    LEGAL_JOB_CHANGES,
    DeliveryState,
    Job,
    JobState,
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
from node.storage.tables import delivery, job, study

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
    "set_plugin_switch",
    "supersede",
    "way_of",
]

#: Job states in which nothing more happens by itself.
_ENDED: Final = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


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


def way_of(old: Job) -> Way:
    """Return where the result of a job goes."""
    return Way(destinations=old.destinations, shadow=old.shadow)


def _fresh(old: Job, way: Way | None, now: float) -> Job:
    to = way_of(old) if way is None else way
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
