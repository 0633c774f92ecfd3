"""Reports in OHIF: values, sentences, outlines; and every object of every profile opens."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw

from node.profiles import PROFILES
from tests.viewers.conftest import number
from tests.viewers.dwv import Dwv
from tests.viewers.measure import boundary_distance, fit, projected
from tests.viewers.objects import encode_profile
from tests.viewers.ohif import Ohif
from tests.viewers.prove import LIMIT_PIXELS, grey

pytestmark = pytest.mark.viewer


def items_of(sr, value_type):
    """Every content item of a type below the measurements and evaluations."""

    def walk(items):
        for item in items:
            if item.ValueType == value_type:
                yield item
            name = item.ConceptNameCodeSequence[0].CodeMeaning if _named(item) else ""
            if name != "Image Library":
                yield from walk(item.get("ContentSequence", []))

    return list(walk(sr.ContentSequence))


def _named(item):
    return bool(item.get("ConceptNameCodeSequence"))


def plain(text):
    return " ".join(text.split())


def test_s26_the_report_shows_its_values(bench, computed):
    study = computed("axial")
    values = items_of(pydicom.dcmread(study.sr), "NUM")
    with bench.holding(study.files(study.seg, study.sr)) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(study.sr))

        assert ohif.error() == ""
        shown = plain(ohif.text())

    assert len(values) == 2
    for item in values:
        assert f"{item.MeasuredValueSequence[0].NumericValue} " in shown


def test_s07_a_report_of_nothing_says_its_sentence(bench, computed):
    study = computed("nothing")
    sentences = [item.TextValue for item in items_of(pydicom.dcmread(study.sr), "TEXT")]
    assert not study.seg.exists()
    with bench.holding(study.files(study.sr)) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(study.sr))

        assert ohif.error() == ""
        shown = plain(ohif.text())

    for sentence in sentences:
        assert plain(sentence) in shown


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_s26_every_object_of_a_profile_opens_in_ohif(bench, computed, tmp_path, profile):
    study = computed("square")
    objects = encode_profile(study.stack, profile, tmp_path / profile)
    with bench.holding(study.files(*objects.files.values())) as uid:
        for role, path in objects.series.items():
            with bench.page() as page:
                ohif = Ohif(page, bench.base, uid)
                ohif.load(number(path))

                assert ohif.problems() == [], f"{profile}: {role}"
                assert role != "seg" or ohif.segments_shown() == 1


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_s26_the_images_of_a_profile_open_in_dwv(bench, computed, tmp_path, profile):
    """Its SEG on the study's images, and one file of pictures; dwv is no reader of reports."""
    study = computed("square")
    objects = encode_profile(study.stack, profile, tmp_path / profile)
    seg, picture = (objects.files.get(role) for role in ("seg", "sc"))
    assert seg or picture
    with bench.holding(study.files(*objects.files.values())):
        if seg:
            with bench.page() as page:
                dwv = Dwv(page, bench, study.stack.paths, seg)
                assert dwv.problems() == []
                assert dwv.segments_shown() == 1
        if picture:
            with bench.page() as page:
                assert Dwv(page, bench, [picture], None).problems() == []


def test_s27_all_pictures_for_dwv_open_at_once_and_are_turned_like_pages(bench, computed, tmp_path):
    """Several images in one series do not: dwv takes them for phases of one volume."""
    study = computed("square")
    files = encode_profile(study.stack, "dwv", tmp_path / "dwv").files
    pictures = [path for role, path in files.items() if role.startswith("sc")]
    written = pydicom.dcmread(pictures[0])
    last = int(written.NumberOfFrames) - 1
    with bench.holding(study.files(*pictures)), bench.page() as page:
        dwv = Dwv(page, bench, pictures, None)
        assert dwv.problems() == []
        assert dwv.pages() == last + 1 > 1
        seen = []
        for frame in (0, last):
            dwv.turn_to(frame)
            seen.append(likeness_of(dwv.picture(overlay=False), written.pixel_array[frame]))
    assert min(seen) > 0.98
    assert len(pictures) == 1


def likeness_of(shown, picture):
    """The correlation of what is seen with a picture as large as fits, in the middle."""
    height, width = shown.shape[:2]
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    page = Image.new("RGB", (width, height))
    page.paste(
        Image.fromarray(picture).resize(size), ((width - size[0]) // 2, (height - size[1]) // 2)
    )
    return np.corrcoef(np.asarray(page).ravel(), shown.ravel())[0, 1]


def test_s26_the_outline_in_ohif_is_the_mask(bench, computed, tmp_path):
    study = computed("square")
    distances = outline_distances(bench, study, tmp_path)
    assert len(distances) >= 1
    assert max(distances) <= LIMIT_PIXELS


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_s26_no_outline_lies_in_the_wrong_place_where_pixels_are_not_square(
    bench, computed, tmp_path, name
):
    """OHIF 3.13.2 takes the spacing of rows for that of columns when it draws an outline."""
    assert all(d <= LIMIT_PIXELS for d in outline_distances(bench, computed(name), tmp_path))


def outline_distances(bench, study, folder):
    """How far, in pixels, the outline lies from the mask on the slice to which OHIF jumps."""
    objects = encode_profile(study.stack, "ohif", folder / "ohif")
    with bench.holding(study.files(*objects.files.values())) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(objects.files["sr"]), hydrate=False)
        assert ohif.error() == ""
        if not ohif.shows_image():
            return []
        lines = ohif.outlines()
        assert lines, "an image without an outline"
        picture, guess = ohif.picture(overlay=False), ohif.guess()
        index = [i for i, uid in enumerate(study.stack.sop_instance_uids) if uid in ohif.current()]
    place = fit(study.stack.values[index[0]], study.stack.window, grey(picture), guess)
    expected = projected(study.stack.dense[index[0]], place, picture.shape[:2])
    return [boundary_distance(filled(line, picture.shape[:2]), expected) for line in lines]


def filled(line, shape):
    canvas = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in line], fill=1)
    return np.asarray(canvas)
