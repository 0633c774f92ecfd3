"""Clinical values for tests: what a manifest asks for, and reports that say them."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from node.dicom.codes import code_item
from node.manifest import ClinicalSpec, Code, Range

MM = Code("mm", "UCUM", "millimeter")
CM = Code("cm", "UCUM", "centimeter")
SIZE = Code("81827009", "SCT", "Diameter")
GRADE = Code("GRADE", "99SENTINEL", "Tumour grade")
INVASION = Code("INVASION", "99SENTINEL", "Perineural invasion")
NODES = Code("NODES", "99SENTINEL", "Number of nodes")
YEAR = Code("a", "UCUM", "year")
AGE = Code("424144002", "SCT", "Age")
YES = Code("373066001", "SCT", "Yes")
G1 = Code("G1", "99SENTINEL", "Grade 1")
G2 = Code("G2", "99SENTINEL", "Grade 2")

SPECS = {
    "size": ClinicalSpec(
        name="size",
        kind="number",
        label="Size by pathology",
        code=SIZE,
        unit=MM,
        range=Range(1, 200),
        sr=(SIZE,),
    ),
    "grade": ClinicalSpec(
        name="grade",
        kind="words",
        label="Tumour grade (pathology)",
        code=GRADE,
        choices={"g1": G1, "g2": G2},
        sr=(GRADE,),
    ),
    "invasion": ClinicalSpec(
        name="invasion",
        kind="flag",
        label="Perineural invasion",
        code=INVASION,
        sr=(INVASION,),
    ),
    "nodes": ClinicalSpec(
        name="nodes",
        kind="integer",
        label="Number of nodes",
        code=NODES,
        unit=Code("1", "UCUM", "no units"),
        range=Range(0, 60),
        sr=(NODES,),
    ),
    "age": ClinicalSpec(
        name="age",
        kind="number",
        label="Age",
        code=AGE,
        unit=Code("a", "UCUM", "year"),
        range=Range(18, 120),
        attribute="PatientAge",
        sr=(AGE,),
    ),
}

TOML = """
[clinical.size]
kind = "number"
label = "Size by pathology"
code = ["81827009", "SCT", "Diameter"]
unit = ["mm", "UCUM", "millimeter"]
range = [1, 200]

[clinical.grade]
kind = "words"
code = ["GRADE", "99SENTINEL", "Tumour grade"]
choices.g1 = ["G1", "99SENTINEL", "Grade 1"]
choices.g2 = ["G2", "99SENTINEL", "Grade 2"]
"""


def num(concept: Code, value: object, unit: Code | None) -> Dataset:
    item = _item("NUM", concept)
    measured = Dataset()
    measured.NumericValue = str(value)
    measured.MeasurementUnitsCodeSequence = [] if unit is None else [code_item(unit)]
    item.MeasuredValueSequence = [measured]
    return item


def code(concept: Code, value: Code) -> Dataset:
    item = _item("CODE", concept)
    item.ConceptCodeSequence = [code_item(value)]
    return item


def report(image: Dataset, *items: Dataset, **changes: Any) -> Dataset:
    """A Comprehensive SR of the study of `image`, its items inside a container."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    ds.SOPInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate"):
        setattr(ds, keyword, image.get(keyword))
    ds.StudyDate, ds.StudyTime = image.get("StudyDate"), image.get("StudyTime")
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "", "SR", "Maker"
    ds.ContentDate, ds.ContentTime = "20260301", "101500"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    author = Dataset()
    author.PersonName = "Reader^Ann"
    ds.AuthorObserverSequence = [author]
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [code_item(Code("18748-4", "LN", "Diagnostic imaging report"))]
    group = _item("CONTAINER", Code("121070", "DCM", "Findings"))
    group.ContinuityOfContent = "SEPARATE"
    group.ContentSequence = list(items)
    ds.ContentSequence = [group]
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def replaces(newer: Dataset, older: Dataset) -> Dataset:
    """Say that `newer` takes the place of `older`."""
    document, series, study = Dataset(), Dataset(), Dataset()
    document.ReferencedSOPClassUID = older.SOPClassUID
    document.ReferencedSOPInstanceUID = older.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = older.SeriesInstanceUID, [document]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = older.StudyInstanceUID, [series]
    newer.PredecessorDocumentsSequence = [study]
    return newer


def _item(kind: str, concept: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = [code_item(concept)]
    return item
