"""The two FROC curves of a report, labelled apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from node.toolkit.froc import (
    CAMELYON_RATES,
    MATCH_IOU,
    MATCH_IOUS,
    ScanMatch,
    average_sensitivity,
    froc_over_match_iou,
    froc_over_score,
)
from node.training.report.about import Document
from node.training.report.evaluation import Evaluation
from node.training.report.statistics import (
    Cases,
    false_positives_at,
    hits_at,
    ratio,
    share,
)

MEANING_MATCH_IOU = (
    "All components count; the overlap (IoU) that a component needs to count as a hit is swept. "
    "CTs with a tumour only."
)
MEANING_SCORE = (
    f"The classic FROC: a hit needs an IoU of {MATCH_IOU}; components below a score are left "
    "out, and that score is swept."
)


def over_match_iou(evaluation: Evaluation) -> Document:
    """Return curve (a), with intervals."""
    cases = [case for case in evaluation.cases if not case.tumor_free]
    points = []
    for point in froc_over_match_iou([case.match for case in cases], MATCH_IOUS):
        sensitivity = share(evaluation, cases, hits_at(point.match_iou))
        false = ratio(evaluation, cases, false_positives_at(point.match_iou))
        intervals = {"sensitivity": asdict(sensitivity), "fp_per_scan": asdict(false)}
        points.append({**asdict(point), "intervals": intervals})
    return {"meaning": MEANING_MATCH_IOU, "points": points}


def over_score(cases: Cases) -> Document:
    """Return curve (b): one sensitivity, false positives per scan of three kinds."""
    matches = [case.match for case in cases]
    free = [match for match in matches if not match.lesions]
    with_tumor = [match for match in matches if match.lesions]
    curve = froc_over_score(matches)
    rates = {
        "fp_per_scan": _rates(with_tumor, [p.score for p in curve]),
        "fp_per_tumor_free_scan": _rates(free, [p.score for p in curve]),
    }
    points = [
        {
            "score": p.score if math.isfinite(p.score) else None,
            "sensitivity": p.sensitivity,
            "fp_per_scan_all": p.fp_per_scan,
            **{name: values[index] for name, values in rates.items()},
        }
        for index, p in enumerate(curve)
    ]
    return {
        "meaning": MEANING_SCORE,
        "match_iou": MATCH_IOU,
        "points": points,
        "average_sensitivity": {
            "value": average_sensitivity(curve),
            "at_fp_per_scan_all": list(CAMELYON_RATES),
        },
    }


def _rates(matches: Sequence[ScanMatch], scores: Sequence[float]) -> list[float]:
    """Return the false positives per scan of some scans at given scores."""
    false = [
        score
        for match in matches
        for index, score in enumerate(match.scores)
        if index not in {p.component for p in match.pairs if p.iou >= MATCH_IOU}
    ]
    below = np.searchsorted(np.sort(false), scores)
    return [(len(false) - int(n)) / len(matches) if matches else math.nan for n in below]
