"""Rows of what is taken back: who asked, how, and whether it is gone from there (S8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, or_, select, update

from node.model import (
    LEGAL_DELIVERY_CHANGES,
    LEGAL_WITHDRAWAL_CHANGES,
    Addressee,
    Delivery,
    DeliveryState,
    Evidence,
    NewEvidence,
    WithdrawalState,
    check_change,
)
from node.storage.database import Database
from node.storage.delivery_rows import NO_ANSWER, to_delivery, to_evidence
from node.storage.intake_rows import note_own_uids
from node.storage.lease_rows import add_delivery, add_evidence
from node.storage.note_roles import takes_back
from node.storage.statements import columns_of, insert_if_absent
from node.storage.tables import delivery, evidence, withdrawal

_COLUMNS = (
    *("id", "delivery_id", "requested_at", "reason", "see", "means", "note_id"),
    *("next_look_at", "looked_at", "sentence", "done_at"),
)
#: What must be looked at again, until it is gone or a person says that it is done.
_OPEN = (WithdrawalState.VISIBLE, WithdrawalState.UNKNOWN)
#: A dead letter of these kinds: what lies there under our UID is not ours.
_FOREIGN = ("CONTENT_DIFFERS", "DUPLICATE_UNPROVEN")


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """One delivered object on its way out."""

    id: int
    delivery_id: int
    requested_at: float
    reason: str
    #: What to look at instead, or "".
    see: str
    state: WithdrawalState
    #: ``note``, ``mark``, ``delete``, or "" before it is prepared.
    means: str
    note_id: int | None
    next_look_at: float
    looked_at: float | None
    #: What looking showed.
    sentence: str
    #: When a person said that what was left to do is done.
    done_at: float | None

    @property
    def is_task(self) -> bool:
        """Return whether a person has something to do about it."""
        return self.state in _OPEN and self.done_at is None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A withdrawal with what it takes back, and from where."""

    withdrawal: Withdrawal
    delivery: Delivery
    evidence: Evidence


def request_withdrawal(
    db: Database, deliveries: Iterable[int], *, reason: str, see: str = "", now: float
) -> None:
    """Ask for deliveries to be taken back; those that are asked for already stay as they are."""
    values = {"reason": reason, "see": see, "sentence": "", "requested_at": now}
    fixed = {"state": WithdrawalState.REQUESTED.value, "means": "", "next_look_at": now}
    with db.write() as connection:
        for one in deliveries:
            insert_if_absent(connection, withdrawal, {"delivery_id": one, **values, **fixed})


def deliveries_to_withdraw(db: Database, job_id: str) -> tuple[int, ...]:
    """Return what a job sent or may send, notes of withdrawal and what was asked for left out."""
    query = (
        select(delivery.c.id)
        .join(evidence, evidence.c.id == delivery.c.evidence_id)
        .outerjoin(withdrawal, withdrawal.c.delivery_id == delivery.c.id)
        .where(delivery.c.job_id == job_id, ~takes_back(), withdrawal.c.id.is_(None))
        .order_by(delivery.c.id)
    )
    with db.read() as connection:
        return tuple(row.id for row in connection.execute(query))


def withdrawals(
    db: Database,
    *,
    states: Sequence[WithdrawalState] = (),
    jobs: Sequence[str] = (),
    tasks: bool = False,
    limit: int | None = None,
) -> tuple[Taken, ...]:
    """Return withdrawals, the newest first: all, of some states, of some jobs, or open tasks."""
    wanted: list[ColumnElement[bool]] = []
    if states:
        wanted.append(withdrawal.c.state.in_([state.value for state in states]))
    if jobs:
        wanted.append(delivery.c.job_id.in_(jobs))
    if tasks:
        wanted += [_in(_OPEN), withdrawal.c.done_at.is_(None)]
    with db.read() as connection:
        return tuple(reversed(_taken(connection, wanted, limit)))


