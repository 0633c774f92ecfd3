"""Empties the outbox: send, then find again and compare; every outcome is a row (S23 to S25)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from node.delivery.events import DeliveryEvent, EventKind, OnEvent
from node.delivery.turn import Allowed, Clock, Outlet, Turn
from node.errors import StorageUnavailable
from node.logs import get_logger
from node.storage.database import Database
from node.storage.delivery_rows import ClaimedJob, claim_due, give_back, renew
from node.storage.files import Files

__all__ = [
    "Allowed",
    "DeliveryEvent",
    "EventKind",
    "OnEvent",
    "Outlet",
    "deliver_destination",
    "deliver_due",
    "deliver_next",
]

log = get_logger(__name__)

LEASE_S = 60.0
_RENEW_S = 15.0


def deliver_due(
    db: Database,
    files: Files,
    outlets: Sequence[Outlet],
    *,
    now: float,
    owner: str,
    allowed: Allowed,
    on_event: OnEvent,
) -> int:
    """Deliver what is due at each outlet, one after the other; return how many were handled.

    For tests and one-shot commands; the engine runs `deliver_destination` in a thread per
    destination, so that a slow one delays no other.
    """
    return sum(
        deliver_destination(
            db, files, outlet, now=now, owner=owner, allowed=allowed, on_event=on_event
        )
        for outlet in outlets
    )


def deliver_destination(
    db: Database,
    files: Files,
    outlet: Outlet,
    *,
    now: float,
    owner: str,
    allowed: Allowed,
    on_event: OnEvent,
) -> int:
    """Deliver everything that is due at one outlet; return how many deliveries were handled."""
    handled = 0
    started = time.monotonic()
    while done := deliver_next(
        db,
        files,
        outlet,
        now=now + time.monotonic() - started,
        owner=owner,
        allowed=allowed,
        on_event=on_event,
    ):
        handled += done
    return handled


def deliver_next(
    db: Database,
    files: Files,
    outlet: Outlet,
    *,
    now: float,
    owner: str,
    allowed: Allowed,
    on_event: OnEvent,
) -> int:
    """Send and prove what is due of the oldest job at one outlet, over one association.

    Parameters
    ----------
    now : float
        Seconds since the epoch.
    owner : str
        Unlike that of any other sender, also of one before a restart (`process_token`).
    allowed : callable
        Gets job and destination; a refusal cancels what was not sent yet.
    on_event : callable
        Gets each step, for trail and metrics.

    Returns
    -------
    int
        How many deliveries were handled, well or not; 0: nothing is due.

    Raises
    ------
    StorageUnavailable
        If rows cannot be read or written; the next turn of this sender gives the deliveries back,
        or else the lease does by time.
    """
    # Nothing is ours between two turns: what is, a turn could not give back on a full disk.
    give_back(db, outlet.settings.name, owner)
    claimed = claim_due(db, outlet.settings.name, owner, now=now, lease_s=LEASE_S)
    if claimed is None:
        return 0
    clock = Clock(now)
    turn = Turn(db, files, outlet, owner=owner, clock=clock, on_event=on_event)
    with _lease_kept(db, claimed, owner, clock):
        turn.deliver(claimed, allowed)
    give_back(db, outlet.settings.name, owner)
    return len(claimed.items)


@contextmanager
def _lease_kept(db: Database, claimed: ClaimedJob, owner: str, clock: Clock) -> Iterator[None]:
    """Renew the lease while a slow destination answers."""
    ids = [item.delivery.id for item in claimed.items]
    done = threading.Event()

    def keep() -> None:
        while not done.wait(_RENEW_S):
            try:
                renew(db, ids, owner, now=clock(), lease_s=LEASE_S)
            except StorageUnavailable:
                log.error("lease of deliveries not renewed", job=claimed.job_id)

    thread = threading.Thread(target=keep, name="delivery lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
