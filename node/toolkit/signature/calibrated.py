"""From what a classifier says to a probability with an interval. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.toolkit.calibration import Platt, fit_platt
from node.toolkit.logistic import log_odds_of, sigmoid
from node.toolkit.signature.table import Array, Truth

#: Forests and neighbours say 0 and 1, whose log-odds have no end: all is drawn in by 1 %.
_DRAWN_IN = 0.99


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Platt's line on what is said, and how sure it is.

    Attributes
    ----------
    line : Platt
    covariance : float64, shape (2, 2)
        Of slope and intercept, by patient (sandwich).
    """

    line: Platt
    covariance: Array

    def probability(self, score: Array) -> Array:
        """Return calibrated probabilities, shape (cases,)."""
        return self.line(drawn_in(score))

    def interval(self, score: Array, *, level: float = 0.95) -> tuple[Array, Array]:
        """Return the ends of the interval of each probability.

        By the delta method on the log-odds: the share of patients with such a score that have
        the outcome lies in it. What is unsure about the score itself is not in it.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level = {level:g} is not between 0 and 1; 0.95 is 95 %")
        at = log_odds_of(drawn_in(score))
        design = np.stack([at, np.ones_like(at)], axis=1)  # (cases, 2)
        error = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        middle = self.line.slope * at + self.line.intercept
        reach = NormalDist().inv_cdf(0.5 + level / 2.0) * error
        return sigmoid(middle - reach), sigmoid(middle + reach)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a weights file keeps."""
        return {**self.line.arrays(), "covariance": self.covariance}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """Return what `arrays` of a weights file were."""
        return Calibration(line=Platt.from_arrays(arrays), covariance=arrays["covariance"])


def drawn_in(score: Array) -> Array:
    """Return scores a little inside of 0 and 1, in the same order."""
    found: Array = 0.5 + _DRAWN_IN * (score - 0.5)
    return found


def calibrate(score: Array, truth: Truth, notes: list[str]) -> Calibration:
    """Fit on scores of cases that were not learned from.

    Scores that go the wrong way round are not turned: then every case gets the share of all, and
    a note says that nothing was learned.
    """
    line = fit_platt(drawn_in(score), truth.outcome)
    if line.slope <= 0.0:
        notes.append("nothing was learned: cases with higher scores have the outcome no more often")
        share = float(truth.outcome.mean())
        line = Platt(slope=0.0, intercept=math.log(share) - math.log1p(-share))
    return Calibration(line=line, covariance=_sandwich(line, score, truth))


def _sandwich(line: Platt, score: Array, truth: Truth) -> Array:
    """Return the covariance of slope and intercept; several cases of a patient count as one draw.

    References
    ----------
    Liang and Zeger 1986, doi:10.1093/biomet/73.1.13.
    """
    at = log_odds_of(drawn_in(score))
    design = np.stack([at, np.ones_like(at)], axis=1)
    p = sigmoid(line.slope * at + line.intercept)
    bread = np.linalg.pinv((design * (p * (1.0 - p))[:, None]).T @ design)
    pulls = design * (truth.outcome - p)[:, None]
    _, place = np.unique(truth.groups, return_inverse=True)
    by_patient = np.stack([np.bincount(place, weights=one) for one in pulls.T], axis=1)
    patients = len(by_patient)
    meat = by_patient.T @ by_patient * (patients / max(patients - 1, 1))
    found: Array = bread @ meat @ bread
    return found
