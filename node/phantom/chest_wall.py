"""The wall of the chest: skin, fat, muscles, ribs, breast bone, spine, shoulder blades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from node.phantom import tissue
from node.phantom.grid import Field, Lattice, Point
from node.phantom.scene import Layer, Paint, Texture
from node.phantom.shapes import Bounds, Ellipsoid, Region, Tube, Union, Waves, smooth_minimum, tube

_FAR = 480.0
EVERYWHERE: Bounds = ((-_FAR, -_FAR, -_FAR), (_FAR, _FAR, _FAR))

#: Profiles along z of an average chest, in mm; z = 0 is the fork of the windpipe.
_HEIGHTS = (
    -420.0,
    -340.0,
    -260.0,
    -180.0,
    -110.0,
    -50.0,
    0.0,
    40.0,
    70.0,
    92.0,
    112.0,
    135.0,
    175.0,
)
CAVITY_HALF_WIDTH = (
    122.0,
    116.0,
    116.0,
    122.0,
    130.0,
    129.0,
    122.0,
    108.0,
    86.0,
    62.0,
    34.0,
    24.0,
    20.0,
)
_CAVITY_FRONT = (
    -86.0,
    -88.0,
    -90.0,
    -91.0,
    -92.0,
    -88.0,
    -78.0,
    -66.0,
    -55.0,
    -46.0,
    -36.0,
    -30.0,
    -28.0,
)
_CAVITY_BACK = (60.0, 58.0, 62.0, 74.0, 80.0, 80.0, 76.0, 70.0, 62.0, 52.0, 40.0, 32.0, 26.0)
_WALL_MM = (18.0, 16.0, 15.0, 15.0, 16.0, 18.0, 23.0, 31.0, 44.0, 60.0, 62.0, 42.0, 36.0)
_SPINE_Y = (32.0, 26.0, 32.0, 44.0, 52.0, 54.0, 52.0, 47.0, 40.0, 34.0, 27.0, 18.0, 10.0)

VERTEBRA_PITCH_MM, DISC_MM = 25.0, 5.0
RIB_PITCH_MM = 25.0


@dataclass(frozen=True, kw_only=True)
class Wall:
    """What differs between two chests' walls.

    Attributes
    ----------
    size : factors of width (x), depth (y) and height (z) on an average chest
    fat_mm : fat under the skin in front
    muscle : factor on the thickness of the wall's muscles
    breasts_mm : how far the breasts stand out; 0 for none
    arms : True where the arms lie beside the head (shoulders drawn up)
    phase_mm : where along z the first vertebra and rib begin
    lean_mm : how far skin and muscles are shifted to the left of the bones
    """

    size: Point = (1.0, 1.0, 1.0)
    fat_mm: float = 16.0
    muscle: float = 1.0
    breasts_mm: float = 0.0
    arms: bool = True
    phase_mm: float = 0.0
    lean_mm: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, female: bool) -> Wall:
        """Return one chest of many."""
        tall = float(np.clip(rng.normal(0.94 if female else 1.02, 0.05), 0.82, 1.16))
        return cls(
            size=(
                tall * float(rng.uniform(0.94, 1.06)),
                tall * float(rng.uniform(0.9, 1.1)),
                tall * float(rng.uniform(0.95, 1.05)),
            ),
            fat_mm=float(np.clip(rng.gamma(5.0, 3.2 if female else 2.6), 4.0, 42.0)),
            muscle=float(rng.uniform(0.75, 0.95) if female else rng.uniform(0.85, 1.15)),
            breasts_mm=float(rng.uniform(12, 42)) if female else 0.0,
            arms=bool(rng.random() < 0.9),
            phase_mm=float(rng.uniform(0, VERTEBRA_PITCH_MM)),
            lean_mm=(float(rng.normal(0, 3)), float(rng.normal(0, 2))),
        )

    def profile(self, values: Sequence[float], height: Field, axis: int) -> Field:
        """Return a profile of the average chest at these heights, scaled to this chest."""
        scaled: Field = np.interp(height / self.size[2], _HEIGHTS, values) * self.size[axis]
        return scaled.astype(np.float32)

    def cavity(self, lattice: Lattice, grown_mm: float = 0.0) -> Field:
        """Return mm outside of the trunk's inner wall (`grown_mm` moves it outwards)."""
        height = lattice.height
        half_width = self.profile(CAVITY_HALF_WIDTH, height, 0) + grown_mm
        front = self.profile(_CAVITY_FRONT, height, 1) - grown_mm
        back = self.profile(_CAVITY_BACK, height, 1) + grown_mm
        return _oval(lattice, half_width, front, back)

    def muscles(self, lattice: Lattice) -> Field:
        """Return mm outside of the muscles that cover the ribs."""
        height = lattice.height
        wall = self.profile(_WALL_MM, height, 0) * self.muscle
        half_width = self.profile(CAVITY_HALF_WIDTH, height, 0) + wall
        front = self.profile(_CAVITY_FRONT, height, 1) - np.minimum(wall * 0.75, 20)
        back = self.profile(_CAVITY_BACK, height, 1) + np.minimum(wall, 26) * 1.05
        return _oval(lattice, half_width, front, back, self.lean_mm[1])

    def outline(self, lattice: Lattice) -> Field:
        """Return mm outside of the skin, without breasts and shoulders."""
        height, fat = lattice.height, self.fat_mm
        wall = self.profile(_WALL_MM, height, 0) * self.muscle
        half_width = self.profile(CAVITY_HALF_WIDTH, height, 0) + wall + 1.15 * fat
        front = self.profile(_CAVITY_FRONT, height, 1) - np.minimum(wall * 0.75, 20) - fat
        back = self.profile(_CAVITY_BACK, height, 1) + np.minimum(wall, 26) * 1.05 + 0.8 * fat
        return _oval(lattice, half_width, front, back, self.lean_mm[0])

    def at(self, x: float, y: float, z: float) -> Point:
        """Return a point of the average chest in this one."""
        return (x * self.size[0], y * self.size[1], z * self.size[2])

    def spine_y(self, z: float) -> float:
        """Return where the middle of the vertebra at this height lies, in mm."""
        return float(np.interp(z / self.size[2], _HEIGHTS, _SPINE_Y)) * self.size[1]

    def front_y(self, z: float) -> float:
        """Return where the inner wall lies in front, on the midline, in mm."""
        return float(np.interp(z / self.size[2], _HEIGHTS, _CAVITY_FRONT)) * self.size[1]


