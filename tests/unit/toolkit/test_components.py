"""Regions and their diameters, against brute force."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from node.plugin import Grid, Line, Volume
from node.toolkit.components import components
from node.toolkit.diameters import longest_3d_mm, longest_in_plane

SPACING = (5.0, 0.8, 0.7)
TURN = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
small_masks = arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6))


def grid(shape, spacing=SPACING):
    affine = np.eye(4)
    affine[:3, :3] = TURN @ np.diag(spacing)
    affine[:3, 3] = (-100, 30, 7)
    return Grid(shape=shape, affine=affine)


def by_flooding(mask, apart):
    """Return the regions as sets of voxels; neighbours differ in at most `apart` indices."""
    left = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    steps = [s for s in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, s)) <= apart]
    regions = []
    while left:
        region, edge = set(), [min(left)]
        left.discard(edge[0])
        while edge:
            voxel = edge.pop()
            region.add(voxel)
            for step in steps:
                near = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if near in left:
                    left.discard(near)
                    edge.append(near)
        regions.append(region)
    return sorted(regions, key=lambda region: (-len(region), min(region)))


@given(small_masks, st.sampled_from([(6, 1), (18, 2), (26, 3)]))
@settings(max_examples=60, deadline=None)
def test_regions_are_those_of_flooding_largest_first(mask, neighbours):
    connectivity, apart = neighbours

    found = components(mask, grid(mask.shape), connectivity=connectivity)

    as_sets = [{tuple(v) for v in np.argwhere(region.mask).tolist()} for region in found]
    assert as_sets == by_flooding(mask, apart)
    assert [region.voxels for region in found] == [len(region) for region in as_sets]


@pytest.mark.parametrize(("min_ml", "kept"), [(0.0, 3), (0.5, 2), (0.5001, 1), (2.0, 0)])
def test_a_region_of_exactly_the_smallest_volume_is_kept(min_ml, kept):
    mask = np.zeros((4, 30, 30), bool)
    mask[0, :10, :20] = True  # 200 voxels of 5 mm3: 1 mL
    mask[2, 20:30, 20:30] = True  # 0.5 mL
    mask[3, 0, 0] = True
    where = grid(mask.shape, (5.0, 1.0, 1.0))

    found = components(mask, where, min_ml=min_ml)

    assert len(found) == kept
    assert [round(region.volume_ml, 9) for region in found] == [1.0, 0.5, 0.005][:kept]


def test_an_empty_mask_has_no_regions():
    assert components(np.zeros((2, 3, 4), bool), grid((2, 3, 4))) == ()


def test_mean_and_score_are_those_of_the_voxels_without_padding():
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 1, 1:4] = 1
    values = np.zeros(mask.shape, np.int16)
    values[1, 1, 1:4] = (10, 20, -2000)
    padding = values == -2000
    where = grid(mask.shape)
    volume = Volume(
        array=values, affine=where.affine, unit="[hnsf'U]", modality="CT", padding=padding
    )
    probability = np.where(values == 20, 0.9, 0.6).astype(np.float32)

    (region,) = components(mask, volume)

    assert region.mean(volume) == 15.0
    assert region.score(probability) == pytest.approx(0.7)
    assert region.score(probability, "max") == pytest.approx(0.9)


def test_a_region_of_padding_only_has_no_mean():
    mask = np.ones((1, 1, 2), bool)
    volume = Volume(
        array=np.zeros((1, 1, 2)), affine=np.eye(4), unit="1", modality="CT", padding=mask
    )

    with pytest.raises(ValueError, match="no mean"):
        components(mask, volume)[0].mean(volume)


def test_arrays_of_another_shape_are_refused():
    mask = np.ones((2, 3, 4), bool)

    with pytest.raises(ValueError, match="shape"):
        components(mask, grid((2, 3, 5)))
    with pytest.raises(ValueError, match="shape"):
        components(mask, grid((2, 3, 4)))[0].score(np.ones((2, 4, 3)))


def test_the_longest_line_of_a_region_lies_where_it_is_in_the_whole_volume():
    mask = np.zeros((6, 20, 30), bool)
    mask[4, 10, 7:12] = True
    mask[3, 10, 8] = True

    (region,) = components(mask, grid(mask.shape))

    length, line = region.longest_axial()
    assert length == pytest.approx(4 * 0.7)
    assert line == Line(slice_index=4, start=(10.0, 7.0), end=(10.0, 11.0))
    assert region.longest_3d_mm() == longest_3d_mm(mask, grid(mask.shape).affine)


@given(small_masks, st.sampled_from([(1.0, 1.0), (0.8, 0.7), (0.5, 2.5)]))
@settings(max_examples=100, deadline=None)
def test_longest_line_in_a_slice_is_the_longest_of_all_pairs_and_the_first(mask, spacing):
    row_mm, column_mm = spacing
    pairs = [
        (((a[1] - b[1]) * row_mm) ** 2 + ((a[2] - b[2]) * column_mm) ** 2, a, b)
        for a, b in combinations(map(tuple, np.argwhere(mask).tolist()), 2)
        if a[0] == b[0]
    ]

    found = longest_in_plane(mask, spacing)

    if not pairs:
        assert found is None
        return
    longest = max(squared for squared, _, _ in pairs)
    first = min((a, b) for squared, a, b in pairs if squared == longest)
    length, line = found
    assert length == np.sqrt(longest)
    assert (line.slice_index, *line.start) == first[0]
    assert (line.slice_index, *line.end) == first[1]


@given(small_masks)
@settings(max_examples=100, deadline=None)
def test_longest_distance_in_3d_is_the_longest_of_all_pairs(mask):
    affine = grid(mask.shape).affine
    points = np.argwhere(mask) @ affine[:3, :3].T

    found = longest_3d_mm(mask, affine)

    between = points[:, None] - points[None]
    expected = np.sqrt((between**2).sum(axis=2)).max() if len(points) else 0.0
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_longest_distance_of_a_large_ball_is_its_diameter():
    z, y, x = np.ogrid[-60:61, -60:61, -60:61]
    ball = z**2 + y**2 + x**2 <= 60**2

    assert longest_3d_mm(ball, np.eye(4)) == 120.0
