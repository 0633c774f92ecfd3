"""Requests for the result writers, from data sets: synthetic ones and real files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.dicom.frames import Frame, Stack, StackGeometry
from node.dicom.headers import read_header
from node.manifest import Code, InputRole, Manifest, MeasurementSpec, SegmentSpec
from node.model import Grade, Job, JobState
from node.plugin import Line, Measurement, Result, Segment
from node.results.encode import EncodeRequest

VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
JOB_ID = "0123456789abcdef0123456789abcdef"


def manifest(**changes: Any) -> Manifest:
    tumour = SegmentSpec(
        name="tumour",
        label="Tumour",
        category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        type=Code("108369006", "SCT", "Neoplasm"),
        region=Code("39607008", "SCT", "Lung"),
        color_rgb=(255, 0, 0),
    )
    node = replace(tumour, name="node", label="Lymph node", color_rgb=(0, 255, 0))
    volume = MeasurementSpec(name="volume", code=VOLUME, unit=Code("cm3", "UCUM", "cm3"), digits=3)
    longest = MeasurementSpec(
        name="longest", code=LONG_AXIS, unit=Code("mm", "UCUM", "mm"), digits=1
    )
    plain = Manifest(
        folder=Path("/nowhere"),
        name="ball",
        version="1.2.0",
        title="Ball Finder",
        intended_use="tests",
        source="none",
        grade=Grade.PHANTOM,
        inputs={"ct": InputRole(name="ct", modality=("CT",))},
        segments={"tumour": tumour, "node": node},
        measurements={"volume": volume, "longest": longest},
        finding_name="mass >= 0.5 mL",
        training="trained on synthetic phantoms, no clinical validity",
        parameters={"threshold_hu": 300},
        digest="ab" * 32,
    )
    return replace(plain, **changes)


def job(**changes: Any) -> Job:
    plain = Job(
        id=JOB_ID,
        study_instance_uid="1.2.3",
        study_revision=1,
        rule="all ct",
        plugin="ball",
        plugin_version="1.2.0",
        plugin_digest="ab" * 32,
        state=JobState.IN_PROGRESS,
        reason_code="",
        reason="",
        fingerprint="f" * 64,
        run_number=1,
        inputs=(),
        destinations=(),
        attempt=1,
        created_at=1_790_000_000.0,
        started_at=1_790_000_100.25,
        ended_at=None,
    )
    return replace(plain, **changes)


def source_header(index: int = 0, **changes: Any) -> Dataset:
    """One axial CT image without pixels; slice `index` of a series of 5 mm steps."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"1.2.3.4.{index + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = "1.2.3.9", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 4, index + 1
    ds.PatientName, ds.PatientID = "Müller^Änne", "P1"
    ds.PatientBirthDate, ds.PatientSex, ds.IssuerOfPatientID = "19600102", "F", "Hospital"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260301", "101500", "77"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A100", "Doe^John"
    ds.StudyDescription, ds.BodyPartExamined = "Thorax", "CHEST"
    ds.TimezoneOffsetFromUTC = "+0200"
    ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber = "Maker", "Scan 3", "77"
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    ds.IssuerOfAccessionNumberSequence = [issuer]
    order = Dataset()
    order.RequestedProcedureID, order.ScheduledProcedureStepID = "RP1", "SPS1"
    order.RequestedProcedureDescription = "CT thorax"
    ds.RequestAttributesSequence = [order]
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = 6, 7
    ds.PixelSpacing = ["0.8", "0.7"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = ["-10.5", "20.25", str(-30.0 + 5 * index)]
    ds.SliceThickness = "4"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def frames_of_file(ds: Dataset, path: Path) -> list[Frame]:
    """All planes of a single-frame or an enhanced multi-frame image."""
    if "PerFrameFunctionalGroupsSequence" not in ds:
        return [_frame(ds, path, 0, ds.ImagePositionPatient, ds.ImageOrientationPatient, ds)]
    shared = ds.SharedFunctionalGroupsSequence[0]
    found = []
    for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        both = [groups if "PlaneOrientationSequence" in groups else shared]
        orientation = both[0].PlaneOrientationSequence[0].ImageOrientationPatient
        both = [groups if "PixelMeasuresSequence" in groups else shared]
        measures = both[0].PixelMeasuresSequence[0]
        found.append(_frame(ds, path, number, position, orientation, measures))
    return found


def _frame(
    ds: Dataset, path: Path, number: int, position: Any, orientation: Any, measures: Dataset
) -> Frame:
    thickness = measures.get("SliceThickness")
    return Frame(
        path=path,
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        frame_number=number,
        number_of_frames=int(ds.get("NumberOfFrames") or 1),
        modality=str(ds.Modality),
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        image_position_patient=tuple(float(v) for v in position),  # type: ignore[arg-type]
        image_orientation_patient=tuple(float(v) for v in orientation),  # type: ignore[arg-type]
        pixel_spacing_mm=tuple(float(v) for v in measures.PixelSpacing),  # type: ignore[arg-type]
        slice_thickness_mm=None if thickness in (None, "") else float(thickness),
        frame_of_reference_uid=str(ds.FrameOfReferenceUID),
        image_type=tuple(ds.get("ImageType") or ()),
        photometric_interpretation="MONOCHROME2",
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=int(ds.get("PixelRepresentation") or 0),
        rescale_slope=float(ds.get("RescaleSlope") or 1),
        rescale_intercept=float(ds.get("RescaleIntercept") or 0),
        rescale_type="",
        has_modality_lut=False,
        pixel_padding_value=None,
        pixel_padding_range_limit=None,
        lossy=str(ds.get("LossyImageCompression") or "") == "01",
        discriminators=(),
    )


def stack_of(frames: Sequence[Frame], series_instance_uid: str) -> Stack:
    """Sort along the normal and describe the grid."""
    first = frames[0]
    assert first.image_orientation_patient and first.pixel_spacing_mm
    row, column = np.reshape(first.image_orientation_patient, (2, 3))
    normal = np.cross(row, column)
    ordered = sorted(frames, key=lambda f: float(np.dot(f.image_position_patient or (), normal)))
    positions = np.array([f.image_position_patient for f in ordered])
    step = (positions[-1] - positions[0]) / max(len(ordered) - 1, 1)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = column * first.pixel_spacing_mm[0]
    affine[:3, 2] = row * first.pixel_spacing_mm[1]
    affine[:3, 3] = positions[0]
    plane = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]
    geometry = StackGeometry(
        affine=tuple(map(tuple, affine.tolist())),  # type: ignore[arg-type]
        shape=(len(ordered), first.rows, first.columns),
        spacing_mm=(float(np.linalg.norm(step)), *first.pixel_spacing_mm),
        plane=plane,
        oblique_degrees=0.0,
        frame_of_reference_uid=first.frame_of_reference_uid,
    )
    return Stack(
        series_instance_uid=series_instance_uid,
        label="",
        frames=tuple(ordered),
        geometry=geometry,
    )


def stack_and_headers(
    headers: Sequence[Dataset], paths: Sequence[Path]
) -> tuple[Stack, tuple[Dataset, ...]]:
    frames = [f for ds, path in zip(headers, paths, strict=True) for f in frames_of_file(ds, path)]
    stack = stack_of(frames, str(headers[0].SeriesInstanceUID))
    by_uid = {str(ds.SOPInstanceUID): ds for ds in headers}
    uids = dict.fromkeys(frame.sop_instance_uid for frame in stack.frames)
    return stack, tuple(by_uid[uid] for uid in uids)


def request_of(
    headers: Sequence[Dataset],
    result: Result,
    *,
    paths: Sequence[Path] | None = None,
    role: str = "ct",
    plugin: Manifest | None = None,
    **changes: Any,
) -> EncodeRequest:
    stack, ordered = stack_and_headers(headers, paths or [Path("x")] * len(headers))
    return EncodeRequest(
        job=changes.pop("job", job()),
        manifest=plugin or manifest(),
        result=result,
        stacks={role: stack},
        headers={role: ordered},
        **changes,
    )


def ball_result(shape: tuple[int, int, int] = (5, 6, 7), **changes: Any) -> Result:
    """An asymmetric tumour with a volume and a line."""
    mask = np.zeros(shape, np.uint8)
    mask[1, 1:3, 2:6] = 1
    mask[3, 2:5, 1:3] = 1  # slice 2 between them stays empty: no hole in the SEG (E17)
    measurements = (
        Measurement(name="volume", value=1.23456, segment="tumour"),
        Measurement(
            name="longest",
            value=3.61,
            segment="tumour",
            line=Line(slice_index=3, start=(2.0, 1.0), end=(4.0, 2.0)),
        ),
    )
    plain = Result(
        segments=(Segment(name="tumour", mask=mask, role="ct"),), measurements=measurements
    )
    return replace(plain, **changes)


def synthetic_headers(count: int = 5, **changes: Any) -> list[Dataset]:
    return [source_header(index, **changes) for index in range(count)]


def real_series(folder: Path, pattern: str = "*.dcm") -> tuple[list[Dataset], list[Path]]:
    paths = sorted(folder.glob(pattern))
    return [read_header(path) for path in paths], paths


def pixels_of(stack: Stack) -> np.ndarray[Any, Any]:
    """Stored values after rescale, (slices, rows, columns)."""
    planes = []
    for frame in stack.frames:
        ds = dcmread(frame.path)
        array = ds.pixel_array[frame.frame_number - 1] if frame.frame_number else ds.pixel_array
        planes.append(array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0)))
    return np.stack(planes)


