"""One case for learning: from the studies of a folder, or from a plan of a cohort.

A `Task` names the case and travels to a worker process; `load` makes it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from node.dicom.source import read_series
from node.errors import LearningError, NodeError
from node.inference.case import build_case
from node.manifest import Manifest
from node.manifest_file import parse_manifest
from node.plugin import Case, Labels
from node.routing.guards import check_identity, check_patient
from node.routing.selection import select
from node.training import plugin_code
from node.training.clinical import values_for
from node.training.splits import Content, cohort_seed
from node.training.table import TABLE_NAME, Row

Fact = str | float | bool

#: Folders of a data folder in which the regions of a second reader lie.
SECOND_READER = "second_reader"


@dataclass(frozen=True, kw_only=True)
class PhantomTask:
    """One subject of a plugin's cohort."""

    plugin: Path
    split: str
    count: int
    seed: int
    index: int
    #: Name of the cohort's `Variant`; "" = as drawn.
    variant: str = ""

    @property
    def name(self) -> str:
        """Return what decides the subject, beside the code and the law of the cohort."""
        drawn = self.patient
        return f"{drawn} {self.variant}" if self.variant else drawn

    @property
    def patient(self) -> str:
        """Return what tells the subject from all others of the cohort."""
        return f"phantom {self.split} {self.count} {self.seed} {self.index}"


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """One study of a data folder, with its line of the table."""

    plugin: Path
    row: Row
    #: The first line of the same patient: whose studies these are, without a name.
    patient_line: int
    split: str
    images: tuple[Path, ...]
    #: Files that may hold regions.
    others: tuple[Path, ...]

    @property
    def patient(self) -> str:
        """Return what tells the patient from all others of the table."""
        return f"line {self.patient_line}"

    @property
    def name(self) -> str:
        """Return what decides the case: its files as they are now, and its line."""
        files = (_stat(path) for path in (*self.images, *self.others))
        values = sorted(self.row.values.items())
        return f"study {self.row.outlined} {values} {'; '.join(files)}"


