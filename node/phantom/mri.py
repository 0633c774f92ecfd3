"""MR images of the phantom: signals of tissues by sequence, bias field, Rician noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.phantom.acquisition import blur_plane
from node.phantom.grid import Lattice, Pose, axial_grid
from node.phantom.institutions import Institution
from node.phantom.shapes import Waves
from node.plugin import Grid

SEQUENCES = ("T1", "T1C", "T2")

#: Mean signals at gain 1; T1C: after gadolinium, fat not suppressed. CT: HU of the same tissues.
SIGNALS: Mapping[str, Mapping[str, float]] = {
    "T1": {
        "air": 4, "skin": 300, "fat": 820, "muscle": 330, "marrow": 560, "compact": 45,
        "csf": 120, "grey": 350, "white": 430, "mucosa": 360, "gland": 520, "vessel": 60,
        "lymph": 320, "cartilage": 250, "tumour": 340, "fluid": 130, "disc": 260,
    },
    "T1C": {
        "air": 4, "skin": 380, "fat": 830, "muscle": 390, "marrow": 580, "compact": 48,
        "csf": 125, "grey": 370, "white": 440, "mucosa": 760, "gland": 640, "vessel": 700,
        "lymph": 480, "cartilage": 270, "tumour": 620, "fluid": 140, "disc": 270,
    },
    "T2": {
        "air": 4, "skin": 260, "fat": 640, "muscle": 210, "marrow": 400, "compact": 35,
        "csf": 950, "grey": 480, "white": 380, "mucosa": 720, "gland": 470, "vessel": 50,
        "lymph": 500, "cartilage": 220, "tumour": 470, "fluid": 980, "disc": 380,
    },
    "CT": {
        "air": -1000, "skin": 25, "fat": -105, "muscle": 58, "marrow": 170, "compact": 750,
        "csf": 8, "grey": 38, "white": 30, "mucosa": 62, "gland": 25, "vessel": 150,
        "lymph": 65, "cartilage": 90, "tumour": 70, "fluid": 8, "disc": 85,
    },
}  # fmt: skip

_TIMING: Mapping[str, Mapping[str, object]] = {
    "T1": {"RepetitionTime": 560.0, "EchoTime": 11.0, "EchoTrainLength": 3},
    "T1C": {"RepetitionTime": 600.0, "EchoTime": 11.0, "EchoTrainLength": 3},
    "T2": {"RepetitionTime": 4200.0, "EchoTime": 95.0, "EchoTrainLength": 15},
}


@dataclass(frozen=True, kw_only=True)
class MrScan:
    """One sequence of one patient at one institution.

    Attributes
    ----------
    institution : Institution
    sequence : "T1", "T1C" or "T2"
    slice_mm, gap_mm : thickness, and what lies between two slices
    fov_mm : field of view
    pose : how the patient lies
    gain : signals are multiplied by it; means nothing, and differs between scanners
    noise : standard deviation at gain 1
    bias : strength of the coil's bias field (0.2: about +-20 %)
    bias_seed : its shape
    field_t : field strength in tesla
    blur_px : width of the point spread function in pixels
    """

    institution: Institution
    sequence: str
    slice_mm: float
    gap_mm: float
    fov_mm: float
    pose: Pose
    gain: float
    noise: float
    bias: float
    bias_seed: int
    field_t: float
    blur_px: float

    @classmethod
    def drawn(
        cls,
        institution: Institution,
        rng: np.random.Generator,
        sequence: str,
        *,
        pose: Pose | None = None,
    ) -> MrScan:
        """Draw a scan; give the pose of another sequence of the same visit to keep it.

        Habits of the institution (field strength, thickness, field of view) come from its name
        alone, so that all of its scans share them.
        """
        name = [ord(letter) for letter in institution.name + institution.manufacturer]
        habit = np.random.default_rng([*name, round(1e6 * institution.noise_hu)])
        field_t = float(habit.choice((1.5, 3.0)))
        slice_mm, gap = float(habit.choice((3.0, 4.0, 5.0))), float(habit.choice((0.0, 0.5, 1.0)))
        fov, loud = float(habit.choice((220.0, 230.0, 240.0, 250.0))), float(habit.uniform(12, 30))
        bias, gain = float(habit.uniform(0.1, 0.32)), float(habit.uniform(0.5, 2.2))
        blur = float(habit.uniform(0.35, 0.75)) + (0.35 if "edge" in institution.kernels else 0.0)
        turn = rng.normal(0, institution.turn_deg, 3) * np.array([0.8, 0.5, 1.0])
        shift = rng.normal(0, 4.0, 3)
        drawn = Pose(
            turn_deg=(float(turn[0]), float(turn[1]), float(turn[2])),
            shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        )
        return cls(
            institution=institution,
            sequence=sequence,
            slice_mm=slice_mm,
            gap_mm=gap,
            fov_mm=fov,
            pose=pose or drawn,
            gain=gain * float(rng.lognormal(0, 0.12)),
            noise=loud * (1.5 if field_t < 2 else 1.0) * float(rng.lognormal(0, 0.1)),
            bias=bias * (1.3 if field_t > 2 else 1.0),
            bias_seed=int(rng.integers(2**31)),
            field_t=field_t,
            blur_px=blur,
        )

    def grid(self, matrix: int, *, z_mm: tuple[float, float], y_mm: float = 4.0) -> Grid:
        """Return the axial grid of the scan; `z_mm`: lowest and highest slice, in the body."""
        step = self.slice_mm + self.gap_mm
        count = max(2, int((z_mm[1] - z_mm[0]) / step) + 1)
        spacing = round(self.fov_mm / matrix, 6)
        _, y, z = self.pose.shift_mm
        centre = (0.0, y_mm + round(0.5 * y, 1), sum(z_mm) / 2 + z)
        return axial_grid((count, matrix, matrix), (step, spacing, spacing), centre)

    def headers(self) -> Mapping[str, object]:
        """Return what the scanner writes beside the pixels, by DICOM keyword."""
        weighting = "T2W TSE" if self.sequence == "T2" else "T1W TSE"
        after = " +C" if self.sequence == "T1C" else ""
        contrast = {"ContrastBolusAgent": "Gadolinium, synthetic"} if after else {}
        return {
            "InstitutionName": self.institution.habits["InstitutionName"],
            "DeviceSerialNumber": self.institution.habits["DeviceSerialNumber"],
            "SoftwareVersions": self.institution.habits["SoftwareVersions"],
            "StationName": str(self.institution.habits["StationName"]).replace("CT", "MR"),
            "StudyDescription": "MR HEAD NECK",
            "BodyPartExamined": "HEADNECK",
            "Modality": "MR",
            "Manufacturer": self.institution.manufacturer,
            "ManufacturerModelName": f"{self.institution.model} MR",
            "SeriesDescription": f"{weighting} tra{after}",
            "SliceThickness": self.slice_mm,
            "MagneticFieldStrength": self.field_t,
            "ImagingFrequency": round(42.577 * self.field_t, 2),
            **_TIMING[self.sequence],
            **contrast,
        }


def acquire_mr(
    field: NDArray[np.float32], scan: MrScan, rng: np.random.Generator, *, grid: Grid
) -> NDArray[np.int16]:
    """Return the stored values of a rendered scene; `field` is used up.

    Parameters
    ----------
    field : float32, shape (slices, rows, columns)
        Signals from `Scene.render` with a palette of `SIGNALS`.
    scan : MrScan
    rng : draws the noise
    grid : the grid of `field`

    Returns
    -------
    array : int16, shape (slices, rows, columns), 0..4095
    """
    np.maximum(field, 0, out=field)
    blur_plane(field, scan.blur_px)
    field *= bias_field(scan, grid)
    real = field + np.float32(scan.noise) * rng.standard_normal(field.shape, dtype=np.float32)
    other = np.float32(scan.noise) * rng.standard_normal(field.shape, dtype=np.float32)
    np.hypot(real, other, out=field)
    field *= np.float32(scan.gain)
    return np.clip(np.rint(field), 0, 4095).astype(np.int16)


def bias_field(scan: MrScan, grid: Grid) -> NDArray[np.float32]:
    """Return the smooth factor of the coil, about 1; it stays with the scanner, not the body."""
    rng = np.random.default_rng(scan.bias_seed)
    waves = Waves.drawn(rng, 260.0, count=4)
    factor = np.exp(np.float32(scan.bias) * waves.on(Lattice.of(grid)))
    return np.broadcast_to(factor, grid.shape).astype(np.float32)
