"""A sixth plugin, made from the docs alone and living anywhere: it trains, evaluates, runs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from node.cli import app
from node.inference.child import load_module
from node.manifest_file import parse_manifest
from node.training.evaluate import read_provenance
from tests.learners import write_page_plugin
from tests.make import ct_series, write_series

#: Notes the split of each phantom that is drawn.
COUNTING = """

_render = render


def render(plan):
    with open({path!r}, "a") as file:
        file.write(f"{{plan[0]}}\\n")
    return _render(plan)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder outside the checkout with the plugin of docs/write-a-plugin.md, trained."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write_page_plugin(folder)
    done = call("train", folder / "bright_ball", "--phantom", 16, "--out", folder / "trained")
    assert done.exit_code == 0, done.output
    return folder


def call(*arguments: object):
    words = [str(a) for a in arguments]
    if words[0] != "run":
        folder = next(Path(w) for w in words if "elsewhere" in w)
        top = next(p for p in (folder, *folder.parents) if p.name.startswith("elsewhere"))
        words += ["--cache", str(top / "cache")]
    environment = {"COLUMNS": "250", "OMP_NUM_THREADS": "1"}
    return CliRunner().invoke(app, [*words, "--device", "cpu"], env=environment)


def test_it_trains_and_evaluates_better_than_its_simple_rule(site):
    done = call("evaluate", site / "trained", "--phantom", 8, "--report", site / "report")

    assert done.exit_code == 0, done.output
    report = json.loads((site / "report" / "report.json").read_text())
    assert report["dice"] > report["baseline_dice"] + 0.2
    assert report["collapsed"] is False
    assert report["machine"]["threads"] == "1"  # as OMP_NUM_THREADS says
    assert report["fp_per_tumor_free_scan"] is not None
    assert (site / "report" / "report.html").is_file()
    assert list((site / "report").glob("*.png"))


def test_it_runs_on_a_dicom_study_of_a_phantom(site, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    cohort = load_module(site / "bright_ball", "cohort.py")
    subject = next(
        found
        for plan in cohort.subjects("test", 9, seed=77)
        if (found := cohort.render(plan)).labels.masks["ball"].any()
    )
    volume = subject.case.volumes["ct"]
    write_series(
        site / "study",
        ct_series(values=volume.array, shape=volume.array.shape, spacing=(3, 1.5, 1.5)),
    )

    done = call(
        *("run", site / "study", "--plugin", "bright_ball", "--plugins", site / "trained"),
        *("--out", site / "out"),
    )

    assert done.exit_code == 0, done.output
    truth = subject.labels.masks["ball"]
    seg = pydicom.dcmread(site / "out" / "seg.dcm")
    count = int(np.count_nonzero(seg.pixel_array))
    assert count == pytest.approx(np.count_nonzero(truth), rel=0.1)
    sentence = "trained on 16 synthetic phantoms (seed 0), no clinical validity"
    assert parse_manifest(site / "trained").training == sentence


def test_what_it_learned_from_is_not_taken_for_a_test(site):
    learned = read_provenance(site / "trained")
    assert len(str(learned["cases"]).split()) == 16 + 4

    cheat = site / "cheat"
    shutil.copytree(site / "trained", cheat)
    text = (cheat / "cohort.py").read_text()
    # a cohort that draws the training's subjects whatever it is asked for
    (cheat / "cohort.py").write_text(
        text.replace("(split, seed, index) for", "(split, 0, index) for")
    )
    done = call("evaluate", cheat, "--phantom", 4, "--report", site / "cheated")

    assert done.exit_code == 1
    assert "4 of 4 test cases were learned from (training.json);" in done.output
    assert not (site / "cheated").exists()


def test_a_report_is_never_written_over_by_accident(site):
    done = call("evaluate", site / "trained", "--phantom", 4, "--report", site / "bright_ball")

    assert done.exit_code == 1 and "is there already and not empty" in done.output


def test_a_study_of_seeds_gives_mean_and_range_and_takes_what_is_done_already(site):
    first = site / "study-of-seeds" / "seed-0"
    shutil.copytree(site / "trained", first / "bright_ball")
    (first / "report").mkdir()
    (first / "report" / "report.json").write_text(
        '{"dice": 0.25, "collapsed": false, "data": {"seed": 7}}'
    )
    other = call(*("study", site / "bright_ball", "--seeds", 2, "--report", first.parent))
    assert other.exit_code == 1
    assert "is of the test phantoms of seed 7, not of --test-seed 0; remove it" in other.output

    done = call(
        *("study", site / "bright_ball", "--seeds", 2, "--phantom-train", 6),
        *("--phantom-test", 4, "--test-seed", 7, "--report", site / "study-of-seeds"),
    )

    assert done.exit_code == 0, done.output
    assert "dice: mean" in done.output and "seed 0" not in done.output
    table = json.loads((site / "study-of-seeds" / "study.json").read_text())
    assert table["test_seed"] == 7
    report = json.loads((first.parent / "seed-1" / "report" / "report.json").read_text())
    assert report["data"]["seed"] == 7
    dice = table["summary"]["dice"]
    assert dice["min"] == 0.25 < dice["mean"] < dice["max"] <= 1.0
    assert list(table["summary"]) == ["dice"]  # what only one seed has is no summary


def test_seeds_that_are_shown_the_same_cases_together_get_the_reports_they_get_alone(site):
    together, counted, drawn = site / "together", site / "counted", site / "drawn.txt"
    shutil.copytree(site / "bright_ball", counted / "bright_ball")
    with (counted / "bright_ball" / "cohort.py").open("a") as file:
        file.write(COUNTING.format(path=str(drawn)))
    done = call(
        *("study", counted / "bright_ball", "--seeds", 2, "--phantom-train", 6),
        *("--phantom-test", 4, "--report", together),
    )
    assert done.exit_code == 0, done.output
    assert drawn.read_text().splitlines().count("test") == 4  # not 8

    reports = []
    for seed in (0, 1):
        folder = together / f"seed-{seed}"
        alone = site / f"alone-{seed}"
        done = call("evaluate", folder / "bright_ball", "--phantom", 4, "--report", alone)
        assert done.exit_code == 0, done.output
        for report in (folder / "report", alone):
            document = json.loads((report / "report.json").read_text())
            reports.append({k: v for k, v in document.items() if k != "date"})
    first, first_alone, second, second_alone = reports
    assert first == first_alone
    assert second == second_alone
    assert first != second
