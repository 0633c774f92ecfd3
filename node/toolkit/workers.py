"""Processes that read, render and fit; they die with this one, however it dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from node.errors import LearningError, NodeError, Refused

T = TypeVar("T")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: glibc gives a large array back to the system at once and takes fresh pages for the next one,
#: which costs a seventh of the time to draw a phantom (docs/performance.md): it keeps them.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}


@dataclass(frozen=True)
class Failure:
    """An error on its way out of a worker: not every exception survives pickling."""

    code: str
    sentence: str


class Workers:
    """A pool of processes with one thread each, started when first needed."""

    def __init__(self, count: int | None = None):
        self.count = count or cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:  # nobody waits any more for what they are at
            for process in self._processes():
                process.kill()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def each(
        self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], *, ahead: int = 2
    ) -> Iterator[T | Failure]:
        """Yield `function(*task)` for each task, in order.

        Parameters
        ----------
        function : callable
            Of a module, so that a process can import it.
        tasks : argument tuples
            Asked for when a process is about to be free.
        ahead : int
            So many results more than processes may wait to be taken.
        """
        with numeric_environment(threads=1):
            pending: deque[Future[T | Failure]] = deque()
            left = iter(tasks)
            while True:
                while len(pending) < self.count + ahead and (task := next(left, None)) is not None:
                    with unreached_by_interrupts():
                        pending.append(self._started().submit(_guarded, function, task))
                if not pending:
                    return
                try:
                    result = pending.popleft().result()
                except BrokenProcessPool as error:
                    raise LearningError(
                        f"a worker process {self._death()}; start the command again, it goes on "
                        "with what is done",
                        code="WORKER_DIED",
                    ) from error
                yield result

    def one(self, function: Callable[..., T], *task: Any) -> T:
        """Return `function(*task)` from a worker; its error is raised here."""
        return next(raised(self.each(function, [task])))

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.count, mp_context=context, initializer=start_worker
            )
        return self._pool

    def _processes(self) -> list[multiprocessing.process.BaseProcess]:
        # Only Python 3.14 can kill workers, and tells how they ended, by public names.
        return list((getattr(self._pool, "_processes", None) or {}).values())

    def _death(self) -> str:
        """Return how the first worker ended; the pool ends the others itself, by SIGTERM."""
        processes = self._processes()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        codes = [process.exitcode for process in processes]
        if 1 in codes:  # what goes wrong in a task travels as a result: it could not begin
            return (
                "ended with status 1 as it began (a script must start its work under "
                'if __name__ == "__main__":)'
            )
        return how_it_ended(code for code in codes if code != -signal.SIGTERM)


def how_it_ended(exit_codes: Iterable[int | None]) -> str:
    """Return in words how a process ended that should not have.

    Examples
    --------
    >>> how_it_ended([0, -9])
    'was killed, most likely because memory was short'
    >>> how_it_ended([3]), how_it_ended([-11])
    ('ended with status 3', 'ended by SIGSEGV')
    """
    code = next((code for code in exit_codes if code), 0)
    if code == -signal.SIGKILL:
        return "was killed, most likely because memory was short"
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def raised(results: Iterator[T | Failure]) -> Iterator[T]:
    """Yield results; raise the first failure."""
    for result in results:
        if isinstance(result, Failure):
            raise LearningError(result.sentence, code=result.code)
        yield result


def _guarded(function: Callable[..., T], task: tuple[Any, ...]) -> T | Failure:
    try:
        return function(*task)
    except NodeError as error:
        return failure_of(error)
    except OSError as error:
        return Failure("SYSTEM_ERROR", f"{error.strerror or error}: {error.filename or ''}")
    except Exception as error:  # noqa: BLE001 border: some exceptions break the pool on their way
        return unforeseen(error)


def unforeseen(error: Exception) -> Failure:
    """Return an error that nobody turned into a sentence: its kind, its words, its place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    words = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
    return Failure("WORKER_FAILED", words)


def failure_of(error: NodeError) -> Failure:
    """Return an error as it travels."""
    words = f"{error.code}: {error}" if isinstance(error, Refused) else str(error)
    return Failure(str(error.code), words)


def start_worker() -> None:
    """Settle in a fresh process: private files, no compiled files, no life after the parent."""
    os.umask(0o077)
    sys.dont_write_bytecode = True
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, name="follow the parent", daemon=True).start()


@contextmanager
def unreached_by_interrupts() -> Iterator[None]:
    """Start processes inside that Ctrl-C does not reach: who started them also ends them."""
    resource_tracker.ensure_running()  # its start would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def fit_threads() -> int:
    """Return how many threads a training uses: OMP_NUM_THREADS, else one per core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else cores()


@contextmanager
def numeric_environment(*, threads: int) -> Iterator[None]:
    """Have processes started inside use so many threads in numeric libraries, and keep memory."""
    values = {**dict.fromkeys(_THREADS, str(threads)), **_MEMORY}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
