"""Our SEG of real series, read by highdicom: every voxel where the source's voxel lies."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node.dicom.frames import SourceSeries, Stack
from node.dicom.headers import read_header
from node.results import dciodvfy
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from tests.make import enhanced_ct, enhanced_mr, shared_data
from tests.results_case import (
    odd_mask,
    on_grid,
    one_segment,
    pixels_of,
    read_nifti,
    real_series,
    request_of,
    stack_and_headers,
    synthetic_series,
)

PATIENTS = ("STS_002", "STS_003", "STS_008", "STS_024")
#: The one thing that dciodvfy of 2026 does not know yet (PS3.3 table C.12-1).
KNOWN_WARNINGS = {
    "Warning: ContributingEquipmentSequence/DeviceUID "
    "Attribute is not present in standard DICOM IOD",
    # Procedure Reported is copied from the source, in the source's local scheme.
    "Warning: ContentSequence/ConceptCodeSequence/CodingSchemeDesignator Unrecognized defined term",
}

Mask = Callable[[Stack], NDArray[np.uint8]]


def encoded(series: SourceSeries, mask: Mask, *, which: int = 0) -> tuple[EncodeRequest, bytes]:
    """Encode a made-up result, let the gate look at it, and return the SEG's bytes."""
    stack, _ = stack_and_headers(series, which=which)
    request = request_of(series, one_segment(mask(stack), stack), which=which)
    objects = encode(request)
    checks = check_objects(objects, request)
    for facts in checks.values():
        said = facts["dciodvfy"]
        assert isinstance(said, dict)
        assert said["ran"] == (dciodvfy.validator() is not None)
        assert set(said.get("own_warnings", ())) <= KNOWN_WARNINGS
    return request, objects[0].content


def read_by_highdicom(content: bytes, request: EncodeRequest) -> NDArray[np.uint8]:
    """The mask on the whole source grid, found by references to the source images."""
    seg = hd.seg.Segmentation.from_dataset(dcmread(io.BytesIO(content)))
    frames = request.stacks["ct"].frames
    options = {"assert_missing_frames_are_empty": True, "combine_segments": False}
    if frames[0].frame_number:
        pixels = seg.get_pixels_by_source_frame(
            frames[0].sop_instance_uid,
            [frame.frame_number for frame in frames],
            ignore_spatial_locations=False,
            **options,
        )
    else:
        pixels = seg.get_pixels_by_source_instance(
            [frame.sop_instance_uid for frame in frames],
            ignore_spatial_locations=False,
            **options,
        )
    return np.asarray(pixels[..., 0])


def contours_on_grid(stack: Stack, path: Path) -> NDArray[np.uint8]:
    """Fill the contours of an RTSTRUCT's first ROI by voxel centre, even-odd."""
    mask = np.zeros(stack.geometry.shape, np.uint8)
    to_index = np.linalg.inv(np.array(stack.geometry.affine))
    for contour in dcmread(path).ROIContourSequence[0].ContourSequence:
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        slices, rows, columns = (to_index @ np.column_stack([points, np.ones(len(points))]).T)[:3]
        mask[int(np.rint(slices.mean()))] ^= filled(rows, columns, mask.shape[1:])
    return mask


def filled(
    rows: NDArray[np.float64], columns: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    row, column = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for r1, c1, r2, c2 in zip(rows, columns, np.roll(rows, -1), np.roll(columns, -1), strict=True):
        if r1 != r2:
            crosses = (r1 > row) != (r2 > row)
            inside ^= crosses & (column < (c2 - c1) * (row - r1) / (r2 - r1) + c1)
    return inside.astype(np.uint8)


@pytest.mark.parametrize("modality", ["CT", "MR_T1"])
@pytest.mark.parametrize("patient", PATIENTS)
def test_the_rtstructs_tumour_comes_back_as_the_experts_mask(patient: str, modality: str) -> None:
    folder = shared_data(f"sts-sarcoma/{patient}/{modality}")
    series = real_series(folder / "image")

    request, content = encoded(series, lambda s: contours_on_grid(s, folder / "rtstruct/RS.dcm"))

    expert = on_grid(request.stacks["ct"], *read_nifti(folder / "mask.nii.gz"))
    assert np.array_equal(read_by_highdicom(content, request), expert)


def test_s05_a_source_with_a_study_id_too_long_is_inherited_not_ours() -> None:
    series = real_series(shared_data("sts-sarcoma/STS_002/CT/image"))
    stack, _ = stack_and_headers(series)
    request = request_of(series, one_segment(odd_mask(stack.geometry.shape), stack))

    checks = check_objects(encode(request), request)

    for facts in checks.values():
        said = facts["dciodvfy"]
        assert isinstance(said, dict)
        errors = [line for line in said["inherited"] if line.startswith("Error")]
        assert len(errors) == 1 and "StudyID" in errors[0]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_sagittal_phase_of_three_in_one_series(which: int) -> None:
    series = real_series(shared_data("breast-dce-ucsf-br-06/dce"))

    request, content = encoded(series, lambda s: odd_mask(s.geometry.shape), which=which)

    assert request.stacks["ct"].geometry.plane == "sagittal"
    expected = odd_mask(request.stacks["ct"].geometry.shape)
    assert np.array_equal(read_by_highdicom(content, request), expected)


def test_an_oblique_series_with_gaps_between_its_slices() -> None:
    series = real_series(shared_data("sts-raw-001-mr-t2fs/image"))

    request, content = encoded(series, lambda s: odd_mask(s.geometry.shape))

    measures = dcmread(io.BytesIO(content)).SharedFunctionalGroupsSequence[0]
    (measures,) = measures.PixelMeasuresSequence
    assert (measures.SliceThickness, float(measures.SpacingBetweenSlices)) == (
        4,
        pytest.approx(5.2, abs=0.01),
    )
    expected = odd_mask(request.stacks["ct"].geometry.shape)
    assert np.array_equal(read_by_highdicom(content, request), expected)


def test_everything_above_300_hu_of_a_whole_ct() -> None:
    series = real_series(shared_data("crlm-ct-1004/ct"))

    request, content = encoded(series, lambda s: (pixels_of(s) >= 300).astype(np.uint8))

    expected = request.result.segments[0].mask
    assert np.count_nonzero(expected) > 50_000
    assert np.array_equal(read_by_highdicom(content, request), expected)


def emri_with_places() -> Dataset:
    """The real enhanced MR, with the functional groups that its publisher took away."""
    ds = read_header(shared_data("awkward/multiframe/emri_small.dcm"))
    shape = (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns))
    made = enhanced_mr(shape, orientation=(0, 1, 0, 0, 0, -1), spacing=(1.2, 0.9, 0.8))
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        setattr(ds, keyword, made[keyword].value)
    ds.FrameOfReferenceUID = made.FrameOfReferenceUID
    return ds


@pytest.mark.parametrize(
    "image",
    [
        lambda: enhanced_ct((6, 9, 10)),
        lambda: enhanced_mr((5, 8, 7), orientation=(0, 1, 0, 0, 0, -1)),
        emri_with_places,
    ],
    ids=["enhanced CT", "sagittal enhanced MR", "real enhanced MR"],
)
def test_s20_a_multiframe_source(image: Callable[[], Dataset]) -> None:
    series = synthetic_series([image()])

    request, content = encoded(series, lambda s: odd_mask(s.geometry.shape))

    expected = odd_mask(request.stacks["ct"].geometry.shape)
    assert np.array_equal(read_by_highdicom(content, request), expected)
