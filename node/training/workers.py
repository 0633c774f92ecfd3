"""Processes that read, render and fit; they die with this one, however it dies."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from node.errors import LearningError, NodeError, Refused

T = TypeVar("T")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def each(
        self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], *, ahead: int = 2
    ) -> Iterator[T | Failure]:
        """Yield `function(*task)` for each task, in order.

        Parameters
        ----------
        function : callable
            Of a module, so that a process can import it.
        tasks : sequence of argument tuples
        ahead : int
            So many results more than processes may wait to be taken.
        """
        with threads_in_environment(1):
            pending: deque[Future[T | Failure]] = deque()
            left = iter(tasks)
            while True:
                while len(pending) < self.count + ahead and (task := next(left, None)) is not None:
                    pending.append(self._started().submit(_guarded, function, task))
                if not pending:
                    return
                try:
                    result = pending.popleft().result()
                except BrokenProcessPool as error:
                    raise LearningError(
                        "a worker process died, most likely because memory was short; start the "
                        "command again, it goes on with what is done",
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


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def fit_threads() -> int:
    """Return how many threads a training uses: OMP_NUM_THREADS, else one per core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else cores()


@contextmanager
def threads_in_environment(count: int) -> Iterator[None]:
    """Have processes started inside use `count` threads in numeric libraries."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
