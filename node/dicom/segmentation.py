"""Segments of DICOM SEG objects, of any maker, as regions and as masks (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.dicom.frames import Stack
from node.dicom.geometry import TOLERANCES, normal_of
from node.dicom.headers import read_header
from node.dicom.region_values import (
    Fault,
    GridMask,
    Region,
    RegionRules,
    code_in,
    first_of,
    items,
    moment,
    object_values,
    unique,
    value_of,
)
from node.dicom.segmentation_pixels import stored_frames
from node.dicom.values import lookup_in, number, numbers, whole
from node.errors import RefusalCode, Refused

#: Segmentation Storage, Label Map and Height Map (the last is no region of an image).
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATION_CLASSES = frozenset({str(SegmentationStorage), _LABEL_MAP})

_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
#: (DCM, Background): what a label map says of the voxels of no segment.
_BACKGROUND = ("125040", "DCM")
#: More planes than any image has between the first and the last: a broken position.
_MOST_PLANES = 10_000

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def segments_of(ds: Dataset, path: Path) -> tuple[Region, ...]:
    """Return one region per segment; the background of a label map is none."""
    shared = items(ds, "ReferencedSeriesSequence")
    sources = items(ds, "SourceImageSequence")
    instances = [
        value_of(image, "ReferencedSOPInstanceUID")
        for image in (
            *(image for series in shared for image in items(series, "ReferencedInstanceSequence")),
            *sources,
        )
    ]
    about = object_values(ds, path) | {
        "source_kind": "SEG",
        "created_at": moment(ds, ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime")),
        "frame_of_reference_uid": value_of(ds, "FrameOfReferenceUID"),
        "referenced_series": unique([value_of(item, "SeriesInstanceUID") for item in shared]),
        "referenced_instances": unique(instances),
        "fault": _fault(ds),
    }
    creator = first_of(ds, ("ContentCreatorName", "OperatorsName"))
    maker = first_of(ds, ("ManufacturerModelName", "Manufacturer"))
    return tuple(
        _region(segment, about, creator or value_of(segment, "SegmentAlgorithmName") or maker)
        for segment in items(ds, "SegmentSequence")
        if not _is_background(ds, segment)
    )


def _region(segment: Dataset, about: dict[str, Any], creator: str) -> Region:
    numbered = whole(lookup_in(segment)("SegmentNumber"))
    fault = about["fault"]
    if numbered is None:
        fault = (RefusalCode.ROI_UNREADABLE, "the segment has no number")
    return Region(
        **(about | {"fault": fault}),
        name=value_of(segment, "SegmentLabel"),
        label=value_of(segment, "SegmentDescription"),
        category=code_in(segment, "SegmentedPropertyCategoryCodeSequence"),
        type=code_in(segment, "SegmentedPropertyTypeCodeSequence"),
        site=code_in(segment, "AnatomicRegionSequence"),
        number=-1 if numbered is None else numbered,
        algorithm=value_of(segment, "SegmentAlgorithmType").upper(),
        creator=creator,
        tracking_uid=value_of(segment, "TrackingUID"),
        tracking_id=value_of(segment, "TrackingID"),
    )


def _is_background(ds: Dataset, segment: Dataset) -> bool:
    if value_of(ds, "SegmentationType").upper() != "LABELMAP":
        return False
    kind = code_in(segment, "SegmentedPropertyTypeCodeSequence")
    if kind is not None and (kind.value, kind.scheme) == _BACKGROUND:
        return True
    padding = whole(lookup_in(ds)("PixelPaddingValue"))
    return padding is not None and padding == whole(lookup_in(segment)("SegmentNumber"))


def _fault(ds: Dataset) -> Fault | None:
    kind = value_of(ds, "SegmentationType").upper()
    if kind not in _KINDS:
        return RefusalCode.ROI_UNREADABLE, f"Segmentation Type is {kind or 'absent'}"
    if "TotalPixelMatrixColumns" in ds:
        return RefusalCode.ROI_UNREADABLE, "the segmentation is of a slide, not of a patient's body"
    return None


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """One frame of the segment: its number from 0, and where it lies (mm, LPS+)."""

    index: int
    position: Array
    orientation: tuple[float, ...]
    #: Between rows, between columns.
    spacing: tuple[float, float]
    #: Distance of planes as the object says it, then slice thickness; None: not said.
    between: float | None
    thickness: float | None
    #: Images that the frame was made on.
    sources: frozenset[str]


def segment_mask(
    region: Region,
    stack: Stack,
    rules: RegionRules,
    *,
    numbers_wanted: Sequence[int] = (),
    frames_wanted: Sequence[int] = (),
) -> GridMask:
    """Return a segment on its own grid; frames that the object leaves out are empty.

    Parameters
    ----------
    region : Region
        Of a SEG.
    stack : Stack
        The image it is wanted for: its planes take precedence where the segment lies on them.
    numbers_wanted : sequence of int
        Segments that are one region together; empty: the region's own.
    frames_wanted : sequence of int
        Frames, from 1, of which alone the region is made; empty: all.

    Raises
    ------
    Refused
        ROI_EMPTY, ROI_AMBIGUOUS, ROI_UNREADABLE or a refusal of its pixels.
    """
    ds = read_header(region.path)
    segments = frozenset(numbers_wanted or (region.number,))
    planes = [
        plane
        for plane in _planes(ds, segments)
        if not frames_wanted or plane.index + 1 in frames_wanted
    ]
    by_index = {plane.index: plane for plane in planes}
    found: list[tuple[_Plane, Mask]] = []
    for index, stored in stored_frames(ds, region.path, sorted(by_index)):
        mask = _members(ds, stored, segments, rules)
        if mask.any():
            found.append((by_index[index], mask))
    if not found:
        raise Refused(RefusalCode.ROI_EMPTY, f"segment {_shown(segments)} holds no voxel")
    _check_alike([plane for plane, _ in found])
    return _stacked(found, stack, several=len(segments) > 1)


def _shown(segments: frozenset[int]) -> str:
    return ", ".join(str(each) for each in sorted(segments))


def _members(
    ds: Dataset, stored: NDArray[np.generic], segments: frozenset[int], rules: RegionRules
) -> Mask:
    kind = value_of(ds, "SegmentationType").upper()
    if kind == "LABELMAP":
        return np.asarray(np.isin(stored, sorted(segments)))
    if kind == "BINARY":
        return np.asarray(stored != 0)
    largest = whole(lookup_in(ds)("MaximumFractionalValue")) or 0
    if largest < 1:
        raise Refused(RefusalCode.ROI_UNREADABLE, "a fractional segment without its maximum")
    # Never 0 itself: a threshold of 0 would take the whole image.
    least = max(rules.fraction * largest - 1e-6, 1)
    return np.asarray(stored.astype(np.float64) >= least)


def _planes(ds: Dataset, segments: frozenset[int]) -> Iterator[_Plane]:
    """Yield the frames of the segments, by what each frame or all of them say."""
    groups = items(ds, "PerFrameFunctionalGroupsSequence")
    if len(groups) != (whole(lookup_in(ds)("NumberOfFrames")) or 1):
        raise Refused(
            RefusalCode.ROI_UNREADABLE,
            f"{len(groups)} frames are described, Number of Frames says "
            f"{value_of(ds, 'NumberOfFrames') or 'nothing'}",
        )
    shared = (items(ds, "SharedFunctionalGroupsSequence") or [Dataset()])[0]
    of_all_segments = value_of(ds, "SegmentationType").upper() == "LABELMAP"
    for index, own in enumerate(groups):
        named = _group(own, shared, "SegmentIdentificationSequence")
        if of_all_segments or whole(lookup_in(named)("ReferencedSegmentNumber")) in segments:
            yield _plane(own, shared, index)


def _group(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return a functional group of a frame, else the one shared by all (PS3.3 C.7.6.16)."""
    found = items(own, keyword) or items(shared, keyword)
    return found[0] if found else Dataset()


