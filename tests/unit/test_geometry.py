from dataclasses import replace
from math import cos, radians, sin
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.dicom.frames import Frame
from node.dicom.geometry import TOLERANCES, affine_from_planes, check_stack, normal_of
from node.errors import RefusalCode, Refused
from tests.make import CORONAL, SAGITTAL, ct_series
from tests.unit.reading import ct_frames, frames

PLAIN = ct_frames((1, 4, 4))[0]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])
    about_y = np.array([[cos(b), 0, sin(b)], [0, 1, 0], [-sin(b), 0, cos(b)]])
    about_z = np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def stack_of(positions: np.ndarray, turn: np.ndarray, spacing: tuple[float, float]) -> list[Frame]:
    orientation = tuple(float(v) for v in (*turn[:, 0], *turn[:, 1]))
    return [
        replace(
            PLAIN,
            path=Path(f"{index}.dcm"),
            image_position_patient=tuple(float(v) for v in position),
            image_orientation_patient=orientation,
            pixel_spacing_mm=spacing,
        )
        for index, position in enumerate(positions)
    ]


angle = st.floats(-3.1, 3.1)
step = st.floats(0.3, 12.0)


@settings(max_examples=150, deadline=None)
@given(
    angles=st.tuples(angle, angle, angle),
    spacing=st.tuples(step, step, step),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    count=st.integers(2, 40),
    order=st.randoms(use_true_random=False),
)
def test_affine_maps_voxel_indices_to_the_points_the_headers_say(
    angles, spacing, origin, count, order
):
    turn = rotation(angles)
    between_slices, between_rows, between_columns = spacing
    positions = np.array(origin) + np.outer(np.arange(count) * between_slices, turn[:, 2])
    planes = stack_of(positions, turn, (between_rows, between_columns))
    shuffled = list(planes)
    order.shuffle(shuffled)

    ordered, geometry = check_stack(shuffled)

    assert list(ordered) == planes
    affine = np.array(geometry.affine)
    for k, i, j in ((0, 0, 0), (count - 1, 3, 2), (1, 0, 3), (count - 1, 1, 0)):
        # Equation C.7.6.2.1-1: X times the column index by the column spacing, Y the rows.
        expected = positions[k] + turn[:, 0] * between_columns * j + turn[:, 1] * between_rows * i
        assert np.allclose((affine @ [k, i, j, 1])[:3], expected, atol=1e-6)
    assert geometry.shape == (count, 4, 4)
    assert np.allclose(geometry.spacing_mm, spacing)


def test_row_spacing_moves_along_the_column_direction():
    a = affine_from_planes(
        image_orientation_patient=(0, 1, 0, 0, 0, -1),
        image_positions_patient=np.array([[0.0, 0, 0], [3, 0, 0]]),
        pixel_spacing_mm=(2.0, 0.5),
    )
    assert (a @ [0, 1, 0, 1]).tolist() == [0, 0, -2, 1]
    assert (a @ [0, 0, 1, 1]).tolist() == [0, 0.5, 0, 1]
    assert (a @ [1, 0, 0, 1]).tolist() == [3, 0, 0, 1]


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [((1, 0, 0, 0, 1, 0), "axial"), (SAGITTAL, "sagittal"), (CORONAL, "coronal")],
)
def test_plane_is_named_by_the_normal(orientation, plane):
    _, geometry = check_stack(frames(ct_series((3, 4, 4), orientation=orientation)))
    assert geometry.plane == plane
    assert geometry.oblique_degrees == pytest.approx(0, abs=1e-6)


def test_oblique_degrees_are_measured():
    turn = rotation((radians(10), 0, 0))
    positions = np.outer(np.arange(4) * 3.0, turn[:, 2])
    _, geometry = check_stack(stack_of(positions, turn, (1.0, 1.0)))
    assert geometry.plane == "axial"
    assert geometry.oblique_degrees == pytest.approx(10)


def refusal_of(planes) -> Refused:
    with pytest.raises(Refused) as caught:
        check_stack(planes)
    return caught.value


def at(z: list[float], **changes) -> list[Frame]:
    planes = stack_of(np.array([[0, 0, each] for each in z]), np.eye(3), (0.8, 0.7))
    return [replace(plane, **changes) for plane in planes]


def with_one(planes: list[Frame], **changes) -> list[Frame]:
    return [*planes[:-1], replace(planes[-1], **changes)]


REGULAR = [0.0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("planes", "code", "said"),
    [
        ([], RefusalCode.TOO_FEW_SLICES, "no image planes"),
        (at([0.0]), RefusalCode.TOO_FEW_SLICES, "1 plane"),
        (
            with_one(at(REGULAR), image_position_patient=None),
            RefusalCode.POSITION_MISSING,
            "1 of 5",
        ),
        (
            with_one(at(REGULAR), image_orientation_patient=None),
            RefusalCode.ORIENTATION_MISSING,
            "1 of 5",
        ),
        (at(REGULAR, pixel_spacing_mm=None), RefusalCode.PIXEL_SPACING_MISSING, "5 of 5"),
        (
            at(REGULAR, pixel_spacing_mm=(0.0, 1.0)),
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            "0 mm is not positive",
        ),
        (
            at(REGULAR, pixel_spacing_mm=(-1.0, 1.0)),
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            "-1 mm is not positive",
        ),
        (
            with_one(at(REGULAR), frame_of_reference_uid=""),
            RefusalCode.FRAME_OF_REFERENCE_MISSING,
            "1 of 5",
        ),
        (
            with_one(at(REGULAR), frame_of_reference_uid="1.2.3"),
            RefusalCode.FRAME_OF_REFERENCE_MIXED,
            "2 frames of reference",
        ),
        (with_one(at(REGULAR), rows=5), RefusalCode.GRID_MIXED, "4 x 4, 5 x 4"),
        (
            with_one(at(REGULAR), pixel_spacing_mm=(0.8, 0.71)),
            RefusalCode.GRID_MIXED,
            "0.7 to 0.71 mm",
        ),
        (
            with_one(at(REGULAR), image_position_patient=(0.5, 0.0, 8.0)),
            RefusalCode.GANTRY_TILT,
            "degrees",
        ),
        (
            at(REGULAR, image_orientation_patient=(1, 0, 0, 0.1, 1, 0)),
            RefusalCode.ORIENTATION_INVALID,
            "not orthonormal",
        ),
        (
            at(REGULAR, image_orientation_patient=(0, 0, 0, 0, 0, 0)),
            RefusalCode.ORIENTATION_INVALID,
            "not orthonormal",
        ),
        (
            with_one(at(REGULAR), image_orientation_patient=(1, 0, 0, 0, 0, -1)),
            RefusalCode.ORIENTATION_MIXED,
            "not parallel",
        ),
    ],
)
def test_s19_irregular_stacks_are_refused_with_the_values(planes, code, said):
    refusal = refusal_of(planes)
    assert refusal.code is code
    assert said in refusal.sentence


@pytest.mark.parametrize(
    ("planes", "said"),
    [
        (at([0.0, 1e9, 2e9]), "2e+09 mm from the origin"),
        (at([0.0, 1e300, 2e300]), "2e+300 mm from the origin"),
        (at([0.0, 101, 202]), "planes are 101 mm apart (at most 100)"),
        (at(REGULAR, pixel_spacing_mm=(101.0, 101.0)), "from 101 to 101 mm"),
        (at(REGULAR, pixel_spacing_mm=(1e-9, 1e-9)), "1e-09 mm; 0.001 to 100 mm can be"),
        (at(np.arange(0.0, 5101, 100).tolist()), "the stack is 5100 x 3 x 3 mm large"),
        (at(REGULAR, rows=6300), "the stack is 8 x 5040 x 3 mm large"),
    ],
)
def test_s19_a_grid_that_no_scanner_makes_is_refused_with_the_values(planes, said):
    refusal = refusal_of(planes)
    assert refusal.code is RefusalCode.GEOMETRY_IMPLAUSIBLE
    assert said in refusal.sentence


def test_s19_nuclear_medicine_and_whole_bodies_pass():
    check_stack(at(np.arange(0.0, 2100, 10).tolist(), pixel_spacing_mm=(10.0, 10.0)))


def test_s19_a_missing_slice_is_a_step_of_more_than_one_and_a_half_medians():
    refusal = refusal_of(at([0.0, 2, 4, 8, 10]))
    assert refusal.code is RefusalCode.SLICE_MISSING
    assert "4.00 mm" in refusal.sentence and "2.00 mm is usual" in refusal.sentence


def test_s19_more_than_five_percent_is_variable_spacing():
    assert refusal_of(at([0.0, 2, 4, 6.12, 8.12])).code is RefusalCode.SPACING_VARIABLE
    check_stack(at([0.0, 2, 4, 6.08, 8.08]))


def test_s19_small_errors_may_not_add_up_to_a_wrong_place():
    steps = [1.04] * 60 + [0.96] * 60
    refusal = refusal_of(at(np.cumsum([0.0, *steps]).tolist()))
    assert refusal.code is RefusalCode.SPACING_VARIABLE
    assert "drift" in refusal.sentence


def test_s19_two_planes_at_one_position_are_refused():
    refusal = refusal_of(at([0.0, 2, 2, 4]))
    assert refusal.code is RefusalCode.POSITION_DUPLICATE
    assert "4 planes at 3 positions" in refusal.sentence


def test_s19_tilt_is_measured_never_read_from_the_header():
    upright = ct_series((5, 4, 4), GantryDetectorTilt=20)
    check_stack(frames(upright))
    sheared = ct_series((5, 4, 4), spacing=(5.0, 1.0, 1.0), GantryDetectorTilt=0)
    for index, ds in enumerate(sheared):
        ds.ImagePositionPatient = [0, index * 5.0 * sin(radians(0.7)), index * 5.0]
    refusal = refusal_of(frames(sheared))
    assert refusal.code is RefusalCode.GANTRY_TILT
    assert "0.7 degrees" in refusal.sentence


def test_s19_a_tilt_below_the_tolerance_is_kept_in_the_affine():
    lean = 5.0 * sin(radians(0.4))
    planes = stack_of(np.array([[0, i * lean, i * 5.0] for i in range(5)]), np.eye(3), (1.0, 1.0))
    _, geometry = check_stack(planes)
    assert np.allclose(np.array(geometry.affine)[:3, 0], [0, lean, 5.0])


def test_s19_one_plane_shifted_sideways_is_refused():
    planes = stack_of(np.array([[0, 0, i * 5.0] for i in range(201)]), np.eye(3), (1.0, 1.0))
    planes[100] = replace(planes[100], image_position_patient=(3.0, 0.0, 500.0))
    refusal = refusal_of(planes)
    assert refusal.code is RefusalCode.GRID_MIXED
    assert "sideways" in refusal.sentence


def test_s19_all_tolerances_stand_in_one_table():
    assert TOLERANCES.tilt_degrees == 0.5
    assert TOLERANCES.missing_step == 1.5
    assert TOLERANCES.spacing == 0.05


def test_normal_is_row_direction_times_column_direction():
    assert normal_of(SAGITTAL).tolist() == [-1, 0, 0]
