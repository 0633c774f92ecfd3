"""Features of regions: what is refused, what never changes, what is read instead of counted."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

import numpy as np
import pytest

from node.code_lists import check_code
from node.manifest import Code
from node.plugin import Volume
from node.radiomics_settings import CLASSES, IMAGE_TYPES
from node.toolkit.radiomics import (
    NoFeatures,
    code_of,
    extract,
    extract_many,
    feature_names,
    many,
    n4,
    radiomics_settings,
    standardized,
    unit_of,
)
from node.toolkit.radiomics.many import key_of

pytest.importorskip("radiomics", reason="needs pyradiomics (extra radiomics)")

SMALL = {"image_types": ["original"], "classes": ["shape", "firstorder"], "pre_crop": True}
#: Paper 002: 975 features of each sequence; which they are is our reading.
PAPER_002 = {
    "image_types": ["original", "wavelet", "log"],
    "log_sigma_mm": [2, 3, 4, 5],
    "classes": ["shape", "firstorder", "glcm", "glrlm", "glszm"],
    "drop": ["shape_VoxelVolume"],
    "bin_width": 5,
    "pre_crop": True,
}
#: Paper 000: 1,130 features.
PAPER_000 = {
    "image_types": ["original", "wavelet", "log"],
    "log_sigma_mm": [1, 3, 5],
    "classes": list(CLASSES),
    "bin_width": 25,
    "pre_crop": True,
}


def settings_of(**said):
    return radiomics_settings({**SMALL, "bin_width": 25, **said})


def region(seed=0, shape=(12, 24, 26), spacing_mm=(2.0, 0.8, 0.8), unit="[hnsf'U]"):
    rng = np.random.default_rng(seed)
    array = rng.normal(60, 40, shape).astype(np.int16)
    at = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    mask = (at**2 / np.array([14.0, 60.0, 50.0]).reshape(3, 1, 1, 1)).sum(axis=0) < 1
    affine = np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]]
    return Volume(array=array, affine=affine, unit=unit, modality="CT"), mask


@pytest.mark.parametrize(("table", "count"), [(PAPER_002, 975), (PAPER_000, 1130)])
def test_the_sets_of_the_papers_have_their_counts(table, count):
    settings = radiomics_settings(table)

    found = extract(*region(), settings)

    assert len(found.names) == len(set(found.names)) == len(found.values) == count
    assert found.names == feature_names(settings)


def test_names_are_those_of_pyradiomics_and_none_is_forgotten():
    from radiomics import getFeatureClasses

    known = {
        name: {feature for feature, deprecated in group.getFeatureNames().items() if not deprecated}
        for name, group in getFeatureClasses().items()
        if name != "shape2D"
    }
    assert {name: set(features) for name, features in CLASSES.items()} == known


def test_every_kind_of_image_gives_its_features():
    settings = settings_of(
        image_types=list(IMAGE_TYPES), log_sigma_mm=[1.5], classes=["firstorder"]
    )

    found = extract(*region(), settings)

    assert len(found.names) == 18 * (1 + 8 + 1 + 5)
    assert found["log-sigma-1-5-mm-3D_firstorder_Mean"] != found["original_firstorder_Mean"]


@pytest.mark.parametrize(
    ("said", "theirs"),
    [
        (
            {"spacing_mm": [1.5, 1, 1], "normalize": True, "normalize_scale": 100,
             "remove_outliers_sd": 3},
            {"resampledPixelSpacing": [1, 1, 1.5], "normalize": True, "normalizeScale": 100,
             "removeOutliers": 3, "preCrop": True},
        ),
        ({}, {"preCrop": True}),
        ({"pre_crop": False}, {}),
    ],
    ids=["resampled", "cut", "whole"],
)  # fmt: skip
def test_they_are_pyradiomics_own_numbers(said, theirs):
    from radiomics.featureextractor import RadiomicsFeatureExtractor
    from SimpleITK import GetImageFromArray

    filters = {"image_types": ["original", "wavelet", "log"], "log_sigma_mm": [2.0]}
    volume, mask = region(shape=(14, 40, 44))
    found = extract(volume, mask, settings_of(**filters, classes=list(CLASSES), **said))
    image, label = GetImageFromArray(volume.array.astype(float)), GetImageFromArray(mask * 1)
    for one in (image, label):  # where it lies in the patient makes no difference
        one.SetSpacing(volume.spacing_mm[::-1])
        one.SetOrigin((-120.0, 33.5, 701.25))
    extractor = RadiomicsFeatureExtractor(binWidth=25, additionalInfo=False, **theirs)
    extractor.enableImageTypes(Wavelet={}, LoG={"sigma": [2.0]})
    values = extractor.execute(image, label)

    assert set(values) == set(found.names)
    for name in found.names:
        assert found[name] == pytest.approx(float(values[name]), rel=1e-9, abs=1e-9), name


def test_twice_is_the_same_to_the_last_bit_and_threads_come_back():
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    settings = radiomics_settings(PAPER_002)

    first, second = (extract(*region(), settings).values for _ in range(2))

    assert np.array_equal(first, second)
    assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


@pytest.mark.parametrize("every", [1, 7, 60])
def test_some_features_are_the_same_alone_as_among_all(every):
    settings = radiomics_settings(PAPER_000)
    everything = extract(*region(), settings)
    some = everything.names[::-every]
    found = extract(*region(), settings, some)
    assert found.names == some
    assert found.values.tolist() == [everything[name] for name in some]


def test_images_without_a_wanted_feature_are_not_made():
    settings = radiomics_settings(PAPER_000)
    volume, mask = region(shape=(2, 12, 12))
    name = "original_shape_Sphericity"
    assert 0 < extract(volume, mask, settings, [name])[name] < 1  # too small for a filter
    assert extract(volume, mask, settings, []).values.size == 0
    with pytest.raises(ValueError, match="no feature 'original_glcm_Nonsense'"):
        extract(volume, mask, settings, ["original_glcm_Nonsense"])


def test_the_cut_before_filtering_changes_values_so_it_must_be_said():
    table = {**PAPER_002, "image_types": ["log"], "log_sigma_mm": [5]}
    volume, mask = region(shape=(16, 50, 50))

    cut, whole = (
        extract(volume, mask, radiomics_settings({**table, "pre_crop": crop})).values
        for crop in (True, False)
    )

    assert (np.abs(cut - whole) > 0.01 * np.abs(whole)).sum() > 20


def changed(**how):
    volume, mask = region()
    return replace(volume, **how), mask


def few(mask, count):
    left = np.zeros_like(mask)
    left.flat[np.flatnonzero(mask)[:count]] = True
    return left


def test_a_region_of_63_voxels_is_refused_and_one_of_64_is_not():
    volume, mask = region()

    with pytest.raises(NoFeatures, match=r"has 63 voxels; at least 64 are needed"):
        extract(volume, few(mask, 63), settings_of())
    assert extract(volume, few(mask, 64), settings_of())["original_firstorder_Mean"]


def test_constant_values_are_refused_also_once_they_are_clipped():
    volume, mask = changed(array=np.full((12, 24, 26), 40, np.int16))

    with pytest.raises(NoFeatures, match="voxels of the region have the value 40"):
        extract(volume, mask, settings_of())
    with pytest.raises(NoFeatures, match=r"looked at \(2000 to 3000\)"):
        extract(*region(), settings_of(clip=[2000, 3000]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_wherever_they_are(wrong):
    array = region()[0].array.astype(np.float32)
    array[0, 0, 0] = wrong

    with pytest.raises(NoFeatures, match="1 values are not finite"):
        extract(*changed(array=array), settings_of())


def test_a_region_on_another_grid_is_refused():
    volume, mask = region()

    with pytest.raises(NoFeatures, match=r"shape \(11, 24, 26\)"):
        extract(volume, mask[1:], settings_of())
    with pytest.raises(NoFeatures, match="type uint8"):
        extract(volume, mask.astype(np.uint8), settings_of())


def test_a_region_outside_of_the_scan_is_refused_and_padding_beside_it_counts_as_air():
    volume, mask = region()
    padding = np.zeros(mask.shape, bool)
    padding[:, :, 0] = True
    array = volume.array.copy()
    array[padding] = -2000
    settings = settings_of(image_types=["wavelet"], pre_crop=False)

    padded = extract(replace(volume, array=array, padding=padding), mask, settings).values
    array[padding] = -1024
    assert np.array_equal(padded, extract(replace(volume, array=array), mask, settings).values)
    with pytest.raises(NoFeatures, match=r"of \d+ voxels of the region are outside of the scan"):
        extract(replace(volume, padding=mask & padding | few(mask, 5)), mask, settings)


def test_a_line_is_refused():
    volume, mask = region(shape=(2, 4, 90))
    line = np.zeros_like(mask)
    line[0, 0, :70] = True

    with pytest.raises(NoFeatures, match="a line or a point; it needs two dimensions"):
        extract(volume, line, settings_of())


def test_an_image_too_small_for_a_filter_is_refused():
    volume, mask = region(shape=(2, 12, 12))

    with pytest.raises(NoFeatures, match="too small for log-sigma-5-0-mm-3D"):
        extract(volume, mask | True, settings_of(image_types=["log"], log_sigma_mm=[5]))


def test_nothing_is_written_to_logs(caplog, capfd):
    caplog.set_level(logging.DEBUG)

    extract(*region(), radiomics_settings(PAPER_000))
    with pytest.raises(NoFeatures):
        extract(*region(shape=(2, 12, 12)), radiomics_settings(PAPER_000))

    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


# --- many ------------------------------------------------------------------------------------


def test_many_in_two_processes_are_those_of_one(tmp_path):
    regions = [region(seed) for seed in range(3)]
    settings, seen = settings_of(), []

    found = extract_many(
        [regions[0], lambda: regions[1], regions[2]],
        settings,
        workers=2,
        cache=tmp_path,
        progress=lambda done, of: seen.append((done, of)),
    )

    one_by_one = [extract(*one, settings).values for one in regions]
    assert np.array_equal(found.values, one_by_one)
    assert (found.names, found.refused, found.cached) == (feature_names(settings), {}, 0)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_second_time_they_are_read(tmp_path, monkeypatch):
    regions, settings = [region(seed) for seed in range(2)], settings_of()
    first = extract_many(regions, settings, workers=1, cache=tmp_path)
    monkeypatch.setattr("node.toolkit.radiomics.many.extract", None)

    second = extract_many(regions, settings, cache=tmp_path)

    assert second.cached == 2
    assert np.array_equal(first.values, second.values)


@pytest.mark.parametrize("breaking", ["empty", "cut", "flipped", "other", "pickle", "text"])
def test_a_broken_entry_is_counted_again(tmp_path, breaking):
    one, settings = region(), settings_of()
    first = extract_many([one], settings, workers=1, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if breaking == "flipped":
        content[len(content) // 2] ^= 0xFF
    elif breaking == "other":
        np.savez(path, values=first.values[0, :-1])
        content = path.read_bytes()
    elif breaking == "pickle":
        np.savez(path, values=np.array([{}], dtype=object))
        content = path.read_bytes()
    elif breaking == "text":
        content = b"no archive"
    path.write_bytes(content[: {"empty": 0, "cut": 200}.get(breaking)])

    again = extract_many([one], settings, workers=1, cache=tmp_path)

    assert again.cached == 0
    assert np.array_equal(again.values, first.values)
    assert extract_many([one], settings, workers=1, cache=tmp_path).cached == 1


def test_no_flipped_bit_of_an_entry_ends_a_cohort_or_changes_a_number(tmp_path):
    """Those in a zip's own directory are other errors than a wrong checksum."""
    values = np.arange(4.0)
    path = tmp_path / "one.npz"
    np.savez(path, values=values, key=np.array("one"))
    whole = path.read_bytes()
    assert np.array_equal(many._read(path, 4), values)

    for place in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        found = many._read(path, 4)
        assert found is None or np.array_equal(found, values), place


