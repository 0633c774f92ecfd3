"""A plugin with a signature: one of its models trained, all compared, what was kept reported."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.integration.test_classifier import call
from tests.judges import make_judge

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

_FEATURES = """
import numpy as np

NAMES = ("mean", "spread", "least", "greatest", "rows", "columns")

def features_of(case):
    (lesion,) = case.rois["lesion"]
    inside = case.volumes["ct"].array[lesion.mask]
    places = np.argwhere(lesion.mask)
    return np.array([inside.mean(), inside.std(), inside.min(), inside.max(), *places.mean(0)[1:]])
"""

_TRAIN = """
import numpy as np
from judge_features import NAMES, features_of
from node.toolkit.signature import (
    Cases,
    SignatureSettings, compare_classifiers, enrichment, fit_signature, permutation_aurocs, table_of
)

LABELS = {"cancer": ["no", "yes"]}
MODELS = ("logistic", "random_forest")
SETTINGS = {"inner_folds": 2, "outer_folds": 2, "lasso_folds": 2}

def examples(case, labels):
    return {"all": features_of(case), "y": np.array([labels.values["cancer"] == "yes"])}

def cases_of(examples):
    cases = list(examples)
    return Cases(table_of(cases, {"all": NAMES}), [bool(one["y"][0]) for one in cases])

def fit(examples, *, seed, run):
    settings = SignatureSettings(classifier=run.model, seed=seed, **SETTINGS)
    made = fit_signature(cases_of(examples.train), settings)
    run.progress(1, 1)
    return {
        "weights.safetensors": made.arrays(),
        "parameters": {"threshold": made.threshold, "model": run.model},
    }

def compare(examples, *, seed, run):
    return compare_classifiers(
        cases_of(examples.train),
        SignatureSettings(seed=seed, **SETTINGS),
        classifiers=MODELS,
        held_out=cases_of(examples.tuning),
        advance=run.progress,
    )

def permuted(examples, *, seed, run, runs):
    settings = SignatureSettings(classifier=run.model, seed=seed, **SETTINGS)
    return permutation_aurocs(
        cases_of(examples.train), settings, runs=runs, workers=run.workers, advance=run.progress
    )

def causes_kept(block, kept):
    density = {name: "density" for name in ("mean", "least", "greatest")}
    return enrichment(kept, dict.fromkeys(NAMES, "") | density, ["density"])
"""

_PLUGIN = """
from pathlib import Path
from judge_features import NAMES, features_of
from node.plugin import Measurement, Result
from node.toolkit.signature import Signature, table_of
from node.toolkit.training import read_weights

class Plugin:
    def load(self, device):
        path = Path(__file__).with_name("weights.safetensors")
        self.signature = Signature.from_arrays(read_weights(path))

    def run(self, case):
        table = table_of([{"all": features_of(case)}], {"all": NAMES})
        p = self.signature.intervals(table)[0].estimate
        return Result(measurements=(Measurement(name="malignant", value=100 * p),))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("signature")
    judge = make_judge(folder)
    for name, text in (
        ("judge_features.py", _FEATURES),
        ("train.py", _TRAIN),
        ("plugin.py", _PLUGIN),
    ):
        (judge / name).write_text(text)
    manifest = judge / "plugin.toml"
    text = manifest.read_text().replace('factors = ["mean_hu"]\n', "")
    manifest.write_text(text.replace("threshold = 0.5\n", 'threshold = 0.5\nmodel = "none"\n'))
    return folder


