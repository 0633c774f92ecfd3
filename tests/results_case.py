"""Requests for the result writers, from data sets: synthetic ones and real files."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.dicom.codes import OUTPUTS, PRIVATE_OUTPUTS
from node.dicom.frames import SourceSeries, Stack
from node.dicom.source import frames_of, read_series
from node.dicom.stacks import split_series
from node.manifest import (
    Code,
    InputRole,
    Manifest,
    MapSpec,
    MeasurementSpec,
    QualitySpec,
    SegmentSpec,
)
from node.model import Grade, Job, JobState
from node.plugin import Line, Map, Measurement, Quality, Result, Segment, Volume
from node.profiles import ViewerProfile
from node.results.encode import EncodedObject, EncodeRequest

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
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
    ds.PixelSpacing = ["0.8", "0.7"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = ["-10.5", "20.25", str(-30.0 + 5 * index)]
    ds.SliceThickness = "4"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def real_series(folder: Path) -> SourceSeries:
    """The one image series in a folder of real files."""
    (series,) = read_series(sorted(folder.glob("*.dcm")))
    return series


def stack_and_headers(series: SourceSeries, *, which: int = 0) -> tuple[Stack, tuple[Dataset, ...]]:
    """One stack of a series (S18) with the headers of its instances in stack order."""
    stack = split_series(series)[which]
    by_uid = {str(ds.SOPInstanceUID): ds for ds in series.headers}
    uids = dict.fromkeys(frame.sop_instance_uid for frame in stack.frames)
    return stack, tuple(by_uid[uid] for uid in uids)


def synthetic_series(headers: Sequence[Dataset]) -> SourceSeries:
    return SourceSeries(
        series_instance_uid=str(headers[0].SeriesInstanceUID),
        study_instance_uid=str(headers[0].get("StudyInstanceUID") or ""),
        modality=str(headers[0].Modality),
        headers=tuple(headers),
        frames=tuple(frame for ds in headers for frame in frames_of(ds, Path("nowhere.dcm"))),
    )


def request_of(
    headers: Sequence[Dataset] | SourceSeries,
    result: Result,
    *,
    role: str = "ct",
    which: int = 0,
    **changes: Any,
) -> EncodeRequest:
    series = headers if isinstance(headers, SourceSeries) else synthetic_series(headers)
    stack, ordered = stack_and_headers(series, which=which)
    plain = EncodeRequest(
        job=job(),
        manifest=manifest(),
        result=result,
        stacks={role: stack},
        headers={role: ordered},
    )
    return replace(plain, **changes)


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


def full_manifest() -> Manifest:
    """A plugin that returns everything there is, with codes of a scheme of its own."""
    plain = manifest(private_schemes=("99ACME",))
    percent, one = Code("%", "UCUM", "%"), Code("1", "UCUM", "no units")
    cancer = MeasurementSpec(
        name="cancer", code=OUTPUTS["probability of cancer"], unit=percent, digits=1
    )
    score = replace(cancer, name="score", code=Code("S1", "99ACME", "Acme score"), unit=one)
    attention = MapSpec(
        name="attention", label="Grad-CAM", quantity=OUTPUTS["map: Grad-CAM"], unit=one
    )
    risk = QualitySpec(
        name="risk",
        code=PRIVATE_OUTPUTS["predicted risk group"],
        choices={"high": OUTPUTS["risk: high"], "low": OUTPUTS["risk: low"]},
    )
    return replace(
        plain,
        measurements={**plain.measurements, "cancer": cancer, "score": score},
        maps={"attention": attention},
        qualities={"risk": risk},
    )


def full_result(shape: tuple[int, int, int]) -> Result:
    """Two segments that do not overlap, one with its probability, a map, values, qualities."""
    tumour = odd_mask(shape).astype(bool)
    node = np.zeros(shape, bool)
    node[shape[0] // 2 :, -2:, :2] = True
    node &= ~tumour
    ramp = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    line = Line(slice_index=shape[0] // 2, start=(1.0, 1.0), end=(3.0, 2.0))
    return Result(
        segments=(
            Segment(name="tumour", mask=tumour, role="ct", probability=ramp * tumour),
            Segment(name="node", mask=node, role="ct"),
        ),
        measurements=(
            Measurement(name="volume", value=1.5, segment="tumour"),
            Measurement(name="longest", value=9.5, segment="tumour", line=line),
            Measurement(name="cancer", value=81.25, segment="tumour", interval=(70.0, 90.5)),
            Measurement(name="score", value=0.7),
        ),
        maps=(Map(name="attention", array=ramp - np.float32(0.25), role="ct"),),
        qualities=(
            Quality(name="risk", choice="high"),
            Quality(name="risk", choice="low", segment="node"),
        ),
    )


def full_request(
    source: Sequence[Dataset] | SourceSeries, profile: ViewerProfile, **changes: Any
) -> EncodeRequest:
    """A request for everything that a profile takes, with the values of its one input."""
    series = source if isinstance(source, SourceSeries) else synthetic_series(source)
    stack, _ = stack_and_headers(series, which=changes.get("which", 0))
    shape = stack.geometry.shape
    ramp = np.linspace(-200, 240, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    volume = Volume(
        array=ramp,
        affine=np.array(stack.geometry.affine),
        unit="1",
        modality=stack.frames[0].modality,
    )
    wanted = {
        "manifest": full_manifest(),
        "volumes": {"ct": volume},
        "profile": profile,
        **changes,
    }
    return request_of(series, full_result(shape), **wanted)


def synthetic_headers(count: int = 5, **changes: Any) -> list[Dataset]:
    return [source_header(index, **changes) for index in range(count)]


def pixels_of(stack: Stack) -> NDArray[np.float32]:
    """Values after rescale, (slices, rows, columns), by pydicom alone."""
    planes = []
    for frame in stack.frames:
        ds = dcmread(frame.path)
        raw = ds.pixel_array[frame.frame_number - 1] if frame.frame_number else ds.pixel_array
        slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
        planes.append((raw * slope + intercept).astype(np.float32))
    return np.stack(planes)


def read_nifti(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A mask (x, y, z) with the affine that maps its indices to mm in LPS+ (NIfTI-1)."""
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    shape = struct.unpack_from("<8h", raw, 40)[1:4]
    kind = {2: "<u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}
    dtype = kind[struct.unpack_from("<h", raw, 70)[0]]
    offset = int(struct.unpack_from("<f", raw, 108)[0])
    qform, sform = struct.unpack_from("<2h", raw, 252)
    values = np.frombuffer(raw, dtype, int(np.prod(shape)), offset).reshape(shape, order="F")
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.reshape(struct.unpack_from("<12f", raw, 280), (3, 4))
    else:
        assert qform > 0
        affine[:3] = _qform(raw)
    return values > 0, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _qform(raw: bytes) -> NDArray[np.float64]:
    b, c, d, x, y, z = struct.unpack_from("<6f", raw, 256)
    steps = np.array(struct.unpack_from("<4f", raw, 76))
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handed = -1.0 if steps[0] < 0 else 1.0
    scaled = rotation * np.array([steps[1], steps[2], steps[3] * handed])
    return np.column_stack([scaled, [x, y, z]])


def on_grid(stack: Stack, mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> Any:
    """The voxels of a mask on the grid of a stack; fails where one lies between voxels."""
    indices = np.argwhere(mask)
    points = affine @ np.column_stack([indices, np.ones(len(indices))]).T
    exact = (np.linalg.inv(np.array(stack.geometry.affine)) @ points)[:3].T
    whole = np.rint(exact).astype(int)
    assert np.abs(exact - whole).max() < 0.01
    placed = np.zeros(stack.geometry.shape, np.uint8)
    placed[tuple(whole.T)] = 1
    return placed


def odd_mask(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A made-up mask that no flip, turn or shift leaves as it is, corners included."""
    mask = np.zeros(shape, np.uint8)
    slices, rows, columns = shape
    mask[slices // 4 : slices // 2, rows // 5 : rows // 2, columns // 3 : columns // 2] = 1
    mask[slices // 2, rows // 2 : rows // 2 + 3, columns // 2 : columns - 2] = 1
    mask[0, 0, 0] = mask[-1, -1, -1] = mask[slices // 2, 0, -1] = 1
    return mask


def one_segment(mask: NDArray[Any], stack: Stack, role: str = "ct") -> Result:
    """A result of one tumour with its volume in cm3."""
    cm3 = float(np.count_nonzero(mask) * np.prod(stack.geometry.spacing_mm) / 1000)
    return Result(
        segments=(Segment(name="tumour", mask=mask, role=role),),
        measurements=(Measurement(name="volume", value=cm3, segment="tumour"),),
    )


def parsed(encoded: EncodedObject) -> Dataset:
    return dcmread(io.BytesIO(encoded.content))


def items_of(ds: Dataset, keyword: str) -> list[Any]:
    """Every value of a keyword, however deep."""
    return [element.value for element in ds.iterall() if element.keyword == keyword]
