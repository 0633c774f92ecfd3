"""What a classifier does when one thing is changed, and what headers alone would tell (E12)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.manifest import EvaluationSpec
from node.toolkit.auroc import auroc, compare_aurocs
from node.toolkit.bootstrap import Interval
from node.toolkit.logistic import fit_logistic
from node.toolkit.operating import wilson
from node.training.report.about import Document
from node.training.report.classes import (
    Rows,
    area,
    both_classes,
    compared,
    patients_of,
    probability_of,
    sides,
    standard_error,
)
from node.training.report.classified import Change, Classification, ClassifiedCase, Scan

_LEAST_SHARE, _MOST_SHIFT, _MOST_LOSS, _ERRORS = 0.80, 0.05, 0.05, 2.0
_MOST_GAIN = 0.02
_FOLDS, _RIDGE, _FEWEST, _SHUFFLES = 5, 1.0, 5, 60


def changes_of(evaluation: Classification) -> Document:
    """Return the figures of every change, by kind and name, with the goals of E12."""
    figures: dict[str, Callable[[Change], Document]] = {
        "cause": _cause,
        "nuisance": _nuisance,
        "input": lambda change: _input(change, evaluation.spec.also),
        "swap": lambda change: _swap(change, evaluation.spec),
        "blank": _blank,
    }
    return {
        kind: {c.name: figure(c) for c in evaluation.changes if c.kind == kind}
        for kind, figure in figures.items()
    }


def top_figures(changes: Document, headers: Document) -> Document:
    """Return the worst figure of each kind, for the top of ``report.json``; none is left out."""
    kinds = {
        "least_cause_share": (changes["cause"], "share", min),
        "greatest_nuisance_change": (changes["nuisance"], "median_change", max),
        "greatest_input_loss": (changes["input"], "loss", max),
    }
    found = {
        name: worst(row[key] for row in rows.values())
        for name, (rows, key, worst) in kinds.items()
        if rows
    }
    blanks = [row["auroc"]["estimate"] for row in changes["blank"].values()]
    if blanks:
        found["blank_auroc"] = max(blanks, key=lambda value: abs(value - 0.5))
    for row in changes["swap"].values():
        control = row["learned_swapped"]
        found["gain_left"] = control["gain_left"] if control else row["gain_left"]
    if headers.get("controls"):
        found["header_auroc"] = headers["controls"]["auroc"]["estimate"]
    return found


def _cause(change: Change) -> Document:
    """Return how often the probability goes the law's way."""
    moves = [(_law(b) - _law(a), b.probability - a.probability) for a, b in change.pairs]
    counted = [(law, said) for law, said in moves if law != 0.0]
    right = sum(law * said > 0.0 for law, said in counted)
    share = wilson(right, len(counted))
    return {
        "pairs": len(counted),
        "share": share.estimate,
        "interval": asdict(share),
        "median_change": _median([np.sign(law) * said for law, said in counted]),
        "median_change_of_the_law": _median([abs(law) for law, _ in counted]),
        "goal": f"share >= {_LEAST_SHARE:g}",
        "met": share.estimate >= _LEAST_SHARE,
    }


def _law(case: ClassifiedCase) -> float:
    if case.oracle is None:
        raise LearningError(
            f"{case.known.patient} has no fact `oracle`; a change of kind cause needs the law's "
            "probability before and after it"
        )
    return case.oracle


def _nuisance(change: Change) -> Document:
    shifts = [abs(b.probability - a.probability) for a, b in change.pairs]
    middle = _median(shifts)
    return {
        "pairs": len(shifts),
        "median_change": middle,
        "greatest_change_of_nine_in_ten": float(np.quantile(shifts, 0.9)) if shifts else None,
        "goal": f"median change < {_MOST_SHIFT:g}",
        "met": middle < _MOST_SHIFT,
    }


def _input(change: Change, also: Sequence[str]) -> Document:
    """Return what is lost; and what is left before other probabilities of the unchanged case."""
    before, after = (tuple(pair[side] for pair in change.pairs) for side in (0, 1))
    found = _against(before, after, probability_of)
    loss = -found["difference"]["estimate"] if found else float("nan")
    return {
        **_asked(after),
        "auroc": asdict(area(after)),
        "changed_minus_as_drawn": found,
        "loss": loss,
        "changed_minus_also": _minus_also(before, after, also),
        "goal": f"loss <= {_MOST_LOSS:g}",
        "met": loss <= _MOST_LOSS,
    }


def _swap(change: Change, spec: EvaluationSpec) -> Document:
    """Return what is left of a gain over other probabilities when its source is a stranger's.

    A model that learned from the patient's own part is misled by a stranger's: it may end below
    those that never saw it, but nothing may be gained. One that learned with exchanged parts
    (`EvaluationSpec.swapped`) knows nothing of them: it must end where those do.
    """
    others = [name for name in spec.also if name != spec.swapped]
    found = _input(change, others)
    gain = max(_gains(found["changed_minus_also"]), default=float("nan"))
    control = _learned_swapped(change, spec.swapped, others)
    if not control:
        goal, met = f"no gain is left: below {_MOST_GAIN:g}", gain < _MOST_GAIN
    else:
        goal = f"no gain is left: below {_MOST_GAIN:g}; learned with exchanged parts: +-"
        goal, left = f"{goal}{_MOST_GAIN:g}", control["gain_left"]
        met = gain < _MOST_GAIN and abs(left) < _MOST_GAIN
    return {**found, "gain_left": gain, "learned_swapped": control, "goal": goal, "met": met}