def count_tasks(db: Database) -> int:
    """Return how many withdrawals wait for a person."""
    query = select(func.count()).where(_in(_OPEN), withdrawal.c.done_at.is_(None))
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def end_task(db: Database, withdrawal_id: int, *, now: float) -> bool:
    """Note that a person did what was left to do; return whether there was such a task."""
    with db.write() as connection:
        changed = connection.execute(
            update(withdrawal)
            .where(withdrawal.c.id == withdrawal_id, _in(_OPEN), withdrawal.c.done_at.is_(None))
            .values(done_at=now)
        )
    return changed.rowcount == 1


def requested(db: Database, *, now: float) -> Mapping[tuple[str, str], tuple[Taken, ...]]:
    """Return what was asked for, is due and not prepared yet, by job and destination."""
    due = [_in((WithdrawalState.REQUESTED,)), withdrawal.c.next_look_at <= now]
    with db.read() as connection:
        rows = _taken(connection, due, None)
    found: dict[tuple[str, str], tuple[Taken, ...]] = {}
    for one in rows:
        key = (one.delivery.job_id, one.delivery.destination)
        found[key] = (*found.get(key, ()), one)
    return found


def stop_unsent(db: Database, taken: Sequence[Taken], *, now: float) -> tuple[Taken, ...] | None:
    """Cancel what has not left; return what the destination may hold.

    Returns
    -------
    tuple of Taken, or None
        None: a sender holds one of them just now; ask again.
    """
    ids = [one.delivery.id for one in taken]
    with db.write() as connection:
        query = select(delivery).where(delivery.c.id.in_(ids)).with_for_update()
        rows = {row.id: row for row in connection.execute(query)}
        if any(_is_being_sent(row, now) for row in rows.values()):
            return None
        for one in taken:
            _stop(connection, one, rows[one.delivery.id], now)
        return tuple(one for one in taken if _may_be_there(rows[one.delivery.id]))


def prepare(
    db: Database,
    taken: Sequence[Taken],
    *,
    means: str,
    note: NewEvidence | None = None,
    to: Addressee | None = None,
    now: float,
) -> bool:
    """Note how objects are taken back, with the note that says so in the outbox.

    Returns
    -------
    bool
        False if another process was quicker; nothing was written.
    """
    check_change(LEGAL_WITHDRAWAL_CHANGES, WithdrawalState.REQUESTED, WithdrawalState.PREPARED)
    ids = [one.withdrawal.id for one in taken]
    mine = (withdrawal.c.id.in_(ids), _in((WithdrawalState.REQUESTED,)))
    with db.write() as connection:
        query = select(withdrawal.c.id).where(*mine).with_for_update()
        if len(connection.execute(query).all()) != len(ids):
            return False
        note_id = None
        if note is not None and to is not None:
            job_id = taken[0].delivery.job_id
            note_id = add_evidence(connection, job_id, note, now)
            note_own_uids(connection, [note.sop_instance_uid], now)
            add_delivery(connection, job_id, note_id, note, to, now=now)
        connection.execute(
            update(withdrawal)
            .where(*mine)
            .values(
                state=WithdrawalState.PREPARED.value, means=means, note_id=note_id, next_look_at=now
            )
        )
    return True


def to_look_at(db: Database, destination: str, *, now: float, limit: int = 50) -> tuple[Taken, ...]:
    """Return what is to be looked for at a destination now, the oldest first.

    After its note was proven, accepted or refused there; then again while it is visible.
    """
    ended = (DeliveryState.PROVEN, DeliveryState.ACCEPTED, DeliveryState.FAILED)
    told = delivery.alias("told")
    arrived = (
        select(told.c.id)
        .where(
            told.c.evidence_id == withdrawal.c.note_id,
            told.c.destination == destination,
            told.c.state.in_([state.value for state in ended]),
        )
        .exists()
    )
    prepared = and_(_in((WithdrawalState.PREPARED,)), or_(withdrawal.c.note_id.is_(None), arrived))
    again = and_(_in(_OPEN), withdrawal.c.done_at.is_(None))
    wanted = [
        delivery.c.destination == destination,
        withdrawal.c.next_look_at <= now,
        or_(prepared, again),
    ]
    with db.read() as connection:
        return tuple(_taken(connection, wanted, limit))


def note_delivery(db: Database, one: Taken) -> Delivery | None:
    """Return how the note of a withdrawal fares at its destination."""
    query = select(delivery).where(
        delivery.c.evidence_id == one.withdrawal.note_id,
        delivery.c.destination == one.delivery.destination,
    )
    with db.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else to_delivery(row)


