import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.phantom.grid import Lattice
from node.phantom.masses import FAMILIES, TEST_ONLY_FAMILY, TRAIN_FAMILIES, mass
from node.phantom.scene import Paint, Pose, Scene, Texture, axial_grid, mask
from node.phantom.shapes import Both, Ellipsoid, Grown, Tube, Union, Waves, Wavy, Without, tube

half_axes = st.tuples(*[st.floats(6.0, 20.0)] * 3)
angles = st.tuples(*[st.floats(-90.0, 90.0)] * 3)
FINE = axial_grid((64, 64, 64), (0.8, 0.8, 0.8))


def volume_of(seen, grid):
    return float(np.count_nonzero(seen)) * float(np.prod(grid.spacing_mm))


def centre_of(seen, grid):
    index = np.argwhere(seen).mean(axis=0)
    return (grid.affine @ [*index, 1.0])[:3]


@settings(max_examples=25, deadline=None)
@given(half=half_axes, turn=angles)
def test_an_ellipsoid_has_its_analytic_volume(half, turn):
    expected = 4 / 3 * np.pi * np.prod(half)
    seen = mask(Ellipsoid((0.3, -0.2, 0.1), half, turn), FINE)
    assert volume_of(seen, FINE) == pytest.approx(expected, rel=0.02)


@settings(max_examples=15, deadline=None)
@given(half=half_axes, turn=angles, shift=st.tuples(*[st.floats(-4.0, 4.0)] * 3))
def test_a_pose_moves_a_shape_and_keeps_its_size(half, turn, shift):
    shape = Ellipsoid((2.0, 0.0, -1.0), half)
    pose = Pose(turn_deg=turn, shift_mm=shift)
    still, moved = mask(shape, FINE), mask(shape, FINE, pose)
    assert volume_of(moved, FINE) == pytest.approx(volume_of(still, FINE), rel=0.03)
    assert np.allclose(centre_of(moved, FINE), pose.place((2.0, 0.0, -1.0)), atol=0.4)


@settings(max_examples=10, deadline=None)
@given(half=st.tuples(*[st.floats(12.0, 20.0)] * 3), step=st.floats(1.0, 3.0))
def test_the_volume_does_not_depend_on_the_grid(half, step):
    shape = Ellipsoid((0.0, 0.0, 0.0), half)
    grid = axial_grid((24, 48, 48), (2.0, step, step))
    assert volume_of(mask(shape, grid), grid) == pytest.approx(
        volume_of(mask(shape, FINE), FINE), rel=0.05
    )


@pytest.mark.parametrize("step", [0.7, 1.5, 5.0])
def test_partial_volume_keeps_the_sum_in_thick_slices(step):
    shape = Ellipsoid((0.0, 0.0, 1.3), (11.0, 9.0, 10.0), (20, 0, 10))
    grid = axial_grid((int(60 / step), 60, 60), (step, 1.0, 1.0))
    scene = Scene(paints=(Paint(shape=shape, value=1.0),), background=0.0)
    total = float(scene.render(grid).sum()) * step
    assert total == pytest.approx(4 / 3 * np.pi * 11 * 9 * 10, rel=0.06)


def test_a_tube_is_as_long_and_wide_as_it_should_be():
    line = Tube(np.array([[0.0, 0, -15], [0.0, 0, 15]]), np.array([4.0, 4.0]))
    expected = np.pi * 16 * 30 + 4 / 3 * np.pi * 64
    assert volume_of(mask(line, FINE), FINE) == pytest.approx(expected, rel=0.03)
    curve = tube([(0, 0, 0), (5, 0, 5), (0, 0, 10)], 2.0)
    assert np.allclose(curve.points[[0, 3, 6]], [(0, 0, 0), (5, 0, 5), (0, 0, 10)])


def test_shapes_combine_as_sets_do():
    one, other = Ellipsoid((-4.0, 0, 0), (8, 8, 8)), Ellipsoid((4.0, 0, 0), (8, 8, 8))
    first, second = mask(one, FINE), mask(other, FINE)
    assert np.array_equal(mask(Union((one, other)), FINE), first | second)
    assert np.array_equal(mask(Both((one, other)), FINE), first & second)
    assert np.array_equal(mask(Without(one, other), FINE), first & ~second)
    assert mask(Grown(one, 2.0), FINE).sum() > first.sum() > mask(Grown(one, -2.0), FINE).sum()
    assert mask(Union((one, other), blend_mm=6.0), FINE).sum() > (first | second).sum()


def test_later_paints_cover_earlier_ones_in_mask_and_picture():
    below = Paint(shape=Ellipsoid((0, 0, 0), (15, 15, 15)), value=10.0, name="a", stage="mass")
    above = Paint(shape=Ellipsoid((10, 0, 0), (9, 9, 9)), value=90.0, name="b", stage="vessel")
    scene = Scene(paints=(above, below), background=0.0)
    picture, seen = scene.render(FINE), scene.mask(FINE, "a")
    assert not (seen & scene.mask(FINE, "b")).any()
    inner = mask(Grown(below.shape, -2), FINE) & ~mask(Grown(above.shape, 2), FINE)
    assert seen[inner].all() and np.allclose(picture[inner], 10.0)
    assert np.array_equal(scene.without("b").mask(FINE, "a"), mask(below.shape, FINE))


def test_a_shape_outside_of_the_grid_leaves_no_trace():
    far = Paint(shape=Ellipsoid((500, 0, 0), (9, 9, 9)), value=90.0, name="far")
    scene = Scene(paints=(far,))
    assert (scene.render(FINE) == -1000).all() and not scene.mask(FINE, "far").any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mass_is_about_as_long_as_asked(family):
    for seed in range(3):
        shape = mass(family, (0.0, 0.0, 0.0), 32.0, np.random.default_rng(seed))
        points = np.argwhere(mask(shape, FINE)) * 0.8
        spread = np.ptp(points @ directions().T, axis=0).max()
        assert 25.0 < spread < 38.0, (family, seed, spread)


def test_only_the_crescent_is_kept_for_the_test():
    assert set(FAMILIES) - set(TRAIN_FAMILIES) == {TEST_ONLY_FAMILY}


def directions():
    up = np.linspace(-1, 1, 60)
    turn = np.arange(60) * 2.4
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)


def test_a_box_holds_every_voxel_of_a_wavy_shape():
    waves = Waves.drawn(np.random.default_rng(1), 9.0)
    shape = Wavy(Ellipsoid((0, 0, 0), (12, 8, 10)), waves, 1.0)
    everywhere = shape.field(Lattice.of(FINE)) < 0
    assert np.array_equal(mask(shape, FINE), everywhere)


def test_a_texture_has_the_spread_it_is_given():
    waves = Waves.drawn(np.random.default_rng(2), 6.0, count=12)
    paint = Paint(
        shape=Ellipsoid((0, 0, 0), (22, 22, 22)), value=50.0, texture=Texture(waves, 12.0)
    )
    picture = Scene(paints=(paint,)).render(FINE)
    inner = picture[mask(Grown(paint.shape, -2), FINE)]
    assert inner.mean() == pytest.approx(50, abs=2) and inner.std() == pytest.approx(12, rel=0.2)
