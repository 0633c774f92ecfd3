"""The report of an evaluation: `report.json`, `report.html`, pictures (docs/evaluation.md)."""

from node.training.report.about import (
    REFERENCE_NAME,
    DataSource,
    Known,
    Reference,
    read_reference,
)
from node.training.report.cases import SegmentationCase, assess_case
from node.training.report.evaluation import Evaluation
from node.training.report.figures import collapse_of
from node.training.report.write import NUMBERS_NAME, write_report

__all__ = [
    "NUMBERS_NAME",
    "REFERENCE_NAME",
    "DataSource",
    "Evaluation",
    "Known",
    "Reference",
    "SegmentationCase",
    "assess_case",
    "collapse_of",
    "read_reference",
    "write_report",
]
