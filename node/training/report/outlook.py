"""What a classifier's numbers are worth beside others: rules, other numbers, factors, survival."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from node.toolkit.logistic import fit_logistic
from node.training.report.about import Document
from node.training.report.classes import (
    Rows,
    Score,
    against_law,
    area,
    both_classes,
    compared,
    difference,
    outcomes_of,
    probability_of,
)
from node.training.report.classified import Classification

_CALLED, _NOT_CALLED = "positive", "negative"


def baselines(evaluation: Classification) -> Document:
    """Return each rule's AUROC, turned around if below 0.5, and what the model has more."""
    names = sorted({name for case in evaluation.cases for name in case.rules})
    found = {}
    for name in names:
        rows = tuple(case for case in evaluation.cases if name in case.rules)
        if not both_classes(rows):
            continue
        turned = area(rows, lambda c, name=name: c.rules[name]).estimate < 0.5  # type: ignore[misc]
        sign = -1.0 if turned else 1.0
        found[name] = _beside(rows, _rule(name, sign)) | {"turned": turned}
    return found


def others(evaluation: Classification) -> Document:
    """Return the same for the other probabilities of the plugin, and what they lack to their law.

    The law of a probability that knows more than the model is another one: a fact of the cohort.
    """
    laws, found = dict(evaluation.spec.laws), {}
    for name in evaluation.spec.also:
        rows = tuple(case for case in evaluation.cases if name in case.also)
        if not both_classes(rows):
            continue
        found[name] = _beside(rows, _other(name))
        law = laws.get(name, "")
        if all(isinstance(case.known.facts.get(law), float) for case in rows):
            found[name] |= _below(rows, _other(name), _fact(law))
    return found


def _below(rows: Rows, score: Score, law: Score) -> Document:
    lacks = compared(difference(rows, score, law))
    return {**against_law(rows, score, law), "this_minus_oracle": lacks}


def _rule(name: str, sign: float) -> Score:
    return lambda case: sign * case.rules[name]


def _other(name: str) -> Score:
    return lambda case: case.also[name]


def _fact(name: str) -> Score:
    return lambda case: float(case.known.facts[name])


def _beside(rows: Rows, score: Score) -> Document:
    return {
        "cases": len(rows),
        "auroc": asdict(area(rows, score)),
        "model_minus_this": compared(difference(rows, probability_of, score)),
    }


def factors(evaluation: Classification) -> Document:
    """Return the logistic regression of the outcome on measured factors: odds ratio for each."""
    names = evaluation.spec.factors
    rows = [row for row in evaluation.cases if all(name in row.measured for name in names)]
    if not names or not both_classes(rows):
        return {}
    values = np.array([[row.measured[name] for name in names] for row in rows])
    spread = values.std(axis=0)
    if not (spread > 0).all():
        return {"cases": len(rows), "sentence": "A factor is the same in every case."}
    try:
        model = fit_logistic((values - values.mean(axis=0)) / spread, outcomes_of(rows))
    except ValueError as error:
        return {"cases": len(rows), "sentence": f"No regression: {error}."}
    return {
        "cases": len(rows),
        "factors": {
            name: {
                "standard_deviation": float(spread[index]),
                "odds_ratio_per_standard_deviation": asdict(model.odds_ratio(index)),
                "p_value": model.p_value(index),
            }
            for index, name in enumerate(names)
        },
    }


def survival(evaluation: Classification) -> Document | None:
    """Return curves by called class, log-rank, Cox and Harrell's C; None without times."""
    rows = [r for r in evaluation.cases if r.time is not None and r.event is not None]
    if not rows or any(row.finding for row in rows):
        return None
    from node.toolkit.survival import kaplan_meier, log_rank

    time, event = np.array([r.time for r in rows], float), np.array([r.event for r in rows], bool)
    called = np.array([r.probability >= evaluation.spec.threshold for r in rows])
    groups = np.where(called, _CALLED, _NOT_CALLED)
    curves = {}
    for name in sorted(set(groups.tolist())):
        one = kaplan_meier(time[groups == name], event[groups == name])
        keys = ("time", "survival", "low", "high", "at_risk", "median")
        curves[name] = {key: getattr(one, key) for key in keys}
    return {
        "patients": len(rows),
        "events": int(event.sum()),
        "curves": curves,
        "log_rank": asdict(log_rank(time, event, groups.tolist())) if len(curves) == 2 else None,
        "harrell_c": _concordance(rows),
        "hazard_ratios": _hazards(rows, called, evaluation.spec.factors),
    }


def _concordance(rows: Rows) -> float | None:
    from node.toolkit.survival import harrell_c

    time = np.array([row.time for row in rows], float)
    event = np.array([row.event for row in rows], bool)
    try:
        return harrell_c(time, event, [row.probability for row in rows])
    except ValueError:  # nobody's event is known to come before another's
        return None


def _hazards(rows: Rows, called: object, factor_names: tuple[str, ...]) -> Document:
    """Return Cox's hazard ratios: of the called class, of the true one, and of the factors."""
    from node.toolkit.survival import cox

    time, event = [row.time for row in rows], [row.event for row in rows]
    measured = {
        name: [row.measured[name] for row in rows]
        for name in factor_names
        if all(name in row.measured for row in rows)
    }
    models = {
        "called_positive": {"called positive": np.asarray(called, float)},
        "true_outcome": {"true outcome": outcomes_of(rows).astype(float)},
        "called_positive_and_factors": {"called positive": np.asarray(called, float), **measured},
    }
    if not measured:
        models.pop("called_positive_and_factors")
    found: Document = {}
    for name, covariates in models.items():
        try:
            model = cox(time, event, covariates)  # type: ignore[arg-type]
        except ValueError as error:
            found[name] = {"sentence": f"No hazard ratio: {error}."}
            continue
        found[name] = {
            one.name: {**asdict(one.ratio), "p_value": one.p_value} for one in model.hazards
        }
    return found
