"""From a scene to what a CT scanner stores: pose, grid, kernel, noise, table, rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node.phantom.grid import Point, Pose, axial_grid
from node.phantom.institutions import KERNELS, Institution, institutions
from node.plugin import Grid

__all__ = ["Acquisition", "Institution", "acquire", "institutions"]

Image = NDArray[np.float32]
LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One scan of one patient at one institution.

    Attributes
    ----------
    institution : Institution
    phase : "none", "early" or "portal"
    kernel : one of the institution's kernels
    slice_mm, thickness_mm : distance and thickness of slices
    fov_margin_mm : how much wider than the body the field of view is; negative cuts it off
    pose : how the patient lies
    noise_hu : standard deviation in a middle-sized body
    table, circle : as in Institution
    kvp : tube voltage
    """

    institution: Institution
    phase: str
    kernel: str
    slice_mm: float
    thickness_mm: float
    fov_margin_mm: float
    pose: Pose
    noise_hu: float
    table: str
    circle: bool
    kvp: float

    @classmethod
    def drawn(
        cls, institution: Institution, rng: np.random.Generator, *, phase: str | None = None
    ) -> Acquisition:
        """Draw a scan as this institution makes them; `phase` overrides its habits."""
        own = institution
        kernel = str(rng.choice(list(own.kernels), p=own.kernel_weights))
        habit = str(rng.choice(list(own.phases), p=list(own.phases.values())))
        distance = float(rng.choice(own.slice_mm))
        turn = rng.normal(0, own.turn_deg, 3) * (0.35, 0.35, 1.0)
        shift = rng.normal(0, 4.0, 3) + np.array([*own.offset_mm, 0.0])
        grain = {"soft": 0.8, "fine": 1.5}.get(KERNELS[kernel][2], 1.0)
        thin = float(np.clip((3.0 / (distance * own.overlap)) ** 0.35, 0.8, 1.5))
        return cls(
            institution=own,
            phase=phase or habit,
            kernel=kernel,
            slice_mm=distance,
            thickness_mm=round(distance * own.overlap, 2),
            fov_margin_mm=own.fov_margin_mm + float(rng.normal(0, 8)),
            pose=Pose(turn_deg=_point(turn), shift_mm=_point(shift)),
            noise_hu=own.noise_hu * grain * thin * float(rng.lognormal(0, 0.12)),
            table=own.table,
            circle=own.circle,
            kvp=float(rng.choice(own.kvp)),
        )

    def with_slices(self, slice_mm: float) -> Acquisition:
        """Return the same scan with other slices: for cohorts that must be light."""
        ratio = self.thickness_mm / self.slice_mm
        return replace(self, slice_mm=slice_mm, thickness_mm=round(slice_mm * ratio, 2))

    def grid(
        self, matrix: int, *, body_mm: float, z_mm: tuple[float, float], y_mm: float = 4.0
    ) -> Grid:
        """Return the axial grid of the scan.

        Parameters
        ----------
        matrix : rows and columns
        body_mm : width of the body; the field of view is `fov_margin_mm` wider
        z_mm : lowest and highest slice, in the body
        y_mm : middle of the field of view, in the body
        """
        fov = max(body_mm + self.fov_margin_mm, 120.0)
        low, high = z_mm
        count = max(2, int((high - low) / self.slice_mm) + 1)
        x, _, z = self.pose.shift_mm
        # The scanner's middle is not where the patient lies, but the operator corrects half.
        centre = (
            round(0.5 * x, 1),
            y_mm + round(0.5 * self.pose.shift_mm[1], 1),
            (low + high) / 2 + z,
        )
        spacing = round(fov / matrix, 6)
        return axial_grid((count, matrix, matrix), (self.slice_mm, spacing, spacing), centre)

    def headers(self) -> Mapping[str, object]:
        """Return what the scanner writes beside the pixels, by DICOM keyword."""
        return {
            **self.institution.habits,
            "Modality": "CT",
            "Manufacturer": self.institution.manufacturer,
            "ManufacturerModelName": self.institution.model,
            "ConvolutionKernel": self.institution.kernels[self.kernel],
            "SliceThickness": self.thickness_mm,
            "KVP": self.kvp,
            **({} if self.phase == "none" else {"ContrastBolusAgent": "Iodine, synthetic"}),
        }


