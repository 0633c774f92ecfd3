"""A synthetic body in Hounsfield units: skin, fat, muscle, lungs, heart, liver, spine and ribs.

Lengths in mm. Coordinates are LPS+ with the origin in the middle of the chest: x to the
patient's left, y to the back, z to the head. Nobody's anatomy: it is drawn from formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A plane of numbers, shape (rows, columns); float32 where it is an image.
Field = NDArray[np.floating]

#: Mean values in HU; only compact bone lies above 300 HU, and well above.
AIR, LUNG, FAT, MEDIASTINUM = -1000.0, -850.0, -100.0, -20.0
BLOOD, MUSCLE, LIVER, DISC = 45.0, 55.0, 65.0, 90.0
COMPACT_BONE, SPONGY_BONE, CARTILAGE, COUCH = 800.0, 170.0, 110.0, -200.0

#: Vertebrae and ribs repeat along z.
VERTEBRA_PITCH_MM, DISC_HEIGHT_MM, RIB_PITCH_MM = 26.0, 6.0, 27.0
#: Half height and half thickness of a rib's cross-section; its compact shell.
RIB_HALF_MM, RIB_SHELL = (6.5, 4.5), 0.4
#: How far a rib's front end lies below its back end.
RIB_DROP_MM = 70.0
NOISE_HU = 14.0


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What differs between two bodies; drawn from a seed within plausible limits.

    Attributes
    ----------
    chest_mm : half width and half depth of the rib cage
    fat_mm : thickness of the fat under the skin
    dome_mm : height of the right diaphragm's dome
    nodule_mm : centre (x, y, z) and radius of one round lung nodule
    phase_mm : where along z the first vertebra and rib begin
    """

    chest_mm: tuple[float, float]
    fat_mm: float
    dome_mm: float
    nodule_mm: tuple[float, float, float, float]
    phase_mm: float

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Anatomy:
        """Return one body of many."""
        return cls(
            chest_mm=(float(random.uniform(124, 134)), float(random.uniform(84, 92))),
            fat_mm=float(random.uniform(12, 20)),
            dome_mm=float(random.uniform(-45, -30)),
            nodule_mm=(
                float(random.choice([-1, 1]) * random.uniform(60, 80)),
                float(random.uniform(-20, 25)),
                float(random.uniform(15, 45)),
                float(random.uniform(6, 10)),
            ),
            phase_mm=float(random.uniform(0, 20)),
        )


