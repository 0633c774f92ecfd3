"""`sentinel-node evaluate`: what a plugin says of cases it never saw, beside what is true."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node.errors import LearningError
from node.manifest import Manifest
from node.manifest_file import parse_manifest
from node.toolkit.workers import Workers, raised
from node.training.answers import Answered, answers
from node.training.cases import PhantomTask, StudyTask, Task, phantom_tasks, tasks_of
from node.training.folder import look_at, studies_of
from node.training.judge import EvaluateOrder, Judge, evaluation_of
from node.training.planted import with_causes
from node.training.plugin_code import COHORT, Abilities, abilities
from node.training.relevant import PROVENANCE
from node.training.report import (
    NUMBERS_NAME,
    signatures_of,
    write_report,
)
from node.training.splits import TEST_SPLIT, Content, check_seed, check_unseen, was_learned
from node.training.store import Store, check_new_folder, whole_folder
from node.training.train import (
    FEWEST_TO_EVALUATE,
    Progress,
    check_cohort,
    check_source,
)
from node.training.variants import (
    CONTROL,
    variant_tasks,
)

#: What ``report.json`` holds.
Document = Mapping[str, object]


def evaluate(order: EvaluateOrder, progress: Progress) -> Document:
    """Run a plugin on its test cases, write the report, and return what ``report.json`` holds.

    Raises
    ------
    LearningError
        If data are not what they must be, or hold a case that was learned from.
    """
    (document,) = evaluate_each((order,), progress)
    return document


def evaluate_each(orders: Sequence[EvaluateOrder], progress: Progress) -> tuple[Document, ...]:
    """Do what `evaluate` does for plugins that differ in their weights only, on the same cases.

    Each case is made once: to draw one costs as much as to run some plugins.

    Parameters
    ----------
    orders : sequence of EvaluateOrder
        They differ in `plugin` and `report` only.
    """
    with Workers() as workers:
        judges = [_judge_of(order, workers) for order in orders]
        first = judges[0]
        able = workers.one(abilities, first.order.plugin)
        tasks = _tasks(first.order, first.manifest, able, workers, progress)
        bench = _Bench(judges=judges, tasks=tasks, workers=workers, progress=progress)
        _look(bench, with_scores="score" in able.train)
        _look_closer(bench)
    return tuple(_written(judge, tasks) for judge in judges)


def _judge_of(order: EvaluateOrder, workers: Workers) -> Judge:
    """Return what will judge a plugin; refuse what cannot be judged before anything is drawn."""
    manifest = parse_manifest(order.plugin)
    _check(order, manifest)
    learned = read_provenance(order.plugin)
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
    return Judge(
        order=order,
        manifest=manifest,
        learned=learned,
        signatures=with_causes(signatures_of(manifest), manifest, able, learned, workers),
    )


def _written(judge: Judge, tasks: Sequence[Task]) -> Document:
    if len(judge.failures) == len(tasks):
        raise LearningError(
            f"the plugin failed on every case: {judge.failures[0]}", code="PLUGIN_FAILED"
        )
    with whole_folder(judge.order.report, last=NUMBERS_NAME) as draft:
        return write_report(draft, evaluation_of(judge, tasks))


def _check(order: EvaluateOrder, manifest: Manifest) -> None:
    """Refuse what cannot be evaluated before anything is rendered."""
    check_source(order.data, order.phantoms, fewest=FEWEST_TO_EVALUATE)
    check_seed("--seed", order.seed)
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
    """Plugins to be judged on the same cases."""

    judges: Sequence[Judge]
    tasks: Sequence[Task]
    workers: Workers
    progress: Progress

    @property
    def order(self) -> EvaluateOrder:
        """Return what was asked for, of each plugin alike."""
        return self.judges[0].order

    def answers(
        self, tasks: Sequence[Task], *, with_scores: bool, only_seen: Collection[Task] = ()
    ) -> Generator[tuple[Answered, ...], None, None]:
        """Yield what each plugin says of each case; `only_seen` are not run."""
        return answers(
            [judge.manifest for judge in self.judges],
            tasks,
            workers=self.workers,
            device=self.order.device,
            with_scores=with_scores,
            store=Store(self.order.store),
            only_seen=only_seen,
        )


def _look(bench: _Bench, *, with_scores: bool) -> None:
    contents: list[Content] = []
    with closing(bench.answers(bench.tasks, with_scores=with_scores)) as found:
        for number, several in enumerate(found, start=1):
            contents.append(several[0].content)
            for judge, answered in zip(bench.judges, several, strict=True):
                if was_learned(judge.learned, answered.content):
                    _refuse(judge.learned, bench.tasks, contents, bench.workers)
                judge.take(answered)
            bench.progress("run", number, len(bench.tasks), {})


def _look_closer(bench: _Bench) -> None:
    """Change one thing of each phantom, if asked to, and run the plugins again."""
    drawn = [task for task in bench.tasks if isinstance(task, PhantomTask)]
    if not bench.order.pairs:
        return
    tasks = variant_tasks(drawn, bench.order.pairs, bench.workers)
    controls = frozenset(task for task, kind in tasks if kind == CONTROL)
    found = bench.answers([task for task, _ in tasks], with_scores=False, only_seen=controls)
    with closing(found):
        for number, ((task, kind), several) in enumerate(zip(tasks, found, strict=True), 1):
            for judge, answered in zip(bench.judges, several, strict=True):
                judge.take_changed(task, kind, answered)
            bench.progress("change one thing", number, len(tasks), {})


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