def _plane(own: Dataset, shared: Dataset, index: int) -> _Plane:
    measures = lookup_in(_group(own, shared, "PixelMeasuresSequence"))
    place = lookup_in(_group(own, shared, "PlanePositionSequence"))
    position = numbers(place("ImagePositionPatient"), 3)
    turned = lookup_in(_group(own, shared, "PlaneOrientationSequence"))
    orientation = numbers(turned("ImageOrientationPatient"), 6)
    spacing = numbers(measures("PixelSpacing"), 2)
    if position is None or orientation is None or spacing is None or min(spacing) <= 0:
        raise Refused(
            RefusalCode.ROI_UNREADABLE,
            f"frame {index + 1} of the segmentation does not say where it lies",
        )
    _check_cosines(orientation, index)
    derivations = items(own, "DerivationImageSequence") or items(shared, "DerivationImageSequence")
    return _Plane(
        index=index,
        position=np.array(position),
        orientation=orientation,
        spacing=(spacing[0], spacing[1]),
        between=number(measures("SpacingBetweenSlices")),
        thickness=number(measures("SliceThickness")),
        sources=frozenset(
            value_of(image, "ReferencedSOPInstanceUID")
            for derivation in derivations
            for image in items(derivation, "SourceImageSequence")
        ),
    )


