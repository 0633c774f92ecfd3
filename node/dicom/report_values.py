"""Clinical values in reports of a study: items by their concept, and who wrote the report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from pydicom import Dataset

from node.dicom.region_values import code_in, content_below, first_of, items, moment, value_of
from node.dicom.values import lookup_in, number
from node.manifest import Code

_OBSERVER = ("121008", "DCM")


@dataclass(frozen=True, kw_only=True)
class ReportItem:
    """One NUM or CODE item of a report."""

    #: (value, scheme) of its concept.
    concept: tuple[str, str]
    #: Of a NUM; None: there is no number in it.
    number: float | None = None
    #: Of a NUM without a number: what stands there instead.
    words: str = ""
    #: Of a NUM.
    unit: Code | None = None
    #: Of a CODE.
    code: Code | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report says of the concepts that were asked for."""

    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    #: Who verified or wrote it, else the program.
    author: str = field(repr=False)
    #: Date and time digits, "" if unknown.
    dated: str
    items: tuple[ReportItem, ...]
    #: False: its author was not done with it (PS3.3 C.17.2.3).
    complete: bool
    #: SOP Instance UIDs of the documents that it replaces.
    predecessors: tuple[str, ...] = field(default=(), repr=False)


def read_report(ds: Dataset, concepts: Collection[tuple[str, str]]) -> Report:
    """Return the items of a report whose concept is one of `concepts`, as (value, scheme).

    Only NUM and CODE items: what a sentence means is not guessed.
    """
    return Report(
        sop_class_uid=value_of(ds, "SOPClassUID"),
        sop_instance_uid=value_of(ds, "SOPInstanceUID"),
        series_instance_uid=value_of(ds, "SeriesInstanceUID"),
        author=_author(ds),
        dated=moment(ds, ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime")),
        items=tuple(found for item in content_below(ds) for found in _item(item, concepts)),
        complete=value_of(ds, "CompletionFlag").upper() != "PARTIAL"
        and value_of(ds, "PreliminaryFlag").upper() != "PRELIMINARY",
        predecessors=tuple(_predecessors(ds)),
    )


def current(reports: Iterable[Report]) -> tuple[Report, ...]:
    """Return the reports that no other one of them replaces."""
    known = tuple(reports)
    replaced = {uid for report in known for uid in report.predecessors}
    return tuple(report for report in known if report.sop_instance_uid not in replaced)


def _item(item: Dataset, concepts: Collection[tuple[str, str]]) -> Iterator[ReportItem]:
    name, kind = code_in(item, "ConceptNameCodeSequence"), value_of(item, "ValueType")
    if name is None or (name.value, name.scheme) not in concepts:
        return
    concept = (name.value, name.scheme)
    if kind == "CODE":
        yield ReportItem(concept=concept, code=code_in(item, "ConceptCodeSequence"))
    elif kind == "NUM":
        measured = items(item, "MeasuredValueSequence")
        if len(measured) != 1:  # PS3.3 C.18.1: one, or none
            words = f"({len(measured)} values)" if measured else "(nothing)"
            yield ReportItem(concept=concept, words=words)
            return
        yield ReportItem(
            concept=concept,
            number=number(lookup_in(measured[0])("NumericValue")),
            words=f"({value_of(measured[0], 'NumericValue') or 'nothing'})",
            unit=code_in(measured[0], "MeasurementUnitsCodeSequence"),
        )


def _author(ds: Dataset) -> str:
    verified = [
        value_of(one, "VerifyingObserverName") for one in items(ds, "VerifyingObserverSequence")
    ]
    written = [value_of(one, "PersonName") for one in items(ds, "AuthorObserverSequence")]
    observed = [
        first_of(item, ("PersonName", "TextValue"))
        for item in items(ds, "ContentSequence")
        if _concept(item) == _OBSERVER
    ]
    people = [name for name in (*verified, *written, *observed) if name]
    return people[0] if people else value_of(ds, "Manufacturer")


def _concept(item: Dataset) -> tuple[str, str] | None:
    name = code_in(item, "ConceptNameCodeSequence")
    return None if name is None else (name.value, name.scheme)


def _predecessors(ds: Dataset) -> Iterator[str]:
    for study in items(ds, "PredecessorDocumentsSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            for document in items(series, "ReferencedSOPSequence"):
                yield value_of(document, "ReferencedSOPInstanceUID")
