"""Regions in measurement reports (TID 1500): groups 1410 and 1411 with their ROI (PS3.16)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.frames import Stack
from node.dicom.headers import read_header
from node.dicom.outlines import Drawn, Outline, filled, home_of, on_planes
from node.dicom.region_values import (
    Fault,
    GridMask,
    Region,
    code_in,
    content_below,
    first_of,
    floats,
    items,
    moment,
    object_values,
    unique,
    value_of,
)
from node.dicom.report_shapes import closed, corners_in_plane, corners_in_space
from node.dicom.segmentation import SEGMENTATION_CLASSES
from node.dicom.values import lookup_in, texts, whole
from node.errors import RefusalCode, Refused
from node.manifest import Code

#: Basic Text, Enhanced, Comprehensive, Comprehensive 3D, Extensible SR.
REPORT_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{last}" for last in (11, 22, 33, 34, 35))

#: Concept → (value, scheme), with what older writers of TID 1500 used.
_GROUP = frozenset({("125007", "DCM")})
_TRACKING_ID = frozenset({("112039", "DCM")})
_TRACKING_UID = frozenset({("112040", "DCM")})
_FINDING = frozenset({("121071", "DCM")})
_CATEGORY = frozenset({("276214006", "SCT"), ("G-D203", "SRT")})
_SITE = frozenset({("363698007", "SCT"), ("G-C0E3", "SRT")})
_OBSERVER = frozenset({("121008", "DCM")})
_DEVICE = frozenset({("121013", "DCM"), ("121015", "DCM")})
#: Referenced Segment, Referenced Segmentation Frame.
_SEGMENT = frozenset({("121191", "DCM"), ("121214", "DCM")})


_Concepts = frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """One region item: its kind and its image or frame of reference."""

    item: Dataset
    #: SCOORD or SCOORD3D.
    kind: str
    graphic: str
    values: NDArray[np.float64]
    #: (SOP Instance UID, frame number or 0) of the images it was selected from.
    images: tuple[tuple[str, int], ...]
    frame_of_reference_uid: str


def groups_of(ds: Dataset, path: Path) -> tuple[Region, ...]:
    """Return one region per measurement group of a report that has one."""
    series_of = _series_of_images(ds)
    about = object_values(ds, path) | {
        "source_kind": "SR",
        "created_at": moment(ds, ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime")),
        "creator": _creator(ds),
    }
    regions = []
    for place, group in enumerate(_groups(ds), start=1):
        shapes, segments = _shapes(group, ds), _segments(group)
        if shapes or segments:
            regions.append(_region(group, place, about, (shapes, segments, series_of)))
    return tuple(regions)


def _region(group: Dataset, place: int, about: dict[str, Any], parts: Any) -> Region:
    shapes, segments, series_of = parts
    images = [image for shape in shapes for image, _ in shape.images]
    images += [image for image in _source_images(group) if image not in images]
    finding = _code(group, _FINDING)
    tracking_id = _text(group, _TRACKING_ID)
    label = finding.meaning if finding else ""
    frames = unique([shape.frame_of_reference_uid for shape in shapes])
    return Region(
        **about,
        name=tracking_id or label,
        label=label,
        category=_code(group, _CATEGORY),
        type=finding,
        site=_code(group, _SITE),
        number=place,
        tracking_uid=_text(group, _TRACKING_UID),
        tracking_id=tracking_id,
        frame_of_reference_uid=frames[0] if len(frames) == 1 else "",
        referenced_series=unique([series_of.get(image, "") for image in images]),
        referenced_instances=unique(images),
        segment_of=_segment_of(segments),
        fault=_fault(shapes, segments),
    )


# --- the content tree ------------------------------------------------------------------------


def _groups(ds: Dataset) -> Iterator[Dataset]:
    """Yield the measurement groups of the report in their order."""
    for item in content_below(ds):
        if _is(item, _GROUP) and value_of(item, "ValueType") == "CONTAINER":
            yield item


def _is(item: Dataset, concepts: _Concepts) -> bool:
    name = code_in(item, "ConceptNameCodeSequence")
    return name is not None and (name.value, name.scheme) in concepts


def _text(group: Dataset, concepts: _Concepts) -> str:
    for item in items(group, "ContentSequence"):
        if _is(item, concepts):
            return first_of(item, ("TextValue", "UID", "PersonName"))
    return ""


def _code(group: Dataset, concepts: _Concepts) -> Code | None:
    for item in items(group, "ContentSequence"):
        if _is(item, concepts):
            return code_in(item, "ConceptCodeSequence")
    return None


def _creator(ds: Dataset) -> str:
    person = _text(ds, _OBSERVER)
    authors = [value_of(item, "PersonName") for item in items(ds, "AuthorObserverSequence")]
    found = [person, *authors, _text(ds, _DEVICE), value_of(ds, "Manufacturer")]
    return next((name for name in found if name), "")


def _series_of_images(ds: Dataset) -> dict[str, str]:
    """Return the series of each instance that the report lists as evidence."""
    studies = [
        *items(ds, "CurrentRequestedProcedureEvidenceSequence"),
        *items(ds, "PertinentOtherEvidenceSequence"),
    ]
    return {
        value_of(image, "ReferencedSOPInstanceUID"): value_of(series, "SeriesInstanceUID")
        for study in studies
        for series in items(study, "ReferencedSeriesSequence")
        for image in items(series, "ReferencedSOPSequence")
    }


# --- what a group's region is made of ---------------------------------------------------------


def _shapes(group: Dataset, root: Dataset) -> list[_Shape]:
    """Return the outlines of a group; those of its single measurements if it has none itself."""
    own = [item for item in items(group, "ContentSequence") if _is_shape(item)]
    if not own:
        measurements = [
            item for item in items(group, "ContentSequence") if value_of(item, "ValueType") == "NUM"
        ]
        own = [item for one in measurements for item in content_below(one) if _is_shape(item)]
    return [_shape(item, root) for item in own]


def _is_shape(item: Dataset) -> bool:
    return value_of(item, "ValueType") in ("SCOORD", "SCOORD3D")


def _shape(item: Dataset, root: Dataset) -> _Shape:
    values = floats(item, "GraphicData")
    return _Shape(
        item=item,
        kind=value_of(item, "ValueType"),
        graphic=value_of(item, "GraphicType").upper(),
        values=np.full(1, np.nan) if values is None else values,
        images=tuple(_images(item, root)),
        frame_of_reference_uid=value_of(item, "ReferencedFrameOfReferenceUID"),
    )


def _images(item: Dataset, root: Dataset) -> Iterator[tuple[str, int]]:
    for child in items(item, "ContentSequence"):
        target = _referenced(child, root)
        for image in items(target, "ReferencedSOPSequence"):
            frames = texts(lookup_in(image)("ReferencedFrameNumber")) or ("0",)
            for frame in frames:
                yield value_of(image, "ReferencedSOPInstanceUID"), whole(frame) or 0


def _referenced(child: Dataset, root: Dataset) -> Dataset:
    """Follow a by-reference relationship: positions from the root, from 1 (PS3.3 C.17.3.2.5)."""
    path = texts(lookup_in(child)("ReferencedContentItemIdentifier"))
    if not path:
        return child
    item = root
    for step in path[1:]:
        children, place = items(item, "ContentSequence"), whole(step) or 0
        if not 1 <= place <= len(children):
            return Dataset()
        item = children[place - 1]
    return item


def _segments(group: Dataset) -> list[tuple[str, int, tuple[int, ...]]]:
    """Return (SOP Instance UID, segment number, frames) of the segments a group points at."""
    found = []
    for item in items(group, "ContentSequence"):
        for image in items(item, "ReferencedSOPSequence"):
            is_seg = value_of(image, "ReferencedSOPClassUID") in SEGMENTATION_CLASSES
            if not is_seg or value_of(item, "ValueType") != "IMAGE":
                continue
            numbers = texts(lookup_in(image)("ReferencedSegmentNumber"))
            frames = texts(lookup_in(image)("ReferencedFrameNumber"))
            uid = value_of(image, "ReferencedSOPInstanceUID")
            for number in numbers or ("0",) * _is(item, _SEGMENT):
                found.append((uid, whole(number) or 0, tuple(whole(f) or 0 for f in frames)))
    return found


def _source_images(group: Dataset) -> list[str]:
    return [
        value_of(image, "ReferencedSOPInstanceUID")
        for item in items(group, "ContentSequence")
        if value_of(item, "ValueType") == "IMAGE"
        for image in items(item, "ReferencedSOPSequence")
        if value_of(image, "ReferencedSOPClassUID") not in SEGMENTATION_CLASSES
    ]


def _segment_of(
    segments: Sequence[tuple[str, int, tuple[int, ...]]],
) -> tuple[str, tuple[int, ...]] | None:
    if not segments:
        return None
    return segments[0][0], tuple(sorted({number for _, number, _ in segments}))


def _fault(shapes: Sequence[_Shape], segments: Sequence[Any]) -> Fault | None:
    if shapes and segments:
        return RefusalCode.ROI_AMBIGUOUS, "the group has both outlines and a segment"
    if len({uid for uid, _, _ in segments}) > 1:
        return RefusalCode.ROI_AMBIGUOUS, "the group points into several segmentations"
    if any(number < 1 for _, number, _ in segments):
        return RefusalCode.ROI_UNREADABLE, "the group points at a segmentation, not at a segment"
    if len({shape.kind for shape in shapes}) > 1:
        return RefusalCode.ROI_AMBIGUOUS, "the group has outlines in images and in space"
    for shape in shapes:
        objection = closed(shape.graphic, shape.values, dimensions=_dimensions(shape))
        if objection:
            return RefusalCode.ROI_NOT_AN_AREA, objection
    if len({shape.frame_of_reference_uid for shape in shapes}) > 1:
        return RefusalCode.ROI_AMBIGUOUS, "the group lies in several frames of reference"
    return None


def _dimensions(shape: _Shape) -> int:
    return 3 if shape.kind == "SCOORD3D" else 2


def frames_of_segment(region: Region) -> tuple[int, ...]:
    """Return the frames, from 1, that a report's group picks from its SEG; () for all."""
    group, _ = _group(region)
    return tuple(sorted({frame for _, _, frames in _segments(group) for frame in frames}))


