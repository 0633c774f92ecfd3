"""Who computes a job: claims, heartbeats and ends by compare-and-swap (E1).

A worker owns a job by (job, attempt, owner). Whoever lost that may change nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select, update

from node.errors import InputUnsettled, LeaseLost, StorageUnavailable
from node.model import (
    LEGAL_JOB_CHANGES,
    Addressee,
    DeliveryState,
    InstanceState,
    Job,
    JobState,
    NewEvidence,
    Origin,
    check_change,
)
from node.storage.database import Database
from node.storage.intake_rows import note_own_uids
from node.storage.job_values import SUPERSEDED, job_query, to_job
from node.storage.prior_rows import NewPrior, add_prior
from node.storage.statements import columns_of
from node.storage.switch_rows import plugins_off_in, stopped_reason
from node.storage.tables import attempt, delivery, evidence, instance, job

#: So many attempts may fail before the job does: the first, and one retry.
MOST_FAILURES: Final = 2
#: A lost lease says nothing about the plugin, but a job that takes every worker down must end.
MOST_LOST_LEASES: Final = 10
#: Reason code of an attempt that the node handed back while it stopped; no failure.
DRAINED: Final = "DRAINED"
#: A full or read-only disk, rows that cannot be written, or an image of which another version just
#: came, say nothing about the plugin either.
_HANDED_BACK: Final = (DRAINED, StorageUnavailable.code, InputUnsettled.code)

#: How an attempt ends by its own worker's word; a retry later says `retried` of it.
_ENDED_HERE: Final = frozenset({"completed", "refused", "failed", "canceled", "drained"})

_EVIDENCE_COLUMNS: Final = tuple(NewEvidence.__dataclass_fields__)


def claim_job(db: Database, owner: str, *, now: float, lease_s: float) -> Job | None:
    """Take the oldest scheduled job whose plugin is not switched off; None if there is none.

    Parameters
    ----------
    owner : str
        A name no other worker has, also after a restart (`process_token`).
    now : float
        Seconds since the epoch.
    lease_s : float
        After so long without `heartbeat` the job is taken away.
    """
    with db.read() as connection:  # most looks find nothing: they need no write lock
        if _oldest(connection) is None:
            return None
    with db.write() as connection:
        found = _oldest(connection)
        if found is None or not _take(connection, found, owner, now, now + lease_s):
            return None
        connection.execute(
            insert(attempt).values(
                job_id=found.id, attempt=found.attempt + 1, owner=owner, started_at=now
            )
        )
        row = connection.execute(job_query().where(job.c.id == found.id)).one()
        return to_job(row)


def heartbeat(db: Database, held: Job, owner: str, *, now: float, lease_s: float) -> None:
    """Hold on to a claimed job.

    Raises
    ------
    LeaseLost
        If another worker has it, or it was taken away.
    """
    with db.write() as connection:
        _swap(connection, held, owner, {"lease_until": now + lease_s})


def ended_here(db: Database, held: Job) -> bool:
    """Return whether the worker of this attempt ended it itself; False if it was taken away."""
    query = select(attempt.c.outcome).where(
        attempt.c.job_id == held.id, attempt.c.attempt == held.attempt
    )
    with db.read() as connection:
        return connection.execute(query).scalar_one_or_none() in _ENDED_HERE


def finish_job(
    db: Database,
    held: Job,
    *,
    evidence: Sequence[NewEvidence],
    destinations: Sequence[Addressee],
    report: Mapping[str, object],
    now: float,
    prior: NewPrior | None = None,
) -> None:
    """Complete a job with its evidence and its outbox, all in one transaction.

    Each destination gets the evidence of its encoding, and nothing else.

    Nothing is delivered of a job that a newer revision superseded while it ran (S14); of a
    plugin that was switched off meanwhile, deliveries wait as CANCELED (S22).

    Parameters
    ----------
    held : Job
        As it was claimed.
    evidence : sequence of NewEvidence
        Durable files.
    destinations : sequence of Addressee; () = deliver nowhere
    report : JSON-able mapping
    prior : NewPrior or None
        What later studies of the patient may compare with (S10).

    Raises
    ------
    LeaseLost
        If the job is not this worker's any more; nothing was changed.
    """
    check_change(LEGAL_JOB_CHANGES, JobState.IN_PROGRESS, JobState.COMPLETED)
    values = {**_ended(JobState.COMPLETED, now), "report": dict(report)}
    with db.write() as connection:
        row = _swap(connection, held, held.owner, values)
        _end_attempt(connection, held, "completed", "", "", now)
        ids = [add_evidence(connection, held.id, one, now) for one in evidence]
        note_own_uids(connection, [one.sop_instance_uid for one in evidence], now)
        if prior is not None:
            add_prior(connection, held.id, prior)
        if row.reason_code != SUPERSEDED:
            _fill_outbox(connection, held, list(zip(ids, evidence, strict=True)), destinations, now)


def end_job(
    db: Database,
    held: Job,
    owner: str,
    *,
    state: JobState,
    code: str,
    reason: str,
    now: float,
) -> JobState:
    """End an attempt without a result; return the state that the job has now.

    SCHEDULED asks for a retry: granted once (always after a drain or without storage, which are
    no failures), then the job is FAILED. A superseded job is not retried but CANCELED.

    Raises
    ------
    LeaseLost
        If the job is not this worker's any more.
    """
    outcome = _outcome(state, code)
    with db.write() as connection:
        row = _swap(connection, held, owner, {})
        _end_attempt(connection, held, outcome, code, reason, now)
        if state is JobState.SCHEDULED and row.reason_code == SUPERSEDED:
            _close(connection, held.id, JobState.CANCELED, row.reason_code, row.reason, now)
            return JobState.CANCELED
        if state is JobState.SCHEDULED and _count(connection, held.id, "failed") >= MOST_FAILURES:
            state = JobState.FAILED
        _close(connection, held.id, state, code, reason, now)
    return state


def release_expired(db: Database, *, now: float) -> tuple[str, ...]:
    """Take jobs away whose worker fell silent, and schedule them again; return their ids."""
    silent = (
        select(job)
        .where(job.c.state == JobState.IN_PROGRESS.value, job.c.lease_until < now)
        .order_by(job.c.id)
    )
    with db.read() as connection:
        if connection.execute(silent.limit(1)).first() is None:
            return ()
    with db.write() as connection:
        rows = connection.execute(silent.with_for_update(skip_locked=True)).all()
        for row in rows:
            _release(connection, row, now)
        return tuple(row.id for row in rows)


def _oldest(connection: Connection) -> Any:
    query = (
        select(job.c.id, job.c.attempt)
        .where(job.c.state == JobState.SCHEDULED.value, ~_unsettled())
        .order_by(job.c.created_at, job.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    off = plugins_off_in(connection)
    if off:
        query = query.where(job.c.plugin.not_in(list(off)))
    return connection.execute(query).first()


def _unsettled() -> ColumnElement[bool]:
    """Return whether a version of an image of the job's study waits for its comparison (S2)."""
    return exists().where(
        instance.c.study_id == job.c.study_id,
        instance.c.state == InstanceState.UNRESOLVED.value,
        instance.c.origin == Origin.ROUTED.value,
    )


