"""Cases become examples, once: what one costs to render or read, the next call finds on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node.errors import LearningError
from node.toolkit.training import INSTITUTION, PATIENT
from node.toolkit.workers import Workers, raised
from node.training import plugin_code
from node.training.cases import PhantomTask, StudyTask, Task, content_of, load
from node.training.relevant import examples_digest
from node.training.store import Store

#: Changes when the arrays of an example change in kind.
_KIND = "example with institution and hash"


@dataclass(frozen=True, kw_only=True)
class Made:
    """One example on disk."""

    path: Path
    #: Whose it is, without a name.
    patient: str
    #: SHA-256 of the images it came from.
    content: str
    #: `Content.few` of them; () for a phantom.
    slices: tuple[str, ...]


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
        if fresh or not _is_whole(store, key)
    ]
    for key in keys:
        store.touch(key)
    work = [(store.folder, key, task) for task, key in missing]
    for done, _ in enumerate(raised(workers.each(make_example, work)), start=1):
        advance(done, len(missing))
    return tuple(_made(store, key, task) for key, task in zip(keys, tasks, strict=True))


def _is_whole(store: Store, key: str) -> bool:
    """Return whether an example is there as it was written; a damaged one is made again."""
    kept = store.read(key)
    return kept is not None and store.has_example(key, str(kept["sha256"]))


def _made(store: Store, key: str, task: Task) -> Made:
    kept = store.read(key) or {}
    return Made(
        path=store.example(key),
        patient=task.patient,
        content=str(kept["content"]),
        slices=tuple(str(one) for one in kept["slices"]),
    )


def keys_of(tasks: Sequence[Task], store: Store) -> tuple[str, ...]:
    """Return the key of each task's example: its code and its case decide it."""
    digests: dict[tuple[Path, bool], str] = {}
    keys = []
    for task in tasks:
        kind = (task.plugin, isinstance(task, PhantomTask))
        if kind not in digests:
            digests[kind] = examples_digest(task.plugin, with_cohort=kind[1])
        keys.append(store.key(_KIND, digests[kind], task.name))
    return tuple(keys)


def make_example(store_folder: Path, key: str, task: Task) -> None:
    """Make one example, in a worker."""
    store = Store(store_folder)
    loaded = load(task)
    arrays = plugin_code.examples(task.plugin, loaded.case, loaded.labels)
    if not arrays:
        raise LearningError(f"`examples` of {task.plugin.name} returned no array")
    for taken in {INSTITUTION, PATIENT} & arrays.keys():
        raise LearningError(
            f"`examples` of {task.plugin.name} returned an array named {taken!r}, which the node "
            "adds itself; give it another name"
        )
    sha256 = store.write_example(key, {**arrays, INSTITUTION: np.array(loaded.institution)})
    content = content_of(loaded.case)
    # Phantoms without noise may share slices, and a test phantom is drawn apart anyway.
    slices = content.few if isinstance(task, StudyTask) else ()
    store.write(key, {"content": content.sha256, "slices": slices, "sha256": sha256})
