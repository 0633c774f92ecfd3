"""Outlines enclose what they outline."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from node.results.outlines import MAX_CORNERS, MAX_OUTLINES, outlines


def area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def filled(mask: np.ndarray) -> np.ndarray:
    """The voxels whose centre lies in an odd number of outlines, by pillow at 2 pixels a voxel."""
    rows, columns = mask.shape
    seen = np.zeros(mask.shape, bool)
    for points in outlines(mask):
        picture = Image.new("1", (4 * columns, 4 * rows))
        ImageDraw.Draw(picture).polygon([(4 * x, 4 * y) for x, y in points], fill=1)
        seen |= np.asarray(picture)[2::4, 2::4]
    return seen


def test_an_empty_plane_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), bool)) == []


def test_the_largest_region_comes_first_and_holes_do_not() -> None:
    mask = np.zeros((9, 12), bool)
    mask[0:2, 0:2] = True
    mask[3:8, 4:10] = True
    mask[5, 6] = False

    found = outlines(mask)

    assert [area(points) for points in found] == [30, 4]
    assert found[0].min(axis=0).tolist() == [4, 3] and found[0].max(axis=0).tolist() == [10, 8]


def test_two_voxels_that_touch_at_a_corner_are_two_regions() -> None:
    for mask in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [area(points) for points in outlines(mask)] == [1, 1]


@settings(deadline=None, max_examples=60)
@given(arrays(np.bool_, (7, 9)))
def test_every_voxel_lies_in_an_outline(mask: np.ndarray) -> None:
    found = outlines(mask)

    for points in found:
        assert (points[0] == points[-1]).all() and area(points) > 0
        assert (np.abs(np.diff(points, axis=0)).min(axis=1) == 0).all()  # along voxel edges
    if len(found) < MAX_OUTLINES:
        assert not (mask & ~filled(mask)).any()


def test_a_rough_plane_stays_small() -> None:
    mask = np.random.default_rng(1).random((256, 256)) > 0.35

    found = outlines(mask)

    assert len(found) == MAX_OUTLINES
    assert max(map(len, found)) <= MAX_CORNERS + 1
