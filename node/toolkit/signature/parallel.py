"""The same function on several arguments, in processes where there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from node.toolkit.workers import Workers, raised

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

    The same whatever the number of `workers`: nothing is shared, every seed is in its task, and
    numeric libraries have one thread.
    """
    found: list[Found] = []

    def take(results: Iterator[Found]) -> None:
        for one in results:
            found.append(one)
            if advance is not None:
                advance(len(found), count)

    if min(workers, count) <= 1:
        with one_thread():
            take(function(*task) for task in tasks)
    else:
        with Workers(min(workers, count)) as pool:
            take(raised(pool.each(function, tasks)))
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Have numeric libraries use one thread inside: another number adds in another order."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
