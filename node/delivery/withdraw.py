"""Looks whether what was taken back is gone, or takes it back by the destination's means (S8)."""

from __future__ import annotations

from node.delivery.destination import OutgoingObject
from node.delivery.events import DeliveryEvent, EventKind, OnEvent, log_event
from node.delivery.turn import Outlet
from node.errors import DeliveryFailed
from node.model import DeliveryState, WithdrawalState
from node.storage.database import Database
from node.storage.files import Files
from node.storage.withdrawal_rows import (
    Taken,
    look_later,
    note_delivery,
    record_look,
    to_look_at,
)

#: Between looks at what is still visible: as long as it was asked for, within these limits.
_SOONEST_S = 60.0
_LATEST_S = 3600.0


def withdraw_due(
    db: Database, files: Files, outlet: Outlet, *, now: float, on_event: OnEvent
) -> int:
    """Take back and look for what is due at one outlet; return how many objects were handled.

    Raises
    ------
    StorageUnavailable
        If rows cannot be read or written.
    """
    taken = to_look_at(db, outlet.settings.name, now=now)
    for one in taken:
        _handle(db, files, outlet, one, now=now, on_event=on_event)
    return len(taken)


def _handle(
    db: Database, files: Files, outlet: Outlet, one: Taken, *, now: float, on_event: OnEvent
) -> None:
    until = now + min(_LATEST_S, max(_SOONEST_S, now - one.withdrawal.requested_at))
    try:
        state, sentence = _look(db, files, outlet, one)
    except DeliveryFailed as error:
        if error.retry:
            look_later(db, one.withdrawal, f"waits: {error}", until=until)
            return
        state, sentence = WithdrawalState.VISIBLE, str(error)
    written = record_look(db, one.withdrawal, state, sentence, now=now, next_look_at=until)
    if written and state is not one.withdrawal.state:
        _tell(outlet, one, state, sentence, on_event)


def _look(db: Database, files: Files, outlet: Outlet, one: Taken) -> tuple[WithdrawalState, str]:
    """Return whether it is gone, and what was done and found, in words."""
    item = OutgoingObject(evidence=one.evidence, path=files.absolute(one.evidence.path))
    done = ""
    if one.withdrawal.means == "note":
        done = _fate_of_note(db, one)
    elif one.withdrawal.state is WithdrawalState.PREPARED:
        done = outlet.destination.take_back(item, _words(one))
    held = outlet.destination.holds(item)
    if held is None:
        return WithdrawalState.UNKNOWN, _joined(done, "the destination cannot be asked")
    if held:
        return WithdrawalState.VISIBLE, _joined(done, "still found there")
    return WithdrawalState.HIDDEN, _joined(done, "not found there any more")


def _fate_of_note(db: Database, one: Taken) -> str:
    note = note_delivery(db, one)
    if note is None or note.state is DeliveryState.FAILED:
        return f"the note was not taken ({note.reason if note else 'it is gone'})"
    proven = note.state is DeliveryState.PROVEN
    return "the note is proven there" if proven else "the note was sent"


def _words(one: Taken) -> str:
    see = f", see {one.withdrawal.see}" if one.withdrawal.see else ""
    return f"WITHDRAWN{see}: {one.withdrawal.reason or 'no reason was given'}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _tell(
    outlet: Outlet, one: Taken, state: WithdrawalState, sentence: str, on_event: OnEvent
) -> None:
    gone = state is WithdrawalState.HIDDEN
    event = DeliveryEvent(
        kind=EventKind.HIDDEN if gone else EventKind.ALARM,
        job_id=one.delivery.job_id,
        role=one.evidence.role,
        destination=outlet.settings.name,
        status=state.value,
        code="WITHDRAWN" if gone else "WITHDRAWN_NOT_HIDDEN",
        sentence=sentence,
    )
    log_event(event)
    on_event(event)
