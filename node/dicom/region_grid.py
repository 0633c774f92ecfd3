"""Masks between grids by nearest voxel, and outlines filled by pixel centre."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import StackGeometry
from node.dicom.region_values import GridMask
from node.errors import RefusalCode, Refused

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: A voxel centre may lie this far outside the outermost voxel's border, in voxels.
_BORDER = 1e-3
#: Departure from parallel axes over the whole grid that still counts as parallel, in voxels.
_PARALLEL = 0.02
#: Decimal places of an index: below it is noise of Decimal Strings, and ties stay ties.
_DECIMALS = 6


def on_grid(source: GridMask, geometry: StackGeometry, *, inside: float) -> Mask:
    """Return a mask on another grid of the same frame of reference, by nearest voxel.

    Where the grids are equal, or one is a part of the other, that is an exact copy.

    Parameters
    ----------
    source : GridMask
    geometry : StackGeometry
        The grid asked for.
    inside : float
        Least part of the voxels of `source` whose centres must lie inside that grid.

    Returns
    -------
    bool, shape (slices, rows, columns)

    Raises
    ------
    Refused
        ROI_EMPTY or ROI_OUTSIDE_IMAGE.

    References
    ----------
    PS3.3 C.7.6.2.1.1: a voxel reaches half a spacing around its centre.
    """
    source = cropped(source)
    to_source = np.linalg.inv(source.affine) @ np.array(geometry.affine)
    to_target = np.linalg.inv(to_source)
    _check_inside(source.mask, to_target, geometry.shape, inside)
    box = _box(source.mask.shape, to_target, geometry.shape)
    target = np.zeros(geometry.shape, np.bool_)
    here = to_source.copy()
    here[:, 3] = to_source @ [*(part.start for part in box), 1]
    shape = tuple(part.stop - part.start for part in box)
    target[box] = _nearest(source.mask, here, (shape[0], shape[1], shape[2]))
    if not target.any():
        raise Refused(
            RefusalCode.ROI_EMPTY, "the region is so small that no voxel of the image is in it"
        )
    return target


def cropped(source: GridMask) -> GridMask:
    """Return the smallest part of the grid that holds all voxels.

    Raises
    ------
    Refused
        ROI_EMPTY if there are none.
    """
    if not source.mask.any():
        raise Refused(RefusalCode.ROI_EMPTY, "the region holds no voxel")
    used = [np.flatnonzero(source.mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first = [int(along[0]) for along in used]
    part = tuple(slice(int(along[0]), int(along[-1]) + 1) for along in used)
    affine = source.affine.copy()
    affine[:, 3] = source.affine @ [*first, 1]
    return GridMask(mask=source.mask[part], affine=affine)


def _check_inside(mask: Mask, to_target: Array, shape: tuple[int, int, int], inside: float) -> None:
    corners = np.array([*product(*((0, size - 1) for size in mask.shape))], float)
    if _within(corners, to_target, shape).all():
        return
    part = float(_within(np.argwhere(mask).astype(float), to_target, shape).mean())
    if part < inside or part == 0:
        raise Refused(
            RefusalCode.ROI_OUTSIDE_IMAGE,
            f"{1 - part:.1%} of the region lies outside the image (at most {1 - inside:.1%})",
        )


def _within(indices: Array, to_target: Array, shape: tuple[int, int, int]) -> Mask:
    """Return which voxels, shape (n, 3), have their centres inside the target grid."""
    there = indices @ to_target[:3, :3].T + to_target[:3, 3]
    reach = np.array(shape) - 0.5 + _BORDER
    found: Mask = np.all((there >= -0.5 - _BORDER) & (there <= reach), axis=1)
    return found


def _box(
    source_shape: tuple[int, ...], to_target: Array, shape: tuple[int, int, int]
) -> tuple[slice, ...]:
    """Return the part of the target grid that the source's voxels can reach."""
    corners = np.array([*product(*((-0.5, size - 0.5) for size in source_shape))])
    there = corners @ to_target[:3, :3].T + to_target[:3, 3]
    low = np.clip(np.floor(there.min(axis=0)), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(there.max(axis=0)) + 1, low + 1, shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _rounded(index: Array) -> Index:
    return np.floor(np.round(index, _DECIMALS) + 0.5).astype(np.intp)


def _nearest(mask: Mask, to_source: Array, shape: tuple[int, int, int]) -> Mask:
    axes = _parallel_axes(to_source[:3, :3], shape)
    if axes is not None:
        return _nearest_parallel(mask, to_source, shape, axes)
    found = np.zeros(shape, np.bool_)
    rows, columns = np.indices(shape[1:])
    for number in range(shape[0]):
        place = [
            _rounded(line[0] * number + line[1] * rows + line[2] * columns + line[3])
            for line in to_source[:3]
        ]
        known = np.logical_and.reduce(
            [(at >= 0) & (at < size) for at, size in zip(place, mask.shape, strict=True)]
        )
        found[number][known] = mask[place[0][known], place[1][known], place[2][known]]
    return found


def _parallel_axes(turn: Array, shape: tuple[int, int, int]) -> tuple[int, ...] | None:
    """Return for each source axis the target axis along it, None if they are oblique."""
    axes = tuple(int(axis) for axis in np.abs(turn).argmax(axis=1))
    if sorted(axes) != [0, 1, 2]:
        return None
    rest = np.abs(turn) * np.array(shape)
    rest[range(3), axes] = 0
    return axes if rest.sum(axis=1).max() < _PARALLEL else None


def _nearest_parallel(
    mask: Mask, to_source: Array, shape: tuple[int, int, int], axes: tuple[int, ...]
) -> Mask:
    middle = (np.array(shape) - 1) / 2
    found = np.zeros(shape, np.bool_)
    kept: list[Index] = [np.empty(0, np.intp)] * 3
    taken: list[Index] = [np.empty(0, np.intp)] * 3
    for source_axis, target_axis in enumerate(axes):
        line = to_source[source_axis]
        others = line[:3] @ middle - line[target_axis] * middle[target_axis]
        steps = np.arange(shape[target_axis], dtype=float)
        at = _rounded(line[target_axis] * steps + others + line[3])
        known = np.flatnonzero((at >= 0) & (at < mask.shape[source_axis]))
        kept[target_axis], taken[target_axis] = known, at[known]
    turned = mask.transpose([axes.index(target_axis) for target_axis in range(3)])
    found[np.ix_(*kept)] = turned[np.ix_(*taken)]
    return found


def fill(outlines: Sequence[Array], shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centres an odd number of outlines encloses (even-odd rule).

    Holes, whether as an outline of their own or joined by a keyhole slit, stay open. A centre
    that lies on an outline belongs to the side of higher row and column, so that two regions
    with a common border share no pixel and leave none out.

    Parameters
    ----------
    outlines : sequence of float64, shape (points, 2)
        (row, column) in pixel index units, pixel centres at whole numbers; the last point is
        joined to the first.
    shape : (rows, columns)

    Returns
    -------
    bool, shape (rows, columns)

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5], [2.5, 0.5]])
    >>> fill([square], (4, 5)).astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 0, 0, 0]])
    """
    rows, columns = shape
    places = [_crossings(outline, rows, columns)[0] for outline in outlines]
    if not places:
        return np.zeros(shape, np.bool_)
    counts = np.bincount(np.concatenate(places), minlength=rows * (columns + 1))
    toggles = counts.reshape(rows, columns + 1)[:, :columns] % 2
    inside: Mask = np.cumsum(toggles, axis=1) % 2 == 1
    return inside


def windings(outline: Array, shape: tuple[int, int]) -> Index:
    """Return how many times an outline goes around each pixel centre, below 0 the other way.

    Parameters and borders are those of `fill`.

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [0.5, 2.5], [1.5, 2.5], [1.5, 0.5]])
    >>> windings(np.concatenate([square, square])[::-1], (3, 4))
    array([[0, 0, 0, 0],
           [0, 2, 2, 0],
           [0, 0, 0, 0]])
    """
    rows, columns = shape
    places, ways = _crossings(outline, rows, columns)
    counts = np.zeros(rows * (columns + 1), np.intp)
    np.add.at(counts, places, ways)
    return np.cumsum(counts.reshape(rows, columns + 1)[:, :columns], axis=1)


def _crossings(outline: Array, rows: int, columns: int) -> tuple[Index, Index]:
    """Return where edges cross the pixel-centre line of a row, and which way, 1 or -1.

    The place is the first pixel behind, in an array of one column more.
    """
    points = np.round(outline, _DECIMALS)
    starts, ends = points, np.roll(points, -1, axis=0)
    first = np.ceil(np.minimum(starts[:, 0], ends[:, 0])).clip(0, rows).astype(np.intp)
    last = np.ceil(np.maximum(starts[:, 0], ends[:, 0])).clip(0, rows).astype(np.intp)
    counts = last - first
    edge = np.repeat(np.arange(len(points)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    (from_row, from_column), (to_row, to_column) = starts[edge].T, ends[edge].T
    part = (row - from_row) / (to_row - from_row)
    column = np.round(from_column + part * (to_column - from_column), _DECIMALS)
    places = row * (columns + 1) + np.ceil(column).clip(0, columns).astype(np.intp)
    return places, np.where(to_row > from_row, 1, -1)
