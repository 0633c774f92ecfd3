"""The report of an evaluation: `report.json`, `report.html`, pictures (docs/evaluation.md)."""

from node.training.report.about import (
    REFERENCE_NAME,
    About,
    DataSource,
    Known,
    Reference,
    read_reference,
)
from node.training.report.cases import SegmentationCase, assess_case
from node.training.report.classified import (
    Change,
    Classification,
    ClassifiedCase,
    Scan,
    classify_case,
)
from node.training.report.compare import paired
from node.training.report.compared import signatures_of
from node.training.report.evaluation import Evaluation
from node.training.report.write import NUMBERS_NAME, write_report

__all__ = [
    "NUMBERS_NAME",
    "REFERENCE_NAME",
    "About",
    "Change",
    "Classification",
    "ClassifiedCase",
    "DataSource",
    "Evaluation",
    "Known",
    "Reference",
    "Scan",
    "SegmentationCase",
    "assess_case",
    "classify_case",
    "paired",
    "read_reference",
    "signatures_of",
    "write_report",
]
