"""Builders of DICOM data sets, and the few helpers that every test may use.

    datasets = ct_series((8, 16, 16), spacing=(5.0, 0.8, 0.7), PatientID="P-1")
    paths = write_series(tmp_path, datasets)

An override of None removes the attribute; `per_instance` overrides one instance by its index.
Values that tests may rely on: arrays are (slices, rows, columns), spacings (slice, row, column)
in mm, positions LPS+.
"""

from __future__ import annotations

import copy
import io
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

#: What every instance of one study has in common here.
STUDY_LEVEL = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
)

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
PerInstance = Mapping[int, Mapping[str, object]]
#: Points in mm, LPS+, shape (points, 3), of one closed planar contour.
Contour = NDArray[np.float64]

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data(relative: str = "") -> Path:
    """Return a path in the real test data; skip the test, saying why, where it is absent."""
    folder = Path(os.environ.get("SENTINEL_SHARED", REPOSITORY.parent / "shared")) / "data"
    path = folder / relative
    if not path.exists():
        reason = f"real test data absent: {relative or 'shared/data'} (set SENTINEL_SHARED)"
        print(reason)  # noqa: T201  the reason must be seen even without -rs
        pytest.skip(reason)
    return path


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gradient(shape: Shape) -> NDArray[np.int16]:
    """Return values that differ along every axis, so that a flip or transposition shows.

    int16 in -1000 … 1000: slice, row and column each add their own step.
    """
    slices, rows, columns = np.indices(shape)
    return ((slices * 131 + rows * 17 + columns * 3) % 2000 - 1000).astype(np.int16)


def ct_series(
    shape: Shape = (8, 16, 16),
    *,
    spacing: Spacing = (5.0, 0.8, 0.7),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, -20.0, -30.0),
    values: NDArray[np.generic] | None = None,
    per_instance: PerInstance | None = None,
    **overrides: object,
) -> list[Dataset]:
    """Return one single-frame CT series; `values` are HU (stored = HU + 1024, int16)."""
    hu = gradient(shape) if values is None else np.asarray(values)
    first = _study("CT", CTImageStorage)
    first.update(_ct_attributes())
    return _planes(
        first,
        (hu.astype(np.int32) + 1024).astype(np.int16),
        _Grid(spacing, orientation, origin),
        per_instance or {},
        overrides,
    )


def mr_series(
    shape: Shape = (8, 16, 16),
    *,
    spacing: Spacing = (4.0, 0.8, 0.7),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, -20.0, -30.0),
    values: NDArray[np.generic] | None = None,
    per_instance: PerInstance | None = None,
    **overrides: object,
) -> list[Dataset]:
    """Return one single-frame MR series; `values` >= 0 are stored as they are (uint16)."""
    stored = gradient(shape).astype(np.int32) + 1000 if values is None else np.asarray(values)
    first = _study("MR", MRImageStorage)
    first.update(_mr_attributes())
    return _planes(
        first,
        stored.astype(np.uint16),
        _Grid(spacing, orientation, origin),
        per_instance or {},
        overrides,
    )


def enhanced_ct(
    shape: Shape = (6, 16, 16),
    *,
    spacing: Spacing = (5.0, 0.8, 0.7),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, -20.0, -30.0),
    values: NDArray[np.generic] | None = None,
    per_frame: PerInstance | None = None,
    **overrides: object,
) -> Dataset:
    """Return one enhanced multi-frame CT; `values` are HU, per-frame rescale intercept -1024.

    `per_frame` overrides by frame index from 0: ``StackID``, ``TemporalPositionIndex``,
    ``InStackPositionNumber``, ``FrameType``, ``RescaleSlope``, ``RescaleIntercept``,
    ``ImagePositionPatient``, ``ImageOrientationPatient``.
    """
    hu = gradient(shape) if values is None else np.asarray(values)
    first = _study("CT", EnhancedCTImageStorage)
    stored = (hu.astype(np.int32) + 1024).astype(np.int16)
    image = _multiframe(first, stored, _Grid(spacing, orientation, origin), per_frame or {})
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    return _overridden(image, overrides)


