"""`sentinel-node evaluate`: what a plugin says of cases it never saw, beside what is true."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.manifest import EvaluationSpec, Manifest
from node.manifest_file import parse_manifest
from node.toolkit.workers import Workers, raised
from node.training.answers import Answered, answers
from node.training.cases import Loaded, PhantomTask, StudyTask, Task, phantom_tasks, tasks_of
from node.training.collapse import Answer, answer_of, collapsed
from node.training.folder import look_at, studies_of
from node.training.planted import with_causes
from node.training.plugin_code import COHORT, Abilities, abilities
from node.training.relevant import PROVENANCE
from node.training.report import (
    NUMBERS_NAME,
    REFERENCE_NAME,
    About,
    Change,
    Classification,
    ClassifiedCase,
    DataSource,
    Evaluation,
    Known,
    Scan,
    SegmentationCase,
    assess_case,
    classify_case,
    read_reference,
    signatures_of,
    write_report,
)
from node.training.splits import TEST_SPLIT, Content, check_unseen, was_learned
from node.training.store import Store, check_new_folder, whole_folder
from node.training.surroundings import processor, strata, versions
from node.training.train import (
    FEWEST_TO_EVALUATE,
    Order,
    Progress,
    check_cohort,
    check_source,
)
from node.training.variants import (
    CONTROL,
    changes_from,
    features_of,
    scan_of,
    variant_tasks,
)

#: What ``report.json`` holds.
Document = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class EvaluateOrder(Order):
    """What `evaluate` was asked for."""

    #: A new folder for ``report.html``, ``report.json`` and pictures.
    report: Path
    #: Change one thing in so many phantoms, and ask again; 0: none.
    pairs: int = 0


def evaluate(order: EvaluateOrder, progress: Progress) -> Document:
    """Run a plugin on its test cases, write the report, and return what ``report.json`` holds.

    Raises
    ------
    LearningError
        If data are not what they must be, or hold a case that was learned from.
    """
    manifest = parse_manifest(order.plugin)
    _check(order, manifest)
    learned = read_provenance(order.plugin)
    with Workers() as workers:
        able = workers.one(abilities, order.plugin)
        if order.pairs and not able.has_variants:
            raise LearningError(
                f"{COHORT} of {manifest.name} has no function `variants`, so --pairs has nothing "
                "to change (docs/evaluation.md)"
            )
        if "fit" in able.train and not manifest.weights:
            raise LearningError(
                f"{manifest.name} has no weights yet; train it first: sentinel-node train "
                f"{order.plugin} --phantom 60 --in-place, or with --data FOLDER"
            )
        signatures = with_causes(signatures_of(manifest), manifest, able, learned, workers)
        bench = _Bench(order=order, manifest=manifest, workers=workers, progress=progress)
        tasks = _tasks(order, manifest, able, workers, progress)
        judged = _judge(bench, tasks, learned, with_scores="score" in able.train)
        closer = _look_closer(bench, judged)
    if len(judged.failures) == len(tasks):
        raise LearningError(
            f"the plugin failed on every case: {judged.failures[0]}", code="PLUGIN_FAILED"
        )
    evaluation = _evaluation(bench, judged, closer, learned, signatures)
    with whole_folder(order.report, last=NUMBERS_NAME) as draft:
        return write_report(draft, evaluation)


def _check(order: EvaluateOrder, manifest: Manifest) -> None:
    """Refuse what cannot be evaluated before anything is rendered."""
    check_source(order.data, order.phantoms, fewest=FEWEST_TO_EVALUATE)
    check_new_folder(order.report, outside=order.plugin)
    if not manifest.segments and not manifest.evaluation:
        raise LearningError(
            f"{manifest.name} has neither [segments] nor [evaluation]: nothing says what of its "
            "result is compared with what (docs/evaluation.md)"
        )
    if order.pairs < 0:
        raise LearningError(f"--pairs {order.pairs} is no number of cases; give 0 or more")
    if order.pairs and (order.phantoms is None or not manifest.evaluation):
        raise LearningError(
            "--pairs changes one thing of a phantom and asks a classifier again; it needs "
            "--phantom N and a plugin with [evaluation]"
        )


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """What every run of one evaluation needs."""

    order: EvaluateOrder
    manifest: Manifest
    workers: Workers
    progress: Progress

    def answers(
        self, tasks: Sequence[Task], *, with_scores: bool, only_seen: Collection[Task] = ()
    ) -> Generator[Answered, None, None]:
        """Yield what the plugin says of each case; `only_seen` are not run."""
        return answers(
            self.manifest,
            tasks,
            workers=self.workers,
            device=self.order.device,
            with_scores=with_scores,
            store=Store(self.order.store),
            only_seen=only_seen,
        )


@dataclass(kw_only=True)
class _Judged:
    """What came of the test cases as they are."""

    tasks: Sequence[Task]
    masks: list[SegmentationCase] = field(default_factory=list)
    #: Of a classifier: the rows of each case.
    rows: list[tuple[ClassifiedCase, ...]] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    threads: int = 0

    @property
    def known(self) -> list[Known]:
        """Return who the cases are."""
        return [case.known for case in self.masks] + [rows[0].known for rows in self.rows]

    def take(self, manifest: Manifest, answered: Answered) -> None:
        """Compare one answer with the truth and keep what counts."""
        self.answers.append(answer_of(answered.result, answered.loaded.labels))
        if manifest.evaluation:
            rows = _classified(manifest.evaluation, answered)
            self.rows.append(rows)
            self.scans.append(scan_of(rows, features_of(answered.loaded)))
        else:
            self.masks.append(_assessed(manifest, answered))
        self.failures += [answered.failure] if answered.failure else []
        self.threads = max(self.threads, answered.threads)


def _judge(
    bench: _Bench, tasks: Sequence[Task], learned: Mapping[str, object], *, with_scores: bool
) -> _Judged:
    judged, contents = _Judged(tasks=tasks), []
    with closing(bench.answers(tasks, with_scores=with_scores)) as found:
        for number, answered in enumerate(found, start=1):
            contents.append(answered.content)
            if was_learned(learned, answered.content):
                _refuse(learned, tasks, contents, bench.workers)
            judged.take(bench.manifest, answered)
            bench.progress("run", number, len(tasks), {})
    return judged


@dataclass(frozen=True, kw_only=True)
class _Closer:
    """What came of the cases with one thing changed."""

    changes: tuple[Change, ...] = ()
    control_scans: tuple[Scan, ...] = ()


def _look_closer(bench: _Bench, judged: _Judged) -> _Closer:
    """Change one thing of each phantom, if asked to, and run the plugin again."""
    spec = bench.manifest.evaluation
    drawn = [task for task in judged.tasks if isinstance(task, PhantomTask)]
    if not bench.order.pairs or spec is None:
        return _Closer()
    several = variant_tasks(drawn, bench.order.pairs, bench.workers)
    controls = frozenset(task for task, kind in several if kind == CONTROL)
    found = bench.answers([task for task, _ in several], with_scores=False, only_seen=controls)
    changed, scans = [], []
    with closing(found):
        for number, ((task, kind), answered) in enumerate(zip(several, found, strict=True), 1):
            if task in controls:
                features = features_of(answered.loaded)
                scans.append(scan_of(judged.rows[task.index], features))
            else:
                changed.append((task, kind, _classified(spec, answered, with_picture=False)))
            bench.progress("change one thing", number, len(several), {})
    return _Closer(changes=changes_from(judged.rows, changed), control_scans=tuple(scans))


def _classified(
    spec: EvaluationSpec, answered: Answered, *, with_picture: bool = True
) -> tuple[ClassifiedCase, ...]:
    loaded = answered.loaded
    return classify_case(
        loaded.case,
        loaded.labels,
        None if answered.failure else answered.result,
        known=_known(loaded),
        spec=spec,
        scores=answered.scores,
        with_picture=with_picture,
    )


def _refuse(
    learned: Mapping[str, object],
    tasks: Sequence[Task],
    contents: Sequence[Content],
    workers: Workers,
) -> None:
    """Look at the cases that are left, without running them, and say how many were learned from."""
    left = raised(workers.each(look_at, [(task,) for task in tasks[len(contents) :]]))
    lines = [task.row.line for task in tasks if isinstance(task, StudyTask)]
    check_unseen(learned, [*contents, *left], lines)


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
        known=_known(loaded),
        baselines=baselines,
        segment=next(iter(masks)) if len(manifest.segments) == 1 else "",
    )


def _known(loaded: Loaded) -> Known:
    return Known(patient=loaded.patient, institution=loaded.institution, facts=dict(loaded.facts))


def _evaluation(
    bench: _Bench,
    judged: _Judged,
    closer: _Closer,
    learned: Mapping[str, object],
    signatures: Sequence[dict[str, Any]],
) -> Evaluation | Classification:
    order, manifest = bench.order, bench.manifest
    why = collapsed(manifest, judged.answers)
    about = About(
        manifest=manifest,
        data=_data(order, manifest, judged),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine={"device": order.device, "cpu": processor(), "threads": str(judged.threads)},
        versions=versions(),
        reference=read_reference(order.plugin / REFERENCE_NAME),
        group_by=strata(
            [row.known for rows in judged.rows for row in rows] or judged.known, manifest.evaluation
        ),
        notes=_notes(judged, learned),
        collapsed=f"Collapsed: {why}." if why else "",
        signatures=tuple(signatures),
    )
    common = {one.name: getattr(about, one.name) for one in fields(About)}
    if manifest.evaluation is None:
        return Evaluation(cases=tuple(judged.masks), **common)
    return Classification(
        spec=manifest.evaluation,
        cases=tuple(row for rows in judged.rows for row in rows),
        changes=closer.changes,
        scans=tuple(judged.scans),
        control_scans=closer.control_scans,
        **common,
    )


def _data(order: EvaluateOrder, manifest: Manifest, judged: _Judged) -> DataSource:
    institutions = len({one.institution for one in judged.known} - {""})
    of = f" of {institutions} institutions" if institutions else ""
    what = "phantoms" if order.phantoms is not None else "studies of a data folder"
    return DataSource(
        kind="phantom" if order.phantoms is not None else "folder",
        description=f"{len(judged.known)} {what}{of}",
        cohort_sha256=manifest.cohort.sha256 if manifest.cohort and order.phantoms else "",
        seed=order.seed if order.phantoms is not None else None,
    )


def _notes(judged: _Judged, learned: Mapping[str, object]) -> tuple[str, ...]:
    notes = []
    if judged.failures:
        counted = "empty masks" if judged.masks else "wrong"
        notes.append(
            f"The plugin gave no result for {len(judged.failures)} of {len(judged.tasks)} cases, "
            f"which count as {counted}; the first time: {judged.failures[0]}"
        )
    if learned:
        notes.append(
            f"Weights: {learned.get('train')} training and {learned.get('tuning')} tuning cases "
            f"({learned.get('data')}), seed {learned.get('seed')}, "
            f"{learned.get('fit_seconds')} s on {learned.get('device')} with "
            f"{learned.get('threads')} threads."
        )
    return tuple(notes)