def acquire(
    field: Image, acquisition: Acquisition, rng: np.random.Generator, *, grid: Grid
) -> NDArray[np.int16]:
    """Return the stored HU of a rendered scene; `field` is used up.

    Parameters
    ----------
    field : float32, shape (slices, rows, columns)
        HU from `Scene.render`, changed in place.
    acquisition : Acquisition
    rng : draws the noise
    grid : the grid of `field`

    Returns
    -------
    array : int16, shape (slices, rows, columns)
    """
    _, row_mm, _ = grid.spacing_mm
    blur_mm, sharpening, grain = KERNELS[acquisition.kernel]
    _add_table(field, acquisition.table, row_mm)
    if acquisition.thickness_mm > 1.1 * acquisition.slice_mm:
        _blur_axis(field, 0, 0.12 * (acquisition.thickness_mm / acquisition.slice_mm - 1) + 0.04)
    blur_plane(field, blur_mm / row_mm)
    if sharpening:
        soft = field.copy()
        blur_plane(soft, 0.7)
        soft -= field
        soft *= np.float32(-sharpening)
        field += soft
    noise = _noise(field.shape, grain, rng)
    noise *= _noise_level(field, acquisition.noise_hu)
    field += noise
    np.rint(field, out=field)
    np.clip(field, LOWEST_HU, HIGHEST_HU, out=field)
    stored = field.astype(np.int16)
    if acquisition.circle:
        stored[:, _corners(field.shape[1], field.shape[2])] = LOWEST_HU
    return stored


def _noise(shape: tuple[int, ...], grain: str, rng: np.random.Generator) -> Image:
    """Return noise of standard deviation 1 with the texture of a kernel."""
    if grain == "patchy":
        # Patches of 2 x 2 x 1 under fine noise: what a strong denoiser leaves.
        half = (shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2)
        coarse = rng.standard_normal(half, dtype=np.float32)
        blur_plane(coarse, 0.5)
        noise = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
        noise = np.ascontiguousarray(noise[:, : shape[1], : shape[2]])
        noise += np.float32(0.25) * rng.standard_normal(shape, dtype=np.float32)
    else:
        noise = rng.standard_normal(shape, dtype=np.float32)
        for _ in range({"soft": 2, "medium": 1, "fine": 0}[grain]):
            blur_plane(noise, 0.65)
    sample = noise[:: max(1, shape[0] // 8)]
    noise *= np.float32(1 / sample.std())
    return noise


def _noise_level(field: Image, noise_hu: float) -> Image:
    """Return the noise in HU, shape (slices, rows, 1): more where much tissue lies in the way."""
    tissue = field[:, ::4, ::4] > -500
    rows = tissue.mean(axis=2, dtype=np.float32)
    rows = np.repeat(rows, 4, axis=1)[:, : field.shape[1]]
    whole = tissue.mean(axis=(1, 2), dtype=np.float32)[:, None]
    level = np.float32(0.45) + np.float32(0.45) * rows + np.float32(0.9) * whole
    scaled: Image = (level * np.float32(noise_hu))[:, :, None]
    return scaled


def _add_table(field: Image, kind: str, row_mm: float) -> None:
    """Draw the table under the body, into air only; the same in all slices."""
    if kind == "none":
        return
    _, rows, columns = field.shape
    middle = field[:, :, columns // 2 - columns // 8 : columns // 2 + columns // 8]
    body = (middle > -300).any(axis=(0, 2))
    if not body.any():
        return
    back = int(np.flatnonzero(body).max()) + 2
    row = np.arange(rows, dtype=np.float32)[:, None]
    column = (np.arange(columns, dtype=np.float32)[None] - columns / 2) * np.float32(row_mm)
    bow = {"flat": 0.0, "curved": 0.0011, "thin": 0.0004}[kind]
    thick = {"flat": 22.0, "curved": 18.0, "thin": 6.0}[kind]
    depth = (row - back) * np.float32(row_mm) + np.float32(bow) * column**2
    inside = (depth > 0) & (depth < thick) & (np.abs(column) < 215)
    shell = inside & ((depth < 2.5) | (depth > thick - 2.5))
    table = np.where(shell, np.float32(-80), np.float32(-890))
    for index in (plane for plane in field if inside.any()):
        place = inside & (index < -700)
        index[place] = table[place]


def blur_plane(image: Image, sigma_px: float) -> None:
    """Blur rows and columns in place by a small separable kernel of this width."""
    rest = sigma_px * sigma_px
    while rest > 1e-3:
        step = min(rest, 0.5)
        for axis in (1, 2):
            _blur_axis(image, axis, step / 2)
        rest -= step


def _blur_axis(image: Image, axis: int, share: float) -> None:
    """Give this share of each voxel to either neighbour along an axis, in place."""
    if image.shape[axis] < 2:
        return
    change = np.diff(image, axis=axis)
    change *= np.float32(share)
    first = [slice(None)] * 3
    last = [slice(None)] * 3
    first[axis], last[axis] = slice(None, -1), slice(1, None)
    image[tuple(first)] += change
    image[tuple(last)] -= change


def _corners(rows: int, columns: int) -> NDArray[np.bool_]:
    y = (np.arange(rows) - (rows - 1) / 2) / (rows / 2)
    x = (np.arange(columns) - (columns - 1) / 2) / (columns / 2)
    corners: NDArray[np.bool_] = np.add.outer(y * y, x * x) > 1.0
    return corners


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