def _group(region: Region) -> tuple[Dataset, Dataset]:
    """Return the group of a region and the report it lies in."""
    ds = read_header(region.path)
    for place, group in enumerate(_groups(ds), start=1):
        if place == region.number:
            return group, ds
    raise Refused(RefusalCode.ROI_UNREADABLE, "the report has no such measurement group any more")


# --- masks -----------------------------------------------------------------------------------


def group_mask(region: Region, stacks: Sequence[Stack]) -> tuple[GridMask, Stack]:
    """Return the outlines of a group, filled on the grid of the stack they were drawn on.

    Parameters
    ----------
    region : Region
        Of a report, with outlines (no segment).
    stacks : sequence of Stack
        The one it is wanted for first, then others of the study.

    Returns
    -------
    GridMask, Stack
        The mask, and the stack on whose grid it lies.

    Raises
    ------
    Refused
        See `outlines`; ROI_SEGMENT_MISSING if the images it was drawn on are not at hand.
    """
    group, root = _group(region)
    shapes = _shapes(group, root)
    if shapes[0].kind == "SCOORD3D":
        outlines = [Outline(points=corners_in_space(s.graphic, s.values)) for s in shapes]
        home = home_of(outlines, region.frame_of_reference_uid, stacks)
        return filled(on_planes(outlines, home), home), home
    home = _home(shapes, stacks)
    return filled([*_on_images(shapes, home)], home), home