def _learned_swapped(change: Change, name: str, others: Sequence[str]) -> Document | None:
    """Return the same of the number of a network that learned with exchanged parts."""
    before, after = (tuple(pair[side] for pair in change.pairs) for side in (0, 1))
    if not name or any(name not in case.also for case in after):
        return None
    rows = tuple(replace(case, said=case.also[name]) for case in after)
    found = _minus_also(before, rows, others)
    return {
        "auroc": asdict(area(rows)),
        "changed_minus_also": found,
        "gain_left": max(_gains(found), key=abs, default=float("nan")),
    }


def _gains(rows: Document) -> list[float]:
    return [row["difference"]["estimate"] for row in rows.values() if row]


def _minus_also(before: Rows, after: Rows, also: Sequence[str]) -> Document:
    """Return the changed cases' probability minus each other one of the cases as drawn."""
    return {
        name: _against(before, after, lambda case, name=name: case.also[name])  # type: ignore[misc]
        for name in also
        if all(name in case.also for case in before)
    }


def _against(
    before: Rows, after: Rows, score: Callable[[ClassifiedCase], float]
) -> Document | None:
    """Compare the changed cases' probability with a number of the same cases as drawn."""
    if not both_classes(after):
        return None
    first, second = sides(after, probability_of), sides(before, score)
    return compared(compare_aurocs(first, second, patients=patients_of(after)))


def _blank(change: Change) -> Document:
    rows = tuple(after for _, after in change.pairs)
    # A control that the plugin refuses shows nothing: refused cases count as wrong.
    return {**_asked(rows), **_chance(area(rows), standard_error(rows))}


def _asked(rows: Rows) -> Document:
    return {"cases": len(rows), "without_answer": sum(row.said is None for row in rows)}


def _chance(found: Interval, error: float) -> Document:
    """Return an AUROC that should be that of a coin."""
    return {
        "auroc": asdict(found),
        "standard_error": error,
        "goal": f"0.5 +- {_ERRORS:g} standard errors",
        "met": abs(found.estimate - 0.5) <= _ERRORS * error,
    }


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


# --- headers and geometry --------------------------------------------------------------------


def headers_of(evaluation: Classification) -> Document:
    """Return what a regression on headers and geometry tells, each fifth by the others.

    As drawn there may be something: a cohort's institutions may go with the outcome (E11). In its
    controls they do not, and then nothing may be left.
    """
    return {
        name: found
        for name, scans in (
            ("as_drawn", evaluation.scans),
            ("controls", evaluation.control_scans),
        )
        if (found := _told_by_headers(scans))
    }


def _told_by_headers(scans: Sequence[Scan]) -> Document | None:
    design, names = _design(scans)
    outcome = np.array([scan.outcome for scan in scans], np.bool_)
    if len({scan.patient for scan in scans}) < 2 * _FOLDS or len(set(outcome.tolist())) < 2:
        return None
    fold, chance = _folds(scans), np.random.default_rng(1)
    found = _cross_validated(design, outcome, fold)
    # DeLong's error knows nothing of five models of overlapping cases: it would be too small.
    shuffled = [_shuffled(outcome, fold, chance) for _ in range(_SHUFFLES)]
    areas = np.array([_cross_validated(design, mixed, fold) for mixed in shuffled])
    error = float(np.sqrt(((areas - 0.5) ** 2).mean()))
    nothing = float("nan")
    interval = Interval(estimate=found, low=nothing, high=nothing)
    return {"cases": len(scans), "features": names, **_chance(interval, error)}


def _cross_validated(
    design: NDArray[np.float64], outcome: NDArray[np.bool_], fold: NDArray[np.int64]
) -> float:
    """Return the AUROC of log-odds that each fold gets from the others."""
    said = np.zeros(len(outcome))
    for number in range(_FOLDS):
        rest = fold != number
        if design.shape[1] and 0 < outcome[rest].sum() < rest.sum():
            model = fit_logistic(design[rest], outcome[rest], ridge=_RIDGE)
            said[~rest] = model.log_odds(design[~rest])
    return auroc(said[outcome], said[~outcome])


def _shuffled(
    outcome: NDArray[np.bool_], fold: NDArray[np.int64], chance: np.random.Generator
) -> NDArray[np.bool_]:
    """Return the outcomes in another order within each fold."""
    mixed = outcome.copy()
    for number in range(_FOLDS):
        mixed[fold == number] = chance.permutation(mixed[fold == number])
    return mixed


def _folds(scans: Sequence[Scan]) -> NDArray[np.int64]:
    """Return the fold of each scan: a patient is in one, and each has the same share of outcomes.

    Unequal shares would make the folds' intercepts tell the outcome, the wrong way round.
    """
    has = {scan.patient: scan.outcome for scan in scans}
    names = sorted(has)
    order = [names[index] for index in np.random.default_rng(0).permutation(len(names))]
    turns = sorted(order, key=lambda name: has[name])  # keeps the drawn order within a class
    place = {name: number % _FOLDS for number, name in enumerate(turns)}
    return np.array([place[scan.patient] for scan in scans])


def _design(scans: Sequence[Scan]) -> tuple[NDArray[np.float64], list[str]]:
    """Return (scans, features) with mean 0 and spread 1: numbers, and words that some share."""
    columns: dict[str, NDArray[np.float64]] = {}
    for key in sorted({key for scan in scans for key in scan.features}):
        values = [scan.features.get(key, "") for scan in scans]
        if all(isinstance(value, float | int) for value in values):
            columns[key] = np.array(values, float)
            continue
        words = np.array([str(value) for value in values])
        for word in sorted(set(words.tolist())):
            columns[f"{key} = {word}"] = (words == word).astype(float)
    kept = {
        name: (column - column.mean()) / column.std()
        for name, column in columns.items()
        if column.std() > 0 and ("=" not in name or column.sum() >= _FEWEST)
    }
    if not kept:
        return np.zeros((len(scans), 0)), []
    return np.stack(list(kept.values()), axis=1), list(kept)
