"""Write a report into a folder: numbers, page, pictures."""

from __future__ import annotations

import json
from pathlib import Path

from node.training.report.about import Document
from node.training.report.classified import Classification
from node.training.report.classified_figures import classification_document
from node.training.report.classified_pages import classification_page
from node.training.report.classified_plots import CLASSIFIER_PICTURES, draw_classification
from node.training.report.evaluation import Evaluation
from node.training.report.figures import document_of
from node.training.report.pages import page_of
from node.training.report.plots import PICTURES, draw_all

NUMBERS_NAME = "report.json"


def write_report(folder: Path, evaluation: Evaluation | Classification) -> Document:
    """Write ``report.json``, ``report.html`` and the PNGs; return what ``report.json`` holds.

    A report of an earlier evaluation in the same folder is written over. ``report.json`` comes
    last: where it is, the report is whole.

    Raises
    ------
    LearningError
        If nothing was evaluated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = folder / NUMBERS_NAME
    for name in (numbers.name, *PICTURES, *CLASSIFIER_PICTURES):
        (folder / name).unlink(missing_ok=True)
    if isinstance(evaluation, Classification):
        document = classification_document(evaluation)
        captions = draw_classification(folder, document, evaluation.cases)
        page = classification_page(document, folder, captions)
    else:
        document = document_of(evaluation)
        captions = draw_all(folder, document, evaluation.cases)
        page = page_of(document, folder, captions)
    (folder / "report.html").write_text(page, encoding="utf-8")
    numbers.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return document
