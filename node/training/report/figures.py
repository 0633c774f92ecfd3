"""From the cases to numbers: everything that `report.json` holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from node.errors import LearningError
from node.toolkit.froc import ScanMatch
from node.training.report.about import Document, plain, provenance_of, statement_of
from node.training.report.cases import Region, SegmentationCase
from node.training.report.curves import over_match_iou, over_score
from node.training.report.evaluation import Evaluation
from node.training.report.statistics import counts, headline
from node.training.report.tables import baselines, by_size, grouped, surface


def document_of(evaluation: Evaluation) -> Document:
    """Return what `report.json` holds; NaN and infinity stand as None.

    Raises
    ------
    LearningError
        If there is no case.
    """
    if not evaluation.cases:
        raise LearningError("no case was evaluated: there is nothing to report")
    intervals = headline(evaluation, evaluation.cases)
    rules = baselines(evaluation)
    best = max(rules.values(), key=lambda b: b["dice"]["estimate"], default=None)
    document = {
        "format": "sentinel-node-segmentation-1",
        "statement": statement_of(evaluation),
        **{key: interval.estimate for key, interval in intervals.items()},
        "baseline_dice": best["dice"]["estimate"] if best else None,
        "collapsed": bool(evaluation.collapsed),
        "collapsed_reason": evaluation.collapsed,
        "synthetic": evaluation.data.synthetic,
        "intervals": {key: asdict(interval) for key, interval in intervals.items()},
        "counts": counts(evaluation.cases),
        "baselines": rules,
        "surface": surface(evaluation.cases),
        "froc_over_match_iou": over_match_iou(evaluation),
        "froc_over_score": over_score(evaluation.cases),
        "by_size": by_size(evaluation),
        "by_institution": grouped(evaluation, lambda case: case.known.institution),
        "by_fact": {name: grouped(evaluation, _fact(name)) for name in evaluation.group_by},
        **provenance_of(evaluation),
        "cases": [_case(case) for case in evaluation.cases],
    }
    return {key: plain(value) for key, value in document.items()}


def _fact(name: str) -> Callable[[SegmentationCase], str]:
    """Return what reads one fact of a case."""
    return lambda case: str(case.known.facts.get(name, ""))


def _case(case: SegmentationCase) -> Document:
    """Return one row of the table of cases."""
    match = case.match
    return {
        "case": case.known.patient,
        "institution": case.known.institution,
        "facts": dict(case.known.facts),
        "tumor_free": case.tumor_free,
        **asdict(case.overlap),
        "surface": asdict(case.surface) if case.surface else None,
        "lesions": [_region(r) | {"iou": _iou(match, i)} for i, r in enumerate(case.lesions)],
        "components": [_region(r) | {"score": r.score} for r in case.components],
        "hits": match.hits(),
        "false_positives": match.false_positives(),
        "baseline_dice": dict(case.baseline_dice),
    }


def _region(region: Region) -> Document:
    """Return the size of a region."""
    return {"volume_ml": region.volume_ml, "diameter_mm": region.diameter_mm}


def _iou(match: ScanMatch, lesion: int) -> float:
    """Return the IoU of the component that was matched with a lesion; 0 without one."""
    return next((pair.iou for pair in match.pairs if pair.lesion == lesion), 0.0)
