"""Figures of groups of cases: by institution, by a fact, by a number that the plugin measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise

import numpy as np

from node.manifest import MeasuredGroups
from node.training.report.about import Document
from node.training.report.classes import (
    Rows,
    against_law,
    compared,
    counts,
    difference,
    headline,
    knows_law,
    law_of,
    probability_of,
)
from node.training.report.classified import Classification, ClassifiedCase

#: The group of cases of which nothing was measured.
_NOT_SAID = ""


def grouped(
    evaluation: Classification, key: Callable[[ClassifiedCase], str], order: Sequence[str] = ()
) -> Document:
    """Return the headline figures of each group of cases: first those in `order`, then by name."""
    groups: dict[str, list[ClassifiedCase]] = {}
    for case in evaluation.cases:
        groups.setdefault(key(case), []).append(case)
    names = [*(name for name in order if name in groups), *sorted(groups.keys() - set(order))]
    return {name: _figures(evaluation, groups[name]) for name in names}


def _figures(evaluation: Classification, rows: Rows) -> Document:
    found: Document = {
        **counts(rows),
        "mean_probability": float(np.mean([row.probability for row in rows])),
        **{k: asdict(interval) for k, interval in headline(evaluation, rows).items()},
    }
    if knows_law(rows):
        found |= against_law(rows)
        found["model_minus_oracle"] = compared(difference(rows, probability_of, law_of))
    return found


def by_measurement(evaluation: Classification) -> Document:
    """Return the groups that the manifest asks for, by measurement."""
    return {one.measurement: _measured(evaluation, one) for one in evaluation.spec.groups}


def _measured(evaluation: Classification, groups: MeasuredGroups) -> Document:
    names = _names(groups)

    def name_of(case: ClassifiedCase) -> str:
        value = case.measured.get(groups.measurement)
        return _NOT_SAID if value is None else names[int(np.searchsorted(groups.cuts, value))]

    return grouped(evaluation, name_of, names)


def _names(groups: MeasuredGroups) -> list[str]:
    """Return what the groups are called, from the smallest on."""
    unit = f" {groups.unit}" if groups.unit not in ("", "1") else ""
    cuts = [f"{cut:g}" for cut in groups.cuts]
    between = [f"> {low} to {high}{unit}" for low, high in pairwise(cuts)]
    return [f"<= {cuts[0]}{unit}", *between, f"> {cuts[-1]}{unit}"]


def worst_group(measured: Mapping[str, Document]) -> float | None:
    """Return the most that the model lacks to the law in a measured group with both outcomes."""
    lacks = [
        float(row["auroc_below_oracle"])
        for groups in measured.values()
        for name, row in groups.items()
        if name != _NOT_SAID and "auroc_below_oracle" in row
    ]
    return max((one for one in lacks if math.isfinite(one)), default=None)
