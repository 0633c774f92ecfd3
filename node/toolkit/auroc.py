"""Area under the ROC curve, with DeLong's interval on the logit scale, alone and in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from node.toolkit.bootstrap import Interval

Scores = NDArray[np.float64]
#: Whose the positive cases are, and whose the negative ones.
Patients = tuple[Sequence[str], Sequence[str]]

#: A variance of 0 up to rounding (1e-32); that of one pair in 10^10 out of order is above 1e-21.
_NO_SPREAD = 1e-28


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two AUROCs on the same cases: first minus second."""

    first: float
    second: float
    difference: Interval
    #: Two-sided p of no difference; 1 where both order every pair alike.
    p_value: float


def auroc(positive: Scores, negative: Scores) -> float:
    """Return the probability that a positive case scores higher; a tie counts one half.

    Parameters
    ----------
    positive, negative : float64, shape (cases,)
        Scores of the cases with, and without, the outcome.

    Raises
    ------
    ValueError
        If a class is empty or a score is NaN.

    Examples
    --------
    >>> auroc(np.array([0.9, 0.5, 0.4]), np.array([0.5, 0.1]))
    0.75
    """
    return float(_placements(positive, negative)[0].mean())


def auroc_interval(
    positive: Scores,
    negative: Scores,
    *,
    level: float = 0.95,
    patients: Patients | None = None,
) -> Interval:
    """Return the AUROC with DeLong's variance carried to the logit scale.

    An AUROC of 1 has no variance by DeLong. Then the lower end is that of a share of 1 among
    as many cases as the smaller class has (Clopper and Pearson); an AUROC of 0 mirrors it, and
    one case in a class is enough for that. Of any other AUROC the ends are NaN where DeLong has
    no variance to give: with one case (or patient) in a class, and where it is 0, as of a score
    that is the same for all. That is a 0.5 of which nobody knows how sure it is, not a sure one.

    Parameters
    ----------
    positive, negative : float64, shape (cases,)
    patients : (of the positive cases, of the negative ones), or None
        Whose case it is, where a patient may have several: they count as one draw together.

    Raises
    ------
    ValueError
        If a class is empty, a score is NaN, or `patients` are not one for each case.

    References
    ----------
    DeLong et al. 1988, doi:10.2307/2531595; logit scale: Pepe 2003, The Statistical Evaluation
    of Medical Tests for Classification and Prediction, chapter 5; several cases of a patient:
    Obuchowski 1997, doi:10.2307/2533958.
    """
    above, below = _placements(positive, negative)
    _check_patients(above, below, patients)
    area = float(above.mean())
    z, smaller = _z(level), _smaller(above, below, patients)
    if area in (0.0, 1.0):
        reach = ((1.0 - level) / 2.0) ** (1.0 / smaller)
        low, high = (reach, 1.0) if area == 1.0 else (0.0, 1.0 - reach)
        return Interval(estimate=area, low=low, high=high, level=level)
    variance = float(_covariance([(above, below)], patients)[0, 0])
    if not variance > _NO_SPREAD:  # or NaN
        return Interval(estimate=area, low=math.nan, high=math.nan, level=level)
    error = math.sqrt(variance) / (area * (1.0 - area))
    middle = math.log(area / (1.0 - area))
    # tanh instead of exp, which overflows where an interval is all there is from 0 to 1
    low, high = (0.5 + 0.5 * math.tanh((middle + sign * z * error) / 2.0) for sign in (-1, 1))
    return Interval(estimate=area, low=low, high=high, level=level)


def compare_aurocs(
    first: tuple[Scores, Scores],
    second: tuple[Scores, Scores],
    *,
    level: float = 0.95,
    patients: Patients | None = None,
) -> Comparison:
    """Compare two scores of the same cases by DeLong's paired test.

    The difference is not carried to another scale. A difference of two AUROCs of 1 has no spread.

    Parameters
    ----------
    first, second : (positive, negative)
        Scores of the same cases in the same order.
    patients : (of the positive cases, of the negative ones), or None
        As in `auroc_interval`.

    Raises
    ------
    ValueError
        If the two are not of the same cases, or `patients` are not one for each.
    """
    if [len(one) for one in first] != [len(one) for one in second]:
        raise ValueError("a paired comparison needs both scores of every case")
    placed = [_placements(*first), _placements(*second)]
    _check_patients(*placed[0], patients)
    areas = [float(above.mean()) for above, _ in placed]
    covariance = _covariance(placed, patients)
    difference = areas[0] - areas[1]
    variance = float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1])
    error = math.sqrt(max(variance, 0.0))  # rounding may leave it just below 0
    reach = _z(level) * error
    interval = Interval(
        estimate=difference, low=difference - reach, high=difference + reach, level=level
    )
    return Comparison(
        first=areas[0], second=areas[1], difference=interval, p_value=_p(difference, error)
    )


