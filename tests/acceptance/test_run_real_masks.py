"""Real tumours through the whole of `run`: the SEG that dcmqi reads is the expert's mask, in place.

A test plugin returns the voxels of the published mask as its segment. The comparison is between
points in the patient (mm, LPS+): those of the NIfTI mask, and those of our SEG as dcmqi reads it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from node.cli import app
from tests.make import shared_data
from tests.peers import segimage2itkimage

pytestmark = pytest.mark.peer

MANIFEST = """
name = "drawn_mask"
version = "1.0.0"
title = "Drawn mask"
intended_use = "Returns a mask that an expert drew; for tests of geometry."
source = "tests"
grade = "phantom"

[inputs.image]
modality = ["CT", "MR"]
values = "raw"
allow = ["AXIAL"]

[segments.tumour]
label = "Tumour"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["4147007", "SCT", "Mass"]
"""

CODE = """
from pathlib import Path

import numpy as np
from node.plugin import Result, Segment

class Plugin:
    def load(self, device):
        self.points = np.load(Path(__file__).with_name("points.npy"))

    def run(self, case):
        volume = case.volumes["image"]
        homogeneous = np.c_[self.points, np.ones(len(self.points))]
        index = np.rint(homogeneous @ np.linalg.inv(volume.affine).T)[:, :3].astype(int)
        mask = np.zeros(volume.array.shape, np.uint8)
        mask[tuple(index.T)] = 1
        return Result(segments=(Segment(name="tumour", mask=mask, role="image"),))
"""


def plugin_folder(folder: Path, points_mm) -> Path:
    place = folder / "plugins" / "drawn_mask"
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(MANIFEST)
    (place / "plugin.py").write_text(CODE)
    np.save(place / "points.npy", points_mm)
    return folder / "plugins"


def points_of(nifti: Path):
    """Voxel centres of a mask in mm, LPS+ (NIfTI says RAS+)."""
    image = nibabel.load(nifti)
    indices = np.argwhere(np.asarray(image.dataobj) > 0)
    return nibabel.affines.apply_affine(image.affine, indices) * [-1.0, -1.0, 1.0]


def run_with(tmp_path: Path, images: Path, points_mm):
    plugins = plugin_folder(tmp_path, points_mm)
    out = tmp_path / "out"
    arguments = ["run", images, "--plugin", "drawn_mask", "--plugins", plugins, "--out", out]
    return CliRunner().invoke(app, [str(a) for a in arguments]), out


def assert_same_points(found, expected, tolerance_mm: float):
    assert len(found) == len(expected)
    order = [np.lexsort(np.round(p, 1).T) for p in (found, expected)]
    assert np.abs(found[order[0]] - expected[order[1]]).max() < tolerance_mm


@pytest.mark.parametrize("modality", ["CT", "MR_T1"])
@pytest.mark.parametrize("patient", ["STS_002", "STS_003", "STS_008", "STS_024"])
def test_the_experts_tumour_comes_back_voxel_for_voxel(tmp_path, patient, modality):
    series = shared_data(f"sts-sarcoma/{patient}/{modality}")
    expected = points_of(series / "mask.nii.gz")

    done, out = run_with(tmp_path, series / "image", expected)

    assert done.exit_code == 0, done.output
    (image,) = segimage2itkimage(out / "seg.dcm", tmp_path / "nifti")
    assert_same_points(points_of(image), expected, 0.05)


def test_an_oblique_series_with_gaps_between_slices(tmp_path):
    images = shared_data("sts-raw-001-mr-t2fs/image")
    expected = odd_points(images)

    done, out = run_with(tmp_path, images, expected)

    assert done.exit_code == 0, done.output
    (image,) = segimage2itkimage(out / "seg.dcm", tmp_path / "nifti")
    assert_same_points(points_of(image), expected, 0.05)


def test_one_sagittal_phase_of_a_breast_dce(tmp_path):
    phase = tmp_path / "phase"
    phase.mkdir()
    for path in sorted(shared_data("breast-dce-ucsf-br-06/dce").iterdir()):
        if pydicom.dcmread(path, stop_before_pixels=True).ContentTime.startswith("1025"):
            shutil.copy(path, phase)
    expected = odd_points(phase)

    done, out = run_with(tmp_path, phase, expected)

    assert len(list(phase.iterdir())) == 60
    assert done.exit_code == 0, done.output
    (image,) = segimage2itkimage(out / "seg.dcm", tmp_path / "nifti")
    assert_same_points(points_of(image), expected, 0.05)


def odd_points(images: Path):
    """Centres of an asymmetric handful of voxels, from pydicom's headers alone (C.7.6.2.1.1)."""
    points = []
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted(images.iterdir())]
    headers.sort(key=lambda ds: tuple(float(v) for v in ds.ImagePositionPatient))
    for number, ds in enumerate(headers[5:12]):
        row, column = np.reshape(np.array(ds.ImageOrientationPatient, float), (2, 3))
        down, along = (float(v) for v in ds.PixelSpacing)
        for r in range(40, 44 + number):
            for c in range(60, 75 + 2 * number):
                points.append(
                    np.array(ds.ImagePositionPatient, float) + row * along * c + column * down * r
                )
    return np.array(points, float)


def test_s18_three_phases_in_one_series_are_never_one_volume(tmp_path):
    images = shared_data("breast-dce-ucsf-br-06/dce")

    done, out = run_with(tmp_path, images, np.zeros((1, 3)))

    result = json.loads((out / "result.json").read_text())
    assert done.exit_code == 1
    assert result["state"] == "REFUSED"
    assert result["code"] == "PHASES_MIXED"
    assert "3" in result["reason"]
    assert result["evidence"] == []
