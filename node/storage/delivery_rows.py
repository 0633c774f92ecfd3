"""Rows of the outbox: which evidence still has to reach which destination, and who sends it.

A sender claims the due deliveries of one job at one destination by a lease; what it finds out
it records by compare-and-swap on the lease's owner (E1). A sender that dies gives them back by
time: they are sent again, the same bytes (S1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    not_,
    or_,
    select,
    update,
)

from node.errors import LeaseLost
from node.model import LEGAL_DELIVERY_CHANGES, Delivery, DeliveryState, Evidence, check_change
from node.storage.database import Database
from node.storage.statements import columns_of
from node.storage.tables import delivery, evidence, job, withdrawal

#: States in which a delivery still has something to do.
_OPEN = (DeliveryState.PENDING, DeliveryState.SENT)
_DELIVERY_COLUMNS = (
    "id",
    "job_id",
    "evidence_id",
    "destination",
    "profile",
    "position",
    "attempts",
    "next_attempt_at",
    "sent_at",
    "committed_at",
    "proven_at",
    "status",
    "reason",
)
_EVIDENCE_COLUMNS = (
    "id",
    "job_id",
    "role",
    "encoding",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "path",
    "sha256",
    "size_bytes",
    "position",
)
#: `Delivery.status` of an object after which the connection broke.
NO_ANSWER = "NO ANSWER"
#: An object that broke the connection so much more often than the others of its job were
#: tried goes last: it may be the one that breaks it every time (S25).
_STUBBORN = 3


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """One delivery that this sender holds, and what it delivers."""

    delivery: Delivery
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class ClaimedJob:
    """The due deliveries of one job at one destination, in the order of sending (S25)."""

    job_id: str
    items: tuple[Claimed, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a sender found out about one delivery."""

    state: DeliveryState
    #: Last DIMSE or HTTP status as text, or one word where none came; at most 16 characters.
    status: str = ""
    #: ``CODE: sentence``, without patient data.
    reason: str = ""
    #: When to come again; only for PENDING and SENT.
    next_attempt_at: float = 0.0
    #: Whether it was offered to the destination.
    tried: bool = False
    #: Keep the lease, because its proof follows at once.
    keep: bool = False


def claim_due(
    db: Database, destination: str, owner: str, *, now: float, lease_s: float
) -> ClaimedJob | None:
    """Claim what is due at `destination` of the oldest job that nobody else is sending there.

    Parameters
    ----------
    owner : str
        A name no other sender has, also after a restart (`process_token`).
    now : float
        Seconds since the epoch.
    lease_s : float
        After so long without `renew` another sender may claim it.
    """
    with db.read() as connection:
        if _oldest_due(connection, destination, now) is None:
            return None
    with db.write() as connection:
        job_id = _oldest_due(connection, destination, now)
        if job_id is None:
            return None
        connection.execute(
            update(delivery)
            .where(delivery.c.job_id == job_id, *_due(destination, now))
            .values(owner=owner, lease_until=now + lease_s)
        )
        items = _held(connection, job_id, destination, owner)
    # Empty where another sender's claim was committed between our look and our update.
    return ClaimedJob(job_id=job_id, items=items) if items else None


def renew(db: Database, ids: Iterable[int], owner: str, *, now: float, lease_s: float) -> None:
    """Hold on to the deliveries of `ids` that are still ours."""
    with db.write() as connection:
        connection.execute(
            update(delivery)
            .where(delivery.c.id.in_(list(ids)), delivery.c.owner == owner)
            .values(lease_until=now + lease_s)
        )