def test_an_entry_of_another_region_under_this_name_is_counted_again(tmp_path):
    regions, settings = [region(seed) for seed in range(2)], settings_of()
    first = extract_many(regions, settings, workers=1, cache=tmp_path)
    one, other = sorted(tmp_path.iterdir())
    one.write_bytes(other.read_bytes())

    again = extract_many(regions, settings, workers=1, cache=tmp_path)
    assert again.cached == 1 and np.array_equal(again.values, first.values)

    with one.open("wb") as file:  # no archive at all, but an array
        np.save(file, first.values[0])
    again = extract_many(regions, settings, workers=1, cache=tmp_path)
    assert again.cached == 1 and np.array_equal(again.values, first.values)


def test_what_is_no_region_is_refused_by_itself(tmp_path):
    volume, mask = region()

    found = extract_many(
        [(volume, mask.tolist()), (volume, None), (volume, mask)],
        settings_of(),
        workers=1,
        cache=tmp_path,
    )

    assert found.refused == {
        0: "the region is a list; it must be an array of bool",
        1: "the region is a NoneType; it must be an array of bool",
    }
    assert np.isfinite(found.values[2]).all()


def test_a_misspelt_feature_is_named_with_the_one_that_was_meant():
    one, settings = region(), settings_of()
    name = feature_names(settings)[0]
    found = extract(*one, settings, [name])

    assert found[name] == found.values[0]
    with pytest.raises(ValueError, match=f'did you mean "{name}"'):
        found[name.casefold()]
    with pytest.raises(ValueError, match=rf"no feature '{name}s' \(did you mean \"{name}\"\?\)"):
        extract(*one, settings, [f"{name}s"])
    with pytest.raises(ValueError, match="a list of features, not one text"):
        extract(*one, settings, name)