def cavity_bounds(wall: Wall) -> Bounds:
    """Return a box that holds the chest's inner wall at all heights."""
    half = max(CAVITY_HALF_WIDTH) * wall.size[0] + 2
    front, back = min(_CAVITY_FRONT) * wall.size[1] - 2, max(_CAVITY_BACK) * wall.size[1] + 2
    return (-half, front, -_FAR), (half, back, _FAR)


def wall_paints(wall: Wall, rng: np.random.Generator) -> list[Paint]:
    """Return skin, fat, muscles and bones of a chest."""
    return [*_soft(wall, rng), *_muscle_paints(wall), *_spine(wall), *_ribs(wall), *_front(wall)]


def _soft(wall: Wall, rng: np.random.Generator) -> list[Paint]:
    parts: list[Ellipsoid] = []
    for side in (-1, 1):
        if wall.arms:
            centre = wall.at(side * 148, 14, 96)
            half = (54 + wall.fat_mm * 0.6, 52 + wall.fat_mm * 0.5, 62)
            parts.append(Ellipsoid(centre, half, (0, 0, side * 12)))
        if wall.breasts_mm > 0:
            front = wall.front_y(-40) - 14 - wall.fat_mm
            centre = (side * 80 * wall.size[0], front + 34, -50 * wall.size[2])
            parts.append(Ellipsoid(centre, (64, wall.breasts_mm + 28, 60), (0, 0, side * 16)))

    def skin(lattice: Lattice) -> Field:
        field = np.array(np.broadcast_to(wall.outline(lattice), lattice.shape))
        for part in parts:
            low, high = np.array(part.bounds)
            box = lattice.box(low - 12, high + 12)
            if box is not None:
                field[box] = smooth_minimum(field[box], part.field(lattice.crop(box)), 12.0)
        return field

    paints = [
        Paint(
            shape=Region(EVERYWHERE, skin),
            value=tissue.SKIN,
            layers=(Layer(2.0, tissue.FAT),),
            name="body",
            stage="body",
        )
    ]
    if wall.breasts_mm > 0:
        paints.extend(_glands(wall, rng))
    return paints


def _glands(wall: Wall, rng: np.random.Generator) -> list[Paint]:
    dense = float(rng.uniform(0.25, 0.7))
    paints = []
    for side in (-1, 1):
        front = wall.front_y(-40) - 14 - wall.fat_mm
        centre = (side * 84 * wall.size[0], front + 4 - 0.3 * wall.breasts_mm, -48 * wall.size[2])
        shape = Ellipsoid(centre, (40, 0.5 * wall.breasts_mm + 3, 42), (0, 0, side * 16))
        texture = Texture(Waves.drawn(rng, 14.0), 45.0)
        paints.append(
            Paint(
                shape=shape,
                value=-60.0 + 60 * dense,
                texture=texture,
                edge_mm=12.0,
                strength=0.85,
                name="breast",
                stage="body",
            )
        )
    return paints