def enhanced_mr(
    shape: Shape = (6, 16, 16),
    *,
    spacing: Spacing = (4.0, 0.8, 0.7),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, -20.0, -30.0),
    values: NDArray[np.generic] | None = None,
    per_frame: PerInstance | None = None,
    **overrides: object,
) -> Dataset:
    """Return one enhanced multi-frame MR; `values` >= 0, as `enhanced_ct` otherwise."""
    stored = gradient(shape).astype(np.int32) + 1000 if values is None else np.asarray(values)
    first = _study("MR", EnhancedMRImageStorage)
    image = _multiframe(
        first, stored.astype(np.uint16), _Grid(spacing, orientation, origin), per_frame or {}
    )
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    return _overridden(image, overrides)


def rtstruct(
    images: Sequence[Dataset],
    rois: Mapping[str, Sequence[tuple[int, Contour]]],
    **overrides: object,
) -> Dataset:
    """Return an RT Structure Set on `images`.

    `rois` maps a ROI name to its contours, each the index of its image and its points.
    """
    ds = _study("RTSTRUCT", RTStructureSetStorage)
    _copy_patient_and_study(images[0], ds)
    ds.StructureSetLabel = "TEST"
    ds.StructureSetDate, ds.StructureSetTime = images[0].StudyDate, images[0].StudyTime
    ds.ApprovalStatus = "APPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_referenced_frame_of_reference(images)]
    numbered = list(enumerate(rois.items(), start=1))
    frame_of_reference = images[0].FrameOfReferenceUID
    ds.StructureSetROISequence = [
        made(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=frame_of_reference,
            ROIName=name,
            ROIGenerationAlgorithm="MANUAL",
        )
        for number, (name, _) in numbered
    ]
    ds.ROIContourSequence = [
        made(ReferencedROINumber=number, ContourSequence=[_contour(images[i], p) for i, p in lines])
        for number, (_, lines) in numbered
    ]
    ds.RTROIObservationsSequence = [
        made(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIInterpretedType="GTV",
            ROIInterpreter="",
        )
        for number, _ in numbered
    ]
    return _overridden(ds, overrides)


def made(**attributes: object) -> Dataset:
    """Return a data set with these attributes, by keyword."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def write_series(
    folder: Path, datasets: Sequence[Dataset], *, transfer_syntax_uid: str = ""
) -> list[Path]:
    """Write each data set as a Part-10 file named by its number; return the paths in order.

    `transfer_syntax_uid` recodes; only uncompressed little-endian ones and RLE make sense here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets, start=1):
        path = folder / f"{number:04d}.dcm"
        path.write_bytes(part10(ds, transfer_syntax_uid=transfer_syntax_uid))
        paths.append(path)
    return paths


def part10(ds: Dataset, *, transfer_syntax_uid: str = "") -> bytes:
    """Return the data set as the bytes of a DICOM file."""
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    if not transfer_syntax_uid:
        return buffer.getvalue()
    image = dcmread(io.BytesIO(buffer.getvalue()))
    if transfer_syntax_uid == "1.2.840.10008.1.2.5":  # RLE Lossless
        image.compress(transfer_syntax_uid, generate_instance_uid=False)
    else:
        image.file_meta.TransferSyntaxUID = transfer_syntax_uid
    recoded = io.BytesIO()
    dcmwrite(recoded, image, enforce_file_format=True)
    return recoded.getvalue()


def with_identity_of(source: Dataset, datasets: Sequence[Dataset]) -> list[Dataset]:
    """Put `datasets` into the study of `source`: same patient, study and frame of reference."""
    for ds in datasets:
        _copy_patient_and_study(source, ds)
        if "FrameOfReferenceUID" in source:
            ds.FrameOfReferenceUID = source.FrameOfReferenceUID
    return list(datasets)


