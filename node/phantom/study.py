"""A synthetic CT study as DICOM files, with the truth that a test or a demo compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from node.dicom.uids import derived_uid
from node.phantom.body import Anatomy, Body, noise
from node.phantom.image_files import (
    INTERCEPT,
    instance_uid,
    place,
    set_hounsfield,
    set_pixels,
    write_file,
)

#: Field of view in mm; the pixel spacing follows from the number of columns.
FIELD_OF_VIEW_MM = 410.0
SLICE_SPACING_MM = 3.0
#: What the commissioning plugin looks for.
BONE_HU = 300

COMMON_HEADER: Mapping[str, object] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SOPClassUID": CTImageStorage,
    "TimezoneOffsetFromUTC": "+0000",
    "Modality": "CT",
    "Manufacturer": "Sentinel Node",
    "ManufacturerModelName": "Synthetic phantom",
    "DeviceSerialNumber": "0",
    "SoftwareVersions": "1",
    "InstitutionName": "Sentinel Node demo (no hospital)",
    "StationName": "PHANTOM",
    "ReferringPhysicianName": "",
    "StudyDescription": "CT CHEST, SYNTHETIC PHANTOM",
    "SeriesDescription": "Axial, synthetic",
    "PatientName": "Phantom^Demo",
    "IssuerOfPatientID": "SENTINEL-PHANTOM",
    "PatientBirthDate": "19600101",
    "PatientSex": "O",
    "PatientComments": "Synthetic: drawn from formulas, no person",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "KVP": 120,
    "ConvolutionKernel": "SOFT",
    "QualityControlImage": "YES",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
}


@dataclass(frozen=True, kw_only=True)
class PhantomStudy:
    """Where the files are, and what is in them.

    Attributes
    ----------
    paths : one file per slice, sorted along the normal (feet to head)
        Instance Number runs the other way, as on many scanners.
    truth : bool, shape (slices, rows, columns)
        Stored value >= 300 HU, slices in the order of `paths`.
    affine : float64, shape (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in mm, LPS+.
    """

    paths: tuple[Path, ...]
    truth: NDArray[np.bool_]
    affine: NDArray[np.float64]
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]

    @property
    def volume_ml(self) -> float:
        """Return the volume of `truth` in millilitres."""
        voxel_mm3 = abs(float(np.linalg.det(self.affine[:3, :3])))
        return float(np.count_nonzero(self.truth)) * voxel_mm3 / 1000.0


def make_ct_study(
    folder: Path,
    *,
    seed: int = 1,
    shape: tuple[int, int, int] = (80, 512, 512),
    now: float | None = None,
    slice_spacing_mm: float = SLICE_SPACING_MM,
) -> PhantomStudy:
    """Write a chest CT of a synthetic body into `folder`, which is made.

    Parameters
    ----------
    folder : Path
        Gets one ``0001.dcm`` … per slice, numbered from the head as Instance Number is.
    seed : int
        Which body, which noise; with `now`, which UIDs.
    shape : (slices, rows, columns)
    now : float, optional
        Seconds since the epoch, UTC: the study's date and time. Default: the clock.
    slice_spacing_mm : float

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     study = make_ct_study(Path(folder), shape=(4, 32, 32), now=0.0)
    >>> study.truth.shape, len(set(study.sop_instance_uids))
    ((4, 32, 32), 4)
    """
    folder.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC) if now is None else datetime.fromtimestamp(now, UTC)
    affine = _affine(shape, slice_spacing_mm)
    header = _header(seed, when)
    anatomy_seed, *noise_seeds = np.random.SeedSequence(seed).spawn(1 + shape[0])
    anatomy = Anatomy.drawn(np.random.default_rng(anatomy_seed))
    spacing = float(affine[0, 2])
    columns = affine[0, 3] + spacing * np.arange(shape[2], dtype=np.float32)
    rows = affine[1, 3] + spacing * np.arange(shape[1], dtype=np.float32)
    body = Body(anatomy, x=columns.astype(np.float32), y=rows.astype(np.float32))
    truth = np.zeros(shape, bool)

    def draw(index: int) -> Path:
        height = float(affine[2, 3] + index * slice_spacing_mm)
        hu = body.plane(height) + noise(np.random.default_rng(noise_seeds[index]), shape[1:])
        stored = np.clip(np.rint(hu) - INTERCEPT, 0, 4095).astype(np.uint16)
        truth[index] = stored.astype(np.int32) + INTERCEPT >= BONE_HU
        number = shape[0] - index
        path = folder / f"{number:04d}.dcm"
        write_file(path, _instance(header, affine, stored, index=index, number=number))
        return path

    with ThreadPoolExecutor(max_workers=2) as threads:
        paths = tuple(threads.map(draw, range(shape[0])))
    return PhantomStudy(
        paths=paths,
        truth=truth,
        affine=affine,
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=header.SeriesInstanceUID,
        sop_instance_uids=tuple(
            instance_uid(header, shape[0] - index) for index in range(shape[0])
        ),
    )


def _affine(shape: Sequence[int], slice_spacing_mm: float) -> NDArray[np.float64]:
    """Return the grid: centred on the chest, axial, rows to the left, columns to the back."""
    spacing = round(FIELD_OF_VIEW_MM / shape[2], 6)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = slice_spacing_mm, spacing, spacing, 1
    affine[0, 3] = round(-spacing * (shape[2] - 1) / 2, 6)
    affine[1, 3] = round(-spacing * (shape[1] - 1) / 2 + 15.0, 6)
    affine[2, 3] = round(-slice_spacing_mm * (shape[0] - 1) / 2, 6)
    return affine


def _header(seed: int, when: datetime) -> Dataset:
    """Return what all instances have in common: a full header that says it is a phantom."""
    ds = Dataset()
    for keyword, value in COMMON_HEADER.items():
        setattr(ds, keyword, value)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = when.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = when.strftime("%H%M%S")
    ds.AccessionNumber = f"PHANTOM-{seed}"
    ds.PatientID = f"PHANTOM-{seed:04d}"
    ds.PatientAge = f"{max(0, when.year - 1960):03d}Y"
    ds.StudyID = str(seed)
    ds.StudyInstanceUID = derived_uid("phantom study", str(seed), when.isoformat())
    ds.SeriesInstanceUID = derived_uid("phantom series", ds.StudyInstanceUID)
    ds.FrameOfReferenceUID = derived_uid("phantom frame of reference", ds.StudyInstanceUID)
    return ds


def _instance(
    header: Dataset,
    affine: NDArray[np.float64],
    stored: NDArray[np.uint16],
    *,
    index: int,
    number: int,
) -> Dataset:
    """Return one image; `stored` is HU - INTERCEPT, shape (rows, columns)."""
    ds = Dataset()
    ds.update(header)  # shares the common elements; only others are set below
    ds.SOPInstanceUID = instance_uid(header, number)
    ds.InstanceNumber = number
    ds.SliceThickness = f"{affine[2, 0]:g}"
    place(ds, affine, index)
    set_pixels(ds, stored)
    set_hounsfield(ds)
    return ds
