"""Where to cut a probability, and what that gives. NumPy; Clopper and Pearson's needs SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.bootstrap import Interval

Array = NDArray[np.float64]
#: Returns the interval of `part` out of `whole`.
ShareInterval = Callable[[int, int], Interval]


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """A ROC curve from (0, 0) to (1, 1); a case counts as positive at or above a threshold.

    Attributes
    ----------
    thresholds : float64, shape (points,)
        Falling; the first is infinite: nobody is positive.
    sensitivity, specificity : float64, shape (points,)
    """

    thresholds: Array
    sensitivity: Array
    specificity: Array


def roc_curve(score: ArrayLike, outcome: ArrayLike) -> Roc:
    """Return every point of the curve, one for each score that occurs.

    Parameters
    ----------
    score : float, shape (cases,)
    outcome : bool, shape (cases,)

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN, or a class is missing.
    """
    scores, y = _checked(score, outcome)
    if y.all() or not y.any():
        raise ValueError("a ROC curve needs cases with the outcome and cases without it")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)  # of each score
    hits, false = np.cumsum(y[order])[last], np.cumsum(~y[order])[last]
    return Roc(
        thresholds=np.concatenate([[np.inf], ranked[last]]),
        sensitivity=np.concatenate([[0.0], hits / y.sum()]),
        specificity=np.concatenate([[1.0], 1.0 - false / (~y).sum()]),
    )


def youden(score: ArrayLike, outcome: ArrayLike) -> float:
    """Return the threshold of the greatest sensitivity + specificity (Youden 1950).

    It lies half-way to the next lower score; of several the one of highest sensitivity. Find it
    on training or tuning cases, never on those that are reported.

    Examples
    --------
    >>> youden([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1])
    0.4
    """
    curve = roc_curve(score, outcome)
    gain = curve.sensitivity + curve.specificity
    return _between(curve, int(np.flatnonzero(gain >= gain.max() - 1e-12)[-1]))


def threshold_for_sensitivity(score: ArrayLike, outcome: ArrayLike, at_least: float) -> float:
    """Return the highest threshold that finds this share of the positives."""
    curve = roc_curve(score, outcome)
    enough = np.flatnonzero(curve.sensitivity >= _share(at_least) - 1e-12)
    return _between(curve, int(enough[0]))


def threshold_for_specificity(score: ArrayLike, outcome: ArrayLike, at_least: float) -> float:
    """Return the lowest threshold that leaves this share of the negatives alone."""
    curve = roc_curve(score, outcome)
    enough = np.flatnonzero(curve.specificity >= _share(at_least) - 1e-12)
    return _between(curve, int(enough[-1]))


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What one threshold gives, with 95 % intervals; NaN where there is nothing to divide by."""

    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    sensitivity: Interval
    specificity: Interval
    #: Of those called positive; it holds for this share of positives only.
    positive_predictive_value: Interval
    negative_predictive_value: Interval
    accuracy: Interval


def confusion(
    score: ArrayLike,
    outcome: ArrayLike,
    threshold: float,
    *,
    interval: ShareInterval | None = None,
) -> Confusion:
    """Count the four kinds of cases; positive is what reaches the threshold.

    Parameters
    ----------
    interval : function or None
        `wilson` (None) or `clopper_pearson`. Both take each case for independent of the others.

    Examples
    --------
    >>> found = confusion([0.1, 0.5, 0.6, 0.9], [0, 0, 1, 1], 0.5)
    >>> found.false_positives, found.sensitivity.estimate, found.specificity.estimate
    (1, 1.0, 0.5)
    """
    scores, y = _checked(score, outcome)
    if math.isnan(threshold):
        raise ValueError("the threshold is NaN")
    called = scores >= threshold
    tp, fp = int((called & y).sum()), int((called & ~y).sum())
    tn, fn = int((~called & ~y).sum()), int((~called & y).sum())
    share = interval or wilson
    return Confusion(
        threshold=threshold,
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        sensitivity=share(tp, tp + fn),
        specificity=share(tn, tn + fp),
        positive_predictive_value=share(tp, tp + fp),
        negative_predictive_value=share(tn, tn + fn),
        accuracy=share(tp + tn, y.size),
    )


def wilson(part: int, whole: int, *, level: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson 1927); NaN of nothing at all, 0 of 0.

    Raises
    ------
    ValueError
        If `part` is more than `whole`, or one of them is negative.

    Examples
    --------
    >>> found = wilson(50, 51)
    >>> round(found.low, 3), round(found.high, 3)
    (0.897, 0.997)
    """
    _check_part(part, whole)
    if not whole:
        return _nothing(level)
    z, share = NormalDist().inv_cdf(0.5 + level / 2.0), part / whole
    bottom = 1.0 + z * z / whole
    middle = (share + z * z / (2.0 * whole)) / bottom
    reach = z / bottom * math.sqrt(share * (1.0 - share) / whole + z * z / (4.0 * whole**2))
    return Interval(
        estimate=share,
        low=0.0 if part == 0 else middle - reach,  # exactly: rounding would miss them
        high=1.0 if part == whole else middle + reach,
        level=level,
    )


def clopper_pearson(part: int, whole: int, *, level: float = 0.95) -> Interval:
    """Return the exact interval of a share, which covers at least `level` (Clopper 1934).

    Of 0 of 0, and of what is no share, it says what `wilson` says.
    """
    _check_part(part, whole)
    if not whole:
        return _nothing(level)
    from scipy.stats import beta

    tail = (1.0 - level) / 2.0
    low = 0.0 if part == 0 else float(beta.ppf(tail, part, whole - part + 1))
    high = 1.0 if part == whole else float(beta.ppf(1.0 - tail, part + 1, whole - part))
    return Interval(estimate=part / whole, low=low, high=high, level=level)


def _between(curve: Roc, index: int) -> float:
    """Return a threshold between this point's score and the next lower one, or just above all."""
    here = float(curve.thresholds[index])
    if index + 1 == curve.thresholds.size:
        return here
    below = float(curve.thresholds[index + 1])
    return math.nextafter(below, math.inf) if math.isinf(here) else (here + below) / 2.0


def _share(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{value:g} is no share from 0 to 1")
    return value


def _check_part(part: int, whole: int) -> None:
    if not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole} is no share: a part is from 0 to the whole")


def _nothing(level: float) -> Interval:
    nan = float("nan")
    return Interval(estimate=nan, low=nan, high=nan, level=level)


def _checked(score: ArrayLike, outcome: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    scores, y = np.asarray(score, float), np.asarray(outcome)
    if scores.ndim != 1 or scores.shape != y.shape or not scores.size:
        raise ValueError(f"scores {scores.shape} and outcomes {y.shape} are not one for each")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("an outcome is neither 0 nor 1")
    return scores, y.astype(np.bool_)
