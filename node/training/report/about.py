"""What every report says beside its figures: plugin, data, machine, date, the paper."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from node.errors import LearningError
from node.manifest import Manifest

#: What ``report.json`` holds.
Document = dict[str, Any]
#: File beside ``plugin.toml`` with the figures of the paper that a plugin is modelled on.
REFERENCE_NAME = "paper.toml"
#: Figures that a paper may have given; the keys of ``report.json``.
FIGURES = (
    *("dice", "iou", "precision", "recall", "fp_per_scan", "fp_per_tumor_free_scan"),
    *("auroc", "sensitivity", "specificity", "accuracy"),
)
#: First line of every report about phantoms.
SYNTHETIC = (
    "Synthetic phantoms: this report proves that the pipeline works, and says nothing about "
    "clinical quality."
)
NOT_SYNTHETIC = "Research use only: an evaluation on one site's data is no clinical validation."


@dataclass(frozen=True, kw_only=True)
class Known:
    """Who a case is, and what else is known of it, for the tables; the plugin saw none of it."""

    patient: str
    institution: str = ""
    facts: Mapping[str, str | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where the cases come from."""

    #: ``phantom`` or ``folder``.
    kind: str
    #: "400 phantoms of 121 test institutions".
    description: str = ""
    #: SHA-256 of ``cohort.toml``; "" for a folder.
    cohort_sha256: str = ""
    #: Of the cohort.
    seed: int | None = None

    @property
    def synthetic(self) -> bool:
        """Return whether no patient was ever scanned for this."""
        return self.kind == "phantom"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Figures that somebody else published about other data: a line to look at, never ours."""

    source: str
    data: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class About:
    """What was evaluated, on what, with what."""

    manifest: Manifest
    data: DataSource
    #: ISO 8601, when it was evaluated.
    date: str
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    reference: Reference | None = None
    #: Names of facts that get a table of their own.
    group_by: tuple[str, ...] = ()
    bootstrap_seed: int = 0
    bootstrap_runs: int = 2000
    notes: tuple[str, ...] = ()
    #: Why these are the answers of a model that learned nothing, as a sentence.
    collapsed: str = ""
    #: What the signatures in the weights are made of (`compared.signatures_of`).
    signatures: tuple[Document, ...] = ()


def read_reference(path: Path) -> Reference | None:
    """Read a plugin's ``paper.toml``; None if there is none.

    Raises
    ------
    LearningError
        If it is not TOML, or says something that a report cannot show.
    """
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LearningError(f"{path.name}: {error}") from error
    _known(path.name, table, ("source", "data", "notes", "figures"))
    figures = table.get("figures", {})
    _known(f"{path.name}, [figures]", figures, FIGURES)
    for key, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LearningError(f"{path.name}: figure {key} must be a number, it is {value!r}")
    if not isinstance(table.get("source"), str):
        raise LearningError(f"{path.name}: source must say whose figures these are")
    return Reference(
        source=table["source"],
        data=str(table.get("data", "")),
        figures={key: float(value) for key, value in figures.items()},
        notes=tuple(str(note) for note in table.get("notes", ())),
    )


def statement_of(about: About) -> str:
    """Return the first line of the page."""
    return SYNTHETIC if about.data.synthetic else NOT_SYNTHETIC


def provenance_of(about: About) -> Document:
    """Return what was evaluated on what, with what."""
    manifest, reference = about.manifest, about.reference
    return {
        "plugin": {
            "name": manifest.name,
            "version": manifest.version,
            "title": manifest.title,
            "digest": manifest.digest,
            "grade": str(manifest.grade.value),
            "training": manifest.training,
            "weights_sha256": dict(manifest.weights),
        },
        "data": {**asdict(about.data), "synthetic": about.data.synthetic},
        "bootstrap": {
            "unit": "patient",
            "method": "percentile",
            "runs": about.bootstrap_runs,
            "seed": about.bootstrap_seed,
        },
        "machine": dict(about.machine),
        "versions": dict(about.versions),
        "date": about.date,
        "notes": list(about.notes),
        "reference": asdict(reference) if reference else None,
    }


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: no NumPy, no NaN, no infinity."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _known(name: str, table: Mapping[str, object], keys: tuple[str, ...]) -> None:
    """Refuse a key that nobody reads."""
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0.0)
            raise LearningError(f"{name}: unknown key {key!r}; did you mean {near[0]!r}?")
