"""What a reader that knows nothing of our writers sees in an image, voxel for voxel (S5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.frames import Stack
from node.plugin import Map
from node.results.request import Finding

#: Largest distance between a plane's position as written and as read, mm.
POSITION_TOLERANCE_MM = 1e-3
#: Largest difference of a direction cosine or a spacing (relative), from Decimal Strings.
_RELATIVE = 1e-6


def geometry_faults(ds: Dataset, stack: Stack) -> Iterator[str]:
    """Yield how an object's grid differs from the source's, as its shared groups say."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    spacing = [float(measures.SpacingBetweenSlices), *map(float, measures.PixelSpacing)]
    if not np.allclose(spacing, stack.geometry.spacing_mm, rtol=_RELATIVE, atol=0):
        yield "spacing differs from the source"
    directions = [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    expected = stack.frames[0].image_orientation_patient
    if expected is None or not np.allclose(directions, expected, rtol=0, atol=_RELATIVE):
        yield "orientation differs from the source"
    if (ds.Rows, ds.Columns) != stack.geometry.shape[1:]:
        yield "rows or columns differ from the source"
    if ds.FrameOfReferenceUID != stack.geometry.frame_of_reference_uid:
        yield "frame of reference differs from the source"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What the frames of one segment, or of an image without segments, must hold."""

    #: For people: ``segment 1``, ``the map``.
    name: str
    #: Slice index to its values, (rows, columns).
    plane: Callable[[int], NDArray[np.generic]]
    #: Number of values that are not 0.
    total: int


def layers_of(ds: Dataset, stack: Stack, findings: Sequence[Finding]) -> Mapping[int, Layer]:
    """Return what a SEG must hold, by segment number; a label map is one layer, 0."""
    if ds.SegmentationType == "LABELMAP":
        total = sum(_count(f.segment.mask, f) for f in findings)
        return {0: Layer(name="the label map", plane=partial(_labels, findings), total=total)}
    if ds.SegmentationType == "FRACTIONAL":
        return {f.number: _fractions(f) for f in findings}
    return {
        f.number: Layer(
            name=f"segment {f.number}",
            plane=partial(_mask, f),
            total=_count(f.segment.mask, f),
        )
        for f in findings
    }


def layer_of_map(one: Map) -> Mapping[int, Layer]:
    """Return what a Parametric Map must hold."""
    return {0: Layer(name="the map", plane=one.array.__getitem__, total=_nonzero(one.array))}


def _mask(finding: Finding, slice_index: int) -> NDArray[np.bool_]:
    return np.asarray(finding.segment.mask[slice_index] != 0)


def _labels(findings: Sequence[Finding], slice_index: int) -> NDArray[np.generic]:
    masks = [_mask(f, slice_index) for f in findings]
    return np.select(masks, [f.number for f in findings], 0)


def _fractions(finding: Finding) -> Layer:
    name = f"segment {finding.number}"
    probability = finding.segment.probability
    if probability is None:
        return Layer(
            name=name,
            plane=lambda i: _mask(finding, i) * np.uint8(255),
            total=_count(finding.segment.mask, finding),
        )
    values: NDArray[np.generic] = np.rint(probability * np.float32(255))
    return Layer(name=name, plane=values.__getitem__, total=_nonzero(values))


def _count(mask: NDArray[np.generic], finding: Finding) -> int:
    return _nonzero(mask[finding.first : finding.last + 1])


def _nonzero(values: NDArray[np.generic]) -> int:
    return int(np.count_nonzero(values))


def voxel_faults(ds: Dataset, stack: Stack, layers: Mapping[int, Layer]) -> Iterator[str]:
    """Yield where the voxels in an object are not those that the plugin returned.

    Each frame is put where its own position says, not where our writer meant it.
    """
    planes = np.array([frame.image_position_patient for frame in stack.frames], np.float64)
    seen = dict.fromkeys(layers, 0)
    places: set[tuple[int, int]] = set()
    for index, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        number = _segment_number(groups)
        slice_index = _slice_of(groups, planes)
        if slice_index is None or number not in layers or (number, slice_index) in places:
            yield f"frame {index + 1} has no place of its own on the source grid"
            continue
        places.add((number, slice_index))
        if _referenced_plane(groups) != _plane(stack, slice_index):
            yield f"frame {index + 1} refers to another image than it lies on"
        frame = _frame(ds, index)
        if not np.array_equal(frame, layers[number].plane(slice_index)):
            yield f"voxels of {layers[number].name} differ in frame {index + 1}"
        seen[number] += _nonzero(frame)
    for number, layer in layers.items():
        if seen[number] != layer.total:
            yield f"{layer.name} has {seen[number]} voxels instead of {layer.total}"


def _segment_number(groups: Dataset) -> int:
    named = groups.get("SegmentIdentificationSequence")
    return int(named[0].ReferencedSegmentNumber) if named else 0


def _slice_of(groups: Dataset, planes: NDArray[np.float64]) -> int | None:
    position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
    distances = np.linalg.norm(planes - position, axis=1)  # (slices,)
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] <= POSITION_TOLERANCE_MM else None


def _referenced_plane(groups: Dataset) -> tuple[str, int]:
    image = groups.DerivationImageSequence[0].SourceImageSequence[0]
    return str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber") or 0)


def _plane(stack: Stack, slice_index: int) -> tuple[str, int]:
    frame = stack.frames[slice_index]
    return frame.sop_instance_uid, frame.frame_number


def _frame(ds: Dataset, index: int) -> NDArray[np.generic]:
    """Return frame `index` (from 0) as stored; one of bits may begin inside a byte."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    size = rows * columns
    if ds.BitsAllocated == 1:
        start = index * size
        raw = np.frombuffer(ds.PixelData, np.uint8)[start // 8 : (start + size + 7) // 8]
        bits = np.unpackbits(raw, bitorder="little")[start % 8 : start % 8 + size]
        return bits.reshape(rows, columns).astype(np.bool_)
    kind = {8: "<u1", 16: "<u2", 32: "<f4"}[int(ds.BitsAllocated)]
    content = ds.FloatPixelData if "FloatPixelData" in ds else ds.PixelData
    offset = index * size * np.dtype(kind).itemsize
    return np.frombuffer(content, kind, size, offset).reshape(rows, columns)


def picture_faults(
    ds: Dataset, stack: Stack, findings: Sequence[Finding], maps: Sequence[Map]
) -> Iterator[str]:
    """Yield what is wrong with pictures: their size, their source, an outline that is not there."""
    if ds.BurnedInAnnotation != "YES":
        yield "burned-in annotation is not declared"
    count = int(ds.get("NumberOfFrames") or 1)
    size = int(ds.Rows) * int(ds.Columns) * 3 * count
    if len(ds.PixelData) != size + size % 2:
        yield "pixel data have another length than rows and columns say"
        return
    if len(ds.SourceImageSequence) != count:
        yield "not every picture names its source image"
        return
    frames = np.frombuffer(ds.PixelData, np.uint8, size).reshape(count, -1, 3)
    for source, pixels in zip(ds.SourceImageSequence, frames, strict=True):
        yield from _frame_faults(source, pixels, stack, findings, maps)


def _frame_faults(
    source: Dataset,
    pixels: NDArray[np.uint8],
    stack: Stack,
    findings: Sequence[Finding],
    maps: Sequence[Map],
) -> Iterator[str]:
    """Yield what is wrong with one picture, (pixels, 3), of a source image."""
    place = (str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber") or 0))
    planes = [_plane(stack, index) for index in range(len(stack.frames))]
    if place not in planes:
        yield "the source image is not of the input"
        return
    slice_index = planes.index(place)
    shown = [f for f in findings if f.segment.mask[slice_index].any()]
    # Heat may lie on a slice without any finding; then there is nothing to outline.
    if not shown and any(one.array[slice_index].any() for one in maps):
        return
    if not any((pixels == f.spec.color_rgb).all(axis=1).any() for f in shown):
        yield "no finding is outlined"
