"""Outlines of a mask in one image plane, along the edges of its voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: At most so many outlines of one plane, the largest first, and so many corners of one:
#: Graphic Data holds 65,534 bytes, and a report is no archive of masks.
MAX_OUTLINES = 8
MAX_CORNERS = 1000

#: Directed edges of a voxel (row, column) with its inside on the right: from corner, to corner.
_SIDES = (
    ((0, 0), (0, 1), (-1, 0)),  # top, its neighbour is one row up
    ((0, 1), (1, 1), (0, 1)),  # right
    ((1, 1), (1, 0), (1, 0)),  # bottom
    ((1, 0), (0, 0), (0, -1)),  # left
)

Points = NDArray[np.float64]


def outlines(mask: NDArray[np.generic], at_most: int = MAX_OUTLINES) -> list[Points]:
    """Return the outer outlines of a plane's regions, the largest area first.

    Parameters
    ----------
    mask : shape (rows, columns)
    at_most : int
        How many outlines of the plane are wanted.

    Returns
    -------
    list of float64, shape (corners, 2)
        (column, row) from the upper left corner of the upper left voxel, as SCOORD has them
        (PS3.3 C.18.6.1.1), clockwise on the image; the last corner equals the first. Holes and
        all but the `at_most` largest regions are left out; an outline of more than
        `MAX_CORNERS` corners is thinned.

    Examples
    --------
    >>> outlines(np.array([[0, 1, 1], [0, 0, 0]]))[0].astype(int).tolist()
    [[1, 0], [3, 0], [3, 1], [1, 1], [1, 0]]
    """
    inside = np.pad(np.asarray(mask) != 0, 1)
    if not inside.any():
        return []
    starts, ends, width = _edges(inside)
    following = _following(starts, ends, width)
    loops = _loops(following)
    x, y = (starts % width - 1).astype(np.float64), (starts // width - 1).astype(np.float64)
    twice = x * y[following] - x[following] * y
    areas = np.bincount(loops, weights=twice) / 2  # clockwise on the image: positive
    largest = [int(k) for k in np.argsort(-areas, kind="stable")[:at_most] if areas[k] > 0]
    corners = np.column_stack([x, y])
    return [_walk(k, following, corners) for k in largest]


def _edges(inside: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return start and end corners of all voxel edges at the border, as flat indices."""
    width = inside.shape[1] + 1
    starts, ends = [], []
    for (r0, c0), (r1, c1), (down, right) in _SIDES:
        rows, columns = np.nonzero(inside & ~np.roll(inside, (-down, -right), (0, 1)))
        starts.append((rows + r0) * width + columns + c0)
        ends.append((rows + r1) * width + columns + c1)
    return np.concatenate(starts), np.concatenate(ends), width


def _following(starts: NDArray[np.intp], ends: NDArray[np.intp], width: int) -> NDArray[np.intp]:
    """Return for each edge the one that goes on from its end.

    Where two voxels touch at a corner, two edges start there: the one that turns right keeps
    the two regions apart.
    """
    order = np.argsort(starts, kind="stable")
    place = np.searchsorted(starts[order], ends)
    first = order[place]
    beyond = np.minimum(place + 1, len(order) - 1)
    second = order[beyond]
    double = (place + 1 < len(order)) & (starts[second] == ends) & (second != first)
    right_turn = _turn(starts, ends, second, width) > 0
    return np.where(double & right_turn, second, first)


def _turn(
    starts: NDArray[np.intp], ends: NDArray[np.intp], then: NDArray[np.intp], width: int
) -> NDArray[np.intp]:
    """Return the sign of the turn from each edge to the edge `then`; positive is clockwise."""
    along, onward = ends - starts, (ends - starts)[then]

    def parts(step: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        down = np.where(np.abs(step) >= width, np.sign(step), 0)
        return np.where(down == 0, np.sign(step), 0), down

    (x0, y0), (x1, y1) = parts(along), parts(onward)
    return x0 * y1 - x1 * y0


def _loops(following: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the smallest edge of each edge's loop, by doubling the distance looked ahead."""
    smallest = np.arange(len(following))
    ahead = following
    reach = 1
    while reach < len(following):
        smallest = np.minimum(smallest, smallest[ahead])
        ahead = ahead[ahead]
        reach *= 2
    return np.minimum(smallest, smallest[ahead])


def _walk(first: int, following: NDArray[np.intp], corners: Points) -> Points:
    order = [first]
    while (edge := int(following[order[-1]])) != first:
        order.append(edge)
    points = corners[order]
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    bends = np.any((points - before) != (after - points), axis=1)
    kept = points[bends]
    if len(kept) > MAX_CORNERS:
        kept = kept[np.linspace(0, len(kept) - 1, MAX_CORNERS).astype(int)]
    return np.vstack([kept, kept[:1]])