def _check_cosines(orientation: Sequence[float], index: int) -> None:
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    off = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    if off > TOLERANCES.orthonormal:
        raise Refused(
            RefusalCode.ROI_UNREADABLE,
            f"frame {index + 1} of the segmentation: direction cosines are not orthonormal",
        )


def _check_alike(planes: Sequence[_Plane]) -> None:
    """Refuse a segment whose planes are no stack: other directions or spacings inside."""
    cosines = np.array([plane.orientation for plane in planes])
    spacings = np.array([plane.spacing for plane in planes])
    low = spacings.min(axis=0)
    if np.ptp(cosines, axis=0).max() > TOLERANCES.parallel:
        raise Refused(RefusalCode.ROI_UNREADABLE, "planes of one segment are not parallel")
    if (np.ptp(spacings, axis=0) > TOLERANCES.pixel_spacing * low).any():
        raise Refused(RefusalCode.ROI_UNREADABLE, "pixel spacing varies inside one segment")


def _stacked(found: Sequence[tuple[_Plane, Mask]], stack: Stack, *, several: bool) -> GridMask:
    planes = [plane for plane, _ in found]
    placed = _on_planes_of(stack, planes) or _on_own_planes(stack, planes)
    order, affine = placed
    depth = int(order.max()) + 1
    mask = np.zeros((depth, *found[0][1].shape), np.bool_)
    taken: set[int] = set()
    for place, (_, frame) in zip(order.tolist(), found, strict=True):
        # One frame of each of several segments may lie at one place, not two of one.
        if place in taken and not several:
            raise Refused(
                RefusalCode.ROI_AMBIGUOUS, "two frames of one segment lie at one position"
            )
        taken.add(place)
        mask[place] |= frame
    return GridMask(mask=mask, affine=affine)


_Placed = tuple[NDArray[np.intp], Array]


