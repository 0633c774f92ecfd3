"""SEG of every kind against the mask they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.frames import Stack
from node.dicom.regions import Region, RegionRules, mask_on, regions_of
from node.errors import RefusalCode, Refused
from node.results.encode import encode
from tests.make import CORONAL, made
from tests.regions_case import (
    BACKGROUND,
    DEFLATED_FRAMES,
    RLE,
    binary,
    blob,
    compressed,
    image,
    segment,
    segmentation,
    written,
)
from tests.results_case import one_segment, request_of

SHAPE = (6, 9, 11)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


@pytest.fixture
def ct(tmp_path: Path) -> tuple[Stack, list[Dataset]]:
    return image(tmp_path / "ct", SHAPE, spacing=(5.0, 0.8, 0.7))


def only(path: Path) -> Region:
    (region,) = regions_of(path)
    return region


def mask_of(tmp_path: Path, stack: Stack, ds: Dataset, **rules: Any) -> NDArray[np.bool_]:
    region = only(written(tmp_path / "seg.dcm", ds))
    return mask_on(region, stack, rules=RegionRules(**rules))


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0), CORONAL, OBLIQUE]
)
def test_mask_survives_our_writer_and_this_reader(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    stack, headers = image(tmp_path / "ct", SHAPE, orientation=orientation)
    request = request_of(headers, one_segment(blob(SHAPE), stack))
    seg = next(each for each in encode(request) if each.role.startswith("seg"))
    (tmp_path / "seg.dcm").write_bytes(seg.content)

    region = only(tmp_path / "seg.dcm")

    np.testing.assert_array_equal(mask_on(region, stack), blob(SHAPE))
    assert region.name == "Tumour" or region.name
    assert (region.source_kind, region.algorithm) == ("SEG", "AUTOMATIC")
    assert region.tracking_uid
    assert region.referenced_series == (stack.series_instance_uid,)


def test_listing_says_what_the_header_says(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    region = only(written(tmp_path / "seg.dcm", binary(images, blob(SHAPE), number=3)))

    assert (region.name, region.number, region.algorithm) == ("Tumour", 3, "MANUAL")
    assert region.type is not None and region.type.value == "108369006"
    assert region.category is not None and region.category.value == "49755003"
    assert (region.creator, region.created_at) == ("Reader^One", "20260301101500")
    assert region.referenced_instances == tuple(f.sop_instance_uid for f in stack.frames)
    assert region.patient_id == "TEST-1"
    assert region.fault is None


def test_s28_repr_of_a_region_names_nobody(tmp_path: Path, ct: Any) -> None:
    _, images = ct
    path = written(tmp_path / "seg.dcm", binary(images, blob(SHAPE)))

    shown = repr(only(path))

    for secret in ("TEST-1", "Reader", str(path), str(images[0].StudyInstanceUID), "Tumour 1"):
        assert secret not in shown


def test_frames_in_any_order_and_missing_ones_are_placed_by_position(
    tmp_path: Path, ct: Any
) -> None:
    stack, images = ct
    mask = blob(SHAPE)
    mask[2] = False
    order = [4, 1, 3]
    ds = segmentation(images, [(1, i, mask[i]) for i in order])

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds), mask)


def test_segment_identification_may_be_shared(tmp_path: Path, ct: Any) -> None:
    stack, images = ct

    got = mask_of(tmp_path, stack, binary(images, blob(SHAPE), shared=1))

    np.testing.assert_array_equal(got, blob(SHAPE))


def test_overlapping_segments_are_read_apart(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    one, other = blob(SHAPE), np.roll(blob(SHAPE), 1, axis=2)
    used = range(1, SHAPE[0] - 1)
    frames = [f for i in used for f in ((2, i, other[i]), (1, i, one[i]))]
    path = written(tmp_path / "seg.dcm", segmentation(images, frames))

    first, second = regions_of(path)

    np.testing.assert_array_equal(mask_on(first, stack), one)
    np.testing.assert_array_equal(mask_on(second, stack), other)


def test_cropped_segment_lands_where_its_position_says(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    mask = blob(SHAPE)
    rows, columns = slice(1, 9), slice(1, 10)
    corner = np.array(stack.geometry.affine)[:3, 1:3] @ [1, 1]
    positions = {
        i: np.array(images[i].ImagePositionPatient, float) + corner for i in range(SHAPE[0])
    }
    frames = [(1, i, mask[i, rows, columns]) for i in range(1, 5)]
    ds = segmentation(images, frames, positions=positions)

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds), mask)


def test_segment_written_with_turned_axes_is_the_same(tmp_path: Path, ct: Any) -> None:
    """Rows and columns reversed, slices downwards: the same voxels in the patient."""
    stack, images = ct
    mask = blob(SHAPE)
    affine = np.array(stack.geometry.affine)
    positions = {i: (affine @ [i, SHAPE[1] - 1, SHAPE[2] - 1, 1])[:3] for i in range(SHAPE[0])}
    frames = [(1, i, mask[i, ::-1, ::-1]) for i in range(4, 0, -1)]
    ds = segmentation(
        images,
        frames,
        positions=positions,
        orientation=[-1.0, 0, 0, 0, -1, 0],
        sources=False,
        spacing_between=5.0,
    )

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds), mask)


@pytest.mark.parametrize("spacing_between", [None, 5.0])
def test_sparse_segment_without_image_references_is_placed_by_its_spacing(
    tmp_path: Path, ct: Any, spacing_between: float | None
) -> None:
    stack, images = ct
    mask = blob(SHAPE)
    mask[2] = False
    options = {} if spacing_between is None else {"spacing_between": spacing_between}
    ds = binary(images, mask, sources=False, **options)

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds), mask)


@pytest.mark.parametrize(("fraction", "least"), [(0.5, 100), (0.25, 50), (1.0, 200), (0.0, 1)])
def test_fractional_segment_is_cut_at_the_fraction_of_its_maximum(
    tmp_path: Path, ct: Any, fraction: float, least: int
) -> None:
    stack, images = ct
    stored = np.zeros(SHAPE, np.uint8)
    stored[2] = np.resize(np.array([0, 1, 49, 50, 99, 100, 101, 199, 200], np.uint8), SHAPE[1:])
    ds = segmentation(images, [(1, 2, stored[2])], SegmentationType="FRACTIONAL")

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds, fraction=fraction), stored >= least)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "PALETTE COLOR"])
def test_label_map_is_read_by_value(tmp_path: Path, ct: Any, dtype: Any, photometric: str) -> None:
    stack, images = ct
    labels = np.zeros(SHAPE, dtype)
    labels[blob(SHAPE)] = 2
    labels[0, 0, 0] = 7
    frames = [(0, i, labels[i]) for i in range(5)]
    segments = [segment(0, "Background", BACKGROUND), segment(2), segment(7, "Node")]
    ds = segmentation(
        images,
        frames,
        SegmentationType="LABELMAP",
        SegmentSequence=segments,
        PhotometricInterpretation=photometric,
    )
    path = written(tmp_path / "seg.dcm", ds)

    two, seven = regions_of(path)

    assert (two.number, seven.number, seven.name) == (2, 7, "Node")
    np.testing.assert_array_equal(mask_on(two, stack), labels == 2)
    np.testing.assert_array_equal(mask_on(seven, stack), labels == 7)


def test_pixel_padding_of_a_label_map_is_no_region(tmp_path: Path, ct: Any) -> None:
    _, images = ct
    labels = np.full(SHAPE[1:], 5, np.uint8)
    labels[2, 2] = 1
    ds = segmentation(
        images,
        [(0, 1, labels)],
        SegmentationType="LABELMAP",
        SegmentSequence=[segment(1), segment(5, "Outside")],
        PixelPaddingValue=5,
    )

    assert only(written(tmp_path / "seg.dcm", ds)).number == 1


@pytest.mark.parametrize("syntax", [DEFLATED_FRAMES, RLE])
@pytest.mark.parametrize("rows", [9, 8])
def test_compressed_bits_are_unpacked(tmp_path: Path, syntax: str, rows: int) -> None:
    shape = (6, rows, 11)
    stack, images = image(tmp_path / "ct", shape)
    ds = compressed(binary(images, blob(shape)), syntax)

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds), blob(shape))


def test_run_length_coded_bytes_are_decoded(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    stored = (blob(SHAPE) * 200).astype(np.uint8)
    ds = segmentation(images, [(1, i, stored[i]) for i in range(6)], SegmentationType="FRACTIONAL")
    ds.compress(RLE, generate_instance_uid=False, encoding_plugin="pydicom")

    np.testing.assert_array_equal(mask_of(tmp_path, stack, ds), blob(SHAPE))


# --- other grids --------------------------------------------------------------------------------


def test_finer_image_takes_each_voxel_from_the_nearest(tmp_path: Path, ct: Any) -> None:
    coarse, images = ct
    fine, _ = image(
        tmp_path / "fine",
        (24, 9, 22),
        spacing=(1.25, 0.8, 0.35),
        origin=(-10.0 - 0.175, -20.0, -30.0 - 1.875),
        FrameOfReferenceUID=images[0].FrameOfReferenceUID,
        StudyInstanceUID=images[0].StudyInstanceUID,
    )
    assert coarse.geometry.frame_of_reference_uid == fine.geometry.frame_of_reference_uid

    got = mask_of(tmp_path, fine, binary(images, blob(SHAPE)))

    expected = blob(SHAPE).repeat(4, axis=0).repeat(2, axis=2)
    np.testing.assert_array_equal(got, expected)


def test_single_plane_reaches_as_far_as_it_is_thick(tmp_path: Path, ct: Any) -> None:
    _, images = ct
    fine, _ = image(
        tmp_path / "fine",
        (30, 9, 11),
        spacing=(1.0, 0.8, 0.7),
        FrameOfReferenceUID=images[0].FrameOfReferenceUID,
        StudyInstanceUID=images[0].StudyInstanceUID,
    )
    mask = np.zeros(SHAPE, np.bool_)
    mask[2, 3:5, 4:6] = True

    got = mask_of(tmp_path, fine, binary(images, mask))

    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), [8, 9, 10, 11, 12])


# --- refusals -----------------------------------------------------------------------------------


def refusal(tmp_path: Path, stack: Stack, ds: Dataset, **rules: Any) -> RefusalCode:
    with pytest.raises(Refused) as caught:
        mask_of(tmp_path, stack, ds, **rules)
    assert caught.value.sentence
    return caught.value.code


def test_s21_empty_segment_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = segmentation(images, [(1, 1, np.zeros(SHAPE[1:], np.bool_))])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_EMPTY


def test_s21_segment_that_no_frame_holds_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE), SegmentSequence=[segment(4)])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_EMPTY


def test_s21_segment_of_another_frame_of_reference_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE), FrameOfReferenceUID="1.2.3")

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_FRAME_OF_REFERENCE


def test_s21_segment_without_frame_of_reference_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE), FrameOfReferenceUID=None)

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_FRAME_OF_REFERENCE


@pytest.mark.parametrize("rows", [4, 100])
def test_s21_segment_outside_the_image_is_refused(tmp_path: Path, ct: Any, rows: int) -> None:
    stack, images = ct
    positions = {
        i: np.add(images[i].ImagePositionPatient, [0, 0.8 * rows, 0]) for i in range(SHAPE[0])
    }
    ds = binary(images, blob(SHAPE), positions=positions)

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_OUTSIDE_IMAGE


def test_part_outside_is_accepted_where_the_rules_say_so(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    positions = {
        i: np.add(images[i].ImagePositionPatient, [0, 0.8 * 2, 0]) for i in range(SHAPE[0])
    }
    ds = binary(images, blob(SHAPE), positions=positions)

    got = mask_of(tmp_path, stack, ds, inside=0.5)

    np.testing.assert_array_equal(got[:, 2:], blob(SHAPE)[:, :-2])


def test_two_frames_of_one_segment_at_one_place_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    mask = blob(SHAPE)
    ds = segmentation(images, [(1, 1, mask[1]), (1, 1, mask[4])])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_AMBIGUOUS


def test_frames_without_position_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE))
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


def test_fewer_described_frames_than_there_are_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE))
    del ds.PerFrameFunctionalGroupsSequence[-1]

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


def test_unequal_steps_of_a_segment_of_its_own_grid_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    positions = {
        i: [*map(float, images[i].ImagePositionPatient[:2]), -29.0 + z]
        for i, z in enumerate([0, 3, 6, 10.4, 13, 16])
    }
    ds = binary(images, blob(SHAPE), positions=positions, sources=False)

    assert refusal(tmp_path, stack, ds) is RefusalCode.SPACING_VARIABLE


def test_truncated_pixels_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE))
    ds.PixelData = ds.PixelData[:10]

    assert refusal(tmp_path, stack, ds) is RefusalCode.PIXELS_TRUNCATED


def test_damaged_compressed_pixels_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = compressed(binary(images, blob(SHAPE)), DEFLATED_FRAMES)
    ds.PixelData = ds.PixelData[:20] + b"\xff" * 40 + ds.PixelData[60:]

    assert refusal(tmp_path, stack, ds) in (
        RefusalCode.PIXELS_UNDECODABLE,
        RefusalCode.PIXELS_TRUNCATED,
    )


@pytest.mark.parametrize(
    "changes",
    [{"SegmentationType": "OTHER"}, {"TotalPixelMatrixColumns": 100}],
    ids=["unknown type", "slide"],
)
def test_unknown_kinds_are_refused_from_the_listing_on(
    tmp_path: Path, ct: Any, changes: dict[str, Any]
) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)

    region = only(written(tmp_path / "seg.dcm", ds))

    assert region.fault is not None
    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


def test_planes_of_one_segment_in_two_directions_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE))
    turned = made(ImageOrientationPatient=[1.0, 0, 0, 0, 0.8, 0.6])
    ds.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [turned]

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


@pytest.mark.parametrize(
    "change",
    [{"orientation": [1.0, 0, 0, 0.5, 1, 0]}, {"pixel_spacing": [0.8, 0.0]}],
    ids=["cosines", "spacing"],
)
def test_frames_with_a_grid_that_cannot_be_are_refused(
    tmp_path: Path, ct: Any, change: dict[str, Any]
) -> None:
    stack, images = ct

    code = refusal(tmp_path, stack, binary(images, blob(SHAPE), **change))

    assert code is RefusalCode.ROI_UNREADABLE


def test_planes_shifted_against_each_other_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    positions = {i: np.add(images[i].ImagePositionPatient, [i * i, 0, 0]) for i in range(6)}
    ds = binary(images, blob(SHAPE), positions=positions)

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


def test_pixels_that_are_absent_or_of_odd_bits_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct

    absent = binary(images, blob(SHAPE), PixelData=None)
    assert refusal(tmp_path, stack, absent) is RefusalCode.PIXELS_MISSING

    odd = binary(images, blob(SHAPE), BitsAllocated=12)
    assert refusal(tmp_path, stack, odd) is RefusalCode.PIXEL_FORMAT_UNSUITABLE


def test_fractional_segment_without_its_maximum_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    stored = (blob(SHAPE) * 200).astype(np.uint8)
    ds = segmentation(images, [(1, 2, stored[2])], SegmentationType="FRACTIONAL")
    del ds.MaximumFractionalValue

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE
