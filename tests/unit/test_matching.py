"""One finding over time is matched by place alone, one to one, or not at all (S10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from node.dicom.registration import SPATIAL_REGISTRATION, link_between, rigid_matrices
from node.results.matching import NEAR_MM, Place, match, place_of

FRAME = "1.2.9"
EYE = np.eye(4)


def same_frame(earlier: str, today: str) -> np.ndarray | None:
    return EYE if earlier == today else None


def box(x: float, y: float = 0.0, z: float = 0.0, *, size: float = 20.0, **changes: str) -> Place:
    half = size / 2
    return Place(
        kind=changes.get("kind", "tumour/ct"),
        frame_of_reference_uid=changes.get("frame", FRAME),
        centroid_mm=(x, y, z),
        low_mm=(x - half, y - half, z - half),
        high_mm=(x + half, y + half, z + half),
    )


number = st.floats(-80, 80).map(lambda value: round(value, 2))
places = st.lists(
    st.builds(
        box,
        number,
        number,
        number,
        size=st.floats(2, 50),
        kind=st.sampled_from(["tumour/ct", "node/ct"]),
        frame=st.sampled_from([FRAME, "1.2.10"]),
    ),
    max_size=6,
)


@given(today=places, earlier=places)
def test_s10_no_two_findings_are_matched_with_one(today: list[Place], earlier: list[Place]) -> None:
    pairs = match(today, earlier, same_frame)

    assert len(set(pairs.values())) == len(pairs)
    for a, b in pairs.items():
        assert today[a].kind == earlier[b].kind
        assert today[a].frame_of_reference_uid == earlier[b].frame_of_reference_uid


@given(today=places, earlier=places)
def test_s10_a_match_is_the_same_seen_from_either_side(
    today: list[Place], earlier: list[Place]
) -> None:
    there_and_back = {a: b for b, a in match(earlier, today, same_frame).items()}

    assert match(today, earlier, same_frame) == there_and_back


@given(today=places, earlier=places, data=st.data())
def test_s10_a_match_does_not_depend_on_the_order_of_findings(
    today: list[Place], earlier: list[Place], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(earlier))))
    shuffled = [earlier[index] for index in order]

    pairs = match(today, shuffled, same_frame)

    assert {a: order[b] for a, b in pairs.items()} == match(today, earlier, same_frame)


@given(today=places, earlier=places, more=places)
def test_s10_another_finding_can_only_take_matches_away(
    today: list[Place], earlier: list[Place], more: list[Place]
) -> None:
    alone = match(today, earlier, same_frame)
    beside = match(today, [*earlier, *more], same_frame)

    assert {a: b for a, b in beside.items() if b < len(earlier)}.items() <= alone.items()


@given(earlier=places, turn=st.floats(-3, 3), shift=st.tuples(number, number, number))
def test_s10_a_registered_patient_that_turned_is_matched_as_one_that_did_not(
    earlier: list[Place], turn: float, shift: tuple[float, float, float]
) -> None:
    """Turns by right angles keep boxes boxes, so nothing is lost to their corners."""
    matrix = np.eye(4)
    matrix[:2, :2] = ((0, -1), (1, 0)) if turn > 0 else ((-1, 0), (0, -1))
    matrix[:3, 3] = shift

    def moved(one: Place) -> Place:
        low, high, middle = (
            matrix[:3, :3] @ point + matrix[:3, 3]
            for point in (one.low_mm, one.high_mm, one.centroid_mm)
        )
        return replace(
            one,
            frame_of_reference_uid="today",
            centroid_mm=tuple(middle),
            low_mm=tuple(np.minimum(low, high)),
            high_mm=tuple(np.maximum(low, high)),
        )

    earlier = [replace(one, frame_of_reference_uid=FRAME) for one in earlier]
    today = [moved(one) for one in earlier]

    assert match(today, earlier, lambda *_: matrix) == match(earlier, earlier, same_frame)


@pytest.mark.parametrize(
    ("today", "earlier", "pairs"),
    [
        ([box(0)], [box(3)], {0: 0}),
        ([box(0, size=60)], [box(3, size=10)], {0: 0}),
        ([box(0), box(60)], [box(61), box(2)], {0: 1, 1: 0}),
        # The centroid of neither lies in the other.
        ([box(0)], [box(15)], {}),
        # Split: two of today could be the one of then.
        ([box(0), box(24)], [box(3)], {}),
        # Merged.
        ([box(3)], [box(0), box(24)], {}),
        # The neighbour is just too far to be meant.
        ([box(0), box(20.1 + NEAR_MM)], [box(0)], {0: 0}),
        ([box(0)], [box(0, kind="node/ct")], {}),
        ([box(0)], [box(0, frame="1.2.10")], {}),
        ([], [box(0)], {}),
    ],
)
def test_s10_one_to_one_beyond_doubt_or_not_at_all(
    today: list[Place], earlier: list[Place], pairs: dict[int, int]
) -> None:
    assert match(today, earlier, same_frame) == pairs


def test_the_place_of_a_mask_is_its_box_of_whole_voxels() -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[2, 1:3, 1] = mask[4, 1, 1] = 1
    affine = np.array([[0, 0, 2.0, 10], [0, -3.0, 0, 20], [5.0, 0, 0, 30], [0, 0, 0, 1]])

    centroid, low, high = place_of(mask, affine, first=2, last=4)

    assert centroid == pytest.approx((12, 20 - 3 * 4 / 3, 30 + 5 * 8 / 3), abs=1e-3)
    assert low == pytest.approx((11, 12.5, 37.5))
    assert high == pytest.approx((13, 18.5, 52.5))


# --- Spatial Registration ---------------------------------------------------------------------


def registration(*items: tuple[str, np.ndarray, str], own: str = "1.9") -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.FrameOfReferenceUID = SPATIAL_REGISTRATION, own
    ds.RegistrationSequence = []
    for uid, matrix, kind in items:
        step = Dataset()
        step.FrameOfReferenceTransformationMatrix = [f"{value:.6f}" for value in matrix.flat]
        step.FrameOfReferenceTransformationMatrixType = kind
        one = Dataset()
        one.MatrixSequence = [step]
        item = Dataset()
        item.FrameOfReferenceUID, item.MatrixRegistrationSequence = uid, [one]
        ds.RegistrationSequence.append(item)
    return ds


def moved_by(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def test_s10_a_registration_links_two_frames_by_the_registered_one() -> None:
    ds = registration(("1.1", moved_by(5), "RIGID"), ("1.2", moved_by(2), "RIGID"))

    link = link_between(rigid_matrices(ds), "1.1", "1.2")

    assert link is not None and np.allclose(link, moved_by(3))
    assert np.allclose(link_between(rigid_matrices(ds), "1.1", "1.9"), moved_by(5))


def test_s10_the_frame_that_others_are_registered_to_needs_no_item() -> None:
    ds = registration(("1.1", moved_by(5), "RIGID"), own="1.2")

    assert np.allclose(link_between(rigid_matrices(ds), "1.1", "1.2"), moved_by(5))
    assert link_between(rigid_matrices(ds), "1.1", "1.3") is None


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        (moved_by(5), "AFFINE"),
        (np.diag([1.1, 1, 1, 1]), "RIGID"),
        (np.diag([-1.0, 1, 1, 1]), "RIGID"),
        (np.diag([1.0, 1, 1, 2]), "RIGID"),
    ],
    ids=["kind", "scale", "mirror", "perspective"],
)
def test_s10_what_is_not_rigid_registers_nothing(matrix: np.ndarray, kind: str) -> None:
    ds = registration(("1.1", matrix, kind), own="1.2")

    assert link_between(rigid_matrices(ds), "1.1", "1.2") is None


def test_s10_two_matrices_of_one_frame_register_nothing() -> None:
    twice = registration(("1.1", moved_by(5), "RIGID"), ("1.1", moved_by(6), "RIGID"), own="1.2")
    steps = registration(("1.1", moved_by(5), "RIGID"), own="1.2")
    sequence = steps.RegistrationSequence[0].MatrixRegistrationSequence[0].MatrixSequence
    sequence.append(sequence[0])

    assert link_between(rigid_matrices(twice), "1.1", "1.2") is None
    assert link_between(rigid_matrices(steps), "1.1", "1.2") is None


def test_a_broken_registration_object_registers_nothing() -> None:
    empty = Dataset()
    short = registration(("1.1", moved_by(5), "RIGID"), own="1.2")
    item = short.RegistrationSequence[0].MatrixRegistrationSequence[0].MatrixSequence[0]
    item.FrameOfReferenceTransformationMatrix = ["1", "0"]

    assert rigid_matrices(empty) == {}
    assert link_between(rigid_matrices(short), "1.1", "1.2") is None
