"""What each classifier says, from plain arrays. NumPy only.

Each is held to the library that it was learned with by the tests: trees and neighbours exactly,
the others to 1e-9, XGBoost to 1e-6 (it adds in float32).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.toolkit.logistic import sigmoid
from node.toolkit.signature.trees import Trees

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


def score(classifier: str, arrays: Arrays, scaled: Array) -> Array:
    """Return what a classifier says of cases, from 0 to 1, not calibrated.

    Parameters
    ----------
    classifier : one of `CLASSIFIERS`
    arrays : mapping of name to array
        What `learners.learn` returned.
    scaled : float64, shape (cases, features)
        Of mean 0 and deviation 1.

    Returns
    -------
    float64, shape (cases,)
        A share or a probability; of a support vector machine the sigmoid of its distance.
    """
    return _SCORES[classifier](arrays, scaled)


def _linear(arrays: Arrays, scaled: Array) -> Array:
    return sigmoid(scaled @ arrays["weights"] + arrays["intercept"][0])


def _rbf(arrays: Arrays, scaled: Array) -> Array:
    rows = arrays["rows"]
    apart = ((scaled[:, None, :] - rows[None]) ** 2).sum(axis=2)  # (cases, rows)
    near = np.exp(-arrays["gamma"][0] * apart)
    return sigmoid(near @ arrays["weights"] + arrays["intercept"][0])


def _neighbours(arrays: Arrays, scaled: Array) -> Array:
    count = int(arrays["count"][0])
    apart = ((scaled[:, None, :] - arrays["rows"][None]) ** 2).sum(axis=2)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :count]
    found: Array = arrays["outcome"][nearest].mean(axis=1, dtype=np.float64)
    return found


def _mean_of_trees(arrays: Arrays, scaled: Array) -> Array:
    said = Trees.from_arrays(arrays).said(scaled.astype(np.float32))
    total = np.zeros(len(scaled))
    for one in said.T:  # in this order, as scikit-learn adds them
        total += one
    found: Array = total / said.shape[1]
    return found


def _sum_of_trees(arrays: Arrays, scaled: Array) -> Array:
    """Return what boosted trees say; those of LightGBM were grown on float64."""
    features = scaled if arrays["double"][0] else scaled.astype(np.float32)
    said = Trees.from_arrays(arrays).said(features)
    total = np.full(len(scaled), arrays["intercept"][0])
    for one in said.T:
        total += arrays["rate"][0] * one
    return sigmoid(total)


def _layers(arrays: Arrays, scaled: Array) -> Array:
    values, last = scaled, int(arrays["layers"][0]) - 1
    for number in range(last + 1):
        values = values @ arrays[f"weights_{number}"] + arrays[f"bias_{number}"]
        if number < last:
            values = np.maximum(values, 0.0)
    return sigmoid(values[:, 0])


_SCORES: Mapping[str, Callable[[Arrays, Array], Array]] = {
    "logistic": _linear,
    "linear_svm": _linear,
    "rbf_svm": _rbf,
    "knn": _neighbours,
    "random_forest": _mean_of_trees,
    "extra_trees": _mean_of_trees,
    "gbdt": _sum_of_trees,
    "xgboost": _sum_of_trees,
    "lightgbm": _sum_of_trees,
    "mlp": _layers,
}
