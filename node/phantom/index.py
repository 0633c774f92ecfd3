"""What the demo archive answers C-FIND from: some text values of every object it keeps."""

from __future__ import annotations

import contextlib
import fnmatch
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import InvalidDicomError

from node.dicom.charset import decode_text, parse_charset

PATIENT = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
SERIES = (
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
)
IMAGE = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")
KEYWORDS = PATIENT + STUDY + SERIES + IMAGE
#: Which values two objects share if they are one entity of that level.
UID_OF = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


@dataclass(frozen=True)
class Entry:
    """One kept object: text by DICOM keyword ("" where absent), and its file."""

    values: Mapping[str, str]
    path: Path


def entry_of(content: bytes, path: Path) -> Entry:
    """Return what `content` (a DICOM file) says about itself; all "" if it cannot be read."""
    ds = Dataset()
    # What cannot be read is kept and counted all the same; it just cannot be found.
    with contextlib.suppress(InvalidDicomError, EOFError, ValueError, OSError):
        ds.update(dcmread(io.BytesIO(content), stop_before_pixels=True))
    charset = _text(ds, "SpecificCharacterSet", ())
    terms = charset.split("\\")
    return Entry({keyword: _text(ds, keyword, terms) for keyword in KEYWORDS}, path)


class Index:
    """All kept objects; answers by level (PS3.4 C.4.1)."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Remember one object."""
        self._entries.append(entry)

    def paths(self, identifier: Dataset) -> list[Path]:
        """Return the files of all objects that match the identifier of a C-GET."""
        return [entry.path for entry in self._matching(identifier)]

    def find(self, identifier: Dataset) -> list[Dataset]:
        """Return one answer for each entity of the asked level that matches."""
        level = str(identifier.get("QueryRetrieveLevel", "STUDY"))
        entities: dict[str, list[Entry]] = {}
        for entry in self._matching(identifier):
            entities.setdefault(entry.values[UID_OF.get(level, "StudyInstanceUID")], []).append(
                entry
            )
        return [_answer(identifier, level, entries) for entries in entities.values()]

    def _matching(self, identifier: Dataset) -> list[Entry]:
        wanted = [
            (keyword, _pattern(element))
            for element in identifier
            if (keyword := keyword_for_tag(element.tag)) in KEYWORDS
        ]
        return [
            entry
            for entry in self._entries
            if all(_matches(keyword, pattern, entry.values[keyword]) for keyword, pattern in wanted)
        ]


def _answer(identifier: Dataset, level: str, entries: Sequence[Entry]) -> Dataset:
    """Return the asked attributes of one entity, counts included."""
    counted = {
        "NumberOfStudyRelatedSeries": len(_different(entries, "SeriesInstanceUID")),
        "NumberOfStudyRelatedInstances": len(_different(entries, "SOPInstanceUID")),
        "NumberOfSeriesRelatedInstances": len(_different(entries, "SOPInstanceUID")),
        "ModalitiesInStudy": sorted(_different(entries, "Modality")),
    }
    answer = Dataset()
    answer.SpecificCharacterSet = "ISO_IR 192"
    answer.QueryRetrieveLevel = level
    for element in identifier:
        keyword = keyword_for_tag(element.tag)
        if keyword in counted:
            setattr(answer, keyword, counted[keyword])
        elif keyword in KEYWORDS:
            setattr(answer, keyword, entries[0].values[keyword])
    return answer


def _different(entries: Iterable[Entry], keyword: str) -> set[str]:
    return {entry.values[keyword] for entry in entries}


def _pattern(element: DataElement) -> tuple[str, ...]:
    """Return the asked values; () is universal matching."""
    if element.is_empty:
        return ()
    values = element.value if element.VM > 1 else [element.value]
    return tuple(str(value) for value in values)


def _matches(keyword: str, pattern: tuple[str, ...], value: str) -> bool:
    """Return whether `value` is asked for: list of UIDs, date range, or wild card."""
    if not pattern or pattern == ("",) or pattern == ("*",):
        return True
    if dictionary_VR(keyword) == "UI":
        return value in pattern
    if dictionary_VR(keyword) == "DA" and "-" in pattern[0]:
        first, _, last = pattern[0].partition("-")
        return (not first or first <= value) and (not last or value <= last)
    if dictionary_VR(keyword) == "PN":
        return fnmatch.fnmatchcase(value.upper(), pattern[0].upper())
    return any(fnmatch.fnmatchcase(value, one) for one in pattern)


def _text(ds: Dataset, keyword: str, terms: Sequence[str]) -> str:
    """Return a value as text without conversion, so that an odd value neither warns nor fails."""
    tag = tag_for_keyword(keyword)
    element = ds.get_item(tag) if tag is not None else None
    if not isinstance(element, RawDataElement):
        return "" if element is None or element.is_empty else str(element.value)
    raw = element.value or b""
    person = dictionary_VR(keyword) == "PN"
    return decode_text(raw, parse_charset(terms), person_name=person).strip(" \0")
