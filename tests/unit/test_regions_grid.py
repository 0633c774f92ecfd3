"""Masks between grids, and outlines to pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from node.dicom.frames import StackGeometry
from node.dicom.region_grid import fill, on_grid
from node.dicom.region_values import GridMask
from node.errors import RefusalCode, Refused
from tests.regions_case import blob

Array = NDArray[np.float64]

spacings = st.tuples(*(st.floats(0.3, 6.0) for _ in range(3)))
angles = st.tuples(*(st.floats(-np.pi, np.pi) for _ in range(3)))
points = st.tuples(*(st.floats(-300.0, 300.0) for _ in range(3)))


def rotation(turns: tuple[float, ...]) -> Array:
    found = np.eye(3)
    for axis, turn in enumerate(turns):
        one, other = [i for i in range(3) if i != axis]
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(turn)
        step[one, other], step[other, one] = -np.sin(turn), np.sin(turn)
        found = found @ step
    return found


def affine_of(turns: tuple[float, ...], spacing: tuple[float, ...], origin: object) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = rotation(turns) * spacing
    affine[:3, 3] = origin
    return affine


def geometry(affine: Array, shape: tuple[int, int, int]) -> StackGeometry:
    rows = [tuple(map(float, row)) for row in affine]
    spacing = tuple(map(float, np.linalg.norm(affine[:3, :3], axis=0)))
    return StackGeometry(
        affine=tuple(rows),  # type: ignore[arg-type]
        shape=shape,
        spacing_mm=spacing,  # type: ignore[arg-type]
        plane="axial",
        oblique_degrees=0.0,
        frame_of_reference_uid="1.2.3",
    )


@settings(max_examples=60, deadline=None)
@given(angles, spacings, points, st.permutations(range(3)), st.tuples(*(st.booleans(),) * 3))
def test_equal_grid_in_any_axis_order_and_direction_is_an_exact_copy(
    turns: tuple[float, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    order: list[int],
    reversed_axes: tuple[bool, ...],
) -> None:
    mask = blob((6, 7, 9))
    affine = affine_of(turns, spacing, origin)
    # The same voxels, with axes swapped and turned round.
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for new, old in enumerate(order):
        step[old, new] = -1 if reversed_axes[new] else 1
        step[old, 3] = mask.shape[old] - 1 if reversed_axes[new] else 0
    turned = mask.transpose(order)
    turned = np.flip(turned, [axis for axis in range(3) if reversed_axes[axis]])
    source = GridMask(mask=turned, affine=affine @ step)

    got = on_grid(source, geometry(affine, mask.shape), inside=1.0)

    np.testing.assert_array_equal(got, mask)


@settings(max_examples=60, deadline=None)
@given(angles, spacings, angles, spacings, st.tuples(*(st.floats(-3, 3) for _ in range(3))))
def test_other_grid_takes_the_nearest_voxel_of_the_source(
    turns: tuple[float, ...],
    spacing: tuple[float, ...],
    other_turns: tuple[float, ...],
    other_spacing: tuple[float, ...],
    shift: tuple[float, ...],
) -> None:
    """Against the definition: the voxel whose centre's index rounds to it, outside empty."""
    mask = blob((4, 5, 6))
    affine = affine_of(turns, spacing, (0, 0, 0))
    middle = (affine @ [1.5, 2, 2.5, 1])[:3]
    shape = (5, 6, 7)
    target = affine_of(other_turns, other_spacing, (0, 0, 0))
    target[:3, 3] = middle - (target @ [2, 2.5, 3, 0])[:3] + shift
    index = np.stack([*np.indices(shape).reshape(3, -1), np.ones(int(np.prod(shape)))])
    exact = (np.linalg.inv(affine) @ target @ index)[:3]
    nearest = np.floor(exact + 0.5).astype(int)
    inside = ((nearest >= 0) & (nearest < np.array(mask.shape)[:, None])).all(axis=0)
    expected = np.zeros(shape, np.bool_).reshape(-1)
    expected[inside] = mask[tuple(nearest[:, inside])]
    off_tie = np.abs(exact + 0.5 - np.round(exact + 0.5)).min(axis=0) > 1e-4

    try:
        got = on_grid(GridMask(mask=mask, affine=affine), geometry(target, shape), inside=0.0)
    except Refused as refusal:
        assert refusal.code in (RefusalCode.ROI_EMPTY, RefusalCode.ROI_OUTSIDE_IMAGE)
        outside = refusal.code is RefusalCode.ROI_OUTSIDE_IMAGE
        # Outside: no centre of the source lies in the target (it may still reach into it).
        assert outside or not expected[off_tie].any()
        return
    # A direction of less than a fiftieth of a voxel over the grid counts as parallel.
    close = np.abs(exact + 0.5 - np.round(exact + 0.5)).min(axis=0) > 0.05
    np.testing.assert_array_equal(got.reshape(-1)[close], expected[close])


