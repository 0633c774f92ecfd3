"""Our own table of what SEG and SR must hold with a value, checked always (S5; PS3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_COMMON = _names(
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber "
    "Modality Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions "
    "SpecificCharacterSet ContentDate ContentTime ContentQualification SeriesDescription "
    "ContributingEquipmentSequence"
)
#: Present, empty if the source has nothing (type 2).
_PRESENT = _names(
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID "
    "AccessionNumber ReferringPhysicianName"
)
_SEG = _names(
    "ImageType ContentLabel SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated "
    "BitsStored LossyImageCompression SegmentationType SegmentSequence NumberOfFrames "
    "FrameOfReferenceUID DimensionOrganizationSequence DimensionIndexSequence "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence ReferencedSeriesSequence "
    "PixelData"
)
_SEGMENT = _names(
    "SegmentNumber SegmentLabel SegmentAlgorithmType SegmentAlgorithmName "
    "SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence "
    "SegmentationAlgorithmIdentificationSequence RecommendedDisplayCIELabValue "
    "TrackingID TrackingUID"
)
_FRAME = _names(
    "FrameContentSequence PlanePositionSequence DerivationImageSequence "
    "SegmentIdentificationSequence"
)
_SR = _names(
    "CompletionFlag VerificationFlag ValueType ConceptNameCodeSequence ContinuityOfContent "
    "ContentTemplateSequence ContentSequence CurrentRequestedProcedureEvidenceSequence"
)

#: SOP class → sequence at the top ("" = the data set itself) → type 1 attributes there.
REQUIRED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    SegmentationStorage: {
        "": (*_COMMON, *_SEG),
        "SegmentSequence": _SEGMENT,
        "SharedFunctionalGroupsSequence": ("PixelMeasuresSequence", "PlaneOrientationSequence"),
        "PerFrameFunctionalGroupsSequence": _FRAME,
        "ReferencedSeriesSequence": ("SeriesInstanceUID", "ReferencedInstanceSequence"),
    },
    Comprehensive3DSRStorage: {
        "": (*_COMMON, *_SR),
        "ReferencedRequestSequence": ("StudyInstanceUID",),
    },
}


def missing(ds: Dataset) -> Iterator[str]:
    """Yield the path of each required attribute that is absent or without a value."""
    for keyword in _PRESENT:
        if keyword not in ds:
            yield keyword
    for path, keywords in REQUIRED[str(ds.SOPClassUID)].items():
        items = [ds] if not path else ds.get(path) or []
        for number, item in enumerate(items, start=1):
            for keyword in keywords:
                if not _has_value(item, keyword):
                    yield f"{path}[{number}]/{keyword}" if path else keyword


def _has_value(item: Dataset, keyword: str) -> bool:
    if keyword not in item:
        return False
    value = item[keyword].value
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)