def test_complex_values_are_refused():
    volume, mask = region()
    wrong = replace(volume, array=volume.array.astype(np.complex64))
    with pytest.raises(NoFeatures, match="holds complex64; it must hold real numbers"):
        extract(wrong, mask, settings_of())


def test_a_refused_region_keeps_its_row_and_its_sentence(tmp_path):
    volume, mask = region()

    found = extract_many(
        [(volume, mask), (volume, few(mask, 9))], settings_of(), workers=1, cache=tmp_path
    )

    assert found.refused == {1: "the region has 9 voxels; at least 64 are needed"}
    assert np.isnan(found.values[1]).all()
    assert np.isfinite(found.values[0]).all()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_knows_image_region_and_settings(monkeypatch):
    (volume, mask), settings = region(), settings_of()
    array = volume.array.copy()
    array[0, 0, 0] += 1
    smaller = mask.copy()
    smaller.flat[np.flatnonzero(mask)[0]] = False
    others = [
        (replace(volume, array=array), mask, settings),
        (replace(volume, array=volume.array.astype(np.float32)), mask, settings),
        (replace(volume, affine=volume.affine * 1.01), mask, settings),
        (replace(volume, unit="1"), mask, settings),
        (replace(volume, padding=~mask), mask, settings),
        (volume, smaller, settings),
        (volume, mask, settings_of(bin_width=24)),
    ]
    keys = {key_of(*one) for one in [(volume, mask, settings), *others]}

    assert len(keys) == 1 + len(others)
    moved = volume.affine.copy()
    moved[:3, 3] = 100
    assert key_of(replace(volume, affine=moved), mask, settings) in keys