def record(db: Database, held: Delivery, owner: str, outcome: Outcome, *, now: float) -> Delivery:
    """Write what became of a delivery, and give it back unless `outcome.keep`.

    Returns
    -------
    Delivery
        As it is now.

    Raises
    ------
    LeaseLost
        If another sender holds it now; nothing was written.
    """
    check_change(LEGAL_DELIVERY_CHANGES, held.state, outcome.state)
    values: dict[str, Any] = {
        "state": str(outcome.state),
        "status": outcome.status[:16],
        "reason": outcome.reason,
        "next_attempt_at": outcome.next_attempt_at,
        "attempts": held.attempts + outcome.tried,
    }
    if outcome.state is DeliveryState.SENT and held.state is not DeliveryState.SENT:
        values["sent_at"] = now
    if outcome.state is DeliveryState.PROVEN:
        values["proven_at"] = now
    if not outcome.keep:
        values |= {"owner": "", "lease_until": None}
    with db.write() as connection:
        changed = connection.execute(
            update(delivery)
            .where(
                delivery.c.id == held.id,
                delivery.c.owner == owner,
                delivery.c.state == str(held.state),
            )
            .values(**values)
        )
        if changed.rowcount != 1:
            raise LeaseLost("another sender holds this delivery")
        row = connection.execute(select(delivery).where(delivery.c.id == held.id)).one()
    return to_delivery(row)


def give_back(db: Database, destination: str, owner: str) -> None:
    """Drop the leases that `owner` has at `destination`; the deliveries are unchanged otherwise."""
    mine = and_(
        delivery.c.destination == destination,
        delivery.c.state.in_([str(state) for state in _OPEN]),
        delivery.c.owner == owner,
    )
    with db.read() as connection:
        if connection.execute(select(delivery.c.id).where(mine).limit(1)).first() is None:
            return
    with db.write() as connection:
        connection.execute(update(delivery).where(mine).values(owner="", lease_until=None))


def postpone(db: Database, destination: str, *, until: float) -> None:
    """Let everything that waits for `destination` wait until then: it cannot take anything."""
    with db.write() as connection:
        connection.execute(
            update(delivery)
            .where(
                delivery.c.destination == destination,
                delivery.c.state == str(DeliveryState.PENDING),
                delivery.c.owner == "",
                delivery.c.next_attempt_at < until,
            )
            .values(next_attempt_at=until)
        )


def hasten(db: Database, destination: str, statuses: Sequence[str], *, now: float) -> None:
    """Make due what waits for `destination` with one of these last statuses: it is back."""
    late = and_(
        delivery.c.destination == destination,
        delivery.c.state == str(DeliveryState.PENDING),
        delivery.c.owner == "",
        delivery.c.status.in_(statuses),
        delivery.c.next_attempt_at > now,
    )
    with db.read() as connection:
        if connection.execute(select(delivery.c.id).where(late).limit(1)).first() is None:
            return
    with db.write() as connection:
        connection.execute(update(delivery).where(late).values(next_attempt_at=now))


def retry_failed(db: Database, *, now: float, ids: Sequence[int] | None = None) -> int:
    """Restart dead letters: all of them, or those of `ids`, canceled ones among these too.

    What is withdrawn stays where it is (S8).

    Returns
    -------
    int
        How many are pending again.
    """
    states = (
        [DeliveryState.FAILED] if ids is None else [DeliveryState.FAILED, DeliveryState.CANCELED]
    )
    chosen: list[ColumnElement[bool]] = [
        delivery.c.state.in_([str(state) for state in states]),
        delivery.c.id.not_in(select(withdrawal.c.delivery_id)),
    ]
    if ids is not None:
        chosen.append(delivery.c.id.in_(list(ids)))
    with db.write() as connection:
        changed = connection.execute(
            update(delivery)
            .where(*chosen)
            .values(
                state=str(DeliveryState.PENDING),
                attempts=0,
                next_attempt_at=now,
                status="",
                reason="",
                owner="",
                lease_until=None,
            )
        )
    return int(changed.rowcount)


def list_deliveries(
    db: Database,
    *,
    states: Sequence[DeliveryState] = (),
    destination: str = "",
    job_id: str = "",
    limit: int | None = None,
) -> tuple[tuple[Delivery, Evidence], ...]:
    """Return deliveries with what they deliver, newest job first, in order of sending.

    Parameters
    ----------
    states, destination, job_id
        Only these; empty = all.
    limit : int or None
        At most so many.
    """
    query = select(delivery).join(job, job.c.id == delivery.c.job_id)
    if states:
        query = query.where(delivery.c.state.in_([str(state) for state in states]))
    if destination:
        query = query.where(delivery.c.destination == destination)
    if job_id:
        query = query.where(delivery.c.job_id == job_id)
    query = query.order_by(
        job.c.created_at.desc(), job.c.id, delivery.c.destination, delivery.c.position
    )
    with db.read() as connection:
        rows = connection.execute(query.limit(limit)).all()
        made = _evidence_of(connection, query.limit(limit))
    return tuple((to_delivery(row), made[row.evidence_id]) for row in rows)


