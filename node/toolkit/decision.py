"""Decision curve: whether acting on a probability does more good than harm. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.calibration import checked_cases

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class DecisionCurve:
    """Net benefit by threshold probability; treating nobody is 0 everywhere.

    Attributes
    ----------
    thresholds : float64, shape (points,)
        The probability at which one would treat: t / (1 - t) is how much harm a needless
        treatment does, beside the good of a needed one.
    model, everybody : float64, shape (points,)
        True positives minus weighted false positives, for each case.
    """

    thresholds: Array
    model: Array
    everybody: Array


def decision_curve(
    probability: ArrayLike, outcome: ArrayLike, thresholds: ArrayLike | None = None
) -> DecisionCurve:
    """Return the net benefit of treating those at or above each threshold.

    Parameters
    ----------
    probability : float, shape (cases,)
        From 0 to 1; calibrated, or the thresholds mean nothing.
    outcome : bool, shape (cases,)
    thresholds : float, shape (points,), or None
        Above 0 and below 1; None: 0.01, 0.02 and so on to 0.99.

    Raises
    ------
    ValueError
        If a probability is not from 0 to 1, an outcome neither 0 nor 1, or a threshold none.

    References
    ----------
    Vickers and Elkin 2006, doi:10.1177/0272989X06295361.

    Examples
    --------
    >>> found = decision_curve([0.9, 0.6, 0.2, 0.1], [1, 0, 0, 0], [0.5])
    >>> found.model.tolist(), found.everybody.tolist()
    ([0.0], [-0.5])
    """
    p, y = checked_cases(probability, outcome, both=False)
    t = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, float)
    if t.ndim != 1 or not ((t > 0.0) & (t < 1.0)).all():
        raise ValueError("a threshold of a decision curve lies above 0 and below 1")
    called = p[None, :] >= t[:, None]  # (points, cases)
    odds = t / (1.0 - t)
    share = float(y.mean())
    return DecisionCurve(
        thresholds=t,
        model=(called * y).mean(axis=1) - (called * (1.0 - y)).mean(axis=1) * odds,
        everybody=share - (1.0 - share) * odds,
    )
