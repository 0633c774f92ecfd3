"""Both viewers show our segmentations in the right place, and a wrong one is found out."""

from __future__ import annotations

import pytest

from tests.viewers import wrong
from tests.viewers.prove import prove_overlay
from tests.viewers.sides import prove_side

pytestmark = pytest.mark.viewer

STUDIES = ["axial", "sagittal", "coronal", "oblique", "crlm-ct-1004", "tumour"]
#: Cut so that patient's left is right, left, and right on the screen.
SIDES = ["sides-axial", "sides-prone", "sides-coronal"]


@pytest.mark.parametrize("name", STUDIES)
def test_s26_the_overlay_is_where_the_marked_voxels_are(opened, computed, name):
    study = computed(name)
    with opened(study.stack, study.seg) as viewer:
        seen = prove_overlay(viewer, study.mask, study.stack)
    assert max(one.found for one in seen) >= 2_000


@pytest.mark.parametrize(
    "spoil", [wrong.shifted_by_a_voxel, wrong.shifted_by_a_slice, wrong.mirrored]
)
def test_a_wrong_overlay_is_found_out(opened, computed, tmp_path, spoil):
    study = computed("axial")
    seg = spoil(study.seg, tmp_path / "wrong.dcm", study.stack)
    with (
        opened(study.stack, seg) as viewer,
        pytest.raises(AssertionError, match="the overlay is not in place") as failure,
    ):
        prove_overlay(viewer, study.mask, study.stack)
    print(failure.value)  # noqa: T201  by how much, for docs/viewers.md


@pytest.mark.parametrize("name", SIDES)
def test_s26_the_overlay_is_on_the_patients_own_side(opened, computed, name):
    study = computed(name)
    with opened(study.stack, study.seg) as viewer:
        to_the_left, _ = prove_side(viewer, study.stack)
        letters = viewer.letters()
    assert abs(to_the_left) > 100
    ends = ("R", "L") if to_the_left > 0 else ("L", "R")
    for place, side in zip(("left", "right"), ends, strict=True):
        assert letters.get(place, side) == side
    # dwv has no letters of its own; OHIF writes them above and on the left.
    assert "left" in letters or viewer.name.startswith("dwv")


def test_a_mirrored_overlay_is_on_the_wrong_side(opened, computed, tmp_path):
    study = computed("sides-axial")
    seg = wrong.mirrored(study.seg, tmp_path / "wrong.dcm", study.stack)
    with (
        opened(study.stack, seg) as viewer,
        pytest.raises(AssertionError, match="on the wrong side") as failure,
    ):
        prove_side(viewer, study.stack)
    print(failure.value)  # noqa: T201  by how much, for docs/viewers.md
