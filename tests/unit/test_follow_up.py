"""What a report says of an earlier study of the same patient (S10)."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from node.manifest import Code
from node.plugin import Measurement, Result, Segment
from node.profiles import DWV, OHIF, STANDARD, ViewerProfile
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from node.results.follow_up import NONE, Earlier, FollowUp, PossiblePrior, Tracked, names_of
from node.results.sr_follow_up import Change
from node.storage.prior_rows import PriorFinding, PriorValue
from tests.results_case import (
    LONG_AXIS,
    VOLUME,
    ball_result,
    full_request,
    items_of,
    parsed,
    request_of,
    synthetic_headers,
)

CM3, MM = Code("cm3", "UCUM", "cm3"), Code("mm", "UCUM", "mm")
OLD_UID = "2.25.4711"
EARLIER = Earlier(
    study_instance_uid="1.2.777",
    study_date="20260103",
    series_description="Thorax vén. 1.0",
    plugin_version="1.1.0",
)


def value(kind: str, number: float, **changes: Any) -> PriorValue:
    code, unit, digits = (VOLUME, CM3, 3) if kind == "volume" else (LONG_AXIS, MM, 1)
    plain = PriorValue(name=kind, code=code, unit=unit, value=number, digits=digits)
    return replace(plain, **changes)


def earlier_finding(label: str, *values: PriorValue) -> PriorFinding:
    corner = (0.0, 0.0, 0.0)
    return PriorFinding(
        segment="tumour",
        finding=1,
        role="ct",
        label=label,
        tracking_uid="2.25.4712",
        frame_of_reference_uid="1.2.3.9",
        centroid_mm=corner,
        low_mm=corner,
        high_mm=corner,
        values=values,
    )


def compared(*values: PriorValue, **changes: Any) -> FollowUp:
    one = Tracked(uid=OLD_UID, label="Tumour 2", earlier=EARLIER, values=values)
    plain = FollowUp(tracked={("tumour", 1): one}, link="the Frame of Reference is the same")
    return replace(plain, **changes)


def follow_up_request(follow_up: FollowUp, **changes: Any) -> EncodeRequest:
    return request_of(synthetic_headers(), ball_result(), follow_up=follow_up, **changes)


def comments(report: Dataset) -> list[str]:
    return [
        str(item.TextValue)
        for container in report.ContentSequence
        for item in container.get("ContentSequence") or ()
        if item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]


def derived_of(report: Dataset) -> list[Dataset]:
    return [
        item
        for container in report.ContentSequence
        if container.ConceptNameCodeSequence[0].CodeValue == "126011"
        for item in container.ContentSequence
    ]


def meaning(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def number(item: Dataset) -> tuple[float, str]:
    (measured,) = item.MeasuredValueSequence
    return float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue


def test_s10_a_tracked_finding_keeps_uid_and_name_in_segment_and_report() -> None:
    seg, report = map(parsed, encode(follow_up_request(compared())))

    (segment,) = seg.SegmentSequence
    assert (segment.TrackingUID, segment.TrackingID) == (OLD_UID, "Tumour 2")
    assert segment.SegmentLabel == "Tumour 2"
    assert OLD_UID in {str(one) for one in items_of(report, "UID")}


def test_s10_the_report_says_value_and_date_of_before_and_the_change() -> None:
    follow_up = compared(value("volume", 1.0), value("longest", 4.0))
    _, report = map(parsed, encode(follow_up_request(follow_up)))

    said = comments(report)
    assert (
        "Compared with the study of 2026-01-03, series “Thorax vén. 1.0”, Ball Finder 1.1.0: "
        "the Frame of Reference is the same."
    ) in said
    assert (
        "Tumour 2: Volume 1.235 cm3, on 2026-01-03 1.000 cm3 (+0.235 cm3, +23.5 %); "
        "Long axis 3.6 mm, on 2026-01-03 4.0 mm (-0.4 mm, -10.0 %)."
    ) in said


@pytest.mark.parametrize("follow_up", [compared(value("volume", 1.0)), NONE])
def test_s10_beside_outlines_a_second_report_says_what_was_before(follow_up: FollowUp) -> None:
    """OHIF shows no sentence of a report whose outlines it draws."""
    request = request_of(
        synthetic_headers(PixelSpacing=["0.8", "0.8"]),
        ball_result(),
        follow_up=follow_up,
        profile=OHIF,
    )

    reports = {one.role: parsed(one) for one in encode(request)}

    assert reports["sr"].ConceptNameCodeSequence[0].CodeValue == "126000"
    assert ("sr2" in reports) == (follow_up is not NONE)
    if "sr2" in reports:
        assert reports["sr2"].ConceptNameCodeSequence[0].CodeValue == "126001"
        assert any("on 2026-01-03 1.000 cm3" in said for said in comments(reports["sr2"]))


def test_s10_the_change_is_coded_apart_from_todays_measurements() -> None:
    _, report = map(parsed, encode(follow_up_request(compared(value("volume", 1.0)))))

    (change,) = derived_of(report)
    tracking, uid, percent, today, before = change.ContentSequence
    assert (meaning(change), number(change)) == ("Change since the earlier study", (0.235, "cm3"))
    assert (tracking.TextValue, uid.UID) == ("Tumour 2", OLD_UID)
    assert number(percent) == (23.5, "%")
    assert [(one.RelationshipType, meaning(one), *number(one)) for one in (today, before)] == [
        ("INFERRED FROM", "Volume", 1.235, "cm3"),
        ("INFERRED FROM", "Volume", 1.0, "cm3"),
    ]
    date, study = before.ContentSequence
    assert (date.Date, study.UID) == ("20260103", "1.2.777")
    (group, *_) = [
        item
        for container in report.ContentSequence
        if container.ConceptNameCodeSequence[0].CodeValue == "126010"
        for item in container.ContentSequence
    ]
    assert "1.0" not in [str(one) for one in items_of(group, "NumericValue")]


@pytest.mark.parametrize(
    "other",
    [
        value("volume", 1.0, unit=Code("ml", "UCUM", "ml")),
        value("volume", 1.0, code=LONG_AXIS),
        value("longest", 1.0, name="another"),
    ],
    ids=["unit", "code", "name"],
)
def test_s10_only_equal_measurements_are_compared(other: PriorValue) -> None:
    _, report = map(parsed, encode(follow_up_request(compared(other))))

    assert derived_of(report) == []
    assert "Tumour 2: found on 2026-01-03 too, nothing to compare." in comments(report)


@pytest.mark.parametrize(
    ("unit", "before", "percent"),
    [("mm", 10.0, 20.0), ("mm", 0.0, None), ("[hnsf'U]", 10.0, None), ("%", 10.0, None)],
)
def test_s10_percent_is_said_of_sizes_only(unit: str, before: float, percent: float | None) -> None:
    change = Change(
        name=LONG_AXIS, unit=Code(unit, "UCUM", unit), now=12.0, before=before, digits=1
    )

    assert change.percent == percent


def test_s10_a_possible_prior_shares_nothing_and_says_no_change() -> None:
    possible = PossiblePrior(
        earlier=EARLIER,
        findings=(
            earlier_finding("Tumour 1", value("volume", 2.5), value("longest", 17.0)),
            *(earlier_finding(f"Tumour {n}") for n in range(2, 8)),
        ),
        why="no registration links both studies",
    )
    _, report = map(parsed, encode(follow_up_request(FollowUp(possible=(possible,)))))

    assert (
        "possible prior: study of 2026-01-03, series “Thorax vén. 1.0”, Ball Finder 1.1.0: "
        "Tumour 1: Volume 2.500 cm3, Long axis 17.0 mm; Tumour 2; Tumour 3; Tumour 4; Tumour 5; "
        "and 2 more. Not compared: no registration links both studies."
    ) in comments(report)
    assert derived_of(report) == []
    assert "2.25.4712" not in {str(one) for one in items_of(report, "UID")}
    assert not any("%" in one for one in comments(report))


def test_s10_an_earlier_study_without_findings_is_a_possible_prior_too() -> None:
    possible = PossiblePrior(earlier=EARLIER, findings=(), why="nothing was found there")
    request = request_of(synthetic_headers(), Result(), follow_up=FollowUp(possible=(possible,)))

    (report,) = map(parsed, encode(request))

    assert comments(report)[1].endswith("Ball Finder 1.1.0: nothing found.")


def test_s10_new_findings_are_named_as_no_finding_before() -> None:
    own = {("tumour", n): ("Tumour", f"Tumour {n}") for n in (1, 2, 3)}
    tracked = {("tumour", 2): Tracked(uid=OLD_UID, label="Tumour 1")}
    follow_up = FollowUp(tracked=tracked, taken=frozenset({"Tumour 3"}))

    assert list(names_of(follow_up, own).values()) == ["Tumour 2", "Tumour 1", "Tumour 4"]
    assert list(names_of(FollowUp(), own).values()) == ["Tumour 1", "Tumour 2", "Tumour 3"]


def test_s10_a_finding_on_two_inputs_has_one_uid_and_one_name() -> None:
    own = {("tumour", 1): ("Tumour", "Tumour 1"), ("tumour", 2): ("Tumour", "Tumour 2")}
    tracked = {("tumour", 2): Tracked(uid=OLD_UID, same_as=("tumour", 1))}

    assert set(names_of(FollowUp(tracked=tracked), own).values()) == {"Tumour 1"}


def test_s10_what_is_new_beside_tracked_findings_is_listed() -> None:
    plain = ball_result()
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[0, 5, 6] = 1
    other = Segment(name="tumour", mask=mask, role="ct", finding=2)
    result = replace(plain, segments=(*plain.segments, other))
    request = request_of(
        synthetic_headers(), result, follow_up=compared(taken=frozenset({"Tumour 1"}))
    )

    _, report = map(parsed, encode(request))

    assert "No finding of 2026-01-03 is beyond doubt the same: Tumour 3." in comments(report)


@pytest.mark.parametrize("profile", [STANDARD, DWV, OHIF], ids=lambda one: one.name)
def test_s10_a_report_with_an_earlier_study_passes_the_gate_and_reads_in_highdicom(
    profile: ViewerProfile,
) -> None:
    """With dciodvfy where it is installed: the gate stops whatever it calls an error."""
    possible = PossiblePrior(earlier=EARLIER, findings=(), why="nothing was found there")
    follow_up = compared(value("volume", 1.0), value("longest", 4.0), possible=(possible,))
    request = full_request(
        synthetic_headers(12, PixelSpacing=["0.8", "0.8"]), profile, follow_up=follow_up
    )

    objects = encode(request)
    check_objects(objects, request)

    report = hd.sr.srread(io.BytesIO(next(o.content for o in objects if o.role == "sr")))
    groups = report.content.get_volumetric_roi_measurement_groups(tracking_uid=OLD_UID)
    assert len(groups) == 1
    assert {one.name.meaning for one in groups[0].get_measurements()} >= {"Volume"}
    assert [one.content for one in encode(request)] == [one.content for one in objects]


def test_s10_numbers_of_today_stand_once_in_their_group() -> None:
    plain, tracked = (
        dcmread(io.BytesIO(encode(follow_up_request(one))[-1].content))
        for one in (FollowUp(), compared(value("volume", 1.0)))
    )

    def measured(report: Dataset) -> list[tuple[float, str]]:
        groups = [
            item
            for container in report.ContentSequence
            if container.ConceptNameCodeSequence[0].CodeValue == "126010"
            for item in container.ContentSequence
        ]
        return [number(i) for g in groups for i in g.ContentSequence if i.ValueType == "NUM"]

    assert measured(plain) == measured(tracked)


def test_an_interval_stays_with_its_number() -> None:
    """A prior's interval is not kept: what it was is in the earlier report."""
    result = ball_result(
        measurements=(Measurement(name="volume", value=1.2, segment="tumour", interval=(1.0, 1.5)),)
    )
    request = request_of(synthetic_headers(), result, follow_up=compared(value("volume", 1.0)))

    _, report = map(parsed, encode(request))

    assert any("interval 1.000 to 1.500" in one for one in comments(report))
    assert any("(+0.200 cm3, +20.0 %)" in one for one in comments(report))
