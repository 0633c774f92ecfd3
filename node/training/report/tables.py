"""Tables of a report: by size, by group, beside simple rules, distances of the surfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from node.toolkit.froc import MATCH_IOU
from node.training.report.about import Document
from node.training.report.cases import TOLERANCE_MM, SegmentationCase
from node.training.report.evaluation import Evaluation
from node.training.report.statistics import Cases, Value, counts, dice_of, headline, ratio, share


def size_class(diameter_mm: float, edges_mm: Sequence[float]) -> str:
    """Return the name of a size class.

    Examples
    --------
    >>> [size_class(d, (30, 50)) for d in (29.9, 30.0, 50.0)]
    ['< 30 mm', '30-50 mm', '>= 50 mm']
    """
    edges = [f"{edge:g}" for edge in edges_mm]
    if not edges:
        return "all"
    index = int(np.searchsorted(edges_mm, diameter_mm, side="right"))
    if index == 0:
        return f"< {edges[0]} mm"
    return f">= {edges[-1]} mm" if index == len(edges) else f"{edges[index - 1]}-{edges[index]} mm"


def by_size(evaluation: Evaluation) -> Document:
    """Return figures by the size of the lesion, and false positives by their own size."""
    edges = evaluation.size_edges_mm
    middles = [0.0, *edges]
    document: Document = {"edges_mm": list(edges), "classes": {}}
    for name in [size_class(middle, edges) for middle in middles]:
        document["classes"][name] = _size_row(evaluation, name)
    return document


def _size_row(evaluation: Evaluation, name: str) -> Document:
    """Return the figures of one size class."""
    edges, cases = evaluation.size_edges_mm, evaluation.cases
    found = {id(c): {p.lesion for p in c.match.pairs if p.iou >= MATCH_IOU} for c in cases}
    taken = {id(c): {p.component for p in c.match.pairs if p.iou >= MATCH_IOU} for c in cases}

    def hits(case: SegmentationCase) -> tuple[float, float]:
        here = [i for i, r in enumerate(case.lesions) if size_class(r.diameter_mm, edges) == name]
        return sum(i in found[id(case)] for i in here), len(here)

    def false(case: SegmentationCase) -> tuple[float, float]:
        here = [
            i for i, r in enumerate(case.components) if size_class(r.diameter_mm, edges) == name
        ]
        return sum(i not in taken[id(case)] for i in here), 1.0

    largest = [c for c in cases if not c.tumor_free and size_class(c.largest_mm, edges) == name]
    return {
        "lesions": int(sum(hits(case)[1] for case in cases)),
        "scans": len(largest),
        "dice": asdict(ratio(evaluation, largest, dice_of)),
        "sensitivity": asdict(share(evaluation, cases, hits)),
        "false_positives_of_this_size_per_scan_all": asdict(ratio(evaluation, cases, false)),
    }


def grouped(evaluation: Evaluation, key: Callable[[SegmentationCase], str]) -> Document:
    """Return the headline figures of each group of cases."""
    groups: dict[str, list[SegmentationCase]] = {}
    for case in evaluation.cases:
        groups.setdefault(key(case), []).append(case)
    return {
        name: {
            **counts(cases),
            **{k: asdict(interval) for k, interval in headline(evaluation, cases).items()},
        }
        for name, cases in sorted(groups.items())
    }


def baselines(evaluation: Evaluation) -> dict[str, Any]:
    """Return each baseline's mean Dice, and what the model has more, on the same CTs."""
    cases = [case for case in evaluation.cases if not case.tumor_free]
    names = sorted({name for case in cases for name in case.baseline_dice})
    found = {}
    for name in names:
        some = [case for case in cases if name in case.baseline_dice]
        dice = ratio(evaluation, some, _rule(name))
        gain = ratio(evaluation, some, _gain(name))
        found[name] = {"dice": asdict(dice), "model_minus_baseline": asdict(gain)}
    return found


def _rule(name: str) -> Value:
    return lambda case: (case.baseline_dice[name], 1.0)


def _gain(name: str) -> Value:
    return lambda case: (case.overlap.dice - case.baseline_dice[name], 1.0)


def surface(cases: Cases) -> Document:
    """Return mean and median of the surface figures where there are two surfaces."""
    found = [case.surface for case in cases if case.surface]
    document: Document = {"tolerance_mm": TOLERANCE_MM, "scans": len(found)}
    for name in ("hd95_mm", "assd_mm", "surface_dice"):
        values = [getattr(surface, name) for surface in found]
        document[name] = {
            "mean": float(np.mean(values)) if values else None,
            "median": float(np.median(values)) if values else None,
        }
    return document