def _home(shapes: Sequence[_Shape], stacks: Sequence[Stack]) -> Stack:
    wanted = {image for shape in shapes for image, _ in shape.images}
    if not wanted:
        raise Refused(
            RefusalCode.ROI_SEGMENT_MISSING, "the outline does not say on which image it lies"
        )
    for stack in stacks:
        if wanted <= {frame.sop_instance_uid for frame in stack.frames}:
            return stack
    raise Refused(
        RefusalCode.ROI_SEGMENT_MISSING,
        f"the region is drawn on {len(wanted)} images that are not all at hand in one stack",
    )


def _on_images(shapes: Sequence[_Shape], home: Stack) -> Iterator[Drawn]:
    """Yield outlines in pixel indices.

    SCOORD counts columns and rows from the upper left corner of the image, so that the centre
    of the first pixel is (0.5, 0.5) (PS3.3 C.18.6.1.1).
    """
    places = {(f.sop_instance_uid, f.frame_number): i for i, f in enumerate(home.frames)}
    for shape in shapes:
        points = corners_in_plane(shape.graphic, shape.values)[:, ::-1] - 0.5
        for image, frame in shape.images:
            # An image of one frame has no number, and its only frame may be called 1.
            plane = places.get((image, 0 if frame == 1 and (image, 0) in places else frame))
            if plane is None:
                raise Refused(
                    RefusalCode.ROI_SEGMENT_MISSING,
                    "the region is drawn on a frame that is not part of the stack",
                )
            yield Drawn(plane=plane, points=points)
