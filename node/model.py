"""The nouns of the node as frozen values, and the one table of legal state changes (E4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from node.clinical_values import ClinicalValue
from node.roi_choice import JobRoi


class StudyState(StrEnum):
    """Where a study is on its way to the rules."""

    #: Instances still arrive, or the quiet time runs (S13).
    RECEIVING = "RECEIVING"
    #: Nothing more is expected; the rules have not looked yet.
    COMPLETE = "COMPLETE"
    #: Every rule has decided for this revision.
    ROUTED = "ROUTED"
    #: Older than `max_age_days`; waits for a back-fill command (S15).
    HELD = "HELD"


class InstanceState(StrEnum):
    """What one stored version of a SOP Instance UID is worth (S2)."""

    #: The version that is used.
    STORED = "STORED"
    #: A second version came; its comparison with the first is still to do.
    UNRESOLVED = "UNRESOLVED"
    #: Equal after decoding (only transcoded); its file is dropped, the row remembers the bytes.
    DUPLICATE = "DUPLICATE"
    #: Replaced by a newer version with corrected header, same pixels and geometry.
    REPLACED = "REPLACED"
    #: Pixels or geometry differ between versions; an administrator must choose.
    CONFLICT = "CONFLICT"


class Origin(StrEnum):
    """How an instance came to be here (S15)."""

    #: A peer sent it by itself.
    ROUTED = "ROUTED"
    #: We asked for it (C-MOVE, C-GET, WADO); serves only the job that asked.
    RETRIEVED = "RETRIEVED"
    #: One of our own results, sent back at us (S14, S17).
    OWN = "OWN"


class JobState(StrEnum):
    """UPS words for a job, plus three of ours (E4)."""

    #: Waits for something that is not there yet, with its reason.
    WAITING = "WAITING"
    #: Ready for a worker.
    SCHEDULED = "SCHEDULED"
    #: A worker holds a lease on it.
    IN_PROGRESS = "IN PROGRESS"
    #: Evidence and deliveries are committed.
    COMPLETED = "COMPLETED"
    #: An administrator or a newer revision stopped it.
    CANCELED = "CANCELED"
    #: We will not compute on this input; the reason has a code.
    REFUSED = "REFUSED"
    #: It could not be computed although it should; an administrator may retry it.
    FAILED = "FAILED"


class DeliveryState(StrEnum):
    """One evidence on its way to one destination."""

    #: To be sent now or at `next_attempt_at`.
    PENDING = "PENDING"
    #: The destination answered that it stored it; proof is still to come.
    SENT = "SENT"
    #: Found again under the expected study and patient, with our digest (S24).
    PROVEN = "PROVEN"
    #: The destination cannot prove by its nature or settings; SENT is the last word.
    ACCEPTED = "ACCEPTED"
    #: Dead letter: a person must look; `sentinel-node deliveries --retry` restarts it.
    FAILED = "FAILED"
    #: Stopped before it left (kill switch, superseded revision, identity hold).
    CANCELED = "CANCELED"


class WithdrawalState(StrEnum):
    """One delivered object on its way out of a destination (S8)."""

    #: Somebody, or a newer result, wants it gone.
    REQUESTED = "REQUESTED"
    #: The note that says so is in the outbox, or the destination's own means is next.
    PREPARED = "PREPARED"
    #: It was looked for and is not found there any more.
    HIDDEN = "HIDDEN"
    #: It was looked for and is still there: a task for a person.
    VISIBLE = "VISIBLE"
    #: The destination cannot be asked: a task for a person.
    UNKNOWN = "UNKNOWN"
    #: It had never left.
    NOT_SENT = "NOT SENT"


class Grade(StrEnum):
    """How far a plugin may go (S4)."""

    PHANTOM = "phantom"
    EVALUATED = "evaluated"
    APPROVED_HERE = "approved here"


class DestinationGrade(StrEnum):
    """What a destination is for (S4)."""

    TEST = "test"
    RESEARCH = "research"
    CLINICAL = "clinical"


LEGAL_STUDY_CHANGES: Mapping[StudyState, frozenset[StudyState]] = {
    StudyState.RECEIVING: frozenset({StudyState.COMPLETE}),
    StudyState.COMPLETE: frozenset({StudyState.ROUTED, StudyState.HELD, StudyState.RECEIVING}),
    StudyState.ROUTED: frozenset({StudyState.RECEIVING, StudyState.COMPLETE}),
    StudyState.HELD: frozenset({StudyState.COMPLETE, StudyState.RECEIVING}),
}

LEGAL_JOB_CHANGES: Mapping[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.SCHEDULED, JobState.REFUSED, JobState.CANCELED}),
    JobState.SCHEDULED: frozenset(
        {JobState.IN_PROGRESS, JobState.WAITING, JobState.CANCELED, JobState.REFUSED}
    ),
    JobState.IN_PROGRESS: frozenset(
        {
            JobState.COMPLETED,
            JobState.REFUSED,
            JobState.FAILED,
            JobState.CANCELED,
            JobState.SCHEDULED,  # lease lost, attempt failed with a retry left, or drained
            JobState.WAITING,
        }
    ),
    JobState.COMPLETED: frozenset(),
    JobState.CANCELED: frozenset(),
    JobState.REFUSED: frozenset({JobState.SCHEDULED}),  # an administrator chose a version
    JobState.FAILED: frozenset({JobState.SCHEDULED}),
}

LEGAL_DELIVERY_CHANGES: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        {DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.CANCELED, DeliveryState.PENDING}
    ),
    DeliveryState.SENT: frozenset(DeliveryState) - {DeliveryState.CANCELED},
    DeliveryState.PROVEN: frozenset(),
    DeliveryState.ACCEPTED: frozenset({DeliveryState.PROVEN}),
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING, DeliveryState.CANCELED}),
    DeliveryState.CANCELED: frozenset({DeliveryState.PENDING}),
}


_LOOKED_AT = frozenset({WithdrawalState.HIDDEN, WithdrawalState.VISIBLE, WithdrawalState.UNKNOWN})
LEGAL_WITHDRAWAL_CHANGES: Mapping[WithdrawalState, frozenset[WithdrawalState]] = {
    WithdrawalState.REQUESTED: frozenset(
        {WithdrawalState.PREPARED, WithdrawalState.NOT_SENT, WithdrawalState.UNKNOWN}
    ),
    WithdrawalState.PREPARED: _LOOKED_AT,
    WithdrawalState.VISIBLE: _LOOKED_AT,
    WithdrawalState.UNKNOWN: _LOOKED_AT,
    WithdrawalState.HIDDEN: frozenset(),
    WithdrawalState.NOT_SENT: frozenset(),
}

#: Roles of notes about a run, numbered where there are several.
NOT_RUN = "notrun"
WITHDRAWN = "withdrawn"
REJECTION = "rejection"

S = TypeVar("S", bound=StrEnum)


class IllegalChange(ValueError):
    """A state change that the table does not allow: a defect of ours, never data."""


def check_change(table: Mapping[S, frozenset[S]], old: S, new: S) -> None:
    """Raise `IllegalChange` unless `table` allows `old` → `new`."""
    if new not in table[old]:
        raise IllegalChange(f"{type(old).__name__}: {old} may not become {new}")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What names a patient; compared inside a study and against the archive (S3)."""

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str = ""
    accession_number: str = ""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One stored version of a SOP instance; the file is the truth, this is its index (E2)."""

    id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    #: SHA-256 of the data set without group 2, as received.
    content_sha256: str
    #: SHA-256 of the encoded pixel data element's value; "" where there is none.
    pixel_sha256: str
    state: InstanceState
    origin: Origin
    #: Relative to the data folder.
    path: str
    size_bytes: int
    #: Seconds since the epoch, UTC; so are all `*_at`.
    received_at: float
    calling_ae: str
    called_ae: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study as far as it is here."""

    id: int
    study_instance_uid: str
    state: StudyState
    #: Counts completions with changed images; 1 after the first.
    revision: int
    first_received_at: float
    last_received_at: float
    completed_at: float | None
    #: Why it was called complete (quiet time, counts, command…).
    completed_reason: str
    calling_ae: str
    called_ae: str
    #: Name of the configured peer that sent it, "" if promiscuous.
    peer: str


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """The images chosen for one input role, in stack order."""

    role: str
    series_instance_uid: str
    #: One per plane (repeated for multi-frame), sorted along the normal.
    sop_instance_uids: tuple[str, ...]
    #: 1-based frame number per plane; all 0 for single-frame instances.
    frame_numbers: tuple[int, ...]
    #: Which stack of a split series (S18), "" if the series is one stack.
    stack: str = ""
    #: Sorted `pixel_sha256` of the instances: part of the job's fingerprint (S1).
    pixel_sha256: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one plugin version on the series it needs."""

    #: 32 hex digits.
    id: str
    study_instance_uid: str
    study_revision: int
    rule: str
    plugin: str
    plugin_version: str
    plugin_digest: str
    state: JobState
    reason_code: str
    reason: str
    #: SHA-256 of what makes equal work equal (S1).
    fingerprint: str
    #: Rises with a rerun, a withdrawal or a corrected identity: new UIDs (S1).
    run_number: int
    inputs: tuple[JobInput, ...]
    #: Regions that were chosen, by role and then by object.
    rois: tuple[JobRoi, ...] = ()
    #: Names of destinations.
    destinations: tuple[str, ...]
    attempt: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    #: Which worker holds the lease, "" if none.
    owner: str = ""
    lease_until: float | None = None
    #: Runs, but is not delivered (shadow mode).
    shadow: bool = False
    #: What is known of the clinical values that its plugin can use.
    clinical: tuple[ClinicalValue, ...] = ()

    @property
    def plugin_name_version(self) -> str:
        """Return ``name@version``."""
        return f"{self.plugin}@{self.plugin_version}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A DICOM object made from a Result: encoded once, sent as it is for ever (S1)."""

    id: int
    job_id: str
    #: ``seg``, ``sr``, …; with the number of the object where a role has several: ``seg2``.
    role: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    #: Relative to the data folder.
    path: str
    #: SHA-256 of the whole file.
    sha256: str
    size_bytes: int
    #: Order of delivery inside the job (S25): SEG before SR before the rest.
    position: int
    #: What beside the job decided its bytes; "" before schema 0002. Equal ones of a job were
    #: made together, for the same destinations.
    encoding: str = ""

    @property
    def kind(self) -> str:
        """Return the role without its number."""
        return self.role.rstrip("0123456789")

    @property
    def withdraws(self) -> bool:
        """Return whether it takes others back: nothing may stop it (S8)."""
        return self.kind in (WITHDRAWN, REJECTION)


@dataclass(frozen=True, kw_only=True)
class NewEvidence:
    """An encoded and checked object on disk, about to become a row."""

    role: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    sha256: str
    size_bytes: int
    position: int
    #: Which checks ran and what they found: JSON-able (E17).
    checks: Mapping[str, object] = field(default_factory=dict)
    #: As in `Evidence`.
    encoding: str = ""


@dataclass(frozen=True, kw_only=True)
class Addressee:
    """A destination of a finished job, and which of its evidence goes there."""

    destination: str
    #: Name of the viewer profile that the settings gave it.
    profile: str = ""
    #: It gets the evidence of this encoding.
    encoding: str = ""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One evidence × one destination, with three independent dated facts (S24)."""

    id: int
    job_id: str
    evidence_id: int
    destination: str
    state: DeliveryState
    position: int
    attempts: int
    next_attempt_at: float
    sent_at: float | None
    committed_at: float | None
    proven_at: float | None
    #: Last DIMSE or HTTP status as text, "" if none came.
    status: str
    #: Last sentence, without patient data.
    reason: str
    #: Name of the destination's viewer profile when the job closed; "" before schema 0002.
    profile: str = ""
