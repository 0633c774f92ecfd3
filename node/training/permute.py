"""`sentinel-node permute`: what a model says once the outcomes are mixed, which must be nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from node.errors import LearningError
from node.training.compare import Judging, judged
from node.training.report.compared import permuted_page
from node.training.train import Order, Progress

NUMBERS_NAME, PAGE_NAME = "permutation.json", "permutation.html"
#: Of the mean AUROC: 0.5, or something looked at the cases it was tested on.
_LEAST, _GREATEST = 0.47, 0.53


@dataclass(frozen=True, kw_only=True)
class PermuteOrder(Order):
    """What `permute` was asked for."""

    #: A new folder for ``permutation.json`` and ``permutation.html``.
    report: Path
    runs: int = 30
    #: One of the plugin's `MODELS`; "": the first of them.
    model: str = ""


def permute(order: PermuteOrder, progress: Progress) -> Mapping[str, Any]:
    """Judge a model by mixed outcomes, write the AUROCs, and return what the JSON file holds.

    Raises
    ------
    LearningError
        If data or code are not what they must be.
    """
    if order.runs < 1:
        raise LearningError(f"--runs {order.runs} is none; give at least 1")
    judging = Judging(
        function="permuted",
        stage="mixed outcomes",
        numbers_name=NUMBERS_NAME,
        page_name=PAGE_NAME,
        page=permuted_page,
        format="sentinel-node-permutation-1",
        permutations=order.runs,
        model=order.model,
        more=_figures,
    )
    return judged(order, order.report, judging, progress)


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    aurocs = found["aurocs"]
    mean = fmean(aurocs)
    goal = f">= {_LEAST:g} and <= {_GREATEST:g}"
    return {
        "runs": len(aurocs),
        "mean": mean,
        "least": min(aurocs),
        "greatest": max(aurocs),
        "goal": {"value": mean, "goal": goal, "met": _LEAST <= mean <= _GREATEST},
    }
