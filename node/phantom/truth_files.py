"""The truth of a subject as DICOM: a binary SEG, or an RT Structure Set of closed outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence as Items
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from node.dicom.uids import derived_uid
from node.phantom.image_files import decimals
from node.phantom.outline import loops

#: Value, scheme, meaning.
CodeTriple = tuple[str, str, str]
ABNORMAL: CodeTriple = ("49755003", "SCT", "Morphologically Altered Structure")
MASS: CodeTriple = ("4147007", "SCT", "Mass")

_FROM_STUDY = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientComments",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyInstanceUID",
    "AccessionNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Masks on one image series.

    Attributes
    ----------
    header : what the images of the series have in common
    images : (SOP Class UID, SOP Instance UID) of each slice, in the order of the masks
    affine : float64, shape (4, 4)
    thickness_mm : of the slices
    masks : mapping of name to bool, shape (slices, rows, columns)
    codes : mapping of name to category and type
    """

    header: Dataset
    images: Sequence[tuple[str, str]]
    affine: NDArray[np.float64]
    thickness_mm: float
    masks: Mapping[str, NDArray[np.bool_]]
    codes: Mapping[str, tuple[CodeTriple, CodeTriple]]


def segmentation(drawing: Drawing) -> Dataset:
    """Return a binary SEG, one segment per mask, one frame per slice that is not empty."""
    ds = _new(drawing, "SEG", str(SegmentationStorage))
    frames = _frames(drawing)
    _, rows, columns = next(iter(drawing.masks.values())).shape
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(frames), rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    ds.SegmentationType = "BINARY"
    ds.ContentLabel, ds.ContentDescription = "TRUTH", "Truth of a synthetic phantom"
    ds.ContentCreatorName = "Phantom^Generator"
    ds.SegmentSequence = Items(
        _segment(drawing, number, name) for number, name in enumerate(drawing.masks, 1)
    )
    _dimensions(ds)
    ds.SharedFunctionalGroupsSequence = Items([_shared(drawing)])
    ds.PerFrameFunctionalGroupsSequence = Items(
        _frame(drawing, number, index) for number, index, _ in frames
    )
    ds.ReferencedSeriesSequence = Items([_referenced(drawing)])
    bits = np.stack([plane for _, _, plane in frames]).astype(np.uint8)
    ds.PixelData = pack_bits(bits)
    ds["PixelData"].VR = "OB"
    return ds


def structure_set(drawing: Drawing) -> Dataset:
    """Return an RT Structure Set: CLOSED_PLANAR outlines along the pixels' edges.

    Filling them by pixel centre, even-odd, gives the masks back; a hole is an outline within
    another. Approved, by the generator.
    """
    ds = _new(drawing, "RTSTRUCT", str(RTStructureSetStorage))
    ds.OperatorsName = "Phantom^Generator"
    ds.StructureSetLabel = "TRUTH"
    ds.StructureSetDate, ds.StructureSetTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime
    ds.ReferencedFrameOfReferenceSequence = Items([_frame_of_reference(drawing)])
    names = list(drawing.masks)
    ds.StructureSetROISequence = Items(
        _filled(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=drawing.header.FrameOfReferenceUID,
            ROIName=name,
            ROIGenerationAlgorithm="MANUAL",
        )
        for number, name in enumerate(names, 1)
    )
    ds.ROIContourSequence = Items(
        _contours(drawing, number, name) for number, name in enumerate(names, 1)
    )
    ds.RTROIObservationsSequence = Items(
        _filled(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIInterpretedType="GTV",
            ROIInterpreter="",
        )
        for number in range(1, len(names) + 1)
    )
    ds.ApprovalStatus = "APPROVED"
    ds.ReviewDate, ds.ReviewTime = ds.StructureSetDate, ds.StructureSetTime
    ds.ReviewerName = "Phantom^Generator"
    return ds


def _new(drawing: Drawing, modality: str, sop_class: str) -> Dataset:
    header, ds = drawing.header, Dataset()
    for keyword in _FROM_STUDY:
        if keyword in header:
            setattr(ds, keyword, header[keyword].value)
    ds.SOPClassUID = sop_class
    ds.SeriesInstanceUID = derived_uid("phantom truth", modality, header.SeriesInstanceUID)
    ds.SOPInstanceUID = derived_uid("phantom truth instance", ds.SeriesInstanceUID)
    ds.Modality = modality
    ds.SeriesDescription = "Truth of a synthetic phantom"
    ds.SeriesNumber = 900 + int(header.SeriesNumber)
    ds.InstanceNumber = 1
    ds.SeriesDate = ds.ContentDate = header.StudyDate
    ds.SeriesTime = ds.ContentTime = header.StudyTime
    ds.Manufacturer, ds.ManufacturerModelName = "Sentinel Node", "Synthetic phantom"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"
    return ds


