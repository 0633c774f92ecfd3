"""Which finding of today is which of an earlier result: by place alone, one to one or not (S10)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[float, float, float]
#: (frame of reference of the earlier place, of today's) → rigid matrix (4, 4) that maps the
#: former's mm to the latter's; None where nothing links them.
Links = Callable[[str, str], Array | None]

#: What lies so near that it could be the same finding makes a match ambiguous, mm.
NEAR_MM = 10.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a finding lies, mm in LPS+ of its frame of reference.

    Attributes
    ----------
    kind : str
        Only findings of one kind can be the same.
    low, high : corners of the box around all its voxels, whole voxels
    """

    kind: str
    frame_of_reference_uid: str
    centroid_mm: Point
    low_mm: Point
    high_mm: Point


def place_of(
    mask: NDArray[np.generic], affine: Array, *, first: int, last: int
) -> tuple[Point, Point, Point]:
    """Return centroid and the two corners of the box of a mask, mm in LPS+.

    Parameters
    ----------
    mask : bool or uint8, shape (slices, rows, columns)
        With a voxel in slices `first` and `last`, and none outside of them.
    affine : shape (4, 4)
        Maps (slice, row, column, 1) to mm.
    """
    part = mask[first : last + 1]
    # Voxels in each slice, row and column: sums, since a mask may hold millions.
    counts = [np.count_nonzero(part, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    ranges, middle = [], []
    for count, start in zip(counts, (first, 0, 0), strict=True):
        used = np.flatnonzero(count)
        ranges.append((start + int(used[0]), start + int(used[-1])))
        middle.append(start + float(np.average(np.arange(count.size), weights=count)))
    corners = np.array(list(itertools.product(*((a - 0.5, b + 0.5) for a, b in ranges))))
    moved = _mapped(affine, corners)
    return (
        _point(_mapped(affine, np.array([middle]))[0]),
        _point(moved.min(axis=0)),
        _point(moved.max(axis=0)),
    )


def match(today: Sequence[Place], earlier: Sequence[Place], links: Links) -> dict[int, int]:
    """Return the pairs of indices that are one finding beyond doubt.

    Two places *could* be one finding if they are of one kind and their boxes come within
    `NEAR_MM` of each other. They are one if neither could be any other, and the centroid of
    each lies in the box of the other. So a finding that split, merged, moved away or grew a
    neighbour has no match.
    """
    could, are = set(), set()
    for a, b in itertools.product(range(len(today)), range(len(earlier))):
        matrix = _link(today[a], earlier[b], links)
        if matrix is not None and _near(today[a], earlier[b], matrix):
            could.add((a, b))
            if _each_in_the_other(today[a], earlier[b], matrix):
                are.add((a, b))
    left, right = Counter(a for a, _ in could), Counter(b for _, b in could)
    return {a: b for a, b in sorted(are) if left[a] == 1 and right[b] == 1}


def _link(today: Place, earlier: Place, links: Links) -> Array | None:
    if today.kind != earlier.kind:
        return None
    return links(earlier.frame_of_reference_uid, today.frame_of_reference_uid)


def _near(today: Place, earlier: Place, matrix: Array) -> bool:
    corners = itertools.product(*zip(earlier.low_mm, earlier.high_mm, strict=True))
    moved = _mapped(matrix, np.array(list(corners)))
    gap_above = moved.min(axis=0) - np.array(today.high_mm)
    gap_below = np.array(today.low_mm) - moved.max(axis=0)
    return bool(np.all(np.maximum(gap_above, gap_below) <= NEAR_MM))


def _each_in_the_other(today: Place, earlier: Place, matrix: Array) -> bool:
    there = _mapped(np.asarray(np.linalg.inv(matrix), np.float64), np.array([today.centroid_mm]))[0]
    here = _mapped(matrix, np.array([earlier.centroid_mm]))[0]
    return _holds(today, here) and _holds(earlier, there)


def _holds(place: Place, point: Array) -> bool:
    return bool(np.all(point >= place.low_mm) and np.all(point <= place.high_mm))


def _mapped(matrix: Array, points: Array) -> Array:
    """Return points (n, 3) mapped by an affine matrix (4, 4)."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _point(values: Array) -> Point:
    x, y, z = (round(float(value), 3) for value in values)
    return (x, y, z)
