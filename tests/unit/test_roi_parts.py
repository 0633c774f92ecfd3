"""How many lesions one region holds: connected parts, crumbs, slices left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from node.errors import RefusalCode, Refused
from node.inference.roi_parts import check_one_piece, parts_of
from node.manifest import Code, RoiRole
from node.plugin import Roi
from node.training.truth import rois_of
from tests.regions_case import binary, image, written
from tests.results_case import manifest

SHAPE = (12, 30, 32)
SPACING = (3.0, 0.8, 0.7)
Mask = NDArray[np.bool_]


def with_boxes(*boxes: tuple[slice, slice, slice]) -> Mask:
    mask = np.zeros(SHAPE, np.bool_)
    for box in boxes:
        mask[box] = True
    return mask


def box(first: int, row: int, column: int, *size: int) -> tuple[slice, slice, slice]:
    deep, high, wide = size
    return np.s_[first : first + deep, row : row + high, column : column + wide]


def voxels_of(mask: Mask) -> list[int]:
    return [part.voxels for part in parts_of(mask)]


BIG = box(2, 4, 4, 4, 10, 10)


@pytest.mark.parametrize(
    ("other", "voxels"),
    [
        (box(2, 4, 18, 4, 5, 5), [400, 100]),
        (box(2, 14, 14, 4, 5, 5), [500]),
        (box(6, 14, 14, 4, 5, 5), [500]),
        (box(8, 4, 4, 4, 5, 5), [500]),
        (box(9, 4, 4, 3, 5, 5), [400, 75]),
    ],
    ids=["apart", "edges meet", "corners meet", "two slices between", "three slices between"],
)
def test_parts_are_what_no_neighbour_joins(
    other: tuple[slice, slice, slice], voxels: list[int]
) -> None:
    assert voxels_of(with_boxes(BIG, other)) == voxels


def test_a_ring_and_a_comb_are_one_part() -> None:
    ring = with_boxes(box(2, 4, 4, 1, 12, 12))
    ring[2, 6:14, 6:14] = False
    comb = np.zeros(SHAPE, np.bool_)
    comb[4, 2:20, 2:24:2] = True
    comb[4, 20, 2:24] = True

    assert [len(parts_of(mask)) for mask in (ring, comb)] == [1, 1]


def test_a_contour_on_every_other_slice_is_one_part() -> None:
    mask = with_boxes(BIG)
    mask[3::2] = False

    assert voxels_of(mask) == [200]


def test_crumbs_of_a_drawing_tool_are_no_lesions() -> None:
    small = with_boxes(box(2, 4, 4, 1, 4, 4), box(2, 20, 20, 1, 1, 7))
    large = with_boxes(BIG, box(2, 20, 8, 1, 1, 19))

    assert [len(parts_of(mask)) for mask in (small, large)] == [1, 1]
    assert voxels_of(with_boxes(BIG, box(2, 20, 8, 1, 1, 20))) == [400, 20]
    assert voxels_of(with_boxes(box(2, 4, 4, 1, 4, 4), box(2, 20, 20, 1, 1, 8))) == [16, 8]


def test_a_region_of_few_voxels_is_one_part() -> None:
    assert voxels_of(with_boxes(box(2, 4, 4, 1, 1, 1), box(2, 20, 20, 1, 2, 1))) == [2]


def neighbours_joined(mask: Mask) -> list[int]:
    """Voxels of each part by the definition: a path whose steps cross two slices at most."""
    left = {tuple(map(int, place)) for place in np.argwhere(mask)}
    sizes = []
    while left:
        ahead, size = [left.pop()], 0
        while ahead:
            z, y, x = ahead.pop()
            size += 1
            for dz in range(-3, 4):
                reach = max(1, abs(dz))
                steps = range(-reach, reach + 1)
                near = {(z + dz, y + dy, x + dx) for dy, dx in product(steps, steps)} & left
                ahead += near
                left -= near
        sizes.append(size)
    return sizes


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (7, 9, 11), elements=st.sampled_from([False] * 30 + [True]), fill=None))
def test_parts_are_those_of_the_definition(mask: Mask) -> None:
    sizes = sorted(neighbours_joined(mask), reverse=True)
    counted = [n for n in sizes if n >= 8 and 20 * n >= sizes[0]] or sizes[:1]

    assert voxels_of(mask) == counted


def roi_of(mask: Mask) -> Roi:
    return Roi(mask=mask, role="ct", source="segment 1 of a segmentation (SEG), drawn by hand")


def test_s21_two_lesions_in_one_region_are_refused_with_where_they_are() -> None:
    two = roi_of(with_boxes(BIG, box(3, 4, 18, 2, 10, 10)))
    role = RoiRole(name="tumor", input="ct", one_piece=True)

    with pytest.raises(Refused) as refused:
        check_one_piece(role, two, SPACING)

    assert refused.value.code is RefusalCode.ROI_SEVERAL
    assert str(refused.value.sentence) == (
        "tumor: segment 1 of a segmentation (SEG), drawn by hand: 2 parts that do not touch: "
        "400 voxels on slices 3 to 6, 200 voxels on slices 4 to 5, 10 mm from the first "
        "(centre to centre); outline the one lesion that is meant"
    )


def test_s21_two_nodes_in_one_region_are_to_be_drawn_apart() -> None:
    boxes = [box(2, 4, 4 + 6 * number, 1, 4, 4) for number in range(4)]
    role = RoiRole(name="axillary_node", input="ct", many=True, one_piece=True)

    with pytest.raises(Refused, match=r"4 parts .* and 1 more; draw each as a region of its own$"):
        check_one_piece(role, roi_of(with_boxes(*boxes)), SPACING)


def test_one_lesion_and_what_may_have_parts_pass() -> None:
    two = with_boxes(BIG, box(2, 4, 18, 4, 10, 10))

    check_one_piece(
        RoiRole(name="tumor", input="ct", one_piece=True), roi_of(with_boxes(BIG)), SPACING
    )
    check_one_piece(RoiRole(name="fat", input="ct"), roi_of(two), SPACING)


def test_two_lesions_in_one_region_are_no_example_to_learn_from(tmp_path: Path) -> None:
    stack, ct = image(tmp_path / "ct", SHAPE, spacing=SPACING)
    drawn = written(tmp_path / "seg.dcm", binary(ct, with_boxes(BIG, box(2, 4, 18, 4, 10, 10))))
    neoplasm = Code("108369006", "SCT", "Neoplasm")
    role = RoiRole(name="tumor", input="ct", codes=(neoplasm,))

    (found,) = rois_of(manifest(rois={"tumor": role}), [drawn], {"ct": stack})["tumor"]
    with pytest.raises(Refused, match="2 parts that do not touch"):
        asked = manifest(rois={"tumor": replace(role, one_piece=True)})
        rois_of(asked, [drawn], {"ct": stack})

    assert np.count_nonzero(found.mask) == 800
