"""What happens to deliveries, told to trail, metrics and log without patient data (S28)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from node.logs import get_logger

log = get_logger(__name__)


class EventKind(StrEnum):
    """What happened to one delivery."""

    SENT = "sent"
    PROVEN = "proven"
    ACCEPTED = "accepted"
    RETRY = "retry"
    CANCELED = "canceled"
    #: It was withdrawn and is not found there any more.
    HIDDEN = "hidden"
    #: A person must look: dead letter, held, or stored in part.
    ALARM = "alarm"


@dataclass(frozen=True, kw_only=True)
class DeliveryEvent:
    """One step of one delivery, without patient data (S28)."""

    kind: EventKind
    job_id: str
    role: str
    destination: str
    status: str = ""
    code: str = ""
    sentence: str = ""


OnEvent = Callable[[DeliveryEvent], None]

_LEVELS = {
    EventKind.SENT: ("info", "evidence sent"),
    EventKind.PROVEN: ("info", "evidence proven"),
    EventKind.ACCEPTED: ("info", "evidence accepted"),
    EventKind.RETRY: ("warning", "delivery waits"),
    EventKind.CANCELED: ("warning", "delivery canceled"),
    EventKind.HIDDEN: ("info", "evidence withdrawn"),
    EventKind.ALARM: ("error", "alarm: delivery needs a person"),
}


def log_event(event: DeliveryEvent) -> None:
    """Write one line: job, role, destination and status, nothing of the study."""
    level, words = _LEVELS[event.kind]
    getattr(log, level)(
        words,
        job=event.job_id,
        role=event.role,
        destination=event.destination,
        status=event.status,
        code=event.code,
    )
