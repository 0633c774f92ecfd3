"""Outlines that cannot be of a whole lesion, or not of one and the same."""

from __future__ import annotations

import numpy as np
import pytest

from node.toolkit.outlines import gap_mm, incomplete

SPACING_MM = (3.0, 1.0, 1.0)


def box(slices=(3, 7), rows=(10, 20), columns=(10, 20)):
    mask = np.zeros((10, 30, 30), bool)
    mask[slice(*slices), slice(*rows), slice(*columns)] = True
    return mask


def test_a_whole_lesion_is_taken():
    assert incomplete(box(), SPACING_MM) == ""
    assert incomplete(box(slices=(3, 4), rows=(10, 13), columns=(10, 13)), SPACING_MM) == ""
    assert incomplete(box(slices=(3, 3)), SPACING_MM) == ""  # others say that it is empty


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ({"slices": (0, 4)}, "first or last slice"),
        ({"slices": (6, 10)}, "first or last slice"),
        ({"rows": (0, 8)}, "first or last row"),
        ({"columns": (22, 30)}, "first or last column"),
        ({"slices": (4, 5)}, "one slice only and 13 mm long"),
    ],
)
def test_what_may_be_missing_is_said(edges, said):
    assert said in incomplete(box(**edges), SPACING_MM)


def test_the_gap_of_two_regions_is_measured_in_the_patient():
    affine = np.diag([3.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]  # columns along x, slices along z
    finer = affine @ np.diag([1.0, 0.5, 0.5, 1.0])
    first, aside = (box(), affine), (box(columns=(26, 28)), affine)

    assert gap_mm(first, first) == 0.0
    assert gap_mm(first, (box(rows=(20, 29), columns=(20, 29)), finer)) == 0.0
    assert gap_mm(first, aside) == pytest.approx(6.0)
    assert gap_mm(aside, first) == pytest.approx(6.0)
    with pytest.raises(ValueError, match="empty"):
        gap_mm(first, (box(slices=(3, 3)), affine))
    turned = affine[[1, 0, 2, 3]]  # the same voxels lie elsewhere
    assert gap_mm((box(rows=(2, 6)), affine), (box(rows=(2, 6)), turned)) > 0.0
