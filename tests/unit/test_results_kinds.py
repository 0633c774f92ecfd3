"""Each kind of object as each profile wants it: right content, the same bytes each time."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
)

from node.errors import Refused, ResultInvalid
from node.manifest import InputRole
from node.plugin import Map, Quality, Result, Segment
from node.profiles import DWV, OHIF, PLAIN_PACS, PROFILES, STANDARD, WEASIS, ViewerProfile
from node.results.check import check_objects
from node.results.encode import encode
from node.results.request import EncodeRequest
from node.results.seg import LABELMAP_STORAGE
from tests.make import enhanced_ct
from tests.results_case import (
    full_manifest,
    full_request,
    full_result,
    items_of,
    job,
    parsed,
    request_of,
    source_header,
    synthetic_headers,
    synthetic_series,
)

SHAPE = (5, 6, 7)
RED, GREEN = (255, 0, 0), (0, 255, 0)
EVERYTHING = {"secondary_capture": True, "key_objects": True, "parametric_map": True}
LABELS = ViewerProfile(name="labels", seg="labelmap", sr="outline", **EVERYTHING)
FRACTIONS = ViewerProfile(
    name="fractions", seg="fractional", sr="text", pictures="frames", **EVERYTHING
)
BITS = ViewerProfile(name="bits", **EVERYTHING)
#: A label map under each shape of report; the first is `LABELS`.
LABELLED = (LABELS, *(replace(LABELS, name=f"labels {sr}", sr=sr) for sr in ("segment", "text")))
ALL = (*PROFILES.values(), *LABELLED, FRACTIONS, BITS)


def request_for(profile: ViewerProfile) -> EncodeRequest:
    # Outlines are for square pixels only: OHIF misplaces others.
    changes = {"PixelSpacing": ["0.8", "0.8"]} if profile.sr == "outline" else {}
    return full_request(synthetic_headers(**changes), profile)


def made(profile: ViewerProfile) -> dict[str, Dataset]:
    return {item.role: parsed(item) for item in encode(request_for(profile))}


def none_installed() -> None:
    return None


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
def test_s01_every_kind_is_the_same_bytes_each_time_and_passes_the_gate(
    profile: ViewerProfile,
) -> None:
    first, second = encode(request_for(profile)), encode(request_for(profile))

    assert [item.content for item in first] == [item.content for item in second]
    checks = check_objects(first, request_for(profile), find_validator=none_installed)
    assert set(checks) == {item.role for item in first}


def test_s01_uids_differ_between_profiles_and_runs() -> None:
    again = replace(request_for(BITS), job=job(run_number=2))
    objects = [*encode(request_for(BITS)), *encode(request_for(LABELS)), *encode(again)]

    uids = [item.sop_instance_uid for item in objects]
    assert len(set(uids)) == len(uids)


def test_s10_a_finding_has_one_tracking_uid_in_every_profile_and_another_in_another_run() -> None:
    def tracked(request: EncodeRequest) -> list[str]:
        return [finding.tracking_uid for finding in request.findings]

    assert tracked(request_for(BITS)) == tracked(request_for(LABELS))
    assert tracked(replace(request_for(BITS), job=job(run_number=2))) != tracked(request_for(BITS))


@pytest.mark.parametrize(
    ("profile", "kinds"),
    [
        (PLAIN_PACS, ["sr", "sc", "sc2", "sc3", "sc4", "sc5", "sc6"]),
        (OHIF, ["seg", "sr", "sr2"]),
        (DWV, ["seg", "sr", "sc"]),
        (WEASIS, ["seg", "sr", "kos"]),
        (STANDARD, ["seg", "pm", "sr"]),
        (BITS, ["seg", "pm", "sr", "sc", "sc2", "sc3", "sc4", "sc5", "sc6", "kos"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_s25_a_profile_gets_its_objects_in_the_order_of_delivery(
    profile: ViewerProfile, kinds: list[str]
) -> None:
    objects = encode(request_for(profile))

    assert [item.role for item in objects] == kinds
    assert [item.position for item in objects] == list(range(1, len(kinds) + 1))


def test_s07_found_nothing_is_one_report_in_every_profile() -> None:
    for profile in ALL:
        request = replace(request_for(profile), result=Result())
        (report,) = encode(request)
        assert report.role == "sr"
        assert parsed(report).ConceptNameCodeSequence[0].CodeValue == "126001"


# --- SEG ---------------------------------------------------------------------------------------


def test_a_label_map_holds_segment_numbers_and_describes_no_background() -> None:
    ds = made(LABELS)["seg"]
    tumour, node = full_result(SHAPE).segments

    labels = np.frombuffer(ds.PixelData, np.uint8)[: np.prod(SHAPE)].reshape(SHAPE)
    expected = np.where(tumour.mask, 1, np.where(node.mask, 2, 0))
    assert ds.SOPClassUID == LABELMAP_STORAGE and ds.SegmentationType == "LABELMAP"
    assert np.array_equal(labels, expected)
    assert [item.SegmentNumber for item in ds.SegmentSequence] == [1, 2]
    assert (ds.PixelPaddingValue, ds.SegmentsOverlap) == (0, "NO")


def test_many_segments_need_two_bytes_a_voxel() -> None:
    segments = []
    for number in range(300):
        mask = np.zeros((5, 20, 20), bool)
        mask[2].flat[number] = True
        segments.append(Segment(name="tumour", mask=mask, role="ct", finding=number + 1))
    request = request_of(synthetic_headers(Rows=20, Columns=20), Result(segments=tuple(segments)))
    request = replace(request, profile=replace(LABELS, secondary_capture=False))

    ds = parsed(encode(request)[0])

    assert (ds.BitsAllocated, ds.BitsStored) == (16, 16)
    labels = np.frombuffer(ds.PixelData, "<u2").reshape(20, 20)
    assert labels.flat[:300].tolist() == list(range(1, 301))


def test_fractions_are_the_probability_and_a_mask_without_one_is_certain() -> None:
    ds = made(FRACTIONS)["seg"]
    tumour, node = full_result(SHAPE).segments
    assert tumour.probability is not None

    assert (ds.SegmentationType, ds.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert (ds.BitsAllocated, ds.MaximumFractionalValue) == (8, 255)
    frames = np.frombuffer(ds.PixelData, np.uint8)[: ds.NumberOfFrames * 42].reshape(-1, 6, 7)
    numbers = [
        g.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for g in ds.PerFrameFunctionalGroupsSequence
    ]
    assert np.array_equal(frames[:5], np.rint(tumour.probability * 255))
    assert numbers[5:] == [2] * 3
    assert np.array_equal(frames[5:], node.mask[2:] * 255)


def test_e17_beyond_the_budget_bits_become_a_label_map() -> None:
    few = replace(STANDARD, max_seg_frames=5)

    ds = made(few)["seg"]

    assert (ds.SegmentationType, ds.NumberOfFrames) == ("LABELMAP", 5)


def test_e17_a_viewer_that_shows_no_label_map_gets_none_by_itself() -> None:
    request = request_for(replace(DWV, max_seg_frames=5))

    with pytest.raises(Refused, match=r"2 segments in .* at most 5 .* no label map"):
        encode(request)


@pytest.mark.parametrize("shape", ["segment", "outline", "text"])
def test_s05_a_label_map_passes_the_validator_with_every_shape_of_report(shape: str) -> None:
    for profile in (replace(LABELS, sr=shape), replace(STANDARD, sr=shape, max_seg_frames=5)):
        request = request_for(profile)

        checks = check_objects(encode(request), request)

        said = checks["sr"]["dciodvfy"]
        assert isinstance(said, dict) and said["ran"]
        assert ("mistaken" in said) == (shape == "segment")
        assert not [line for line in said["own_warnings"] if line.startswith("Error")]


def test_e17_beyond_the_budget_segments_that_overlap_are_refused() -> None:
    mask = np.ones((5, 6, 7), bool)
    twice = Result(
        segments=tuple(Segment(name="tumour", mask=mask, role="ct", finding=n) for n in (1, 2))
    )
    request = replace(request_for(replace(STANDARD, max_seg_frames=9)), result=twice)

    with pytest.raises(Refused, match=r"2 segments in 5 slices .* 10 .* at most 9 .* overlap"):
        encode(request)


def test_e17_weasis_gets_a_label_map_where_one_fits_and_else_a_clear_sentence() -> None:
    headers = synthetic_headers(401, Rows=1, Columns=2)

    def of(*masks: tuple[slice, int]) -> EncodeRequest:
        segments = []
        for number, (slices, column) in enumerate(masks, start=1):
            mask = np.zeros((401, 1, 2), bool)
            mask[slices, :, column] = True
            segments.append(Segment(name="tumour", mask=mask, role="ct", finding=number))
        return request_of(headers, Result(segments=tuple(segments)), profile=WEASIS)

    two = parsed(encode(of((slice(0, 300), 0), (slice(100, 400), 1)))[0])
    assert (two.SegmentationType, two.NumberOfFrames) == ("LABELMAP", 400)
    with pytest.raises(Refused) as refused:
        encode(of((slice(0, 401), 0)))
    assert str(refused.value) == (
        "1 segment in 401 slices would be 401 frames, and profile weasis writes at most 400 "
        "(max_seg_frames); a label map would be 401"
    )


@pytest.mark.parametrize("shape", ["segment", "outline", "text"])
def test_the_same_tree_goes_as_comprehensive_sr_where_the_profile_says_so(shape: str) -> None:
    usual = replace(STANDARD, sr=shape)
    request = request_for(replace(usual, sr_class="comprehensive"))

    objects = encode(request)
    checks = check_objects(objects, request)
    made = {one.role: one for one in objects}
    other = {one.role: one for one in encode(request_for(usual))}

    assert made["sr"].sop_class_uid == ComprehensiveSRStorage
    assert checks["sr"]["tree_rules"] == "passed"
    assert made["sr"].sop_instance_uid != other["sr"].sop_instance_uid
    assert names_in(parsed(made["sr"])) == names_in(parsed(other["sr"]))


def names_in(ds: Dataset) -> list[str]:
    """The concepts and value types of a tree, in order."""
    return items_of(ds, "CodeMeaning") + items_of(ds, "ValueType")


def test_segments_that_overlap_are_never_a_label_map() -> None:
    mask = np.ones((5, 6, 7), bool)
    twice = Result(
        segments=tuple(Segment(name="tumour", mask=mask, role="ct", finding=n) for n in (1, 2))
    )

    ds = parsed(encode(replace(request_for(LABELS), result=twice))[0])

    assert (ds.SegmentationType, ds.SegmentsOverlap) == ("BINARY", "YES")


# --- parametric map ------------------------------------------------------------------------------


def test_a_map_says_quantity_unit_and_values_as_they_are() -> None:
    ds = made(BITS)["pm"]
    (mapping,) = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence

    assert ds.SOPClassUID == ParametricMapStorage
    values = np.frombuffer(ds.FloatPixelData, "<f4").reshape(SHAPE)
    assert np.array_equal(values, full_result(SHAPE).maps[0].array)
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130403"
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == pytest.approx(-0.25)
    assert ds.SeriesDescriptionCodeSequence[0].CodeValue == "130403"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Map(name="heat", array=np.zeros(SHAPE, np.float32), role="ct"), "'heat'"),
        (Map(name="attention", array=np.zeros((1, 2, 3), np.float32), role="ct"), "no grid"),
        (Map(name="attention", array=np.full(SHAPE, np.nan, np.float32), role="ct"), "finite"),
    ],
)
def test_a_map_that_does_not_fit_is_invalid(bad: Map, sentence: str) -> None:
    request = request_for(PLAIN_PACS)  # wrong even where no map is written

    with pytest.raises(ResultInvalid, match=sentence):
        encode(replace(request, result=replace(request.result, maps=(bad,))))


# --- pictures and key objects ----------------------------------------------------------------


def test_pictures_are_one_series_of_declared_burned_in_rgb() -> None:
    pictures = [ds for role, ds in made(PLAIN_PACS).items() if role.startswith("sc")]

    assert len({ds.SeriesInstanceUID for ds in pictures}) == 1
    assert [ds.InstanceNumber for ds in pictures] == list(range(1, len(pictures) + 1))
    for ds in pictures:
        assert ds.SOPClassUID == SecondaryCaptureImageStorage
        assert (ds.Modality, ds.ConversionType, ds.BurnedInAnnotation) == ("OT", "WSD", "YES")
        assert ds.SeriesNumber >= 9000
        assert ds.pixel_array.shape == (ds.Rows, ds.Columns, 3)
        outlined = [(ds.pixel_array == colour).all(axis=2).any() for colour in (RED, GREEN)]
        assert any(outlined)
        assert ds.SeriesDescription.startswith("RESEARCH ")
        assert list(ds.PatientOrientation) == ["L", "P"]
    sources = [ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in pictures]
    # The last slice twice: with its findings, and with the map over it.
    assert sources == [f"1.2.3.4.{n}" for n in (1, 2, 3, 4, 5, 5)]


def test_pictures_as_frames_of_one_image_are_the_same_pictures() -> None:
    images = [ds for role, ds in made(PLAIN_PACS).items() if role.startswith("sc")]
    (frames,) = [ds for role, ds in made(DWV).items() if role.startswith("sc")]

    assert frames.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert (frames.NumberOfFrames, list(frames.PageNumberVector)) == (6, [1, 2, 3, 4, 5, 6])
    assert frames.Rows == max(ds.Rows for ds in images)
    for ds, source, pixels in zip(
        images, frames.SourceImageSequence, frames.pixel_array, strict=True
    ):
        assert np.array_equal(pixels[: ds.Rows], ds.pixel_array)
        assert not pixels[ds.Rows :].any()
        wanted = ds.SourceImageSequence[0].ReferencedSOPInstanceUID
        assert source.ReferencedSOPInstanceUID == wanted
    assert (frames.BurnedInAnnotation, frames.Modality) == ("YES", "OT")
    assert list(frames.PatientOrientation) == list(images[0].PatientOrientation)


def test_many_slices_are_thinned_and_the_largest_stays() -> None:
    mask = np.zeros((90, 6, 7), bool)
    mask[:, 2, 2] = True
    mask[41, 1:5, 1:6] = True
    result = Result(segments=(Segment(name="tumour", mask=mask, role="ct"),))
    base = full_request(synthetic_headers(90), PLAIN_PACS)

    objects = encode(replace(base, result=result))

    sources = [
        parsed(o).SourceImageSequence[0].ReferencedSOPInstanceUID
        for o in objects
        if o.role.startswith("sc")
    ]
    assert len(sources) == 24 and "1.2.3.4.42" in sources


def test_the_manifests_window_comes_before_the_sources() -> None:
    headers = synthetic_headers(WindowCenter=["40", "400"], WindowWidth=["400", "2000"])
    window = InputRole(name="ct", modality=("CT",), window=(0.0, 50.0))
    by_source = full_request(headers, PLAIN_PACS)
    manifest = replace(full_manifest(), inputs={"ct": window})
    by_manifest = full_request(headers, PLAIN_PACS, manifest=manifest)

    pictures = [
        [parsed(o).PixelData for o in encode(request) if o.role == "sc"]
        for request in (by_source, by_manifest, full_request(synthetic_headers(), PLAIN_PACS))
    ]
    assert pictures[0] != pictures[1]
    assert pictures[0] == pictures[2]  # the source's own window is CT's soft tissue window


def test_pictures_without_values_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="volume of every input role"):
        replace(request_for(PLAIN_PACS), volumes={})


def test_key_objects_are_the_findings_own_images_with_their_evidence() -> None:
    ds = made(WEASIS)["kos"]

    images = items_of(ds, "ReferencedSOPInstanceUID")
    assert ds.SOPClassUID == KeyObjectSelectionDocumentStorage and ds.Modality == "KO"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113000"
    assert "Research use only" in str(items_of(ds, "TextValue"))
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    known = items_of(study, "ReferencedSOPInstanceUID")
    largest = {f"1.2.3.4.{finding.largest + 1}" for finding in request_for(WEASIS).findings}
    assert set(images) >= largest | {"1.2.3.4.3"}  # and the slice of the diameter
    assert set(known) == set(images)


def test_s20_key_objects_and_pictures_of_a_multiframe_source_name_frames() -> None:
    request = full_request(synthetic_series([enhanced_ct((6, 8, 9))]), BITS)

    objects = {item.role: parsed(item) for item in encode(request)}

    check_objects(encode(request), request, find_validator=none_installed)
    assert items_of(objects["kos"], "ReferencedFrameNumber")
    assert objects["sc"].SourceImageSequence[0].ReferencedFrameNumber


# --- report ------------------------------------------------------------------------------------


def groups_of(report: Dataset) -> list[Dataset]:
    return [
        group
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
        for group in item.ContentSequence
    ]


def templates(report: Dataset) -> list[str]:
    return [g.ContentTemplateSequence[0].TemplateIdentifier for g in groups_of(report)]


def test_s26_outlines_stand_under_126000_and_the_rest_in_a_report_of_its_own() -> None:
    objects = made(OHIF)

    assert objects["sr"].ConceptNameCodeSequence[0].CodeValue == "126000"
    assert objects["sr2"].ConceptNameCodeSequence[0].CodeValue == "126001"
    assert templates(objects["sr"]) == ["1411", "1410", "1411"]
    assert templates(objects["sr2"]) == ["1501"]
    for group in groups_of(objects["sr"]):
        kinds = [item.ValueType for item in group.ContentSequence]
        assert "SCOORD" in kinds and "IMAGE" not in kinds


def test_s26_pixels_that_are_not_square_get_no_outline_but_a_report_as_text() -> None:
    """OHIF 3.13.2 draws such an outline beside the finding (docs/viewers.md)."""
    (report,) = [
        parsed(item)
        for item in encode(full_request(synthetic_headers(), OHIF))
        if item.role.startswith("sr")
    ]

    assert report.ConceptNameCodeSequence[0].CodeValue == "126001"
    assert all(
        item.ValueType != "SCOORD" for group in groups_of(report) for item in group.ContentSequence
    )


def test_an_outline_runs_along_the_voxels_of_its_slice_largest_slice_first() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[1, 2, 3] = True
    mask[3, 1:3, 2:5] = True
    result = Result(segments=(Segment(name="tumour", mask=mask, role="ct"),))

    report = parsed(encode(replace(request_for(OHIF), result=result))[1])

    (group,) = groups_of(report)
    first, second = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    assert list(first.GraphicData) == [2, 1, 5, 1, 5, 3, 2, 3, 2, 1]
    assert list(second.GraphicData) == [3, 2, 4, 2, 4, 3, 3, 3, 3, 2]
    images = items_of(group, "ReferencedSOPInstanceUID")
    assert images == ["1.2.3.4.4", "1.2.3.4.2"]


def test_a_finding_of_many_regions_keeps_an_outline_on_each_slice() -> None:
    mask = np.zeros((300, 8, 8), bool)
    mask[:, ::2, ::2] = True
    result = Result(segments=(Segment(name="tumour", mask=mask, role="ct"),))
    request = full_request(synthetic_headers(300, Rows=8, Columns=8, PixelSpacing=["1", "1"]), OHIF)

    report = parsed(encode(replace(request, result=result))[1])

    regions = [i for i in groups_of(report)[0].ContentSequence if i.ValueType == "SCOORD"]
    assert len(regions) == 900  # three of sixteen on each
    assert len(set(items_of(groups_of(report)[0], "ReferencedSOPInstanceUID"))) == 300


def test_a_report_of_text_points_at_images_only() -> None:
    objects = made(PLAIN_PACS)

    assert templates(objects["sr"]) == ["1501"] * 3
    assert not items_of(objects["sr"], "GraphicData")
    numbers = items_of(objects["sr"], "NumericValue")
    assert {1.5, 9.5, 81.2, 0.7} <= {float(n) for n in numbers}


def test_s26_a_segment_of_a_label_map_is_referenced_as_one() -> None:
    request = request_for(replace(LABELS, sr="segment"))

    seg, report = (parsed(o) for o in encode(request) if o.role in ("seg", "sr"))

    (group, *_) = groups_of(report)
    (image,) = [item for item in group.ContentSequence if item.ValueType == "IMAGE"]
    reference = image.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPClassUID == LABELMAP_STORAGE
    assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
    assert reference.ReferencedSegmentNumber == seg.SegmentSequence[0].SegmentNumber


def test_a_probability_has_its_interval_as_distances_and_in_words() -> None:
    report = made(BITS)["sr"]

    distances = {
        item.ConceptNameCodeSequence[0].CodeValue: float(item.MeasuredValueSequence[0].NumericValue)
        for item in _walk(report)
        if item.get("RelationshipType") == "HAS PROPERTIES" and item.ValueType == "NUM"
    }
    assert distances == {"371885007": pytest.approx(11.2, 0.01), "371886008": pytest.approx(9.2)}
    texts = items_of(report, "TextValue")
    assert "Tumour: Probability of cancer 81.2 % (95 % interval 70.0 to 90.5)." in texts


def _walk(ds: Dataset) -> list[Dataset]:
    items = list(ds.get("ContentSequence") or ())
    return [*items, *(child for item in items for child in _walk(item))]


def test_qualities_are_codes_in_the_group_of_their_finding() -> None:
    report = made(STANDARD)["sr"]

    said = {
        (number, item.ConceptCodeSequence[0].CodeValue)
        for number, group in enumerate(groups_of(report))
        for item in group.ContentSequence
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "AIP-RISK"
    }
    assert said == {(2, "75976002"), (3, "15508007")}


@pytest.mark.parametrize(
    ("quality", "sentence"),
    [
        (Quality(name="mood", choice="high"), "'mood'"),
        (Quality(name="risk", choice="none"), "'none'"),
        (Quality(name="risk", choice="high", segment="bone"), "no segment"),
    ],
)
def test_a_quality_that_does_not_fit_is_invalid(quality: Quality, sentence: str) -> None:
    request = request_for(STANDARD)

    with pytest.raises(ResultInvalid, match=sentence):
        encode(replace(request, result=replace(request.result, qualities=(quality,))))


def test_s26_the_report_ties_the_whole_result_together() -> None:
    objects = made(BITS)

    known = items_of(
        objects["sr"].CurrentRequestedProcedureEvidenceSequence[0], "ReferencedSOPInstanceUID"
    )
    others = {ds.SOPInstanceUID for role, ds in objects.items() if role != "sr"}
    assert others <= set(known)


def test_s26_private_schemes_of_a_plugin_are_identified_where_they_are_used() -> None:
    objects = made(BITS)

    schemes = {
        item.CodingSchemeDesignator: item
        for item in objects["sr"].CodingSchemeIdentificationSequence
    }
    assert schemes.keys() == {"99ACME", "99SENTINEL"}
    assert schemes["99ACME"].CodingSchemeName == "Private codes of Ball Finder"
    assert schemes["99ACME"].CodingSchemeResponsibleOrganization == "Sentinel Node"
    assert "CodingSchemeIdentificationSequence" not in objects["seg"]


# --- IHE AIR query keys -------------------------------------------------------------------------


def test_results_can_be_found_by_the_keys_of_ihe_air() -> None:
    for role, ds in made(BITS).items():
        assert ds.SeriesDescriptionCodeSequence, role
        purposes = [
            item.PurposeOfReferenceCodeSequence[0].CodeValue
            for item in ds.ContributingEquipmentSequence
        ]
        assert purposes == ["109101", "109102"], role
        assert ds.ContributingEquipmentSequence[1].DeviceUID
        if role not in ("sr", "kos"):
            assert ds.PrimaryAnatomicStructureSequence[0].CodeValue == "39607008", role


@pytest.mark.parametrize("title", ["Ball Finder", "A title as long as anyone likes " * 3])
@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
def test_every_series_of_a_run_is_told_by_its_description(
    profile: ViewerProfile, title: str
) -> None:
    request = request_for(profile)
    request = replace(request, manifest=replace(request.manifest, title=title))

    series = {(ds.SeriesInstanceUID, ds.SeriesDescription) for ds in map(parsed, encode(request))}

    assert len({uid for uid, _ in series}) == len({words for _, words in series}) == len(series)
    assert all(len(words) <= 64 for _, words in series)


def test_the_two_reports_for_ohif_say_which_is_about_the_whole_study() -> None:
    objects = made(OHIF)

    assert objects["sr"].SeriesDescription == "RESEARCH Ball Finder SR"
    assert objects["sr2"].SeriesDescription == "RESEARCH Ball Finder SR whole study"


@pytest.mark.parametrize(("said", "side"), [("L", "L"), ("", None), ("X", None)])
def test_the_side_is_the_sources_and_is_not_guessed(said: str, side: str | None) -> None:
    headers = [source_header(index, ImageLaterality=said) for index in range(5)]

    for item in encode(full_request(headers, BITS)):
        if item.role in ("seg", "pm", "sc"):
            ds = dcmread(io.BytesIO(item.content))
            assert ds.get("ImageLaterality") == side
