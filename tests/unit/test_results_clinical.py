"""Clinical values in the report: coded, with their source, and in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset

from node.clinical_values import ClinicalValue
from node.plugin import Volume
from node.profiles import PROFILES
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from tests.clinical_case import GRADE, INVASION, SIZE, SPECS
from tests.results_case import (
    ball_result,
    items_of,
    job,
    manifest,
    parsed,
    request_of,
    synthetic_headers,
)

REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
VALUES = (
    ClinicalValue(
        name="size",
        value=21.0,
        unit="mm",
        source="report",
        given="2.1 cm",
        by="Reader^Ann",
        dated="20260301101500",
        sop_class_uid=REPORT,
        sop_instance_uid="1.2.3.8.1",
        series_instance_uid="1.2.3.8",
        against=("attribute PatientSize: 1 m",),
    ),
    ClinicalValue(
        name="grade", value="g2", source="person", given="g2", by="Dr. Änne", at=1_790_000_000.0
    ),
    ClinicalValue(name="invasion", value=False, source="person", given="no", by="X", at=1.0),
    ClinicalValue(
        name="age", value=60.0, unit="a", source="attribute", given="60 a", by="PatientAge"
    ),
    ClinicalValue(
        name="nodes", value=None, unit="1", source="report", given="99", why_not="C: nodes = 99: no"
    ),
)


def request(profile: str = "standard", **changes: object) -> EncodeRequest:
    made = request_of(
        synthetic_headers(),
        ball_result(),
        job=job(clinical=VALUES),
        manifest=manifest(clinical=SPECS),
    )
    geometry = made.stacks["ct"].geometry
    pixels = np.zeros(geometry.shape, np.int16)
    volume = Volume(array=pixels, affine=geometry.affine, unit="[hnsf'U]", modality="CT")
    return replace(made, profile=PROFILES[profile], volumes={"ct": volume}, **changes)


def report_of(made: EncodeRequest) -> Dataset:
    (sr,) = [one for one in encode(made) if one.role == "sr"]
    return parsed(sr)


def characteristics(ds: Dataset) -> dict[str, Dataset]:
    (container,) = [
        item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121118"
    ]
    assert container.RelationshipType == "CONTAINS"
    return {item.ConceptNameCodeSequence[0].CodeValue: item for item in container.ContentSequence}


def test_values_stand_in_the_report_with_code_unit_and_source() -> None:
    ds = report_of(request())

    found = characteristics(ds)
    assert set(found) == {SIZE.value, GRADE.value, INVASION.value, "424144002"}
    size = found[SIZE.value]
    measured = size.MeasuredValueSequence[0]
    assert (measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue) == (21, "mm")
    (source,) = size.ContentSequence
    assert (source.RelationshipType, source.ValueType) == ("INFERRED FROM", "COMPOSITE")
    assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.8.1"
    grade = found[GRADE.value]
    assert grade.ConceptCodeSequence[0].CodeValue == "G2"
    assert grade.ObservationDateTime == "20260921161320"  # in the time zone of the images
    assert str(grade.ContentSequence[1].PersonName) == "Dr. Änne"
    assert found[INVASION.value].ConceptCodeSequence[0].CodeMeaning == "No"
    assert found["424144002"].ContentSequence[0].TextValue == "attribute PatientAge"


def test_a_report_that_a_value_was_read_from_is_evidence() -> None:
    ds = report_of(request())

    listed = items_of(ds.CurrentRequestedProcedureEvidenceSequence[0], "ReferencedSOPInstanceUID")
    assert "1.2.3.8.1" in listed


def test_the_report_says_in_words_what_was_used_and_what_was_not() -> None:
    ds = report_of(request())

    said = [
        item.TextValue
        for container in ds.ContentSequence
        for item in container.get("ContentSequence") or ()
        if item.ValueType == "TEXT"
    ]
    assert (
        "Clinical value: Size by pathology 21 mm (report of 2026-03-01 by Reader^Ann); "
        "against it: attribute PatientSize: 1 m." in said
    )
    assert (
        "Clinical value: Tumour grade (pathology) Grade 2 (entered by Dr. Änne on 2026-09-21)."
        in said
    )
    assert "Clinical value not used: Number of nodes: C: nodes = 99: no." in said


def test_without_values_the_report_is_as_before() -> None:
    ds = report_of(replace(request(), job=job()))

    concepts = [item.ConceptNameCodeSequence[0].CodeValue for item in ds.ContentSequence]
    assert "121118" not in concepts


@pytest.mark.parametrize("profile", ["standard", "ohif", "plain_pacs"])
def test_reports_with_values_pass_all_checks(profile: str) -> None:
    made = request(profile)

    checks = check_objects(encode(made), made)

    assert checks["sr"]["dciodvfy"].get("own", []) == [], checks["sr"]
