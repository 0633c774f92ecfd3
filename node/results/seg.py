"""A Segmentation on the grid of its source images: BINARY, LABELMAP, FRACTIONAL (PS3.3 A.51).

Written by ourselves, not by highdicom, for three reasons that were measured: each segment is
cropped to its slice range without holes (E17), the segment is named in every frame even when
there is one only (dwv and OHIF need it), and no clock or random UID comes in (S1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.dicom.codes import SEGMENTATION, code_item
from node.dicom.frames import Stack
from node.errors import RefusalCode, Refused
from node.profiles import MAX_SEG_FRAMES as MAX_FRAMES
from node.radiomics_settings import settings_words
from node.results.coding import add_coding_schemes, cielab, copy_elements, short
from node.results.planes import (
    POSITION_DIMENSION,
    SEGMENT_DIMENSION,
    add_dimensions,
    add_grid,
    plane_groups,
    referenced_series,
    shared_groups,
)
from node.results.request import EncodeRequest, Finding, voxels
from node.results.source import add_anatomy, copy_request_attributes, new_object

__all__ = ["LABELMAP_STORAGE", "MAX_FRACTION", "MAX_FRAMES", "segmentation"]

#: Label Map Segmentation Storage; pydicom 3.0.2 has no name for it.
LABELMAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
#: Value of probability 1 in a FRACTIONAL SEG.
MAX_FRACTION = 255

#: Without Laterality: empty or in a multi-frame object it is a fault (PS3.3 C.7.3.1).
_GENERAL_SERIES = ("BodyPartExamined",)


def segmentation(request: EncodeRequest, findings: Sequence[Finding], *, role: str) -> Dataset:
    """Return the SEG of the findings on one input's grid, pixel data included.

    Parameters
    ----------
    findings : at least one, all of one input role
    role : str
        Evidence role, ``seg``, ``seg2``…

    Raises
    ------
    Refused
        RESULT_TOO_LARGE if it needs more frames than the profile's budget.
    """
    input_role = findings[0].segment.role
    stack, source = request.stacks[input_role], request.headers[input_role][0]
    overlap = _overlap(findings)
    kind, frames = _kind(request, findings, overlap=overlap)
    ds = new_object(request, role=role, modality="SEG")
    ds.SOPClassUID = LABELMAP_STORAGE if kind == "labelmap" else SegmentationStorage
    copy_elements(source, ds, _GENERAL_SERIES)
    copy_request_attributes(source, ds)
    ds.SeriesDescriptionCodeSequence = [code_item(SEGMENTATION)]
    add_anatomy(ds, source, [f.spec.region for f in findings])
    add_grid(ds, stack, source)
    _add_image(ds, request)
    ds.SegmentSequence = [_segment_item(request, finding) for finding in findings]
    ds.SharedFunctionalGroupsSequence = [shared_groups(stack)]
    ds.NumberOfFrames = frames
    if kind == "labelmap":
        _add_label_map(ds, request, findings, stack, role)
    else:
        _add_layers(ds, request, findings, stack, role, kind)
        ds.SegmentsOverlap = "UNDEFINED" if kind == "fractional" else "YES" if overlap else "NO"
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _kind(request: EncodeRequest, findings: Sequence[Finding], *, overlap: bool) -> tuple[str, int]:
    """Return which kind of SEG is written, and its number of frames (E17)."""
    wanted, budget = request.profile.seg, request.profile.max_seg_frames
    layers = sum(len(slices_of(finding, wanted)) for finding in findings)
    planes = len(_covered(findings))
    frames = planes if wanted == "labelmap" and not overlap else layers
    kind = "binary" if wanted == "labelmap" and overlap else wanted
    beyond = request.profile.labelmap_beyond
    if frames > budget and beyond and not overlap and kind == "binary" and planes <= budget:
        kind, frames = "labelmap", planes
    if frames > budget:
        raise Refused(
            RefusalCode.RESULT_TOO_LARGE,
            f"{_count(len(findings), 'segment')} in {_count(planes, 'slice')} would be {frames} "
            f"frames, and profile {request.profile.name} writes at most {budget} "
            f"(max_seg_frames){_why_no_label_map(request, kind, planes, overlap=overlap)}",
        )
    return kind, frames


def _why_no_label_map(request: EncodeRequest, kind: str, planes: int, *, overlap: bool) -> str:
    """Return why the one kind that needs a frame a slice only is no way out."""
    if kind != "binary":
        return ""
    if overlap:
        return "; the segments overlap, so no label map can hold them"
    if not request.profile.labelmap_beyond:
        return "; its viewer shows no label map, which could hold more"
    return f"; a label map would be {planes}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def slices_of(finding: Finding, kind: str) -> range:
    """Return the slices that a segment's own frames cover, without holes (E17)."""
    if kind != "fractional" or finding.segment.probability is None:
        return range(finding.first, finding.last + 1)
    used = np.flatnonzero(finding.segment.probability.any(axis=(1, 2)))  # (slices,)
    ends = [finding.first, finding.last, *used[:1].tolist(), *used[-1:].tolist()]
    return range(min(ends), max(ends) + 1)


