"""One plugin in an evaluation: its answers beside what is true, and what the report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.manifest import EvaluationSpec, Manifest
from node.training.answers import Answered
from node.training.cases import Loaded, PhantomTask, Task
from node.training.collapse import Answer, answer_of, collapsed
from node.training.report import (
    REFERENCE_NAME,
    About,
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
)
from node.training.surroundings import processor, strata, versions
from node.training.train import (
    Order,
)
from node.training.variants import (
    CONTROL,
    changes_from,
    features_of,
    scan_of,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateOrder(Order):
    """What `evaluate` was asked for."""

    #: A new folder for ``report.html``, ``report.json`` and pictures.
    report: Path
    #: Change one thing in so many phantoms, and ask again; 0: none.
    pairs: int = 0


@dataclass(kw_only=True)
class Judge:
    """One plugin, and what came of the test cases."""

    order: EvaluateOrder
    manifest: Manifest
    #: What ``training.json`` says.
    learned: Mapping[str, object]
    signatures: Sequence[dict[str, Any]]
    masks: list[SegmentationCase] = field(default_factory=list)
    #: Of a classifier: the rows of each case.
    rows: list[tuple[ClassifiedCase, ...]] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    threads: int = 0
    #: Cases with one thing changed: task, kind, rows.
    changed: list[tuple[PhantomTask, str, tuple[ClassifiedCase, ...]]] = field(default_factory=list)
    control_scans: list[Scan] = field(default_factory=list)

    @property
    def known(self) -> list[Known]:
        """Return who the cases are."""
        return [case.known for case in self.masks] + [rows[0].known for rows in self.rows]

    def take(self, answered: Answered) -> None:
        """Compare one answer with the truth and keep what counts."""
        self.answers.append(answer_of(answered.result, answered.loaded.labels))
        if self.manifest.evaluation:
            rows = _classified(self.manifest.evaluation, answered)
            self.rows.append(rows)
            self.scans.append(scan_of(rows, features_of(answered.loaded)))
        else:
            self.masks.append(_assessed(self.manifest, answered))
        self.failures += [answered.failure] if answered.failure else []
        self.threads = max(self.threads, answered.threads)

    def take_changed(self, task: PhantomTask, kind: str, answered: Answered) -> None:
        """Keep what counts of a case with one thing changed."""
        if kind == CONTROL:
            features = features_of(answered.loaded)
            self.control_scans.append(scan_of(self.rows[task.index], features))
        elif self.manifest.evaluation:
            rows = _classified(self.manifest.evaluation, answered, with_picture=False)
            self.changed.append((task, kind, rows))


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


def evaluation_of(judge: Judge, tasks: Sequence[Task]) -> Evaluation | Classification:
    """Return all that a report is made of."""
    order, manifest = judge.order, judge.manifest
    why = collapsed(manifest, judge.answers)
    about = About(
        manifest=manifest,
        data=_data(judge),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine={"device": order.device, "cpu": processor(), "threads": str(judge.threads)},
        versions=versions(),
        reference=read_reference(order.plugin / REFERENCE_NAME),
        group_by=strata(
            [row.known for rows in judge.rows for row in rows] or judge.known, manifest.evaluation
        ),
        notes=_notes(judge, tasks),
        collapsed=f"Collapsed: {why}." if why else "",
        signatures=tuple(judge.signatures),
    )
    common = {one.name: getattr(about, one.name) for one in fields(About)}
    if manifest.evaluation is None:
        return Evaluation(cases=tuple(judge.masks), **common)
    return Classification(
        spec=manifest.evaluation,
        cases=tuple(row for rows in judge.rows for row in rows),
        changes=changes_from(judge.rows, judge.changed),
        scans=tuple(judge.scans),
        control_scans=tuple(judge.control_scans),
        **common,
    )


def _data(judge: Judge) -> DataSource:
    order, manifest = judge.order, judge.manifest
    institutions = len({one.institution for one in judge.known} - {""})
    of = f" of {institutions} institutions" if institutions else ""
    what = "phantoms" if order.phantoms is not None else "studies of a data folder"
    return DataSource(
        kind="phantom" if order.phantoms is not None else "folder",
        description=f"{len(judge.known)} {what}{of}",
        cohort_sha256=manifest.cohort.sha256 if manifest.cohort and order.phantoms else "",
        seed=order.seed if order.phantoms is not None else None,
    )


def _notes(judge: Judge, tasks: Sequence[Task]) -> tuple[str, ...]:
    notes, learned = [], judge.learned
    if judge.failures:
        counted = "empty masks" if judge.masks else "wrong"
        notes.append(
            f"The plugin gave no result for {len(judge.failures)} of {len(tasks)} cases, "
            f"which count as {counted}; the first time: {judge.failures[0]}"
        )
    if learned:
        notes.append(
            f"Weights: {learned.get('train')} training and {learned.get('tuning')} tuning cases "
            f"({learned.get('data')}), seed {learned.get('seed')}, "
            f"{learned.get('fit_seconds')} s on {learned.get('device')} with "
            f"{learned.get('threads')} threads."
        )
    return tuple(notes)