class Body:
    """Draws axial planes of one anatomy on one grid of rows and columns.

    Parameters
    ----------
    anatomy : Anatomy
    x, y : float32, shapes (columns,) and (rows,)
        Voxel centres in mm, LPS+.
    """

    def __init__(self, anatomy: Anatomy, *, x: Field, y: Field):
        self._anatomy = anatomy
        self._x, self._y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        half_width, half_depth = anatomy.chest_mm
        chest = _rounded_box(self._x / half_width, self._y / half_depth)
        #: mm outside the inner wall of the chest, to first order.
        self._depth = (chest - 1) * (half_depth + 12)
        #: 0 at the spine, 1 at the breast bone.
        self._front = np.abs(np.arctan2(self._x / half_width, self._y / half_depth)) / np.pi
        self._inside = chest < 1
        self._wall = np.flatnonzero((self._depth > -2) & (self._depth < 14))
        self._place_organs()
        self._place_bones()
        self._background = self._drawn_background()

    def plane(self, z: float) -> Field:
        """Return the plane at height z without noise: float32 HU, shape (rows, columns)."""
        hu = self._background.copy()
        self._organs(hu, z)
        self._ribs(hu, z)
        self._breast_bone(hu, z)
        self._spine(hu, z)
        return _blurred(hu)

    def _place_organs(self) -> None:
        """Compute what is the same at every height: shapes in x and y."""
        x, y = self._x, self._y
        lower_on_left = np.where(x > 0, np.float32(14), np.float32(0))
        bow = ((np.abs(x) - 60) / 90) ** 2
        self._dome = self._anatomy.dome_mm - lower_on_left - 90 * bow - y**2 / 150
        self._beside = self._inside & (np.abs(x) > 26 + (y / 60) ** 2 * 4)
        self._heart = _squared_radius((x - 26) / 52, (y + 26) / 40)
        self._aorta = _squared_radius((x - 22) / 13, (y - 36) / 13) < 1
        self._caval_vein = _squared_radius((x + 16) / 10, (y + 22) / 10) < 1
        self._windpipe = _squared_radius(x / 9, (y - 2) / 9) < 1
        centre_x, centre_y, _, radius = self._anatomy.nodule_mm
        self._nodule = _squared_radius((x - centre_x) / radius, (y - centre_y) / radius)

    def _place_bones(self) -> None:
        x, y = self._x, self._y - (self._anatomy.chest_mm[1] - 22)
        self._vertebra = _squared_radius(x / 19, y / 15)
        self._canal = _squared_radius(x / 9, (y - 23) / 8) < 1
        self._arch = _squared_radius(x / 14, (y - 23) / 13) < 1
        spinous = (np.abs(x) < 2.6) & (y > 30) & (y < 44)
        transverse = (np.abs(y - 22 - np.abs(x) * 0.3) < 3.2) & (np.abs(x) < 34)
        self._processes = spinous | transverse
        front = self._y + self._anatomy.chest_mm[1] + 7
        self._breast_bone_radius = _rounded_box(x / 19, front / 6)

    def _drawn_background(self) -> Field:
        """Return couch, skin, fat and muscle: the same at every height."""
        hu = np.full(self._x.shape, AIR, np.float32)
        bow = self._y - (self._anatomy.chest_mm[1] + 52) + (self._x / 150) ** 2 * 22
        hu[(np.abs(bow) < 4) & (np.abs(self._x) < 185)] = COUCH
        skin = 14.0 + self._anatomy.fat_mm
        for depth, value in ((skin + 2, MUSCLE), (skin, FAT), (14.0, MUSCLE)):
            hu[self._depth < depth] = value
        hu[self._inside] = np.where(self._x < 15, LIVER, BLOOD)[self._inside]
        return hu

    def _organs(self, hu: Field, z: float) -> None:
        """Fill the chest above the diaphragm's domes; liver and stomach lie below."""
        above = z > self._dome
        hu[self._inside & above] = MEDIASTINUM
        self._lungs(hu, np.flatnonzero(self._beside & above), z)
        hu[self._heart < 1 - ((z + 18) / 50) ** 2] = BLOOD + 5
        hu[self._aorta] = BLOOD
        hu[self._caval_vein] = BLOOD - 5
        hu[self._windpipe if z > 40 else self._bronchi(z)] = AIR
        _, _, height, radius = self._anatomy.nodule_mm
        hu[self._nodule < 1 - ((z - height) / radius) ** 2] = MUSCLE - 20

    def _bronchi(self, z: float) -> NDArray[np.bool_]:
        spread = 6 + (40 - z) * 0.55
        if spread > 34:
            return np.zeros(self._x.shape, bool)
        return _squared_radius((np.abs(self._x) - spread) / 6, (self._y - 4) / 6) < 1

    def _lungs(self, hu: Field, lung: NDArray[np.intp], z: float) -> None:
        """Draw lung tissue, and vessels where three slow waves meet."""
        x, y = self._x.flat[lung], self._y.flat[lung]
        waves = np.sin(x / 5.1 + z / 9) + np.sin(y / 4.3 - z / 7) + np.sin((x + y) / 6.7 + z / 13)
        vessel = waves > 2.25 + 0.35 * (np.abs(x) / 125)
        hu.flat[lung] = np.where(vessel, np.float32(-60), LUNG + 25 * y / 90)

    def _ribs(self, hu: Field, z: float) -> None:
        """Draw ribs: shells in the chest wall that sink from the spine to the front."""
        front, depth = self._front.flat[self._wall], self._depth.flat[self._wall]
        height = z + self._anatomy.phase_mm + RIB_DROP_MM * np.sin(front * np.pi / 2) ** 2
        along = (height + RIB_PITCH_MM / 2) % RIB_PITCH_MM - RIB_PITCH_MM / 2
        radius = np.hypot(along / RIB_HALF_MM[0], (depth - 6) / RIB_HALF_MM[1])
        rib = (radius < 1) & (front > 0.06) & (front < 0.93)
        value = np.where(radius > 1 - RIB_SHELL, COMPACT_BONE, SPONGY_BONE)
        value = np.where(front < 0.80, value, CARTILAGE)
        hu.flat[self._wall[rib]] = value[rib]

    def _breast_bone(self, hu: Field, z: float) -> None:
        if z < -50:
            return
        bone = self._breast_bone_radius < 1
        hu[bone] = SPONGY_BONE
        hu[bone & (self._breast_bone_radius > 0.72)] = COMPACT_BONE

    def _spine(self, hu: Field, z: float) -> None:
        """Draw one vertebra or disc, its arch, processes and the canal."""
        level = (z + self._anatomy.phase_mm) % VERTEBRA_PITCH_MM
        vertebra = self._vertebra < 1
        if level < DISC_HEIGHT_MM:
            hu[vertebra] = DISC
        else:
            end_plate = min(level - DISC_HEIGHT_MM, VERTEBRA_PITCH_MM - level) < 1.5
            hu[vertebra] = COMPACT_BONE if end_plate else SPONGY_BONE
            hu[vertebra & (self._vertebra > 0.7)] = COMPACT_BONE
        hu[self._arch] = COMPACT_BONE if level > 9 else MUSCLE
        if level > 12:
            hu[self._processes] = COMPACT_BONE
        hu[self._canal] = BLOOD - 15


def noise(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return grainy noise as of a soft kernel: float32, standard deviation `NOISE_HU`."""
    grain = random.standard_normal((shape[0] + 1, shape[1] + 1), dtype=np.float32)
    smooth = grain[1:, 1:] + grain[:-1, 1:] + grain[1:, :-1] + grain[:-1, :-1]
    return smooth * np.float32(NOISE_HU / 2)


def _squared_radius(x: Field, y: Field) -> Field:
    """Return the square of the radius of coordinates that were scaled by half axes."""
    return x * x + y * y


def _rounded_box(x: Field, y: Field) -> Field:
    """Return a radius that is 1 on a superellipse of exponent 2.4."""
    radius: Field = np.power(np.power(np.abs(x), 2.4) + np.power(np.abs(y), 2.4), 1 / 2.4)
    return radius


def _blurred(hu: Field) -> Field:
    """Return the plane through a small point spread function, as a scanner has one."""
    padded = np.pad(hu, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    blurred: Field = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / np.float32(16)
    return blurred