def _take(
    connection: Connection, found: Row[Any], owner: str, now: float, lease_until: float
) -> bool:
    check_change(LEGAL_JOB_CHANGES, JobState.SCHEDULED, JobState.IN_PROGRESS)
    taken = connection.execute(
        update(job)
        .where(
            job.c.id == found.id,
            job.c.attempt == found.attempt,
            job.c.state == JobState.SCHEDULED.value,
        )
        .values(
            state=JobState.IN_PROGRESS.value,
            attempt=found.attempt + 1,
            owner=owner,
            lease_until=lease_until,
            started_at=now,
            ended_at=None,
            reason_code="",
            reason="",
        )
    )
    return taken.rowcount == 1


def _swap(connection: Connection, held: Job, owner: str, values: Mapping[str, Any]) -> Any:
    """Change the row if it is still this attempt's of this owner; return it as it is now."""
    mine = (
        (job.c.id == held.id)
        & (job.c.attempt == held.attempt)
        & (job.c.owner == owner)
        & (job.c.state == JobState.IN_PROGRESS.value)
    )
    row = connection.execute(
        select(job.c.reason_code, job.c.reason, job.c.shadow).where(mine).with_for_update()
    ).first()
    if row is None:
        raise LeaseLost(f"job {held.id} is not attempt {held.attempt} of this worker any more")
    if values:
        connection.execute(update(job).where(job.c.id == held.id).values(**values))
    return row


