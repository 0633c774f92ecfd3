"""What a plugin's own code gets wrong becomes a sentence with its place."""

import sys
from pathlib import Path

import numpy as np
import pytest

from node.errors import LearningError
from node.inference.registry import builtin_plugin_folder
from node.manifest_file import parse_manifest
from node.toolkit.training import Examples, TrainingRun
from node.toolkit.workers import Workers
from node.training import plugin_code
from node.training.planted import with_causes
from node.training.plugin_code import TRAIN, Abilities, abilities
from tests.learners import FIT, make_learner


@pytest.fixture
def learner(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))

    def make(**how) -> Path:
        return make_learner(tmp_path, **how)

    return make


def fit(folder: Path, *, seed: int = 0):
    one = {"inside": np.array([100.0]), "outside": np.array([0.0])}
    run = TrainingRun(device="cpu", folder=folder)
    return plugin_code.fit(folder, Examples(train=[one], tuning=[one]), seed=seed, run=run)


def test_what_a_plugin_offers_is_listed(learner):
    folder = learner(labels='LABELS = {"mm": float, "mvi": ["yes", "no"], "note": str}')

    found = plugin_code.abilities(folder)

    assert found.train == {"examples", "fit"} and found.has_cohort
    assert found.labels == {"mm": "number", "mvi": ("yes", "no"), "note": "text"}


def test_a_bad_list_of_labels_is_said(learner):
    with pytest.raises(LearningError, match=r"LABELS in train\.py of learner: mm = 3 is not"):
        plugin_code.abilities(learner(labels='LABELS = {"mm": 3}'))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def permuted(*_, **__): return [0.5]", "returned 1 numbers, not 2 AUROCs from 0 to 1"),
        ("def permuted(*_, **__): return [0.5, 1.5]", "returned 2 numbers, not 2 AUROCs"),
        ("def permuted(*_, **__): return 1 / 0", "`permuted` in train.py of learner failed: Zero"),
    ],
)
def test_what_mixed_outcomes_cannot_give_is_said(learner, code, sentence):
    folder = learner()
    with (folder / "train.py").open("a") as file:
        file.write(f"\n{code}\n")
    run = TrainingRun(device="cpu", folder=folder)

    with pytest.raises(LearningError, match=sentence):
        plugin_code.permuted(folder, Examples(train=[], tuning=[]), seed=0, run=run, runs=2)


def test_what_is_no_enrichment_is_said(learner):
    folder = learner()
    with (folder / "train.py").open("a") as file:
        file.write("\ndef causes_kept(block, kept): return 3 if kept else None\n")

    assert plugin_code.causes_kept(folder, {"deep": []}) == {}
    with pytest.raises(LearningError, match="returned int, not an Enrichment"):
        plugin_code.causes_kept(folder, {"radiomic": ["a"]})


def test_only_of_phantoms_it_is_known_what_was_planted(learner):
    folder = learner()
    able = Abilities(train=frozenset({"causes_kept"}), has_cohort=True, labels={})
    signatures = [{"name": "one", "counts": {}, "kept": []}]

    found = with_causes(signatures, parse_manifest(folder), able, {"data": "folder"}, Workers(1))

    assert found == tuple(signatures)


def test_a_cohort_without_a_function_is_said(learner):
    folder = learner()
    (folder / "cohort.py").write_text("def render(plan): ...\n")

    with pytest.raises(LearningError, match=r"cohort\.py of learner has no function `subjects`"):
        plugin_code.abilities(folder)


def test_weights_come_back_and_depend_on_the_seed(learner):
    folder = learner()

    learned = [fit(folder, seed=n) for n in (0, 1)]
    one, other = (each.weights["weights.safetensors"]["threshold"] for each in learned)

    assert one == pytest.approx(50, abs=0.1) and one != other


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no /tmp/x/data')", r"failed: ValueError: no data \(train\.py:16\)"),
        ("raise SystemExit(3)", r"failed: SystemExit: 3 \(train\.py:16\)"),
        ("return None", "`fit` of learner returned nothing"),
        ("return {}", "returned dict; it must return weights by file name"),
        ("return {'../x.safetensors': {}}", "names a weights file"),
        ("return {'x.pkl': {}}", "names a weights file 'x.pkl'"),
        ("return {'x.safetensors': 3}", "returned int, not arrays by name"),
        ("return {'x.safetensors': {'a': object()}}", "a is no array"),
        ("return {'parameters': {'cut': 0.5}}", "cut, which .parameters. of plugin.toml lacks"),
        ("return {'parameters': 0.5}", "returned float as parameters"),
        ("return {'parameters': {'cut': float('nan')}}", "cut = nan; a parameter is a number"),
    ],
)
def test_a_wrong_fit_is_said(learner, body, said):
    with pytest.raises(LearningError, match=said):
        fit(learner(fit=body))


def test_a_cohort_of_another_size_is_said(learner):
    folder = learner()
    text = (folder / "cohort.py").read_text()
    (folder / "cohort.py").write_text(text.replace("range(count)", "range(3)"))

    with pytest.raises(LearningError, match="drew 3 subjects of split train, 5 were asked for"):
        plugin_code.subjects(folder, "train", 5, 0)


def test_a_render_that_gives_no_subject_is_said(learner):
    folder = learner(fit=FIT)
    (folder / "cohort.py").write_text("def subjects(*_, **__): ...\ndef render(plan): ...\n")

    with pytest.raises(LearningError, match="`render` of learner returned nothing"):
        plugin_code.render(folder, None)


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in builtin_plugin_folder().glob(f"*/{TRAIN}")),
    ids=lambda folder: folder.name,
)
def test_each_plugin_of_ours_can_be_learned_anew_and_examined(folder):
    """A name of a plugin's own that means something to `train` would refuse all of them."""
    with Workers(1) as workers:
        able = workers.one(abilities, folder)

    assert {"examples", "fit", "score"} <= able.train and able.has_cohort
    assert able.has_variants == bool(parse_manifest(folder).evaluation)
    # Several networks or several classifiers: no plugin has both.
    assert not (able.parts and able.models)