def test_a_model_is_trained_by_its_name_and_says_what_it_kept(site):
    done = call(
        site, "train", "judge", "--phantom", 40, "--out", "forest", "--model", "random_forest"
    )

    assert done.exit_code == 0, done.output
    parameters = tomllib.loads((site / "forest" / "plugin.toml").read_text())["parameters"]
    assert parameters["model"] == "random_forest" and parameters["threshold"] != 0.5
    provenance = json.loads((site / "forest" / "training.json").read_text())
    assert provenance["model"] == "random_forest" and provenance["parameters"] == parameters
    assert "sklearn" in provenance["versions"]
    judged = call(site, "evaluate", site / "forest", "--phantom", 24, "--report", "report")
    assert judged.exit_code == 0, judged.output
    report = json.loads((site / "report" / "report.json").read_text())
    assert report["auroc"] > 0.7
    assert report["evaluation"]["threshold"] == parameters["threshold"]
    (signature,) = report["signatures"]
    assert signature["classifier"] == "random_forest" and signature["holds_patients"] is False
    assert {kept["name"] for kept in signature["kept"]} & {"mean", "least", "greatest"}
    planted = signature["planted"]["all"]
    assert (planted["families_kept"], planted["families"], planted["share"]) == (1, 1, 1.0)
    assert report["planted_share"] == 1.0
    assert report["planted_enrichment"] == planted["enrichment"]
    page = (site / "report" / "report.html").read_text()
    assert "<h2>Signature</h2>" in page and "coefficient" in page
    assert "planted causes" in page


def test_every_model_is_compared_by_one_command(site):
    done = call(site, "compare", "judge", "--phantom", 40, "--report", "table")

    assert done.exit_code == 0, done.output
    assert "2 models; the table is" in done.output
    document = json.loads((site / "table" / "compare.json").read_text())
    rows = document["rows"]
    assert [row["classifier"] for row in rows] == ["logistic", "random_forest"]
    assert all(row["cross_validated"]["auroc"] > 0.7 for row in rows)
    assert rows[0]["held_out"]["cases"] == 5 == document["tuning"]
    page = (site / "table" / "compare.html").read_text()
    assert "Synthetic phantoms" in page and "random_forest" in page and "coefficient" in page


def test_with_mixed_labels_nothing_is_learned(site):
    asked = ("--phantom", 40, "--runs", 4, "--model", "random_forest")
    done = call(site, "permute", "judge", *asked, "--report", "chance")

    assert done.exit_code == 0, done.output
    assert "mean AUROC 0." in done.output and "permutation.html" in done.output
    document = json.loads((site / "chance" / "permutation.json").read_text())
    found = document["aurocs"]
    assert len(found) == 4 and document["runs"] == 4 and document["model"] == "random_forest"
    assert document["mean"] == pytest.approx(sum(found) / 4) and 0.2 < document["mean"] < 0.8
    assert (document["least"], document["greatest"]) == (min(found), max(found))
    assert document["goal"]["goal"] == ">= 0.47 and <= 0.53"
    assert document["goal"]["met"] is (0.47 <= document["mean"] <= 0.53)
    page = (site / "chance" / "permutation.html").read_text()
    assert "Synthetic phantoms" in page and "random_forest" in page


def test_mixed_labels_that_cannot_be_are_one_sentence(site, tmp_path):
    make_judge(tmp_path)
    done = call(tmp_path, "permute", "judge", "--phantom", 8, "--report", "x")
    assert done.exit_code == 1 and "no function `permuted`" in done.output
    done = call(site, "permute", "judge", "--phantom", 8, "--runs", 0, "--report", "x")
    assert done.exit_code == 1 and "--runs 0 is none; give at least 1" in done.output


def test_a_model_that_is_not_there_is_said_with_those_that_are(site):
    done = call(site, "train", "judge", "--phantom", 8, "--out", "x", "--model", "forest")
    assert done.exit_code == 1
    assert "--model forest is no model of the plugin; it has logistic, random_forest" in done.output


def test_a_plugin_that_cannot_compare_says_so(tmp_path):
    make_judge(tmp_path)
    done = call(tmp_path, "compare", "judge", "--phantom", 8, "--report", "x")
    assert done.exit_code == 1 and "no function `compare`" in done.output
    done = call(tmp_path, "train", "judge", "--phantom", 8, "--out", "x", "--model", "any")
    assert done.exit_code == 1 and "it has no MODELS in train.py" in done.output
