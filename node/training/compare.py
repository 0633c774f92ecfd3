"""`sentinel-node compare`: every model of a plugin judged on the same cases, in one table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node import __version__
from node.manifest_file import parse_manifest
from node.toolkit.workers import Workers, fit_threads
from node.training.fitting import FitJob
from node.training.fitting import compare as run_compare
from node.training.plugin_code import abilities
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


def compare(order: CompareOrder, progress: Progress) -> Mapping[str, Any]:
    """Judge every model of a plugin, write the table, and return what ``compare.json`` holds.

    Training cases are judged by nested cross-validation, tuning cases by what was learned from
    all training cases: nothing is ever learned from them. Examples are those of `train`.

    Raises
    ------
    LearningError
        If data or code are not what they must be.
    """
    manifest = parse_manifest(order.plugin)
    check_source(order.data, order.phantoms, fewest=FEWEST_TO_TRAIN)
    check_new_folder(order.report, outside=order.plugin)
    store = Store(order.store)
    with Workers() as workers:
        able = workers.one(abilities, order.plugin)
        check_functions(manifest, able, order, "examples", "compare")
        _, made = examples_of(order, able, workers, progress, fresh=False)
    with whole_folder(order.report, last=NUMBERS_NAME) as draft:
        work = store.run_folder(store.key("compare", str(draft)))
        job = FitJob(
            plugin=order.plugin,
            train=made[TRAIN_SPLIT],
            tuning=made[TUNING_SPLIT],
            seed=order.seed,
            device=order.device,
            threads=fit_threads(),
            max_seconds=None,
            folder=work,
            comparing=True,
        )
        try:
            found = run_compare(
                job, lambda done, total, figures: progress("compare", done, total, figures)
            )
        finally:
            store.drop(work)
        document = {
            "format": "sentinel-node-comparison-1",
            "plugin": {"name": manifest.name, "version": manifest.version, "title": manifest.title},
            "data": "phantoms" if order.phantoms is not None else "folder",
            "train": len(job.train),
            "tuning": len(job.tuning),
            "seed": order.seed,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **found,
            "versions": {"sentinel-node": __version__, **found["versions"]},
        }
        (draft / PAGE_NAME).write_text(compared_page(document), encoding="utf-8")
        (draft / NUMBERS_NAME).write_text(
            json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    return document