def test_no_entry_is_ever_half_written(tmp_path):
    """Three threads count the same region: whoever reads finds all or nothing."""
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    one, settings, wrong = region(), settings_of(), []

    def count():
        found = extract_many([one], settings, workers=1, cache=tmp_path)
        wrong.extend(found.refused)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


# --- codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [PAPER_002, PAPER_000])
def test_every_feature_has_a_code_of_its_own_that_a_manifest_takes(table):
    names = feature_names(radiomics_settings(table))
    codes = [code_of(name) for name in names]

    assert len({(value, scheme) for value, scheme, _ in codes}) == len(names)
    for name, (value, scheme, meaning) in zip(names, codes, strict=True):
        check_code(Code(value, scheme, meaning))
        check_code(Code(*unit_of(name)))
        assert len(value) <= 16 and len(meaning) <= 64
        assert scheme == "99SENTINEL" or name.startswith("original_")


# --- MR --------------------------------------------------------------------------------------


def head(seed=1):
    """Return a ball of two tissues in a field that doubles from one side to the other."""
    rng = np.random.default_rng(seed)
    at = np.indices((12, 40, 40)) - np.array([6, 20, 20]).reshape(3, 1, 1, 1)
    inside = (at / np.array([6, 18, 18]).reshape(3, 1, 1, 1)) ** 2
    ball = inside.sum(axis=0) < 1
    tissue = np.where(rng.random(ball.shape) < 0.3, 140.0, 100.0) * ball
    field = np.exp(0.35 * at[2] / 20)
    array = (tissue * field + np.abs(rng.normal(0, 1, ball.shape))).astype(np.float32)
    affine = np.diag([4.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]
    return Volume(array=array, affine=affine, unit="1", modality="MR"), ball


def slope(volume, ball):
    columns = np.indices(ball.shape)[2][ball]
    return abs(np.polyfit(columns, np.log(volume.array[ball]), 1)[0]) * 40


def test_n4_takes_the_field_away_and_is_the_same_twice():
    volume, ball = head()

    corrected = n4(volume)

    assert slope(volume, ball) > 0.6
    assert slope(corrected, ball) < 0.15
    assert np.array_equal(corrected.array, n4(volume).array)
    assert corrected.array.dtype == np.float32
    assert slope(n4(volume, ball, shrink=2), ball) < 0.15


def test_standardized_values_do_not_know_the_scanners_scale():
    volume, ball = head()
    louder = replace(volume, array=volume.array * 7.5)

    one, other = standardized(volume), standardized(louder)

    assert np.allclose(one.array, other.array, atol=0.01)
    assert one.array.min() >= 0 and one.array.max() <= 600
    within = standardized(volume, ball).array[ball]
    assert within.mean() == pytest.approx(300, abs=1)


@pytest.mark.parametrize("function", [n4, standardized])
def test_images_that_have_no_scale_are_refused(function):
    volume, ball = head()
    flat = replace(volume, array=np.full(ball.shape, 3, np.float32))
    holed = replace(volume, array=np.where(ball, np.nan, volume.array))

    with pytest.raises(ValueError, match="all values of the image are 3"):
        function(flat)
    with pytest.raises(ValueError, match="not finite"):
        function(holed)
    with pytest.raises(ValueError, match="the mask is empty"):
        function(volume, ball & ~ball)
