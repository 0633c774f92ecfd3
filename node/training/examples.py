"""Cases become examples, once: what one costs to render or read, the next call finds on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import LearningError
from node.training import plugin_code
from node.training.cases import PhantomTask, Task, content_of, load
from node.training.relevant import examples_digest
from node.training.store import Store
from node.training.workers import Workers, raised


@dataclass(frozen=True, kw_only=True)
class Made:
    """One example on disk."""

    path: Path
    #: SHA-256 of the images it came from.
    content: str


def make_examples(
    tasks: Sequence[Task],
    *,
    workers: Workers,
    store: Store,
    fresh: bool,
    advance: Callable[[int, int], None],
) -> tuple[Made, ...]:
    """Return the example of each task; those that are missing are made.

    Raises
    ------
    LearningError
        What the plugin's code or a case got wrong.
    """
    keys = keys_of(tasks, store)
    missing = [
        (task, key)
        for task, key in zip(tasks, keys, strict=True)
        if fresh or store.read(key) is None or not store.example(key).is_file()
    ]
    for key in keys:
        store.touch(key)
    work = [(store.folder, key, task) for task, key in missing]
    for done, _ in enumerate(raised(workers.each(make_example, work)), start=1):
        advance(done, len(missing))
    return tuple(
        Made(path=store.example(key), content=str((store.read(key) or {})["content"]))
        for key in keys
    )


def keys_of(tasks: Sequence[Task], store: Store) -> tuple[str, ...]:
    """Return the key of each task's example: its code and its case decide it."""
    digests: dict[tuple[Path, bool], str] = {}
    keys = []
    for task in tasks:
        kind = (task.plugin, isinstance(task, PhantomTask))
        if kind not in digests:
            digests[kind] = examples_digest(task.plugin, with_cohort=kind[1])
        keys.append(store.key("example", digests[kind], task.name))
    return tuple(keys)


def make_example(store_folder: Path, key: str, task: Task) -> None:
    """Make one example, in a worker."""
    store = Store(store_folder)
    loaded = load(task)
    arrays = plugin_code.examples(task.plugin, loaded.case, loaded.labels)
    if not arrays:
        raise LearningError(f"`examples` of {task.plugin.name} returned no array")
    store.write_example(key, arrays)
    store.write(key, {"content": content_of(loaded.case).sha256})
