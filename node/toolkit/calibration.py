"""Whether probabilities mean what they say, and how to make them. NumPy only.

A calibrator is fitted on cases that nothing else was learned from, is called on probabilities,
and goes into a weights file by `arrays`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.bootstrap import Interval
from node.toolkit.logistic import fit_logistic, log_odds_of, sigmoid

Array = NDArray[np.float64]
_RANGE = (-6.0, 6.0)
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, kw_only=True)
class Platt:
    """A straight line on the log-odds, back to a probability (Platt 1999)."""

    slope: float
    intercept: float

    def __call__(self, probability: ArrayLike) -> Array:
        """Return calibrated probabilities."""
        return sigmoid(self.slope * log_odds_of(probability) + self.intercept)

    def arrays(self) -> dict[str, Array]:
        """Return what a weights file keeps."""
        return {"platt": np.array([self.slope, self.intercept])}

    @staticmethod
    def from_arrays(arrays: Mapping[str, ArrayLike]) -> Platt:
        """Return what `arrays` of a weights file were."""
        slope, intercept = _kept(arrays, "platt", 2)
        return Platt(slope=float(slope), intercept=float(intercept))


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """Log-odds divided by one number (Guo 2017): the order and 0.5 stay where they are."""

    temperature: float

    def __call__(self, probability: ArrayLike) -> Array:
        """Return calibrated probabilities."""
        return sigmoid(log_odds_of(probability) / self.temperature)

    def arrays(self) -> dict[str, Array]:
        """Return what a weights file keeps."""
        return {"temperature": np.array([self.temperature])}

    @staticmethod
    def from_arrays(arrays: Mapping[str, ArrayLike]) -> Temperature:
        """Return what `arrays` of a weights file were."""
        (temperature,) = _kept(arrays, "temperature", 1)
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"a temperature is above 0, not {temperature:g}")
        return Temperature(temperature=float(temperature))


@dataclass(frozen=True, kw_only=True, eq=False)
class Isotonic:
    """A rising curve of straight pieces (Zadrozny 2002); level beyond its ends.

    Attributes
    ----------
    given, said : float64, shape (knots,)
        Probabilities of the model, rising, and what they become.
    """

    given: Array
    said: Array

    def __call__(self, probability: ArrayLike) -> Array:
        """Return calibrated probabilities."""
        found: Array = np.interp(np.asarray(probability, float), self.given, self.said)
        return found

    def arrays(self) -> dict[str, Array]:
        """Return what a weights file keeps."""
        return {"isotonic_given": self.given, "isotonic_said": self.said}

    @staticmethod
    def from_arrays(arrays: Mapping[str, ArrayLike]) -> Isotonic:
        """Return what `arrays` of a weights file were."""
        given, said = (_kept(arrays, f"isotonic_{k}") for k in ("given", "said"))
        if given.shape != said.shape or (np.diff(given) <= 0.0).any():
            raise ValueError("isotonic_given does not rise, or isotonic_said is of other knots")
        return Isotonic(given=given, said=said)


def _kept(arrays: Mapping[str, ArrayLike], name: str, count: int | None = None) -> Array:
    """Return an array of a weights file, of so many finite numbers."""
    if name not in arrays:
        raise ValueError(f"the weights hold no {name}")
    found = np.asarray(arrays[name], float)
    if found.ndim != 1 or not found.size or count not in (None, found.size):
        raise ValueError(f"{name} has shape {found.shape}, not {count or 'one row'}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds a number that is not finite")
    return found


def fit_platt(probability: ArrayLike, outcome: ArrayLike) -> Platt:
    """Fit Platt's line, with his targets a little inside of 0 and 1.

    Parameters
    ----------
    probability : float, shape (cases,)
        What the model says, from 0 to 1.
    outcome : bool, shape (cases,)

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines; scikit-learn's "sigmoid".
    """
    p, y = checked_cases(probability, outcome)
    ones = y.sum()
    target = np.where(y > 0, (ones + 1.0) / (ones + 2.0), 1.0 / (y.size - ones + 2.0))
    found = fit_logistic(log_odds_of(p)[:, None], target)
    return Platt(slope=float(found.weights[0]), intercept=found.intercept)


def fit_temperature(probability: ArrayLike, outcome: ArrayLike) -> Temperature:
    """Fit the temperature of least log-loss, from e-6 to e6; 1 where every probability is 0.5."""
    p, y = checked_cases(probability, outcome)
    logits = log_odds_of(p)
    if not logits.any():
        return Temperature(temperature=1.0)  # all temperatures are alike

    def loss(log_temperature: float) -> float:
        eta = logits / math.exp(log_temperature)
        return float((np.logaddexp(0.0, eta) - y * eta).sum())

    low, high = _RANGE
    while high - low > 1e-9:  # golden section: the loss has one minimum
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return Temperature(temperature=math.exp((low + high) / 2.0))


def fit_isotonic(probability: ArrayLike, outcome: ArrayLike) -> Isotonic:
    """Fit the rising curve of least squares by pooling adjacent violators."""
    p, y = checked_cases(probability, outcome)
    given, place = np.unique(p, return_inverse=True)
    counts = np.bincount(place).astype(float)
    means = np.bincount(place, weights=y) / counts
    blocks: list[list[float]] = []  # mean, weight, members
    for mean, count in zip(means, counts, strict=True):
        blocks.append([float(mean), float(count), 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, m, i), (b, n, j) = blocks.pop(-2), blocks.pop()
            blocks.append([(a * m + b * n) / (m + n), m + n, i + j])
    said = np.concatenate([np.full(int(members), mean) for mean, _, members in blocks])
    inner = np.zeros(given.size, bool)  # knots amid a level piece say nothing
    inner[1:-1] = (said[1:-1] == said[:-2]) & (said[1:-1] == said[2:])
    return Isotonic(given=given[~inner], said=said[~inner])


# --- how good they are -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Cases of nearly one probability: what was said of them, and what came."""

    cases: int
    #: Mean probability.
    said: float
    #: Share with the outcome.
    came: float


