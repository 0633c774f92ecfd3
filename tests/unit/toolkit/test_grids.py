"""Grids: nothing moves, whatever the orientation of the series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.plugin import Grid, Volume
from node.toolkit.grids import (
    Box,
    box_around,
    canonical,
    crop,
    mask_to,
    paste,
    probability_to,
    resample,
    spaced_grid,
    to_spacing,
)
from node.toolkit.intensity import hu_window

pytest.importorskip("SimpleITK")


@st.composite
def grids(draw, low=4, high=14):
    """Draw any rotated, reversed, permuted grid of unequal steps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # reversed axes too
    if draw(st.booleans()):
        rotation = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(rng.uniform(0.5, 5, 3))
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    shape = tuple(int(n) for n in rng.integers(low, high, 3))
    return Grid(shape=shape, affine=affine)


def centres(grid):
    """Return the places of all voxel centres in mm, shape (slices, rows, columns, 3)."""
    index = np.stack(np.indices(grid.shape), axis=-1)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def volume(grid, array, unit="1", padding=None):
    return Volume(array=array, affine=grid.affine, unit=unit, modality="CT", padding=padding)


@given(grids())
@settings(max_examples=50, deadline=None)
def test_canonical_moves_no_voxel_and_faces_head_back_and_left(grid):
    places = centres(grid)

    turned = [canonical(volume(grid, places[..., axis])) for axis in range(3)]

    moved = np.stack([v.array for v in turned], axis=-1)
    np.testing.assert_allclose(moved, centres(turned[0].grid), atol=1e-9)
    cosines = turned[0].affine[:3, :3] / np.linalg.norm(turned[0].affine[:3, :3], axis=0)
    assert np.all(cosines[[2, 1, 0], [0, 1, 2]] > 0)
    again = canonical(turned[0])
    np.testing.assert_array_equal(again.affine, turned[0].affine)
    np.testing.assert_array_equal(again.array, turned[0].array)


@given(grids(), st.floats(0.6, 4))
@settings(max_examples=50, deadline=None)
def test_a_spaced_grid_has_the_steps_asked_for_and_the_same_middle(grid, spacing_mm):
    made = spaced_grid(grid, spacing_mm)

    np.testing.assert_allclose(made.spacing_mm, spacing_mm)
    middles = [
        g.affine[:3, :3] @ ((np.array(g.shape) - 1) / 2) + g.affine[:3, 3] for g in (grid, made)
    ]
    np.testing.assert_allclose(middles[0], middles[1], atol=1e-9)
    inside = np.linalg.inv(grid.affine) @ made.affine
    index = np.stack(np.indices(made.shape), axis=-1) @ inside[:3, :3].T + inside[:3, 3]
    limits = np.array(grid.shape)
    enough = limits * grid.spacing_mm >= spacing_mm  # an axis shorter than a step has one voxel
    assert np.all((index >= -0.5 - 1e-9) | ~enough)
    assert np.all((index <= limits - 0.5 + 1e-9) | ~enough)


@given(grids(low=6), st.floats(0.8, 2))
@settings(max_examples=50, deadline=None)
def test_a_field_that_is_linear_in_space_is_resampled_to_itself(grid, spacing_mm):
    weights = np.array([0.3, -0.2, 0.5])
    source = volume(grid, (centres(grid) @ weights).astype(np.float32))

    made = to_spacing(source, spacing_mm)

    target = made.grid
    back = np.linalg.inv(grid.affine) @ target.affine
    index = np.stack(np.indices(target.shape), axis=-1) @ back[:3, :3].T + back[:3, 3]
    between = np.all((index >= 0) & (index <= np.array(grid.shape) - 1), axis=-1)
    expected = centres(target) @ weights
    np.testing.assert_allclose(made.array[between], expected[between], atol=1e-2)
    assert made.array.dtype == np.float32


@given(grids(), st.integers(0, 2**32 - 1), st.sampled_from(["linear", "nearest"]))
@settings(max_examples=50, deadline=None)
def test_a_mask_at_equal_spacing_comes_back_as_it_was(grid, seed, order):
    mask = np.random.default_rng(seed).random(grid.shape) < 0.3
    turned = canonical(volume(grid, mask))

    there = mask_to(mask, grid, turned.grid, order=order)
    back = mask_to(there, turned.grid, grid, order=order)

    np.testing.assert_array_equal(there, turned.array)
    np.testing.assert_array_equal(back, mask)


