"""Image planes as DICOM files: what a CT or MR instance needs beside its series' header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from node.dicom.uids import derived_uid

#: Stored value 0 of a CT, in HU.
INTERCEPT = -1024


def instance_uid(header: Dataset, number: int) -> str:
    """Return the SOP Instance UID of image `number` of the series of a header."""
    return derived_uid("phantom instance", header.SeriesInstanceUID, str(number))


def place(ds: Dataset, affine: NDArray[np.float64], index: int) -> None:
    """Set where a plane lies.

    Parameters
    ----------
    ds : Dataset
    affine : float64, shape (4, 4)
        Maps (slice, row, column, 1) to mm, LPS+.
    index : slice
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    origin = (affine @ np.array([index, 0, 0, 1.0]))[:3]
    ds.ImagePositionPatient = [f"{value:.6f}" for value in origin]
    ds.ImageOrientationPatient = decimals([*affine[:3, 2] / steps[2], *affine[:3, 1] / steps[1]])
    ds.PixelSpacing = [f"{steps[1]:.6f}", f"{steps[2]:.6f}"]
    normal = affine[:3, 0] / steps[0]
    ds.SliceLocation = f"{float(origin @ normal):.4f}"


def decimals(values: Sequence[float]) -> list[str]:
    """Return numbers as decimal strings of at most 16 characters; whole ones stay short.

    Examples
    --------
    >>> decimals([1.0, -0.0, 0.123456789012345])
    ['1', '0', '0.1234567890']
    """
    return [f"{v:.0f}".replace("-0", "0") if v == round(v) else f"{v:.10f}" for v in values]


def set_pixels(ds: Dataset, stored: NDArray[np.uint16]) -> None:
    """Set 12 bits of a plane, shape (rows, columns)."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = stored.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"


def set_hounsfield(ds: Dataset) -> None:
    """Say that stored values are HU above `INTERCEPT`."""
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400


def write_file(path: Path, ds: Dataset) -> None:
    """Write a Part-10 file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    dcmwrite(path, ds, enforce_file_format=True)