class _Grid:
    """Where planes lie: spacing (slice, row, column) in mm, orientation, origin in mm, LPS+."""

    def __init__(self, spacing: Spacing, orientation: Sequence[float], origin: Sequence[float]):
        self.spacing = spacing
        self.orientation = [float(v) for v in orientation]
        self._origin = np.asarray(origin, float)
        self._normal = np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, index: int) -> list[float]:
        """Return the centre of the first voxel of plane `index`; planes follow the normal."""
        return [round(float(v), 6) for v in self._origin + index * self.spacing[0] * self._normal]


def _study(modality: str, sop_class_uid: str) -> Dataset:
    """Return what patient, study, series and equipment modules ask for; plainly a phantom."""
    now = datetime.now(UTC)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    ds = made(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=sop_class_uid,
        SOPInstanceUID=generate_uid(),
        PatientName="Test^Phantom",
        PatientID="TEST-1",
        IssuerOfPatientID="TESTS",
        PatientBirthDate="19600101",
        PatientSex="O",
        PatientAge="060Y",
        StudyInstanceUID=generate_uid(),
        StudyDate=date,
        StudyTime=time,
        StudyID="1",
        StudyDescription="TEST STUDY",
        AccessionNumber="ACC-1",
        ReferringPhysicianName="",
        Modality=modality,
        SeriesInstanceUID=generate_uid(),
        SeriesNumber=1,
        SeriesDate=date,
        SeriesTime=time,
        SeriesDescription="TEST SERIES",
        Manufacturer="Tests",
        ManufacturerModelName="make.py",
        DeviceSerialNumber="1",
        SoftwareVersions="1",
        InstitutionName="Test Hospital",
        InstanceNumber=1,
        ContentDate=date,
        ContentTime=time,
        AcquisitionDate=date,
        AcquisitionTime=time,
    )
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _ct_attributes() -> Dataset:
    return made(
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        BodyPartExamined="CHEST",
        PatientPosition="HFS",
        KVP=120,
        ConvolutionKernel="B30f",
        AcquisitionNumber=1,
        RescaleIntercept=-1024,
        RescaleSlope=1,
        RescaleType="HU",
        WindowCenter=40,
        WindowWidth=400,
    )


def _mr_attributes() -> Dataset:
    return made(
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        BodyPartExamined="ABDOMEN",
        PatientPosition="HFS",
        ScanningSequence="GR",
        SequenceVariant="NONE",
        ScanOptions="",
        MRAcquisitionType="3D",
        EchoTime=2.0,
        RepetitionTime=5.0,
        EchoTrainLength=1,
        MagneticFieldStrength=1.5,
        AcquisitionNumber=1,
    )


