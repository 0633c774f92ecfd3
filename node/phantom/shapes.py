"""Shapes as fields: mm outside of a surface, negative inside, nearly a distance close to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from node.phantom.grid import Field, Lattice, Point, turned

Bounds = tuple[Point, Point]


class Shape(Protocol):
    """What can be painted. `bounds` are the low and high corners in mm, in the body."""

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: centre and half axes in mm, turned about x, y, z in degrees."""

    centre: Point
    half: Point
    turn_deg: Point = (0.0, 0.0, 0.0)

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        rotation = turned(self.turn_deg)
        reach = np.sqrt(((rotation * np.array(self.half)) ** 2).sum(axis=1))
        return _around(self.centre, reach)

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        near: Field = np.zeros((1, 1, 1), np.float32)
        far = near
        for local, half in zip(
            local_axes(lattice, self.centre, self.turn_deg), self.half, strict=True
        ):
            scaled = (local / np.float32(half)) ** 2
            near, far = near + scaled, far + scaled / np.float32(half * half)
        radius = np.sqrt(near)
        # First order: value / slope.
        field: Field = radius * (radius - 1) / np.sqrt(far + np.float32(1e-9))
        return field


@dataclass(frozen=True)
class Tube:
    """A round tube along points, shape (n, 3), with a radius at each, in mm.

    `squash` stretches x, y, z before the distance is taken: 0.6 along z makes a tube that is
    higher than thick.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    squash: Point = (1.0, 1.0, 1.0)

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        reach = self.radii[:, None] / np.array(self.squash)
        return _corners((self.points - reach).min(axis=0), (self.points + reach).max(axis=0))

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        far = np.float32(lattice.reach_mm)
        field = np.full(lattice.shape, far, np.float32)
        reach = self.radii[:, None] / np.array(self.squash)
        low, high = self.points - reach, self.points + reach
        for first in range(len(self.points) - 1):
            ends = slice(first, first + 2)
            box = lattice.box(low[ends].min(axis=0), high[ends].max(axis=0))
            if box is not None:
                part = self._segment(lattice.crop(box), first)
                np.minimum(field[box], part, out=field[box])
        return field

    def _segment(self, lattice: Lattice, first: int) -> Field:
        stretch = np.array(self.squash)
        start = (self.points[first] * stretch).astype(np.float32)
        along = ((self.points[first + 1] - self.points[first]) * stretch).astype(np.float32)
        offsets = [
            c * np.float32(s) - o
            for c, s, o in zip((lattice.x, lattice.y, lattice.z), self.squash, start, strict=True)
        ]
        length2 = np.float32(max(float(along @ along), 1e-6))
        place = sum((o * (a / length2) for o, a in zip(offsets, along, strict=True)), np.float32(0))
        place = np.clip(place, 0, 1)
        square = sum(
            ((o - a * place) ** 2 for o, a in zip(offsets, along, strict=True)), np.float32(0)
        )
        start_radius, end_radius = self.radii[first], self.radii[first + 1]
        field: Field = np.sqrt(square) - (
            np.float32(start_radius) + np.float32(end_radius - start_radius) * place
        )
        return field


@dataclass(frozen=True)
class Region:
    """Any function of a lattice within a box."""

    bounds: Bounds
    function: Callable[[Lattice], Field]

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        return self.function(lattice)


@dataclass(frozen=True)
class Union:
    """Where any of the shapes is; `blend_mm` rounds off the grooves between them."""

    shapes: Sequence[Shape]
    blend_mm: float = 0.0

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        boxes = np.array([shape.bounds for shape in self.shapes])
        return _corners(
            boxes[:, 0].min(axis=0) - self.blend_mm, boxes[:, 1].max(axis=0) + self.blend_mm
        )

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        field = self.shapes[0].field(lattice)
        for shape in self.shapes[1:]:
            other = shape.field(lattice)
            field = smooth_minimum(field, other, self.blend_mm)
        return field


@dataclass(frozen=True)
class Both:
    """Where all of the shapes are."""

    shapes: Sequence[Shape]

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        boxes = np.array([shape.bounds for shape in self.shapes])
        low, high = boxes[:, 0].max(axis=0), boxes[:, 1].min(axis=0)
        return _corners(low, np.maximum(low, high))

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        field = self.shapes[0].field(lattice)
        for shape in self.shapes[1:]:
            field = np.maximum(field, shape.field(lattice))
        return field


@dataclass(frozen=True)
class Without:
    """The first shape where the second is not."""

    shape: Shape
    taken: Shape

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        return self.shape.bounds

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        field: Field = np.maximum(self.shape.field(lattice), -self.taken.field(lattice))
        return field


@dataclass(frozen=True)
class Grown:
    """A shape whose surface is moved outwards by mm (inwards where negative)."""

    shape: Shape
    by_mm: float

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        low, high = np.array(self.shape.bounds)
        return _corners(low - self.by_mm, np.maximum(low - self.by_mm, high + self.by_mm))

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        field: Field = self.shape.field(lattice) - np.float32(self.by_mm)
        return field


@dataclass(frozen=True)
class Waves:
    """A smooth random function of place, mean 0, standard deviation about 1.

    Attributes
    ----------
    vectors : float32, shape (n, 3), radians per mm
    phases : float32, shape (n,)
    """

    vectors: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def drawn(cls, rng: np.random.Generator, wavelength_mm: float, count: int = 6) -> Waves:
        """Draw waves of about this length, in all directions."""
        vectors = rng.standard_normal((count, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors *= 2 * np.pi / (wavelength_mm * rng.uniform(0.7, 1.6, (count, 1)))
        phases = rng.uniform(0, 2 * np.pi, count)
        return cls(vectors.astype(np.float32), phases.astype(np.float32))

    def at(self, x: Field, y: Field, z: Field) -> Field:
        """Return the function at these places in mm."""
        total: Field = np.zeros((1, 1, 1), np.float32)
        for (a, b, c), phase in zip(self.vectors, self.phases, strict=True):
            total = total + np.sin(a * x + b * y + (c * z + phase))
        field: Field = total * np.float32(np.sqrt(2 / len(self.phases)))
        return field

    def on(self, lattice: Lattice) -> Field:
        """Return the function at the voxels of a lattice."""
        return self.at(lattice.x, lattice.y, lattice.z)


@dataclass(frozen=True)
class Wavy:
    """A shape whose surface is moved in and out by waves of `by_mm` standard deviation."""

    shape: Shape
    waves: Waves
    by_mm: float

    @property
    def bounds(self) -> Bounds:
        """Return a box that holds the shape."""
        return Grown(self.shape, 3 * self.by_mm).bounds

    def field(self, lattice: Lattice) -> Field:
        """Return mm outside of the surface at these voxels, float32."""
        field: Field = self.shape.field(lattice) + np.float32(self.by_mm) * self.waves.on(lattice)
        return field


def tube(points: Sequence[Point], radii: float | Sequence[float], *, smooth: int = 3) -> Tube:
    """Return a tube through these points, rounded with `smooth` steps between each two.

    A Catmull-Rom curve: it passes through all points.
    """
    knots = np.asarray(points, float)
    widths = np.broadcast_to(np.asarray(radii, float), (len(knots),))
    values = np.concatenate([knots, widths[:, None]], axis=1)
    padded = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
    curve = []
    for first in range(len(knots) - 1):
        p0, p1, p2, p3 = padded[first : first + 4]
        for t in np.arange(smooth) / smooth:
            curve.append(
                0.5
                * (
                    2 * p1
                    + (p2 - p0) * t
                    + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
                    + (3 * p1 - p0 - 3 * p2 + p3) * t**3
                )
            )
    line = np.array([*curve, values[-1]])
    return Tube(line[:, :3], np.maximum(line[:, 3], 0.3))


def smooth_minimum(first: Field, second: Field, blend_mm: float) -> Field:
    """Return the smaller of two fields, rounded where they are closer than `blend_mm`."""
    lower: Field = np.minimum(first, second)
    if blend_mm <= 0:
        return lower
    near = np.maximum(np.float32(blend_mm) - np.abs(first - second), 0)
    field: Field = lower - near * near * np.float32(0.25 / blend_mm)
    return field


def local_axes(lattice: Lattice, centre: Point, turn_deg: Point) -> list[Field]:
    """Return coordinates in mm along the axes of a shape that is turned about its centre."""
    x, y, z = (
        c - np.float32(o) for c, o in zip((lattice.x, lattice.y, lattice.z), centre, strict=True)
    )
    if not any(turn_deg):
        return [x, y, z]
    back = turned(turn_deg).T.astype(np.float32)
    return [row[0] * x + row[1] * y + row[2] * z for row in back]


def _around(centre: Sequence[float], reach: NDArray[np.float64]) -> Bounds:
    middle = np.asarray(centre, float)
    return _corners(middle - reach, middle + reach)


def _corners(low: NDArray[np.float64], high: NDArray[np.float64]) -> Bounds:
    return (
        (float(low[0]), float(low[1]), float(low[2])),
        (float(high[0]), float(high[1]), float(high[2])),
    )
