"""`sentinel-node study`: train with several seeds, evaluate all on one test cohort, one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.errors import LearningError
from node.manifest_file import MANIFEST_NAME
from node.toolkit.training import write_whole
from node.training.evaluate import evaluate_each
from node.training.judge import EvaluateOrder
from node.training.report import NUMBERS_NAME
from node.training.splits import check_seed
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
    #: Which test phantoms; those that a choice was made on are no test any more.
    test_seed: int = 0


def study(order: StudyOrder, progress: Progress) -> dict[str, dict[str, float]]:
    """Return mean, least and greatest of each figure over the seeds, and write it all.

    Seeds whose plugin and report are there already are not done again.
    """
    if order.seeds < 1:
        raise LearningError(f"--seeds {order.seeds} is none; give at least 1")
    check_count("--phantom-train", order.train, fewest=FEWEST_TO_TRAIN)
    check_count("--phantom-test", order.test, fewest=FEWEST_TO_EVALUATE)
    check_seed("--test-seed", order.test_seed)
    for seed in range(order.seeds):
        _check_report(order, seed)
    for seed in range(order.seeds):
        _train(order, seed, progress)
    _evaluate(order, progress)
    figures = [_figures(order, seed) for seed in range(order.seeds)]
    table = summary(figures)
    document = {"seeds": figures, "summary": table, "train": order.train, "test": order.test}
    document["test_seed"] = order.test_seed
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


def _plugin(order: StudyOrder, seed: int) -> Path:
    return order.report / f"seed-{seed}" / order.plugin.resolve().name


def _report(order: StudyOrder, seed: int) -> Path:
    return order.report / f"seed-{seed}" / "report"


def _train(order: StudyOrder, seed: int, progress: Progress) -> None:
    if (_plugin(order, seed) / MANIFEST_NAME).is_file():
        return
    train(
        TrainOrder(
            plugin=order.plugin,
            phantoms=order.train,
            seed=seed,
            out=_plugin(order, seed),
            minutes=order.minutes,
            device=order.device,
            store=order.store,
        ),
        lambda stage, done, total, more: progress(f"seed {seed}: {stage}", done, total, more),
    )


def _evaluate(order: StudyOrder, progress: Progress) -> None:
    """Show the test cases to the plugins of all seeds that have no report yet."""
    missing = [seed for seed in range(order.seeds) if _document(order, seed) is None]
    orders = [
        EvaluateOrder(
            plugin=_plugin(order, seed),
            phantoms=order.test,
            seed=order.test_seed,
            report=_report(order, seed),
            device=order.device,
            store=order.store,
            pairs=order.pairs,
        )
        for seed in missing
    ]
    if orders:
        evaluate_each(orders, progress)


def _document(order: StudyOrder, seed: int) -> dict[str, Any] | None:
    """Return what a report says, None where there is none yet."""
    path = _report(order, seed) / NUMBERS_NAME
    if not path.is_file():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _check_report(order: StudyOrder, seed: int) -> None:
    """Refuse to put figures of other test phantoms into one table."""
    document = _document(order, seed)
    if document is not None and document["data"]["seed"] != order.test_seed:
        raise LearningError(
            f"{_report(order, seed)} is of the test phantoms of seed {document['data']['seed']}, "
            f"not of --test-seed {order.test_seed}; remove it, or choose another --report"
        )


def _figures(order: StudyOrder, seed: int) -> dict[str, float]:
    document = _document(order, seed)
    assert document is not None
    if document.get("collapsed"):
        raise LearningError(
            f"seed {seed}: the model collapsed: {document.get('collapsed_reason')}",
            code="MODEL_COLLAPSED",
        )
    numbers = {k: v for k, v in document.items() if isinstance(v, int | float)}
    return {name: float(v) for name, v in numbers.items() if not isinstance(v, bool)}
