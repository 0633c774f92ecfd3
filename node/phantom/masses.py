"""Masses of several families, and what they have inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.phantom.grid import Field, Lattice, Point, turned
from node.phantom.scene import Layer, Paint, Texture
from node.phantom.shapes import (
    Both,
    Bounds,
    Ellipsoid,
    Grown,
    Shape,
    Tube,
    Union,
    Waves,
    Wavy,
    local_axes,
)

#: Shapes that a training cohort may use, and the one that only a test cohort may (E11).
TRAIN_FAMILIES = ("ellipsoid", "lobulated", "irregular", "bilobed", "plaque", "spiculated")
TEST_ONLY_FAMILY = "crescent"
FAMILIES = (*TRAIN_FAMILIES, TEST_ONLY_FAMILY)

_GOLDEN = np.pi * (3 - np.sqrt(5))


@dataclass(frozen=True)
class Radial:
    """A star-shaped body: its radius changes with the direction, by smooth waves.

    `half` are half axes in mm before the waves; `depth` is the waves' share of the radius.
    """

    centre: Point
    half: Point
    turn_deg: Point
    waves: Waves
    depth: float

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        reach = max(self.half) * (1 + 2.5 * self.depth)
        x, y, z = self.centre
        return (x - reach, y - reach, z - reach), (x + reach, y + reach, z + reach)

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        a, b, c = (
            local / np.float32(half)
            for local, half in zip(
                local_axes(lattice, self.centre, self.turn_deg), self.half, strict=True
            )
        )
        radius = np.sqrt(a * a + b * b + c * c) + np.float32(1e-4)
        wave = np.clip(self.waves.at(a / radius, b / radius, c / radius), -2.4, 2.4)
        field: Field = (radius - 1 - np.float32(self.depth) * wave) * np.float32(min(self.half))
        return field


@dataclass(frozen=True)
class Bent:
    """A flat body bent around the y axis of its own: a plaque on a vessel, or a crescent."""

    centre: Point
    half: Point
    turn_deg: Point
    sag_mm: float

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        reach = float(np.linalg.norm([self.half[0], self.half[1] + self.sag_mm, self.half[2]]))
        x, y, z = self.centre
        return (x - reach, y - reach, z - reach), (x + reach, y + reach, z + reach)

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        x, y, z = local_axes(lattice, self.centre, self.turn_deg)
        a, c = x / np.float32(self.half[0]), z / np.float32(self.half[2])
        b = (y - np.float32(self.sag_mm) * (a * a - np.float32(0.4))) / np.float32(self.half[1])
        radius = np.sqrt(a * a + b * b + c * c)
        field: Field = (radius - 1) * np.float32(min(self.half))
        return field


def mass(
    family: str,
    centre_mm: Point,
    diameter_mm: float,
    rng: np.random.Generator,
    *,
    flatness: tuple[float, float] = (0.65, 1.0),
) -> Shape:
    """Return a mass whose longest extent is about `diameter_mm`.

    Parameters
    ----------
    family : one of `FAMILIES`
    centre_mm : in the body
    diameter_mm : exact for an ellipsoid, within about a tenth otherwise
    rng : draws proportions, direction and surface
    flatness : least and greatest ratio of a shorter to the longest axis

    Raises
    ------
    KeyError
        Unknown family.
    """
    ratios = np.sort(rng.uniform(*flatness, 2))
    half = diameter_mm / 2 * np.array([1.0, ratios[0], ratios[1]])
    turn = tuple(float(v) for v in rng.uniform(-35, 35, 3))
    frame = _Frame(
        centre=centre_mm,
        half=(float(half[0]), float(half[1]), float(half[2])),
        turn_deg=(turn[0], turn[1], turn[2]),
    )
    return _MAKERS[family](frame, rng)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What a mass has inside; 0 means none.

    Attributes
    ----------
    necrosis : share of the diameter that a soft, darker core takes
    cyst : share of the diameter that one water-filled cavity takes
    calcifications : number of small spots
    unrest_hu : standard deviation of slow changes of its density
    rim_hu : what an enhancing shell of a tenth of the diameter adds
    """

    necrosis: float = 0.0
    cyst: float = 0.0
    calcifications: int = 0
    unrest_hu: float = 5.0
    rim_hu: float = 0.0


