"""OHIF shows our overlays in the right place, and our reports."""

from __future__ import annotations

import pytest

from tests.viewers import wrong
from tests.viewers.conftest import number
from tests.viewers.ohif import Ohif
from tests.viewers.prove import prove_overlay

pytestmark = pytest.mark.viewer

STUDIES = ["axial", "sagittal", "coronal", "oblique", "crlm-ct-1004"]


@pytest.mark.parametrize("name", STUDIES)
def test_s26_the_overlay_is_where_the_dense_voxels_are(bench, computed, name):
    study = computed(name)
    with bench.holding(study.files(study.seg, study.sr)) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(study.seg))
        assert ohif.segments_shown() == 1

        seen = prove_overlay(ohif, study.stack.dense, study.stack)

        assert ohif.error() == ""
    assert max(one.found for one in seen) >= 2_000


@pytest.mark.parametrize(
    "spoil", [wrong.shifted_by_a_voxel, wrong.shifted_by_a_slice, wrong.mirrored]
)
def test_a_wrong_overlay_is_found_out(bench, computed, tmp_path, spoil):
    study = computed("axial")
    seg = spoil(study.seg, tmp_path / "wrong.dcm", study.stack)
    with bench.holding(study.files(seg)) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(seg))
        assert ohif.segments_shown() == 1

        with pytest.raises(AssertionError, match="the overlay is not in place") as failure:
            prove_overlay(ohif, study.stack.dense, study.stack)
    print(failure.value)  # noqa: T201  by how much, for docs/viewers.md
