"""`fit` in processes of its own, which goes on after a kill where its checkpoints were.

Networks that learn apart are parts of one training: each has a process, side by side where there
are cores for it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from node.errors import LearningError
from node.toolkit.training import write_weights, write_whole
from node.toolkit.workers import how_it_ended, numeric_environment, unreached_by_interrupts
from node.training.fitting_process import COMPARED, FITTED, WEIGHTS, FitJob, fit_process
from node.training.manifest_edit import Parameter

T = TypeVar("T")

_SPENT = "spent.json"
_NOTE_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a training left."""

    #: Weights files by name.
    weights: Mapping[str, Path]
    #: The last that `progress` was told; with the name of its part where there are parts.
    figures: Mapping[str, float]
    #: Of `fit`, all attempts together.
    seconds: float
    #: Versions of the libraries that it loaded.
    versions: Mapping[str, str]
    #: That torch used, of all parts at a time; what it was given where the plugin has no torch.
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
    clock, parts = _Clock(job.folder), _parts(job)
    missing = [part for part in parts if _fitted(part) is None]
    if missing:
        at_once = _at_once(job)
        share_s = _share_s(job, clock, rounds=-(-len(missing) // at_once))
        several = _Several(parts, clock, progress)
        several.run([replace(part, max_seconds=share_s) for part in missing], at_once)
    found = {part.part: _found(part) for part in parts}
    done, total, figures = _together({name: _far_in(one) for name, one in found.items()})
    return Fitted(
        weights=_joined(job, parts, found),
        figures=figures,
        seconds=round(clock.spent(), 1),
        versions={k: v for one in found.values() for k, v in one["versions"].items()},
        threads=_at_once(job) * max(one["threads"] for one in found.values()),
        done=done,
        total=total,
        parameters=_only_once(
            {name: one["parameters"] for name, one in found.items()}, "[parameters]"
        ),
    )


def compare(job: FitJob, progress: Advance) -> dict[str, Any]:
    """Run a comparison to its end; return what was found and what it was made with.

    That is `rows`, one of each model, or `aurocs`, one of each permutation.

    Raises
    ------
    LearningError
        What went wrong.
    """
    clock = _Clock(job.folder)
    _Several([job], clock, progress).run([job], at_once=1)
    document: dict[str, Any] = json.loads((job.folder / COMPARED).read_text(encoding="utf-8"))
    return {**document, "seconds": round(clock.spent(), 1)}


def _at_once(job: FitJob) -> int:
    """Return how many parts learn at a time: a part a core; on a GPU one after the other."""
    return min(len(job.parts) or 1, job.threads) if job.device == "cpu" else 1


def _parts(job: FitJob) -> list[FitJob]:
    threads = job.threads // _at_once(job)
    return [
        replace(job, part=part, folder=job.folder / part, threads=threads) for part in job.parts
    ] or [job]


def _share_s(job: FitJob, clock: _Clock, *, rounds: int) -> float | None:
    """Return how long each part may still learn."""
    return None if job.max_seconds is None else max(0.0, job.max_seconds - clock.spent()) / rounds


class _Several:
    """Parts of one training, each in its process, and how far they are together."""

    def __init__(self, parts: Sequence[FitJob], clock: _Clock, progress: Advance):
        self._clock, self._progress = clock, progress
        self._running: dict[Connection, tuple[FitJob, BaseProcess]] = {}
        self._far = {
            part.part: (0.0, 0.0, {}) if (found := _fitted(part)) is None else _far_in(found)
            for part in parts
        }

    def run(self, jobs: Iterable[FitJob], at_once: int) -> None:
        """Do all jobs, so many at a time; the first failure ends them all."""
        left = deque(jobs)
        try:
            while left or self._running:
                while left and len(self._running) < at_once:
                    self._start(left.popleft())
                for answers in wait(list(self._running)):
                    assert isinstance(answers, Connection)
                    self._hear(answers)
        finally:
            for _, process in self._running.values():
                process.kill()
                process.join()
            self._clock.keep()

    def _start(self, job: FitJob) -> None:
        job.folder.mkdir(exist_ok=True)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=fit_process, args=(job, theirs), name=f"fit {job.part}")
        with numeric_environment(threads=job.threads), unreached_by_interrupts():
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            process.start()
        self._running[ours] = job, process
        theirs.close()

    def _hear(self, answers: Connection) -> None:
        job, process = self._running[answers]
        try:
            kind, *what = answers.recv()
        except (EOFError, ConnectionError) as error:
            process.join()
            raise LearningError(
                f"the training's process {how_it_ended([process.exitcode])}; the same command "
                "goes on from its checkpoint",
                code="WORKER_DIED",
            ) from error
        if kind == "failed":
            raise LearningError(what[1], code=what[0])
        if kind == "progress":
            self._far[job.part] = tuple(what)
            self._clock.note()
            self._progress(*_together(self._far))
            return
        del self._running[answers]
        process.kill()  # after its last word there is nothing left to do for it
        process.join()


#: Of a part: what is done, how much there is, figures.
_Far = tuple[float, float, Mapping[str, float]]


def _far_in(found: Mapping[str, Any]) -> _Far:
    """Return how far a part was at its end."""
    return found["done"], found["total"], found["figures"]


def _together(far: Mapping[str, _Far]) -> _Far:
    """Return how far all parts are; one that has not said how much there is has as much to do."""
    known = [total for _, total, _ in far.values() if total]
    expected = max(known, default=0.0)
    figures = {
        f"{name}_{part}" if part else name: value
        for part, (_, _, several) in far.items()
        for name, value in several.items()
    }
    done = sum(done for done, _, _ in far.values())
    return done, sum(total or expected for _, total, _ in far.values()), figures


class _Clock:
    """How long a training took, all attempts together; noted in case the next moment is a kill."""

    def __init__(self, folder: Path):
        self._path = folder / _SPENT
        self._started = self._noted = time.monotonic()
        try:
            self._before = float(json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            self._before = 0.0

    def spent(self) -> float:
        """Return seconds."""
        return self._before + time.monotonic() - self._started

    def note(self) -> None:
        """Keep what was spent, now and then."""
        now = time.monotonic()
        if now - self._noted >= _NOTE_EVERY_S:
            self.keep()

    def keep(self) -> None:
        """Keep what was spent."""
        self._noted = time.monotonic()
        write_whole(self._path, json.dumps(self.spent()).encode())


def _fitted(part: FitJob) -> dict[str, Any] | None:
    """Return what a part left, None if it did not come to its end."""
    try:
        document: dict[str, Any] = json.loads((part.folder / FITTED).read_text(encoding="utf-8"))
        whole = all((part.folder / WEIGHTS / name).is_file() for name in document["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return document if whole else None


def _found(part: FitJob) -> dict[str, Any]:
    found = _fitted(part)
    assert found is not None
    return found


def _joined(
    job: FitJob, parts: Sequence[FitJob], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Path]:
    """Return the weights files: those of parts that have one name become one file."""
    if not job.parts:
        return {name: job.folder / WEIGHTS / name for name in found[job.part]["files"]}
    from safetensors.numpy import load_file

    folder = job.folder / WEIGHTS
    folder.mkdir(exist_ok=True)
    names = sorted({name for one in found.values() for name in one["files"]})
    for name in names:
        read = {
            part.part: load_file(part.folder / WEIGHTS / name)
            for part in parts
            if name in found[part.part]["files"]
        }
        arrays: dict[str, NDArray[Any]] = _only_once(read, name)
        write_weights(folder / name, arrays)
    return {name: folder / name for name in names}


def _only_once(of_parts: Mapping[str, Mapping[str, T]], where: str) -> dict[str, T]:
    """Return what all parts found; raise `LearningError` where two found the same."""
    joined: dict[str, T] = {}
    for part, several in of_parts.items():
        if both := joined.keys() & several.keys():
            raise LearningError(
                f"`fit` returned {min(both)} of {where} for part {part} and for one before it; "
                "give each part names of its own",
                code="PLUGIN_FAILED",
            )
        joined |= several
    return joined
