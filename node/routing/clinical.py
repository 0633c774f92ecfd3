"""Which clinical values a job uses: a person's entry, then reports, then attributes.

The first of these that says anything of a value decides. What it says has to fit the manifest and
must not contradict itself; else the value is left out, with the reason, and the plugin runs
without it. What the others say differently is shown, never merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pydicom import Dataset

from node.clinical_check import checked, given_words
from node.clinical_values import (
    ATTRIBUTE,
    PERSON,
    REPORT,
    ClinicalValue,
    Value,
    source_words,
)
from node.dicom.age import patient_age_years
from node.dicom.report_values import Report, ReportItem
from node.dicom.values import lookup_in, number, text
from node.errors import ClinicalValueRefused
from node.manifest import ClinicalSpec, Code
from node.storage.clinical_rows import Entry
from node.units import ATTRIBUTE_UNITS

#: Codes of a flag in reports, by (value, scheme): yes and no, present and absent (CID 230, 240).
_FLAGS: Mapping[tuple[str, str], bool] = {
    ("373066001", "SCT"): True,
    ("R-0038D", "SRT"): True,
    ("52101004", "SCT"): True,
    ("G-A203", "SRT"): True,
    ("373067005", "SCT"): False,
    ("R-00339", "SRT"): False,
    ("272519000", "SCT"): False,
    ("R-4089B", "SRT"): False,
}
_FLAG_WORDS: Mapping[str, bool] = {"YES": True, "NO": False}


def clinical_values(
    specs: Mapping[str, ClinicalSpec],
    entries: Mapping[str, Entry],
    reports: Sequence[Report],
    header: Dataset,
) -> tuple[ClinicalValue, ...]:
    """Return what is known of each value that a plugin can use; nothing of it: left out.

    Parameters
    ----------
    specs : mapping of name to ClinicalSpec
        Of the plugin's manifest.
    entries : mapping of name to Entry
        What persons entered, the entry that holds.
    reports : sequence of Report
        Those of the study that count.
    header : Dataset
        Where attributes are read.
    """
    found = (_decide(spec, entries.get(name), reports, header) for name, spec in specs.items())
    return tuple(one for one in found if one is not None)


def clinical_document(values: Sequence[ClinicalValue]) -> list[dict[str, Any]]:
    """Return the values for the decision's row."""
    return [asdict(one) for one in values]


def wanted_concepts(specs: Mapping[str, ClinicalSpec]) -> frozenset[tuple[str, str]]:
    """Return the concepts that reports are searched for."""
    return frozenset((code.value, code.scheme) for spec in specs.values() for code in spec.sr)


def _decide(
    spec: ClinicalSpec, entry: Entry | None, reports: Sequence[Report], header: Dataset
) -> ClinicalValue | None:
    levels = [
        [] if entry is None else [_entered(spec, entry)],
        list(_reported(spec, reports)),
        list(_in_header(spec, header)),
    ]
    said = [one for level in levels for one in level]
    if not said:
        return None
    first = next(level for level in levels if level)
    decided = _one_of(spec, first)
    others = [one for one in said if not any(one is same for same in first)]
    differ = [one for one in others if one.value != decided.value]
    return replace(decided, against=(*decided.against, *map(_says, differ)))


def _one_of(spec: ClinicalSpec, said: Sequence[ClinicalValue]) -> ClinicalValue:
    """Return what one level of sources says, if that is one thing."""
    first = said[0]
    differ = [one for one in said[1:] if one.value != first.value]
    if not differ:
        return first
    words = "; ".join(map(_says, (first, *differ)))
    why = f"{ClinicalValueRefused.code}: {spec.name}: sources contradict each other: {words}"
    return replace(first, value=None, why_not=why, against=tuple(map(_says, differ)))


def _says(value: ClinicalValue) -> str:
    return f"{source_words(value)}: {value.given}"


def _known(
    spec: ClinicalSpec, given: object, unit: str, source: str, **about: Any
) -> ClinicalValue:
    """Return a value as one source says it, checked."""
    value: Value | None = None
    why_not = ""
    try:
        value = checked(spec, given, unit)
    except ClinicalValueRefused as refusal:
        why_not = f"{refusal.code}: {refusal}"
    return ClinicalValue(
        name=spec.name,
        value=value,
        unit=spec.unit.value if spec.unit else "",
        source=source,
        given=given_words(given, unit),
        why_not=why_not,
        **about,
    )


# --- the three sources -----------------------------------------------------------------------


def _entered(spec: ClinicalSpec, entry: Entry) -> ClinicalValue:
    return _known(spec, entry.value, entry.unit, PERSON, by=entry.entered_by, at=entry.at)


def _reported(spec: ClinicalSpec, reports: Sequence[Report]) -> Iterator[ClinicalValue]:
    wanted = {(code.value, code.scheme) for code in spec.sr}
    for report in reports:
        about = {
            "by": report.author,
            "dated": report.dated,
            "sop_class_uid": report.sop_class_uid,
            "sop_instance_uid": report.sop_instance_uid,
            "series_instance_uid": report.series_instance_uid,
        }
        for item in report.items:
            if item.concept in wanted:
                given, unit = _given(spec, item)
                yield _known(spec, given, unit, REPORT, **about)


def _given(spec: ClinicalSpec, item: ReportItem) -> tuple[object, str]:
    """Return an item's value and unit; words that no manifest allows where its kind is wrong."""
    if item.code is not None:
        return _coded(spec, item.code), ""
    if item.number is None:
        return item.words, ""
    if item.unit is None or item.unit.scheme != "UCUM":
        return item.number, "" if item.unit is None else f"({item.unit.scheme})"
    return item.number, item.unit.value


def _coded(spec: ClinicalSpec, code: Code) -> object:
    pair = (code.value, code.scheme)
    if spec.kind == "flag":
        return _FLAGS.get(pair, code.meaning)
    for choice, known in spec.choices.items():
        if (known.value, known.scheme) == pair:
            return choice
    return code.meaning or code.value


def _in_header(spec: ClinicalSpec, header: Dataset) -> Iterator[ClinicalValue]:
    keyword = spec.attribute
    if not keyword:
        return
    raw = lookup_in(header)(keyword)
    given: object
    if keyword == "PatientAge":
        given = patient_age_years(header)
    elif spec.unit is not None:
        found = number(raw)
        given = text(raw) or None if found is None else found
    elif spec.kind == "flag":
        word = text(raw)
        given = _FLAG_WORDS.get(word.upper(), word or None)
    else:
        given = text(raw) or None
    if given is not None:
        yield _known(spec, given, ATTRIBUTE_UNITS.get(keyword, ""), ATTRIBUTE, by=keyword)
