"""ROIs of RT Structure Sets as regions and as masks (PS3.3 A.19.3, C.8.8.5 to C.8.8.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage

from node.dicom.frames import Stack
from node.dicom.headers import read_header
from node.dicom.outlines import Outline, filled, home_of, on_planes
from node.dicom.region_values import (
    Fault,
    GridMask,
    Region,
    code_in,
    first_of,
    floats,
    items,
    moment,
    object_values,
    unique,
    value_of,
)
from node.dicom.values import lookup_in, whole
from node.errors import RefusalCode, Refused

STRUCTURE_SET = str(RTStructureSetStorage)

#: The only geometric types that enclose something; the second says that XOR is meant.
_CLOSED, _EXCLUSIVE = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"


def rois_of(ds: Dataset, path: Path) -> tuple[Region, ...]:
    """Return one region per ROI of a structure set."""
    referenced = items(ds, "ReferencedFrameOfReferenceSequence")
    series = [
        one
        for frame in referenced
        for study in items(frame, "RTReferencedStudySequence")
        for one in items(study, "RTReferencedSeriesSequence")
    ]
    about = object_values(ds, path) | {
        "source_kind": "RTSTRUCT",
        "approval": value_of(ds, "ApprovalStatus").upper() or "UNAPPROVED",
        "created_at": moment(
            ds,
            ("StructureSetDate", "StructureSetTime"),
            ("InstanceCreationDate", "InstanceCreationTime"),
        ),
        "referenced_series": unique([value_of(one, "SeriesInstanceUID") for one in series]),
    }
    frames = unique([value_of(frame, "FrameOfReferenceUID") for frame in referenced])
    only_frame = value_of(ds, "FrameOfReferenceUID") or (frames[0] if len(frames) == 1 else "")
    parts = _Parts(ds)
    return tuple(
        _region(roi, parts, about, only_frame) for roi in items(ds, "StructureSetROISequence")
    )


class _Parts:
    """What the other sequences of a structure set say of each ROI, by its number."""

    def __init__(self, ds: Dataset):
        self.observations = _by_number(ds, "RTROIObservationsSequence", "ReferencedROINumber")
        self.contours = _by_number(ds, "ROIContourSequence", "ReferencedROINumber")
        self.counts = Counter(
            whole(lookup_in(roi)("ROINumber")) for roi in items(ds, "StructureSetROISequence")
        )
        self.creator = first_of(ds, ("OperatorsName", "ReviewerName"))
        self.maker = first_of(ds, ("ManufacturerModelName", "Manufacturer"))


def _by_number(ds: Dataset, sequence: str, keyword: str) -> dict[int | None, list[Dataset]]:
    found: dict[int | None, list[Dataset]] = {}
    for item in items(ds, sequence):
        found.setdefault(whole(lookup_in(item)(keyword)), []).append(item)
    return found


def _region(roi: Dataset, parts: _Parts, about: dict[str, Any], only_frame: str) -> Region:
    numbered = whole(lookup_in(roi)("ROINumber"))
    observation = (parts.observations.get(numbered) or [Dataset()])[0]
    contours = _contours(parts.contours.get(numbered, ()))
    images = [_image(contour) for contour in contours]
    return Region(
        **about,
        name=value_of(roi, "ROIName"),
        label=value_of(observation, "ROIObservationLabel"),
        type=code_in(observation, "RTROIIdentificationCodeSequence"),
        category=code_in(roi, "SegmentedPropertyCategoryCodeSequence"),
        interpreted_type=value_of(observation, "RTROIInterpretedType").upper(),
        number=-1 if numbered is None else numbered,
        algorithm=value_of(roi, "ROIGenerationAlgorithm").upper(),
        creator=value_of(observation, "ROIInterpreter") or parts.creator or parts.maker,
        tracking_uid=value_of(observation, "TrackingUID") or value_of(roi, "TrackingUID"),
        tracking_id=value_of(observation, "TrackingID"),
        frame_of_reference_uid=value_of(roi, "ReferencedFrameOfReferenceUID") or only_frame,
        referenced_instances=unique(images),
        fault=_fault(numbered, contours, parts),
    )


def _contours(rois: Sequence[Dataset]) -> list[Dataset]:
    return [contour for roi in rois for contour in items(roi, "ContourSequence")]


def _image(contour: Dataset) -> str:
    images = items(contour, "ContourImageSequence")
    return value_of(images[0], "ReferencedSOPInstanceUID") if images else ""


def _fault(numbered: int | None, contours: Sequence[Dataset], parts: _Parts) -> Fault | None:
    if numbered is None or parts.counts[numbered] > 1:
        return RefusalCode.ROI_AMBIGUOUS, "the ROI has no number of its own"
    if not contours:
        return RefusalCode.ROI_EMPTY, "the ROI has a name but no contour"
    kinds = {value_of(contour, "ContourGeometricType").upper() for contour in contours}
    open_kinds = sorted(kinds - {_CLOSED, _EXCLUSIVE})
    if open_kinds:
        named = ", ".join(kind or "no type" for kind in open_kinds)
        return RefusalCode.ROI_NOT_AN_AREA, f"contours of type {named} enclose no region"
    return None


def roi_mask(region: Region, stacks: Sequence[Stack]) -> GridMask:
    """Return a ROI on the grid of the stack on whose planes it was drawn.

    Parameters
    ----------
    region : Region
        Of an RT Structure Set.
    stacks : sequence of Stack
        The one it is wanted for first, then others of the study.

    Raises
    ------
    Refused
        See `outlines`; ROI_UNREADABLE for contour data that are no points.
    """
    ds = read_header(region.path)
    rois = _by_number(ds, "ROIContourSequence", "ReferencedROINumber").get(region.number, [])
    outlines = [*_outlines(_contours(rois))]
    if not outlines:
        raise Refused(RefusalCode.ROI_EMPTY, "the ROI has no contour that encloses anything")
    home = home_of(outlines, region.frame_of_reference_uid, stacks)
    return filled(on_planes(outlines, home), home)


def _outlines(contours: Sequence[Dataset]) -> Iterator[Outline]:
    """Yield the contours that have an inside: with fewer than 3 points there is none."""
    for place, contour in enumerate(contours, start=1):
        points = _points(contour, place)
        said = whole(lookup_in(contour)("NumberOfContourPoints"))
        if said is not None and said != len(points):
            raise Refused(
                RefusalCode.ROI_UNREADABLE,
                f"contour {place} has {len(points)} points and says {said}",
            )
        if len(points) >= 3:
            kind = value_of(contour, "ContourGeometricType").upper()
            yield Outline(points=points, image=_image(contour), exclusive=kind == _EXCLUSIVE)


def _points(contour: Dataset, place: int) -> NDArray[np.float64]:
    """Return Contour Data as (points, 3) in mm, LPS+."""
    values = floats(contour, "ContourData")
    if values is None or len(values) % 3:
        raise Refused(
            RefusalCode.ROI_UNREADABLE, f"contour {place} is no list of points in x, y, z"
        )
    return values.reshape(-1, 3)