@given(grids(low=6), grids(low=6), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_part_is_resampled_as_the_whole(source, target, seed):
    # The second grid is put into the middle of the first: two grids anywhere hardly ever meet.
    affine = target.affine.copy()
    middle = source.affine[:3, :3] @ (np.array(source.shape) / 2) + source.affine[:3, 3]
    affine[:3, 3] = middle - affine[:3, :3] @ (np.array(target.shape) / 2)
    target = Grid(shape=target.shape, affine=affine)
    rng = np.random.default_rng(seed)
    values = np.zeros(source.shape, np.float32)
    part = tuple(slice(a, a + 2) for a in rng.integers(0, 4, 3))
    values[part] = rng.random((2, 2, 2))

    made = probability_to(values, source, target)

    whole = resample(values, source, target, order="linear", fill=0)
    np.testing.assert_allclose(made, whole, atol=1e-5)


def test_a_ball_comes_back_at_its_place_and_size():
    source = Grid(shape=(40, 90, 80), affine=np.diag([-2.5, 0.8, 0.9, 1.0])[[2, 1, 0, 3]])
    distance = np.linalg.norm(centres(source) - centres(source)[20, 45, 40], axis=-1)
    ball = distance <= 15.0

    target = spaced_grid(source, 1.5)
    back = mask_to(mask_to(ball, source, target), target, source)

    assert 2 * np.count_nonzero(back & ball) / (back.sum() + ball.sum()) > 0.95


def test_padding_becomes_air_and_outside_stays_empty():
    source = Grid(shape=(4, 4, 4), affine=np.eye(4))
    array = np.full(source.shape, 50, np.int16)
    padding = np.zeros(source.shape, bool)
    array[0], padding[0] = -2000, True

    made = to_spacing(volume(source, array, "[hnsf'U]", padding), 1.0)

    assert float(made.array.min()) == -1024.0
    assert float(made.array.max()) == 50.0
    assert made.padding is None
    away = np.eye(4)
    away[:3, 3] = 100
    far = Grid(shape=(4, 4, 4), affine=away)
    assert not mask_to(np.ones(source.shape, bool), source, far).any()


def test_crop_keeps_places_and_paste_puts_back():
    grid = Grid(shape=(5, 6, 7), affine=np.diag([3.0, 2.0, 1.0, 1.0]))
    array = np.arange(210).reshape(grid.shape)
    mask = np.zeros(grid.shape, bool)
    mask[2, 3, 4] = True

    box = box_around(mask, grid, margin_mm=2.0)
    part = crop(volume(grid, array, padding=mask), box)

    assert box == Box(start=(1, 2, 2), stop=(4, 5, 7))
    place = np.argwhere(part.padding)[0]
    np.testing.assert_array_equal(part.affine @ [*place, 1], grid.affine @ [2, 3, 4, 1])
    whole = paste(part.array, box, grid.shape, fill=-1)
    np.testing.assert_array_equal(whole[box.slices], array[box.slices])
    assert np.count_nonzero(whole == -1) == 210 - part.array.size
    assert box_around(np.zeros(grid.shape, bool), grid) is None


def test_arrays_of_another_shape_and_steps_of_nothing_are_refused():
    grid = Grid(shape=(2, 3, 4), affine=np.eye(4))

    with pytest.raises(ValueError, match="shape"):
        resample(np.zeros((2, 3, 5), np.float32), grid, grid, order="linear")
    with pytest.raises(ValueError, match="above 0 mm"):
        spaced_grid(grid, 0.0)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_hu_window_is_float32_from_0_to_1(dtype):
    scaled = hu_window(np.array([-3000, -160, 40, 240, 3000], dtype), -160, 240)

    assert scaled.dtype == np.float32
    assert scaled.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    with pytest.raises(ValueError, match="no width"):
        hu_window(scaled, 10, 10)


def test_what_is_not_resampled_is_said():
    grid = Grid(shape=(3, 4, 5), affine=np.diag([3.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    flat = Grid(shape=(3, 4, 5), affine=np.zeros((4, 4)))
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)

    with pytest.raises(ValueError, match="order is 'bilinear'; linear or nearest"):
        resample(values, grid, grid, order="bilinear")
    for array in (values > 3, values.astype(complex), values.astype(np.float16)):
        with pytest.raises(ValueError, match="is not resampled"):
            resample(array, grid, grid, order="nearest")
    for source, target in ((flat, grid), (grid, flat)):
        with pytest.raises(ValueError, match="no extent"):
            resample(values, source, target, order="nearest")
    with pytest.raises(ValueError, match="1 and 0, but this one holds 2"):
        mask_to(values % 4, grid, grid)
    assert np.array_equal(resample(values.astype(">i2"), grid, grid, order="nearest"), values)


@pytest.mark.parametrize("step", [float("inf"), (1.0, float("inf"), 2.0), (1.0, float("nan"), 2.0)])
def test_steps_without_an_end_are_refused(step):
    grid = Grid(shape=(2, 3, 4), affine=np.eye(4))

    with pytest.raises(ValueError, match=r"a step must be a number above 0 mm, not (inf|nan)"):
        spaced_grid(grid, step)


@pytest.mark.parametrize(
    ("low", "high"), [(-math.inf, 240.0), (-160.0, math.inf), (-math.inf, math.inf)]
)
def test_a_window_has_two_ends(low, high):
    with pytest.raises(ValueError, match=f"a window from {low:g} to {high:g} HU has no"):
        hu_window(np.array([1.0]), low, high)


@pytest.mark.parametrize("dtype", [np.int16, np.int64])
def test_whole_numbers_between_voxels_lose_their_fraction(dtype):
    line = Grid(shape=(1, 1, 4), affine=np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    affine = line.affine.copy()
    affine[:3, 2] *= 0.5
    values = np.array([0, 1, 4, -3], dtype).reshape(1, 1, 4)

    found = resample(values, line, Grid(shape=(1, 1, 7), affine=affine), order="linear")

    assert found.dtype == dtype
    assert found.ravel().tolist() == [0, 0, 1, 2, 4, 0, -3]


@pytest.mark.parametrize("moved", [mask_to, probability_to])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_mask_of_another_shape_is_refused_too(moved, value):
    grid = Grid(shape=(10, 8, 8), affine=np.eye(4))

    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), its grid \(10, 8, 8\)"):
        moved(np.full((3, 8, 8), value, np.float32), grid, grid)


@pytest.mark.parametrize("value", [False, True])
def test_an_order_that_nobody_knows_is_refused_of_any_mask(value):
    grid = Grid(shape=(2, 3, 4), affine=np.eye(4))

    with pytest.raises(ValueError, match="order is 'cubic'; linear or nearest"):
        mask_to(np.full((2, 3, 4), value), grid, grid, order="cubic")
