"""LABELMAP and FRACTIONAL in both viewers: in place, or refused as docs/viewers.md says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.profiles import DWV, OHIF
from tests.viewers.conftest import number
from tests.viewers.dwv import Dwv
from tests.viewers.objects import encode_as
from tests.viewers.ohif import Ohif
from tests.viewers.prove import prove_overlay

pytestmark = pytest.mark.viewer

STUDIES = ["axial", "oblique"]


@pytest.mark.parametrize("name", STUDIES)
def test_s26_a_label_map_is_in_place_in_ohif(bench, computed, tmp_path, name):
    stack = computed(name).stack
    labels = replace(OHIF, name="labels", seg="labelmap")
    seg = encode_as(stack, labels, tmp_path / "labels", lesion_only=True).files["seg"]
    with bench.holding([*stack.paths, seg]) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(seg))
        assert ohif.problems() == []
        assert ohif.segments_shown() == 1
        seen = prove_overlay(ohif, stack.dense, stack)
    assert max(one.found for one in seen) >= 2_000


def test_s27_ohif_opens_no_fractions_and_its_profile_sends_none(bench, computed, tmp_path):
    stack = computed("axial").stack
    fractions = replace(OHIF, name="fractions", seg="fractional")
    seg = encode_as(stack, fractions, tmp_path / "fractions").files["seg"]
    with bench.holding([*stack.paths, seg]) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(seg))
        with pytest.raises(AssertionError, match="waited"):
            ohif.segments_shown(timeout_s=5.0)
        # It waits for ever, without a word why: all the more must the profile send none.
        assert "Loading SEG..." in ohif.page_text()
    assert OHIF.seg == "binary"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("labelmap", "Unsupported MediaStorageSOPClassUID value: 1.2.840.10008.5.1.4.1.1.66.7"),
        ("fractional", "Unsupported SegmentationType value: FRACTIONAL"),
    ],
)
def test_s27_dwv_opens_bits_only_and_its_profile_sends_nothing_else(
    bench, computed, tmp_path, kind, said
):
    stack = computed("axial").stack
    seg = encode_as(stack, replace(DWV, name=kind, seg=kind), tmp_path / kind).files["seg"]
    with bench.holding([*stack.paths, seg]), bench.page() as page:
        dwv = Dwv(page, bench, stack.paths, seg)
        problems = dwv.problems()
    assert problems == [said]
    assert (DWV.seg, DWV.labelmap_beyond) == ("binary", False)
