"""What one process of a training does: one `fit`, or one comparison."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from node.errors import LearningError, NodeError
from node.toolkit.training import (
    CachedExamples,
    Examples,
    TrainingRun,
    seed_everything,
    write_weights,
    write_whole,
)
from node.toolkit.workers import failure_of, start_worker, unforeseen
from node.training import plugin_code
from node.training.examples import Made

#: In the folder of a job.
FITTED, WEIGHTS, COMPARED = "fitted.json", "weights", "compared.json"


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One training, or one part of it; travels to its process."""

    plugin: Path
    train: tuple[Made, ...]
    tuning: tuple[Made, ...]
    seed: int
    device: str
    threads: int
    #: Of a training: all attempts together. Of a part in its process: from now on.
    max_seconds: float | None
    #: Checkpoint, time spent, and at the end the weights.
    folder: Path
    #: One of the plugin's models; "" where it has none.
    model: str = ""
    #: What learns apart, a process each; () where `fit` learns everything.
    parts: tuple[str, ...] = ()
    #: Which of them this is.
    part: str = ""
    #: Compare all models, learn none to keep.
    comparing: bool = False
    #: Of a comparison: judge one model so many times by mixed outcomes instead.
    permutations: int = 0


def fit_process(job: FitJob, answers: Connection) -> None:
    """Do a job and send what happens: ("progress", …), then ("done",) or ("failed", …)."""
    start_worker()
    try:
        _compare(job, answers) if job.comparing else _fit(job, answers)
    except NodeError as error:
        failure = failure_of(error)
        answers.send(("failed", failure.code, failure.sentence))
    except OSError as error:
        answers.send(("failed", "SYSTEM_ERROR", str(error)))
    except Exception as error:  # noqa: BLE001 border: the parent says it
        failure = unforeseen(error)
        answers.send(("failed", failure.code, failure.sentence))
    else:
        answers.send(("done",))
    answers.close()


def _fit(job: FitJob, answers: Connection) -> None:
    told = _Told(answers)
    plugin_code.abilities(job.plugin)  # torch is imported before it is seeded
    seed_everything(job.seed)
    learned = plugin_code.fit(
        job.plugin, _examples(job), seed=job.seed, run=_training_run(job, told)
    )
    folder = job.folder / WEIGHTS
    folder.mkdir(exist_ok=True)
    for name, tensors in learned.weights.items():
        try:
            write_weights(folder / name, tensors)
        except (ValueError, TypeError) as error:
            raise LearningError(
                f"{error}; the training diverged", code="MODEL_COLLAPSED"
            ) from error
    document = {
        "files": sorted(learned.weights),
        "parameters": dict(learned.parameters),
        "figures": told.figures,
        "versions": _versions(),
        "threads": _threads(job),
        "done": told.done,
        "total": told.total,
    }
    write_whole(job.folder / FITTED, json.dumps(document).encode())


def _compare(job: FitJob, answers: Connection) -> None:
    seed_everything(job.seed)
    run, asked = _training_run(job, _Told(answers)), job.permutations
    found: dict[str, Any]
    if asked:
        aurocs = plugin_code.permuted(
            job.plugin, _examples(job), seed=job.seed, run=run, runs=asked
        )
        found = {"aurocs": aurocs}
    else:
        rows = plugin_code.compare(job.plugin, _examples(job), seed=job.seed, run=run)
        found = {"rows": rows}
    document = {**found, "versions": _versions()}
    write_whole(job.folder / COMPARED, json.dumps(document, allow_nan=False).encode())


def _examples(job: FitJob) -> Examples:
    return Examples(train=_cached(job.train), tuning=_cached(job.tuning))


def _cached(made: Sequence[Made]) -> CachedExamples:
    return CachedExamples([one.path for one in made], [one.patient for one in made])


def _training_run(job: FitJob, told: _Told) -> TrainingRun:
    return TrainingRun(
        device=job.device,
        folder=job.folder,
        max_seconds=job.max_seconds,
        progress=told.progress,
        model=job.model,
        part=job.part,
        workers=job.threads,
    )


class _Told:
    """Passes progress on, and remembers the last of it."""

    def __init__(self, answers: Connection):
        self._answers = answers
        self.figures: Mapping[str, float] = {}
        self.done = self.total = 0.0

    def progress(self, done: float, total: float, **figures: float) -> None:
        self.figures = {name: float(value) for name, value in figures.items()}
        self.done, self.total = float(done), float(total)
        self._answers.send(("progress", self.done, self.total, self.figures))


def _threads(job: FitJob) -> int:
    torch = sys.modules.get("torch")
    return job.threads if torch is None else int(torch.get_num_threads())


def _versions() -> dict[str, str]:
    names = ("numpy", "torch", "monai", "sklearn", "scipy", "xgboost", "lightgbm", "radiomics")
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    return {name: str(version) for name, version in found.items() if version}
