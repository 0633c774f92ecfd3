"""A DICOM peer as destination: C-STORE, and C-FIND with C-GET to prove it (S23, S24)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from node.delivery.answers import (
    NOT_TRIED,
    SendAnswer,
    Verdict,
    answer_of_failure,
    answer_of_status,
)
from node.delivery.association import (
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    Link,
    associated,
    remote_of,
)
from node.delivery.destination import OutgoingObject
from node.delivery.proof import (
    Proof,
    ProofKind,
    ProofOutcome,
    compare_files,
    compare_patients,
    identity_at_destination,
)
from node.dicom.network import requested_contexts
from node.errors import DeliveryFailed, SettingsError
from node.model import Evidence, Identity
from node.settings import DestinationSettings


class DimseDestination:
    """An archive that we call as SCU.

    Parameters
    ----------
    settings : DestinationSettings
        With `ae_title`, `host`, `port`, `timeout_s`.
    own_ae : str
        Our AE title there, where `settings` has no `calling_ae`.

    Raises
    ------
    SettingsError
        If AE title or host is missing.
    """

    def __init__(self, settings: DestinationSettings, own_ae: str):
        if not settings.ae_title or not settings.host:
            raise SettingsError(
                f"destination {settings.name}: kind = 'dicom' needs ae_title and host"
            )
        self._remote = remote_of(settings, own_ae)

    def send(self, items: Sequence[OutgoingObject]) -> Iterator[SendAnswer]:
        """C-STORE the objects in order over one association; see `Destination.send`."""
        contexts = requested_contexts(
            (item.evidence.sop_class_uid, item.evidence.transfer_syntax_uid) for item in items
        )
        answered = 0
        if not items:
            return
        try:
            with associated(self._remote, contexts) as link:
                for answer in _store_all(link, items):
                    answered += 1
                    yield answer
        except DeliveryFailed as error:
            yield answer_of_failure(error)
            yield from [NOT_TRIED] * (len(items) - answered - 1)

    def prove(self, item: OutgoingObject, expected: Identity) -> Proof:
        """Ask where it lies (C-FIND), fetch it (C-GET) and compare; see `Destination.prove`.

        A peer that refuses C-GET can only prove by what its index says of the object.
        """
        evidence = item.evidence
        contexts = [
            build_context(STUDY_ROOT_FIND),
            build_context(STUDY_ROOT_GET),
            build_context(evidence.sop_class_uid, _retrieval_syntaxes(evidence)),
        ]
        with associated(self._remote, contexts, [evidence.sop_class_uid]) as link:
            indexed = _look_up(link, evidence, expected)
            if indexed.outcome in (ProofOutcome.NOT_FOUND, ProofOutcome.DIFFERS):
                return indexed
            refusal = _retrieve(link, evidence)
        if evidence.sop_instance_uid in link.received:
            return compare_files(item.path, link.received[evidence.sop_instance_uid])
        if not refusal:
            return Proof(outcome=ProofOutcome.NOT_FOUND)
        return Proof(
            outcome=indexed.outcome, kind=indexed.kind, sentence=f"{indexed.sentence}; {refusal}"
        )

    def identities_of_study(self, study_instance_uid: str) -> tuple[Identity, ...]:
        """Ask by C-FIND whom the study belongs to; () also if the peer answers no queries."""
        contexts = [build_context(STUDY_ROOT_FIND)]
        with associated(self._remote, contexts) as link:
            return _patients(link, study_instance_uid)

    def holds(self, item: OutgoingObject) -> bool | None:
        """Ask by C-FIND at the image level; None if the peer answers no queries."""
        with associated(self._remote, [build_context(STUDY_ROOT_FIND)]) as link:
            found = link.find(_image_query(item.evidence))
        uid = item.evidence.sop_instance_uid
        if found is None:
            return None
        return any(str(answer.get("SOPInstanceUID", "")) == uid for answer in found)

    def take_back(self, item: OutgoingObject, sentence: str) -> str:
        """Raise: DIMSE deletes nothing; a note takes back."""
        raise DeliveryFailed("DIMSE knows no way to delete", retry=False, code="NOT_POSSIBLE")


def _store_all(link: Link, items: Sequence[OutgoingObject]) -> Iterator[SendAnswer]:
    """Yield one answer per object; raise DeliveryFailed at the one that got none."""
    ended = False
    for item in items:
        answer = NOT_TRIED if ended else _store(link, item)
        ended = ended or answer.verdict.ends_association
        yield answer


def _store(link: Link, item: OutgoingObject) -> SendAnswer:
    evidence = item.evidence
    if not link.accepts(evidence.sop_class_uid, evidence.transfer_syntax_uid):
        return SendAnswer(
            verdict=Verdict.REFUSED,
            status="CONTEXT REFUSED",
            code="CONTEXT_REFUSED",
            sentence=f"the destination takes no {UID(evidence.sop_class_uid).name} "
            f"in {UID(evidence.transfer_syntax_uid).name}",
        )
    return answer_of_status(link.store(item.path, evidence.size_bytes))


def _look_up(link: Link, evidence: Evidence, expected: Identity) -> Proof:
    """Return what the peer's index says; UNAVAILABLE if it says too little to prove anything."""
    filed = _patients(link, evidence.study_instance_uid)
    if wrong := compare_patients(expected, filed):
        return wrong
    query = _image_query(evidence)
    query.SOPClassUID = ""
    found = link.find(query)
    if found is None:
        return Proof(outcome=ProofOutcome.UNAVAILABLE, sentence="it refuses C-FIND")
    same = [a for a in found if str(a.get("SOPInstanceUID", "")) == evidence.sop_instance_uid]
    if not same:
        return Proof(outcome=ProofOutcome.NOT_FOUND)
    if str(same[0].get("SOPClassUID", "") or evidence.sop_class_uid) != evidence.sop_class_uid:
        return Proof(
            outcome=ProofOutcome.DIFFERS,
            code="CONTENT_DIFFERS",
            sentence="the object there is not ours: SOPClassUID differs",
        )
    if not any(patient.patient_id for patient in filed):
        return Proof(
            outcome=ProofOutcome.UNAVAILABLE, sentence="its index does not name the patient"
        )
    return Proof(
        outcome=ProofOutcome.PROVEN,
        kind=ProofKind.ATTRIBUTES,
        sentence="found by UIDs, SOP class and patient",
    )