def _on_planes_of(stack: Stack, planes: Sequence[_Plane]) -> _Placed | None:
    """Return each plane's place on the stack's own planes, None if they are not drawn on it.

    Drawn on it: every plane lies on one of the stack's, with the same shift inside the plane,
    and either names an image of the stack or has its spacing between slices.
    """
    first = planes[0]
    directions = stack.frames[0].image_orientation_patient or ()
    normal = normal_of(directions)
    if abs(abs(normal_of(first.orientation) @ normal) - 1) > TOLERANCES.parallel**2:
        return None
    own = np.array([frame.image_position_patient for frame in stack.frames], float)
    places = np.array([plane.position for plane in planes])
    apart = np.abs((places @ normal)[:, None] - own @ normal)  # (planes, slices)
    nearest = apart.argmin(axis=1)
    tolerance = max(TOLERANCES.duplicate_mm, 1e-3 * stack.geometry.spacing_mm[0])
    shifts = places - own[nearest]
    aside = shifts - np.outer(shifts @ normal, normal)
    if apart.min(axis=1).max() > tolerance or np.ptp(aside, axis=0).max() > tolerance:
        return None
    if not _made_on(stack, planes):
        return None
    affine = np.array(stack.geometry.affine)
    start = int(nearest.min())
    affine[:3, 1:3] = _in_plane(first)
    affine[:3, 3] += start * affine[:3, 0] + aside[0]
    return nearest - start, affine


def _made_on(stack: Stack, planes: Sequence[_Plane]) -> bool:
    images = {frame.sop_instance_uid for frame in stack.frames}
    if all(plane.sources & images for plane in planes):
        return True
    between = planes[0].between
    step = stack.geometry.spacing_mm[0]
    return between is not None and abs(between - step) <= TOLERANCES.spacing * step


def _in_plane(plane: _Plane) -> Array:
    """Return the steps of one row and of one column as the columns of (3, 2), mm."""
    cosines = np.array(plane.orientation)
    return np.stack([cosines[3:] * plane.spacing[0], cosines[:3] * plane.spacing[1]], axis=1)


def _on_own_planes(stack: Stack, planes: Sequence[_Plane]) -> _Placed:
    """Return each plane's place on the regular grid that the planes themselves form."""
    normal = normal_of(planes[0].orientation)
    places = np.array([plane.position for plane in planes])
    along = places @ normal
    step = _step(stack, planes, along)
    order = _numbered(along, step)
    first, last = int(order.argmin()), int(order.argmax())
    affine = np.eye(4)
    affine[:3, 0] = normal * step
    if order[last] > 0:
        affine[:3, 0] = (places[last] - places[first]) / order[last]
    affine[:3, 1:3] = _in_plane(planes[0])
    affine[:3, 3] = places[first]
    off = places - (places[first] + np.outer(order, affine[:3, 0]))
    if np.abs(off - np.outer(off @ normal, normal)).max() > min(planes[0].spacing) / 2:
        raise Refused(
            RefusalCode.ROI_UNREADABLE, "the planes of the segment are shifted against each other"
        )
    return order, affine


def _numbered(along: Array, step: float) -> NDArray[np.intp]:
    """Return each plane's number from 0 by its place along the normal, gaps counted as planes."""
    places, which = np.unique(np.round(along / TOLERANCES.duplicate_mm), return_inverse=True)
    gaps = np.diff(places) * TOLERANCES.duplicate_mm / step
    planes = np.maximum(np.round(gaps), 1)
    # Two steps that each may be off by so much: the smallest one, and the one compared with it.
    if (np.abs(gaps / planes - 1) > 2 * TOLERANCES.spacing).any() or planes.sum() > _MOST_PLANES:
        raise Refused(
            RefusalCode.SPACING_VARIABLE, "the planes of the segment are not equally spaced"
        )
    from_first = np.concatenate([[0], np.cumsum(planes)]).astype(np.intp)
    return np.asarray(from_first[which])


def _step(stack: Stack, planes: Sequence[_Plane], along: Array) -> float:
    """Return the distance of neighbouring planes in mm.

    What lies between two frames may be an empty plane that was left out: Spacing Between Slices
    decides if the gaps agree with it, else the smallest gap does.
    """
    gaps = np.diff(np.unique(along))
    gaps = gaps[gaps > TOLERANCES.duplicate_mm]
    said = planes[0].between
    if said and said > 0:
        multiples = gaps / said
        if len(gaps) == 0 or np.abs(multiples - np.round(multiples)).max() < TOLERANCES.grid:
            return said
    if len(gaps):
        return float(gaps.min())
    return planes[0].thickness or stack.geometry.spacing_mm[0]