Task = PhantomTask | StudyTask


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A case with what is known of it.

    Attributes
    ----------
    patient : str
        Unique in the data; of a data folder the patient's first line of the table, never an
        identity.
    headers : mapping of role to mapping of DICOM keyword to number or word
        What a phantom's scanner writes beside the pixels; the plugin saw none of it.
    """

    case: Case
    labels: Labels
    patient: str
    institution: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)


def phantom_tasks(plugin: Path, split: str, count: int, seed: int) -> tuple[PhantomTask, ...]:
    """Return the tasks of one split of a cohort."""
    drawn = cohort_seed(split, seed)
    return tuple(
        PhantomTask(plugin=plugin, split=split, count=count, seed=drawn, index=index)
        for index in range(count)
    )


def load(task: Task) -> Loaded:
    """Return the case that a task names.

    Raises
    ------
    NodeError
        With the line of the table, or the number of the subject, and what is wrong.
    """
    return _phantom(task) if isinstance(task, PhantomTask) else _study(task)


def content_of(case: Case) -> Content:
    """Return hashes of the values of a case."""
    whole = hashlib.sha256()
    slices: set[str] = set()
    for role, volume in sorted(case.volumes.items()):
        whole.update(f"{role} {volume.array.shape} {volume.array.dtype}".encode())
        for plane in np.ascontiguousarray(volume.array):
            values = plane.tobytes()
            whole.update(values)
            if plane.min() != plane.max():
                slices.add(hashlib.sha256(values).hexdigest()[:32])
    return Content(sha256=whole.hexdigest(), slices=frozenset(slices))


def _phantom(task: PhantomTask) -> Loaded:
    plans = plugin_code.subjects(task.plugin, task.split, task.count, task.seed)
    plan = plans[task.index]
    if task.variant:
        several = plugin_code.variants(task.plugin, plan)
        plan = next(one.plan for one in several if one.name == task.variant)
    subject = plugin_code.render(task.plugin, plan)
    _check_masks(_manifest(task.plugin), subject.case, subject.labels)
    return Loaded(
        case=subject.case,
        labels=subject.labels,
        patient=subject.patient,
        institution=subject.institution,
        facts=dict(subject.facts),
        headers={
            role: {keyword: _plain(value) for keyword, value in header.items()}
            for role, header in subject.headers.items()
        },
    )


def _plain(value: object) -> str | float:
    """Return a number or a word of a header."""
    plain = value.item() if isinstance(value, np.generic) else value
    return float(plain) if isinstance(plain, int | float) else str(plain)


def _check_masks(manifest: Manifest, case: Case, labels: Labels) -> None:
    shapes = {volume.array.shape for volume in case.volumes.values()}
    missing = sorted(set(manifest.inputs) - set(case.volumes))
    if missing:
        raise LearningError(f"a rendered subject has no volume for the input {missing[0]}")
    for name, role in manifest.rois.items():
        found = case.rois.get(name, ())
        if not found or (len(found) > 1 and not role.many):
            raise LearningError(
                f"a rendered subject has {len(found)} regions `{name}`, the manifest asks for "
                f"{'one or more' if role.many else 'one'}"
            )
    for name, mask in labels.masks.items():
        if name not in manifest.segments:
            raise LearningError(
                f"a rendered subject has a mask `{name}`, the manifest has no such segment"
            )
        if mask.dtype != np.bool_ or mask.shape not in shapes:
            raise LearningError(
                f"mask `{name}` of a rendered subject is {mask.dtype} {mask.shape}; it must be "
                f"bool on the grid of its volume {sorted(shapes)}"
            )


def _study(task: StudyTask) -> Loaded:
    try:
        return _read(task)
    except NodeError as error:
        raise LearningError(
            f"{TABLE_NAME} line {task.row.line}: {error}", code="DATA_INVALID"
        ) from error


def _read(task: StudyTask) -> Loaded:
    from node.training.truth import masks_of, rois_of

    others, second = _readers(task.others)
    manifest = _manifest(task.plugin)
    series = read_series(task.images)
    selection = select(manifest, series)
    if selection.refusal is not None:
        raise selection.refusal
    chosen = selection.inputs
    check_identity([header for one in chosen.values() for header in one.series.headers])
    check_patient(manifest.limits, [one.header for one in chosen.values()])
    stacks = {role: one.stack for role, one in chosen.items()}
    case = build_case(manifest, stacks, {r: (o.header,) for r, o in chosen.items()}, "cpu")
    first = next(iter(chosen.values())).header
    case = replace(
        case,
        rois=rois_of(manifest, others, stacks),
        values=values_for(manifest.clinical, task.row.clinical, first),
    )
    # A classifier's labels are values; what it outlines itself is compared with nothing.
    masks = (
        {}
        if manifest.evaluation
        else masks_of(manifest, others, stacks, outlined=task.row.outlined)
    )
    second_rois = rois_of(manifest, second, stacks, reader="second") if second else {}
    return Loaded(
        case=case,
        labels=Labels(masks=masks, values=dict(task.row.values), second_rois=second_rois),
        patient=task.patient,
        institution=_institution(str(first.get("InstitutionName", ""))),
        facts=dict(task.row.values),
    )


def _readers(paths: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files with regions of the reference, and those of a second reader."""
    second = tuple(path for path in paths if SECOND_READER in path.parent.parts)
    return tuple(path for path in paths if path not in second), second


def _institution(name: str) -> str:
    """Return a name that tells institutions apart and names none."""
    return hashlib.sha256(name.encode()).hexdigest()[:8] if name else ""


def _stat(path: Path) -> str:
    found = path.stat()
    return f"{path} {found.st_size} {found.st_mtime_ns}"


@cache
def _manifest(folder: Path) -> Manifest:
    return parse_manifest(folder)


def tasks_of(tasks: Sequence[Task], split: str) -> tuple[Task, ...]:
    """Return the tasks of one split."""
    return tuple(task for task in tasks if task.split == split)
