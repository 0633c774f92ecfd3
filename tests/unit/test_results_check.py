"""The send gate: what we broke stops, what the source brought along does not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from node.errors import EvidenceRejected
from node.profiles import ViewerProfile
from node.results import dciodvfy
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from node.results.request import EncodedObject
from node.results.tree_rules import segment_references
from tests.results_case import ball_result, full_request, request_of, synthetic_headers

Change = Callable[[Dataset], None]


def none_installed() -> None:
    return None


@pytest.fixture(scope="module")
def request_() -> EncodeRequest:
    return request_of(synthetic_headers(), ball_result())


@pytest.fixture(scope="module")
def objects(request_: EncodeRequest) -> tuple[EncodedObject, ...]:
    return encode(request_)


def changed(item: EncodedObject, change: Change) -> EncodedObject:
    ds = dcmread(io.BytesIO(item.content))
    change(ds)
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return replace(item, content=stream.getvalue())


def flip_a_bit(ds: Dataset) -> None:
    bits = bytearray(ds.PixelData)
    bits[5] ^= 1
    ds.PixelData = bytes(bits)


def shift_a_frame(ds: Dataset) -> None:
    place = ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    place.ImagePositionPatient = [-10.5, 20.25, -24.9]


def swap_two_frames(ds: Dataset) -> None:
    one, two = (ds.PerFrameFunctionalGroupsSequence[i].PlanePositionSequence[0] for i in (0, 2))
    one.ImagePositionPatient, two.ImagePositionPatient = (
        two.ImagePositionPatient,
        one.ImagePositionPatient,
    )


def drop_a_frame(ds: Dataset) -> None:
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:2]


def reference_another_image(ds: Dataset) -> None:
    frame = ds.PerFrameFunctionalGroupsSequence[1]
    frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.2"


def turn(ds: Dataset) -> None:
    plane = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]


def swap_spacing(ds: Dataset) -> None:
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [0.7, 0.8]


def set_to(keyword: str, value: object) -> Change:
    return lambda ds: setattr(ds, keyword, value)


def without(keyword: str) -> Change:
    return lambda ds: delattr(ds, keyword)


def private(ds: Dataset) -> None:
    ds.private_block(0x0009, "MAKER", create=True).add_new(1, "LO", "x")


def drop_evidence(ds: Dataset) -> None:
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = series[:1]


def other_tracking(ds: Dataset) -> None:
    ds.SegmentSequence[0].TrackingUID = "2.25.1"


BROKEN = [
    ("seg", flip_a_bit, "voxel: voxels of segment 1 differ in frame 1"),
    ("seg", shift_a_frame, "voxel: frame 1 has no place"),
    ("seg", swap_two_frames, "voxel: frame 1 refers to another image"),
    ("seg", drop_a_frame, "voxel: segment 1 has 8 voxels instead of 14"),
    ("seg", reference_another_image, "voxel: frame 2 refers to another image"),
    ("seg", turn, "geometry: orientation"),
    ("seg", swap_spacing, "geometry: spacing"),
    ("seg", set_to("FrameOfReferenceUID", "1.2"), "geometry: frame of reference"),
    ("seg", other_tracking, "tracking: segment 1"),
    ("seg", without("DeviceSerialNumber"), "required attribute: DeviceSerialNumber"),
    ("seg", without("StudyID"), "required attribute: StudyID"),
    ("sr", set_to("PatientID", "P2"), r"identity \(S3\): PatientID"),
    ("sr", set_to("PatientName", "Muller^Anne"), r"identity \(S3\): PatientName"),
    ("sr", without("IssuerOfAccessionNumberSequence"), r"identity \(S3\): IssuerOfAccession"),
    ("sr", set_to("SOPInstanceUID", "1.2"), r"own identity \(S1\): SOPInstanceUID"),
    ("sr", private, "private attribute"),
    ("sr", drop_evidence, r"evidence \(S26\): 1 references"),
]


@pytest.mark.parametrize(("role", "change", "sentence"), BROKEN, ids=[s for _, _, s in BROKEN])
def test_s05_a_fault_of_our_own_stops_the_object(
    request_: EncodeRequest,
    objects: tuple[EncodedObject, ...],
    role: str,
    change: Change,
    sentence: str,
) -> None:
    broken = [changed(item, change) if item.role == role else item for item in objects]

    with pytest.raises(EvidenceRejected, match=sentence):
        check_objects(broken, request_, find_validator=none_installed)


def test_s05_a_good_object_passes_and_a_missing_validator_is_recorded(
    request_: EncodeRequest, objects: tuple[EncodedObject, ...]
) -> None:
    checks = check_objects(objects, request_, find_validator=none_installed)

    assert checks["seg"]["voxels_read_back"] == "passed"
    assert checks["sr"]["dciodvfy"] == {"ran": False, "why": "not installed"}
    json.dumps({role: dict(facts) for role, facts in checks.items()})


def test_s05_a_mask_of_any_kind_of_number_is_compared_as_yes_and_no() -> None:
    result = ball_result()
    (segment,) = result.segments
    odd = replace(result, segments=(replace(segment, mask=segment.mask * np.int16(7)),))
    request = request_of(synthetic_headers(), odd)

    checks = check_objects(encode(request), request, find_validator=none_installed)

    assert checks["seg"]["voxels_read_back"] == "passed"


def validator_that_says(folder: Path, of_evidence: str, of_source: str) -> Path:
    """A program in dciodvfy's place: our objects carry our manufacturer, headers do not."""
    program = folder / "dciodvfy"
    program.write_text(
        "#!/bin/sh\n"
        f'if grep -q "Sentinel Node" "$2"; then echo "{of_evidence}" >&2; '
        f'else echo "{of_source}" >&2; fi\nexit 1\n'
    )
    program.chmod(0o700)
    return program


