"""`sentinel-node evaluate`: what a plugin says of cases it never saw, beside what is true."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node import __version__
from node.errors import LearningError
from node.manifest import Manifest
from node.manifest_file import parse_manifest
from node.training.answers import Answered, answers
from node.training.cases import StudyTask, Task, phantom_tasks, tasks_of
from node.training.folder import look_at, studies_of
from node.training.plugin_code import Abilities, abilities
from node.training.report import (
    NUMBERS_NAME,
    REFERENCE_NAME,
    DataSource,
    Evaluation,
    Known,
    SegmentationCase,
    assess_case,
    read_reference,
    write_report,
)
from node.training.splits import TEST_SPLIT, check_unseen, was_learned
from node.training.store import Store, check_new_folder, whole_folder
from node.training.train import (
    FEWEST_TO_EVALUATE,
    PROVENANCE,
    Order,
    Progress,
    check_cohort,
    check_source,
)
from node.training.workers import Workers, raised

#: What ``report.json`` holds.
Document = Mapping[str, object]
_MOST_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateOrder(Order):
    """What `evaluate` was asked for."""

    #: A new folder for ``report.html``, ``report.json`` and pictures.
    report: Path


def evaluate(order: EvaluateOrder, progress: Progress) -> Document:
    """Run a plugin on its test cases, write the report, and return what ``report.json`` holds.

    Raises
    ------
    LearningError
        If data are not what they must be, or hold a case that was learned from.
    """
    manifest = parse_manifest(order.plugin)
    check_source(order.data, order.phantoms, fewest=FEWEST_TO_EVALUATE)
    check_new_folder(order.report, outside=order.plugin)
    if not manifest.segments:
        raise LearningError(
            f"{manifest.name} has no [segments]; `evaluate` compares masks, so it cannot judge it"
        )
    learned = read_provenance(order.plugin)
    with Workers() as workers:
        able = workers.one(abilities, order.plugin)
        tasks = _tasks(order, manifest, able, workers, progress)
        found = answers(
            manifest,
            tasks,
            workers=workers,
            device=order.device,
            with_scores="score" in able.train,
            store=Store(order.store),
        )
        cases, failures, contents, threads = [], [], [], 0
        with closing(found):
            for number, answered in enumerate(found, start=1):
                contents.append(answered.content)
                if was_learned(learned, answered.content):
                    _refuse(learned, tasks, contents, workers)
                cases.append(_assessed(manifest, answered))
                failures += [answered.failure] if answered.failure else []
                threads = max(threads, answered.threads)
                progress("run", number, len(tasks), {})
    if len(failures) == len(cases):
        raise LearningError(f"the plugin failed on every case: {failures[0]}", code="PLUGIN_FAILED")
    evaluation = _evaluation(order, manifest, tuple(cases), failures, learned)
    evaluation = replace(evaluation, machine={**evaluation.machine, "threads": str(threads)})
    with whole_folder(order.report, last=NUMBERS_NAME) as draft:
        return write_report(draft, evaluation)


def _refuse(
    learned: Mapping[str, object], tasks: Sequence[Task], contents: Sequence[str], workers: Workers
) -> None:
    """Look at the cases that are left, without running them, and say how many were learned from."""
    left = raised(workers.each(look_at, [(task,) for task in tasks[len(contents) :]]))
    lines = [task.row.line for task in tasks if isinstance(task, StudyTask)]
    check_unseen(learned, [*contents, *(one.sha256 for one in left)], lines)


def read_provenance(plugin: Path) -> dict[str, object]:
    """Return what ``training.json`` says, {} where there is none."""
    try:
        document = json.loads((plugin / PROVENANCE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LearningError(f"{PROVENANCE} of {plugin.name} is not JSON; train again") from error
    return document if isinstance(document, dict) else {}


def _tasks(
    order: EvaluateOrder,
    manifest: Manifest,
    able: Abilities,
    workers: Workers,
    progress: Progress,
) -> tuple[Task, ...]:
    if order.phantoms is not None:
        check_cohort(manifest, able)
        return phantom_tasks(order.plugin, TEST_SPLIT, order.phantoms, order.seed)
    assert order.data is not None
    studies = studies_of(
        order.data,
        order.plugin,
        able.labels,
        workers=workers,
        store=Store(order.store),
        advance=partial(_advance, progress),
    )
    tasks = tasks_of(studies, TEST_SPLIT)
    if not tasks:
        raise LearningError(
            "no patient is in split test; add patients, or say the split in a column `split`",
            code="DATA_INVALID",
        )
    return tasks


def _advance(progress: Progress, done: int, total: int) -> None:
    progress("look at studies", done, total, {})


def _assessed(manifest: Manifest, answered: Answered) -> SegmentationCase:
    loaded = answered.loaded
    masks = loaded.labels.masks
    if not masks:
        raise LearningError(f"nobody outlined {', '.join(manifest.segments)} in {loaded.patient}")
    truth: NDArray[np.bool_] = np.logical_or.reduce(list(masks.values()))
    baselines = {
        name: mask.astype(np.bool_)
        for name, mask in answered.scores.items()
        if mask.shape == truth.shape
    }
    return assess_case(
        loaded.case,
        truth,
        answered.result,
        known=Known(
            patient=loaded.patient, institution=loaded.institution, facts=dict(loaded.facts)
        ),
        baselines=baselines,
        segment=next(iter(masks)) if len(manifest.segments) == 1 else "",
    )


def _evaluation(
    order: EvaluateOrder,
    manifest: Manifest,
    cases: tuple[SegmentationCase, ...],
    failures: list[str],
    learned: Mapping[str, object],
) -> Evaluation:
    institutions = len({case.known.institution for case in cases} - {""})
    of = f" of {institutions} institutions" if institutions else ""
    what = "phantoms" if order.phantoms is not None else "studies of a data folder"
    notes = []
    if failures:
        notes.append(
            f"The plugin gave no result for {len(failures)} of {len(cases)} cases, which count as "
            f"empty masks; the first time: {failures[0]}"
        )
    if learned:
        notes.append(
            f"Weights: {learned.get('train')} training and {learned.get('tuning')} tuning cases "
            f"({learned.get('data')}), seed {learned.get('seed')}, "
            f"{learned.get('fit_seconds')} s on {learned.get('device')} with "
            f"{learned.get('threads')} threads."
        )
    return Evaluation(
        manifest=manifest,
        cases=cases,
        data=DataSource(
            kind="phantom" if order.phantoms is not None else "folder",
            description=f"{len(cases)} {what}{of}",
            cohort_sha256=manifest.cohort.sha256 if manifest.cohort and order.phantoms else "",
            seed=order.seed if order.phantoms is not None else None,
        ),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine={"device": order.device, "cpu": _processor()},
        versions=_versions(),
        reference=read_reference(order.plugin / REFERENCE_NAME),
        group_by=_strata(cases),
        notes=tuple(notes),
    )


def _strata(cases: Sequence[SegmentationCase]) -> tuple[str, ...]:
    """Return the facts in words that tell a few groups of cases apart."""
    values: dict[str, set[str]] = {}
    for case in cases:
        for name, value in case.known.facts.items():
            if isinstance(value, str | bool):
                values.setdefault(name, set()).add(str(value))
    return tuple(sorted(name for name, found in values.items() if 2 <= len(found) <= _MOST_GROUPS))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "sentinel-node": __version__}
    for name in ("numpy", "torch", "monai"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
