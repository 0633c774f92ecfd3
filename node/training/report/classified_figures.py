"""From classified cases to numbers: everything that a classifier's `report.json` holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from node.errors import LearningError
from node.manifest import Goal
from node.toolkit.calibration import reliability
from node.toolkit.decision import decision_curve
from node.toolkit.operating import roc_curve
from node.training.report.about import Document, plain, provenance_of, statement_of
from node.training.report.changes import changes_of, headers_of, top_figures
from node.training.report.classes import (
    NAN,
    Rows,
    area,
    both_classes,
    compared,
    counts,
    difference,
    headline,
    knows_law,
    law_of,
    probability_of,
    table_at_threshold,
    values_of,
)
from node.training.report.classified import Classification, ClassifiedCase
from node.training.report.groups import by_measurement, grouped, worst_group
from node.training.report.outlook import baselines, factors, others, survival


def classification_document(evaluation: Classification) -> Document:
    """Return what `report.json` holds; NaN and infinity stand as None.

    Raises
    ------
    LearningError
        If there is no case, or all of them have the same outcome.
    """
    rows = evaluation.cases
    _check(evaluation)
    intervals = {**headline(evaluation, rows), **_oracle(rows)}
    rules = baselines(evaluation)
    beside = others(evaluation)
    changes, headers = changes_of(evaluation), headers_of(evaluation)
    measured, outlived = by_measurement(evaluation), survival(evaluation)
    distances = {
        **_distances(rows, intervals["auroc"].estimate, rules),
        "greatest_group_below_oracle": worst_group(measured),
        **_gains(evaluation, beside),
        **_planted(evaluation),
        **_log_rank(outlived),
    }
    document = {
        "format": "sentinel-node-classification-1",
        "statement": statement_of(evaluation),
        **{key: interval.estimate for key, interval in intervals.items()},
        **distances,
        **top_figures(changes, headers),
        "goals": _goals(evaluation.spec.goals, distances) if evaluation.data.synthetic else {},
        "collapsed": bool(evaluation.collapsed),
        "collapsed_reason": evaluation.collapsed,
        "synthetic": evaluation.data.synthetic,
        "evaluation": asdict(evaluation.spec),
        "intervals": {key: asdict(interval) for key, interval in intervals.items()},
        "counts": counts(rows),
        "model_minus_oracle": compared(_to_oracle(rows)),
        "baselines": rules,
        "others": beside,
        "confusion": asdict(table_at_threshold(evaluation, rows)),
        **_curves(rows),
        "factors": factors(evaluation),
        "survival": outlived,
        "changes": changes,
        "headers": headers,
        "by_institution": grouped(evaluation, lambda case: case.known.institution),
        "by_measurement": measured,
        "by_fact": {name: grouped(evaluation, _fact(name)) for name in evaluation.group_by},
        "signatures": list(evaluation.signatures),
        **provenance_of(evaluation),
        "cases": [_case(case) for case in rows],
    }
    return {key: plain(value) for key, value in document.items()}


def _check(evaluation: Classification) -> None:
    rows = evaluation.cases
    if not rows:
        raise LearningError("no case was evaluated: there is nothing to report")
    if not both_classes(rows):
        has = "have" if rows[0].outcome else "lack"
        raise LearningError(
            f"all {len(rows)} cases {has} the outcome `{evaluation.spec.outcome}` "
            f"(positive = {evaluation.spec.positive!r}); evaluate on more cases, or correct "
            "[evaluation]",
            code="DATA_INVALID",
        )


def _oracle(rows: Rows) -> dict[str, Any]:
    return {"oracle_auroc": area(rows, law_of)} if knows_law(rows) else {}


def _to_oracle(rows: Rows) -> Any:
    return difference(rows, probability_of, law_of) if knows_law(rows) else None


def _distances(rows: Rows, model: float, rules: Document) -> Document:
    """Return how far the model is from the law, and from the best simple rule."""
    found: Document = {"oracle_auroc": None, "auroc_below_oracle": None}
    if knows_law(rows):
        law = area(rows, law_of).estimate
        found = {"oracle_auroc": law, "auroc_below_oracle": law - model}
    best = max((rule["auroc"]["estimate"] for rule in rules.values()), default=None)
    above = None if best is None else model - best
    return {**found, "best_baseline_auroc": best, "auroc_above_best_baseline": above}


def _gains(evaluation: Classification, beside: Document) -> Document:
    """Return what the model has more than the best of its other numbers, and that lower bound.

    Of those that must be better than the model the same, the other way round.
    """
    more = {name: row["model_minus_this"]["difference"] for name, row in beside.items()}
    better = [more.pop(name) for name in evaluation.spec.better if name in more]
    found: Document = {}
    if more:
        found["least_gain"] = min(one["estimate"] for one in more.values())
        found["least_gain_low"] = min(one["low"] for one in more.values())
    if better:
        found["least_better"] = min(-one["estimate"] for one in better)
        found["least_better_low"] = min(-one["high"] for one in better)
    return found


def _log_rank(outlived: Document | None) -> Document:
    """Return p of the log-rank test of the two called groups, where there are both."""
    test = (outlived or {}).get("log_rank")
    return {"log_rank_p": test["p_value"]} if test else {}


def _planted(evaluation: Classification) -> Document:
    """Return how far the planted causes were found, by the worst block of any signature."""
    blocks = [one for each in evaluation.signatures for one in each.get("planted", {}).values()]
    if not blocks:
        return {}
    times = [one["enrichment"] for one in blocks]
    return {
        "planted_share": min(one["share"] for one in blocks),
        # Where nothing at all was kept, nothing is known; that is worse than any number.
        "planted_enrichment": NAN if any(math.isnan(one) for one in times) else min(times),
    }


def _goals(goals: Sequence[Goal], figures: Document) -> Document:
    """Return which of the goals that can be looked at are met."""
    found = {}
    for goal in goals:
        value, least, greatest = figures.get(goal.figure), goal.least, goal.greatest
        if value is None:
            continue
        words = [f">= {least:g}"] if least is not None else []
        words += [f"<= {greatest:g}"] if greatest is not None else []
        met = (least is None or value >= least) and (greatest is None or value <= greatest)
        found[goal.figure] = {"value": value, "goal": " and ".join(words), "met": met}
    return found


def _curves(rows: Rows) -> Document:
    p, outcome = values_of(rows, probability_of)
    roc, benefit = roc_curve(p, outcome), decision_curve(p, outcome)
    return {
        "roc": {key: getattr(roc, key) for key in ("thresholds", "sensitivity", "specificity")},
        "calibration": {
            "equal_width": [asdict(one) for one in reliability(p, outcome)],
            "equal_count": [asdict(one) for one in reliability(p, outcome, by="count")],
        },
        "decision_curve": {
            key: getattr(benefit, key) for key in ("thresholds", "model", "everybody")
        },
    }


def _fact(name: str) -> Callable[[ClassifiedCase], str]:
    """Return what reads one fact of a case."""
    return lambda case: str(case.known.facts.get(name, ""))


def _case(case: ClassifiedCase) -> Document:
    """Return one row of the table of cases."""
    return {
        "case": case.name,
        "patient": case.known.patient,
        "finding": case.finding,
        "institution": case.known.institution,
        "facts": dict(case.known.facts),
        "outcome": case.outcome,
        "probability": case.said,
        "counted_as": case.probability,
        "oracle": case.oracle,
        "also": dict(case.also),
        "measured": dict(case.measured),
        "rules": dict(case.rules),
        "time": case.time,
        "event": case.event,
    }
