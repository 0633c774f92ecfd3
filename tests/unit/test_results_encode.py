"""What SEG and SR say, and that they say it the same way each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from highdicom.color import CIELabColor
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from node.errors import Refused, ResultInvalid
from node.manifest import Code
from node.plugin import Line, Measurement, Result, Segment
from node.radiomics_settings import RadiomicsSettings
from node.results import seg
from node.results.encode import encode
from node.results.request import EncodeRequest
from tests.make import enhanced_ct
from tests.results_case import (
    ball_result,
    items_of,
    job,
    manifest,
    odd_mask,
    one_segment,
    parsed,
    request_of,
    source_header,
    stack_and_headers,
    synthetic_headers,
    synthetic_series,
)


def both(request: EncodeRequest) -> tuple[Dataset, Dataset]:
    first, second = encode(request)
    return parsed(first), parsed(second)


def plain() -> EncodeRequest:
    return request_of(synthetic_headers(), ball_result())


# --- S1 --------------------------------------------------------------------------------------


def test_s01_encoding_twice_gives_the_same_bytes() -> None:
    first, second = encode(plain()), encode(plain())

    assert [item.content for item in first] == [item.content for item in second]


def test_s01_another_process_at_another_time_gives_the_same_bytes() -> None:
    code = (
        "import hashlib; from tests.unit.test_results_encode import plain, encode;"
        "print(*(hashlib.sha256(o.content).hexdigest() for o in encode(plain())))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert said == [hashlib.sha256(item.content).hexdigest() for item in encode(plain())]


def test_s01_every_time_is_the_jobs_or_the_sources() -> None:
    request = plain()
    moment = datetime.fromtimestamp(request.job.started_at or 0, timezone(timedelta(hours=2)))
    allowed = {
        moment.strftime("%Y%m%d"),
        moment.strftime("%H%M%S.%f"),
        moment.strftime("%Y%m%d%H%M%S.%f%z"),
        *("20260301", "101500", "19600102"),
    }

    for ds in both(request):
        times = {str(e.value) for e in ds.iterall() if e.VR in ("DA", "TM", "DT") and e.value}
        assert times <= allowed


def test_s01_every_uid_is_derived_from_the_job_or_copied() -> None:
    request = plain()
    (header, *_) = request.headers["ct"]
    copied = {e.value for h in request.headers["ct"] for e in h.iterall() if e.VR == "UI"}
    again = replace(request, job=replace(request.job, run_number=2))

    for one, other in zip(both(request), both(again), strict=True):
        uids, others = (
            {str(e.value) for e in ds.iterall() if e.VR == "UI"} - copied for ds in (one, other)
        )
        ours = {uid for uid in uids if not uid.startswith("1.2.840.10008.")}
        assert ours and all(uid.startswith("2.25.") for uid in ours)
        assert ours & others == {request.device_uid}
    assert header.SOPInstanceUID in copied


def test_a_job_without_a_start_uses_its_creation_and_the_hosts_zone() -> None:
    request = request_of(
        synthetic_headers(TimezoneOffsetFromUTC=""),
        ball_result(),
        job=job(started_at=None),
    )

    expected = datetime.fromtimestamp(request.job.created_at, UTC)
    assert request.time == expected


# --- SEG -------------------------------------------------------------------------------------


def test_the_segment_is_named_in_every_frame_even_if_there_is_one_only() -> None:
    ds, _ = both(plain())

    assert "SegmentIdentificationSequence" not in ds.SharedFunctionalGroupsSequence[0]
    numbers = [
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for frame in ds.PerFrameFunctionalGroupsSequence
    ]
    assert numbers == [1] * ds.NumberOfFrames


def test_a_segment_is_cropped_to_its_slices_without_holes() -> None:
    ds, _ = both(plain())

    positions = [
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        for frame in ds.PerFrameFunctionalGroupsSequence
    ]
    assert positions == [-25.0, -20.0, -15.0]  # slice 2 holds no voxel, but lies between
    assert len(ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 3


def test_a_frame_that_begins_inside_a_byte_is_packed_right() -> None:
    request = plain()  # 6 x 7 voxels: no whole number of bytes

    ds, _ = both(request)

    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    frames = bits[: 3 * 42].reshape(3, 6, 7)
    assert np.array_equal(frames, request.result.segments[0].mask[1:4])
    assert len(ds.PixelData) % 2 == 0


def test_the_segment_says_colour_codes_algorithm_and_tracking() -> None:
    ds, _ = both(plain())
    (segment,) = ds.SegmentSequence

    colour = CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert colour == (255, 0, 0)
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert segment.AnatomicRegionSequence[0].CodeValue == "39607008"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Ball Finder", "1.2.0")
    assert "sha256=" + "ab" * 32 in algorithm.AlgorithmParameters
    assert "threshold_hu=300" in algorithm.AlgorithmParameters
    assert "no clinical validity" in segment.SegmentDescription
    assert segment.TrackingID == "Tumour"


def test_seg_and_sr_say_how_radiomics_features_were_taken() -> None:
    settings = RadiomicsSettings(
        image_types=("original",), classes=("glcm",), pre_crop=True, bin_width=25.0
    )
    request = plain()
    ds, sr = both(replace(request, manifest=replace(request.manifest, radiomics=settings)))

    (segment,) = ds.SegmentSequence
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    said = next(text for text in items_of(sr, "TextValue") if text.startswith("package="))
    for words in (algorithm.AlgorithmParameters, said):
        assert "radiomics.bin_width=25; " in words
        assert "radiomics.classes=glcm; radiomics.pre_crop=True; " in words


def test_several_findings_of_one_name_are_numbered_and_may_overlap() -> None:
    mask = odd_mask((5, 6, 7))
    result = Result(
        segments=(
            Segment(name="tumour", mask=mask, role="ct"),
            Segment(name="tumour", mask=mask.astype(bool), role="ct", finding=2),
            Segment(name="node", mask=np.zeros_like(mask), role="ct"),
        )
    )

    ds, report = both(request_of(synthetic_headers(), result))

    assert [s.SegmentNumber for s in ds.SegmentSequence] == [1, 2]
    assert [s.SegmentLabel for s in ds.SegmentSequence] == ["Tumour 1", "Tumour 2"]
    assert ds.SegmentsOverlap == "YES"
    assert len({s.TrackingUID for s in ds.SegmentSequence}) == 2
    assert sorted(items_of(report, "ReferencedSegmentNumber")) == [1, 2]


def test_two_grids_are_two_segs_before_one_report() -> None:
    ct = synthetic_series(synthetic_headers())
    late = [source_header(i) for i in range(4)]
    for ds in late:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3.5", f"1.2.3.5.{ds.InstanceNumber}"
    request = request_of(
        ct,
        Result(
            segments=(
                Segment(name="tumour", mask=odd_mask((4, 6, 7)), role="late"),
                Segment(name="node", mask=odd_mask((5, 6, 7)), role="ct"),
            )
        ),
    )
    stack, headers = stack_and_headers(synthetic_series(late))
    request = replace(
        request,
        stacks={**request.stacks, "late": stack},
        headers={**request.headers, "late": headers},
    )

    objects = encode(request)

    assert [(o.role, o.position, o.source_role) for o in objects] == [
        ("seg", 1, "late"),
        ("seg2", 2, "ct"),
        ("sr", 3, "late"),
    ]
    assert len({parsed(o).SeriesNumber for o in objects}) == 3


def test_s20_references_into_a_multiframe_instance_carry_frame_numbers() -> None:
    image = enhanced_ct((6, 8, 9))
    stack, headers = stack_and_headers(synthetic_series([image]))
    line = Line(slice_index=4, start=(1, 1), end=(2, 3))
    result = one_segment(odd_mask((6, 8, 9)), stack)
    measured = Measurement(name="longest", value=2.0, segment="tumour", line=line)
    request = request_of(
        synthetic_series([image]), replace(result, measurements=(*result.measurements, measured))
    )

    ds, report = both(request)

    frames = [
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for frame in ds.PerFrameFunctionalGroupsSequence
    ]
    assert frames == [frame.frame_number for frame in stack.frames]
    assert len(headers) == 1
    assert len(ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    assert stack.frames[4].frame_number in items_of(report, "ReferencedFrameNumber")


def test_a_lossy_source_stays_marked() -> None:
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
    }

    ds, _ = both(request_of(synthetic_headers(**lossy), ball_result()))

    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 12.5)


def test_too_many_frames_are_refused_with_the_numbers() -> None:
    mask = np.ones((300, 1, 1), np.uint8)
    count = seg.MAX_FRAMES // 300 + 1
    result = Result(
        segments=tuple(
            Segment(name="tumour", mask=mask, role="ct", finding=n) for n in range(1, count + 1)
        )
    )

    with pytest.raises(Refused, match=rf"{300 * count} frames, .* at most {seg.MAX_FRAMES}"):
        encode(request_of(synthetic_headers(300, Rows=1, Columns=1), result))


# --- what is copied, and what never ------------------------------------------------------------


def test_s03_identity_study_and_order_are_those_of_the_source() -> None:
    for ds in both(plain()):
        assert ds.PatientName == "Müller^Änne"
        assert (ds.PatientID, ds.IssuerOfPatientID) == ("P1", "Hospital")
        assert (ds.StudyInstanceUID, ds.StudyID, ds.AccessionNumber) == ("1.2.3", "77", "A100")
        assert ds.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
        assert ds.TimezoneOffsetFromUTC == "+0200"


def test_absent_type_2_attributes_are_empty() -> None:
    headers = synthetic_headers()
    for ds in headers:
        del ds.PatientBirthDate, ds.StudyID, ds.ReferringPhysicianName

    for ds in both(request_of(headers, ball_result())):
        assert not ds.PatientBirthDate and not ds.StudyID and not ds.ReferringPhysicianName


def test_a_source_without_study_uid_is_refused() -> None:
    headers = synthetic_headers()
    for ds in headers:
        ds.StudyInstanceUID = ""

    with pytest.raises(Refused, match="no Study Instance UID"):
        encode(request_of(headers, ball_result()))


def test_s11_private_attributes_never_reach_evidence() -> None:
    headers = synthetic_headers()
    for ds in headers:
        ds.private_block(0x0009, "MAKER", create=True).add_new(1, "LO", "secret")
        ds.RequestAttributesSequence[0].private_block(0x0041, "MAKER", create=True).add_new(
            1, "LO", "secret"
        )

    for encoded in encode(request_of(headers, ball_result())):
        assert b"secret" not in encoded.content and b"MAKER" not in encoded.content


def test_s26_the_order_is_in_the_report_with_the_issuer_of_its_accession() -> None:
    _, report = both(plain())
    (order,) = report.ReferencedRequestSequence

    assert (order.StudyInstanceUID, order.AccessionNumber) == ("1.2.3", "A100")
    assert order.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert order.RequestedProcedureID == "RP1"
    assert "ReferencedStudySequence" in order


def test_s26_without_order_or_accession_no_request_is_invented() -> None:
    headers = synthetic_headers(AccessionNumber="")
    for ds in headers:
        del ds.RequestAttributesSequence

    _, report = both(request_of(headers, ball_result()))

    assert "ReferencedRequestSequence" not in report


def test_s26_contributing_equipment_names_plugin_version_and_digest() -> None:
    for ds in both(plain()):
        scanner, plugin = ds.ContributingEquipmentSequence
        assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
        assert scanner.Manufacturer == "Maker"
        assert plugin.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert plugin.ManufacturerModelName == "Ball Finder"
        assert list(plugin.SoftwareVersions) == ["1.2.0", "ab" * 32]


def test_another_digest_is_another_device() -> None:
    other = request_of(synthetic_headers(), ball_result(), manifest=manifest(digest="cd" * 32))

    assert other.device_uid != plain().device_uid


def test_s04_until_release_everything_says_research() -> None:
    for ds in both(plain()):
        assert ds.ContentQualification == "RESEARCH"
        assert ds.SeriesDescription.startswith("RESEARCH ")
    released = replace(plain(), content_qualification="PRODUCT")
    for ds in both(released):
        assert ds.ContentQualification == "PRODUCT"
        assert "RESEARCH" not in ds.SeriesDescription


def test_s27_series_numbers_begin_at_9000() -> None:
    assert all(9000 <= ds.SeriesNumber <= 9999 for ds in both(plain()))


# --- report --------------------------------------------------------------------------------------


def groups_of(report: Dataset) -> list[Dataset]:
    (measurements,) = [
        item
        for item in report.ContentSequence
        if item.ValueType == "CONTAINER" and item.ConceptNameCodeSequence[0].CodeValue == "126010"
    ]
    return list(measurements.ContentSequence)


def test_s09_the_report_is_complete_and_unverified() -> None:
    _, report = both(plain())

    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.ConceptNameCodeSequence[0].CodeValue == "126001"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_s26_each_group_has_one_kind_of_roi_and_the_segs_tracking_uid() -> None:
    ds, report = both(plain())
    volume, line = groups_of(report)

    tids = [g.ContentTemplateSequence[0].TemplateIdentifier for g in (volume, line)]
    kinds = [{i.ValueType for i in g.ContentSequence} & {"IMAGE", "SCOORD"} for g in (volume, line)]
    uids = {i.UID for g in (volume, line) for i in g.ContentSequence if i.get("UID")}
    assert tids == ["1411", "1410"]
    assert kinds == [{"IMAGE"}, {"SCOORD"}]
    assert ds.SegmentSequence[0].TrackingUID in uids
    assert uids == {ds.SegmentSequence[0].TrackingUID, "1.2.3.4"}  # and the source series


def test_a_line_ends_at_voxel_centres_of_its_image_column_first() -> None:
    _, report = both(plain())
    _, group = groups_of(report)
    (region,) = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    (image,) = region.ContentSequence

    assert region.GraphicType == "POLYLINE"
    assert list(region.GraphicData) == [1.5, 2.5, 2.5, 4.5]  # from (row 2, column 1) to (4, 2)
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.4"


def test_numbers_are_rounded_as_the_manifest_says() -> None:
    _, report = both(plain())

    values = [
        i.MeasuredValueSequence[0]
        for g in groups_of(report)
        for i in g.ContentSequence
        if i.ValueType == "NUM"
    ]
    assert [float(v.NumericValue) for v in values] == [1.235, 3.6]
    assert values[0].MeasurementUnitsCodeSequence[0].CodeValue == "cm3"


def test_a_measurement_of_the_whole_study_has_a_group_without_roi() -> None:
    result = ball_result(measurements=(Measurement(name="volume", value=3.0),))

    ds, report = both(request_of(synthetic_headers(), result))

    volume, study = groups_of(report)
    assert study.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert not {"IMAGE", "SCOORD"} & {item.ValueType for item in study.ContentSequence}
    assert ds.SegmentSequence[0].TrackingUID in [i.get("UID") for i in volume.ContentSequence]


def test_s26_the_evidence_holds_every_image_used_and_the_seg() -> None:
    ds, report = both(plain())

    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    instances = [
        reference.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    assert instances == [f"1.2.3.4.{n}" for n in range(1, 6)] + [ds.SOPInstanceUID]


def test_images_of_another_study_are_pertinent_other_evidence() -> None:
    prior = [source_header(i, StudyInstanceUID="1.2.77") for i in range(3)]
    for ds in prior:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.77.1", f"1.2.77.1.{ds.InstanceNumber}"
    stack, headers = stack_and_headers(synthetic_series(prior))
    request = plain()
    request = replace(
        request,
        stacks={**request.stacks, "prior": stack},
        headers={**request.headers, "prior": headers},
    )

    _, report = both(request)

    assert report.PertinentOtherEvidenceSequence[0].StudyInstanceUID == "1.2.77"
    assert len(report.CurrentRequestedProcedureEvidenceSequence) == 1


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("ProcedureCodeSequence", "RPID16"),
        ("RequestedProcedureCodeSequence", "RPID16"),
        ("nowhere", "25045-6"),
    ],
)
def test_the_procedure_reported_is_the_imaging_procedure(where: str, expected: str) -> None:
    headers = synthetic_headers()
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "RPID16", "RADLEX", "CT Chest"
    for ds in headers:
        target = ds if where == "ProcedureCodeSequence" else ds.RequestAttributesSequence[0]
        if where != "nowhere":
            setattr(target, where, [code])

    _, report = both(request_of(headers, ball_result()))

    (item,) = [
        i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121058"
    ]
    assert item.ConceptCodeSequence[0].CodeValue == expected


def test_s26_a_private_code_is_identified() -> None:
    plugin = manifest(finding=Code("HU300", "99SENTINEL", "Voxels of 300 HU or more"))

    for ds in both(request_of(synthetic_headers(), ball_result(), manifest=plugin))[1:]:
        (scheme,) = ds.CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeDesignator == "99SENTINEL"
        assert scheme.CodingSchemeResponsibleOrganization == "Sentinel Node"


# --- S7 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments", ["none", "empty"])
def test_s07_found_nothing_is_a_report_with_the_sentence_and_no_seg(segments: str) -> None:
    empty = Segment(name="tumour", mask=np.zeros((5, 6, 7), bool), role="ct")
    result = Result(segments=(empty,) if segments == "empty" else ())

    objects = encode(request_of(synthetic_headers(), result))

    assert [o.role for o in objects] == ["sr"]
    texts = items_of(parsed(objects[0]), "TextValue")
    assert (
        "no mass >= 0.5 mL detected by Ball Finder 1.2.0 in series 4, "
        "positions -30.0 to -10.0 mm; does not exclude disease"
    ) in texts
    assert "trained on synthetic phantoms, no clinical validity." in texts
    assert "Research use only. Not for diagnosis or treatment." in texts
    assert "111241" in items_of(parsed(objects[0]), "CodeValue")


def test_s07_a_plugin_that_segments_nothing_at_all_did_not_miss_anything() -> None:
    result = Result(measurements=(Measurement(name="volume", value=3.0),))

    (report,) = encode(request_of(synthetic_headers(), result, manifest=manifest(segments={})))

    texts = items_of(parsed(report), "TextValue")
    assert not [text for text in texts if "detected by" in text]


def test_notes_of_the_plugin_are_in_the_report() -> None:
    request = request_of(synthetic_headers(), ball_result(notes=("ran twice", "on the CPU.")))

    _, report = both(request)

    said = items_of(report, "TextValue")
    assert (said.count("ran twice."), said.count("on the CPU.")) == (1, 1)


# --- results that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (Result(segments=(Segment(name="bone", mask=odd_mask((5, 6, 7)), role="ct"),)), "'bone'"),
        (Result(segments=(Segment(name="node", mask=odd_mask((5, 7, 6)), role="ct"),)), "no grid"),
        (Result(segments=(Segment(name="node", mask=odd_mask((5, 6, 7)), role="x"),)), "no grid"),
        (Result(segments=ball_result().segments * 2), "same name and finding"),
        (Result(measurements=(Measurement(name="mass", value=1.0),)), "'mass'"),
        (
            ball_result(measurements=(Measurement(name="volume", value=1.0, segment="node"),)),
            "belongs to no segment",
        ),
        (Result(measurements=(Measurement(name="volume", value=float("nan")),)), "finite"),
        (
            Result(
                measurements=(
                    Measurement(
                        name="volume", value=1.0, line=Line(slice_index=0, start=(0, 0), end=(1, 1))
                    ),
                )
            ),
            "no segment",
        ),
        (
            ball_result(
                measurements=(
                    Measurement(
                        name="longest",
                        value=1.0,
                        segment="tumour",
                        line=Line(slice_index=5, start=(0, 0), end=(1, 1)),
                    ),
                )
            ),
            "outside the volume",
        ),
    ],
)
def test_a_result_that_does_not_fit_is_invalid(result: Result, sentence: str) -> None:
    with pytest.raises(ResultInvalid, match=sentence):
        encode(request_of(synthetic_headers(), result))


def test_a_request_that_makes_no_sense_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="RESEARCH or PRODUCT"):
        replace(plain(), content_qualification="CLINICAL")
    with pytest.raises(ValueError, match="same input roles"):
        replace(plain(), headers={})


def test_the_objects_are_of_the_classes_they_say() -> None:
    ds, report = both(plain())

    assert (ds.SOPClassUID, ds.Modality) == (SegmentationStorage, "SEG")
    assert (report.SOPClassUID, report.Modality) == (Comprehensive3DSRStorage, "SR")
    assert ds.file_meta.ImplementationVersionName.startswith("SENTINEL")
