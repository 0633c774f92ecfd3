"""`fit` in a process of its own, which goes on after a kill where its checkpoint was."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
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
from node.toolkit.workers import (
    failure_of,
    how_it_ended,
    start_worker,
    threads_in_environment,
    unforeseen,
    unreached_by_interrupts,
)
from node.training import plugin_code
from node.training.examples import Made
from node.training.manifest_edit import Parameter

_SPENT, _FITTED, _WEIGHTS = "spent.json", "fitted.json", "weights"
_COMPARED = "compared.json"
_NOTE_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One training; travels to its process."""

    plugin: Path
    train: tuple[Made, ...]
    tuning: tuple[Made, ...]
    seed: int
    device: str
    threads: int
    max_seconds: float | None
    #: Checkpoint, time spent, and at the end the weights.
    folder: Path
    #: One of the plugin's models; "" where it has none.
    model: str = ""
    #: Compare all models, learn none to keep.
    comparing: bool = False
    #: Of a comparison: judge one model so many times by mixed outcomes instead.
    permutations: int = 0


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a training left."""

    #: Weights files by name.
    weights: Mapping[str, Path]
    #: The last that `progress` was told.
    figures: Mapping[str, float]
    #: Of `fit`, all attempts together.
    seconds: float
    #: Versions of the libraries that it loaded.
    versions: Mapping[str, str]
    #: That torch used; what it was given where the plugin has no torch.
    threads: int
    #: How far `progress` was at the end, and how far it could have gone.
    done: float
    total: float
    #: Values found for ``[parameters]``.
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


#: Of a training or comparison: what is done, how much there is, figures.
Advance = Callable[[float, float, Mapping[str, float]], None]


def fit(job: FitJob, progress: Advance) -> Fitted:
    """Run a training to its end, or find that it ended already.

    Raises
    ------
    LearningError
        What went wrong; the checkpoint stays, and the same command goes on from it.
    """
    if (found := _fitted(job)) is not None:
        return found
    _run(job, progress)
    found = _fitted(job)
    assert found is not None
    return found


def compare(job: FitJob, progress: Advance) -> dict[str, Any]:
    """Run a comparison to its end; return what was found and what it was made with.

    That is `rows`, one of each model, or `aurocs`, one of each permutation.

    Raises
    ------
    LearningError
        What went wrong.
    """
    _run(job, progress)
    document: dict[str, Any] = json.loads((job.folder / _COMPARED).read_text(encoding="utf-8"))
    return document


def _run(job: FitJob, progress: Advance) -> None:
    """Do a job in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_fit_process, args=(job, theirs), name="fit")
    try:
        with threads_in_environment(job.threads), unreached_by_interrupts():
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            process.start()
        theirs.close()
        _follow(process, ours, progress)
    finally:
        if process.pid is not None:
            process.kill()  # after its last word there is nothing left to do for it
            process.join()


def _follow(process: BaseProcess, answers: Connection, progress: Callable[..., None]) -> None:
    while True:
        try:
            kind, *what = answers.recv()
        except (EOFError, ConnectionError) as error:
            process.join()
            raise LearningError(
                f"the training's process {how_it_ended([process.exitcode])}; the same command "
                "goes on from its checkpoint",
                code="WORKER_DIED",
            ) from error
        if kind == "progress":
            progress(*what)
        elif kind == "failed":
            raise LearningError(what[1], code=what[0])
        else:
            return


def _fit_process(job: FitJob, answers: Connection) -> None:
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
    watch = _Watch(job, answers)
    left = None if job.max_seconds is None else max(0.0, job.max_seconds - watch.before)
    plugin_code.abilities(job.plugin)  # torch is imported before it is seeded
    seed_everything(job.seed)
    learned = plugin_code.fit(
        job.plugin, _examples(job), seed=job.seed, run=_training_run(job, watch, left)
    )
    folder = job.folder / _WEIGHTS
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
        "figures": watch.figures,
        "seconds": round(watch.spent(), 1),
        "versions": _versions(),
        "threads": _threads(job),
        "done": watch.done,
        "total": watch.total,
    }
    write_whole(job.folder / _FITTED, json.dumps(document).encode())


def _compare(job: FitJob, answers: Connection) -> None:
    watch = _Watch(job, answers)
    seed_everything(job.seed)
    run, asked = _training_run(job, watch, None), job.permutations
    found: dict[str, Any]
    if asked:
        aurocs = plugin_code.permuted(
            job.plugin, _examples(job), seed=job.seed, run=run, runs=asked
        )
        found = {"aurocs": aurocs}
    else:
        rows = plugin_code.compare(job.plugin, _examples(job), seed=job.seed, run=run)
        found = {"rows": rows}
    document = {**found, "seconds": round(watch.spent(), 1), "versions": _versions()}
    write_whole(job.folder / _COMPARED, json.dumps(document, allow_nan=False).encode())


def _examples(job: FitJob) -> Examples:
    return Examples(train=_cached(job.train), tuning=_cached(job.tuning))


def _cached(made: Sequence[Made]) -> CachedExamples:
    return CachedExamples([one.path for one in made], [one.patient for one in made])


def _training_run(job: FitJob, watch: _Watch, left: float | None) -> TrainingRun:
    return TrainingRun(
        device=job.device,
        folder=job.folder,
        max_seconds=left,
        progress=watch.progress,
        model=job.model,
        workers=job.threads,
    )


class _Watch:
    """Passes progress on, and keeps how much time was spent in case the next moment is a kill."""

    def __init__(self, job: FitJob, answers: Connection):
        self._path = job.folder / _SPENT
        self._answers = answers
        self._started = self._noted = time.monotonic()
        try:
            self.before = float(json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            self.before = 0.0
        self.figures: dict[str, float] = {}
        self.done = self.total = 0.0

    def spent(self) -> float:
        return self.before + time.monotonic() - self._started

    def progress(self, done: float, total: float, **figures: float) -> None:
        self.figures = {name: float(value) for name, value in figures.items()}
        self.done, self.total = float(done), float(total)
        now = time.monotonic()
        if now - self._noted >= _NOTE_EVERY_S:
            self._noted = now
            write_whole(self._path, json.dumps(self.spent()).encode())
        self._answers.send(("progress", self.done, self.total, self.figures))


def _fitted(job: FitJob) -> Fitted | None:
    try:
        document: dict[str, Any] = json.loads((job.folder / _FITTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    paths = {name: job.folder / _WEIGHTS / name for name in document["files"]}
    if not all(path.is_file() for path in paths.values()):
        return None
    return Fitted(
        weights=paths,
        figures=document["figures"],
        seconds=document["seconds"],
        versions=document["versions"],
        threads=document.get("threads", job.threads),
        done=document.get("done", 0.0),
        total=document.get("total", 0.0),
        parameters=document.get("parameters", {}),
    )


def _threads(job: FitJob) -> int:
    torch = sys.modules.get("torch")
    return job.threads if torch is None else int(torch.get_num_threads())


def _versions() -> dict[str, str]:
    names = ("numpy", "torch", "monai", "sklearn", "scipy", "xgboost", "lightgbm", "radiomics")
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    return {name: str(version) for name, version in found.items() if version}