def _frames(drawing: Drawing) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Return (segment number, slice, plane) of every plane with something in it."""
    return [
        (number, int(index), mask[index])
        for number, mask in enumerate(drawing.masks.values(), 1)
        for index in np.flatnonzero(mask.any(axis=(1, 2)))
    ]


def _segment(drawing: Drawing, number: int, name: str) -> Dataset:
    category, kind = drawing.codes.get(name, (ABNORMAL, MASS))
    return _filled(
        SegmentNumber=number,
        SegmentLabel=name,
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=Items([_code(category)]),
        SegmentedPropertyTypeCodeSequence=Items([_code(kind)]),
    )


def _dimensions(ds: Dataset) -> None:
    organization = derived_uid("phantom dimensions", ds.SOPInstanceUID)
    ds.DimensionOrganizationSequence = Items([_filled(DimensionOrganizationUID=organization)])
    pointers = ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))
    ds.DimensionIndexSequence = Items(
        _filled(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
        )
        for pointer, group in pointers
    )


def _shared(drawing: Drawing) -> Dataset:
    affine = drawing.affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    measures = _filled(
        SliceThickness=f"{drawing.thickness_mm:g}",
        SpacingBetweenSlices=f"{steps[0]:.6f}",
        PixelSpacing=[f"{steps[1]:.6f}", f"{steps[2]:.6f}"],
    )
    cosines = decimals([*affine[:3, 2] / steps[2], *affine[:3, 1] / steps[1]])
    return _filled(
        PixelMeasuresSequence=Items([measures]),
        PlaneOrientationSequence=Items([_filled(ImageOrientationPatient=cosines)]),
    )


def _frame(drawing: Drawing, number: int, index: int) -> Dataset:
    position = (drawing.affine @ np.array([index, 0, 0, 1.0]))[:3]
    source = _reference(*drawing.images[index])
    source.PurposeOfReferenceCodeSequence = Items(
        [_code(("121322", "DCM", "Source image for image processing operation"))]
    )
    derivation = _filled(
        SourceImageSequence=Items([source]),
        DerivationCodeSequence=Items([_code(("113076", "DCM", "Segmentation"))]),
    )
    return _filled(
        FrameContentSequence=Items([_filled(DimensionIndexValues=[number, index + 1])]),
        PlanePositionSequence=Items(
            [_filled(ImagePositionPatient=[f"{value:.6f}" for value in position])]
        ),
        DerivationImageSequence=Items([derivation]),
        SegmentIdentificationSequence=Items([_filled(ReferencedSegmentNumber=number)]),
    )


def _referenced(drawing: Drawing) -> Dataset:
    return _filled(
        SeriesInstanceUID=drawing.header.SeriesInstanceUID,
        ReferencedInstanceSequence=Items(_reference(*image) for image in drawing.images),
    )


def _frame_of_reference(drawing: Drawing) -> Dataset:
    series = _filled(
        SeriesInstanceUID=drawing.header.SeriesInstanceUID,
        ContourImageSequence=Items(_reference(*image) for image in drawing.images),
    )
    study = _filled(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # retired, and what the module asks for
        ReferencedSOPInstanceUID=drawing.header.StudyInstanceUID,
        RTReferencedSeriesSequence=Items([series]),
    )
    return _filled(
        FrameOfReferenceUID=drawing.header.FrameOfReferenceUID,
        RTReferencedStudySequence=Items([study]),
    )


def _contours(drawing: Drawing, number: int, name: str) -> Dataset:
    contours = []
    for index, plane in enumerate(drawing.masks[name]):
        for loop in loops(plane) if plane.any() else ():
            ones = np.ones((len(loop), 1))
            voxels = np.concatenate([index * ones, loop, ones], axis=1)
            points = (voxels @ drawing.affine.T)[:, :3]
            contours.append(
                _filled(
                    ContourImageSequence=Items([_reference(*drawing.images[index])]),
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{value:.6f}" for value in points.ravel()],
                )
            )
    return _filled(
        ReferencedROINumber=number,
        ROIDisplayColor=[255, 0, 0],
        ContourSequence=Items(contours),
    )


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    return _filled(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=sop_instance)


def _code(code: CodeTriple) -> Dataset:
    value, scheme, meaning = code
    return _filled(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _filled(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds
