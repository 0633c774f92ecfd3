"""dwv shows our segmentations in the right place."""

from __future__ import annotations

import pytest

from tests.viewers import wrong
from tests.viewers.dwv import Dwv
from tests.viewers.prove import prove_overlay

pytestmark = pytest.mark.viewer


@pytest.mark.parametrize("name", ["axial", "sagittal", "coronal", "oblique", "crlm-ct-1004"])
def test_s26_the_overlay_is_where_the_dense_voxels_are(bench, computed, name):
    study = computed(name)
    with bench.holding(study.files(study.seg)), bench.page() as page:
        dwv = Dwv(page, bench, study.stack.paths, study.seg)
        assert dwv.problems() == []
        assert dwv.segments_shown() == 1

        seen = prove_overlay(dwv, study.stack.dense, study.stack)

        assert dwv.problems() == []
    assert max(one.found for one in seen) >= 2_000


@pytest.mark.parametrize(
    "spoil", [wrong.shifted_by_a_voxel, wrong.shifted_by_a_slice, wrong.mirrored]
)
def test_a_wrong_overlay_is_found_out(bench, computed, tmp_path, spoil):
    study = computed("axial")
    seg = spoil(study.seg, tmp_path / "wrong.dcm", study.stack)
    with bench.holding(study.files(seg)), bench.page() as page:
        dwv = Dwv(page, bench, study.stack.paths, seg)
        assert dwv.segments_shown() == 1

        with pytest.raises(AssertionError, match="the overlay is not in place") as failure:
            prove_overlay(dwv, study.stack.dense, study.stack)
    print(failure.value)  # noqa: T201  by how much, for docs/viewers.md
