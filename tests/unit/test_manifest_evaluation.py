"""``[evaluation]`` of a manifest: which number is judged by which label."""

from pathlib import Path

import pytest

from node.errors import ManifestError
from node.manifest import EvaluationSpec
from node.manifest_file import parse_manifest

PLUGIN = """
name = "judge"
version = "0.1.0"
title = "Judge"
intended_use = "Tests."
source = "tests"
grade = "phantom"

[inputs.ct]
modality = ["CT"]

[measurements.malignant]
code = ["111047", "DCM", "Probability of cancer"]
unit = ["%", "UCUM", "%"]

[measurements.fixed]
code = ["111047", "DCM", "Probability of cancer"]
unit = ["1", "UCUM", "no units"]

[measurements.area]
code = ["42798000", "SCT", "Area"]
unit = ["cm2", "UCUM", "Centimeter**2"]

[parameters]
threshold = 0.4
words = "yes"
many = 3.0

[evaluation]
probability = "malignant"
outcome = "metastasis"
"""


def parsed(folder: Path, more: str = "", text: str = PLUGIN):
    (folder / "plugin.toml").write_text(text + more)
    (folder / "plugin.py").write_text("")
    return parse_manifest(folder).evaluation


def test_the_least_says_measurement_and_column(tmp_path):
    assert parsed(tmp_path) == EvaluationSpec(
        probability="malignant", scale=100.0, outcome="metastasis"
    )


def test_everything_may_be_said(tmp_path):
    found = parsed(
        tmp_path,
        'positive = "pN+"\nthreshold = "threshold"\nalso = ["fixed"]\nfactors = ["area"]\n'
        'swapped = "fixed"\ntime = "months"\nevent = "recurrence"\n',
    )

    assert found == EvaluationSpec(
        probability="malignant",
        scale=100.0,
        outcome="metastasis",
        positive="pN+",
        threshold=0.4,
        also=("fixed",),
        swapped="fixed",
        factors=("area",),
        time="months",
        event="recurrence",
    )


def test_a_number_may_be_what_is_positive(tmp_path):
    assert parsed(tmp_path, "positive = 2\n").positive == 2.0


def test_without_the_table_a_plugin_is_judged_by_its_masks(tmp_path):
    assert parsed(tmp_path, text=PLUGIN.partition("[evaluation]")[0]) is None


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('also = ["fixd"]', 'evaluation.also = "fixd": there is no such measurement.*fixed'),
        ('also = ["area"]', 'evaluation.also: measurements.area has the unit "cm2"'),
        ('factors = ["size"]', 'evaluation.factors = "size": there is no such measurement'),
        ('swapped = "fixed"', 'evaluation.swapped = "fixed": there is no such name in `also`'),
        ('threshold = "treshold"', "no such parameter.*threshold"),
        ('threshold = "words"', "parameters.words = 'yes' is not from 0 to 1"),
        ('threshold = "many"', "parameters.many = 3.0 is not from 0 to 1"),
        ('time = "months"', "say both or none"),
        ('outcom = "x"', "outcom"),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_sentence(tmp_path, more, sentence):
    with pytest.raises(ManifestError, match=sentence):
        parsed(tmp_path, more + "\n")
