"""Clinical values that went into a result: coded, each with its source, and in words."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset

from node.clinical_values import ATTRIBUTE, PERSON, ClinicalValue, source_words, value_words
from node.dicom import codes
from node.manifest import ClinicalSpec
from node.results.coding import short
from node.results.request import EncodeRequest
from node.results.sr_items import code, container, item, number, text
from node.results.writing import moment_of

#: study, series, SOP class, SOP instance
Reference = tuple[str, str, str, str]


def patient_characteristics(request: EncodeRequest) -> Iterator[Dataset]:
    """Yield the container of the values that the plugin got; none if it got none.

    TID 1500 is extensible and has no row for them. They are no measurements of the algorithm,
    so no measurement group holds them.
    """
    used = _used(request)
    if used:
        characteristics = container(codes.PATIENT_CHARACTERISTICS)
        characteristics.ContentSequence = [_item(request, value) for value in used]
        yield characteristics


def report_references(request: EncodeRequest) -> Iterator[Reference]:
    """Yield the reports that values were read from: the tree refers to them."""
    for one in _used(request):
        if one.sop_instance_uid:
            study = str(request.source.StudyInstanceUID)
            yield study, one.series_instance_uid, one.sop_class_uid, one.sop_instance_uid


def clinical_sentences(request: EncodeRequest) -> Iterator[str]:
    """Yield each value with its source, and each that was left out with the reason."""
    for one in request.job.clinical:
        spec = request.manifest.clinical[one.name]
        if not one.used:
            yield f"Clinical value not used: {spec.label}: {one.why_not}."
            continue
        shown = spec.choices[str(one.value)].meaning if spec.choices else value_words(one)
        against = f"; against it: {', '.join(one.against)}" if one.against else ""
        day = "" if one.at is None else f" on {moment_of(one.at, request.source):%Y-%m-%d}"
        yield f"Clinical value: {spec.label} {shown} ({source_words(one)}{day}){against}."


def _used(request: EncodeRequest) -> list[ClinicalValue]:
    return [one for one in request.job.clinical if one.used]


def _item(request: EncodeRequest, value: ClinicalValue) -> Dataset:
    made = _value_item(request.manifest.clinical[value.name], value)
    if value.source == PERSON:
        if value.at is not None:
            made.ObservationDateTime = f"{moment_of(value.at, request.source):%Y%m%d%H%M%S}"
        observer = item("HAS OBS CONTEXT", "PNAME", codes.PERSON_OBSERVER_NAME)
        observer.PersonName = short(value.by)
        person = code("HAS OBS CONTEXT", codes.OBSERVER_TYPE, codes.PERSON)
        made.ContentSequence = [person, observer]
    elif value.source == ATTRIBUTE:
        made.ContentSequence = [text("HAS OBS CONTEXT", codes.COMMENT, source_words(value))]
    else:
        report = item("INFERRED FROM", "COMPOSITE", codes.SOURCE_OF_MEASUREMENT)
        reference = Dataset()
        reference.ReferencedSOPClassUID = value.sop_class_uid
        reference.ReferencedSOPInstanceUID = value.sop_instance_uid
        report.ReferencedSOPSequence = [reference]
        made.ContentSequence = [report]
    return made


def _value_item(spec: ClinicalSpec, value: ClinicalValue) -> Dataset:
    if spec.kind == "flag":
        return code("CONTAINS", spec.code, codes.YES if value.value else codes.NO)
    if spec.kind == "words":
        return code("CONTAINS", spec.code, spec.choices[str(value.value)])
    assert spec.unit is not None and value.value is not None
    return number("CONTAINS", spec.code, float(value.value), spec.unit)
