"""RT structure sets: filled as drawn, or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import DataElement, Dataset

from node.dicom.frames import Stack
from node.dicom.region_grid import fill, windings
from node.dicom.regions import Region, RegionRules, mask_on, refusal_of, regions_of
from node.errors import RefusalCode, Refused
from node.phantom.outline import loops
from tests.make import AXIAL, CORONAL, SAGITTAL, rtstruct
from tests.regions_case import image, written

SHAPE = (7, 20, 24)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
Array = NDArray[np.float64]
#: An L without symmetry, as (row, column).
SHAPED = np.array([[3.2, 2.1], [3.2, 15.4], [8.7, 15.4], [8.7, 7.6], [16.3, 7.6], [16.3, 2.1]])


@pytest.fixture
def ct(tmp_path: Path) -> tuple[Stack, list[Dataset]]:
    return image(tmp_path / "ct", SHAPE, spacing=(5.0, 0.8, 0.7))


def in_mm(stack: Stack, plane: float, outline: Array) -> Array:
    """Points (row, column) of a plane in mm, as a structure set has them (3 decimals)."""
    index = np.column_stack([np.full(len(outline), plane), outline, np.ones(len(outline))])
    return np.round((np.array(stack.geometry.affine) @ index.T)[:3].T, 3)


def square(low: float, high: float) -> Array:
    return np.array([[low, low], [low, high], [high, high], [high, low]], float)


def structure_set(
    stack: Stack, images: list[Dataset], contours: list[tuple[float, Array]], **changes: Any
) -> Dataset:
    lines = [
        (int(np.clip(round(z), 0, len(images) - 1)), in_mm(stack, z, line)) for z, line in contours
    ]
    return rtstruct(images, {"GTV": lines}, **changes)


def only(tmp_path: Path, ds: Dataset) -> Region:
    (region,) = regions_of(written(tmp_path / "rs.dcm", ds))
    return region


def mask_of(tmp_path: Path, stack: Stack, ds: Dataset, **kwargs: Any) -> NDArray[np.bool_]:
    return mask_on(only(tmp_path, ds), stack, **kwargs)


def refusal(tmp_path: Path, stack: Stack, ds: Dataset, **kwargs: Any) -> RefusalCode:
    with pytest.raises(Refused) as caught:
        mask_of(tmp_path, stack, ds, **kwargs)
    assert caught.value.sentence
    return caught.value.code


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE, (1, 0, 0, 0, -1, 0)])
def test_contours_are_filled_by_pixel_centre_on_their_planes(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    stack, images = image(tmp_path / "ct", SHAPE, orientation=orientation)
    planes = [2, 3, 4]

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(z, SHAPED) for z in planes]))

    np.testing.assert_array_equal(got[3], fill([SHAPED], SHAPE[1:]))
    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), planes)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(-5, 240), st.integers(-5, 200)), min_size=3, max_size=8, unique=True
    ),
    st.integers(0, 6),
)
def test_any_outline_survives_millimetres(
    tmp_path_factory: pytest.TempPathFactory, corners: list[tuple[int, int]], plane: int
) -> None:
    """Corners on odd hundredths of a pixel: no centre is near a side of less than 1e-3."""
    folder = tmp_path_factory.mktemp("any")
    stack, images = image(folder / "ct", SHAPE, orientation=OBLIQUE, spacing=(3.3, 0.8, 0.7))
    outline = np.array(corners, float)[:, ::-1] / 10 + 0.0317
    expected = fill([outline], SHAPE[1:])
    # Rounded to 3 decimals of a mm a side may pass over a centre that it all but touches.
    sure = np.logical_and.reduce(
        [fill([outline + shift], SHAPE[1:]) == expected for shift in ([0.003, 0], [-0.003, 0])]
        + [fill([outline + shift], SHAPE[1:]) == expected for shift in ([0, 0.003], [0, -0.003])]
    )

    try:
        got = mask_of(
            folder,
            stack,
            structure_set(stack, images, [(plane, outline)]),
            rules=RegionRules(inside=0.0),
        )
    except Refused as caught:
        around = windings(outline + 8, (40, 40))
        if np.abs(around).max() > 1 or around.max() > 0 > around.min():
            assert caught.code in (RefusalCode.ROI_CONTOURS_CROSS, RefusalCode.ROI_EMPTY)
            doubtful = min(np.sum(around != 0) - np.sum(around == way) for way in (1, -1))
            assert doubtful >= 2 or caught.code is RefusalCode.ROI_EMPTY
            return
        assert caught.code is RefusalCode.ROI_EMPTY
        assert not expected[sure].any()
        return
    np.testing.assert_array_equal(got[plane][sure], expected[sure])


def test_listing_says_what_the_header_says(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)], OperatorsName="Reader^One")

    region = only(tmp_path, ds)

    assert (region.name, region.number, region.source_kind) == ("GTV", 1, "RTSTRUCT")
    assert (region.algorithm, region.interpreted_type, region.approval) == (
        "MANUAL",
        "GTV",
        "APPROVED",
    )
    assert region.creator == "Reader^One"
    assert region.created_at == ds.StructureSetDate + ds.StructureSetTime
    assert region.frame_of_reference_uid == stack.geometry.frame_of_reference_uid
    assert region.referenced_series == (stack.series_instance_uid,)
    assert region.referenced_instances == (stack.frames[2].sop_instance_uid,)


def test_hole_and_island_in_it(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    rings = [square(1.5, 16.5), square(4.5, 13.5), square(6.5, 9.5)]

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3, ring) for ring in rings]))

    assert got.sum() == 15**2 - 9**2 + 3**2
    assert (got[3, 3, 3], got[3, 5, 5], got[3, 8, 8]) == (True, False, True)


def test_keyhole_is_a_hole(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    outer, inner = square(1.5, 16.5), square(4.5, 13.5)
    slit = np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3, slit)]))

    assert got.sum() == 15**2 - 9**2


def test_keyhole_is_a_hole_whichever_way_the_inner_loop_runs(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    outer, inner = square(1.5, 16.5), square(4.5, 13.5)
    slit = np.concatenate([outer, outer[:1], inner, inner[:1], outer[:1]])

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3, slit)]))

    assert got.sum() == 15**2 - 9**2


@pytest.mark.parametrize(
    "corners",
    [
        np.concatenate([square(1.5, 9.5), square(1.5, 9.5)]),
        square(1.5, 9.5)[[0, 2, 1, 3]],
        np.concatenate([square(1.5, 9.5), square(1.5, 9.5)[:1], square(3.5, 7.5)]),
    ],
    ids=["twice around", "bow tie", "overshot"],
)
def test_s21_contour_that_crosses_itself_is_refused(
    tmp_path: Path, ct: Any, corners: np.ndarray
) -> None:
    stack, images = ct

    with pytest.raises(
        Refused, match=r"a contour of plane 4 crosses itself: .* \d+% of it; draw"
    ) as caught:
        mask_of(tmp_path, stack, structure_set(stack, images, [(3, corners)]))

    assert caught.value.code is RefusalCode.ROI_CONTOURS_CROSS


def test_contour_whose_ends_overlap_a_little_is_as_drawn(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    outline = square(1.5, 16.5)
    overshot = np.concatenate([outline, outline[:1], [[1.5, 4.6], [3.6, 4.6]]])

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3, overshot)]))

    assert np.abs(windings(overshot, SHAPE[1:])).max() == 2
    np.testing.assert_array_equal(got[3], fill([overshot], SHAPE[1:]))


def test_a_small_contour_with_an_overshot_end_is_as_drawn(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    outline = np.array([[1.5, 1.5], [1.5, 5.5], [4.5, 5.5], [4.5, 1.5], [1.5, 1.5]])
    overshot = np.concatenate([outline, [[1.5, 2.5], [2.5, 2.5], [2.5, 1.5]]])

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3, overshot)]))

    assert np.count_nonzero(np.abs(windings(overshot, SHAPE[1:])) == 2) == 1
    np.testing.assert_array_equal(got[3], fill([overshot], SHAPE[1:]))


def test_contours_without_a_frame_of_reference_say_so(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)])
    del ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    del ds.ReferencedFrameOfReferenceSequence
    if "FrameOfReferenceUID" in ds:
        del ds.FrameOfReferenceUID

    with pytest.raises(Refused, match="name no frame of reference") as caught:
        mask_of(tmp_path, stack, ds)

    assert caught.value.code is RefusalCode.ROI_FRAME_OF_REFERENCE


def test_contour_that_is_there_twice_counts_once(tmp_path: Path, ct: Any) -> None:
    stack, images = ct

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3, SHAPED), (3, SHAPED)]))

    np.testing.assert_array_equal(got[3], fill([SHAPED], SHAPE[1:]))


def test_crossing_contours_are_refused_unless_xor_is_said(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(3, square(1.5, 9.5)), (3, square(5.5, 13.5))])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_CONTOURS_CROSS

    for contour in ds.ROIContourSequence[0].ContourSequence:
        contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
    assert mask_of(tmp_path, stack, ds).sum() == 2 * 8**2 - 2 * 4**2


def test_contour_a_little_off_its_plane_belongs_to_it(tmp_path: Path, ct: Any) -> None:
    stack, images = ct

    got = mask_of(tmp_path, stack, structure_set(stack, images, [(3.08, SHAPED)]))

    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), [3])


@pytest.mark.parametrize("plane", [2.5, 3.2])
def test_s21_contour_between_planes_is_refused(tmp_path: Path, ct: Any, plane: float) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED), (plane, SHAPED)])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_NOT_ON_PLANES


def test_s21_contour_across_planes_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    points = in_mm(stack, 2, SHAPED)
    points[:, 2] += np.linspace(0, 4, len(points))

    ds = rtstruct(images, {"GTV": [(2, points)]})

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_NOT_ON_PLANES


def test_s21_contours_on_every_second_plane_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(z, SHAPED) for z in (1, 3, 5)])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_SLICES_SKIPPED


def test_single_planes_of_several_parts_are_no_skipped_planes(tmp_path: Path, ct: Any) -> None:
    """Two nodes of one plane each, side by side two planes apart: nothing lies between."""
    stack, images = ct
    nodes = [(1, square(1.5, 4.5)), (3, square(9.5, 13.5))]

    got = mask_of(tmp_path, stack, structure_set(stack, images, nodes))

    assert got.sum(axis=(1, 2)).tolist() == [0, 9, 0, 16, 0, 0, 0]


def test_two_parts_with_a_gap_between_stay_two_parts(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(z, SHAPED) for z in (0, 1, 4, 5, 6)])

    got = mask_of(tmp_path, stack, ds)

    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), [0, 1, 4, 5, 6])


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR", ""])
def test_s21_points_and_open_lines_are_refused(tmp_path: Path, ct: Any, kind: str) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED), (3, SHAPED)])
    ds.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = kind

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_NOT_AN_AREA
    assert refusal_of(only(tmp_path, ds)) is not None


def test_s21_rejected_structure_set_is_refused_whatever_the_rules(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)], ApprovalStatus="REJECTED")

    code = refusal(tmp_path, stack, ds, rules=RegionRules(unapproved=True))

    assert code is RefusalCode.ROI_REJECTED


@pytest.mark.parametrize("status", ["UNAPPROVED", "", None])
def test_s21_unapproved_structure_set_needs_the_setting(
    tmp_path: Path, ct: Any, status: str | None
) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)], ApprovalStatus=status)

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNAPPROVED
    assert mask_of(tmp_path, stack, ds, rules=RegionRules(unapproved=True)).any()


def test_s21_roi_without_contours_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = rtstruct(images, {"GTV": []})

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_EMPTY


def test_s21_contour_around_no_pixel_centre_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, square(3.1, 3.9))])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_EMPTY


@pytest.mark.parametrize("shift", [30.0, 10_000.0, 1e9, 1e20, -9e99])
def test_s21_contours_outside_the_image_are_refused(tmp_path: Path, ct: Any, shift: float) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED + shift)])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_OUTSIDE_IMAGE


@pytest.mark.parametrize("value", ["1e20", "9e99", "-9e99"])
def test_s21_one_coordinate_that_is_broken_is_refused(tmp_path: Path, ct: Any, value: str) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)])
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [value, *list(contour.ContourData)[1:]]

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_OUTSIDE_IMAGE


def test_s21_contours_on_both_sides_of_the_image_are_refused_before_they_are_filled(
    tmp_path: Path, ct: Any
) -> None:
    """What holds both would be many times as large as the image, in memory."""
    stack, images = ct
    within = [(plane, SHAPED) for plane in range(6)]
    sizes = np.array(stack.geometry.shape[1:])
    far = [(0, SHAPED - 1.5 * sizes), (5, SHAPED + 1.5 * sizes)]

    with pytest.raises(Refused, match="contours lie far outside the image"):
        mask_of(tmp_path, stack, structure_set(stack, images, [*within, *far]))


def test_s21_contours_above_the_stack_count_as_outside(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(z, SHAPED) for z in (4, 5, 6, 7, 8)])

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_OUTSIDE_IMAGE
    rules = RegionRules(inside=0.5)
    assert mask_of(tmp_path, stack, ds, rules=rules).any(axis=(1, 2)).sum() == 3


def test_s21_roi_of_another_frame_of_reference_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)])
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_FRAME_OF_REFERENCE


@pytest.mark.parametrize(
    "data", [["1", "2"], ["a", "2", "3"], ["nan", "1", "2"]], ids=["two", "word", "nan"]
)
def test_contour_data_that_are_no_points_are_refused(
    tmp_path: Path, ct: Any, data: list[str]
) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED), (3, SHAPED)])
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    del contour.ContourData
    contour.add(DataElement(0x30060050, "LO", data))

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


def test_contour_with_another_number_of_points_than_it_says_is_refused(
    tmp_path: Path, ct: Any
) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)])
    ds.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 99

    assert refusal(tmp_path, stack, ds) is RefusalCode.ROI_UNREADABLE


def test_two_rois_of_one_number_are_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)])
    ds.StructureSetROISequence.append(ds.StructureSetROISequence[0])
    first, _ = regions_of(written(tmp_path / "rs.dcm", ds))

    with pytest.raises(Refused) as caught:
        mask_on(first, stack)

    assert caught.value.code is RefusalCode.ROI_AMBIGUOUS


def test_roi_drawn_on_another_series_is_resampled_through_it(tmp_path: Path, ct: Any) -> None:
    """Drawn on thick slices, wanted on thin ones in between: nearest plane."""
    thick, images = ct
    thin, _ = image(
        tmp_path / "thin",
        (28, 20, 24),
        spacing=(1.25, 0.8, 0.7),
        origin=(-10.0, -20.0, -30.0 - 1.875),
        FrameOfReferenceUID=images[0].FrameOfReferenceUID,
        StudyInstanceUID=images[0].StudyInstanceUID,
    )
    ds = structure_set(thick, images, [(z, SHAPED) for z in (2, 3)])

    assert refusal(tmp_path, thin, ds) is RefusalCode.ROI_NOT_ON_PLANES
    got = mask_of(tmp_path, thin, ds, stacks=[thin, thick])

    np.testing.assert_array_equal(got, mask_of(tmp_path, thick, ds).repeat(4, axis=0))


def test_contours_that_name_no_image_lie_on_the_planes_they_lie_on(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)])
    del ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence

    got = mask_of(tmp_path, stack, ds)

    np.testing.assert_array_equal(got[2], fill([SHAPED], SHAPE[1:]))


def test_contour_of_two_points_encloses_nothing(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    with_line = structure_set(stack, images, [(2, SHAPED), (3, SHAPED[:2])])
    only_line = structure_set(stack, images, [(3, SHAPED[:2])])

    got = mask_of(tmp_path, stack, with_line)

    assert np.flatnonzero(got.any(axis=(1, 2))).tolist() == [2]
    assert refusal(tmp_path, stack, only_line) is RefusalCode.ROI_EMPTY


@pytest.mark.parametrize("seed", range(4))
def test_masks_outlined_along_their_pixels_come_back_whole(tmp_path: Path, seed: int) -> None:
    """Holes, islands and pixels that touch at a corner, on an oblique stack."""
    stack, images = image(tmp_path / "ct", SHAPE, orientation=OBLIQUE, spacing=(3.3, 0.8, 0.7))
    mask = np.random.default_rng(seed).random(SHAPE) > (0.5, 0.7, 0.3, 0.95)[seed]
    mask[0] = mask[-1] = False
    contours = [(float(z), loop) for z in range(1, SHAPE[0] - 1) for loop in loops(mask[z])]

    got = mask_of(tmp_path, stack, structure_set(stack, images, contours))

    np.testing.assert_array_equal(got, mask)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("GTV\n1", "GTV 1"), ("腫瘍\u3000左", "腫瘍\u3000左"), ("GTV\u00a01", "GTV\u00a01")],
)
def test_a_name_is_one_line_and_keeps_the_spaces_of_its_script(
    tmp_path: Path, ct: Any, name: str, shown: str
) -> None:
    stack, images = ct
    ds = structure_set(stack, images, [(2, SHAPED)], SpecificCharacterSet="ISO_IR 192")
    ds.StructureSetROISequence[0].ROIName = name

    assert only(tmp_path, ds).name == shown
