from copy import deepcopy
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread

from node.delivery.proof import (
    ProofKind,
    ProofOutcome,
    compare_files,
    compare_patients,
    content_digests,
    identity_at_destination,
    identity_differences,
)
from tests.delivering import PATIENT, evidence_pair
from tests.make import made, part10

EXPLICIT, IMPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"


@pytest.fixture
def seg():
    return evidence_pair()[0]


@pytest.fixture
def ours(seg, tmp_path):
    path = tmp_path / "ours.dcm"
    path.write_bytes(part10(seg))
    return path


def changed(ds, **attributes):
    copy = deepcopy(ds)
    for keyword, value in attributes.items():
        setattr(copy, keyword, value)
    return part10(copy)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, RLE])
def test_s24_the_same_object_in_any_encoding_is_proven_by_content(seg, ours, syntax):
    proof = compare_files(ours, part10(seg, transfer_syntax_uid=syntax))
    assert (proof.outcome, proof.kind, proof.sentence) == (
        ProofOutcome.PROVEN,
        ProofKind.CONTENT,
        "",
    )


def test_s24_another_character_set_with_the_same_text_is_the_same(seg, ours):
    del seg.SegmentSequence
    ours.write_bytes(part10(seg))
    latin = dcmread(BytesIO(part10(seg)))
    str(latin.PatientName)
    latin.SpecificCharacterSet = "ISO_IR 100"
    assert "ü".encode("latin-1") in part10(latin)
    assert compare_files(ours, part10(latin)).outcome is ProofOutcome.PROVEN


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"SeriesDescription": "x"}, "SeriesDescription"),
        ({"PixelData": bytes(128)}, "PixelData"),
        ({"SegmentSequence": []}, "SegmentSequence"),
        ({"SegmentSequence": [made(SegmentNumber=2)]}, "SegmentSequence"),
        ({"ImagePositionPatient": [0.0, 0.0, 1.0]}, "ImagePositionPatient"),
        ({"StudyInstanceUID": "1.2.3"}, "StudyInstanceUID"),
        ({"RescaleIntercept": -1000}, "RescaleIntercept"),
    ],
)
def test_s24_any_other_content_differs_and_is_named_without_its_value(seg, ours, attributes, word):
    proof = compare_files(ours, changed(seg, **attributes))
    assert (proof.outcome, proof.code) == (ProofOutcome.DIFFERS, "CONTENT_DIFFERS")
    assert proof.sentence == f"the object there is not ours: {word} differ"


def test_s24_what_an_archive_adds_or_may_change_is_told_and_no_harm(seg, ours):
    theirs = changed(
        seg,
        PatientName="MUELLER^JUERGEN",
        AccessionNumber="",
        RetrieveAETitle="PACS",
        OriginalAttributesSequence=[made(ReasonForTheAttributeModification="COERCE")],
        RequestedProcedureDescription="CT",
    )
    proof = compare_files(ours, theirs)
    assert proof.outcome is ProofOutcome.PROVEN
    assert proof.sentence == (
        "the destination changed PatientName, AccessionNumber; "
        "the destination added RequestedProcedureDescription"
    )


def test_s24_a_coerced_patient_is_not_the_expected_one(seg, ours):
    proof = compare_files(ours, changed(seg, PatientID="MERGED-7"))
    assert (proof.outcome, proof.code) == (ProofOutcome.DIFFERS, "PATIENT_DIFFERS")
    assert proof.sentence == "the destination changed PatientID"


@pytest.mark.parametrize("theirs", [b"", b"\0" * 200, b"<html>not found</html>"])
def test_what_cannot_be_read_proves_nothing(ours, theirs):
    proof = compare_files(ours, theirs)
    assert (proof.outcome, proof.code) == (ProofOutcome.DIFFERS, "CONTENT_DIFFERS")


def test_digests_leave_out_private_elements_group_lengths_and_meta(seg):
    seg.private_block(0x0029, "TESTS", create=True).add_new(1, "LO", "secret")
    seg.add_new(0x00080000, "UL", 4)
    tags = content_digests(dcmread(BytesIO(part10(seg))))
    assert not {tag for tag in tags if (tag >> 16) % 2 or tag & 0xFFFF == 0 or tag >> 16 <= 2}


# --- patients ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "differs"),
    [
        ({}, ()),
        ({"patient_id": "OTHER"}, ("PatientID",)),
        ({"issuer_of_patient_id": "OTHER"}, ("IssuerOfPatientID",)),
        ({"patient_name": "MÜLLER^JÜRGEN^"}, ()),
        ({"patient_name": "Müller^Jürgen=漢字"}, ()),
        ({"patient_name": "Müller ^Jürgen^^"}, ()),
        ({"patient_name": "Müller^Jutta"}, ("PatientName",)),
        ({"patient_birth_date": "19600102"}, ("PatientBirthDate",)),
        ({"accession_number": "ACC-2"}, ("AccessionNumber",)),
        ({"patient_sex": "M"}, ()),
        ({"patient_id": "", "patient_name": "", "accession_number": ""}, ()),
        ({"patient_id": "A", "accession_number": "B"}, ("PatientID", "AccessionNumber")),
    ],
)
def test_s03_identities_are_compared_by_what_both_sides_say(theirs, differs):
    assert identity_differences(PATIENT, replace(PATIENT, **theirs)) == differs


def test_s24_one_wrong_patient_among_several_is_no_proof():
    other = replace(PATIENT, patient_id="OTHER")
    assert compare_patients(PATIENT, [PATIENT]) is None
    assert compare_patients(PATIENT, []) is None
    assert compare_patients(PATIENT, [replace(PATIENT, accession_number="X")]) is None
    assert compare_patients(PATIENT, [PATIENT, other]).code == "PATIENT_DIFFERS"


def test_s06_an_undecodable_name_in_an_answer_says_nothing():
    answer = dcmread(BytesIO(part10(evidence_pair()[0])), specific_tags=["PatientName"])
    answer.SpecificCharacterSet = "ISO_IR 6"
    found = identity_at_destination(answer)
    assert found.patient_name == ""
    assert identity_differences(PATIENT, found) == ()
