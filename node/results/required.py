"""Our own table of what each object must hold with a value, checked always (S5; PS3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.results.seg import LABELMAP_STORAGE


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_COMMON = _names(
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber "
    "Modality Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions "
    "SpecificCharacterSet ContentDate ContentTime SeriesDescription "
    "SeriesDescriptionCodeSequence ContributingEquipmentSequence"
)
#: Present, empty if the source has nothing (type 2).
_PRESENT = _names(
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID "
    "AccessionNumber ReferringPhysicianName"
)
_MULTI_FRAME = _names(
    "ContentQualification ImageType ContentLabel SamplesPerPixel PhotometricInterpretation Rows "
    "Columns BitsAllocated LossyImageCompression NumberOfFrames FrameOfReferenceUID "
    "DimensionOrganizationSequence DimensionIndexSequence SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence ReferencedSeriesSequence"
)
_SEG = (*_MULTI_FRAME, *_names("BitsStored SegmentationType SegmentSequence PixelData"))
_MAP = (*_MULTI_FRAME, *_names("PresentationLUTShape FloatPixelData"))
_CAPTURE = _names(
    "ImageType ConversionType SamplesPerPixel PhotometricInterpretation Rows Columns "
    "BitsAllocated BitsStored BurnedInAnnotation SourceImageSequence PixelData"
)
_SEGMENT = _names(
    "SegmentNumber SegmentLabel SegmentAlgorithmType SegmentAlgorithmName "
    "SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence "
    "SegmentationAlgorithmIdentificationSequence RecommendedDisplayCIELabValue "
    "TrackingID TrackingUID"
)
_FRAME = _names("FrameContentSequence PlanePositionSequence DerivationImageSequence")
_DOCUMENT = _names(
    "ValueType ConceptNameCodeSequence ContinuityOfContent ContentTemplateSequence "
    "ContentSequence CurrentRequestedProcedureEvidenceSequence"
)
_SR = (*_DOCUMENT, *_names("ContentQualification CompletionFlag VerificationFlag"))
_SHARED = _names("PixelMeasuresSequence PlaneOrientationSequence")
_SERIES = _names("SeriesInstanceUID ReferencedInstanceSequence")
_REPORT = {"": (*_COMMON, *_SR), "ReferencedRequestSequence": ("StudyInstanceUID",)}

#: SOP class → sequence at the top ("" = the data set itself) → type 1 attributes there.
REQUIRED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    SegmentationStorage: {
        "": (*_COMMON, *_SEG),
        "SegmentSequence": _SEGMENT,
        "SharedFunctionalGroupsSequence": _SHARED,
        "PerFrameFunctionalGroupsSequence": (*_FRAME, "SegmentIdentificationSequence"),
        "ReferencedSeriesSequence": _SERIES,
    },
    LABELMAP_STORAGE: {
        "": (*_COMMON, *_SEG, "PixelPaddingValue"),
        "SegmentSequence": _SEGMENT,
        "SharedFunctionalGroupsSequence": _SHARED,
        "PerFrameFunctionalGroupsSequence": _FRAME,
        "ReferencedSeriesSequence": _SERIES,
    },
    ParametricMapStorage: {
        "": (*_COMMON, *_MAP),
        "SharedFunctionalGroupsSequence": (*_SHARED, "RealWorldValueMappingSequence"),
        "PerFrameFunctionalGroupsSequence": _FRAME,
        "ReferencedSeriesSequence": _SERIES,
    },
    SecondaryCaptureImageStorage: {"": (*_COMMON, *_CAPTURE)},
    MultiFrameTrueColorSecondaryCaptureImageStorage: {
        "": (*_COMMON, *_CAPTURE, "NumberOfFrames", "FrameIncrementPointer", "PageNumberVector")
    },
    KeyObjectSelectionDocumentStorage: {
        "": (*_COMMON, *_DOCUMENT),
        "ReferencedRequestSequence": ("StudyInstanceUID",),
    },
    Comprehensive3DSRStorage: _REPORT,
    ComprehensiveSRStorage: _REPORT,
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
