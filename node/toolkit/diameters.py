"""Longest straight lines inside a mask, exact, between voxel centres. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.plugin import Line
from node.toolkit.masks import checked_mask

_Index2 = tuple[int, int]
#: Pairs whose distances are held at a time.
_PAIRS = 1 << 20


def longest_in_plane(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[float, Line] | None:
    """Return the two voxel centres of `mask` farthest apart within one slice, or None.

    Of several equally long lines it is the one that comes first in the volume. The farthest
    points of a set are corners of its convex hull, and only the first and the last voxel of a
    row can be corners. Slices are searched from the longest possible line down.

    Parameters
    ----------
    mask : bool, shape (slices, rows, columns)
    spacing_mm : (step between rows, step between columns) in mm

    Returns
    -------
    (length in mm, Line), or None if no slice holds two voxels

    Examples
    --------
    >>> mask = np.zeros((2, 5, 5), bool)
    >>> mask[1, 0, 0] = mask[1, 4, 3] = mask[0, 0, :2] = True
    >>> longest_in_plane(mask, (2.0, 5.0))
    (17.0, Line(slice_index=1, start=(0.0, 0.0), end=(4.0, 3.0)))
    """
    first, last = _row_ends(checked_mask(mask))
    bounds = _longest_possible(first, last, spacing_mm)
    best: tuple[float, Line] | None = None
    for index in np.argsort(-bounds, kind="stable").tolist():
        if bounds[index] <= 0 or (best is not None and bounds[index] < best[0]):
            break
        line = _longest_of_slice(index, first[index], last[index], spacing_mm)
        if best is None or (-line[0], _place(line[1])) < (-best[0], _place(best[1])):
            best = line
    return best


def longest_3d_mm(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> float:
    """Return the largest distance between two voxel centres of `mask` in mm; 0 for one voxel.

    Exact: a corner of the convex hull is a corner within its slice, its row plane and its column
    plane, so that only voxels which are all three are compared. Any affine, oblique too.

    Parameters
    ----------
    mask : bool, shape (slices, rows, columns)
    affine : float64, shape (4, 4)
        Maps (slice, row, column, 1) to mm.

    Examples
    --------
    >>> mask = np.zeros((2, 4, 5), bool)
    >>> mask[0, 0, 0] = mask[1, 3, 4] = True
    >>> longest_3d_mm(mask, np.diag([12.0, 1.0, 1.0, 1.0]))
    13.0
    """
    corners = _hull_candidates(checked_mask(mask))  # (corners, 3)
    steps_mm = np.asarray(affine, np.float64)[:3, :3]
    farthest = 0.0
    rows = max(1, _PAIRS // max(1, len(corners)))
    for start in range(0, len(corners), rows):
        # Whole numbers are subtracted, so that a line and its mirror have the same length.
        steps = corners[start : start + rows, None, :] - corners[None, start:, :]
        farthest = max(farthest, float(((steps @ steps_mm.T) ** 2).sum(axis=2).max()))
    return float(np.sqrt(farthest))


def _row_ends(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return first and last column of `mask` by (slice, row); -1 where there is none."""
    occupied = mask.any(axis=2)
    first = np.where(occupied, mask.argmax(axis=2), -1)
    last = np.where(occupied, mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2), -1)
    return first, last


def _longest_possible(
    first: NDArray[np.intp], last: NDArray[np.intp], spacing_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the diagonal in mm of the bounding rectangle of each slice; 0 where it is empty."""
    occupied = first >= 0
    rows = occupied.shape[1]
    height = rows - 1 - occupied[:, ::-1].argmax(axis=1) - occupied.argmax(axis=1)
    left = np.where(occupied, first, np.iinfo(np.intp).max).min(axis=1)
    width = last.max(axis=1) - left
    diagonal = np.hypot(height * spacing_mm[0], width * spacing_mm[1])
    # The margin keeps rounding from hiding a slice whose line is as long as its diagonal.
    return np.where(occupied.any(axis=1), diagonal * (1 + 1e-12), 0.0)


def _longest_of_slice(
    index: int,
    first: NDArray[np.intp],
    last: NDArray[np.intp],
    spacing_mm: tuple[float, float],
) -> tuple[float, Line]:
    """Return the longest line of one slice, with its length in mm."""
    rows = np.flatnonzero(first >= 0).tolist()
    left = list(zip(rows, first[rows].tolist(), strict=True))
    right = list(zip(rows, last[rows].tolist(), strict=True))
    corners = np.array(_hull(left, right), dtype=np.float64)
    steps = corners[:, None, :] - corners[None, :, :]
    squared = ((steps * spacing_mm) ** 2).sum(axis=2)
    start, end = np.unravel_index(squared.argmax(), squared.shape)
    line = Line(slice_index=index, start=_point(corners[start]), end=_point(corners[end]))
    return float(np.sqrt(squared[start, end])), line


def _point(corner: NDArray[np.float64]) -> tuple[float, float]:
    return float(corner[0]), float(corner[1])


def _place(line: Line) -> tuple[int, tuple[float, float], tuple[float, float]]:
    return line.slice_index, line.start, line.end


def _hull_candidates(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the voxels that are corners within their slice, row plane and column plane."""
    first, last = _row_ends(mask)
    points: list[tuple[int, ...]] = [
        (index, row, column)
        for ends in (first, last)
        for index, row in np.argwhere(ends >= 0).tolist()
        for column in (int(ends[index, row]),)
    ]
    for plane in (0, 1, 2):
        points = _corners_within(points, plane)
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _corners_within(points: Sequence[tuple[int, ...]], plane: int) -> list[tuple[int, ...]]:
    """Return the points that are corners among those with the same index along `plane`."""
    along, across = (axis for axis in range(3) if axis != plane)
    planes: dict[int, list[tuple[int, ...]]] = {}
    for point in sorted(set(points), key=lambda p: (p[plane], p[along], p[across])):
        planes.setdefault(point[plane], []).append(point)
    kept = []
    for here, members in planes.items():
        first = {p[along]: p[across] for p in reversed(members)}
        last = {p[along]: p[across] for p in members}
        for a, b in _hull(sorted(first.items()), sorted(last.items())):
            kept.append({plane: here, along: a, across: b})
    return [(point[0], point[1], point[2]) for point in kept]


def _hull(left: Sequence[_Index2], right: Sequence[_Index2]) -> list[_Index2]:
    """Return the corners of the convex hull, sorted, of points given by their ends in each row.

    Whole numbers: exact. Unequal spacing stretches the plane; what is a corner stays one.
    """
    return sorted({*_chain(left, 1), *_chain(right, -1)})


def _chain(points: Sequence[_Index2], turn: int) -> list[_Index2]:
    """Return those of the points, sorted by row, at which one side of the hull keeps turning."""
    chain: list[_Index2] = []
    for row, column in points:
        while len(chain) > 1:
            (row0, column0), (row1, column1) = chain[-2], chain[-1]
            cross = (row1 - row0) * (column - column0) - (column1 - column0) * (row - row0)
            if cross * turn > 0:
                break
            chain.pop()
        chain.append((row, column))
    return chain