def _patients(link: Link, study_instance_uid: str) -> tuple[Identity, ...]:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    query.PatientID = query.PatientName = query.PatientBirthDate = ""
    query.IssuerOfPatientID = query.AccessionNumber = ""
    found = link.find(query) or ()
    return tuple(
        identity_at_destination(answer)
        for answer in found
        if str(answer.get("StudyInstanceUID", study_instance_uid)) == study_instance_uid
    )


def _retrieve(link: Link, evidence: Evidence) -> str:
    """Fetch the object into `link.received`; return why the peer does not give it, or ""."""
    if not link.accepts(STUDY_ROOT_GET):
        return "it refuses C-GET"
    if not link.accepts(evidence.sop_class_uid, as_scp=True):
        return "it sends no objects of this class by C-GET"
    status = link.get(_image_query(evidence), evidence.size_bytes)
    return f"its C-GET answers {status:04X}" if status else ""


def _image_query(evidence: Evidence) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = evidence.study_instance_uid
    query.SeriesInstanceUID = evidence.series_instance_uid
    query.SOPInstanceUID = evidence.sop_instance_uid
    return query


def _retrieval_syntaxes(evidence: Evidence) -> list[str]:
    """Return what it may come back in: as it was sent first, then any plain little endian."""
    syntaxes = (evidence.transfer_syntax_uid, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    return list(dict.fromkeys(str(syntax) for syntax in syntaxes))
