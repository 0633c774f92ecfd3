"""A BINARY Segmentation on the grid of its source images (PS3.3 A.51, C.8.20).

Written by ourselves, not by highdicom, for three reasons that were measured: each segment is
cropped to its slice range without holes (E17), the segment is named in every frame even when
there is one only (dwv and OHIF need it), and no clock or random UID comes in (S1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.dicom.codes import SEGMENTATION, SOURCE_IMAGE, code_item
from node.dicom.frames import Frame, Stack
from node.errors import RefusalCode, Refused
from node.results.coding import add_coding_schemes, cielab, copy_elements, decimals, short
from node.results.request import EncodeRequest, Finding, voxels
from node.results.source import copy_request_attributes, new_object

#: Frame budget of a BINARY SEG: beyond it writers, archives and viewers suffer (E17).
MAX_FRAMES = 20_000

#: Without Laterality: empty or in a multi-frame object it is a fault (PS3.3 C.7.3.1).
_GENERAL_SERIES = ("BodyPartExamined",)
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def segmentation(
    request: EncodeRequest, findings: Sequence[Finding], *, role: str, position: int
) -> Dataset:
    """Return the SEG of the findings on one input's grid, pixel data included.

    Parameters
    ----------
    findings : at least one, all of one input role
    role : str
        Evidence role, ``seg``, ``seg2``…

    Raises
    ------
    Refused
        RESULT_TOO_LARGE if it needs more than `MAX_FRAMES` frames.
    """
    input_role = findings[0].segment.role
    stack, source = request.stacks[input_role], request.headers[input_role][0]
    frames = sum(finding.last - finding.first + 1 for finding in findings)
    if frames > MAX_FRAMES:
        raise Refused(
            RefusalCode.RESULT_TOO_LARGE,
            f"{len(findings)} segments need {frames} frames; at most {MAX_FRAMES} are written",
        )
    ds = new_object(request, role=role, modality="SEG", position=position)
    ds.SOPClassUID = SegmentationStorage
    copy_elements(source, ds, _GENERAL_SERIES)
    copy_request_attributes(source, ds)
    ds.SeriesDescriptionCodeSequence = [code_item(SEGMENTATION)]
    ds.FrameOfReferenceUID = stack.geometry.frame_of_reference_uid
    ds.PositionReferenceIndicator = source.get("PositionReferenceIndicator")
    _add_image(ds, request, stack, source)
    ds.SegmentSequence = [_segment_item(request, finding) for finding in findings]
    ds.SegmentsOverlap = "YES" if _overlap(findings) else "NO"
    _add_dimensions(ds, request, role)
    ds.SharedFunctionalGroupsSequence = [_shared_groups(stack)]
    ds.PerFrameFunctionalGroupsSequence = list(_frame_groups(stack, findings))
    ds.ReferencedSeriesSequence = [_referenced_series(stack, findings)]
    ds.NumberOfFrames = frames
    ds.PixelData = _packed(findings)
    ds["PixelData"].VR = "OB"
    add_coding_schemes(ds, source)
    return ds


def _add_image(ds: Dataset, request: EncodeRequest, stack: Stack, source: Dataset) -> None:
    _, ds.Rows, ds.Columns = stack.geometry.shape
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel = "SEGMENTATION"
    ds.ContentDescription = short(f"{request.manifest.finding_name} by {request.manifest.title}")
    ds.ContentCreatorName = None
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    ds.PixelRepresentation = 0
    ds.SegmentationType = "BINARY"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    if any(frame.lossy for frame in stack.frames):
        # PS3.3 C.7.6.1.1.5: what was lossy once stays marked, also in what is derived from it.
        copy_elements(source, ds, _LOSSY)
        ds.LossyImageCompression = "01"


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
    settings = [f"{name}={value}" for name, value in manifest.parameters.items()]
    return [f"package={manifest.name_version}", f"sha256={manifest.digest}", *settings]


def _overlap(findings: Sequence[Finding]) -> bool:
    """Return whether a voxel belongs to two segments, which BINARY allows."""
    for index, one in enumerate(findings):
        for other in findings[index + 1 :]:
            first, last = max(one.first, other.first), min(one.last, other.last)
            both = slice(first, last + 1)
            if first <= last and np.any(
                voxels(one.segment.mask[both]) & voxels(other.segment.mask[both])
            ):
                return True
    return False


def _add_dimensions(ds: Dataset, request: EncodeRequest, role: str) -> None:
    """Index frames by segment, then by position (PS3.3 C.7.6.17)."""
    uid = request.uid("dimensions", role)
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    ds.DimensionOrganizationSequence = [organization]
    pointers = (
        (0x0062000B, 0x0062000A, "Segment Number"),
        (0x00200032, 0x00209113, "Image Position Patient"),
    )
    ds.DimensionIndexSequence = []
    for pointer, group, label in pointers:
        item = Dataset()
        item.DimensionIndexPointer = pointer
        item.FunctionalGroupPointer = group
        item.DimensionOrganizationUID = uid
        item.DimensionDescriptionLabel = label
        ds.DimensionIndexSequence.append(item)


def _shared_groups(stack: Stack) -> Dataset:
    between_slices, between_rows, between_columns = stack.geometry.spacing_mm
    thickness = stack.frames[0].slice_thickness_mm
    measures = Dataset()
    measures.SliceThickness = decimals([thickness or between_slices])[0]
    measures.SpacingBetweenSlices = decimals([between_slices])[0]
    measures.PixelSpacing = decimals([between_rows, between_columns])
    orientation = Dataset()
    directions = stack.frames[0].image_orientation_patient
    assert directions is not None  # the geometry gate refused such frames
    orientation.ImageOrientationPatient = decimals(directions)
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    return shared


def _frame_groups(stack: Stack, findings: Sequence[Finding]) -> Iterator[Dataset]:
    """Yield the functional groups of each frame, segment by segment, along the stack."""
    used = sorted({i for f in findings for i in range(f.first, f.last + 1)})
    rank = {slice_index: number for number, slice_index in enumerate(used, start=1)}
    for finding in findings:
        for slice_index in range(finding.first, finding.last + 1):
            frame = stack.frames[slice_index]
            content = Dataset()
            content.DimensionIndexValues = [finding.number, rank[slice_index]]
            place = Dataset()
            assert frame.image_position_patient is not None  # as above
            place.ImagePositionPatient = decimals(frame.image_position_patient)
            segment = Dataset()
            segment.ReferencedSegmentNumber = finding.number
            groups = Dataset()
            groups.FrameContentSequence = [content]
            groups.PlanePositionSequence = [place]
            groups.DerivationImageSequence = [_derivation(frame)]
            groups.SegmentIdentificationSequence = [segment]
            yield groups


def _derivation(frame: Frame) -> Dataset:
    source = image_reference(frame)
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    item = Dataset()
    item.SourceImageSequence = [source]
    item.DerivationCodeSequence = [code_item(SEGMENTATION)]
    return item


def image_reference(frame: Frame) -> Dataset:
    """Return a reference to one image plane; to its frame in a multi-frame instance (S20)."""
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.frame_number:
        item.ReferencedFrameNumber = frame.frame_number
    return item


def _referenced_series(stack: Stack, findings: Sequence[Finding]) -> Dataset:
    """Name every instance that a frame refers to (PS3.3 C.12.2)."""
    used = sorted({i for f in findings for i in range(f.first, f.last + 1)})
    instances = {stack.frames[i].sop_instance_uid: stack.frames[i].sop_class_uid for i in used}
    series = Dataset()
    series.SeriesInstanceUID = stack.series_instance_uid
    series.ReferencedInstanceSequence = []
    for sop_instance_uid, sop_class_uid in instances.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class_uid
        item.ReferencedSOPInstanceUID = sop_instance_uid
        series.ReferencedInstanceSequence.append(item)
    return series


def _packed(findings: Sequence[Finding]) -> bytes:
    """Return all frames as one string of bits, first voxel in the lowest bit (PS3.5 8.1.1).

    Frames follow each other without padding, so a frame may begin inside a byte.
    """
    parts = [voxels(f.segment.mask[f.first : f.last + 1]).reshape(-1) for f in findings]
    if all(part.size % 8 == 0 for part in parts):
        packed = b"".join(np.packbits(part, bitorder="little").tobytes() for part in parts)
    else:
        packed = np.packbits(np.concatenate(parts), bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)
