"""What a reader that knows nothing of our writer sees in a SEG, voxel for voxel (S5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.frames import Stack
from node.results.request import Finding

#: Largest distance between a plane's position as written and as read, mm.
POSITION_TOLERANCE_MM = 1e-3
#: Largest difference of a direction cosine or a spacing (relative), from Decimal Strings.
_RELATIVE = 1e-6


def geometry_faults(ds: Dataset, stack: Stack) -> Iterator[str]:
    """Yield how the SEG's grid differs from the source's, as its shared groups say."""
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


def voxel_faults(ds: Dataset, stack: Stack, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield where the voxels in the SEG are not those of the plugin's masks.

    Each frame is put where its own position says, not where our writer meant it.
    """
    masks = {finding.number: finding.segment.mask for finding in findings}
    seen = dict.fromkeys(masks, 0)
    places: set[tuple[int, int]] = set()
    for index, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        slice_index = _slice_of(groups, stack)
        if slice_index is None or number not in masks or (number, slice_index) in places:
            yield f"frame {index + 1} has no place of its own on the source grid"
            continue
        places.add((number, slice_index))
        if _referenced_plane(groups) != _plane(stack, slice_index):
            yield f"frame {index + 1} refers to another image than it lies on"
        frame = _frame(ds, index)
        if not np.array_equal(frame, masks[number][slice_index] != 0):
            yield f"voxels of segment {number} differ in frame {index + 1}"
        seen[number] += int(np.count_nonzero(frame))
    for number, mask in masks.items():
        if seen[number] != int(np.count_nonzero(mask)):
            yield f"segment {number} has {seen[number]} voxels instead of {np.count_nonzero(mask)}"


def _slice_of(groups: Dataset, stack: Stack) -> int | None:
    position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
    planes = np.array([frame.image_position_patient for frame in stack.frames], np.float64)
    distances = np.linalg.norm(planes - position, axis=1)  # (slices,)
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] <= POSITION_TOLERANCE_MM else None


def _referenced_plane(groups: Dataset) -> tuple[str, int]:
    image = groups.DerivationImageSequence[0].SourceImageSequence[0]
    return str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber") or 0)


def _plane(stack: Stack, slice_index: int) -> tuple[str, int]:
    frame = stack.frames[slice_index]
    return frame.sop_instance_uid, frame.frame_number


def _frame(ds: Dataset, index: int) -> NDArray[np.bool_]:
    """Return frame `index` (from 0) of 1-bit pixel data; it may begin inside a byte."""
    size = int(ds.Rows) * int(ds.Columns)
    start = index * size
    stop = start + size
    raw = np.frombuffer(ds.PixelData, np.uint8)[start // 8 : (stop + 7) // 8]
    bits = np.unpackbits(raw, bitorder="little")[start % 8 : start % 8 + size]
    return bits.reshape(int(ds.Rows), int(ds.Columns)).astype(np.bool_)
