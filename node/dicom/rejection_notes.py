"""Rejection notes: Key Object Selections that take objects back (IHE RAD TF-2 4.66, IOCM)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.dicom.headers import read_header
from node.dicom.region_values import code_in, items, value_of

#: SOP classes that a rejection note may have.
NOTE_CLASSES: Final = frozenset({str(KeyObjectSelectionDocumentStorage)})
#: Rejected for quality or for patient safety, wrong worklist entry, kept long enough (CID 7011).
_TITLES: Final = frozenset((value, "DCM") for value in ("113001", "113037", "113038", "113039"))


def rejected_by(path: Path, *, assumed_charset: str = "") -> frozenset[str]:
    """Return the SOP Instance UIDs that an object takes back; none if it is no rejection note.

    Parameters
    ----------
    path : Path
        Any DICOM file.
    assumed_charset : str
        Character set of undeclared 8-bit text (S6).

    Raises
    ------
    MalformedDataset
        If the file cannot be parsed.
    OSError
        If it cannot be read.
    """
    ds = read_header(path, assumed_charset=assumed_charset)
    title = code_in(ds, "ConceptNameCodeSequence")
    if value_of(ds, "SOPClassUID") not in NOTE_CLASSES or title is None:
        return frozenset()
    if (title.value, title.scheme) not in _TITLES:
        return frozenset()
    return frozenset(uid for uid in _named(ds) if uid)


def _named(ds: Dataset) -> Iterator[str]:
    """Yield what the note is about: its evidence lists all of it, its content names it again."""
    for study in items(ds, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            yield from _references(series)
    for item in items(ds, "ContentSequence"):
        yield from _references(item)


def _references(item: Dataset) -> Iterator[str]:
    for one in items(item, "ReferencedSOPSequence"):
        yield value_of(one, "ReferencedSOPInstanceUID")
