"""What every destination must do: subclass it and give the fixture `place`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom import dcmread

from node.delivery.answers import Verdict
from node.delivery.destination import Destination, OutgoingObject
from node.delivery.proof import ProofOutcome
from node.errors import DeliveryFailed
from tests.delivering import PATIENT, evidence_pair, outgoing


@dataclass
class Place:
    """A destination under test, and how to look behind it."""

    destination: Destination
    #: Makes the place unreachable; None where a test cannot.
    close: Callable[[], None] | None = None
    #: Whether it knows whom its studies belong to.
    knows_patients: bool = True


def pair(folder: Path) -> list[OutgoingObject]:
    roles = ("seg", "sr")
    return [
        outgoing(folder / "out", ds, role=role, position=position)
        for position, (role, ds) in enumerate(zip(roles, evidence_pair(), strict=True))
    ]


def same_uid_other_content(item: OutgoingObject, folder: Path) -> OutgoingObject:
    """Return an object that claims to be `item`, with other content (S1)."""
    ds = dcmread(item.path)
    ds.SeriesDescription = "SOMETHING ELSE"
    return outgoing(folder / "other", ds, role=item.evidence.role)


class DestinationContract:
    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    def test_an_object_sent_is_stored_and_proven_by_content(self, place, tmp_path):
        items = pair(tmp_path)
        answers = list(place.destination.send(items))
        assert [answer.verdict for answer in answers] == [Verdict.STORED, Verdict.STORED]
        for item in items:
            proof = place.destination.prove(item, PATIENT)
            assert (proof.outcome, proof.kind) == (ProofOutcome.PROVEN, "content"), proof

    def test_an_object_never_sent_is_not_found(self, place, tmp_path):
        proof = place.destination.prove(pair(tmp_path)[0], PATIENT)
        assert proof.outcome is ProofOutcome.NOT_FOUND

    def test_one_object_may_be_missing_where_the_other_is(self, place, tmp_path):
        seg, sr = pair(tmp_path)
        list(place.destination.send([seg]))
        assert place.destination.prove(sr, PATIENT).outcome is ProofOutcome.NOT_FOUND
        assert place.destination.prove(seg, PATIENT).outcome is ProofOutcome.PROVEN

    def test_the_same_bytes_again_are_no_failure_and_still_proven(self, place, tmp_path):
        item = pair(tmp_path)[0]
        list(place.destination.send([item]))
        (again,) = place.destination.send([item])
        assert again.verdict in (Verdict.STORED, Verdict.DUPLICATE)
        assert place.destination.prove(item, PATIENT).outcome is ProofOutcome.PROVEN

    def test_s01_other_bytes_under_the_same_uid_are_never_proven(self, place, tmp_path):
        """The place may keep the first, the last or refuse: it may not look like ours."""
        first = pair(tmp_path)[0]
        second = same_uid_other_content(first, tmp_path)
        list(place.destination.send([first]))
        (answer,) = place.destination.send([second])
        proofs = [place.destination.prove(item, PATIENT).outcome for item in (first, second)]
        assert sorted(proofs) == [ProofOutcome.DIFFERS, ProofOutcome.PROVEN]
        if answer.verdict is Verdict.REFUSED:
            assert proofs == [ProofOutcome.PROVEN, ProofOutcome.DIFFERS]

    def test_s24_found_under_another_patient_is_not_proven(self, place, tmp_path):
        if not place.knows_patients:
            pytest.skip("this destination has no index of patients")
        item = pair(tmp_path)[0]
        list(place.destination.send([item]))
        other = replace(PATIENT, patient_id="SOMEBODY-ELSE")
        proof = place.destination.prove(item, other)
        assert (proof.outcome, proof.code) == (ProofOutcome.DIFFERS, "PATIENT_DIFFERS")
        assert "PatientID" in proof.sentence and "TEST-1" not in proof.sentence

    def test_s03_tells_whom_a_study_belongs_to(self, place, tmp_path):
        item = pair(tmp_path)[0]
        study = item.evidence.study_instance_uid
        assert place.destination.identities_of_study(study) == ()
        list(place.destination.send([item]))
        found = place.destination.identities_of_study(study)
        if place.knows_patients:
            assert found[0].patient_id == PATIENT.patient_id
            assert found[0].patient_name == PATIENT.patient_name
            assert found[0].accession_number == PATIENT.accession_number
        else:
            assert found == ()

    def test_no_answers_for_no_objects(self, place):
        assert list(place.destination.send([])) == []

    def test_unreachable_is_an_answer_for_each_object_and_an_error_for_questions(
        self, place, tmp_path
    ):
        if place.close is None:
            pytest.skip("this destination cannot be closed by a test")
        place.close()
        items = pair(tmp_path)
        verdicts = [answer.verdict for answer in place.destination.send(items)]
        assert verdicts == [Verdict.UNREACHABLE, Verdict.NOT_TRIED]
        with pytest.raises(DeliveryFailed) as error:
            place.destination.prove(items[0], PATIENT)
        assert error.value.retry
        if place.knows_patients:
            with pytest.raises(DeliveryFailed) as error:
                place.destination.identities_of_study("1.2.3")
            assert error.value.retry