def stored_values(finding: Finding, kind: str, slices: range) -> NDArray[np.uint8]:
    """Return what one segment's frames hold, (slices, rows, columns)."""
    part = slice(slices.start, slices.stop)
    if kind != "fractional":
        return voxels(finding.segment.mask[part])
    probability = finding.segment.probability
    if probability is None:
        return voxels(finding.segment.mask[part]) * np.uint8(MAX_FRACTION)
    return np.rint(probability[part] * MAX_FRACTION).astype(np.uint8)


def _covered(findings: Sequence[Finding]) -> range:
    return range(min(f.first for f in findings), max(f.last for f in findings) + 1)


def _add_image(ds: Dataset, request: EncodeRequest) -> None:
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel = "SEGMENTATION"
    ds.ContentDescription = short(f"{request.manifest.finding_name} by {request.manifest.title}")
    ds.ContentCreatorName = None
    ds.PixelRepresentation = 0


def _set_bits(ds: Dataset, bits: int) -> None:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1


def _add_layers(
    ds: Dataset,
    request: EncodeRequest,
    findings: Sequence[Finding],
    stack: Stack,
    role: str,
    kind: str,
) -> None:
    """Add one frame for each segment and slice: bits, or fractions of 255."""
    add_dimensions(ds, request, role, (SEGMENT_DIMENSION, POSITION_DIMENSION))
    covered = [(finding, slices_of(finding, kind)) for finding in findings]
    used = [index for _, slices in covered for index in slices]
    ds.PerFrameFunctionalGroupsSequence = list(_layer_groups(stack, covered))
    ds.ReferencedSeriesSequence = [referenced_series(stack, used)]
    parts = [stored_values(finding, kind, slices).reshape(-1) for finding, slices in covered]
    ds.SegmentationType = kind.upper()
    if kind == "fractional":
        _set_bits(ds, 8)
        ds.SegmentationFractionalType = "PROBABILITY"
        ds.MaximumFractionalValue = MAX_FRACTION
        ds.PixelData = b"".join(part.tobytes() for part in parts)
    else:
        _set_bits(ds, 1)
        ds.PixelData = _packed(parts)
    ds["PixelData"].VR = "OB"


def _layer_groups(stack: Stack, covered: Sequence[tuple[Finding, range]]) -> Iterator[Dataset]:
    """Yield the functional groups of each frame, segment by segment, along the stack."""
    used = sorted({index for _, slices in covered for index in slices})
    rank = {slice_index: number for number, slice_index in enumerate(used, start=1)}
    planes = {index: plane_groups(stack.frames[index], (0, 0), SEGMENTATION) for index in used}
    for finding, slices in covered:
        segment = Dataset()
        segment.ReferencedSegmentNumber = finding.number
        for slice_index in slices:
            content = Dataset()
            content.DimensionIndexValues = [finding.number, rank[slice_index]]
            groups = Dataset()
            groups.FrameContentSequence = [content]
            # The same items for every segment of a plane: made once, written often.
            for keyword in ("PlanePositionSequence", "DerivationImageSequence"):
                groups[keyword] = planes[slice_index][keyword]
            groups.SegmentIdentificationSequence = [segment]
            yield groups