def reliability(
    probability: ArrayLike,
    outcome: ArrayLike,
    *,
    bins: int = 10,
    by: Literal["width", "count"] = "width",
) -> tuple[Bin, ...]:
    """Return the points of a reliability curve; empty bins are left out.

    Parameters
    ----------
    by : "width" or "count"
        Bins of equal width, or of (nearly) as many cases each.

    Raises
    ------
    ValueError
        As `checked_cases`; if `bins` is below 1, or `by` another word.
    """
    p, y = checked_cases(probability, outcome, both=False)
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1")
    if by not in ("width", "count"):
        raise ValueError(f"by is {by!r}; width or count")
    if by == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
    else:
        edges = np.quantile(p, np.linspace(0.0, 1.0, bins + 1))
    # The last bin holds its upper edge, as in scikit-learn.
    index = np.searchsorted(edges[1:-1], p)
    held = [index == number for number in range(bins)]
    return tuple(
        Bin(cases=int(one.sum()), said=float(p[one].mean()), came=float(y[one].mean()))
        for one in held
        if one.any()
    )


def expected_calibration_error(
    probability: ArrayLike, outcome: ArrayLike, *, bins: int = 10
) -> float:
    """Return the mean distance of said from came over bins of equal width, by their cases.

    Examples
    --------
    >>> round(expected_calibration_error([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0]), 3)
    0.25
    """
    found = reliability(probability, outcome, bins=bins)
    total = sum(one.cases for one in found)
    return sum(one.cases * abs(one.said - one.came) for one in found) / total


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Return the mean squared distance of probability and outcome.

    Examples
    --------
    >>> brier([1.0, 0.5], [1, 0])
    0.125
    """
    p, y = checked_cases(probability, outcome, both=False)
    return float(((p - y) ** 2).mean())


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """How probabilities would have to be bent; 1 and 0 if not at all (Cox 1958).

    Attributes
    ----------
    slope : Interval
        Below 1: too extreme. Above 1: too timid.
    intercept : Interval
        With the slope held at 1: above 0 too low on the whole, below 0 too high.
    """

    slope: Interval
    intercept: Interval


def recalibration(probability: ArrayLike, outcome: ArrayLike) -> Recalibration:
    """Return slope and intercept of the logistic recalibration, with Wald's intervals.

    Raises
    ------
    ValueError
        If the probabilities tell the classes apart without an error.
    """
    p, y = checked_cases(probability, outcome)
    logits = log_odds_of(p)
    line = fit_logistic(logits[:, None], y)
    return Recalibration(
        slope=_wald(float(line.weights[0]), float(line.covariance[0, 0])),
        intercept=_wald(*_shift(logits, y)),
    )


def _shift(logits: Array, y: Array) -> tuple[float, float]:
    """Return the constant that makes the mean probability right, and its variance."""
    shift = 0.0
    for _ in range(100):
        p = sigmoid(logits + shift)
        information = float((p * (1.0 - p)).sum())
        step = float((y - p).sum()) / max(information, 1e-12)
        shift += max(-2.0, min(2.0, step))
        if abs(step) < 1e-10:
            break
    return shift, 1.0 / max(information, 1e-12)


def _wald(estimate: float, variance: float) -> Interval:
    reach = NormalDist().inv_cdf(0.975) * math.sqrt(variance)
    return Interval(estimate=estimate, low=estimate - reach, high=estimate + reach)


def checked_cases(
    probability: ArrayLike, outcome: ArrayLike, *, both: bool = True
) -> tuple[Array, Array]:
    """Return probabilities and outcomes as numbers, one of each for every case.

    Raises
    ------
    ValueError
        If shapes differ, there is no case, a probability is not from 0 to 1 or an outcome
        neither 0 nor 1; with `both`, if one of the classes is missing.
    """
    p, y = np.asarray(probability, float), np.asarray(outcome, float)
    if p.ndim != 1 or p.shape != y.shape or not p.size:
        raise ValueError(f"probabilities {p.shape} and outcomes {y.shape} are not one for each")
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError("a probability is not from 0 to 1")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("an outcome is neither 0 nor 1")
    if both and y.min() == y.max():
        raise ValueError("calibration needs cases with the outcome and cases without it")
    return p, y