@pytest.fixture(scope="module")
def everything() -> EncodeRequest:
    profile = ViewerProfile(
        name="all", seg="labelmap", sr="outline", secondary_capture=True, key_objects=True
    )
    return full_request(synthetic_headers(PixelSpacing=["0.8", "0.8"]), profile)


def change_a_float(ds: Dataset) -> None:
    ds.FloatPixelData = b"\0\0\x80\x3f" + ds.FloatPixelData[4:]


def other_label(ds: Dataset) -> None:
    ds.PixelData = b"\x02" + ds.PixelData[1:]


def blank(ds: Dataset) -> None:
    ds.PixelData = bytes(len(ds.PixelData))


def group(ds: Dataset) -> Dataset:
    (found,) = [
        item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    ]
    return found


def drop_regions(ds: Dataset) -> None:
    first = group(ds).ContentSequence[0]
    first.ContentSequence = [item for item in first.ContentSequence if item.ValueType != "SCOORD"]


def drop_tracking(ds: Dataset) -> None:
    for one in group(ds).ContentSequence:
        one.ContentSequence = [item for item in one.ContentSequence if item.ValueType != "UIDREF"]


def drop_unit(ds: Dataset) -> None:
    for item in group(ds).ContentSequence[0].ContentSequence:
        if item.ValueType == "NUM":
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = []


def retitle(ds: Dataset) -> None:
    ds.ConceptNameCodeSequence[0].CodeValue = "121070"


def drop_procedure(ds: Dataset) -> None:
    ds.ContentSequence = [
        item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue != "121058"
    ]


def select_nothing(ds: Dataset) -> None:
    ds.ContentSequence = [item for item in ds.ContentSequence if item.ValueType != "IMAGE"]


FURTHER = [
    ("seg", other_label, "voxel: voxels of the label map differ"),
    ("pm", change_a_float, "voxel: voxels of the map differ in frame 1"),
    ("pm", without("PresentationLUTShape"), "required attribute: PresentationLUTShape"),
    ("pm", swap_spacing, "geometry: spacing"),
    ("sc", set_to("BurnedInAnnotation", "NO"), "picture: burned-in"),
    ("sc", set_to("Rows", 5), "picture: pixel data have another length"),
    ("sc", blank, "picture: no finding is outlined"),
    ("sc", set_to("PatientID", "P2"), r"identity \(S3\): PatientID"),
    ("kos", select_nothing, "tree: nothing is selected"),
    ("kos", without("CurrentRequestedProcedureEvidenceSequence"), "required attribute: Current"),
    ("sr", drop_regions, r"tree \(TID 1500\): group 1 of TID 1411 has 0 regions"),
    ("sr", drop_tracking, r"group 1 has 0 items 112040"),
    ("sr", drop_unit, "a number has no value or no unit"),
    ("sr", retitle, "the title is not of CID 7021"),
    ("sr", drop_procedure, "the root has no 121058"),
    ("sr2", set_to("ContentQualification", ""), "required attribute: ContentQualification"),
]


@pytest.mark.parametrize(("role", "change", "sentence"), FURTHER, ids=[s for _, _, s in FURTHER])
def test_s05_a_fault_of_our_own_stops_every_kind_of_object(
    everything: EncodeRequest, role: str, change: Change, sentence: str
) -> None:
    broken = [changed(item, change) if item.role == role else item for item in encode(everything)]

    with pytest.raises(EvidenceRejected, match=sentence):
        check_objects(broken, everything, find_validator=none_installed)


STUDY_ID = "Error - </StudyID(0020,0010)[1]> - Value invalid = <SECRET> - Length invalid"
ROWS = "Error - </Rows(0028,0010)> - Missing attribute"


