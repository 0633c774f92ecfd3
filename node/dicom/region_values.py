"""What a region of interest is, whichever object holds it, and what is asked of it (S21)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence

from node.dicom.values import lookup_in, text, texts
from node.errors import RefusalCode
from node.manifest import Code

#: A tree deeper than any template is broken.
_DEEPEST = 30
#: Control characters, and what some programs take for a new line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

#: Why something cannot be used: code and sentence.
Fault = tuple[RefusalCode, str]


@dataclass(frozen=True, kw_only=True)
class RegionRules:
    """What a site or a training accepts; everything else about regions is fixed."""

    #: Voxels of a FRACTIONAL segment count from this part of Maximum Fractional Value on.
    fraction: float = 0.5
    #: (S21) Is an RT Structure Set that nobody approved accepted? One that says nothing is such.
    unapproved: bool = False
    #: May the region come from another study of the same patient?
    other_study: bool = False
    #: Least part of the region, by volume, that lies inside the image.
    inside: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Region:
    """One region as the header of its object describes it; no pixel was decoded.

    Text is as the object has it, in one line. No UID, no name and nothing that a person typed is
    in the repr (S28).
    """

    #: Segment Label, ROI Name or Tracking Identifier: what the person who drew it typed.
    name: str = field(repr=False)
    #: Segment Description, ROI Observation Label or the finding's meaning; "" if none.
    label: str = field(default="", repr=False)
    category: Code | None = None
    type: Code | None = None
    #: Anatomic region or finding site.
    site: Code | None = None
    #: RT ROI Interpreted Type (GTV, ORGAN…).
    interpreted_type: str = ""
    #: Segment Number, ROI Number, or the measurement group's place in its report, from 1.
    number: int
    #: SEG, RTSTRUCT or SR.
    source_kind: str
    #: MANUAL, SEMIAUTOMATIC, AUTOMATIC, or "" if the object does not say.
    algorithm: str = ""
    #: Approval Status of an RT Structure Set, "" elsewhere.
    approval: str = ""
    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    study_instance_uid: str = field(repr=False)
    patient_id: str = field(repr=False)
    issuer_of_patient_id: str = field(repr=False)
    #: Person, or else program.
    creator: str = field(repr=False)
    #: Date and time digits as the object says them, "" if unknown; later ones sort behind.
    created_at: str = ""
    tracking_uid: str = field(default="", repr=False)
    tracking_id: str = field(default="", repr=False)
    #: "" if the object leaves it to the images it refers to.
    frame_of_reference_uid: str = field(default="", repr=False)
    #: Series and images it was made on, where told.
    referenced_series: tuple[str, ...] = field(default=(), repr=False)
    referenced_instances: tuple[str, ...] = field(default=(), repr=False)
    #: SOP Instance UID of the SEG and its segment numbers that a report points at.
    segment_of: tuple[str, tuple[int, ...]] | None = field(default=None, repr=False)
    path: Path = field(repr=False)
    #: Why it can never become a mask, as far as the header tells.
    fault: Fault | None = None


@dataclass(frozen=True, kw_only=True)
class GridMask:
    """A mask with a grid of its own.

    Attributes
    ----------
    mask : bool, shape (slices, rows, columns)
    affine : float64, shape (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in mm, LPS+.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none if it is absent or no sequence."""
    sequence = lookup_in(ds)(keyword)
    return list(sequence) if isinstance(sequence, Sequence) else []


def content_below(item: Dataset, depth: int = 0) -> Iterator[Dataset]:
    """Yield all content items of a report below this one, in reading order.

    A file that nests deeper than any template does is read no further: it may nest without end.
    """
    if depth > _DEEPEST:
        return
    for child in items(item, "ContentSequence"):
        yield child
        yield from content_below(child, depth + 1)


def value_of(ds: Dataset, keyword: str) -> str:
    """Return an attribute as one line of text, "" if it is absent.

    A new line and other control characters become spaces: texts go into reports, logs and tables
    of ours. Spaces of other scripts stay, since rules name regions with them.
    """
    return _CONTROL.sub(" ", text(lookup_in(ds)(keyword))).strip(" ")


def floats(ds: Dataset, keyword: str) -> NDArray[np.float64] | None:
    """Return an attribute of many numbers, shape (n,); None if one of them is no number.

    Read straight from the bytes where it can be: contours are long, and there are many.
    """
    element = ds.get_item(keyword)
    raw = isinstance(element, RawDataElement) and element.VR in (None, "DS")
    try:
        if raw and isinstance(element.value, bytes) and element.value:
            found = np.array(element.value.decode("ascii").split("\\"), np.float64)
        else:
            found = np.array(texts(lookup_in(ds)(keyword)), np.float64)
    except (ValueError, UnicodeDecodeError):
        return None
    return found if np.isfinite(found).all() else None


def code_in(ds: Dataset, keyword: str) -> Code | None:
    """Return the first code of a code sequence; None if it is absent or incomplete."""
    for item in items(ds, keyword)[:1]:
        value = first_of(item, ("CodeValue", "LongCodeValue"))
        scheme = value_of(item, "CodingSchemeDesignator")
        if value and scheme:
            return Code(value, scheme, value_of(item, "CodeMeaning"))
    return None


def moment(ds: Dataset, *pairs: tuple[str, str]) -> str:
    """Return the first date that is given with its time, as digits.

    Examples
    --------
    >>> ds = Dataset()
    >>> ds.ContentDate, ds.ContentTime = "20260301", "101500.5"
    >>> moment(ds, ("StructureSetDate", "StructureSetTime"), ("ContentDate", "ContentTime"))
    '20260301101500.5'
    """
    for date, time in pairs:
        if value_of(ds, date):
            return value_of(ds, date) + value_of(ds, time)
    return ""


def first_of(ds: Dataset, keywords: Collection[str]) -> str:
    """Return the first of these attributes that is given."""
    return next((found for keyword in keywords if (found := value_of(ds, keyword))), "")


def unique(values: Collection[str]) -> tuple[str, ...]:
    """Return values in their order, each once, none empty."""
    return tuple(dict.fromkeys(value for value in values if value))


def object_values(ds: Dataset, path: Path) -> dict[str, Any]:
    """Return the fields of `Region` that say which object of whom it is."""
    return {
        "sop_class_uid": value_of(ds, "SOPClassUID"),
        "sop_instance_uid": value_of(ds, "SOPInstanceUID"),
        "series_instance_uid": value_of(ds, "SeriesInstanceUID"),
        "study_instance_uid": value_of(ds, "StudyInstanceUID"),
        # Compared with those of the images, so as they are.
        "patient_id": text(lookup_in(ds)("PatientID")),
        "issuer_of_patient_id": text(lookup_in(ds)("IssuerOfPatientID")),
        "path": path,
    }