def _muscle_paints(wall: Wall) -> list[Paint]:
    layers = (Layer(8.0, tissue.FAT), Layer(10.0, tissue.MUSCLE))
    whole = Region(EVERYWHERE, wall.muscles)
    paints = [Paint(shape=whole, value=tissue.MUSCLE, layers=layers, name="muscle", stage="body")]

    def add(centre: Point, half: Point, turn: Point = (0, 0, 0)) -> None:
        scaled = tuple(h * wall.muscle for h in half)
        shape = Ellipsoid(centre, (scaled[0], scaled[1], half[2]), turn)
        paints.append(Paint(shape=shape, value=tissue.MUSCLE, name="muscle", stage="body"))

    for side in (-1, 1):
        front = wall.front_y(30)
        add(
            (side * 66 * wall.size[0], front + 1, 30 * wall.size[2]),
            (56, 15, 55),
            (10, 0, side * 18),
        )
        for z in np.arange(-420, 121, 30.0):
            scaled = z * wall.size[2]
            add((side * 25, wall.spine_y(scaled) + 32, scaled), (23, 15, 32))
        # Around the shoulder blade, and the arm's root.
        add(wall.at(side * 104, 66, 45), (46, 20, 72), (0, 0, side * -38))
        add(wall.at(side * 45, 72, 85), (48, 13, 40), (0, 0, side * 6))
        if wall.arms:
            add(wall.at(side * 140, 14, 92), (38, 38, 58))
        # Sternomastoid and strap muscles of the neck.
        ends = [
            wall.at(side * 20, -52, 74),
            wall.at(side * 38, -26, 112),
            wall.at(side * 52, 2, 170),
        ]
        neck = Tube(np.array(ends), np.array([6.0, 8.0, 9.0]), squash=(0.8, 1.0, 1.0))
        paints.append(Paint(shape=neck, value=tissue.MUSCLE, name="muscle", stage="fat"))
    return paints


def _bone(shape: Region | Ellipsoid | Tube | Union, shell_mm: float = 1.6) -> Paint:
    layers = (Layer(shell_mm, tissue.SPONGY_BONE),)
    return Paint(shape=shape, value=tissue.COMPACT_BONE, layers=layers, name="bone", stage="bone")


def _spine(wall: Wall) -> list[Paint]:
    reach = 46.0
    low, high = (-reach, 0.0, -_FAR), (reach, 140.0, _FAR)
    box: Bounds = (low, high)
    width, depth = 17.0 * wall.size[0], 14.5 * wall.size[1]

    def local(lattice: Lattice) -> tuple[Field, Field, Field]:
        spine_y = wall.profile(_SPINE_Y, lattice.height, 1)
        level = (lattice.z + np.float32(wall.phase_mm)) % np.float32(VERTEBRA_PITCH_MM)
        return lattice.x, lattice.y - spine_y, level

    def body(lattice: Lattice, disc: bool) -> Field:
        x, y, level = local(lattice)
        radius = (np.sqrt((x / width) ** 2 + (y / depth) ** 2) - 1) * np.float32(depth)
        middle = DISC_MM + (VERTEBRA_PITCH_MM - DISC_MM) / 2
        half = (VERTEBRA_PITCH_MM - DISC_MM) / 2
        if disc:
            return np.broadcast_to(radius, lattice.shape)
        field: Field = np.maximum(radius, np.abs(level - np.float32(middle)) - np.float32(half))
        return field

    def arch(lattice: Lattice) -> Field:
        x, y, level = local(lattice)
        ring = (np.sqrt((x / 14.5) ** 2 + ((y - 21) / 12.5) ** 2) - 1) * np.float32(12.5)
        spinous = np.maximum(np.abs(x) - 2.8, np.abs(y - 43) - 14)
        across = np.maximum(np.abs(y - 20 - np.abs(x) * 0.3) - 3.6, np.abs(x) - 34)
        fine = np.minimum(np.minimum(ring, spinous), across)
        field: Field = np.maximum(fine, np.abs(level - np.float32(16)) - np.float32(7.5))
        return field

    def canal(lattice: Lattice) -> Field:
        x, y, _ = local(lattice)
        flat = (np.sqrt((x / 9.5) ** 2 + ((y - 20) / 8.0) ** 2) - 1) * np.float32(8)
        return np.broadcast_to(flat, lattice.shape)

    return [
        Paint(
            shape=Region(box, partial(body, disc=True)),
            value=tissue.DISC,
            name="bone",
            stage="bone",
        ),
        _bone(Region(box, partial(body, disc=False)), 1.4),
        _bone(Region(box, arch), 1.8),
        Paint(shape=Region(box, canal), value=tissue.CORD, name="canal", stage="bone"),
    ]


