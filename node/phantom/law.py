"""The law of a cohort: causes that are drawn, the risk they make, and what chance makes of it.

An outcome follows from what the generator drew, never from what somebody measured in the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from node.phantom.institutions import Institution


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One thing that changes the risk.

    Attributes
    ----------
    low, high : what it is at place 0 and at place 1, in its own unit
    weight : what one standard deviation of the place adds to the logit of the risk
    """

    low: float
    high: float
    weight: float

    def value(self, place: float) -> float:
        """Return what the generator draws for a place from 0 to 1."""
        return self.low + place * (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class Law:
    """Risk = logistic(intercept + sum of weight x standardised place of each cause).

    Places lie from 0 to 1 and are drawn from Beta(spread, spread), each on its own: below 1 more
    patients lie at the ends than in the middle, so that most causes are plainly there or not.
    """

    causes: Mapping[str, Cause]
    intercept: float
    spread: float

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Law:
        """Return the law that the table ``[law]`` of a ``cohort.toml`` writes down."""
        causes = {name: Cause(**values) for name, values in table["causes"].items()}
        return cls(causes=causes, intercept=table["intercept"], spread=table["spread"])

    def drawn(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw the place of each cause."""
        places = rng.beta(self.spread, self.spread, len(self.causes))
        return {name: float(place) for name, place in zip(self.causes, places, strict=True)}

    def values(self, places: Mapping[str, float]) -> dict[str, float]:
        """Return the causes in their own units."""
        return {name: cause.value(places[name]) for name, cause in self.causes.items()}

    def logit(self, places: Mapping[str, float]) -> float:
        """Return the logit of the risk."""
        per_sd = 2 * np.sqrt(2 * self.spread + 1)
        weighted = (c.weight * (places[name] - 0.5) for name, c in self.causes.items())
        return self.intercept + float(per_sd) * sum(weighted)

    def risk(self, places: Mapping[str, float]) -> float:
        """Return the probability of the outcome.

        Examples
        --------
        >>> law = Law(causes={"size": Cause(low=5, high=15, weight=1.0)}, intercept=0, spread=0.6)
        >>> law.risk({"size": 0.5}), round(law.risk({"size": 1.0}), 2)
        (0.5, 0.82)
        """
        return float(1 / (1 + np.exp(-self.logit(places))))


def mirrored(places: Mapping[str, float], cause: str) -> dict[str, float]:
    """Return the places of the same patient with one cause at the other end of its range.

    Raises
    ------
    KeyError
        Unknown cause.

    Examples
    --------
    >>> mirrored({"size": 0.25, "margin": 0.5}, "size")
    {'size': 0.75, 'margin': 0.5}
    """
    return {**places, cause: 1.0 - places[cause]}


def by_noise(sites: Sequence[Institution]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the noisier and of the quieter half of institutions.

    The trait goes with an institution whatever its family: what a model wrongly learns from it
    in training it meets again in the test.
    """
    order = [int(n) for n in np.argsort([-site.noise_hu for site in sites], kind="stable")]
    half = (len(order) + 1) // 2
    return tuple(order[:half]), tuple(order[half:])


def in_first_group(outcomes: Sequence[bool], share: float, rng: np.random.Generator) -> bool:
    """Draw whether a patient went to the first of two groups of institutions.

    Parameters
    ----------
    outcomes : what is true of each lesion of the patient
    share : of patients with one lesion that has the outcome, how many go there; as many of those
        whose lesion has it not go to the other group. 0.5: the outcome decides nothing
    """
    odds = (share / (1 - share)) ** sum(1 if outcome else -1 for outcome in outcomes)
    return bool(rng.random() < odds / (1 + odds))


@dataclass(frozen=True, kw_only=True)
class Survival:
    """A Cox law with a constant hazard, and why some patients are lost before the event.

    Attributes
    ----------
    median_months : until the event in those without the outcome
    hazard_ratio : of those with the outcome
    followed_months : (least, greatest) time that a patient is followed; drawn evenly
    """

    median_months: float
    hazard_ratio: float
    followed_months: tuple[float, float]

    def drawn(self, outcome: bool, rng: np.random.Generator) -> tuple[float, bool]:
        """Return (months until the event or the last visit, True where it was the event)."""
        scale = self.median_months / np.log(2) / (self.hazard_ratio if outcome else 1.0)
        event, last = float(rng.exponential(scale)), float(rng.uniform(*self.followed_months))
        return min(event, last), event <= last
