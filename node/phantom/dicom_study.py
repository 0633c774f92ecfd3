"""A subject as a DICOM study: one series per input role, and its truth beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from node.dicom.uids import derived_uid
from node.phantom.image_files import (
    INTERCEPT,
    instance_uid,
    place,
    set_hounsfield,
    set_pixels,
    write_file,
)
from node.phantom.study import COMMON_HEADER
from node.phantom.subject import Subject
from node.phantom.truth_files import CodeTriple, Drawing, segmentation, structure_set
from node.plugin import Volume

HIGHEST = 4095
_MR_HEADER: Mapping[str, object] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"],
    "ScanningSequence": "SE",
    "SequenceVariant": "SK",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "RepetitionTime": 550,
    "EchoTime": 12,
    "EchoTrainLength": 1,
    "MagneticFieldStrength": 3,
    "ImagingFrequency": "123.2",
    "ImagedNucleus": "1H",
    "FlipAngle": 90,
}
#: Of `COMMON_HEADER`, what only a CT has, and what belongs to the demo study only.
_CT_ONLY = ("KVP", "ConvolutionKernel")
_DEMO_ONLY = ("StudyDescription", "SeriesDescription", "PatientName", "PatientBirthDate")


@dataclass(frozen=True, kw_only=True)
class WrittenSeries:
    """One image series: its files in the order of the volume's slices."""

    paths: tuple[Path, ...]
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SubjectStudy:
    """Where a subject's files are.

    Attributes
    ----------
    folder : Path
    patient_id, study_instance_uid : str
    series : mapping of input role to WrittenSeries
    truth_paths : SEG or RTSTRUCT files, one per image series that something is drawn on
    """

    folder: Path
    patient_id: str
    study_instance_uid: str
    series: Mapping[str, WrittenSeries]
    truth_paths: tuple[Path, ...]


def write_subject(
    subject: Subject,
    folder: Path,
    *,
    truth: str = "seg",
    now: float | None = None,
    codes: Mapping[str, tuple[CodeTriple, CodeTriple]] | None = None,
    labels: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
) -> SubjectStudy:
    """Write a subject's images and truth into `folder`, which is made.

    Parameters
    ----------
    subject : Subject
        CT values are HU, rounded, within -1024..3071; MR values within 0..4095. Patient ID is
        ``subject.patient``.
    folder : Path
        Gets one folder per role, and ``truth-ROLE.dcm`` where a mask is not empty.
    truth : "seg" (BINARY), "rtstruct" (outlines along the pixels' edges) or "none"
    now : float, optional
        Seconds since the epoch, UTC: date and time of the study. Default: the clock.
    codes : mapping of mask name to category and type of a SEG's segment
    labels : mapping of mask name to segment label or ROI name; default: the name
    roles : mapping of mask name to the role that it was drawn on; default: the first whose grid
        has the mask's shape

    Raises
    ------
    ValueError
        If `truth` is none of the three, or a mask fits no volume.
    """
    if truth not in ("seg", "rtstruct", "none"):
        raise ValueError(f"truth is seg, rtstruct or none, not {truth}")
    when = datetime.now(UTC) if now is None else datetime.fromtimestamp(now, UTC)
    study = _study_header(subject, when)
    series, drawings, drawn_on = {}, [], roles or {}
    for number, (role, volume) in enumerate(subject.case.volumes.items(), 1):
        header = _series_header(subject, study, role, number)
        written = _write_series(folder / role, header, volume)
        series[role] = written
        masks = {
            (labels or {}).get(name, name): mask
            for name, mask in subject.labels.masks.items()
            if mask.any() and (drawn_on.get(name) or _role_of(subject, mask)) == role
        }
        renamed = {(labels or {}).get(name, name): code for name, code in (codes or {}).items()}
        drawings.append((role, _drawing(header, written, volume, masks, renamed)))
    made = tuple(
        _write_truth(folder / f"truth-{role}.dcm", drawing, truth)
        for role, drawing in drawings
        if drawing.masks and truth != "none"
    )
    return SubjectStudy(
        folder=folder,
        patient_id=subject.patient,
        study_instance_uid=study.StudyInstanceUID,
        series=series,
        truth_paths=made,
    )


