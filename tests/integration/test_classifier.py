"""A classifier of a few lines trains, is evaluated, and gets its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from node.cli import app
from node.training import plugin_code
from node.training.cases import load, phantom_tasks
from tests.integration.test_training_folder import HIGH, LOW, SHAPE, add, table
from tests.judges import make_judge


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    make_judge(folder)
    done = call(folder, "train", "judge", "--phantom", 60, "--out", "trained")
    assert done.exit_code == 0, done.output
    return folder


def call(folder: Path, *arguments: object):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [f"./{w}" if w in ("judge", "constant", "trained") else str(w) for w in arguments]
        environment = {"COLUMNS": "250", "OMP_NUM_THREADS": "1"}
        return CliRunner().invoke(
            app, [*words, "--cache", "cache", "--device", "cpu"], env=environment
        )


def test_it_is_judged_beside_the_law_and_a_simple_rule_and_one_thing_is_changed(site):
    done = call(site, "evaluate", "trained", "--phantom", 60, "--pairs", 20, "--report", "report")

    assert done.exit_code == 0, done.output
    assert "auroc 0." in done.output and "oracle_auroc 0." in done.output
    report = json.loads((site / "report" / "report.json").read_text())
    assert report["auroc"] > report["oracle_auroc"] - 0.06 > 0.8
    assert report["auroc"] > report["best_baseline_auroc"] + 0.1
    assert report["collapsed"] is False and report["counts"]["cases"] == 60
    assert report["least_cause_share"] >= 0.8 and report["changes"]["cause"]
    assert report["greatest_nuisance_change"] < 0.05 and report["greatest_input_loss"] < 0.05
    assert report["changes"]["nuisance"]["noise"]["pairs"] == 20
    assert report["changes"]["input"]["contour shifted"]["cases"] == 60
    assert report["changes"]["blank"]["covered"]["met"] is True
    assert report["headers"]["controls"]["cases"] == 60
    assert set(report["by_fact"]) == {"density"} and len(report["by_institution"]) == 3
    assert report["survival"]["patients"] == 60
    pictures = {path.name for path in (site / "report").glob("*.png")}
    assert {"roc.png", "survival.png", "worst-missed.png", "worst-alarms.png"} <= pictures


def test_a_study_gives_the_range_of_its_figures(site):
    done = call(
        *(site, "study", "judge", "--seeds", 1, "--phantom-train", 30, "--phantom-test", 24),
        *("--report", "seeds"),
    )

    assert done.exit_code == 0, done.output
    table = json.loads((site / "seeds" / "study.json").read_text())["summary"]
    assert {"auroc", "oracle_auroc", "brier", "auroc_above_best_baseline"} <= set(table)


def test_a_model_that_always_says_the_same_is_no_result(site):
    make_judge(site, line="np.array([0.0, 0.3])", name="constant")

    done = call(site, "train", "constant", "--phantom", 12, "--out", "never")

    assert done.exit_code == 1
    assert "MODEL_COLLAPSED" in done.output and "`malignant` is 57.4" in done.output
    assert not (site / "never").exists()


@pytest.mark.parametrize(
    ("plugin", "options", "said"),
    [
        ("judge", ["--pairs", -1], "--pairs -1 is no number"),
        ("commissioning", ["--pairs", 2], "a plugin with [evaluation]"),
    ],
)
def test_changes_that_cannot_be_made_are_said_before_the_work(site, plugin, options, said):
    done = call(site, "evaluate", plugin, "--phantom", 4, "--report", "x", *options)

    assert done.exit_code == 1 and said in done.output
    assert not (site / "x").exists()


def test_a_cohort_without_changes_is_said(site):
    other = make_judge(site, name="plain")
    text = (other / "cohort.py").read_text()
    (other / "cohort.py").write_text(text.replace("def variants", "def variations"))

    done = call(site, "evaluate", other, "--phantom", 4, "--pairs", 2, "--report", "y")

    assert done.exit_code == 1 and "has no function `variants`" in done.output


def test_a_change_is_rendered_from_the_cohorts_own_plan(tmp_path, monkeypatch):
    import sys
    from dataclasses import replace

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    judge = make_judge(tmp_path)
    (task,) = phantom_tasks(judge, "test", 1, 0)

    drawn, covered = load(task), load(replace(task, variant="covered"))

    assert drawn.patient == covered.patient and drawn.headers["ct"]["KVP"] == 120.0
    mask = drawn.case.rois["lesion"][0].mask
    assert abs(covered.case.volumes["ct"].array[mask].mean()) < 5
    assert task.name != replace(task, variant="covered").name
    kinds = [one.kind for one in plugin_code.variants(judge, _plan(judge))]
    assert kinds == ["cause", "nuisance", "input", "blank", "control"]


def _plan(judge):
    return plugin_code.subjects(judge, "test", 1, 0)[0]


def test_studies_of_a_folder_bring_their_regions_and_are_judged_by_their_column(site):
    data = site / "data"
    rows = []
    for number, word in enumerate(("yes", "yes", "no", "no", "no"), 1):
        name = "Lesion 2" if number % 2 else "lesion"  # a number and capitals do not matter
        add(data, f"P-{number}", seed=number, roi=name)
        rows.append(f"P-{number},test,{word},{10 + number},{number % 2}")
    table(data, "patient,split,cancer,months,death", *rows)

    done = call(site, "evaluate", "trained", "--data", data, "--report", "folder")

    assert done.exit_code == 0, done.output
    report = json.loads((site / "folder" / "report.json").read_text())
    assert report["synthetic"] is False and report["oracle_auroc"] is None
    assert report["counts"]["cases"] == 5 and report["counts"]["without_answer"] == 0
    assert report["survival"]["patients"] == 5 and report["by_fact"] == {}
    hu = [case["measured"]["mean_hu"] for case in report["cases"]]
    assert np.allclose(hu, 100, atol=5)  # the bright region, and nothing around it


def test_a_study_without_the_region_is_refused_by_its_line(site):
    data = site / "without"
    add(data, "P-1", seed=1, roi="liver")
    table(data, "patient,split,cancer", "P-1,test,yes")

    done = call(site, "evaluate", "trained", "--data", data, "--report", "none")

    assert done.exit_code == 1
    assert "0 regions for the role `lesion`" in done.output and "`liver`" in done.output
    assert "line 2" in done.output


def test_the_region_of_a_study_is_the_one_that_was_drawn(site):
    from node.toolkit.workers import Workers
    from node.training.folder import studies_of
    from node.training.store import Store

    data = site / "drawn"
    add(data, "P-1", seed=1, roi="lesion")
    table(data, "patient,split,cancer", "P-1,test,yes")
    with Workers(1) as workers:
        (task,) = studies_of(
            data,
            site / "judge",
            {"cancer": ("no", "yes")},
            workers=workers,
            store=Store(site / "cache"),
            advance=lambda _done, _total: None,
        )

    (lesion,) = load(task).case.rois["lesion"]

    expected = np.zeros(SHAPE, bool)
    expected[2:4, LOW:HIGH, LOW:HIGH] = True
    np.testing.assert_array_equal(lesion.mask, expected)
    assert lesion.role == "ct" and lesion.label == "lesion"
