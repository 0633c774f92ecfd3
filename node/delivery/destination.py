"""What every place that evidence goes to must do; which class serves which kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import pydicom

from node.delivery.answers import (
    NOT_TRIED,
    SendAnswer,
    Verdict,
    answer_of_status,
    answer_without_status,
    failure,
)
from node.delivery.proof import Proof, ProofOutcome, compare_files, compare_patients
from node.dicom.headers import identity_of, read_header
from node.errors import SettingsError
from node.model import Evidence, Identity
from node.settings import DestinationSettings


@dataclass(frozen=True, kw_only=True)
class OutgoingObject:
    """One evidence and the file whose bytes are sent as they are (S1)."""

    evidence: Evidence
    path: Path


class Destination(Protocol):
    """A place that takes evidence. One instance serves one thread at a time."""

    def send(self, items: Sequence[OutgoingObject]) -> Iterator[SendAnswer]:
        """Offer the objects of one job, in order, over one connection.

        Yields exactly one answer per object, each as soon as it is known: what was answered
        stays answered, whatever happens to the rest. Never raises for what a destination or
        network does. Closing the iterator early closes the connection.
        """
        ...

    def prove(self, item: OutgoingObject, expected: Identity) -> Proof:
        """Look for one object and compare it with ours (S24).

        Parameters
        ----------
        item : OutgoingObject
            What was sent; its study and series UID are where it must lie.
        expected : Identity
            The patient it must lie under.

        Raises
        ------
        DeliveryFailed
            If the destination cannot be reached now; `retry` is true.
        """
        ...

    def identities_of_study(self, study_instance_uid: str) -> tuple[Identity, ...]:
        """Return whom the destination files the study under; () if unknown there (S3).

        Also () where the destination, by its nature, cannot be asked. An attribute that it
        does not return, or that cannot be decoded, is "".

        Raises
        ------
        DeliveryFailed
            If it cannot be reached now; `retry` is true.
        """
        ...

    def holds(self, item: OutgoingObject) -> bool | None:
        """Return whether a reader finds the object there; None: it cannot be asked (S8).

        Raises
        ------
        DeliveryFailed
            If it cannot be reached now; `retry` is true.
        """
        ...

    def take_back(self, item: OutgoingObject, sentence: str) -> str:
        """Take one object back by the destination's own means; return what was done.

        Parameters
        ----------
        sentence : str
            Why, for people.

        Raises
        ------
        DeliveryFailed
            If it cannot be reached now, or does not let us.
        """
        ...


def open_destination(settings: DestinationSettings, own_ae: str) -> Destination:
    """Return the destination that `settings` describe; nothing is connected yet.

    Parameters
    ----------
    settings : DestinationSettings
        As read from the settings file.
    own_ae : str
        The node's first AE title, for destinations without a `calling_ae` of their own.

    Raises
    ------
    SettingsError
        If the kind is unknown or what it needs is missing.
    """
    # Imported here: a node with folders only needs neither pynetdicom nor pyorthanc for them.
    if settings.kind == "dicom":
        from node.delivery.dimse import DimseDestination

        return DimseDestination(settings, own_ae)
    if settings.kind == "orthanc":
        from node.delivery.orthanc import OrthancDestination

        return OrthancDestination(settings)
    if settings.kind == "folder":
        from node.delivery.folder import FolderDestination

        return FolderDestination(settings)
    raise SettingsError(
        f"destination {settings.name}: kind = {settings.kind!r} is none of dicom, orthanc, folder"
    )


class MemoryDestination:
    """A destination that keeps bytes in memory: the fake that passes the contract suite."""

    def __init__(self, statuses: Mapping[str, Sequence[int]] | None = None):
        #: Statuses answered per role, in order, before 0000; what fails is not kept.
        self._statuses = {role: list(codes) for role, codes in (statuses or {}).items()}
        #: Kept bytes by SOP Instance UID.
        self.kept: dict[str, bytes] = {}
        self.received: list[str] = []
        self.studies: dict[str, Identity] = {}
        self.reachable = True
        #: Whether it knows IOCM: what a rejection note names is not found any more.
        self.hides_rejected = False

    def send(self, items: Sequence[OutgoingObject]) -> Iterator[SendAnswer]:
        """Keep each object whose turn is to be answered with success."""
        ended = False
        for item in items:
            answer = NOT_TRIED if ended else self._take(item)
            ended = ended or answer.verdict.ends_association
            yield answer

    def prove(self, item: OutgoingObject, expected: Identity) -> Proof:
        """Compare kept bytes and patient with what is expected."""
        self._reach()
        uid = item.evidence.sop_instance_uid
        if uid not in self.kept:
            return Proof(outcome=ProofOutcome.NOT_FOUND)
        filed = self.identities_of_study(item.evidence.study_instance_uid)
        return compare_patients(expected, filed) or compare_files(item.path, self.kept[uid])

    def identities_of_study(self, study_instance_uid: str) -> tuple[Identity, ...]:
        """Return the patient of `studies`, set by a test or by the first object."""
        self._reach()
        found = self.studies.get(study_instance_uid)
        return (found,) if found else ()

    def holds(self, item: OutgoingObject) -> bool | None:
        """Return whether it is kept, and no rejection note that was sent names it."""
        self._reach()
        uid = item.evidence.sop_instance_uid
        return uid in self.kept and uid not in self._rejected()

    def take_back(self, item: OutgoingObject, sentence: str) -> str:
        """Forget the object."""
        self._reach()
        self.kept.pop(item.evidence.sop_instance_uid, None)
        return "deleted there"

    def _rejected(self) -> set[str]:
        if not self.hides_rejected:
            return set()
        files = [pydicom.dcmread(BytesIO(content)) for content in self.kept.values()]
        notes = [ds for ds in files if ds.Modality == "KO"]
        return {
            str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for ds in notes
            for item in ds.ContentSequence
            if "ReferencedSOPSequence" in item
        }

    def _take(self, item: OutgoingObject) -> SendAnswer:
        if not self.reachable:
            return answer_without_status(Verdict.UNREACHABLE, "unreachable")
        self.received.append(item.evidence.sop_instance_uid)
        planned = self._statuses.get(item.evidence.role)
        answer = answer_of_status(planned.pop(0) if planned else 0x0000)
        if answer.verdict.is_stored and item.evidence.sop_instance_uid in self.kept:
            return answer_of_status(0x0111)
        if answer.verdict.is_stored:
            self.kept[item.evidence.sop_instance_uid] = item.path.read_bytes()
            header = read_header(item.path)
            self.studies.setdefault(str(header.StudyInstanceUID), identity_of(header))
        return answer

    def _reach(self) -> None:
        if not self.reachable:
            raise failure(Verdict.UNREACHABLE, "unreachable")
