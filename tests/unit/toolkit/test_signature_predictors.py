"""What ships says what the library said: every classifier from plain arrays, on random data."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from node.toolkit.logistic import sigmoid
from node.toolkit.signature.learners import GRIDS, arrays_of, fitted
from node.toolkit.signature.predictors import score
from node.toolkit.signature.signature import Signature, prefixes_of
from node.toolkit.signature.table import CLASSIFIERS
from node.toolkit.signature.trees import Trees
from node.toolkit.training import read_weights, write_weights
from tests.unit.toolkit.signature_cases import cases

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

#: How far from the library: trees and neighbours not at all.
APART = {
    **dict.fromkeys(("random_forest", "extra_trees", "knn"), 0.0),
    **dict.fromkeys(("logistic", "linear_svm", "rbf_svm", "gbdt", "lightgbm", "mlp"), 1e-9),
    "xgboost": 1e-6,
}


def drawn(seed):
    """Return cases to learn from, their outcomes, and others, of a size that the seed draws."""
    chance = np.random.default_rng(seed)
    count, features = int(chance.integers(40, 90)), int(chance.integers(1, 8))
    values = chance.normal(0, 1, (count, features))
    if seed % 3 == 0:
        values = np.round(values, 1)  # ties
    outcome = values[:, 0] + chance.normal(0, 1, count) > 0
    return values, outcome, chance.normal(0, 1.5, (200, features))


def said_by_the_library(classifier, model, values):
    if classifier in ("linear_svm", "rbf_svm"):
        return sigmoid(model.decision_function(values))
    return model.predict_proba(values)[:, 1]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_plain_arrays_say_what_the_library_says(classifier):
    if classifier in ("xgboost", "lightgbm"):
        pytest.importorskip(classifier)
    for seed in range(4):
        values, outcome, others = drawn(seed)
        if classifier == "knn":  # of equally near rows the library takes any, ours the first
            values = values + np.random.default_rng(seed).normal(0, 1e-6, values.shape)
        for given in GRIDS[classifier]:
            model = fitted(classifier, values, outcome, given, seed=seed, notes=[])
            arrays = arrays_of(classifier, model)
            for rows in (others, others[:1], values):
                apart = score(classifier, arrays, rows) - said_by_the_library(
                    classifier, model, rows
                )
                assert np.abs(apart).max() <= APART[classifier], (seed, given)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_same_seed_learns_the_same_arrays(classifier):
    if classifier in ("xgboost", "lightgbm"):
        pytest.importorskip(classifier)
    values, outcome, _ = drawn(1)
    first, again = (
        arrays_of(
            classifier, fitted(classifier, values, outcome, GRIDS[classifier][0], seed=3, notes=[])
        )
        for _ in range(2)
    )
    assert all(np.array_equal(array, again[name]) for name, array in first.items())


def test_a_value_on_a_threshold_goes_left():
    tree = Trees(
        feature=np.array([0, -1, -1], np.int32),
        threshold=np.array([0.5, 0.0, 0.0]),
        left=np.array([1, 1, 2], np.int32),
        right=np.array([2, 1, 2], np.int32),
        value=np.array([0.0, 0.25, 0.75]),
        roots=np.array([0], np.int32),
    )
    assert tree.said(np.array([[0.4], [0.5], [0.6]]))[:, 0].tolist() == [0.25, 0.25, 0.75]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_weights_file_keeps_every_bit(classifier, tmp_path):
    if classifier in ("xgboost", "lightgbm"):
        pytest.importorskip(classifier)
    from node.toolkit.signature import Cases, SignatureSettings, fit_signature

    table, outcome = cases(60, null=5)
    settings = SignatureSettings(classifier=classifier, inner_folds=2, lasso_folds=3)
    made = fit_signature(Cases(table, outcome), settings)

    write_weights(tmp_path / "weights.safetensors", made.arrays("t2."))
    read = read_weights(tmp_path / "weights.safetensors")
    again = Signature.from_arrays(read, "t2.")

    assert prefixes_of(read) == ("t2.",)
    assert np.array_equal(made.probability(table), again.probability(table))
    assert (again.kept, again.threshold, again.notes) == (made.kept, made.threshold, made.notes)
    assert again.holds_patients == (classifier in ("knn", "rbf_svm"))
    assert again.counts["radiomic"]["offered"] == 8


def test_a_shipped_signature_needs_numpy_only(tmp_path):
    import subprocess

    from node.toolkit.signature import Cases, SignatureSettings, fit_signature

    table, outcome = cases(60, null=5)
    settings = SignatureSettings(classifier="random_forest", inner_folds=2, lasso_folds=3)
    made = fit_signature(Cases(table, outcome), settings)
    np.savez(tmp_path / "arrays.npz", allow_pickle=False, **made.arrays())
    np.save(tmp_path / "values.npy", table.blocks["radiomic"].values)
    program = f"""
import sys
import numpy as np
from node.toolkit.signature import Block, Signature, Table
with np.load({str(tmp_path / "arrays.npz")!r}) as file:
    made = Signature.from_arrays(file)
values = np.load({str(tmp_path / "values.npy")!r})
names = {table.blocks["radiomic"].names!r}
table = Table(blocks={{"radiomic": Block(names=names, values=values)}})
print(made.intervals(table)[0].estimate)
heavy = {{"sklearn", "scipy", "joblib", "torch", "pandas"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == made.probability(table)[0]
