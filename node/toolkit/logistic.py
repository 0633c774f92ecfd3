"""Logistic regression on a few numbers: fitted once, kept as plain arrays. NumPy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.bootstrap import Interval

Array = NDArray[np.float64]

_STEPS = 100
_ENOUGH = 1e-10
#: Log-odds beyond which a probability is 0 or 1 in float64.
_FARTHEST = 700.0
#: Where the cases hold so little of the information that they could (p (1 - p), at most 0.25),
#: probabilities are 0 and 1: the likelihood grows along that direction without an end.
_SEPARATED = 1e-8
#: Below this part of the largest, a singular value is rounding: the column says nothing new.
_SAME = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class Logistic:
    """A fitted model: log-odds = features @ weights + intercept.

    Attributes
    ----------
    weights : float64, shape (features,)
    intercept : float
    covariance : float64, shape (features + 1, features + 1)
        Of weights and intercept, the intercept last (inverse of Fisher's information).
    """

    weights: Array
    intercept: float
    covariance: Array

    def log_odds(self, features: ArrayLike) -> Array:
        """Return the log-odds of cases, shape (cases,); features have shape (cases, features)."""
        found: Array = np.asarray(features, float) @ self.weights + self.intercept
        return found

    def probability(self, features: ArrayLike) -> Array:
        """Return the probability of cases, shape (cases,)."""
        return sigmoid(self.log_odds(features))

    def odds_ratio(self, index: int, *, step: float = 1.0, level: float = 0.95) -> Interval:
        """Return the odds ratio of one feature for a difference of `step`, by Wald."""
        weight = float(self.weights[index]) * step
        error = math.sqrt(float(self.covariance[index, index])) * abs(step)
        reach = NormalDist().inv_cdf(0.5 + level / 2.0) * error
        low, high = (_exp(weight + sign * reach) for sign in (-1, 1))
        return Interval(estimate=_exp(weight), low=low, high=high, level=level)

    def p_value(self, index: int) -> float:
        """Return the two-sided p of no effect of one feature, by Wald."""
        error = math.sqrt(float(self.covariance[index, index]))
        return 2.0 * NormalDist().cdf(-abs(float(self.weights[index])) / error)


def fit_logistic(features: ArrayLike, outcome: ArrayLike, *, ridge: float = 0.0) -> Logistic:
    """Fit by Newton's method; the maximum of the likelihood, as every program finds it.

    A feature that is the same in every case says nothing: its weight is 0, without a ridge of
    any error.

    Parameters
    ----------
    features : float, shape (cases, features)
    outcome : bool or shares from 0 to 1, shape (cases,)
    ridge : float, from 0 on
        Half of it times the squared weights is added to the negative log-likelihood; the
        intercept stays free. scikit-learn's ``C`` is its inverse.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, an outcome is not from 0 to 1, a class is
        missing, `ridge` is none, a feature's spread is beyond float64, or the features tell the
        classes, or a part of one, apart without an error (then no maximum exists: give a
        `ridge`).

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> found = fit_logistic(x, [0, 1, 0, 1])
    >>> found.probability([[0.0], [3.0]]).round(3).tolist()
    [0.204, 0.796]
    """
    x, y = _checked(features, outcome)
    if not 0.0 <= ridge < math.inf:
        raise ValueError(f"a ridge is a number from 0 on, not {ridge:g}")
    same = (x == x[0]).all(axis=0)
    middle, spread = _scale(x, same, ridge)
    design = np.hstack([(x - middle) / spread, np.ones((len(x), 1))])  # (cases, features + 1)
    penalty = np.diag(np.append(ridge / spread**2, 0.0))
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        beta, moved = _step(design, y, beta, penalty)
        if moved < _ENOUGH:
            break
    if not ridge and (moved >= _ENOUGH or _information_left(design, beta) < _SEPARATED):
        raise ValueError(
            "the features tell the classes, or a part of one, apart without an error, so their "
            "weights have no limit; give a ridge, or more cases"
        )
    # Back to the units that were given: weights / spread, and the intercept at 0.
    back = np.diag(np.append(1.0 / spread, 1.0))
    back[-1, :-1] = -middle / spread
    inverse = _inverse(_information(design, beta) + penalty)
    weights, covariance = back @ beta, back @ inverse @ back.T
    silent = np.flatnonzero(same if not ridge else [])
    covariance[silent, silent] = np.inf
    return Logistic(weights=weights[:-1], intercept=float(weights[-1]), covariance=covariance)


def sigmoid(log_odds: ArrayLike) -> Array:
    """Return probabilities of log-odds.

    Examples
    --------
    >>> sigmoid([-1000.0, 0.0, 1000.0]).round(6).tolist()
    [0.0, 0.5, 1.0]
    """
    values = np.clip(np.asarray(log_odds, float), -_FARTHEST, _FARTHEST)
    found: Array = 1.0 / (1.0 + np.exp(-values))
    return found


def log_odds_of(probability: ArrayLike, *, least: float = 1e-7) -> Array:
    """Return the log-odds of probabilities, which are kept `least` away from 0 and 1.

    Examples
    --------
    >>> log_odds_of([0.0, 0.5]).round(3).tolist()
    [-16.118, 0.0]
    """
    p = np.clip(np.asarray(probability, float), least, 1.0 - least)
    found: Array = np.log(p) - np.log1p(-p)
    return found


def _checked(features: ArrayLike, outcome: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(features, float), np.asarray(outcome, float)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"features {x.shape} and outcome {y.shape} are not of the same cases")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a feature or an outcome is not finite")
    beyond = (y < 0.0) | (y > 1.0)
    if beyond.any():
        raise ValueError(f"an outcome is from 0 to 1, not {y[beyond][0]:g}")
    if not y.size or y.max() == 0.0 or y.min() == 1.0:
        raise ValueError("a regression needs cases with the outcome and cases without it")
    return x, y


def _scale(x: Array, same: NDArray[np.bool_], ridge: float) -> tuple[Array, Array]:
    """Return the middle of each feature, and what it is divided by.

    Around 0 and of one size: years, HU and mm2 are told apart from the intercept alike. What a
    ridge holds down more than the cases do counts by the ridge, or it would drown the others.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        middle = np.where(same, x[0], x.mean(axis=0))
        spread = np.sqrt(np.where(same, 0.0, x.var(axis=0)) + ridge / len(x))
    lost = np.flatnonzero(~np.isfinite(spread) | ((spread == 0.0) & ~same))
    if lost.size:
        widest = float(np.abs(x[:, lost[0]]).max())
        raise ValueError(
            f"feature {lost[0]} spreads too far or too little to be squared (values up to "
            f"{widest:g}); give it in another unit"
        )
    spread[spread == 0.0] = 1.0
    return middle, spread


def _information_left(design: Array, beta: Array) -> float:
    """Return the least share of information along any direction in which the cases differ."""
    left, sizes, _ = np.linalg.svd(design, full_matrices=False)
    left = left[:, sizes > _SAME * sizes[0]]
    p = sigmoid(design @ beta)
    return float(np.linalg.eigvalsh((left * (p * (1.0 - p))[:, None]).T @ left).min())


def _information(design: Array, beta: Array) -> Array:
    p = sigmoid(design @ beta)
    found: Array = (design * (p * (1.0 - p))[:, None]).T @ design
    return found


def _inverse(information: Array) -> Array:
    """Return the pseudo-inverse, by eigenvalues: LAPACK's SVD gave up on a sound 314 x 314."""
    return np.asarray(np.linalg.pinv(information, hermitian=True), np.float64)


def _step(design: Array, y: Array, beta: Array, penalty: Array) -> tuple[Array, float]:
    """Return better weights, and how much better; halve a step that makes it worse."""
    gradient = design.T @ (y - sigmoid(design @ beta)) - penalty @ beta
    move = _inverse(_information(design, beta) + penalty) @ gradient
    before = _loss(design, y, beta, penalty)
    for halved in range(30):
        after = beta + move * 0.5**halved
        gain = before - _loss(design, y, after, penalty)
        if gain >= 0.0:
            return after, float(np.abs(after - beta).max() / (1.0 + np.abs(after).max()))
    return beta, 0.0


def _loss(design: Array, y: Array, beta: Array, penalty: Array) -> float:
    eta = design @ beta
    return float((np.logaddexp(0.0, eta) - y * eta).sum() + 0.5 * beta @ penalty @ beta)


def _exp(value: float) -> float:
    return math.exp(max(-_FARTHEST, min(_FARTHEST, value)))
