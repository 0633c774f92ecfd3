"""What multi-frame objects say of their planes alike: grid, places, sources (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom import Dataset

from node.dicom.codes import SOURCE_IMAGE, code_item
from node.dicom.frames import Frame, Stack
from node.manifest import Code
from node.results.coding import copy_elements, decimals
from node.results.request import EncodeRequest

_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
#: Pointer, functional group, label of a dimension.
SEGMENT_DIMENSION = (0x0062000B, 0x0062000A, "Segment Number")
POSITION_DIMENSION = (0x00200032, 0x00209113, "Image Position Patient")


def add_grid(ds: Dataset, stack: Stack, source: Dataset) -> None:
    """Write rows, columns, frame of reference and whether the source was lossy."""
    _, ds.Rows, ds.Columns = stack.geometry.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.FrameOfReferenceUID = stack.geometry.frame_of_reference_uid
    ds.PositionReferenceIndicator = source.get("PositionReferenceIndicator")
    ds.BurnedInAnnotation = "NO"
    add_lossy(ds, stack, source)


def add_lossy(ds: Dataset, stack: Stack, source: Dataset) -> None:
    """Mark what was lossy once, also in what is derived from it (PS3.3 C.7.6.1.1.5)."""
    ds.LossyImageCompression = "00"
    if any(frame.lossy for frame in stack.frames):
        copy_elements(source, ds, _LOSSY)
        ds.LossyImageCompression = "01"


def add_dimensions(
    ds: Dataset, request: EncodeRequest, role: str, dimensions: Sequence[tuple[int, int, str]]
) -> None:
    """Name what frames are indexed by (PS3.3 C.7.6.17)."""
    uid = request.uid("dimensions", role)
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    ds.DimensionOrganizationSequence = [organization]
    ds.DimensionIndexSequence = []
    for pointer, group, label in dimensions:
        item = Dataset()
        item.DimensionIndexPointer = pointer
        item.FunctionalGroupPointer = group
        item.DimensionOrganizationUID = uid
        item.DimensionDescriptionLabel = label
        ds.DimensionIndexSequence.append(item)


def shared_groups(stack: Stack) -> Dataset:
    """Return pixel measures and orientation, the same for all frames."""
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


def plane_groups(frame: Frame, index: Sequence[int], derivation: Code) -> Dataset:
    """Return the functional groups of one frame: its dimension index, place and source."""
    content = Dataset()
    content.DimensionIndexValues = list(index)
    place = Dataset()
    assert frame.image_position_patient is not None  # the geometry gate refused such frames
    place.ImagePositionPatient = decimals(frame.image_position_patient)
    groups = Dataset()
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [place]
    groups.DerivationImageSequence = [_derivation(frame, derivation)]
    return groups


def _derivation(frame: Frame, derivation: Code) -> Dataset:
    item = Dataset()
    item.SourceImageSequence = [source_image(frame)]
    item.DerivationCodeSequence = [code_item(derivation)]
    return item


def source_image(frame: Frame, *, same_place: bool = True) -> Dataset:
    """Return a reference to the image plane that something was computed from."""
    source = image_reference(frame)
    source.SpatialLocationsPreserved = "YES" if same_place else "NO"
    source.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return source


def image_reference(frame: Frame) -> Dataset:
    """Return a reference to one image plane; to its frame in a multi-frame instance (S20)."""
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.frame_number:
        item.ReferencedFrameNumber = frame.frame_number
    return item


def referenced_series(stack: Stack, slices: Iterable[int]) -> Dataset:
    """Name every instance that a frame refers to (PS3.3 C.12.2)."""
    used = [stack.frames[index] for index in sorted(set(slices))]
    instances = {frame.sop_instance_uid: frame.sop_class_uid for frame in used}
    series = Dataset()
    series.SeriesInstanceUID = stack.series_instance_uid
    series.ReferencedInstanceSequence = []
    for sop_instance_uid, sop_class_uid in instances.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class_uid
        item.ReferencedSOPInstanceUID = sop_instance_uid
        series.ReferencedInstanceSequence.append(item)
    return series