def _add_label_map(
    ds: Dataset, request: EncodeRequest, findings: Sequence[Finding], stack: Stack, role: str
) -> None:
    """Add one frame for each slice, whose values are segment numbers; 0 is no segment.

    No Segment Sequence item describes the 0: OHIF 3.13.2 takes colours by position, and such
    an item makes every segment black.
    """
    add_dimensions(ds, request, role, (POSITION_DIMENSION,))
    covered = _covered(findings)
    ds.PerFrameFunctionalGroupsSequence = [
        plane_groups(stack.frames[index], (rank,), SEGMENTATION)
        for rank, index in enumerate(covered, start=1)
    ]
    ds.ReferencedSeriesSequence = [referenced_series(stack, covered)]
    ds.SegmentationType = "LABELMAP"
    ds.SegmentsOverlap = "NO"
    ds.PixelPaddingValue = 0
    kind = np.dtype(np.uint8 if len(findings) < 256 else "<u2")
    _set_bits(ds, kind.itemsize * 8)
    labels = np.zeros((len(covered), *stack.geometry.shape[1:]), kind)
    for finding in findings:
        start, stop = finding.first - covered.start, finding.last + 1 - covered.start
        mask = voxels(finding.segment.mask[finding.first : finding.last + 1]).view(np.bool_)
        np.putmask(labels[start:stop], mask, finding.number)
    ds.PixelData = labels.tobytes()
    ds["PixelData"].VR = "OB" if kind.itemsize == 1 else "OW"


def _segment_item(request: EncodeRequest, finding: Finding) -> Dataset:
    """Describe one segment (PS3.3 C.8.20.4)."""
    manifest, spec = request.manifest, finding.spec
    item = Dataset()
    item.SegmentNumber = finding.number
    item.SegmentLabel = short(finding.label)
    sentences = [spec.description, manifest.training]
    item.SegmentDescription = " ".join(s for s in sentences if s) or spec.label
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = short(manifest.title)
    item.SegmentedPropertyCategoryCodeSequence = [code_item(spec.category)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(spec.type)]
    if spec.region is not None:
        item.AnatomicRegionSequence = [code_item(spec.region)]
    item.RecommendedDisplayCIELabValue = cielab(spec.color_rgb)
    item.TrackingID = finding.label
    item.TrackingUID = finding.tracking_uid
    item.SegmentationAlgorithmIdentificationSequence = [_algorithm_item(request)]
    return item


def _algorithm_item(request: EncodeRequest) -> Dataset:
    manifest = request.manifest
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(request.manifest.algorithm_family)]
    item.AlgorithmName = short(manifest.title)
    item.AlgorithmVersion = short(manifest.version)
    item.AlgorithmSource = short(manifest.manufacturer)
    item.AlgorithmParameters = "; ".join(algorithm_parameters(request))
    return item


def algorithm_parameters(request: EncodeRequest) -> list[str]:
    """Return the settings of the algorithm and the digest of its package, one text each."""
    manifest = request.manifest
    settings = dict(manifest.parameters)
    if manifest.radiomics is not None:
        settings |= settings_words(manifest.radiomics)
    return [
        f"package={manifest.name_version}",
        f"sha256={manifest.digest}",
        *(f"{name}={value}" for name, value in settings.items()),
    ]


def _overlap(findings: Sequence[Finding]) -> bool:
    """Return whether a voxel belongs to two segments, which a label map cannot hold."""
    if len(findings) < 2:
        return False
    covered = _covered(findings)
    taken = np.zeros((len(covered), *findings[0].segment.mask.shape[1:]), np.uint8)
    for finding in findings:
        part = taken[finding.first - covered.start : finding.last + 1 - covered.start]
        mask = voxels(finding.segment.mask[finding.first : finding.last + 1])
        if np.any(part & mask):
            return True
        part |= mask
    return False


def _packed(parts: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return all frames as one string of bits, first voxel in the lowest bit (PS3.5 8.1.1).

    Frames follow each other without padding, so a frame may begin inside a byte.
    """
    if all(part.size % 8 == 0 for part in parts):
        return b"".join(np.packbits(part, bitorder="little").tobytes() for part in parts)
    return np.packbits(np.concatenate(parts), bitorder="little").tobytes()