def _ribs(wall: Wall) -> list[Paint]:
    """Return ribs that follow the wall, sinking to the front, with their cartilages."""
    paints = []
    start = (wall.phase_mm * -1.0) % RIB_PITCH_MM
    for number in range(12):
        back_z = 88.0 * wall.size[2] - start - number * RIB_PITCH_MM
        drop = 30.0 + min(number, 6) * 11.0
        last = 165.0 if number < 7 else 150.0 - 22 * (number - 7)
        angles = np.deg2rad(np.linspace(14, last, 16))
        for side in (-1, 1):
            points = np.array([_on_wall(wall, side, a, back_z, drop) for a in angles])
            bony = len(points) if number > 9 else 13
            radii = np.full(bony, 4.6)
            shape = Tube(points[:bony], radii, squash=(1.0, 1.0, 0.72))
            paints.append(_bone(shape, 1.5))
            if bony < len(points):
                soft = Tube(points[bony - 1 :], np.full(len(points) - bony + 1, 4.6))
                paints.append(Paint(shape=soft, value=tissue.CARTILAGE, name="bone", stage="bone"))
    return paints


def _on_wall(wall: Wall, side: int, angle: float, back_z: float, drop: float) -> Point:
    z = back_z - drop * float(np.sin(angle / 2) ** 1.5)
    height = np.array([z], np.float32)
    half_width = float(wall.profile(CAVITY_HALF_WIDTH, height, 0)[0]) + 5.0
    front = float(wall.profile(_CAVITY_FRONT, height, 1)[0]) - 3.0
    back = float(wall.profile(_CAVITY_BACK, height, 1)[0]) + 5.0
    x = side * half_width * float(np.sin(angle)) ** 0.8
    cosine = float(np.cos(angle))
    y = (front + back) / 2 + (back - front) / 2 * float(np.sign(cosine)) * abs(cosine) ** 0.8
    return (x, y, z)


def _front(wall: Wall) -> list[Paint]:
    """Return breast bone, collar bones and shoulder blades."""
    line = []
    for z in (62.0, 40.0, 20.0, -20.0, -60.0, -95.0):
        scaled = z * wall.size[2]
        line.append((0.0, wall.front_y(scaled) - 5.5, scaled))
    sternum = tube(line, (6.0, 6.5, 5.5, 5.8, 6.2, 4.0))
    flat = Tube(sternum.points, sternum.radii, squash=(0.36, 1.0, 1.0))
    paints = [_bone(flat, 1.2)]
    for side in (-1, 1):
        inner = wall.front_y(70 * wall.size[2])
        points = [
            (side * 22.0, inner - 6, 66.0 * wall.size[2]),
            (side * 60.0, inner - 12, 84.0 * wall.size[2]),
            (side * 105.0 * wall.size[0], inner + 22, 104.0 * wall.size[2]),
            (side * 138.0 * wall.size[0], inner + 42, 112.0 * wall.size[2]),
        ]
        paints.append(_bone(tube(points, 6.0), 2.0))
        blade = Ellipsoid(wall.at(side * 106, 66, 42), (40, 4.2, 62), (0, 0, side * -38))
        paints.append(_bone(blade, 1.5))
        if wall.arms:
            head = Ellipsoid(wall.at(side * 150, 14, 100), (22, 22, 23))
            paints.append(_bone(head, 2.0))
    return paints


def _oval(
    lattice: Lattice, half_width: Field, front: Field, back: Field, shift_mm: float = 0.0
) -> Field:
    """Return mm outside of a superellipse of exponent 2.5 in each plane, to first order."""
    half_depth = ((back - front) / 2).astype(np.float32)
    middle = ((back + front) / 2).astype(np.float32)
    across = np.abs((lattice.x - np.float32(shift_mm)) / half_width.astype(np.float32))
    deep = np.abs((lattice.y - middle) / half_depth)
    total = across * across * np.sqrt(across) + deep * deep * np.sqrt(deep)
    field: Field = (np.sqrt(total) - 1) * (np.float32(0.8) * half_depth)
    return field