def test_tie_between_two_voxels_goes_to_the_higher_index() -> None:
    mask = np.zeros((1, 1, 4), np.bool_)
    mask[0, 0, 2] = True
    halfway = np.eye(4)
    halfway[2, 3] = 0.5

    got = on_grid(GridMask(mask=mask, affine=np.eye(4)), geometry(halfway, (1, 1, 4)), inside=0.0)

    assert np.flatnonzero(got).tolist() == [1]


def test_region_with_a_part_outside_is_refused_by_its_volume() -> None:
    mask = np.ones((1, 10, 10), np.bool_)
    source = GridMask(mask=mask, affine=np.eye(4))

    with pytest.raises(Refused, match=r"10.0% of the region lies outside") as caught:
        on_grid(source, geometry(np.eye(4), (1, 10, 9)), inside=0.95)

    assert caught.value.code is RefusalCode.ROI_OUTSIDE_IMAGE
    assert on_grid(source, geometry(np.eye(4), (1, 10, 9)), inside=0.9).sum() == 90


def test_region_smaller_than_the_grid_can_show_is_refused() -> None:
    mask = np.ones((1, 1, 1), np.bool_)
    fine = np.diag([0.1, 0.1, 0.1, 1.0])
    fine[:3, 3] = 0.3

    with pytest.raises(Refused) as caught:
        on_grid(GridMask(mask=mask, affine=fine), geometry(np.eye(4), (2, 2, 2)), inside=0.95)

    assert caught.value.code is RefusalCode.ROI_EMPTY


# --- outlines -----------------------------------------------------------------------------------

corner = st.tuples(st.floats(-2.0, 12.0), st.floats(-2.0, 14.0))


def enclosed(outline: Array, row: float, column: float) -> bool:
    """Even-odd by definition: crossings of the ray to the left of a point."""
    crossings = 0
    for (r0, c0), (r1, c1) in pairwise([*outline, outline[0]]):
        if min(r0, r1) <= row < max(r0, r1):
            crossings += c0 + (row - r0) / (r1 - r0) * (c1 - c0) <= column
    return crossings % 2 == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(corner, min_size=3, max_size=12))
def test_pixel_is_in_if_its_centre_is_inside_the_outline(corners: list[tuple[float, ...]]) -> None:
    outline = np.round(np.array(corners), 3) + 0.0005

    got = fill([outline], (10, 12))

    expected = [[enclosed(outline, r, c) for c in range(12)] for r in range(10)]
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 11), min_size=2, max_size=6, unique=True))
def test_regions_with_common_borders_share_no_pixel_and_leave_none_out(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), 12]
    parts = [np.array([[0, a], [0, b], [10, b], [10, a]], float) for a, b in pairwise(borders)]

    counts = sum(fill([part], (10, 12)).astype(int) for part in parts)

    np.testing.assert_array_equal(counts, 1)


def test_hole_stays_open_as_an_outline_of_its_own_and_by_a_keyhole() -> None:
    outer = np.array([[0.5, 0.5], [0.5, 9.5], [8.5, 9.5], [8.5, 0.5]])
    inner = np.array([[2.5, 2.5], [2.5, 6.5], [5.5, 6.5], [5.5, 2.5]])
    slit = np.concatenate([outer, outer[:1], inner[:1], inner[::-1], outer[:1]])

    by_xor, by_keyhole = fill([outer, inner], (10, 12)), fill([slit], (10, 12))

    assert by_xor.sum() == 8 * 9 - 3 * 4
    assert not by_xor[4, 4]
    np.testing.assert_array_equal(by_keyhole, by_xor)


def test_direction_and_start_of_an_outline_do_not_matter() -> None:
    outline = np.array([[1, 1], [2, 8], [7, 9], [8, 3], [4, 4]], float)

    plain = fill([outline], (10, 12))

    np.testing.assert_array_equal(fill([outline[::-1]], (10, 12)), plain)
    np.testing.assert_array_equal(fill([np.roll(outline, 2, axis=0)], (10, 12)), plain)
