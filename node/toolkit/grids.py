"""Grids of voxels: to other steps and back, canonical orientation, crops. LPS+, in mm.

NumPy only; resampling between grids loads SimpleITK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node.plugin import Grid, Volume
from node.toolkit.masks import checked_mask

Order = Literal["linear", "nearest"]
#: Steps in mm: one for all axes, or between slices, rows and columns.
Spacing = float | tuple[float, float, float]
_Triple = tuple[int, int, int]

#: HU outside of what was scanned.
AIR_HU = -1024.0


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of a grid: from `start` up to, not with, `stop`, by (slice, row, column)."""

    start: _Triple
    stop: _Triple

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Return the index that cuts the box out of an array (..., slices, rows, columns)."""
        parts = [slice(a, b) for a, b in zip(self.start, self.stop, strict=True)]
        return (parts[0], parts[1], parts[2])

    @property
    def shape(self) -> _Triple:
        """Return (slices, rows, columns)."""
        return _triple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @staticmethod
    def from_slices(index: Sequence[slice]) -> Box:
        """Return the box that `index` cuts out."""
        return Box(start=_triple(s.start for s in index), stop=_triple(s.stop for s in index))

    @staticmethod
    def of(mask: NDArray[np.bool_]) -> Box | None:
        """Return the smallest box around the voxels of `mask`; None if there are none."""
        bounds = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            held = np.flatnonzero(mask.any(axis=others))
            if held.size == 0:
                return None
            bounds.append((int(held[0]), int(held[-1]) + 1))
        return Box(start=_triple(a for a, _ in bounds), stop=_triple(b for _, b in bounds))

    def moved(self, by: Sequence[int]) -> Box:
        """Return the box `by` voxels further along each axis."""
        return Box(
            start=_triple(a + d for a, d in zip(self.start, by, strict=True)),
            stop=_triple(b + d for b, d in zip(self.stop, by, strict=True)),
        )

    def grown(self, by: Sequence[int], shape: Sequence[int]) -> Box:
        """Return the box larger by `by` voxels on each side, as far as `shape` allows."""
        return Box(
            start=_triple(max(a - d, 0) for a, d in zip(self.start, by, strict=True)),
            stop=_triple(min(b + d, n) for b, d, n in zip(self.stop, by, shape, strict=True)),
        )


def canonical(volume: Volume) -> Volume:
    """Return the same voxels with slices towards the head, rows backwards, columns to the left.

    Axes change places and direction only, as near to +z, +y and +x (LPS+) as that can be: no
    value changes, and an oblique volume stays oblique. The array is a view.

    Examples
    --------
    A coronal stack, read from back to front (slices -y, rows -z, columns x):

    >>> affine = np.array([[0, 0, 2.0, 0], [-3.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    >>> stack = np.arange(24).reshape(2, 3, 4)
    >>> axial = canonical(Volume(array=stack, affine=affine, unit="1", modality="CT"))
    >>> axial.array.shape, axial.spacing_mm
    ((3, 2, 4), (1.0, 3.0, 2.0))
    >>> axial.affine[:3, 3].tolist(), int(axial.array[0, 0, 0]) == int(stack[1, 2, 0])
    ([0.0, -3.0, -2.0], True)
    """
    grid = volume.grid
    axes, turned = _canonical_axes(grid.affine)
    return replace(
        volume,
        array=_turn(volume.array, axes, turned),
        affine=_turned_affine(grid, axes, turned),
        padding=None if volume.padding is None else _turn(volume.padding, axes, turned),
    )


def spaced_grid(grid: Grid, spacing_mm: Spacing) -> Grid:
    """Return a grid of other steps over the same extent, canonically oriented.

    The number of voxels along an axis is the extent by the step, rounded; what is lost or won at
    the ends is shared by both of them. Every voxel centre lies within the old extent.

    Parameters
    ----------
    grid : Grid
    spacing_mm : float or (between slices, rows, columns)
        Steps in mm, above 0; one number: along all three axes.

    Examples
    --------
    >>> grid = Grid(shape=(10, 8, 8), affine=np.diag([-5.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    >>> spaced_grid(grid, 2.0).shape, spaced_grid(grid, 2.0).affine[:3, 3].tolist()
    ((25, 4, 4), [0.5, 0.5, -46.5])
    >>> spaced_grid(grid, (5.0, 2.0, 2.0)).shape
    (10, 4, 4)
    """
    wanted_mm = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
    sound = np.isfinite(wanted_mm) & (wanted_mm > 0)
    if not sound.all():
        raise ValueError(f"a step must be a number above 0 mm, not {wanted_mm[~sound][0]:g}")
    axes, turned = _canonical_axes(grid.affine)
    affine = _turned_affine(grid, axes, turned)
    counts = np.array([grid.shape[axis] for axis in axes])
    steps_mm = np.linalg.norm(affine[:3, :3], axis=0)
    new_counts = np.maximum(1, np.rint(counts * steps_mm / wanted_mm)).astype(int)
    middle = affine[:3, :3] @ ((counts - 1) / 2) + affine[:3, 3]
    new = np.eye(4)
    new[:3, :3] = affine[:3, :3] / steps_mm * wanted_mm
    new[:3, 3] = middle - new[:3, :3] @ ((new_counts - 1) / 2)
    return Grid(shape=_triple(new_counts), affine=new)


def to_spacing(volume: Volume, spacing_mm: Spacing, *, fill: float | None = None) -> Volume:
    """Return `volume` with other steps, canonically oriented, values interpolated linearly.

    Values are not smoothed first, as in MONAI's `Spacing`. Voxels of padding count as `fill`.

    Parameters
    ----------
    volume : Volume
    spacing_mm : float or (between slices, rows, columns)
        Steps in mm; one number: along all three axes.
    fill : float or None
        Value of padding; None: air for HU, else the smallest value of the volume.

    Returns
    -------
    Volume
        float32, in the unit of `volume`, without padding.
    """
    array = np.asarray(volume.array, dtype=np.float32)
    if fill is None:
        fill = outside_value(volume)
    if volume.padding is not None and volume.padding.any():
        array = np.where(volume.padding, np.float32(fill), array)
    source = volume.grid
    target = spaced_grid(source, spacing_mm)
    moved = resample(array, source, target, order="linear", fill=fill)
    return replace(volume, array=moved, affine=target.affine, padding=None)


def outside_value(volume: Volume) -> float:
    """Return what stands for nothing there: air in HU, else the smallest value."""
    return AIR_HU if volume.unit == "[hnsf'U]" else float(np.min(volume.array))


def resample(
    array: NDArray[np.generic], source: Grid, target: Grid, *, order: Order, fill: float = 0.0
) -> NDArray[Any]:
    """Return the values of `array` at the voxels of another grid.

    Parameters
    ----------
    array : float32, float64 or an integer type, shape of `source`
        "linear" cuts the fraction off whole numbers (1.5 becomes 1, -1.5 becomes -1): give
        float32 if it matters.
    source, target : Grid
        Any two, oblique or reversed to each other too.
    order : "linear" or "nearest"
    fill : float
        Value of voxels whose centre lies outside of the extent of `source`.

    Returns
    -------
    same type as `array`, shape of `target`

    Raises
    ------
    ValueError
        If `array` does not have the shape of `source`, or is of a type that is not resampled; if
        `order` is another word, or a grid has no extent.
    """
    _check(array, source, order)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize not in (1, 2, 4, 8):
        raise ValueError(f"an array of {array.dtype} is not resampled; for a mask: mask_to")
    if array.dtype == np.float16:
        raise ValueError("an array of float16 is not resampled; give float32")
    import SimpleITK

    itk: Any = SimpleITK  # half of its calls have no types
    # In index units on both sides: no rounding of cosines by ITK, and its axes are (x, y, z).
    step = _inverse(source) @ target.affine
    _inverse(target)  # one without extent is refused, though its inverse is not needed
    transform = itk.AffineTransform(3)
    transform.SetMatrix(step[2::-1, 2::-1].reshape(-1).tolist())
    transform.SetTranslation(step[2::-1, 3].tolist())
    method = itk.sitkLinear if order == "linear" else itk.sitkNearestNeighbor
    filled = itk.Resample(
        itk.GetImageFromArray(np.ascontiguousarray(array, array.dtype.newbyteorder("="))),
        target.shape[::-1],
        transform,
        method,
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        float(fill),
    )
    return np.asarray(itk.GetArrayFromImage(filled))


def mask_to(
    mask: NDArray[np.bool_], source: Grid, target: Grid, *, order: Order = "linear"
) -> NDArray[np.bool_]:
    """Return a mask on another grid, for instance a network's mask on the grid of the series.

    Parameters
    ----------
    mask : bool, shape of `source`
    order : "linear" or "nearest"
        "linear": where at least half of the interpolated mask lies; smooth edges. "nearest":
        what the nearest voxel says.

    Returns
    -------
    bool, shape of `target`
    """
    method = np.float32 if order == "linear" else np.uint8
    values = _resample_part(checked_mask(mask).astype(method), source, target, order)
    # A tie of rounding must not take away the edge of a mask that did not move.
    return np.asarray(values >= (0.5 - 1e-5 if order == "linear" else 1))


def probability_to(
    probability: NDArray[np.float32], source: Grid, target: Grid
) -> NDArray[np.float32]:
    """Return probabilities on another grid, interpolated linearly; 0 outside of `source`."""
    values: NDArray[np.float32] = _resample_part(
        np.asarray(probability, dtype=np.float32), source, target, "linear"
    )
    return values


def part_of(grid: Grid, box: Box) -> Grid:
    """Return the grid of the voxels inside `box`."""
    affine = grid.affine.copy()
    affine[:3, 3] = (grid.affine @ [*box.start, 1])[:3]
    return Grid(shape=box.shape, affine=affine)


def crop(volume: Volume, box: Box) -> Volume:
    """Return the part of a volume inside `box`; the array is a view."""
    return replace(
        volume,
        array=volume.array[box.slices],
        affine=part_of(volume.grid, box).affine,
        padding=None if volume.padding is None else volume.padding[box.slices],
    )


def paste(part: NDArray[Any], box: Box, shape: Sequence[int], *, fill: float = 0) -> NDArray[Any]:
    """Return an array of `shape` that holds `part` in `box` and `fill` elsewhere.

    Parameters
    ----------
    part : any type, shape (..., slices, rows, columns)
    shape : (slices, rows, columns) of the whole
    """
    whole = np.full((*part.shape[:-3], *shape), fill, dtype=part.dtype)
    whole[(..., *box.slices)] = part
    return whole


def box_around(mask: NDArray[np.bool_], grid: Grid, *, margin_mm: float = 0.0) -> Box | None:
    """Return the smallest box around `mask` with a margin, inside the grid; None if it is empty."""
    box = Box.of(mask)
    if box is None:
        return None
    return box.grown([round(margin_mm / step) for step in grid.spacing_mm], grid.shape)


def _check(array: NDArray[Any], source: Grid, order: Order) -> None:
    if order not in ("linear", "nearest"):
        raise ValueError(f"order is {order!r}; linear or nearest")
    if array.shape != source.shape:
        raise ValueError(f"the array has shape {array.shape}, its grid {source.shape}")


def _inverse(grid: Grid) -> NDArray[np.float64]:
    try:
        return np.asarray(np.linalg.inv(grid.affine), np.float64)
    except np.linalg.LinAlgError as error:
        raise ValueError("the affine of a grid has no extent along one of its axes") from error


def _resample_part(array: NDArray[Any], source: Grid, target: Grid, order: Order) -> NDArray[Any]:
    """Resample the part around what is not 0 only: regions are small, volumes are not."""
    _check(array, source, order)  # of an empty one too
    result = np.zeros(target.shape, dtype=array.dtype)
    held = Box.of(array != 0)
    if held is None:
        return result
    # One voxel more on each side: interpolation reaches half-way into it.
    held = held.grown((1, 1, 1), source.shape)
    box = _reached(held, source, target)
    if min(box.shape) > 0:
        result[box.slices] = resample(
            array[held.slices],
            part_of(source, held),
            part_of(target, box),
            order=order,
        )
    return result


def _reached(held: Box, source: Grid, target: Grid) -> Box:
    """Return the voxels of `target` that can lie within `held`, a box of `source`."""
    ends = [(a - 0.5, b - 0.5) for a, b in zip(held.start, held.stop, strict=True)]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
    step = _inverse(target) @ source.affine
    there = step[:3, :3] @ corners + step[:3, 3:]
    limits = np.array(target.shape)
    start = np.clip(np.floor(there.min(axis=1)), 0, limits)
    stop = np.clip(np.ceil(there.max(axis=1)) + 1, start, limits)
    return Box(start=_triple(start), stop=_triple(stop))


def _canonical_axes(affine: NDArray[np.float64]) -> tuple[_Triple, tuple[bool, bool, bool]]:
    """Return which array axis lies along z, y and x, and which of them run backwards."""
    steps = affine[:3, :3]
    cosines = steps / np.linalg.norm(steps, axis=0)  # (world xyz, array axis)
    world = (2, 1, 0)
    axes = max(
        permutations(range(3)),
        key=lambda order: sum(abs(cosines[w, a]) for w, a in zip(world, order, strict=True)),
    )
    backwards = [bool(cosines[w, a] < 0) for w, a in zip(world, axes, strict=True)]
    return _triple(axes), (backwards[0], backwards[1], backwards[2])


def _turn(array: NDArray[Any], axes: _Triple, turned: tuple[bool, bool, bool]) -> NDArray[Any]:
    steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in turned)
    view: NDArray[Any] = array.transpose(axes)[steps]
    return view


def _turned_affine(
    grid: Grid, axes: _Triple, turned: tuple[bool, bool, bool]
) -> NDArray[np.float64]:
    """Return the affine of `grid` after `_turn`."""
    change = np.zeros((4, 4))  # maps new indices to old ones
    change[3, 3] = 1
    for new, (old, backwards) in enumerate(zip(axes, turned, strict=True)):
        change[old, new] = -1 if backwards else 1
        change[old, 3] = grid.shape[old] - 1 if backwards else 0
    moved: NDArray[np.float64] = grid.affine @ change
    return moved


def _triple(values: Any) -> _Triple:
    first, second, third = (int(value) for value in values)
    return (first, second, third)
