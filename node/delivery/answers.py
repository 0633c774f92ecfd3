"""What a destination's answer means: the whole table of S23 in one place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from node.errors import DeliveryFailed


class Verdict(StrEnum):
    """What to do after one object was offered to a destination."""

    #: The destination has it; go on to proof.
    STORED = "stored"
    #: It has it and says that something was odd (B000, B007); never sent again for that.
    STORED_WITH_WARNING = "stored with warning"
    #: It threw elements away (B006): alarm, and only content may prove it.
    STORED_IN_PART = "stored in part"
    #: It already had this UID (0111): only content decides whether that is our object.
    DUPLICATE = "duplicate"
    #: It has no room now (A7xx, HTTP 507…): the destination as a whole must wait.
    NO_RESOURCES = "no resources"
    #: It failed at this one object for now (0110, HTTP 5xx): others go on.
    PROCESSING_FAILED = "processing failed"
    #: No connection, or turned away for now: nothing was offered.
    UNREACHABLE = "unreachable"
    #: Offered, and then no answer: timeout, abort, connection lost.
    NO_ANSWER = "no answer"
    #: The destination is there but does not talk to us (rejected association, HTTP 401).
    NOT_ADMITTED = "not admitted"
    #: Not offered at all, because something ended the association before its turn.
    NOT_TRIED = "not tried"
    #: It will never take this object as it is: dead letter, a person must look.
    REFUSED = "refused"

    @property
    def is_stored(self) -> bool:
        """Return whether the destination says that it holds an object of that UID."""
        return self in _STORED

    @property
    def ends_association(self) -> bool:
        """Return whether the objects after it must wait, so that S25's order holds."""
        return self.closes_destination or self is Verdict.NO_ANSWER

    @property
    def closes_destination(self) -> bool:
        """Return whether no other job would fare better there now."""
        return self in (Verdict.NO_RESOURCES, Verdict.UNREACHABLE, Verdict.NOT_ADMITTED)


_STORED = frozenset(
    {Verdict.STORED, Verdict.STORED_WITH_WARNING, Verdict.STORED_IN_PART, Verdict.DUPLICATE}
)


@dataclass(frozen=True, kw_only=True)
class SendAnswer:
    """What became of one object that was offered to a destination."""

    verdict: Verdict
    #: DIMSE status as four hex digits, ``HTTP 200``, or the verdict in capitals if none came.
    status: str = ""
    #: For a person; never the peer's own comment, which may name a patient (S28).
    sentence: str = ""
    #: Stable word of a refusal.
    code: str = ""


#: `SendAnswer.status` of an Orthanc that already held the UID.
ALREADY_STORED = "ALREADY STORED"
#: After these only content decides whether the destination holds our object (S23).
DUPLICATE_STATUSES = ("0111", ALREADY_STORED)

NOT_TRIED = SendAnswer(verdict=Verdict.NOT_TRIED, sentence="waits for the objects before it")


def must_prove_content(status: str) -> bool:
    """Return whether nothing but retrieved content can prove an object sent with `status`."""
    return status in (*DUPLICATE_STATUSES, "B006")


def answer_without_status(verdict: Verdict, sentence: str) -> SendAnswer:
    """Return the answer that stands for none: no connection, rejected, broken off."""
    return SendAnswer(verdict=verdict, status=verdict.name.replace("_", " "), sentence=sentence)


def failure(verdict: Verdict, sentence: str) -> DeliveryFailed:
    """Return the error to raise where a question to a destination got no answer."""
    return DeliveryFailed(sentence, retry=True, code=verdict.name)


def answer_of_failure(error: DeliveryFailed) -> SendAnswer:
    """Return what an error made by `failure` means for the object that was to be sent."""
    known = error.code in Verdict.__members__
    return answer_without_status(Verdict[error.code] if known else Verdict.NO_ANSWER, str(error))


_SINGLE: dict[int, tuple[Verdict, str]] = {
    0x0000: (Verdict.STORED, "stored"),
    0xB000: (Verdict.STORED_WITH_WARNING, "stored, some attributes coerced"),
    0xB006: (Verdict.STORED_IN_PART, "stored, but some elements were discarded"),
    0xB007: (
        Verdict.STORED_WITH_WARNING,
        "stored, although the object does not match its SOP class there",
    ),
    0x0110: (Verdict.PROCESSING_FAILED, "processing failure"),
    0x0111: (Verdict.DUPLICATE, "the destination already holds this UID"),
    0x0117: (Verdict.REFUSED, "invalid object instance"),
    0x0122: (Verdict.REFUSED, "SOP class not supported"),
    0x0124: (Verdict.REFUSED, "not authorised"),
}
_RANGES: tuple[tuple[int, int, Verdict, str], ...] = (
    (0xA700, 0xA7FF, Verdict.NO_RESOURCES, "out of resources"),
    (0xA900, 0xA9FF, Verdict.REFUSED, "the object does not match its SOP class"),
    (0xC000, 0xCFFF, Verdict.REFUSED, "cannot understand"),
)


def answer_of_status(status: int) -> SendAnswer:
    """Return what a C-STORE response status means (S23; PS3.4 B.2.3, PS3.7 C).

    Parameters
    ----------
    status : int
        Value of (0000,0900).

    Examples
    --------
    >>> answer_of_status(0xA701).verdict, answer_of_status(0xB000).verdict.is_stored
    (<Verdict.NO_RESOURCES: 'no resources'>, True)
    """
    verdict, words = _meaning(status)
    code = "REFUSED_BY_DESTINATION" if verdict is Verdict.REFUSED else ""
    return SendAnswer(
        verdict=verdict, status=f"{status:04X}", sentence=f"{words} ({status:04X})", code=code
    )


def _meaning(status: int) -> tuple[Verdict, str]:
    if status in _SINGLE:
        return _SINGLE[status]
    for low, high, verdict, words in _RANGES:
        if low <= status <= high:
            return verdict, words
    return Verdict.REFUSED, "an answer that no table knows"


def answer_of_http(status: int) -> SendAnswer:
    """Return what an HTTP status of an upload means when it is not 200.

    Parameters
    ----------
    status : int
        100 to 599.
    """
    verdict, words = _http_meaning(status)
    code = "REFUSED_BY_DESTINATION" if verdict is Verdict.REFUSED else ""
    return SendAnswer(
        verdict=verdict, status=f"HTTP {status}", sentence=f"{words} (HTTP {status})", code=code
    )


def _http_meaning(status: int) -> tuple[Verdict, str]:
    if status in (401, 403, 407):
        return Verdict.NOT_ADMITTED, "user name or password not accepted"
    if status in (404, 405):
        return Verdict.NOT_ADMITTED, "no Orthanc answers at this address"
    if status in (408, 429, 503, 507):
        return Verdict.NO_RESOURCES, "out of resources"
    if status in (502, 504):
        return Verdict.NO_ANSWER, "a gateway before the destination answers for it"
    if status >= 500:
        return Verdict.PROCESSING_FAILED, "processing failure"
    return Verdict.REFUSED, "the object was refused"
