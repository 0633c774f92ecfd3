"""`sentinel-node compare`: every model of a plugin judged on the same cases, in one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node import __version__
from node.manifest_file import parse_manifest
from node.toolkit.workers import Workers, fit_threads
from node.training.fitting import compare as run_compare
from node.training.fitting_process import FitJob
from node.training.plugin_code import abilities, model_of
from node.training.report.compared import compared_page
from node.training.splits import TRAIN_SPLIT, TUNING_SPLIT
from node.training.store import Store, check_new_folder, whole_folder
from node.training.train import (
    FEWEST_TO_TRAIN,
    Order,
    Progress,
    check_functions,
    check_source,
    examples_of,
)

NUMBERS_NAME, PAGE_NAME = "compare.json", "compare.html"


@dataclass(frozen=True, kw_only=True)
class CompareOrder(Order):
    """What `compare` was asked for."""

    #: A new folder for ``compare.json`` and ``compare.html``.
    report: Path


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What is done with the examples, and how it is written down."""

    #: Of ``train.py``.
    function: str
    #: Of the bar that moves.
    stage: str
    numbers_name: str
    page_name: str
    page: Callable[[Mapping[str, Any]], str]
    #: Of the document.
    format: str
    permutations: int = 0
    #: One of the plugin's models; None: all.
    model: str | None = None
    #: Of what was found: what is said beside it.
    more: Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(default=lambda _: {})


def compare(order: CompareOrder, progress: Progress) -> Mapping[str, Any]:
    """Judge every model of a plugin, write the table, and return what ``compare.json`` holds.

    Training cases are judged by nested cross-validation, tuning cases by what was learned from
    all training cases: nothing is ever learned from them. Examples are those of `train`.

    Raises
    ------
    LearningError
        If data or code are not what they must be.
    """
    judging = Judging(
        function="compare",
        stage="compare",
        numbers_name=NUMBERS_NAME,
        page_name=PAGE_NAME,
        page=compared_page,
        format="sentinel-node-comparison-1",
    )
    return judged(order, order.report, judging, progress)


def judged(order: Order, report: Path, judging: Judging, progress: Progress) -> Mapping[str, Any]:
    """Have a plugin judge its examples, and write what it found into a new folder."""
    manifest = parse_manifest(order.plugin)
    check_source(order.data, order.phantoms, fewest=FEWEST_TO_TRAIN)
    check_new_folder(report, outside=order.plugin)
    store = Store(order.store)
    with Workers() as workers:
        able = workers.one(abilities, order.plugin)
        check_functions(manifest, able, order, "examples", judging.function)
        model = "" if judging.model is None else model_of(able, judging.model)
        _, made = examples_of(order, able, workers, progress, fresh=False)
    with whole_folder(report, last=judging.numbers_name) as draft:
        work = store.run_folder(store.key(judging.function, str(draft)))
        job = FitJob(
            plugin=order.plugin,
            train=made[TRAIN_SPLIT],
            tuning=made[TUNING_SPLIT],
            seed=order.seed,
            device=order.device,
            threads=fit_threads(),
            max_seconds=None,
            folder=work,
            model=model,
            comparing=True,
            permutations=judging.permutations,
        )
        try:
            found = run_compare(
                job, lambda done, total, figures: progress(judging.stage, done, total, figures)
            )
        finally:
            store.drop(work)
        document = {
            "format": judging.format,
            "plugin": {"name": manifest.name, "version": manifest.version, "title": manifest.title},
            "data": "phantoms" if order.phantoms is not None else "folder",
            "train": len(job.train),
            "tuning": len(job.tuning),
            "seed": order.seed,
            "model": model,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **found,
            **judging.more(found),
            "versions": {"sentinel-node": __version__, **found["versions"]},
        }
        (draft / judging.page_name).write_text(judging.page(document), encoding="utf-8")
        (draft / judging.numbers_name).write_text(
            json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    return document