def record_look(
    db: Database,
    one: Withdrawal,
    state: WithdrawalState,
    sentence: str,
    *,
    now: float,
    next_look_at: float,
) -> bool:
    """Write what looking showed; return False if another process wrote it before."""
    check_change(LEGAL_WITHDRAWAL_CHANGES, one.state, state)
    with db.write() as connection:
        changed = connection.execute(
            update(withdrawal)
            .where(withdrawal.c.id == one.id, withdrawal.c.state == one.state.value)
            .values(state=state.value, sentence=sentence, looked_at=now, next_look_at=next_look_at)
        )
    return changed.rowcount == 1


def look_later(db: Database, one: Withdrawal, sentence: str, *, until: float) -> None:
    """Look again then, because the destination gives no answer now."""
    with db.write() as connection:
        connection.execute(
            update(withdrawal)
            .where(withdrawal.c.id == one.id, withdrawal.c.state == one.state.value)
            .values(sentence=sentence, next_look_at=until)
        )


def _in(states: Iterable[WithdrawalState]) -> ColumnElement[bool]:
    return withdrawal.c.state.in_([state.value for state in states])


def _is_being_sent(row: Row[Any], now: float) -> bool:
    held = bool(row.owner) and row.lease_until is not None and row.lease_until > now
    return held and row.state == DeliveryState.PENDING.value


def _may_be_there(row: Row[Any]) -> bool:
    """Return whether the destination was offered it and did not refuse it."""
    if row.state == DeliveryState.FAILED.value and row.reason.startswith(_FOREIGN):
        return False
    return row.sent_at is not None or row.status == NO_ANSWER


def _stop(connection: Connection, one: Taken, row: Row[Any], now: float) -> None:
    """Let a delivery that is not there never be sent; end its withdrawal if that is all."""
    state = DeliveryState(row.state)
    if state in (DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.CANCELED):
        if state is not DeliveryState.CANCELED:
            check_change(LEGAL_DELIVERY_CHANGES, state, DeliveryState.CANCELED)
        reason = row.reason if state is DeliveryState.FAILED else one.withdrawal.reason
        connection.execute(
            update(delivery)
            .where(delivery.c.id == row.id)
            .values(
                state=DeliveryState.CANCELED.value,
                reason=f"WITHDRAWN: {reason}",
                owner="",
                lease_until=None,
            )
        )
    if _may_be_there(row):
        return
    check_change(LEGAL_WITHDRAWAL_CHANGES, WithdrawalState.REQUESTED, WithdrawalState.NOT_SENT)
    foreign = row.reason.startswith(_FOREIGN)
    sentence = "what lies there under its UID is not ours" if foreign else "it had not left"
    connection.execute(
        update(withdrawal)
        .where(withdrawal.c.id == one.withdrawal.id)
        .values(state=WithdrawalState.NOT_SENT.value, sentence=sentence, looked_at=now)
    )


def _taken(
    connection: Connection, wanted: Sequence[ColumnElement[bool]], limit: int | None
) -> list[Taken]:
    joined = select(withdrawal).join(delivery, delivery.c.id == withdrawal.c.delivery_id)
    query = joined.where(*wanted).order_by(withdrawal.c.id.desc()).limit(limit)
    rows = list(reversed(connection.execute(query).all()))
    ids = select(query.subquery().c.delivery_id)
    sent = connection.execute(select(delivery).where(delivery.c.id.in_(ids) if rows else false()))
    deliveries = {row.id: to_delivery(row) for row in sent}
    made_ids = [one.evidence_id for one in deliveries.values()]
    made = connection.execute(select(evidence).where(evidence.c.id.in_(set(made_ids))))
    objects = {row.id: to_evidence(row) for row in made}
    return [
        Taken(
            withdrawal=Withdrawal(state=WithdrawalState(row.state), **columns_of(row, _COLUMNS)),
            delivery=deliveries[row.delivery_id],
            evidence=objects[deliveries[row.delivery_id].evidence_id],
        )
        for row in rows
    ]
