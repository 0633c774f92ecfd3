"""Segmentations that are wrong on purpose: the measure must find each of them out."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.pixels import pack_bits

from tests.viewers.studies import ImageStack


def shifted_by_a_voxel(seg: Path, out: Path, stack: ImageStack) -> Path:
    """Move every voxel one column along."""
    return _with_frames(seg, out, lambda frames: np.roll(frames, 1, axis=2))


def mirrored(seg: Path, out: Path, stack: ImageStack) -> Path:
    """Turn left and right, within the images."""
    return _with_frames(seg, out, lambda frames: frames[:, :, ::-1])


def shifted_by_a_slice(seg: Path, out: Path, stack: ImageStack) -> Path:
    """Say of every frame that it lies on the next image."""
    ds = pydicom.dcmread(seg)
    uids = list(stack.sop_instance_uids)
    for groups in ds.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        index = uids.index(str(source.ReferencedSOPInstanceUID)) + 1
        source.ReferencedSOPInstanceUID = uids[index]
        image = pydicom.dcmread(stack.paths[index], stop_before_pixels=True)
        position = copy.deepcopy(image.ImagePositionPatient)
        groups.PlanePositionSequence[0].ImagePositionPatient = position
    return _saved(ds, out)


def _with_frames(seg: Path, out: Path, change) -> Path:
    ds = pydicom.dcmread(seg)
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    ds.PixelData = pack_bits(np.ascontiguousarray(change(frames)).astype(np.uint8).ravel())
    return _saved(ds, out)


def _saved(ds: Dataset, out: Path) -> Path:
    ds.SOPInstanceUID = pydicom.uid.generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(out)
    return out
