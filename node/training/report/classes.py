"""Figures of some classified cases, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.toolkit.auroc import Comparison, Patients, auroc_interval, compare_aurocs
from node.toolkit.bootstrap import Interval
from node.toolkit.calibration import expected_calibration_error, recalibration
from node.toolkit.operating import Confusion, confusion
from node.training.report.about import Document
from node.training.report.classified import Classification, ClassifiedCase
from node.training.report.statistics import ratio_by_patient, share_by_patient

Rows = Sequence[ClassifiedCase]
Values = NDArray[np.float64]
#: What is compared: a number of each case.
Score = Callable[[ClassifiedCase], float]
NAN = float("nan")


def probability_of(case: ClassifiedCase) -> float:
    """Return what counts as the model's probability."""
    return case.probability


def law_of(case: ClassifiedCase) -> float:
    """Return the probability that the law gave the outcome; where it is known."""
    assert case.oracle is not None
    return case.oracle


def knows_law(rows: Rows) -> bool:
    """Return whether the law of every case is known."""
    return all(row.oracle is not None for row in rows)


def values_of(rows: Rows, score: Score) -> tuple[Values, NDArray[np.bool_]]:
    """Return a number of each case, and the outcomes."""
    return np.array([score(row) for row in rows], float), outcomes_of(rows)


def outcomes_of(rows: Rows) -> NDArray[np.bool_]:
    """Return whether each case has the outcome."""
    return np.array([row.outcome for row in rows], np.bool_)


def both_classes(rows: Rows) -> bool:
    """Return whether there are cases with the outcome and cases without it."""
    return len({row.outcome for row in rows}) == 2


def clustered(rows: Rows) -> bool:
    """Return whether a patient has several rows."""
    return len({row.known.patient for row in rows}) < len(rows)


def sides(rows: Rows, score: Score) -> tuple[Values, Values]:
    """Return the numbers of those with the outcome, and of those without."""
    values, outcome = values_of(rows, score)
    return values[outcome], values[~outcome]


def patients_of(rows: Rows) -> Patients | None:
    """Return whose the rows are, where a patient has several."""
    if not clustered(rows):
        return None
    names = np.array([row.known.patient for row in rows])
    outcome = outcomes_of(rows)
    return names[outcome].tolist(), names[~outcome].tolist()


def area(rows: Rows, score: Score = probability_of) -> Interval:
    """Return an AUROC; NaN where a class is missing."""
    if not both_classes(rows):
        return Interval(estimate=NAN, low=NAN, high=NAN)
    return auroc_interval(*sides(rows, score), patients=patients_of(rows))


def difference(rows: Rows, first: Score, second: Score) -> Comparison | None:
    """Return the difference of two AUROCs on the same cases; None where a class is missing."""
    if not both_classes(rows):
        return None
    return compare_aurocs(sides(rows, first), sides(rows, second), patients=patients_of(rows))


def standard_error(rows: Rows, score: Score = probability_of) -> float:
    """Return DeLong's standard error of an AUROC; NaN where there is none."""
    against = difference(rows, score, lambda _: 0.0)
    if against is None:
        return NAN
    reach = against.difference.high - against.difference.estimate
    return reach / NormalDist().inv_cdf(0.975)


def against_law(rows: Rows, score: Score = probability_of, law: Score = law_of) -> Document:
    """Return the AUROC of the law, and what a number of the same cases lacks to it."""
    of_law = area(rows, law)
    return {
        "oracle_auroc": asdict(of_law),
        "auroc_below_oracle": of_law.estimate - area(rows, score).estimate,
    }


def compared(comparison: Comparison | None) -> Document | None:
    """Return a comparison as a report keeps it."""
    if comparison is None:
        return None
    return {"difference": asdict(comparison.difference), "p_value": comparison.p_value}


def table_at_threshold(evaluation: Classification, rows: Rows) -> Confusion:
    """Return the confusion; where patients have several rows, intervals are drawn by patient."""
    p, outcome = values_of(rows, probability_of)
    found = confusion(p, outcome, evaluation.spec.threshold)
    if not clustered(rows):
        return found
    called = p >= evaluation.spec.threshold
    parts = {
        "sensitivity": (called & outcome, outcome),
        "specificity": (~called & ~outcome, ~outcome),
        "positive_predictive_value": (called & outcome, called),
        "negative_predictive_value": (~called & ~outcome, ~called),
        "accuracy": (called == outcome, np.ones_like(outcome)),
    }
    shares: dict[str, Any] = {
        name: _share(evaluation, rows, top, bottom) for name, (top, bottom) in parts.items()
    }
    return replace(found, **shares)


def _share(
    evaluation: Classification, rows: Rows, top: NDArray[np.bool_], bottom: NDArray[np.bool_]
) -> Interval:
    sums = np.stack([top, bottom], axis=1).astype(float)
    return share_by_patient(evaluation, sums, [row.known.patient for row in rows])


def headline(evaluation: Classification, rows: Rows) -> dict[str, Interval]:
    """Return the headline figures of some cases."""
    table = table_at_threshold(evaluation, rows)
    p, outcome = values_of(rows, probability_of)
    squares = np.stack([(p - outcome) ** 2, np.ones_like(p)], axis=1)
    error = expected_calibration_error(p, outcome)
    return {
        "auroc": area(rows),
        "sensitivity": table.sensitivity,
        "specificity": table.specificity,
        "accuracy": table.accuracy,
        "brier": ratio_by_patient(evaluation, squares, [row.known.patient for row in rows]),
        "ece": Interval(estimate=error, low=NAN, high=NAN),
        **_bent(p, outcome),
    }


def _bent(p: Values, outcome: NDArray[np.bool_]) -> dict[str, Interval]:
    nothing = Interval(estimate=NAN, low=NAN, high=NAN)
    try:
        found = recalibration(p, outcome)
    except ValueError:  # one class, or classes that are apart: no line is the best one
        return {"calibration_slope": nothing, "calibration_intercept": nothing}
    if not math.isfinite(found.slope.estimate):
        return {"calibration_slope": nothing, "calibration_intercept": nothing}
    return {"calibration_slope": found.slope, "calibration_intercept": found.intercept}


def counts(rows: Rows) -> Document:
    """Return how many of everything there are."""
    return {
        "cases": len(rows),
        "with_outcome": int(outcomes_of(rows).sum()),
        "patients": len({row.known.patient for row in rows}),
        "institutions": len({r.known.institution for r in rows if r.known.institution}),
        "without_answer": sum(row.said is None for row in rows),
    }
