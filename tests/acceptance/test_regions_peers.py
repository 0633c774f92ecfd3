"""Segments of other makers as dcmqi reads them, voxel for voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node.dicom.regions import mask_on, regions_of
from tests.make import shared_data
from tests.peers import segimage2itkimage
from tests.regions_case import stacks_in
from tests.results_case import read_nifti

pytestmark = pytest.mark.peer

CASES = [
    ("dcmqi/liver.dcm", "dcmqi/ct-3slice"),
    ("dcmqi/partial_overlaps.dcm", "dcmqi/ct-3slice"),
    ("dcmqi/23x38x3/seg/label.seg", "dcmqi/23x38x3/image"),
    ("dcmqi/24x38x3/seg/label.seg", "dcmqi/24x38x3/image"),
    ("dcmqi/labelmap/sparse-labelmap-noppv.dcm", "dcmqi/24x38x3/image"),
]


@pytest.mark.parametrize(("seg", "image"), CASES)
def test_segments_are_what_dcmqi_reads(tmp_path: Path, seg: str, image: str) -> None:
    path = shared_data(f"seg-sr-objects/{seg}")
    (stack,) = stacks_in(shared_data(f"seg-sr-objects/{image}"))
    regions = regions_of(path)

    files = segimage2itkimage(path, tmp_path)

    assert len(files) == len(regions)
    for region, file in zip(regions, files, strict=True):
        np.testing.assert_array_equal(mask_on(region, stack), placed(stack, file))


def placed(stack: Any, file: Path) -> NDArray[np.bool_]:
    """The voxels of a NIfTI mask on the grid of a stack, each at the nearest place."""
    mask, affine = read_nifti(file)
    indices = np.argwhere(mask)
    points = affine @ np.column_stack([indices, np.ones(len(indices))]).T
    exact = (np.linalg.inv(np.array(stack.geometry.affine)) @ points)[:3].T
    found = np.zeros(stack.geometry.shape, np.bool_)
    found[tuple(np.rint(exact).astype(int).T)] = True
    assert np.abs(exact - np.rint(exact)).max() < 0.05
    return found
