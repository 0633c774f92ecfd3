"""What a report is written from: the plugin, its data, its cases, the paper's own figures."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.errors import LearningError
from node.manifest import Manifest
from node.training.report.cases import SegmentationCase

#: File beside ``plugin.toml`` with the figures of the paper that a plugin is modelled on.
REFERENCE_NAME = "paper.toml"
#: Figures that a paper may have given; the keys of ``report.json``.
FIGURES = (
    "dice",
    "iou",
    "precision",
    "recall",
    "sensitivity",
    "fp_per_scan",
    "fp_per_tumor_free_scan",
)


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
class Evaluation:
    """One plugin on one set of cases."""

    manifest: Manifest
    cases: tuple[SegmentationCase, ...]
    data: DataSource
    #: ISO 8601, when it was evaluated.
    date: str
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    reference: Reference | None = None
    #: Names of facts that get a table of their own.
    group_by: tuple[str, ...] = ()
    #: Borders between the size classes: diameter of the sphere of the same volume.
    size_edges_mm: tuple[float, ...] = (30.0, 50.0)
    bootstrap_seed: int = 0
    bootstrap_runs: int = 2000
    notes: tuple[str, ...] = ()


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


def _known(name: str, table: Mapping[str, object], keys: tuple[str, ...]) -> None:
    """Refuse a key that nobody reads."""
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0.0)
            raise LearningError(f"{name}: unknown key {key!r}; did you mean {near[0]!r}?")
