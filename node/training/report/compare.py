"""Two reports on the same cases, compared case by case: another plugin, or another setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from node.errors import LearningError
from node.toolkit.auroc import Comparison, compare_aurocs
from node.training.report.about import Document


def paired(first: Path, second: Path) -> Comparison:
    """Return the AUROC of one classifier's report minus that of another's, by DeLong.

    Parameters
    ----------
    first, second : Path
        Two ``report.json``.

    Raises
    ------
    LearningError
        If one is no report of a classifier, or they are not of the same cases.
    """
    rows = [{row["case"]: row for row in _read(path)["cases"]} for path in (first, second)]
    names = sorted(rows[0])
    if names != sorted(rows[1]) or any(
        rows[0][name]["outcome"] != rows[1][name]["outcome"] for name in names
    ):
        raise LearningError(f"{first} and {second} are not of the same cases with the same truth")
    outcome = np.array([rows[0][name]["outcome"] for name in names], np.bool_)
    patients = np.array([rows[0][name]["patient"] for name in names])
    several = len(set(patients.tolist())) < len(names)
    scores = [np.array([each[name]["counted_as"] for name in names], float) for each in rows]
    return compare_aurocs(
        (scores[0][outcome], scores[0][~outcome]),
        (scores[1][outcome], scores[1][~outcome]),
        patients=(patients[outcome].tolist(), patients[~outcome].tolist()) if several else None,
    )


def _read(path: Path) -> Document:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LearningError(f"{path} cannot be read: {error}") from error
    if not str(document.get("format", "")).startswith("sentinel-node-classification"):
        raise LearningError(f"{path} is no report of a classifier")
    return document
