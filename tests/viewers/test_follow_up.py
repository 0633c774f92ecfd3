"""A report that compares with an earlier study opens, and says value, date and change (S10)."""

from __future__ import annotations

import pydicom
import pytest

from node.profiles import PROFILES
from tests.unit.test_follow_up import compared, value
from tests.viewers.conftest import number
from tests.viewers.dwv import Dwv
from tests.viewers.objects import encode_as
from tests.viewers.ohif import Ohif
from tests.viewers.test_reports import items_of, plain

pytestmark = pytest.mark.viewer

FOLLOW_UP = compared(value("volume", 1.0), value("longest", 10.0))
SAID = "Tumour 2: Volume 1.500 cm3, on 2026-01-03 1.000 cm3 (+0.500 cm3, +50.0 %)"


def objects_of(computed, profile, folder):
    study = computed("square")
    made = encode_as(study.stack, PROFILES[profile], folder / profile, follow_up=FOLLOW_UP)
    return study, made


@pytest.mark.parametrize("profile", ["plain_pacs", "standard"])
def test_s10_a_follow_up_as_text_says_then_and_now_in_ohif(bench, computed, tmp_path, profile):
    study, objects = objects_of(computed, profile, tmp_path)
    sentences = [i.TextValue for i in items_of(pydicom.dcmread(objects.files["sr"]), "TEXT")]
    with bench.holding(study.files(*objects.files.values())) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(objects.files["sr"]))
        assert ohif.problems() == []
        shown = plain(ohif.text())

    assert SAID in shown
    for sentence in sentences:
        assert plain(sentence) in shown
    # OHIF leaves out what a coded change was inferred from: only the sentence says that.
    assert "Change since the earlier study: 0.5 cm3" in shown


def test_s10_a_follow_up_as_outline_is_drawn_in_ohif(bench, computed, tmp_path):
    study, objects = objects_of(computed, "ohif", tmp_path)
    with bench.holding(study.files(*objects.files.values())) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(objects.files["sr"]), hydrate=False)
        assert ohif.problems() == []
        assert ohif.shows_image()
        assert ohif.outlines()
    # Beside an outline OHIF shows no sentence: the second report holds what was before.
    with bench.holding(study.files(*objects.files.values())) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(objects.files["sr2"]))
        assert ohif.problems() == []
        assert SAID in plain(ohif.text())


def test_s10_the_segmentation_of_a_follow_up_opens_in_dwv(bench, computed, tmp_path):
    study, objects = objects_of(computed, "dwv", tmp_path)
    seg = objects.files["seg"]
    assert pydicom.dcmread(seg).SegmentSequence[0].SegmentLabel == "Tumour 2"
    with bench.holding(study.files(*objects.files.values())), bench.page() as page:
        dwv = Dwv(page, bench, study.stack.paths, seg)
        assert dwv.problems() == []
        assert dwv.segments_shown() == 1