def _role_of(subject: Subject, mask: NDArray[np.bool_]) -> str:
    """Return the first role on whose grid a mask can lie."""
    for role, volume in subject.case.volumes.items():
        if volume.array.shape == mask.shape:
            return role
    raise ValueError(f"a mask of shape {mask.shape} fits no volume of {subject.patient}")


def _study_header(subject: Subject, when: datetime) -> Dataset:
    """Return what all objects of the study have in common."""
    digest = hashlib.sha256()
    for volume in subject.case.volumes.values():
        digest.update(np.ascontiguousarray(volume.array).tobytes())
    ds = Dataset()
    age = float(subject.case.attributes.get("PatientAge", 60))
    sex = str(subject.case.attributes.get("PatientSex", "O"))
    born = f"{when.year - int(age)}0101"
    for keyword, value in COMMON_HEADER.items():
        if keyword not in _DEMO_ONLY and keyword not in _CT_ONLY:
            setattr(ds, keyword, value)
    ds.PatientID, ds.PatientName = subject.patient, f"Phantom^{subject.patient}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = born, sex, f"{int(age):03d}Y"
    ds.InstitutionName = subject.institution[:64]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = when.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = when.strftime("%H%M%S")
    ds.AccessionNumber, ds.StudyID = f"PH{digest.hexdigest()[:10]}", "1"
    ds.StudyInstanceUID = derived_uid(
        "phantom subject", subject.patient, when.isoformat(), digest.hexdigest()
    )
    ds.FrameOfReferenceUID = derived_uid("phantom frame of reference", ds.StudyInstanceUID)
    return ds


def _series_header(subject: Subject, study: Dataset, role: str, number: int) -> Dataset:
    volume = subject.case.volumes[role]
    ds = Dataset()
    ds.update(study)
    ds.Modality, ds.SeriesNumber = volume.modality, number
    ds.SeriesDescription = f"{role}, synthetic"
    if volume.modality == "MR":
        ds.SOPClassUID = MRImageStorage
        own: Mapping[str, object] = _MR_HEADER
    else:
        ds.SOPClassUID = CTImageStorage
        own = {keyword: COMMON_HEADER[keyword] for keyword in _CT_ONLY}
    for keyword, value in {**own, **subject.headers.get(role, {})}.items():
        setattr(ds, keyword, value)
    ds.SeriesInstanceUID = derived_uid("phantom series", ds.StudyInstanceUID, role)
    return ds


def _write_series(folder: Path, header: Dataset, volume: Volume) -> WrittenSeries:
    folder.mkdir(parents=True, exist_ok=True)
    count = len(volume.array)
    paths = []
    for index, plane in enumerate(volume.array):
        number = count - index  # from the head, as on many scanners
        ds = Dataset()
        ds.update(header)
        ds.SOPInstanceUID, ds.InstanceNumber = instance_uid(header, number), number
        if "SliceThickness" not in ds:
            ds.SliceThickness = f"{volume.spacing_mm[0]:g}"
        place(ds, volume.affine, index)
        if volume.modality == "MR":
            ds.SpacingBetweenSlices = f"{volume.spacing_mm[0]:.6f}"
            stored = np.clip(np.rint(plane.astype(np.float32)), 0, HIGHEST)
        else:
            set_hounsfield(ds)
            stored = np.clip(np.rint(plane.astype(np.float32)) - INTERCEPT, 0, HIGHEST)
        set_pixels(ds, stored.astype(np.uint16))
        paths.append(folder / f"{number:04d}.dcm")
        write_file(paths[-1], ds)
    return WrittenSeries(
        paths=tuple(paths),
        series_instance_uid=header.SeriesInstanceUID,
        sop_instance_uids=tuple(instance_uid(header, count - index) for index in range(count)),
    )


def _drawing(
    header: Dataset,
    written: WrittenSeries,
    volume: Volume,
    masks: Mapping[str, NDArray[np.bool_]],
    codes: Mapping[str, tuple[CodeTriple, CodeTriple]],
) -> Drawing:
    return Drawing(
        header=header,
        images=[(str(header.SOPClassUID), uid) for uid in written.sop_instance_uids],
        affine=volume.affine,
        thickness_mm=float(header.get("SliceThickness", volume.spacing_mm[0])),
        masks=masks,
        codes=codes,
    )


def _write_truth(path: Path, drawing: Drawing, kind: str) -> Path:
    write_file(path, segmentation(drawing) if kind == "seg" else structure_set(drawing))
    return path