def _ended(state: JobState, now: float) -> dict[str, Any]:
    over = state not in (JobState.SCHEDULED, JobState.WAITING)
    return {
        "state": state.value,
        "owner": "",
        "lease_until": None,
        "ended_at": now if over else None,
    }


def _close(
    connection: Connection, job_id: str, state: JobState, code: str, reason: str, now: float
) -> None:
    check_change(LEGAL_JOB_CHANGES, JobState.IN_PROGRESS, state)
    connection.execute(
        update(job)
        .where(job.c.id == job_id)
        .values(**_ended(state, now), reason_code=code, reason=reason)
    )


def _outcome(state: JobState, code: str) -> str:
    if state is JobState.SCHEDULED and code in _HANDED_BACK:
        return "drained"
    return {JobState.REFUSED: "refused", JobState.CANCELED: "canceled"}.get(state, "failed")


def _end_attempt(
    connection: Connection, held: Job, outcome: str, code: str, reason: str, now: float
) -> None:
    connection.execute(
        update(attempt)
        .where(attempt.c.job_id == held.id, attempt.c.attempt == held.attempt)
        .values(ended_at=now, outcome=outcome, code=code, reason=reason)
    )


def _count(connection: Connection, job_id: str, outcome: str) -> int:
    query = (
        select(func.count())
        .select_from(attempt)
        .where(attempt.c.job_id == job_id, attempt.c.outcome == outcome)
    )
    return int(connection.execute(query).scalar_one())


def _release(connection: Connection, row: Row[Any], now: float) -> None:
    code, reason = "LEASE_LOST", "the worker fell silent"
    connection.execute(
        update(attempt)
        .where(attempt.c.job_id == row.id, attempt.c.attempt == row.attempt)
        .values(ended_at=now, outcome="lease lost", code=code, reason=reason)
    )
    if row.reason_code == SUPERSEDED:
        _close(connection, row.id, JobState.CANCELED, row.reason_code, row.reason, now)
        return
    lost = _count(connection, row.id, "lease lost")
    state = JobState.SCHEDULED if lost < MOST_LOST_LEASES else JobState.FAILED
    if state is JobState.FAILED:
        reason = f"{reason} {lost} times"
    _close(connection, row.id, state, code, reason, now)


def add_evidence(connection: Connection, job_id: str, new: NewEvidence, now: float) -> int:
    """Add one row of evidence inside a write transaction of the caller; return its id."""
    values = columns_of(new, _EVIDENCE_COLUMNS)
    values["checks"] = dict(new.checks)
    done = connection.execute(insert(evidence).values(job_id=job_id, created_at=now, **values))
    key = done.inserted_primary_key
    return int(key[0]) if key else 0


def _fill_outbox(
    connection: Connection,
    held: Job,
    made: Sequence[tuple[int, NewEvidence]],
    destinations: Sequence[Addressee],
    now: float,
) -> None:
    off = plugins_off_in(connection)
    reason = stopped_reason(off[held.plugin]) if held.plugin in off else ""
    for to in destinations:
        for evidence_id, one in made:
            if one.encoding == to.encoding:
                add_delivery(connection, held.id, evidence_id, one, to, now=now, stopped=reason)


def add_delivery(
    connection: Connection,
    job_id: str,
    evidence_id: int,
    new: NewEvidence,
    to: Addressee,
    *,
    now: float,
    stopped: str = "",
) -> None:
    """Put one object into the outbox for one destination; CANCELED if `stopped` says why."""
    state = DeliveryState.CANCELED if stopped else DeliveryState.PENDING
    connection.execute(
        insert(delivery).values(
            job_id=job_id,
            evidence_id=evidence_id,
            destination=to.destination,
            profile=to.profile,
            state=state.value,
            position=new.position,
            next_attempt_at=now,
            reason=stopped,
        )
    )
