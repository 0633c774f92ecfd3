"""Cases with one thing changed, and what their headers tell: for the report of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.plugin import Case
from node.toolkit.workers import Workers
from node.training import plugin_code
from node.training.cases import Loaded, PhantomTask
from node.training.report import Change, ClassifiedCase, Scan

#: Kinds whose figure needs a hundred pairs; the others compare whole test sets.
_SOME = ("cause", "nuisance")
CONTROL = "control"
Rows = tuple[ClassifiedCase, ...]


def variant_tasks(
    tasks: Sequence[PhantomTask], pairs: int, workers: Workers
) -> tuple[tuple[PhantomTask, str], ...]:
    """Return a task for each change of each case, and its kind.

    Parameters
    ----------
    tasks : sequence of PhantomTask
        One split as drawn.
    pairs : int
        So many cases have their causes and nuisances changed; all have the other changes.
    """
    named = workers.one(_kinds, tasks[0])
    return tuple(
        (replace(task, variant=name), kind)
        for task, several in zip(tasks, named, strict=True)
        for name, kind in several
        if kind not in _SOME or task.index < pairs
    )


def _kinds(task: PhantomTask) -> list[list[tuple[str, str]]]:
    """Return name and kind of every change of every subject, in a worker."""
    plans = plugin_code.subjects(task.plugin, task.split, task.count, task.seed)
    return [
        [(one.name, one.kind) for one in plugin_code.variants(task.plugin, plan)] for plan in plans
    ]


def changes_from(
    drawn: Sequence[Rows], changed: Sequence[tuple[PhantomTask, str, Rows]]
) -> tuple[Change, ...]:
    """Return every change with its pairs.

    Parameters
    ----------
    drawn : sequence of rows
        Of each case as drawn, by its index.
    changed : sequence of (task, kind, rows)
    """
    pairs: dict[tuple[str, str], list[tuple[ClassifiedCase, ClassifiedCase]]] = {}
    for task, kind, rows in changed:
        here = pairs.setdefault((kind, task.variant), [])
        here += zip(drawn[task.index], rows, strict=True)
    return tuple(
        Change(name=name, kind=kind, pairs=tuple(found)) for (kind, name), found in pairs.items()
    )


def scan_of(rows: Rows, features: Mapping[str, float | str]) -> Scan:
    """Return a case as its headers show it; its outcome is there if any finding has it."""
    has = any(row.outcome for row in rows)
    return Scan(patient=rows[0].known.patient, outcome=has, features=features)


def features_of(loaded: Loaded) -> dict[str, float | str]:
    """Return what can be told of a case without its pixels: header, grid, institution."""
    found: dict[str, float | str] = dict(_geometry(loaded.case))
    for role, header in loaded.headers.items():
        found |= {f"{role} {keyword}": value for keyword, value in header.items()}
    if loaded.institution:
        found["institution"] = loaded.institution
    return found


def _geometry(case: Case) -> Mapping[str, float]:
    found = {}
    for role, volume in case.volumes.items():
        for axis, step, count in zip("zyx", volume.spacing_mm, volume.array.shape, strict=True):
            found[f"{role} {axis} step"] = step
            found[f"{role} {axis} count"] = float(count)
        for axis, place in zip("xyz", volume.affine[:3, 3], strict=True):
            found[f"{role} {axis} origin"] = float(place)
    return found
