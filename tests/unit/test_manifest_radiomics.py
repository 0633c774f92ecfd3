"""``[radiomics]`` of a manifest: what is understood, and the sentence where it is not."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import manifest_tables
from node.errors import ManifestError
from node.manifest_file import parse_manifest
from node.manifest_radiomics import radiomics_settings
from node.radiomics_settings import CLASSES, IMAGE_TYPES, feature_names
from tests.unit.test_manifest_evaluation import PLUGIN

LEAST = {"image_types": ["original"], "classes": ["glcm"], "pre_crop": True, "bin_width": 25}
TABLE = """
[radiomics]
image_types = ["log", "original"]
log_sigma_mm = [2, 3.5]
classes = ["ngtdm", "shape"]
bin_count = 32
pre_crop = false
spacing_mm = [3, 1, 1]
drop = ["shape_VoxelVolume"]
"""


def parsed(folder, table):
    (folder / "plugin.toml").write_text(PLUGIN + table)
    (folder / "plugin.py").write_text("")
    return parse_manifest(folder).radiomics


def test_a_manifest_has_the_settings_or_none(tmp_path):
    found = parsed(tmp_path, TABLE)

    assert (found.bin_count, found.bin_width, found.pre_crop) == (32, None, False)
    assert (found.spacing_mm, found.log_sigma_mm) == ((3.0, 1.0, 1.0), (2.0, 3.5))
    assert len(feature_names(found)) == 13 + 3 * 5
    assert feature_names(found)[13] == "original_ngtdm_Busyness"
    assert parsed(tmp_path, "") is None


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"bin_widht": 25}, r'unknown key radiomics.bin_widht \(did you mean "bin_width"\?\)'),
        ({"pre_crop": None}, "radiomics.pre_crop = null: must be true or false"),
        ({"bin_count": 32}, "needs bin_width or bin_count, and not both"),
        ({"bin_width": 0}, "radiomics.bin_width = 0: must be more than 0"),
        ({"bin_width": "25"}, 'radiomics.bin_width = "25": must be a number'),
        ({"classes": []}, "radiomics.classes = .*: needs at least 1 in the list"),
        ({"classes": ["glmc"]}, 'must be one of shape, .*did you mean "gl'),
        ({"classes": ["glcm", "glcm"]}, "radiomics.classes names something twice"),
        ({"image_types": ["wavlet"]}, 'did you mean "wavelet"'),
        ({"image_types": ["log"]}, 'log_sigma_mm goes with "log"'),
        ({"log_sigma_mm": [2]}, 'log_sigma_mm goes with "log"'),
        ({"interpolator": "linear"}, "interpolator needs spacing_mm"),
        ({"wavelet": "coif1"}, 'wavelet needs "wavelet" in image_types'),
        ({"pad_voxels": 4, "pre_crop": False}, "pad_voxels needs pre_crop = true or spacing_mm"),
        ({"spacing_mm": [1e-9, 1, 1]}, r"radiomics.spacing_mm\[1\] = 1e-09: must be at least 0.05"),
        ({"spacing_mm": 1}, "radiomics.spacing_mm = 1: must be a list, in brackets"),
        ({"spacing_mm": [1, 1]}, r"radiomics.spacing_mm\[3\] is missing"),
        ({"clip": [240, -160]}, "the first number must be below the second"),
        ({"remove_outliers_sd": 3}, "remove_outliers_sd needs normalize = true"),
        ({"normalize_scale": 100}, "normalize_scale needs normalize = true"),
        ({"drop": ["glcm_Contrats"]}, r'"glcm_Contrats" is no feature .*"glcm_Contrast"'),
        ({"drop": ["shape_VoxelVolume"]}, "is no feature of the classes"),
        ({"drop": [f"glcm_{one}" for one in CLASSES["glcm"]]}, "drop leaves no feature"),
        ({"least_voxels": 63}, "radiomics.least_voxels = 63: must be at least 64"),
    ],
)
def test_what_cannot_be_is_a_sentence(said, sentence):
    with pytest.raises(ManifestError, match=f"^plugin.toml: .*{sentence}"):
        radiomics_settings({**LEAST, **said})


def test_pre_crop_must_be_said():
    with pytest.raises(ManifestError, match=r"radiomics.pre_crop is missing"):
        radiomics_settings({key: LEAST[key] for key in LEAST if key != "pre_crop"})


def test_the_table_knows_all_classes_and_images():
    fields = manifest_tables.RadiomicsTable.model_fields
    known = {
        name: set(chain.from_iterable(map(get_args, get_args(fields[name].annotation))))
        for name in ("classes", "image_types")
    }
    assert known["classes"] == set(CLASSES)
    assert known["image_types"] == set(IMAGE_TYPES)


def some(values):
    return st.lists(st.sampled_from(list(values)), min_size=1, unique=True)


POSITIVE = st.floats(0.05, 100, allow_nan=False)


@st.composite
def tables(draw):
    table = {
        "image_types": draw(some(IMAGE_TYPES)),
        "classes": draw(some(CLASSES)),
        "pre_crop": draw(st.booleans()),
    }
    if draw(st.booleans()):
        table["bin_width"] = draw(POSITIVE)
    else:
        table["bin_count"] = draw(st.integers(2, 4096))
    if "log" in table["image_types"]:
        table["log_sigma_mm"] = draw(st.lists(POSITIVE, min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        table["spacing_mm"] = draw(st.lists(POSITIVE, min_size=3, max_size=3))
    if draw(st.booleans()):
        table |= {"normalize": True, "remove_outliers_sd": draw(POSITIVE)}
    every = [f"{name}_{one}" for name in table["classes"] for one in CLASSES[name]]
    table["drop"] = draw(st.lists(st.sampled_from(every), unique=True, max_size=3))
    return table


@given(tables())
def test_any_sound_table_is_kept_as_it_is_and_names_its_features_once(table):
    settings = radiomics_settings(table)

    kept = asdict(settings)
    for key, value in table.items():
        assert kept[key] == (tuple(value) if isinstance(value, list) else value)
    names = feature_names(settings)
    assert len(names) == len(set(names)) > 0
    assert {name.split("_", 2)[1] for name in names} <= set(table["classes"])
    # The order of the lists in the file is no order of features.
    turned = {k: v[::-1] if k in ("image_types", "classes") else v for k, v in table.items()}
    assert feature_names(radiomics_settings(turned)) == names


@given(
    st.dictionaries(
        st.sampled_from([*manifest_tables.RadiomicsTable.model_fields, "other"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=5),
            st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4),
            st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        ),
    )
)
def test_anything_else_is_one_sentence(said):
    try:
        radiomics_settings({**LEAST, **said})
    except ManifestError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("more", "unit"),
    [("", "[hnsf'U]"), ("normalize = true\n", "1"), ("shift = 300\n", "1")],
)
def test_intensities_of_ct_are_in_hu_unless_they_are_changed(tmp_path, more, unit):
    table = '[radiomics]\nimage_types = ["original", "wavelet"]\nclasses = ["firstorder"]\n'
    parsed(tmp_path, f"{table}pre_crop = true\nbin_width = 25\n{more}")

    found = parse_manifest(tmp_path).measurements

    assert found["original_firstorder_mean"].unit.value == unit
    assert found["original_firstorder_variance"].unit.value == "1"
    assert found["wavelet-lll_firstorder_mean"].unit.value == "1"