def _pixels(ds: Dataset, stored: NDArray[np.generic]) -> None:
    """Set the image pixel module; `stored` is (rows, columns) or (frames, rows, columns)."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("<"))).tobytes()
    ds["PixelData"].VR = "OW"


def _planes(
    first: Dataset,
    stored: NDArray[np.generic],
    grid: _Grid,
    per_instance: PerInstance,
    overrides: Mapping[str, object],
) -> list[Dataset]:
    frame_of_reference = generate_uid()
    planes = []
    for index, plane in enumerate(stored):
        ds = copy.deepcopy(first)  # Dataset(first) would share the elements
        ds.SOPInstanceUID = generate_uid()
        ds.InstanceNumber = index + 1
        ds.FrameOfReferenceUID = frame_of_reference
        ds.PositionReferenceIndicator = ""
        ds.ImagePositionPatient = grid.position(index)
        ds.ImageOrientationPatient = grid.orientation
        ds.PixelSpacing = list(grid.spacing[1:])
        ds.SliceThickness = grid.spacing[0]
        _pixels(ds, plane)
        planes.append(_overridden(_overridden(ds, overrides), per_instance.get(index, {})))
    return planes


def _multiframe(
    ds: Dataset, stored: NDArray[np.generic], grid: _Grid, per_frame: PerInstance
) -> Dataset:
    ds.FrameOfReferenceUID = generate_uid()
    ds.PositionReferenceIndicator = ""
    ds.PatientPosition = "HFS"
    ds.NumberOfFrames = len(stored)
    ds.AcquisitionDateTime = ds.AcquisitionDate + ds.AcquisitionTime
    ds.AcquisitionDuration = 1.0
    ds.PresentationLUTShape = "IDENTITY"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.VolumetricProperties = "VOLUME"
    organization = generate_uid()
    ds.DimensionOrganizationSequence = [made(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        made(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00209056,
            FunctionalGroupPointer=0x00209111,
        ),
        made(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00209057,
            FunctionalGroupPointer=0x00209111,
        ),
    ]
    ds.SharedFunctionalGroupsSequence = [
        made(
            PixelMeasuresSequence=[
                made(PixelSpacing=list(grid.spacing[1:]), SliceThickness=grid.spacing[0])
            ]
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        _frame_groups(ds.Modality, grid, index, per_frame.get(index, {}))
        for index in range(len(stored))
    ]
    _pixels(ds, stored)
    return ds


def _frame_groups(
    modality: str, grid: _Grid, index: int, overrides: Mapping[str, object]
) -> Dataset:
    """Return the functional groups of one frame."""
    values: dict[str, object] = {
        "ImagePositionPatient": grid.position(index),
        "ImageOrientationPatient": grid.orientation,
        "StackID": "1",
        "InStackPositionNumber": index + 1,
        "TemporalPositionIndex": 1,
        "FrameType": ["ORIGINAL", "PRIMARY", "VOLUME" if modality == "CT" else "M", "NONE"],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024 if modality == "CT" else 0,
    } | dict(overrides)
    content = made(
        StackID=values["StackID"],
        InStackPositionNumber=values["InStackPositionNumber"],
        TemporalPositionIndex=values["TemporalPositionIndex"],
        DimensionIndexValues=[1, values["InStackPositionNumber"]],
    )
    content.update(made(**{k: v for k, v in overrides.items() if k.startswith("Frame")}))
    content.pop("FrameType", None)
    frame_type = made(FrameType=values["FrameType"], PixelPresentation="MONOCHROME")
    rescale = made(
        RescaleSlope=values["RescaleSlope"],
        RescaleIntercept=values["RescaleIntercept"],
        RescaleType="HU" if modality == "CT" else "US",
    )
    return made(
        PlanePositionSequence=[made(ImagePositionPatient=values["ImagePositionPatient"])],
        PlaneOrientationSequence=[made(ImageOrientationPatient=values["ImageOrientationPatient"])],
        FrameContentSequence=[content],
        PixelValueTransformationSequence=[rescale],
        **{f"{modality}ImageFrameTypeSequence": [frame_type]},
    )


def _overridden(ds: Dataset, overrides: Mapping[str, object]) -> Dataset:
    """Set (or, by None, remove) attributes; the file meta follows the UIDs and syntax."""
    for keyword, value in overrides.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID") or generate_uid()
    return ds


def _copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    for keyword in STUDY_LEVEL:
        if keyword in source:
            setattr(target, keyword, source[keyword].value)


def _referenced_frame_of_reference(images: Sequence[Dataset]) -> Dataset:
    series = made(
        SeriesInstanceUID=images[0].SeriesInstanceUID,
        ContourImageSequence=[_reference(image) for image in images],
    )
    study = made(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=images[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return made(
        FrameOfReferenceUID=images[0].FrameOfReferenceUID, RTReferencedStudySequence=[study]
    )


def _reference(image: Dataset) -> Dataset:
    return made(
        ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID
    )


def _contour(image: Dataset, points: Contour) -> Dataset:
    return made(
        ContourImageSequence=[_reference(image)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[round(float(v), 4) for v in np.asarray(points).reshape(-1)],
    )
