"""``[evaluation]`` of a manifest: which number is judged by which label."""

from pathlib import Path

import pytest

from node.errors import ManifestError
from node.manifest import EvaluationSpec, Goal, MeasuredGroups
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


def test_goals_groups_laws_and_what_must_be_better_may_be_said(tmp_path):
    found = parsed(
        tmp_path,
        'also = ["fixed"]\nbetter = ["fixed"]\ngroups = { area = [2, 4.5] }\n'
        'laws = { fixed = "oracle of fixed" }\n'
        "[evaluation.goals]\noracle_auroc = [0.9, 0.97]\nauroc_below_oracle = 0.08\n"
        "greatest_group_below_oracle = 0.1\nleast_gain = -0.02\n",
    )

    assert found.better == ("fixed",)
    assert found.groups == (MeasuredGroups(measurement="area", cuts=(2.0, 4.5), unit="cm2"),)
    assert found.laws == (("fixed", "oracle of fixed"),)
    assert found.goals == (
        Goal(figure="oracle_auroc", least=0.9, greatest=0.97),
        Goal(figure="auroc_below_oracle", greatest=0.08),
        Goal(figure="auroc_above_best_baseline", least=0.1),
        Goal(figure="least_better_low", least=0.0),
        Goal(figure="greatest_group_below_oracle", greatest=0.1),
        Goal(figure="least_gain", least=-0.02),
    )


def test_goals_that_are_not_said_are_those_of_all_classifiers(tmp_path):
    goals = {one.figure: (one.least, one.greatest) for one in parsed(tmp_path).goals}

    assert goals == {
        "oracle_auroc": (0.92, 0.97),
        "auroc_below_oracle": (None, 0.06),
        "auroc_above_best_baseline": (0.10, None),
        "least_better_low": (0.0, None),
    }


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
        ('better = ["fixed"]', 'evaluation.better = "fixed": there is no such name in `also`'),
        ('laws = { fixed = "x" }', 'evaluation.laws = "fixed": there is no such name in `also`'),
        (
            "groups = { aria = [2] }",
            'evaluation.groups = "aria": there is no such measurement.*area',
        ),
        ("groups = { area = [] }", "groups.area.* needs at least 1"),
        ("groups = { area = [4, 2] }", r"evaluation.groups.area = \[4, 2\] does not rise"),
        ("goals = { oracle_auroc = [0.97, 0.9] }", "oracle_auroc = .* is no range"),
        ("goals = { auroc = 0.9 }", "auroc"),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_sentence(tmp_path, more, sentence):
    with pytest.raises(ManifestError, match=sentence):
        parsed(tmp_path, more + "\n")
