"""Evaluations and candidates as JSON for the decision's row."""

from __future__ import annotations

from dataclasses import asdict

from node.dicom.values import lookup_in, text
from node.routing.reading import SeriesRow
from node.routing.rules import Evaluation
from node.routing.selection import Candidate


def series_document(row: SeriesRow) -> dict[str, object]:
    """Return what names a series, for a person."""
    return {
        "series_instance_uid": row.series_instance_uid,
        "series_number": text(lookup_in(row.header)("SeriesNumber")),
        "modality": row.modality,
        "instances": len(row.instances),
    }


def evaluation_document(row: SeriesRow, evaluation: Evaluation) -> dict[str, object]:
    """Return how a rule's condition went for one series."""
    return {
        **series_document(row),
        "matched": evaluation.matched,
        "predicates": [asdict(line) for line in evaluation.lines],
    }


def candidate_document(candidate: Candidate) -> dict[str, object]:
    """Return a candidate for an input role: why not, or its scores."""
    document = asdict(candidate)
    document.pop("progress")
    document["scores"] = dict(candidate.scores)
    return document
