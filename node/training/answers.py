"""What a plugin says of cases: rendered or read by workers, run in the ordinary child process."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import AttemptFailed, RefusalCode, Refused
from node.inference.runner import Runner
from node.inference.transport import read_case, write_case
from node.manifest import Manifest
from node.plugin import Case, Labels, Result
from node.toolkit.workers import Workers, fit_threads, raised
from node.training import plugin_code
from node.training.cases import Loaded, PhantomTask, Task, content_of, load
from node.training.splits import Content
from node.training.store import Store

_MASK, _SCORE = "mask/", "score/"
_Several = tuple[tuple[Task, Path], ...]
_Made = tuple[Content, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One case, what is true of it, what simple rules say, and what the plugin says."""

    loaded: Loaded
    #: What its images are.
    content: Content
    scores: Mapping[str, NDArray[Any]]
    result: Result = field(default_factory=Result)
    #: Why there is no result; "" where there is one.
    failure: str = ""
    #: Of numeric libraries in the plugin's process; 0 where there is no result.
    threads: int = 0


def answers(
    manifests: Sequence[Manifest],
    tasks: Sequence[Task],
    *,
    workers: Workers,
    device: str,
    with_scores: bool,
    store: Store,
    only_seen: Collection[Task] = (),
) -> Generator[tuple[Answered, ...], None, None]:
    """Yield what each plugin says of each case, in order; a case is gone when the next one comes.

    Close it (`contextlib.closing`): a child process and files hang on it. A run that crashed or
    took too long is an answer without a result; so is one of `only_seen`, which is not run.

    Raises
    ------
    LearningError
        If a case cannot be made.
    NodeError
        If the plugin cannot run here at all.
    """
    # A worker may still write into it when an error ends this early.
    temporary = tempfile.TemporaryDirectory(dir=store.work_folder(), ignore_cleanup_errors=True)
    with temporary as top, _panel(manifests, Path(top), device) as panel:
        places = [Path(top, f"{number}") for number in range(len(tasks))]
        work = [(several, with_scores) for several in _by_subject(tasks, places)]
        groups = raised(workers.each(make_cases, work, ahead=0))
        made = itertools.chain.from_iterable(groups)
        for (content, loaded_facts), place, task in zip(made, places, tasks, strict=True):
            loaded, scores = _read(place, loaded_facts)
            seen = Answered(loaded=loaded, content=content, scores=scores)
            yield (seen,) * len(manifests) if task in only_seen else panel.ask(seen)
            shutil.rmtree(place)


def _by_subject(tasks: Sequence[Task], places: Sequence[Path]) -> Iterator[_Several]:
    """Yield tasks with their places: what is changed of one phantom goes to one worker.

    A cohort may keep what it drew last, and contours and covers are made of it for nothing.
    """
    pairs = zip(tasks, places, strict=True)
    for _, several in itertools.groupby(pairs, lambda pair: _subject(pair[0])):
        yield tuple(several)


def _subject(task: Task) -> str:
    return replace(task, variant="").name if isinstance(task, PhantomTask) else task.name


def make_cases(several: _Several, with_scores: bool) -> list[_Made]:
    """Write cases and their truths, in a worker."""
    return [make_case(task, place, with_scores) for task, place in several]


def make_case(task: Task, place: Path, with_scores: bool) -> _Made:
    """Write a case and its truth into `place`, in a worker."""
    loaded = load(task)
    scores = plugin_code.score(task.plugin, loaded.case) if with_scores else {}
    place.mkdir()
    write_case(loaded.case, place, device="cpu")
    arrays = {f"{_MASK}{name}": mask for name, mask in loaded.labels.masks.items()}
    arrays |= {f"{_SCORE}{name}": value for name, value in scores.items()}
    np.savez(place / "truth.npz", allow_pickle=False, **arrays)
    known = {
        "patient": loaded.patient,
        "institution": loaded.institution,
        "facts": dict(loaded.facts),
        "headers": {role: dict(header) for role, header in loaded.headers.items()},
        "values": dict(loaded.labels.values),
    }
    return content_of(loaded.case), json.loads(json.dumps(known, default=_plain))


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)


def _read(place: Path, known: Mapping[str, Any]) -> tuple[Loaded, dict[str, NDArray[Any]]]:
    with np.load(place / "truth.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    masks = {n.removeprefix(_MASK): a for n, a in arrays.items() if n.startswith(_MASK)}
    scores = {n.removeprefix(_SCORE): a for n, a in arrays.items() if n.startswith(_SCORE)}
    loaded = Loaded(
        case=read_case(place),
        labels=Labels(masks=masks, values=known["values"]),
        patient=known["patient"],
        institution=known["institution"],
        facts=known["facts"],
        headers=known["headers"],
    )
    return loaded, scores


@dataclass(frozen=True, kw_only=True)
class _Seat:
    """One plugin with its process."""

    manifest: Manifest
    runner: Runner
    job_folder: Path

    def answer(self, seen: Answered) -> Answered:
        """Return a case with what the plugin says of it."""
        case = _asked(self.manifest, seen.loaded.case)
        try:
            outcome = self.runner.run(self.manifest, case, job_folder=self.job_folder)
        except (AttemptFailed, Refused) as error:
            if isinstance(error, Refused) and error.code != RefusalCode.CASE_UNSUITABLE:
                raise  # no case can be run here
            return replace(seen, failure=f"{error.code}: {error}")
        return replace(seen, result=outcome.result, threads=outcome.threads)


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """Plugins that are asked about the same cases, at the same time."""

    seats: Sequence[_Seat]
    threads: ThreadPoolExecutor

    def ask(self, seen: Answered) -> tuple[Answered, ...]:
        """Return what each plugin says of a case."""
        return tuple(self.threads.map(lambda seat: seat.answer(seen), self.seats))


@contextmanager
def _panel(manifests: Sequence[Manifest], top: Path, device: str) -> Iterator[_Panel]:
    # All at once: more threads than cores wait for each other, and took nine times as long.
    each = max(1, fit_threads() // len(manifests))
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=len(manifests)))
        seats = []
        for number, manifest in enumerate(manifests):
            folder = top / f"job{number}"
            folder.mkdir()
            runner = stack.enter_context(closing(Runner(device, threads=each)))
            seats.append(_Seat(manifest=manifest, runner=runner, job_folder=folder))
        yield _Panel(seats=seats, threads=threads)


def _asked(manifest: Manifest, case: Case) -> Case:
    """Return a case with the inputs and attributes that the manifest asks for, and no others."""
    return Case(
        volumes={role: case.volumes[role] for role in manifest.inputs},
        attributes={k: v for k, v in case.attributes.items() if k in manifest.attributes},
        values={k: v for k, v in case.values.items() if k in manifest.clinical},
        rois={name: case.rois[name] for name in manifest.rois},
        device=case.device,
    )