def test_s05_the_same_fault_in_the_same_attribute_of_the_source_is_inherited(
    tmp_path: Path, request_: EncodeRequest, objects: tuple[EncodedObject, ...]
) -> None:
    program = validator_that_says(tmp_path, STUDY_ID, STUDY_ID)

    checks = check_objects(objects, request_, find_validator=lambda: program)

    assert checks["seg"]["dciodvfy"] == {
        "ran": True,
        "inherited": ["Error: StudyID Value invalid - Length invalid"],
        "own_warnings": [],
    }


@pytest.mark.parametrize(
    ("of_evidence", "of_source"),
    [(STUDY_ID, ""), (STUDY_ID, STUDY_ID.replace("Length", "Character")), (ROWS, ROWS)],
    ids=["source has no fault", "source has another fault", "attribute is not a copied one"],
)
def test_s05_any_other_fault_is_ours(
    tmp_path: Path,
    request_: EncodeRequest,
    objects: tuple[EncodedObject, ...],
    of_evidence: str,
    of_source: str,
) -> None:
    program = validator_that_says(tmp_path, of_evidence, of_source)

    with pytest.raises(EvidenceRejected, match="seg: dciodvfy: Error") as caught:
        check_objects(objects, request_, find_validator=lambda: program)

    assert "SECRET" not in str(caught.value)


NO_SEGMENTATION = dciodvfy.Message(
    "Error",
    ("ContentSequence", "ReferencedSOPSequence", "ReferencedSegmentNumber"),
    "Shall not be present for Referenced SOP Class that is not segmentation",
)
SEG, LABEL_MAP, CT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66.4", "66.7", "2"))


def report_naming_segments_of(*classes: str) -> Dataset:
    report = Dataset()
    report.ContentSequence = []
    for sop_class in classes:
        reference, item = Dataset(), Dataset()
        reference.ReferencedSOPClassUID = sop_class
        reference.ReferencedSegmentNumber = 1
        item.ReferencedSOPSequence = [reference]
        report.ContentSequence.append(item)
    return report


@pytest.mark.parametrize(
    ("classes", "mistaken"),
    [
        ((LABEL_MAP,), True),
        ((SEG, LABEL_MAP), True),
        ((SEG,), False),
        ((LABEL_MAP, CT), False),
        ((), False),
    ],
)
def test_s05_the_validator_errs_about_segments_of_label_maps_only(
    classes: tuple[str, ...], mistaken: bool
) -> None:
    report = report_naming_segments_of(*classes)

    assert dciodvfy.is_mistaken(NO_SEGMENTATION, report) == mistaken
    others = (
        replace(NO_SEGMENTATION, text="Missing attribute"),
        replace(NO_SEGMENTATION, path=("ReferencedSOPSequence", "ReferencedFrameNumber")),
    )
    assert not any(dciodvfy.is_mistaken(other, report) for other in others)


def test_s26_a_segment_that_the_seg_does_not_have_stops_the_report(
    request_: EncodeRequest, objects: tuple[EncodedObject, ...]
) -> None:
    def count_on(ds: Dataset) -> None:
        for reference in segment_references(ds.ContentSequence):
            reference.ReferencedSegmentNumber = 9

    broken = [changed(one, count_on) if one.role == "sr" else one for one in objects]

    with pytest.raises(EvidenceRejected, match="sr: segment: a reference names a segment"):
        check_objects(broken, request_, find_validator=none_installed)


def test_s05_own_warnings_are_recorded_and_do_not_stop_the_object(
    tmp_path: Path, request_: EncodeRequest, objects: tuple[EncodedObject, ...]
) -> None:
    program = validator_that_says(tmp_path, "Warning - something is dubious", "")

    checks = check_objects(objects, request_, find_validator=lambda: program)

    assert checks["sr"]["dciodvfy"]["own_warnings"] == ["Warning: something is dubious"]  # type: ignore[index]


@pytest.mark.parametrize("script", ["#!/bin/sh\nkill -SEGV $$\n", "no program at all"])
def test_s05_a_validator_that_breaks_is_recorded_like_a_missing_one(
    tmp_path: Path, request_: EncodeRequest, objects: tuple[EncodedObject, ...], script: str
) -> None:
    program = tmp_path / "dciodvfy"
    program.write_text(script)
    program.chmod(0o700)

    checks = check_objects(objects, request_, find_validator=lambda: program)

    assert checks["seg"]["dciodvfy"] == {"ran": False, "why": "it gave no verdict"}


def test_the_installed_validator_is_a_program_or_none() -> None:
    program = dciodvfy.validator()

    assert program is None or program.is_file()
