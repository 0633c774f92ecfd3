"""What a viewer shows and what lies in it: a stack of images, its mask, phantoms, a real run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from node.phantom.dicom_study import write_subject
from node.training.plugin_code import render, subjects
from tests.make import AXIAL, CORONAL, REPOSITORY, SAGITTAL, ct_series, write_series

#: What the commissioning plugin marks.
THRESHOLD_HU = 300
#: A plane that is no standard one: turned about two axes of the patient.
OBLIQUE = (0.866025, 0.433013, 0.25, -0.5, 0.75, 0.433013)
#: Axial with both axes turned round: the patient's left is on the left of the picture.
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": OBLIQUE,
    "prone": PRONE,
}
TUMOUR_PLUGIN = REPOSITORY / "plugins" / "anterior_mediastinal_tumor"
#: Far from the seeds of any training or evaluation.
TUMOUR_SEED = 900_002
#: A mass that no trained network misses, so that there is an overlay to look at.
LARGE_ML = 60.0

#: x, y, z of every voxel, mm LPS+, to HU.
Draw = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]
]


@dataclass(frozen=True, kw_only=True)
class ImageStack:
    """One series as pydicom alone reads it, slices along the normal.

    Attributes
    ----------
    values : float32, (slices, rows, columns), HU
    sop_instance_uids : one a slice
    positions_mm : float64, (slices, 3), LPS+, the middle of each slice's first voxel
    spacing_mm : (rows, columns)
    window : (centre, width) of the header, what a viewer shows first
    """

    paths: tuple[Path, ...]
    values: NDArray[np.float32]
    sop_instance_uids: tuple[str, ...]
    positions_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    window: tuple[float, float]

    @property
    def dense(self) -> NDArray[np.bool_]:
        """Return what the commissioning plugin must mark."""
        return self.values >= THRESHOLD_HU


def read_stack(folder: Path) -> ImageStack:
    """Read the one CT series of a folder by pydicom, in the order of C.7.6.2."""
    planes = [(path, pydicom.dcmread(path)) for path in sorted(folder.glob("*.dcm"))]
    directions = np.array(planes[0][1].ImageOrientationPatient, float)
    normal = np.cross(directions[:3], directions[3:])
    planes.sort(key=lambda item: float(np.array(item[1].ImagePositionPatient, float) @ normal))
    headers = [ds for _, ds in planes]
    first = headers[0]
    return ImageStack(
        paths=tuple(path for path, _ in planes),
        values=np.stack(
            [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in headers]
        ).astype(np.float32),
        sop_instance_uids=tuple(str(ds.SOPInstanceUID) for ds in headers),
        positions_mm=np.array([ds.ImagePositionPatient for ds in headers], float),
        spacing_mm=(float(first.PixelSpacing[0]), float(first.PixelSpacing[1])),
        window=(_first(first.WindowCenter), _first(first.WindowWidth)),
    )


def _first(value: object) -> float:
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)  # type: ignore[arg-type]


def mask_of(seg: Path, stack: ImageStack) -> NDArray[np.bool_]:
    """Return the voxels of all segments of a SEG, by where its frames say that they lie."""
    ds = pydicom.dcmread(seg)
    mask = np.zeros(stack.values.shape, bool)
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        away_mm = np.abs(stack.positions_mm - position).max(axis=1)
        assert away_mm.min() < 0.01, "a frame of the SEG lies on no image"
        mask[away_mm.argmin()] |= frame > 0
    return mask


def run_node(images: Path, out: Path, plugin: str, *more: str) -> Path:
    """Run the real node on a folder of images; return the folder of its evidence."""
    done = subprocess.run(
        [sys.executable, "-m", "node", "run", images, "--plugin", plugin, "--out", out, *more],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def write_phantom(
    folder: Path,
    plane: str,
    *,
    draw: Draw | None = None,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.9),
) -> ImageStack:
    """Write a CT of a marked phantom, cut in one of `ORIENTATIONS`; return it as read back.

    `draw`: what it shows; default: a body with a lesion.
    """
    shape = (22, 120, 128)
    orientation = ORIENTATIONS[plane]
    grid = _grid(shape, spacing, orientation)
    values = (draw or body_with_lesion)(*grid[0])
    values += _grain(shape)
    _mark_sides(values, orientation)
    series = ct_series(
        shape,
        spacing=spacing,
        orientation=orientation,
        origin=grid[1],
        values=np.rint(values),
        SeriesDescription=f"Phantom {plane}",
        StudyDescription="PHANTOM, NO PERSON",
    )
    write_series(folder, series)
    return read_stack(folder)


def write_tumour(folder: Path) -> Path:
    """Write a phantom of the tumour plugin's own cohort with a mass; return its CT's folder."""
    for plan in subjects(TUMOUR_PLUGIN, "test", 20, TUMOUR_SEED):
        subject = render(TUMOUR_PLUGIN, plan)
        voxel_ml = subject.case.volumes["ct"].voxel_volume_mm3 / 1000
        if subject.labels.masks["mass"].sum() * voxel_ml > LARGE_ML:
            return write_subject(subject, folder, truth="none").series["ct"].paths[0].parent
    raise AssertionError(f"no subject among 20 has a mass of {LARGE_ML:g} mL")


def _grid(
    shape: tuple[int, int, int], spacing: Sequence[float], orientation: Sequence[float]
) -> tuple[NDArray[np.float64], list[float]]:
    """Return x, y, z of every voxel, mm LPS+, (3, slices, rows, columns); and the origin.

    The middle of the grid is the middle of the phantom.
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    steps = (np.cross(row, column) * spacing[0], column * spacing[1], row * spacing[2])
    origin = -sum(step * (count - 1) / 2 for step, count in zip(steps, shape, strict=True))
    indices = np.indices(shape).astype(float)
    places = sum(step[:, None, None, None] * i for step, i in zip(steps, indices, strict=True))
    return origin[:, None, None, None] + places, [round(float(v), 6) for v in origin]


