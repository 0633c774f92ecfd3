"""A scene: paints in order, drawn on a grid with the partial volume of a voxel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from node.phantom.grid import UPRIGHT, Box, Field, Lattice, Pose, axial_grid
from node.phantom.shapes import Shape, Waves
from node.plugin import Grid

__all__ = ["STAGES", "Grid", "Layer", "Paint", "Pose", "Scene", "Texture", "axial_grid", "mask"]

AIR = -1000.0
#: What is painted later covers what was painted before; within a stage in the order given.
STAGES = ("body", "lung", "fat", "mass", "organ", "vessel", "airway", "bone", "top")


@dataclass(frozen=True)
class Texture:
    """A value that changes from place to place: `sd` around the paint's own value."""

    waves: Waves
    sd: float


@dataclass(frozen=True)
class Layer:
    """What a paint has beneath its surface: from `depth_mm` inwards this value."""

    depth_mm: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A shape, and what it is filled with.

    Attributes
    ----------
    shape : Shape
    value : float
        HU for CT; any number for a map of tissues.
    name : str
        By which masks ask for it; several paints may share one.
    stage : str
        One of `STAGES`.
    layers : layers beneath the surface, from the outside
    texture : Texture or None
    edge_mm : float
        A surface softer than a voxel: the value goes over within this width.
    strength : float
        Share of what lies beneath that is covered (1: all).
    over, under : float or None
        Paint only where the value beneath is above, or below, this (e.g. not into lung). Masks
        do not know of it: `over` covers all of the shape, `under` nothing.
    """

    shape: Shape
    value: float
    name: str = ""
    stage: str = "organ"
    layers: tuple[Layer, ...] = ()
    texture: Texture | None = None
    edge_mm: float = 0.0
    strength: float = 1.0
    over: float | None = None
    under: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What lies in the scanner: paints of one body, in one pose."""

    paints: tuple[Paint, ...] = ()
    pose: Pose = field(default=UPRIGHT)
    background: float = AIR

    def with_paints(self, paints: Iterable[Paint]) -> Scene:
        """Return the scene with more paints; each finds its place by its stage."""
        return replace(self, paints=(*self.paints, *paints))

    def without(self, *names: str) -> Scene:
        """Return the scene without the paints of these names."""
        return replace(self, paints=tuple(p for p in self.paints if p.name not in names))

    def ordered(self) -> list[Paint]:
        """Return the paints in the order in which they are drawn."""
        return sorted(self.paints, key=lambda paint: STAGES.index(paint.stage))

    def render(self, grid: Grid) -> NDArray[np.float32]:
        """Return the values on a grid, float32, shape (slices, rows, columns); no noise."""
        lattice = Lattice.of(grid, self.pose)
        volume = np.full(grid.shape, self.background, np.float32)
        for paint in self.ordered():
            _draw(paint, lattice, volume)
        return volume

    def mask(self, grid: Grid, *names: str) -> NDArray[np.bool_]:
        """Return where paints of these names are what one sees: not covered by later ones.

        A voxel belongs to a shape if its centre lies inside. bool, shape (slices, rows, columns).
        """
        lattice = Lattice.of(grid, self.pose)
        seen = np.zeros(grid.shape, bool)
        paints = self.ordered()
        boxes = [lattice.box(*paint.shape.bounds) for paint in paints]
        mine = [
            box for paint, box in zip(paints, boxes, strict=True) if paint.name in names and box
        ]
        if not mine:
            return seen
        hull = _hull(mine)
        for paint, box in zip(paints, boxes, strict=True):
            part = _common(box, hull)
            if part is None:
                continue
            if paint.name in names:
                seen[part] |= _inside(paint.shape, lattice.crop(part))
            elif paint.strength >= 1 and paint.under is None and seen[part].any():
                seen[part] &= ~_inside(paint.shape, lattice.crop(part))
        return seen


def mask(shape: Shape, grid: Grid, pose: Pose = UPRIGHT) -> NDArray[np.bool_]:
    """Return which voxel centres lie inside a shape; bool, shape (slices, rows, columns)."""
    lattice = Lattice.of(grid, pose)
    seen = np.zeros(grid.shape, bool)
    box = lattice.box(*shape.bounds)
    if box is not None:
        seen[box] = _inside(shape, lattice.crop(box))
    return seen


def coverage(outside: Field, *, edge_mm: float, step_mm: float) -> Field:
    """Return which share of each voxel is covered, from a field; float32 in 0..1.

    The width over which a field goes through zero is what it changes by across one voxel, so
    that thick slices blur what runs along them, whatever the shape.
    """
    width = np.full(outside.shape, max(edge_mm, step_mm / 4), np.float32)
    change = np.zeros(outside.shape, np.float32)
    for axis in range(3):
        if outside.shape[axis] < 2:
            continue
        step = np.abs(np.diff(outside, axis=axis))
        step *= np.float32(0.5)
        later, earlier = _shifted(axis)
        change[later] += step
        change[earlier] += step
    np.maximum(width, change, out=width)
    share = outside / width
    np.subtract(np.float32(0.5), share, out=share)
    np.clip(share, 0, 1, out=share)
    return share


def _shifted(axis: int) -> tuple[Box, Box]:
    later = [slice(None)] * 3
    earlier = [slice(None)] * 3
    later[axis], earlier[axis] = slice(1, None), slice(None, -1)
    return (later[0], later[1], later[2]), (earlier[0], earlier[1], earlier[2])


def _draw(paint: Paint, lattice: Lattice, volume: NDArray[np.float32]) -> None:
    box = lattice.box(*paint.shape.bounds)
    if box is None:
        return
    part = lattice.crop(box)
    outside = np.broadcast_to(paint.shape.field(part), part.shape)
    share = coverage(outside, edge_mm=paint.edge_mm, step_mm=lattice.step_mm)
    target = volume[box]
    if paint.strength < 1:
        share *= np.float32(paint.strength)
    if paint.over is not None:
        share *= target > np.float32(paint.over)
    if paint.under is not None:
        share *= target < np.float32(paint.under)
    value: Field | np.float32 = np.float32(paint.value)
    for layer in paint.layers:
        value = value + _deeper(outside, layer.depth_mm, lattice) * (
            np.float32(layer.value) - value
        )
    if paint.texture is not None:
        value = value + np.float32(paint.texture.sd) * paint.texture.waves.on(part)
    share *= value - target
    target += share


def _deeper(outside: Field, depth_mm: float, lattice: Lattice) -> Field:
    """Return the share of each voxel that lies deeper than this below the surface."""
    share: Field = (-outside - np.float32(depth_mm)) / np.float32(1.5 * lattice.step_mm)
    share += np.float32(0.5)
    np.clip(share, 0, 1, out=share)
    return share


def _inside(shape: Shape, lattice: Lattice) -> NDArray[np.bool_]:
    return np.broadcast_to(shape.field(lattice) < 0, lattice.shape)


def _hull(boxes: Sequence[Box]) -> Box:
    starts = [min(box[axis].start for box in boxes) for axis in range(3)]
    stops = [max(box[axis].stop for box in boxes) for axis in range(3)]
    return (
        slice(starts[0], stops[0]),
        slice(starts[1], stops[1]),
        slice(starts[2], stops[2]),
    )


def _common(box: Box | None, hull: Box) -> Box | None:
    if box is None:
        return None
    parts = [
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, hull, strict=True)
    ]
    if any(part.start >= part.stop for part in parts):
        return None
    return (parts[0], parts[1], parts[2])
