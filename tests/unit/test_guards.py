"""Guards one by one: identity, age of the study, kill switch, age and body part."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.dicom.age import patient_age_years
from node.errors import RefusalCode, Refused
from node.manifest import Limits, Range
from node.routing.guards import (
    check_identity,
    check_patient,
    check_plugin,
    released_lately,
    too_old,
)
from node.settings import Settings
from tests.make import made
from tests.routing_site import ARCHIVE, RULE, manifest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
PATIENT = {
    "PatientID": "P-1",
    "IssuerOfPatientID": "A",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19600101",
}

MIXED = {
    "id": ({"PatientID": "P-2"}, "2 Patient IDs"),
    "no id": ({"PatientID": ""}, "2 Patient IDs"),
    "issuer": ({"IssuerOfPatientID": "B"}, "2 issuers"),
    "name": ({"PatientName": "Doe^John"}, "2 patient names"),
    "birth date": ({"PatientBirthDate": "19600102"}, "2 birth dates"),
}


@pytest.mark.parametrize(("change", "sentence"), MIXED.values(), ids=MIXED)
def test_s03_two_patients_in_one_study_are_refused_without_their_names(change: dict, sentence: str):
    with pytest.raises(Refused) as caught:
        check_identity([made(**PATIENT), made(**{**PATIENT, **change})])

    assert caught.value.code is RefusalCode.IDENTITY_MIXED
    assert sentence in caught.value.sentence
    assert not any(value and value in caught.value.sentence for value in change.values())


SAME = {
    "equal": {},
    "spaces and empty name parts": {"PatientName": "Doe^Jane^^ ", "PatientID": "P-1 "},
    "no issuer": {"IssuerOfPatientID": ""},
    "no birth date": {"PatientBirthDate": None},
    "another accession number": {"AccessionNumber": "2"},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_s03_one_patient_written_in_two_ways_is_one(change: dict):
    assert check_identity([made(**PATIENT), made(**{**PATIENT, **change})]).patient_id == "P-1"


@pytest.mark.parametrize("value", ["", " ", None])
def test_s03_a_study_without_patient_id_is_refused(value: str | None):
    with pytest.raises(Refused) as caught:
        check_identity([made(**{**PATIENT, "PatientID": value})] * 2)

    assert caught.value.code is RefusalCode.IDENTITY_MISSING
    assert "Patient ID is empty" in caught.value.sentence


AGES_OF_STUDIES = {
    "today": ({"StudyDate": "20260131"}, 7, ""),
    "tomorrow": ({"StudyDate": "20260201"}, 7, ""),
    "after tomorrow": ({"StudyDate": "20260202"}, 7, "dated 2 days ahead"),
    "far ahead": ({"StudyDate": "29990101"}, 7, "days ahead, so nobody can say how old"),
    "ahead without limit": ({"StudyDate": "29990101"}, float("inf"), ""),
    "last day": ({"StudyDate": "20260124"}, 7, ""),
    "one more": ({"StudyDate": "20260123"}, 7, "8 days old, the rule takes 7"),
    "without limit": ({"StudyDate": "19900101"}, float("inf"), ""),
    "series date": ({"StudyDate": "", "SeriesDate": "20260101"}, 7, "30 days old"),
    "old form": ({"StudyDate": "2026.01.30"}, 7, ""),
    "no date": ({}, 7, "has no date"),
    "no date that can be": ({"StudyDate": "20261331"}, 7, "has no date"),
}


@pytest.mark.parametrize(
    ("header", "days", "sentence"), AGES_OF_STUDIES.values(), ids=AGES_OF_STUDIES
)
def test_s15_an_old_study_waits(header: dict, days: float, sentence: str):
    from dataclasses import replace

    found = too_old(made(**header), replace(RULE, max_age_days=days), now=NOON)

    assert sentence in found
    assert bool(sentence) == bool(found)


def test_s15_a_release_lasts_as_long_as_the_rule_waits():
    assert not released_lately(None, RULE, now=NOON)
    assert released_lately(NOON - 6 * 86400, RULE, now=NOON)
    assert not released_lately(NOON - 8 * 86400, RULE, now=NOON)


def test_s22_a_plugin_that_is_switched_off_is_refused_with_the_reason():
    settings = Settings(data_dir=Path("/d"), destinations=(ARCHIVE,))

    assert len(check_plugin(manifest(), RULE, settings, {"other": ""})) == 2
    with pytest.raises(Refused, match="switched off here: wrong side") as caught:
        check_plugin(manifest(), RULE, settings, {"check": "wrong side"})
    assert caught.value.code is RefusalCode.PLUGIN_DISABLED


ADULTS = Limits(age_years=Range(18, 90))
HEADS = Limits(body_parts=("HEAD", "Neck"))
ANY_PART = Limits(body_parts=("HEAD", ""))
PATIENTS = {
    "adult": (ADULTS, {"PatientAge": "018Y"}, ""),
    "oldest": (ADULTS, {"PatientAge": "090Y"}, ""),
    "child": (ADULTS, {"PatientAge": "017Y"}, "AGE_OUT_OF_RANGE"),
    "infant": (ADULTS, {"PatientAge": "011M"}, "AGE_OUT_OF_RANGE"),
    "no age": (ADULTS, {}, "AGE_UNKNOWN"),
    "no age that can be": (ADULTS, {"PatientAge": "abc"}, "AGE_UNKNOWN"),
    "birth and study": (
        ADULTS,
        {"PatientBirthDate": "19800101", "StudyDate": "20260101"},
        "",
    ),
    "born later": (
        ADULTS,
        {"PatientBirthDate": "20270101", "StudyDate": "20260101"},
        "AGE_UNKNOWN",
    ),
    "any age": (Limits(), {}, ""),
    "part": (HEADS, {"BodyPartExamined": "HEAD"}, ""),
    "part in another case": (HEADS, {"BodyPartExamined": "NECK"}, ""),
    "other part": (HEADS, {"BodyPartExamined": "CHEST"}, "BODY_PART_OUT_OF_SCOPE"),
    "no part": (HEADS, {}, "BODY_PART_OUT_OF_SCOPE"),
    "no part, allowed": (ANY_PART, {}, ""),
}


@pytest.mark.parametrize(("limits", "header", "code"), PATIENTS.values(), ids=PATIENTS)
def test_s22_age_and_body_part_limits(limits: Limits, header: dict, code: str):
    if not code:
        guards = check_patient(limits, [made(**header)])
        assert len(guards) == bool(limits.age_years) + bool(limits.body_parts)
        return
    with pytest.raises(Refused) as caught:
        check_patient(limits, [made(**header)])
    assert caught.value.code == code


def test_s22_every_chosen_series_counts():
    with pytest.raises(Refused):
        check_patient(HEADS, [made(BodyPartExamined="HEAD"), made(BodyPartExamined="CHEST")])


def test_age_from_dates():
    found = patient_age_years(made(PatientBirthDate="20240101", StudyDate="20250701"))

    assert found == pytest.approx(1.5, abs=0.01)
