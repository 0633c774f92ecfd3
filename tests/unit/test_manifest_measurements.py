"""What a plugin may return: measurements by name, numbered ones, and features of radiomics."""

from pathlib import Path

import pytest

from node.errors import ManifestError
from node.manifest import Code
from node.manifest_file import parse_manifest

PLUGIN = """
name = "signature"
version = "0.1.0"
title = "Signature"
intended_use = "Tests."
source = "tests"
grade = "phantom"

[inputs.ct]
modality = ["CT"]

[measurements.deep]
code = ["DEEP", "99SENTINEL", "Deep feature"]
unit = ["1", "UCUM", "no units"]
digits = 4
"""
RADIOMICS = """
[radiomics]
image_types = ["original", "wavelet"]
classes = ["shape", "glcm"]
pre_crop = true
bin_width = 25
"""


def measurements(folder: Path, *, more: str = "", count: str = ""):
    text = PLUGIN.replace("digits = 4", f"digits = 4\n{count}")
    (folder / "plugin.toml").write_text(text + more)
    (folder / "plugin.py").write_text("")
    return parse_manifest(folder).measurements


def test_one_table_is_one_measurement(tmp_path):
    assert list(measurements(tmp_path)) == ["deep"]


def test_a_table_with_a_count_is_so_many_with_numbered_codes(tmp_path):
    found = measurements(tmp_path, count="count = 1000")
    assert len(found) == 1000
    last = found["deep_999"]
    assert last.code == Code("DEEP-999", "99SENTINEL", "Deep feature 999")
    assert (last.name, last.digits) == ("deep_999", 4)


def test_every_feature_of_radiomics_is_declared_by_its_settings(tmp_path):
    found = measurements(tmp_path, more=RADIOMICS)
    assert len(found) == 1 + 14 + 9 * 24
    assert found["original_glcm_contrast"].code == Code("ACUI", "IBSI", "Contrast of GLCM")
    assert found["wavelet-llh_glcm_contrast"].code.scheme == "99SENTINEL"
    assert found["original_shape_surfacearea"].unit.value == "mm2"


def test_a_table_of_its_own_goes_before_a_feature(tmp_path):
    table = """
[measurements.original_glcm_contrast]
code = ["MINE", "99SENTINEL", "Contrast as we take it"]
unit = ["1", "UCUM", "no units"]
"""
    found = measurements(tmp_path, more=table + RADIOMICS)
    assert found["original_glcm_contrast"].code.value == "MINE"


@pytest.mark.parametrize(
    ("count", "more", "words"),
    [
        ("count = 0", "", "must be at least 1"),
        (
            "count = 3",
            "[measurements.deep_2]\n"
            'code = ["A", "99SENTINEL", "A"]\nunit = ["1", "UCUM", "no units"]',
            "deep_2, which has a table of its own",
        ),
    ],
)
def test_a_count_that_cannot_be_is_refused(tmp_path, count, more, words):
    with pytest.raises(ManifestError, match=words):
        measurements(tmp_path, more=more, count=count)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"DEEP"', '"DEEP-FEATURES-X"', "may have 16 characters"),
        ('"Deep feature"', f'"{"D" * 62}"', "may have 64 characters"),
        ('["DEEP", "99SENTINEL", "Deep feature"]', '["42798000", "SCT", "Area"]', "private code"),
    ],
)
def test_codes_of_a_count_must_hold_its_numbers(tmp_path, before, after, words):
    text = PLUGIN.replace(before, after) + "count = 1000\n"
    (tmp_path / "plugin.toml").write_text(text)
    (tmp_path / "plugin.py").write_text("")
    with pytest.raises(ManifestError, match=words):
        parse_manifest(tmp_path)
