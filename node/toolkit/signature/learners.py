"""Classifiers learned with scikit-learn, XGBoost or LightGBM, written down as plain arrays.

The libraries are imported only here and only when something is learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.toolkit.signature.selection import settling
from node.toolkit.signature.table import Array
from node.toolkit.signature.trees import of_lightgbm, of_sklearn, of_xgboost

#: Settings that the inner folds choose from. Ours: neither paper states any.
GRIDS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "logistic": ({"C": 1.0}, {"C": 0.1}, {"C": 0.01}),
    "linear_svm": ({"C": 0.1}, {"C": 0.01}, {"C": 1.0}),
    "rbf_svm": ({"C": 1.0}, {"C": 0.2}, {"C": 5.0}),
    "knn": ({"n_neighbors": 15}, {"n_neighbors": 7}, {"n_neighbors": 31}),
    # Leaves of many cases, or what a forest says moves more with the scanner; many features at
    # each split, or the one that alone shows a cause is seldom seen (docs/performance.md).
    "random_forest": ({"min_samples_leaf": 0.05, "max_features": 0.7},),
    "extra_trees": ({"min_samples_leaf": 3}, {"min_samples_leaf": 10}),
    "gbdt": ({"n_estimators": 100}, {"n_estimators": 40}),
    "xgboost": ({"n_estimators": 100}, {"n_estimators": 40}),
    "lightgbm": ({"n_estimators": 100}, {"n_estimators": 40}),
    "mlp": ({"alpha": 1.0}, {"alpha": 0.1}, {"alpha": 10.0}),
}
_TREES, _DEPTH, _RATE = 200, 2, 0.05
_PACKAGES = {"xgboost": "xgboost-cpu", "lightgbm": "lightgbm"}

Arrays = dict[str, NDArray[Any]]


def learn(
    classifier: str,
    scaled: Array,
    outcome: NDArray[np.bool_],
    given: Mapping[str, Any],
    *,
    seed: int,
    notes: list[str],
) -> Arrays:
    """Return the arrays that `predictors.score` takes.

    Parameters
    ----------
    classifier : one of `CLASSIFIERS`
    scaled : float64, shape (cases, features)
        Of mean 0 and deviation 1.
    outcome : bool, shape (cases,)
    given : mapping
        One of `GRIDS`.
    seed : int
        Same seed, same arrays.
    notes : list
        Gets a sentence where something did not settle.

    Raises
    ------
    LearningError
        If the library is not installed.
    """
    model = fitted(classifier, scaled, outcome, given, seed=seed, notes=notes)
    return arrays_of(classifier, model)


def fitted(
    classifier: str,
    scaled: Array,
    outcome: NDArray[np.bool_],
    given: Mapping[str, Any],
    *,
    seed: int,
    notes: list[str],
) -> Any:
    """Return the library's own model."""
    if classifier in _PACKAGES and find_spec(classifier) is None:
        raise LearningError(
            f'{classifier} is not installed; install it with: pip install "sentinel-node[train]"'
        )
    model = _made(classifier, dict(given), seed, len(scaled))
    with settling(classifier, notes):
        model.fit(scaled, outcome.astype(int))
    return model


def _made(classifier: str, given: dict[str, Any], seed: int, cases: int) -> Any:
    if classifier in _PACKAGES:
        return _boosted(classifier, given, seed)
    if classifier in ("random_forest", "extra_trees", "gbdt"):
        from sklearn import ensemble

        if classifier == "gbdt":
            return ensemble.GradientBoostingClassifier(
                max_depth=_DEPTH, learning_rate=_RATE, subsample=0.8, random_state=seed, **given
            )
        name = "RandomForestClassifier" if classifier == "random_forest" else "ExtraTreesClassifier"
        return getattr(ensemble, name)(n_estimators=_TREES, random_state=seed, **given)
    if classifier in ("linear_svm", "rbf_svm"):
        from sklearn.svm import SVC

        kernel = "linear" if classifier == "linear_svm" else "rbf"
        return SVC(kernel=kernel, gamma="scale", max_iter=200_000, **given)
    if classifier == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        given["n_neighbors"] = min(given["n_neighbors"], cases)
        return KNeighborsClassifier(algorithm="brute", **given)
    if classifier == "mlp":
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier((8,), solver="lbfgs", max_iter=500, random_state=seed, **given)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, **given)


def _boosted(classifier: str, given: dict[str, Any], seed: int) -> Any:
    if classifier == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(
            max_depth=_DEPTH,
            learning_rate=_RATE,
            subsample=0.8,
            random_state=seed,
            n_jobs=1,
            **given,
        )
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        max_depth=_DEPTH,
        num_leaves=2**_DEPTH,
        learning_rate=_RATE,
        subsample=0.8,
        subsample_freq=1,
        random_state=seed,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
        **given,
    )


def arrays_of(classifier: str, model: Any) -> Arrays:
    """Return a fitted model as plain arrays."""
    if classifier in ("random_forest", "extra_trees"):
        return of_sklearn(model.estimators_).arrays()
    if classifier == "gbdt":
        share = float(model.init_.class_prior_[1])
        begin = float(np.log(share) - np.log1p(-share))
        trees = of_sklearn(model.estimators_[:, 0])
        return trees.arrays() | _added(begin, model.learning_rate)
    if classifier == "xgboost":
        trees, begin = of_xgboost(json.loads(model.get_booster().save_raw("json")))
        return trees.arrays() | _added(begin, 1.0)
    if classifier == "lightgbm":
        # Its trees hold where they begin from, and their rate.
        trees = of_lightgbm(model.booster_.dump_model())
        return trees.arrays() | _added(0.0, 1.0, double=True)
    if classifier == "mlp":
        layers = {"layers": np.array([len(model.coefs_)])}
        weights = {f"weights_{i}": one for i, one in enumerate(model.coefs_)}
        return layers | weights | {f"bias_{i}": one for i, one in enumerate(model.intercepts_)}
    if classifier == "knn":
        return {
            "rows": np.asarray(model._fit_X, np.float64),
            "outcome": np.asarray(model._y, np.uint8),
            "count": np.array([model.n_neighbors]),
        }
    if classifier == "rbf_svm":
        return {
            "rows": np.asarray(model.support_vectors_, np.float64),
            "weights": np.asarray(model.dual_coef_[0], np.float64),
            "intercept": np.asarray(model.intercept_, np.float64),
            "gamma": np.array([float(model._gamma)]),
        }
    return {
        "weights": np.asarray(model.coef_[0], np.float64),
        "intercept": np.asarray(model.intercept_, np.float64),
    }


def _added(begin: float, rate: float, *, double: bool = False) -> Arrays:
    return {
        "intercept": np.array([begin]),
        "rate": np.array([float(rate)]),
        "double": np.array([int(double)]),
    }
