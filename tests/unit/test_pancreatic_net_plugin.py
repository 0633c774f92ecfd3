"""The pancreatic plugin on a made-up tumour, with a signature of made-up numbers."""

import shutil
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from node.clinical_check import checked
from node.errors import ClinicalValueRefused, LearningError
from node.inference.child import load_module
from node.manifest_file import parse_manifest
from node.plugin import Case, Labels, Roi, Volume

pytest.importorskip("torch")
pytest.importorskip("radiomics")

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "pancreatic_net_nodal_metastasis"
#: Modules of the plugin that import each other by name; each folder needs its own.
OWN = ("prepare", "train", "plugin", "cohort")
PATHOLOGY = {"vascular_invasion": True, "perineural_invasion": False, "grade": "g2"}
#: What the made-up signature keeps.
KEPT = {
    "radiomic": ("original_shape_Sphericity", "original_glcm_Contrast"),
    "deep": ("efficientnet_lite0.output.0007",),
}


@cache
def case_of(*, side=24, ball_mm=14.0, flat=False):
    """A ball of varying HU, steps of 2, 1 and 1 mm."""
    chance = np.random.default_rng(3)
    steps = np.stack(np.meshgrid(*map(np.arange, (side, 2 * side, 2 * side)), indexing="ij"))
    away = (steps - np.reshape([side // 2, side, side], (3, 1, 1, 1))) * np.reshape(
        [2.0, 1.0, 1.0], (3, 1, 1, 1)
    )
    mask = (away**2).sum(axis=0) <= (ball_mm / 2) ** 2
    array = chance.normal(90, 8, mask.shape).astype(np.int16)
    if flat:
        array[mask] = 100
    affine = np.diag([1.0, 1.0, 2.0, 1.0])[:, [2, 1, 0, 3]]
    return Case(
        volumes={"ct": Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT")},
        rois={"tumor": (Roi(mask=mask, role="ct", label="tumor", source="tests"),)},
    )


@pytest.fixture
def module_of(tmp_path, monkeypatch):
    """Load a module of the plugin from a folder that may be written to."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    folder = tmp_path / "pancreas"
    shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("*.safetensors"))

    def forget():
        for name in OWN:
            sys.modules.pop(name, None)

    def load(file):
        forget()
        return load_module(folder, file)

    yield load
    forget()


@cache
def signature():
    """A signature of three features, learned from numbers that were drawn."""
    from node.toolkit.signature import Block, Cases, SignatureSettings, Table, fit_signature

    chance = np.random.default_rng(5)
    outcome = chance.random(60) < 0.5
    blocks = {
        block: Block(names=names, values=chance.normal(outcome[:, None], 1.0, (60, len(names))))
        for block, names in KEPT.items()
    }
    how = SignatureSettings(univariate_p=1.0, rule="min")
    return fit_signature(Cases(Table(blocks=blocks), outcome), how)


def plugin_of(module_of, *, nomogram=True):
    """The plugin, ready to run."""
    from node.toolkit.logistic import Logistic
    from node.toolkit.signature import settings_array
    from node.toolkit.training import write_weights

    module = module_of("plugin.py")
    model = Logistic(
        weights=np.array([1.0, 2.0, 1.5, 1.0, 2.0]), intercept=-2.0, covariance=0.04 * np.eye(6)
    )
    arrays = signature().arrays("rdp.") | settings_array(module.LEARNED_WITH)
    if nomogram:
        arrays |= module.nomogram_arrays(model)
    write_weights(module.FOLDER / "weights.safetensors", arrays)
    plugin = module.Plugin()
    plugin.load("cpu")
    return plugin


def by_name(result):
    return {one.name: one for one in result.measurements}


def test_a_tumor_gets_probability_threshold_class_and_kept_features(module_of):
    result = plugin_of(module_of).run(case_of())
    found = by_name(result)
    kept = {"original_shape_sphericity", "original_glcm_contrast", "deep_7"}
    asked = {"p_rdp", "score", "threshold", "diameter"}
    assert set(found) <= kept | asked and set(found) & kept and asked <= set(found)
    low, high = found["p_rdp"].interval
    assert 0 <= low <= found["p_rdp"].value <= high <= 100
    assert found["diameter"].value == pytest.approx(14, abs=1.5)
    declared = parse_manifest(PLUGIN).measurements
    assert set(found) <= set(declared)
    (quality,) = result.qualities
    over = found["p_rdp"].value >= found["threshold"].value
    assert quality.choice == ("present" if over else "absent")
    if "original_shape_sphericity" in found:
        assert 0.7 < found["original_shape_sphericity"].value <= 1.0
        assert declared["original_shape_sphericity"].code.scheme == "IBSI"


def test_a_site_s_backbone_lies_beside_the_manifest(module_of, monkeypatch, tmp_path):
    path = tmp_path / "pancreas" / "plugin.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('backbone_file = ""', 'backbone_file = "net.pth"'))
    module, asked = module_of("prepare.py"), {}
    monkeypatch.setattr(module, "backbone", lambda name, **more: asked.update(more, name=name))
    module.network()
    assert asked["weights"] == path.with_name("net.pth")


def test_a_deep_feature_is_not_named_after_a_backbone_that_may_be_another(module_of):
    result = plugin_of(module_of).run(case_of())
    assert parse_manifest(PLUGIN).measurements["deep_7"].code.meaning == "Deep feature, output 7"
    assert result.notes[0].endswith(" Deep features are outputs of efficientnet_lite0.")


def test_pathology_makes_the_nomogram_and_the_report_says_so(module_of):
    plugin = plugin_of(module_of)
    without = plugin.run(case_of())
    some = plugin.run(replace(case_of(), values={**PATHOLOGY, "grade": "g1"}))
    worse = plugin.run(replace(case_of(), values={**PATHOLOGY, "grade": "g3"}))
    assert "p_nomogram" not in by_name(without)
    assert any("does not say vascular invasion, perineural" in note for note in without.notes)
    assert by_name(worse)["p_nomogram"].value > by_name(some)["p_nomogram"].value
    low, high = by_name(some)["p_nomogram"].interval
    assert low < by_name(some)["p_nomogram"].value < high
    assert any("rests on pathology" in note for note in some.notes)
    assert not any("was used" in note for note in (*some.notes, *without.notes))
    assert by_name(some)["p_rdp"].value == by_name(without)["p_rdp"].value


def test_part_of_the_pathology_is_no_pathology(module_of):
    values = {name: PATHOLOGY[name] for name in ("vascular_invasion", "grade")}
    result = plugin_of(module_of).run(replace(case_of(), values=values))
    assert "p_nomogram" not in by_name(result)
    assert "No nomogram: pathology does not say perineural invasion." in result.notes
    assert result.notes[-1] == "No clinical value was used."


def test_weights_without_a_nomogram_say_so(module_of):
    result = plugin_of(module_of, nomogram=False).run(replace(case_of(), values=PATHOLOGY))
    assert "p_nomogram" not in by_name(result)
    assert "No nomogram: it was trained without pathology." in result.notes


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (case_of(ball_mm=3.0), "at least 64 are needed"),
        (case_of(flat=True), "have the value 100"),
    ],
)
def test_what_nothing_can_be_measured_of_is_refused(module_of, case, words):
    result = plugin_of(module_of).run(case)
    assert words in result.refusal
    assert not result.measurements and not result.segments


@pytest.mark.parametrize(
    ("name", "given", "unit", "words"),
    [
        ("grade", "g4", "", "one of g1, g2, g3"),
        ("grade", 2, "", "no such choice"),
        ("vascular_invasion", True, "mm", "it takes no unit"),
        ("perineural_invasion", "maybe", "", "neither yes nor no"),
    ],
)
def test_pathology_out_of_range_or_with_a_unit_is_refused(name, given, unit, words):
    spec = parse_manifest(PLUGIN).clinical[name]
    with pytest.raises(ClinicalValueRefused, match=words):
        checked(spec, given, unit)


def test_an_example_has_both_blocks_and_the_pathology(module_of):
    train = module_of("train.py")
    values = {**PATHOLOGY}
    case = replace(case_of(), values=values)
    found = train.examples(case, Labels(values={"nodal_metastasis": "yes"}))
    assert found["radiomic"].shape == (1130,) and found["deep"].shape == (1000,)
    assert found["radiomic_again"].shape == (1130,)
    assert found["pathology"].tolist() == [1.0, 0.0, 1.0]
    assert bool(found["outcome"])


def test_what_a_second_reader_outlined_goes_before_a_simulated_reading(module_of):
    train, case = module_of("train.py"), case_of()
    ((name, (roi,)),) = case.rois.items()
    second = {name: (replace(roi, mask=np.roll(roi.mask, 1, axis=2)),)}
    values = {"nodal_metastasis": "no"}

    made = train.examples(case, Labels(values=values, second_rois=second))

    expected = train.examples(replace(case, rois=second), Labels(values=values))
    np.testing.assert_array_equal(made["radiomic_again"], expected["radiomic"])
    assert not np.array_equal(made["radiomic_again"], made["radiomic"])


def test_the_nomogram_learns_from_those_with_pathology_only(module_of):
    train = module_of("train.py")
    chance = np.random.default_rng(2)
    outcome = chance.random(200) < 0.5
    invaded = np.where(chance.random(200) < 0.8, outcome, ~outcome).astype(float)
    rows = np.stack([invaded, chance.integers(0, 2, 200), chance.integers(0, 3, 200)], axis=1)
    rows[::5] = np.nan
    cases = [{"pathology": row} for row in rows.astype(float)]
    probability = np.clip(0.5 + 0.2 * (outcome - 0.5) + chance.normal(0, 0.1, 200), 0.01, 0.99)
    found = train.nomogram(cases, probability, outcome)
    assert found["nomogram.weights"].shape == (6,)
    assert found["nomogram.weights"][1] > 1.0
    assert train.nomogram(cases[:20], probability[:20], outcome[:20]) == {}


def test_what_fit_returns_is_what_the_plugin_loads(module_of, tmp_path):
    from node.toolkit.training import Examples, TrainingRun, write_weights

    train = module_of("train.py")
    train.HOW = replace(train.HOW, lasso_folds=2, inner_folds=2, outer_folds=2)
    chance = np.random.default_rng(4)
    cases = []
    for number in range(90):
        there = number % 2 == 0
        found = {"radiomic": chance.normal(0, 1, 1130), "deep": chance.normal(0, 1, 1000)}
        found["radiomic"][:5] += 1.5 * there
        again = {f"{b}_again": v + chance.normal(0, 0.2, v.size) for b, v in found.items()}
        again["radiomic_again"][4] = chance.normal(0, 5)  # two readings do not agree on it
        if number % 4:
            again = {block: np.full_like(values, np.nan) for block, values in again.items()}
        pathology = np.array([float(there), 0.0, float(number % 3)])
        whose = np.array(f"line {number}")
        said = {"pathology": pathology, "outcome": np.array(there), "patient": whose}
        said |= {"institution": np.array("")}
        cases.append({**found, **again, **said})
    run = TrainingRun(device="cpu", folder=tmp_path)
    made = train.fit(Examples(train=cases[:80], tuning=cases[80:]), seed=0, run=run)
    assert [0.3 < one < 0.7 for one in mixed(train, cases, run)] == [True, True]
    assert 0.0 < made["parameters"]["threshold"] < 1.0
    assert made["parameters"]["classifier"] == "gbdt"
    module = module_of("plugin.py")
    write_weights(module.FOLDER / "weights.safetensors", made["weights.safetensors"])
    plugin = module.Plugin()
    plugin.load("cpu")
    planted = set(train.names_of("radiomic")[:4])
    assert planted & {one.name for one in plugin.signature.kept}
    assert train.names_of("radiomic")[4] not in {one.name for one in plugin.signature.kept}
    assert plugin.nomogram.weights[1] > 1.0
    # Studies of one patient stay together: eighty of two patients are too few for any fold.
    few = [{**one, "patient": np.array(str(n % 2))} for n, one in enumerate(cases)]
    with pytest.raises(LearningError, match="1 patients with the outcome and 1 without"):
        train.fit(Examples(train=few, tuning=()), seed=0, run=run)


def test_workers_are_handed_on(module_of, monkeypatch, tmp_path):
    from types import SimpleNamespace

    from node.toolkit.training import Examples, TrainingRun

    train, seen = module_of("train.py"), []

    def stub(*_args, workers=1, **_more):
        seen.append(workers)
        auroc = SimpleNamespace(estimate=0.5)
        return SimpleNamespace(
            threshold=0.5, arrays=lambda _prefix: {}, auroc=auroc, probability=None, outcome=None
        )

    for name in ("fit_signature", "nested_auroc", "compare_classifiers"):
        monkeypatch.setattr(train, name, stub)
    monkeypatch.setattr(train, "known_of", len)
    monkeypatch.setattr(train, "nomogram", lambda *_: {})
    cases = [{"outcome": np.array(True), "patient": np.array("line 1")}]
    run = TrainingRun(device="cpu", folder=tmp_path, workers=3)
    for ask in (train.fit, train.compare):
        ask(Examples(train=cases, tuning=()), seed=0, run=run)
    assert seen == [3, 3, 3]


def mixed(train, cases, run):
    """Return the AUROCs of two runs with mixed outcomes."""
    from node.toolkit.training import Examples

    return train.permuted(Examples(train=cases, tuning=()), seed=0, run=run, runs=2)


def test_kept_features_are_counted_by_the_causes_they_show(module_of):
    train = module_of("train.py")
    found = train.causes_kept("radiomic", ["original_shape_Sphericity", "original_glcm_Idm"])
    assert (found.families_kept, found.families) == (2, 4)
    assert found.enrichment == float("inf")
    assert train.causes_kept("deep", ["efficientnet_lite0.output.0001"]) is None


def test_features_are_those_that_the_manifest_says():
    table = tomllib.loads((PLUGIN / "plugin.toml").read_text(encoding="utf-8"))
    assert table["evaluation"]["also"] == ["p_nomogram"]
    manifest = parse_manifest(PLUGIN)
    names = [name for name in manifest.measurements if name.count("_") >= 2]
    assert len([n for n in names if n.startswith(("original_", "wavelet-", "log-"))]) == 1130