def evidence_of_job(db: Database, job_id: str) -> tuple[Evidence, ...]:
    """Return what a job made, one encoding after the other, each in order of delivery."""
    order = (evidence.c.encoding, evidence.c.position)
    query = select(evidence).where(evidence.c.job_id == job_id).order_by(*order)
    with db.read() as connection:
        return tuple(to_evidence(row) for row in connection.execute(query))


def count_deliveries(db: Database) -> Mapping[tuple[str, DeliveryState], int]:
    """Return how many deliveries each destination has in each state."""
    query = select(delivery.c.destination, delivery.c.state, func.count()).group_by(
        delivery.c.destination, delivery.c.state
    )
    with db.read() as connection:
        return {(name, DeliveryState(state)): n for name, state, n in connection.execute(query)}


def oldest_pending(db: Database) -> Mapping[str, float]:
    """Return per destination when the job ended that waits there the longest."""
    query = (
        select(delivery.c.destination, func.min(job.c.ended_at))
        .join(job, job.c.id == delivery.c.job_id)
        .where(delivery.c.state == str(DeliveryState.PENDING), job.c.ended_at.is_not(None))
        .group_by(delivery.c.destination)
    )
    with db.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _due(destination: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        delivery.c.destination == destination,
        delivery.c.state.in_([str(state) for state in _OPEN]),
        delivery.c.next_attempt_at <= now,
        or_(delivery.c.lease_until.is_(None), delivery.c.lease_until <= now),
        # What is withdrawn is neither sent nor looked for any more (S8).
        delivery.c.id.not_in(select(withdrawal.c.delivery_id)),
    )


def _oldest_due(connection: Connection, destination: str, now: float) -> str | None:
    """Return the oldest job with something due there of which nobody holds a part."""
    other = delivery.alias("other")
    held_elsewhere = (
        select(other.c.id)
        .where(
            other.c.job_id == delivery.c.job_id,
            other.c.destination == destination,
            other.c.lease_until > now,
        )
        .exists()
    )
    query = (
        select(delivery.c.job_id)
        .join(job, job.c.id == delivery.c.job_id)
        .where(*_due(destination, now), not_(held_elsewhere))
        .order_by(job.c.created_at, job.c.id)
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else str(row[0])


def _held(connection: Connection, job_id: str, destination: str, owner: str) -> tuple[Claimed, ...]:
    query = select(delivery).where(
        delivery.c.job_id == job_id,
        delivery.c.destination == destination,
        delivery.c.owner == owner,
    )
    rows = connection.execute(query).all()
    made = _evidence_of(connection, query)
    held = [Claimed(delivery=to_delivery(row), evidence=made[row.evidence_id]) for row in rows]
    fewest = min((item.delivery.attempts for item in held), default=0)

    def order(item: Claimed) -> tuple[bool, int, int]:
        breaks = item.delivery.status == NO_ANSWER
        stubborn = breaks and item.delivery.attempts - fewest >= _STUBBORN
        return stubborn, item.delivery.position, item.delivery.id

    return tuple(sorted(held, key=order))


def _evidence_of(connection: Connection, deliveries: Select[Any]) -> dict[int, Evidence]:
    chosen = deliveries.subquery()
    query = select(evidence).where(evidence.c.id.in_(select(chosen.c.evidence_id)))
    return {row.id: to_evidence(row) for row in connection.execute(query)}


def to_delivery(row: Row[Any]) -> Delivery:
    """Return a row as a value."""
    return Delivery(state=DeliveryState(row.state), **columns_of(row, _DELIVERY_COLUMNS))


def to_evidence(row: Row[Any]) -> Evidence:
    """Return a row as a value."""
    return Evidence(**columns_of(row, _EVIDENCE_COLUMNS))
