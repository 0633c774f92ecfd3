"""The same function on several arguments, in processes where there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Found = TypeVar("Found")
#: What is done, and how much there is.
Advance = Callable[[int, int], None]


def each(
    function: Callable[..., Found],
    tasks: Iterable[tuple[Any, ...]],
    count: int,
    *,
    workers: int,
    advance: Advance | None,
) -> list[Found]:
    """Return what a function of a module says of each task, in their order.

    The same whatever the number of `workers`: nothing is shared, every seed is in its task.
    """
    found = []
    for one in _made(function, tasks, min(workers, count)):
        found.append(one)
        if advance is not None:
            advance(len(found), count)
    return found


def _made(
    function: Callable[..., Found], tasks: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Found]:
    if workers <= 1:
        return (function(*task) for task in tasks)
    from joblib import Parallel, delayed

    run = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
    made: Iterator[Found] = run(delayed(function)(*task) for task in tasks)
    return made
