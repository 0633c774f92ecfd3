"""One turn of one job at one destination: may it go, is it intact, send it, prove it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.delivery.answers import (
    DUPLICATE_STATUSES,
    SendAnswer,
    Verdict,
    answer_of_failure,
    answer_without_status,
    must_prove_content,
)
from node.delivery.backoff import PROOF_PATIENCE_S, held_until, prove_at, retry_at
from node.delivery.destination import Destination, OutgoingObject
from node.delivery.events import DeliveryEvent, EventKind, OnEvent, log_event
from node.delivery.proof import (
    Proof,
    ProofKind,
    ProofOutcome,
    identity_differences,
    letters_are_missing,
)
from node.dicom.headers import identity_of, read_header
from node.errors import DeliveryFailed, LeaseLost, Refused, StorageUnavailable
from node.logs import get_logger
from node.model import DeliveryState, Evidence, Identity, Job
from node.settings import DestinationSettings
from node.storage.database import Database
from node.storage.delivery_rows import Claimed, ClaimedJob, Outcome, hasten, postpone, record
from node.storage.files import Files
from node.storage.job_rows import get_job

log = get_logger(__name__)

#: `Delivery.status` while the destination files the study under another patient (S3).
IDENTITY_HOLD = "IDENTITY DIFFERS"
_LETTERS_MISSING = (
    "its answer lacks letters that its character set cannot hold; let it answer in Unicode "
    '(Orthanc: "DefaultEncoding": "Utf8")'
)
#: Last statuses after which a delivery goes out at once when its destination is back.
_WAITING_FOR_DESTINATION = ("", "UNREACHABLE", "NOT ADMITTED")


@dataclass(frozen=True, kw_only=True)
class Outlet:
    """A destination with what the settings say of it."""

    settings: DestinationSettings
    destination: Destination


#: Asked for each job before anything of it is sent: kill switch (S22), grade (S4).
Allowed = Callable[[Job, DestinationSettings], Refused | None]


class Clock:
    """The time that was passed in, going on."""

    def __init__(self, now: float):
        self._offset = now - time.monotonic()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self._offset + time.monotonic()


class Turn:
    """One turn of one job at one outlet."""

    def __init__(
        self,
        db: Database,
        files: Files,
        outlet: Outlet,
        *,
        owner: str,
        clock: Clock,
        on_event: OnEvent,
    ):
        self._db = db
        self._files = files
        self._settings = outlet.settings
        self._destination = outlet.destination
        self._owner = owner
        self._clock = clock
        self._on_event = on_event

    def deliver(self, claimed: ClaimedJob, allowed: Allowed) -> None:
        """Send what is pending, then prove what is sent; nothing is raised for one job."""
        #: What is still ours to decide, by delivery id.
        self._open = {item.delivery.id: item for item in claimed.items}
        try:
            self._send_pending(claimed, allowed)
            for item in [i for i in self._open.values() if i.delivery.state is DeliveryState.SENT]:
                self._prove(item)
        except LeaseLost:
            log.error("lease of deliveries lost", job=claimed.job_id)
        except StorageUnavailable:
            raise
        except Exception as error:  # border: a defect delays one job, not the outbox
            log.exception("alarm: delivery hit a defect", job=claimed.job_id)
            sentence = f"{type(error).__name__} in the node; see the log at this time"
            self._put_off(answer_without_status(Verdict.PROCESSING_FAILED, sentence))

    # --- sending ----------------------------------------------------------------------------

    def _send_pending(self, claimed: ClaimedJob, allowed: Allowed) -> None:
        pending = [i for i in claimed.items if i.delivery.state is DeliveryState.PENDING]
        pending = self._allowed(claimed.job_id, pending, allowed)
        if not pending:
            return
        ready = [item for item in pending if self._is_intact(item)]
        try:
            ready = [] if self._is_held(ready) else ready
        except DeliveryFailed as error:
            self._put_off(answer_of_failure(error))
            return
        if ready:
            self._send(ready)

    def _allowed(self, job_id: str, pending: list[Claimed], allowed: Allowed) -> list[Claimed]:
        """Return what may leave; cancel the rest. What withdraws may always leave (S8)."""
        withdrawing = [item for item in pending if item.evidence.withdraws]
        others = [item for item in pending if not item.evidence.withdraws]
        refusal = allowed(get_job(self._db, job_id), self._settings) if others else None
        if refusal is None:
            return pending
        for item in others:
            reason = f"{refusal.code}: {refusal.sentence}"
            self._record(item, Outcome(state=DeliveryState.CANCELED, reason=reason))
            self._tell(EventKind.CANCELED, item, code=str(refusal.code), sentence=refusal.sentence)
        return withdrawing

    def _is_intact(self, item: Claimed) -> bool:
        """Return whether the file holds the bytes of its row; never send others (S1)."""
        try:
            with self._path_of(item.evidence).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            self._fail(item, "EVIDENCE_MISSING", "the evidence file is gone")
            return False
        if found == item.evidence.sha256:
            return True
        self._fail(item, "EVIDENCE_CHANGED", "the evidence file holds other bytes than were made")
        return False

    def _is_held(self, ready: Sequence[Claimed]) -> bool:
        """Hold a job whose patient or order is another one at the destination (S3)."""
        differing = [pair for item in _one_a_study(ready) for pair in self._differing(item)]
        if not differing:
            return False
        words = sorted({word for pair in differing for word in identity_differences(*pair)})
        lost = all(letters_are_missing(*pair) for pair in differing)
        hint = f": {_LETTERS_MISSING}" if lost else ""
        sentence = f"{', '.join(words)} of the study differ at the destination; not sent{hint}"
        alarming = not any(item.delivery.status == IDENTITY_HOLD for item in ready)
        for item in ready:
            until = held_until(
                item.delivery.attempts + 1, now=self._clock(), seed=ready[0].delivery.id
            )
            self._record(
                item,
                Outcome(
                    state=DeliveryState.PENDING,
                    status=IDENTITY_HOLD,
                    reason=f"IDENTITY_DIFFERS: {sentence}",
                    next_attempt_at=until,
                    tried=True,
                ),
            )
            # One alarm for the job: what to do about it is the same for all of its objects.
            kind = EventKind.ALARM if alarming and item is ready[0] else EventKind.RETRY
            self._tell(kind, item, code="IDENTITY_DIFFERS", sentence=sentence)
        return True

    def _differing(self, item: Claimed) -> list[tuple[Identity, Identity]]:
        """Return our patient with each other one under whom the study is filed there."""
        filed = self._destination.identities_of_study(item.evidence.study_instance_uid)
        if not filed:
            return []
        ours = self._identity_of(item.evidence)
        return [(ours, theirs) for theirs in filed if identity_differences(ours, theirs)]

    def _send(self, ready: Sequence[Claimed]) -> None:
        outgoing = [self._outgoing(item.evidence) for item in ready]
        ended_by, until = None, 0.0
        for item, answer in zip(ready, self._destination.send(outgoing), strict=True):
            if answer.verdict.ends_association:
                ended_by, until = answer, self._wait(item, answer, seed=ready[0].delivery.id)
            elif answer.verdict is Verdict.NOT_TRIED and ended_by:
                # Status and time of the one it waits for, so that they stay together (S25).
                self._pend(item, ended_by, until, tried=False)
            elif answer.verdict.is_stored:
                self._sent(item, answer)
            elif answer.verdict is Verdict.REFUSED:
                self._fail(item, answer.code, answer.sentence, status=answer.status, tried=True)
            else:
                self._wait(item, answer, seed=item.delivery.id)
        self._tell_the_rest(ended_by, until)

    def _tell_the_rest(self, ended_by: SendAnswer | None, until: float) -> None:
        """Let other jobs wait for a destination that takes nothing, or go if it is back."""
        name = self._settings.name
        if ended_by and ended_by.verdict.closes_destination:
            postpone(self._db, name, until=until)
        elif ended_by is None:
            hasten(self._db, name, _WAITING_FOR_DESTINATION, now=self._clock())

    def _sent(self, item: Claimed, answer: SendAnswer) -> None:
        reason = "" if answer.verdict is Verdict.STORED else answer.sentence
        self._record(
            item,
            Outcome(
                state=DeliveryState.SENT,
                status=answer.status,
                reason=reason,
                next_attempt_at=self._clock(),
                tried=True,
                keep=True,
            ),
        )
        self._tell(EventKind.SENT, item, status=answer.status, sentence=reason)
        if answer.verdict is Verdict.STORED_IN_PART:
            self._tell(
                EventKind.ALARM,
                item,
                status=answer.status,
                code="STORED_IN_PART",
                sentence=answer.sentence,
            )

    def _wait(self, item: Claimed, answer: SendAnswer, *, seed: int) -> float:
        """Come again later, by the class of the error; return when."""
        attempts = item.delivery.attempts + 1
        until = retry_at(answer.verdict, attempts, now=self._clock(), seed=seed)
        self._pend(item, answer, until, tried=True)
        return until

    def _pend(self, item: Claimed, answer: SendAnswer, until: float, *, tried: bool) -> None:
        self._record(
            item,
            Outcome(
                state=DeliveryState.PENDING,
                status=answer.status,
                reason=answer.sentence,
                next_attempt_at=until,
                tried=tried,
            ),
        )
        # A wrong AE title or password does not heal by itself: tell a person, once.
        again = item.delivery.status == answer.status
        alarming = answer.verdict is Verdict.NOT_ADMITTED and not again
        kind = EventKind.ALARM if alarming else EventKind.RETRY
        self._tell(kind, item, status=answer.status, sentence=answer.sentence)

    def _put_off(self, answer: SendAnswer) -> None:
        """Come again later with everything that is still open."""
        pending = [i for i in self._open.values() if i.delivery.state is DeliveryState.PENDING]
        until = 0.0
        for item in pending:
            if item is pending[0]:
                until = self._wait(item, answer, seed=item.delivery.id)
            else:
                self._pend(item, answer, until, tried=False)
        if pending:
            self._tell_the_rest(answer, until)
        for item in list(self._open.values()):
            self._look_later(item, answer.sentence)

    def _fail(
        self, item: Claimed, code: str, sentence: str, *, status: str = "", tried: bool = False
    ) -> None:
        """Make a dead letter: a person must look."""
        status = status or item.delivery.status
        outcome = Outcome(
            state=DeliveryState.FAILED, status=status, reason=f"{code}: {sentence}", tried=tried
        )
        self._record(item, outcome)
        self._tell(EventKind.ALARM, item, status=status, code=code, sentence=sentence)

    # --- proof ------------------------------------------------------------------------------

    def _prove(self, item: Claimed) -> None:
        must = must_prove_content(item.delivery.status)
        if self._settings.required == "sent" and not must:
            self._accept(item, "proof is not asked of this destination")
            return
        try:
            proof = self._destination.prove(
                self._outgoing(item.evidence), self._identity_of(item.evidence)
            )
        except DeliveryFailed as error:
            self._look_later(item, f"proof waits: {error}")
            return
        self._judge(item, proof, must=must)

    def _judge(self, item: Claimed, proof: Proof, *, must: bool) -> None:
        by_content = proof.kind is ProofKind.CONTENT
        if proof.outcome is ProofOutcome.DIFFERS:
            self._fail(item, proof.code, proof.sentence)
        elif proof.outcome is ProofOutcome.NOT_FOUND:
            self._not_found(item)
        elif proof.outcome is ProofOutcome.PROVEN and (by_content or not must):
            sentence = proof.sentence if by_content else f"by attributes: {proof.sentence}"
            self._proven(item, sentence)
        elif item.delivery.status in DUPLICATE_STATUSES:
            sentence = f"it held this UID before, and content cannot be compared: {proof.sentence}"
            self._fail(item, "DUPLICATE_UNPROVEN", sentence)
        else:
            self._accept(item, f"cannot be proven there: {proof.sentence}")

    def _not_found(self, item: Claimed) -> None:
        sent_at = item.delivery.sent_at or 0.0
        if self._clock() - sent_at < PROOF_PATIENCE_S:
            self._look_later(item, "stored, but not found there yet")
            return
        sentence = "the destination answered that it stored the object, but does not find it"
        self._fail(item, "NOT_FOUND_AFTER_STORE", sentence)

    def _proven(self, item: Claimed, sentence: str) -> None:
        outcome = Outcome(state=DeliveryState.PROVEN, status=item.delivery.status, reason=sentence)
        self._record(item, outcome)
        self._tell(EventKind.PROVEN, item, status=item.delivery.status, sentence=sentence)

    def _accept(self, item: Claimed, sentence: str) -> None:
        outcome = Outcome(
            state=DeliveryState.ACCEPTED, status=item.delivery.status, reason=sentence
        )
        self._record(item, outcome)
        self._tell(EventKind.ACCEPTED, item, status=item.delivery.status, sentence=sentence)

    def _look_later(self, item: Claimed, sentence: str) -> None:
        now = self._clock()
        until = prove_at(item.delivery.sent_at or now, now=now, seed=item.delivery.id)
        outcome = Outcome(
            state=DeliveryState.SENT,
            status=item.delivery.status,
            reason=sentence,
            next_attempt_at=until,
        )
        self._record(item, outcome)
        self._tell(EventKind.RETRY, item, status=item.delivery.status, sentence=sentence)

    # --- common -----------------------------------------------------------------------------

    def _outgoing(self, evidence: Evidence) -> OutgoingObject:
        return OutgoingObject(evidence=evidence, path=self._path_of(evidence))

    def _path_of(self, evidence: Evidence) -> Path:
        return self._files.absolute(evidence.path)

    def _identity_of(self, evidence: Evidence) -> Identity:
        return identity_of(read_header(self._path_of(evidence)))

    def _record(self, item: Claimed, outcome: Outcome) -> None:
        now = self._clock()
        changed = record(self._db, item.delivery, self._owner, outcome, now=now)
        if outcome.keep:
            self._open[changed.id] = Claimed(delivery=changed, evidence=item.evidence)
        else:
            del self._open[changed.id]

    def _tell(
        self,
        kind: EventKind,
        item: Claimed,
        *,
        status: str = "",
        code: str = "",
        sentence: str = "",
    ) -> None:
        event = DeliveryEvent(
            kind=kind,
            job_id=item.evidence.job_id,
            role=item.evidence.role,
            destination=self._settings.name,
            status=status,
            code=code,
            sentence=sentence,
        )
        log_event(event)
        self._on_event(event)


def _one_a_study(items: Sequence[Claimed]) -> list[Claimed]:
    return list({item.evidence.study_instance_uid: item for item in reversed(items)}.values())
