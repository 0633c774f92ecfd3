"""Means, parts and rates of some cases, each with its interval by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from node.toolkit.bootstrap import Interval, ratio_interval
from node.toolkit.froc import MATCH_IOU
from node.toolkit.operating import wilson
from node.training.report.about import About, Document
from node.training.report.cases import SegmentationCase
from node.training.report.evaluation import Evaluation

Cases = Sequence[SegmentationCase]
#: Fewer patients than this: no interval, a bootstrap of them would only look like one.
LEAST_PATIENTS = 8
_OVERLAPS = ("dice", "iou", "precision", "recall")
#: What a case adds to the numerator and to the denominator of a ratio.
Value = Callable[[SegmentationCase], tuple[float, float]]


def ratio(evaluation: Evaluation, cases: Cases, value: Value) -> Interval:
    """Return sum / sum of what `value` gives of each case, with its interval."""
    sums = np.array([value(case) for case in cases], float).reshape(-1, 2)
    return ratio_by_patient(evaluation, sums, [case.known.patient for case in cases])


def share(evaluation: Evaluation, cases: Cases, value: Value) -> Interval:
    """Return a part of what there is (hits of lesions), with its interval."""
    sums = np.array([value(case) for case in cases], float).reshape(-1, 2)
    return share_by_patient(evaluation, sums, [case.known.patient for case in cases])


def share_by_patient(about: About, sums: NDArray[np.float64], patients: Sequence[str]) -> Interval:
    """Return what `ratio_by_patient` does; of all or none, Wilson's interval of the patients.

    Patients who are all alike look the same however they are drawn: a bootstrap of them is a
    point, and would say that nothing is uncertain.
    """
    found = ratio_by_patient(about, sums, patients)
    if math.isnan(found.low) or found.estimate not in (0.0, 1.0):
        return found
    counted = len({name for name, part in zip(patients, sums[:, 1], strict=True) if part})
    around = wilson(round(found.estimate * counted), counted)
    return replace(found, low=around.low, high=around.high)


def ratio_by_patient(about: About, sums: NDArray[np.float64], patients: Sequence[str]) -> Interval:
    """Return sum / sum of some rows, with its interval; none of too few patients.

    A patient who adds nothing to the denominator (no lesion of this size) does not count.

    Parameters
    ----------
    sums : float64, shape (rows, 2)
        What each row adds to the numerator, and to the denominator.
    """
    counted = {name for name, part in zip(patients, sums[:, 1], strict=True) if part}
    enough = len(counted) >= LEAST_PATIENTS
    found = ratio_interval(
        sums[:, 0],
        sums[:, 1],
        patients,
        runs=about.bootstrap_runs if enough else 1,
        seed=about.bootstrap_seed,
    )
    nan = float("nan")
    return found if enough else replace(found, low=nan, high=nan)


def hits_at(match_iou: float) -> Value:
    """Return what counts lesions found, and lesions."""
    return lambda case: (case.match.hits(match_iou), case.match.lesions)


def false_positives_at(match_iou: float) -> Value:
    """Return what counts false positives, and scans."""
    return lambda case: (case.match.false_positives(match_iou), 1.0)


def dice_of(case: SegmentationCase) -> tuple[float, float]:
    """Return what the mean Dice adds up."""
    return case.overlap.dice, 1.0


def _overlap(name: str) -> Value:
    return lambda case: (getattr(case.overlap, name), 1.0)


def headline(evaluation: Evaluation, cases: Cases) -> dict[str, Interval]:
    """Return the headline figures of some cases."""
    with_tumor = [case for case in cases if not case.tumor_free]
    free = [case for case in cases if case.tumor_free]
    figures = {name: ratio(evaluation, with_tumor, _overlap(name)) for name in _OVERLAPS}
    figures["sensitivity"] = share(evaluation, with_tumor, hits_at(MATCH_IOU))
    for name, some in (
        ("fp_per_scan", with_tumor),
        ("fp_per_tumor_free_scan", free),
        ("fp_per_scan_all", cases),
    ):
        figures[name] = ratio(evaluation, some, false_positives_at(MATCH_IOU))
    return figures


def counts(cases: Cases) -> Document:
    """Return how many of everything there are."""
    free = [case for case in cases if case.tumor_free]
    return {
        "scans": len(cases),
        "scans_with_tumor": len(cases) - len(free),
        "tumor_free_scans": len(free),
        "tumor_free_share": len(free) / len(cases),
        "tumor_free_scans_with_false_positive": sum(bool(case.components) for case in free),
        "patients": len({case.known.patient for case in cases}),
        "institutions": len({c.known.institution for c in cases if c.known.institution}),
        "lesions": sum(len(case.lesions) for case in cases),
        "components": sum(len(case.components) for case in cases),
        "scans_with_tumor_without_component": sum(
            not case.components and not case.tumor_free for case in cases
        ),
    }