def _placements(positive: Scores, negative: Scores) -> tuple[Scores, Scores]:
    """Return the share of the other class that each case beats: of positives, of negatives.

    Sorting the other class once gives it in n log n; ties count one half.
    """
    positive, negative = np.asarray(positive, float), np.asarray(negative, float)
    if not positive.size or not negative.size:
        raise ValueError("an AUROC needs cases with the outcome and cases without it")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise ValueError("a score is NaN")
    return _share_below(positive, negative), 1.0 - _share_below(negative, positive)


def _check_patients(above: Scores, below: Scores, patients: Patients | None) -> None:
    if patients is None:
        return
    given, cases = tuple(map(len, patients)), (above.size, below.size)
    if given != cases:
        raise ValueError(
            f"each case needs a patient: {cases[0]} and {cases[1]} cases, but "
            f"{' and '.join(map(str, given))} patients"
        )


def _share_below(values: Scores, others: Scores) -> Scores:
    """Return for each value the share of `others` below it, half of its equals included."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    found: Scores = below / (2.0 * ordered.size)
    return found


def _covariance(
    placed: list[tuple[Scores, Scores]], patients: Patients | None = None
) -> NDArray[np.float64]:
    """Return the covariance matrix of several AUROCs of the same cases."""
    if patients is not None:
        return _clustered(placed, patients)
    total = np.zeros((len(placed), len(placed)))
    for side in (0, 1):
        values = np.stack([pair[side] for pair in placed])  # (scores, cases)
        count = values.shape[1]
        total += np.atleast_2d(np.cov(values)) / count if count > 1 else np.nan
    return total


def _clustered(placed: list[tuple[Scores, Scores]], patients: Patients) -> NDArray[np.float64]:
    """Return Obuchowski's covariance: what a patient adds to either side goes together.

    Equal to DeLong's where each patient has one case.
    """
    names = sorted({str(name) for side in patients for name in side})
    place = {name: index for index, name in enumerate(names)}
    sums = []  # of either side: what each patient adds to the AUROC's error, (scores, patients)
    for side in (0, 1):
        values = np.stack([pair[side] for pair in placed])
        owner = np.array([place[str(name)] for name in patients[side]], int)
        held, count = np.unique(owner).size, values.shape[1]
        if held < 2:
            return np.full((len(placed), len(placed)), np.nan)
        centred = values - values.mean(axis=1, keepdims=True)
        added = np.zeros((len(placed), len(names)))
        for index, one in enumerate(centred):
            added[index] = np.bincount(owner, weights=one, minlength=len(names))
        sums.append(added * math.sqrt(held / (held - 1.0)) / count)
    both = math.sqrt(len(names) / (len(names) - 1.0))
    # The factors of the cross terms differ from those of the squares by a hair.
    cross = sums[0] @ sums[1].T
    scale = both**2 / (_factor(patients[0]) * _factor(patients[1]))
    found: NDArray[np.float64] = sum(one @ one.T for one in sums) + scale * (cross + cross.T)
    return found


def _factor(patients: Sequence[str]) -> float:
    held = len({str(name) for name in patients})
    return math.sqrt(held / (held - 1.0))


def _smaller(above: Scores, below: Scores, patients: Patients | None) -> int:
    """Return how many independent cases the smaller class has."""
    if patients is None:
        return min(above.size, below.size)
    return min(len({str(name) for name in side}) for side in patients)


def _z(level: float) -> float:
    """Return the normal quantile of a two-sided interval."""
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def _p(difference: float, error: float) -> float:
    """Return the two-sided p of a difference; without any spread, only 0 is no difference."""
    if error == 0.0:
        return 1.0 if difference == 0.0 else 0.0
    return 2.0 * NormalDist().cdf(-abs(difference) / error)
