"""The measure of tests/viewers on pictures whose faults are known, without a viewer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.viewers.measure import (
    CHANGED,
    Placement,
    boundary_distance,
    changed,
    fit,
    projected,
    windowed,
)
from tests.viewers.prove import LIKENESS, LIMIT_PIXELS, look, prove_overlay
from tests.viewers.sides import ball_and_cube, prove_side
from tests.viewers.studies import ImageStack, write_phantom

HEIGHT, WIDTH = 300, 340


# --- boundary_distance ----------------------------------------------------------------------------


def strip(low, high):
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[:, low:high] = True
    return region


def disk(x=170.0, y=150.0, radius=60.0):
    rows, columns = np.indices((HEIGHT, WIDTH)) + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


@pytest.mark.parametrize(
    ("left", "right", "distance"), [(0, 0, 0.0), (1, 1, 1.0), (1, 2, 1.5), (-2, -1, 1.5), (3, 3, 3)]
)
def test_straight_edges_are_as_far_apart_as_they_were_moved(left, right, distance):
    moved = strip(100 + left, 200 + right)
    assert boundary_distance(strip(100, 200), moved) == pytest.approx(distance)
    assert boundary_distance(moved, strip(100, 200)) == pytest.approx(distance)


@pytest.mark.parametrize("moved_by", [1.0, 1.5, 3.0, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_a_moved_disk_is_off_by_the_mean_along_its_edge(moved_by, angle):
    """Its sides are off by the whole way, top and bottom not at all: 2/pi of it in the mean."""
    moved = disk(170 + moved_by * np.cos(angle), 150 + moved_by * np.sin(angle))
    expected = moved_by * 2 / np.pi
    assert boundary_distance(disk(), moved) == pytest.approx(expected, rel=0.15, abs=0.1)


@pytest.mark.parametrize("grown_by", [1.0, 1.5, 3.0])
def test_a_grown_disk_is_off_by_what_it_grew(grown_by):
    grown = disk(radius=60 + grown_by)
    assert boundary_distance(disk(), grown) == pytest.approx(grown_by, rel=0.15)


def test_a_mirrored_region_is_far_off_and_a_symmetric_one_cannot_tell():
    lopsided = disk() | disk(x=250, y=120, radius=30)
    assert boundary_distance(lopsided, lopsided[:, ::-1]) > 5 * LIMIT_PIXELS
    assert boundary_distance(disk(), disk()[:, ::-1]) == 0.0


def test_a_hole_has_an_edge_too():
    ring = disk() & ~disk(radius=30)
    assert boundary_distance(ring, ring) == 0.0
    # A third of the edges is the hole's, 30 px from the nearest other one.
    assert boundary_distance(disk(), ring) == pytest.approx(30 / 5, rel=0.1)
    shifted_hole = disk() & ~disk(x=185, radius=30)
    assert LIMIT_PIXELS < boundary_distance(ring, shifted_hole) < 15


def test_the_pictures_own_edge_is_no_boundary():
    assert boundary_distance(strip(0, 100), strip(0, 103)) == pytest.approx(3.0)
    cut = disk(x=0)
    assert boundary_distance(cut, disk(x=0, radius=61.5)) == pytest.approx(1.5, rel=0.2)
    everything = np.ones((HEIGHT, WIDTH), bool)
    assert boundary_distance(everything, everything) == 0.0
    assert boundary_distance(everything, cut) == float("inf")


def test_nothing_is_infinitely_far_from_something():
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    assert boundary_distance(nothing, nothing) == 0.0
    assert boundary_distance(disk(), nothing) == boundary_distance(nothing, disk()) == float("inf")


# --- changed, projected ---------------------------------------------------------------------------


def test_a_pixel_has_changed_if_one_channel_has():
    before = np.full((2, 3, 3), 100, np.uint8)
    after = before.copy()
    after[0, 0, 0] += CHANGED
    after[0, 1, 2] -= CHANGED
    after[1, 2, :] += CHANGED - 1
    assert changed(before, after).tolist() == [[True, True, False], [False, False, False]]


def test_a_mask_is_projected_voxel_by_voxel_and_cut_at_the_picture():
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = mask[3, 0] = True
    place = Placement(scale_x=7, scale_y=5, left=-3, top=4)
    shown = projected(mask, place, (24, 40))
    expected = np.zeros((24, 40), bool)
    expected[9:14, 11:18] = expected[19:24, 0:4] = True
    assert np.array_equal(shown, expected)


def test_a_mirrored_placement_projects_a_mirrored_mask():
    mask = np.zeros((4, 5), bool)
    mask[1, 0] = True
    place = Placement(scale_x=-7, scale_y=5, left=35, top=0)
    assert np.argwhere(projected(mask, place, (20, 35))).min(axis=0).tolist() == [5, 28]


# --- a viewer that draws as it is told ------------------------------------------------------------


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> ImageStack:
    return write_phantom(tmp_path_factory.mktemp("phantom"), "axial")


class Drawing:
    """A viewer that interpolates, and draws its overlay and its image where a test wants them."""

    name = "drawing"
    nearest = False

    def __init__(self, stack, mask, *, moved=(0.0, 0.0), lied=(0.0, 0.0), turned=False, late=0):
        self.stack, self.mask = stack, mask
        #: The overlay is off by this, the viewer's word by that, in pixels (x, y).
        self.moved, self.lied = moved, lied
        #: The image is drawn mirrored; or so many slices after the one that was asked for.
        self.turned, self.late = turned, late
        self.aim(60, 64, 3.0)

    def show(self, uid):
        self.index = self.stack.sop_instance_uids.index(uid)

    def aim(self, row, column, scale):
        self.place = Placement(
            scale_x=scale, scale_y=scale * 0.8 / 0.9,
            left=WIDTH / 2 - scale * (column + 0.5) + 0.3,
            top=HEIGHT / 2 - scale * 0.8 / 0.9 * (row + 0.5) - 0.4,
        )  # fmt: skip

    def guess(self):
        x, y = self.lied
        place = self.place
        return Placement(
            scale_x=place.scale_x, scale_y=place.scale_y, left=place.left + x, top=place.top + y
        )

    def picture(self, *, overlay):
        values = self.stack.values[self.index + self.late]
        values = values[:, ::-1] if self.turned else values
        at = np.meshgrid(self.place.rows(HEIGHT), self.place.columns(WIDTH), indexing="ij")
        seen = ndimage.map_coordinates(values, at, order=1, cval=-2000)
        grey = np.rint(255 * windowed(seen, self.stack.window)).astype(np.uint8)
        drawn = np.stack([grey] * 3, axis=2)
        if overlay:
            x, y = self.moved
            place = Placement(
                scale_x=self.place.scale_x, scale_y=self.place.scale_y,
                left=self.place.left + x, top=self.place.top + y,
            )  # fmt: skip
            marked = projected(self.mask[self.index], place, (HEIGHT, WIDTH))
            drawn[marked] = drawn[marked] // 2 + np.array([127, 0, 0], np.uint8)
        return drawn


@pytest.mark.parametrize("moved_by", [0.0, 1.0, 1.5, 3.0])
def test_what_is_measured_grows_with_the_move(phantom, moved_by):
    viewer = Drawing(phantom, phantom.dense, moved=(moved_by, moved_by))
    largest = look(viewer, phantom.dense, phantom)[2]
    assert largest.distance == pytest.approx(moved_by, rel=0.2, abs=0.1)
    assert largest.expected >= 2_000


def test_an_overlay_in_place_passes_although_the_viewer_lies_about_the_image(phantom):
    seen = prove_overlay(Drawing(phantom, phantom.dense, lied=(6, -5)), phantom.dense, phantom)
    assert max(one.distance for one in seen) < 0.2
    assert all(abs(one.said - np.hypot(6, 5)) < 0.5 for one in seen)
    assert len(seen) == 5 and seen[0].found == seen[-1].found == 0


@pytest.mark.parametrize("wrong", ["voxel", "slice", "mirrored", "3 px"])
def test_an_overlay_out_of_place_fails(phantom, wrong):
    mask = {
        "voxel": np.roll(phantom.dense, 1, axis=2),
        "slice": np.roll(phantom.dense, 1, axis=0),
        "mirrored": phantom.dense[:, :, ::-1],
        "3 px": phantom.dense,
    }[wrong]
    viewer = Drawing(phantom, mask, moved=(3, 0) if wrong == "3 px" else (0, 0))
    with pytest.raises(AssertionError, match="the overlay is not in place"):
        prove_overlay(viewer, phantom.dense, phantom)


@pytest.mark.parametrize("wrong", [{"turned": True}, {"late": 1}])
def test_an_image_that_is_mirrored_or_another_slice_is_no_ground_to_measure_on(phantom, wrong):
    viewer = Drawing(phantom, phantom.dense, **wrong)
    with pytest.raises(AssertionError, match="the picture is"):
        prove_overlay(viewer, phantom.dense, phantom)


@pytest.mark.parametrize("off", [0.0, 1.0, 1.5, 3.0])
def test_the_fit_finds_the_image_within_a_tenth_of_a_pixel(phantom, off):
    viewer = Drawing(phantom, phantom.dense, lied=(off, -off))
    viewer.show(phantom.sop_instance_uids[10])
    picture = viewer.picture(overlay=False)[..., 1]
    place = fit(phantom.values[10], phantom.window, picture, viewer.guess())
    assert place.likeness > LIKENESS
    assert abs(place.left - viewer.place.left) < 0.1
    assert abs(place.top - viewer.place.top) < 0.1


# --- sides ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plane", "sign"), [("axial", 1), ("prone", -1), ("coronal", 1)])
def test_the_side_is_read_off_the_picture_and_a_mirrored_overlay_fails(tmp_path, plane, sign):
    stack = write_phantom(tmp_path, plane, draw=ball_and_cube)
    to_the_left, down = prove_side(Drawing(stack, stack.dense), stack)
    assert sign * to_the_left > 100 and abs(down) < 2
    for wrong in (stack.dense[:, :, ::-1], ~stack.dense, np.roll(stack.dense, 8, axis=2)):
        with pytest.raises(AssertionError, match="on the wrong side"):
            prove_side(Drawing(stack, wrong), stack)
    with pytest.raises(AssertionError, match="shows no overlay"):
        prove_side(Drawing(stack, stack.dense & False), stack)