def body(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw a body without anything that reaches `THRESHOLD_HU`."""
    hu = np.full(x.shape, -1000.0)
    hu[inside(x, y, z, (0, 0, 0), (52, 46, 60))] = -90.0
    hu[inside(x, y, z, (0, 2, 0), (46, 40, 55))] = 45.0
    hu[inside(x, y, z, (-20, 6, 4), (14, 18, 30))] = 105.0
    hu[inside(x, y, z, (6, 22, -6), (9, 8, 40))] = -40.0
    hu[inside(x, y, z, (-8, -22, 10), (10, 7, 12))] = 160.0
    return hu


def body_with_lesion(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw a body with a dense, lopsided lesion on the patient's left, front and above."""
    hu = body(x, y, z)
    hu[inside(x, y, z, (18, -8, 7), (11, 7, 9))] = 650.0
    hu[inside(x, y, z, (26, -1, 3), (5, 9, 6))] = 650.0
    hu[inside(x, y, z, (11, -15, 11), (6, 4, 5))] = 650.0
    return hu


def inside(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    centre: Sequence[float],
    half: Sequence[float],
) -> NDArray[np.bool_]:
    """Return the voxels of an ellipsoid, mm."""
    parts = ((axis - c) / h for axis, c, h in zip((x, y, z), centre, half, strict=True))
    return np.asarray(sum(part**2 for part in parts) < 1)


def _grain(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return noise of every slice's own: by it a slice is told from its neighbours."""
    noise = np.random.default_rng(5).standard_normal(shape) * 30.0
    return np.clip((noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) / 2, -100, 100)


_GLYPHS = {
    "L": ("1....", "1....", "1....", "1....", "1....", "1....", "11111"),
    "R": ("1111.", "1...1", "1...1", "1111.", "1.1..", "1..1.", "1...1"),
    "A": (".111.", "1...1", "1...1", "11111", "1...1", "1...1", "1...1"),
    "P": ("1111.", "1...1", "1...1", "1111.", "1....", "1....", "1...."),
    "H": ("1...1", "1...1", "1...1", "11111", "1...1", "1...1", "1...1"),
    "F": ("11111", "1....", "1....", "1111.", "1....", "1....", "1...."),
}


def side(direction: Sequence[float], sign: int) -> str:
    """Return the letter of the patient's side that a direction (LPS+) mostly points to."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "FH")[axis][int(sign * direction[axis] > 0)]


def _mark_sides(values: NDArray[np.float64], orientation: Sequence[float]) -> None:
    """Write the letter of each side at that edge of every slice, upright, at 250 HU."""
    _, rows, columns = values.shape
    row, column = orientation[:3], orientation[3:]
    places = {
        side(row, -1): (rows // 2, 8),
        side(row, +1): (rows // 2, columns - 8),
        side(column, -1): (10, columns // 2),
        side(column, +1): (rows - 10, columns // 2),
    }
    for letter, (r, c) in places.items():
        glyph = np.array([[mark == "1" for mark in line] for line in _GLYPHS[letter]])
        glyph = glyph.repeat(2, axis=0).repeat(2, axis=1)
        window = values[:, r - 7 : r + 7, c - 5 : c + 5]
        window[:, glyph] = 250.0
