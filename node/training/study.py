"""`sentinel-node study`: train with several seeds, evaluate each on one test cohort, one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import LearningError
from node.toolkit.training import write_whole
from node.training.evaluate import EvaluateOrder, evaluate
from node.training.train import (
    FEWEST_TO_EVALUATE,
    FEWEST_TO_TRAIN,
    Progress,
    TrainOrder,
    check_count,
    train,
)


@dataclass(frozen=True, kw_only=True)
class StudyOrder:
    """What `study` was asked for."""

    plugin: Path
    seeds: int
    train: int
    test: int
    #: Gets a plugin and a report for each seed, and ``study.json``.
    report: Path
    minutes: float | None = None
    device: str = "cpu"
    store: Path
    #: As `EvaluateOrder.pairs`.
    pairs: int = 0


def study(order: StudyOrder, progress: Progress) -> dict[str, dict[str, float]]:
    """Return mean, least and greatest of each figure over the seeds, and write it all.

    Seeds whose plugin and report are there already are not done again.
    """
    if order.seeds < 1:
        raise LearningError(f"--seeds {order.seeds} is none; give at least 1")
    check_count("--phantom-train", order.train, fewest=FEWEST_TO_TRAIN)
    check_count("--phantom-test", order.test, fewest=FEWEST_TO_EVALUATE)
    figures = [_one(order, seed, progress) for seed in range(order.seeds)]
    table = summary(figures)
    document = {"seeds": figures, "summary": table, "train": order.train, "test": order.test}
    write_whole(order.report / "study.json", (json.dumps(document, indent=1) + "\n").encode())
    return table


def summary(figures: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean, min and max of each figure that every seed has.

    Examples
    --------
    >>> summary([{"dice": 0.8}, {"dice": 0.9, "more": 1.0}])
    {'dice': {'mean': 0.85, 'min': 0.8, 'max': 0.9}}
    """
    common = [name for name in figures[0] if all(name in one for one in figures)]
    return {
        name: {
            "mean": round(sum(one[name] for one in figures) / len(figures), 6),
            "min": min(one[name] for one in figures),
            "max": max(one[name] for one in figures),
        }
        for name in common
    }


def _one(order: StudyOrder, seed: int, progress: Progress) -> dict[str, float]:
    folder = order.report / f"seed-{seed}"
    plugin, report = folder / order.plugin.resolve().name, folder / "report"

    def named(stage: str, done: float, total: float, more: Mapping[str, float]) -> None:
        progress(f"seed {seed}: {stage}", done, total, more)

    if not (plugin / "plugin.toml").is_file():
        train(
            TrainOrder(
                plugin=order.plugin,
                phantoms=order.train,
                seed=seed,
                out=plugin,
                minutes=order.minutes,
                device=order.device,
                store=order.store,
            ),
            named,
        )
    if (report / "report.json").is_file():
        document = json.loads((report / "report.json").read_text(encoding="utf-8"))
    else:
        document = evaluate(
            EvaluateOrder(
                plugin=plugin,
                phantoms=order.test,
                report=report,
                device=order.device,
                store=order.store,
                pairs=order.pairs,
            ),
            named,
        )
    if document.get("collapsed"):
        raise LearningError(
            f"seed {seed}: the model collapsed: {document.get('collapsed_reason')}",
            code="MODEL_COLLAPSED",
        )
    numbers = {k: v for k, v in document.items() if isinstance(v, int | float)}
    return {name: float(v) for name, v in numbers.items() if not isinstance(v, bool)}