def mass_paints(
    shape: Shape,
    hu: float,
    inside: Inside,
    rng: np.random.Generator,
    *,
    name: str = "mass",
    edge_mm: float = 0.0,
    stage: str = "mass",
) -> tuple[Paint, ...]:
    """Return the paints of a mass: the body first, then what is inside, all of one name.

    `stage` is "mass" for what lies between organs, "top" for what lies in one.
    """
    low, high = np.array(shape.bounds)
    middle, reach = (low + high) / 2, (high - low).min() / 2
    texture = Texture(Waves.drawn(rng, max(6.0, 0.7 * reach)), inside.unrest_hu)
    shell = (Layer(0.2 * reach, hu - inside.rim_hu),) if inside.rim_hu else ()
    paints = [
        Paint(
            shape=shape,
            value=hu,
            name=name,
            stage=stage,
            layers=shell,
            texture=texture,
            edge_mm=edge_mm,
        )
    ]

    def cavity(share: float, value: float, edge: float) -> None:
        shift = rng.uniform(-0.15, 0.15, 3) * reach
        half = share * reach * rng.uniform(0.75, 1.1, 3)
        blob = Wavy(
            Ellipsoid(_point(middle + shift), _point(half)),
            Waves.drawn(rng, max(8.0, reach)),
            0.08 * reach,
        )
        kept = Both((Grown(shape, -2.0), blob))
        paints.append(Paint(shape=kept, value=value, name=name, stage=stage, edge_mm=edge))

    if inside.necrosis > 0:
        cavity(inside.necrosis, float(rng.uniform(12, 26)), 6.0)
    if inside.cyst > 0:
        cavity(inside.cyst, float(rng.uniform(0, 12)), 1.0)
    for _ in range(inside.calcifications):
        place = middle + rng.uniform(-0.45, 0.45, 3) * reach
        spot = Ellipsoid(_point(place), _point(rng.uniform(1.0, 2.6, 3)))
        value = float(rng.uniform(180, 550))
        kept = Both((Grown(shape, -1.0), spot))
        paints.append(Paint(shape=kept, value=value, name=name, stage=stage))
    return tuple(paints)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    centre: Point
    half: Point
    turn_deg: Point

    def place(self, offset: Point) -> Point:
        """Return a point given in half axes, in the body."""
        turned_offset = turned(self.turn_deg) @ (np.array(offset) * np.array(self.half))
        return _point(np.array(self.centre) + turned_offset)


def _ellipsoid(frame: _Frame, rng: np.random.Generator) -> Shape:
    return Ellipsoid(frame.centre, frame.half, frame.turn_deg)


def _irregular(frame: _Frame, rng: np.random.Generator) -> Shape:
    depth = float(rng.uniform(0.08, 0.14))
    half = _point(np.array(frame.half) / (1 + depth))
    waves = Waves.drawn(rng, 2.2, count=7)
    return Radial(frame.centre, half, frame.turn_deg, waves, depth)


def _lobulated(frame: _Frame, rng: np.random.Generator) -> Shape:
    parts: list[Shape] = [Ellipsoid(frame.centre, _scaled(frame.half, 0.72), frame.turn_deg)]
    count = int(rng.integers(4, 8))
    start = rng.uniform(0, 2 * np.pi)
    for index in range(count):
        up = 1 - 2 * (index + 0.5) / count
        angle, flat = start + _GOLDEN * index, np.sqrt(1 - up * up)
        size = float(rng.uniform(0.36, 0.5))
        reach = 1.0 - size
        offset = (reach * flat * np.cos(angle), reach * flat * np.sin(angle), reach * up)
        parts.append(Ellipsoid(frame.place(offset), _scaled(frame.half, size), frame.turn_deg))
    return Union(tuple(parts), blend_mm=0.12 * frame.half[0])


def _bilobed(frame: _Frame, rng: np.random.Generator) -> Shape:
    share = float(rng.uniform(0.45, 0.6))
    lobes = tuple(
        Ellipsoid(
            frame.place((side * (1 - size), 0.0, 0.0)),
            (frame.half[0] * size, frame.half[1] * 0.9, frame.half[2] * 0.9),
            frame.turn_deg,
        )
        for side, size in ((-1, share), (1, 1.05 - share))
    )
    return Union(lobes, blend_mm=0.2 * frame.half[0])


def _plaque(frame: _Frame, rng: np.random.Generator) -> Shape:
    thin = float(rng.uniform(0.28, 0.42))
    half = (frame.half[0], frame.half[0] * thin, frame.half[2])
    turn = (0.3 * frame.turn_deg[0], 0.3 * frame.turn_deg[1], 0.6 * frame.turn_deg[2])
    return Bent(frame.centre, half, turn, sag_mm=frame.half[0] * float(rng.uniform(0.05, 0.25)))


def _crescent(frame: _Frame, rng: np.random.Generator) -> Shape:
    thin = float(rng.uniform(0.3, 0.4))
    half = (frame.half[0], frame.half[0] * thin, frame.half[2])
    turn = (0.3 * frame.turn_deg[0], 0.3 * frame.turn_deg[1], 0.5 * frame.turn_deg[2])
    return Bent(frame.centre, half, turn, sag_mm=frame.half[0] * float(rng.uniform(0.7, 1.0)))


def _spiculated(frame: _Frame, rng: np.random.Generator) -> Shape:
    core_half = _scaled(frame.half, 0.84)
    waves = Waves.drawn(rng, 1.8, count=6)
    parts: list[Shape] = [Radial(frame.centre, core_half, frame.turn_deg, waves, 0.1)]
    for _ in range(int(rng.integers(9, 15))):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        foot = np.array(frame.place(_point(direction * 0.55)))
        tip = np.array(frame.place(_point(direction * rng.uniform(0.85, 1.0))))
        width = 0.09 * frame.half[0]
        parts.append(Tube(np.array([foot, tip]), np.array([max(1.2, width), 0.4])))
    return Union(tuple(parts), blend_mm=0.06 * frame.half[0])


_MAKERS: dict[str, Callable[[_Frame, np.random.Generator], Shape]] = {
    "ellipsoid": _ellipsoid,
    "lobulated": _lobulated,
    "irregular": _irregular,
    "bilobed": _bilobed,
    "plaque": _plaque,
    "spiculated": _spiculated,
    "crescent": _crescent,
}


def _scaled(half: Point, factor: float) -> Point:
    return (half[0] * factor, half[1] * factor, half[2] * factor)


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
