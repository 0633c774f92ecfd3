"""Outlines of a mask as closed loops along the edges of pixels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

#: A corner of pixels: (row, column) in whole numbers; pixel (r, c) has corners r..r+1, c..c+1.
Corner = tuple[int, int]


def loops(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outlines of one plane of a mask.

    Loops run along the outer edges of pixels, so that every pixel centre of the mask lies inside
    by half a pixel and every other one outside. Holes are loops of their own, within the others
    (even-odd filling gives the mask back). Parts that touch at a corner only are apart.

    Parameters
    ----------
    mask : bool, shape (rows, columns)

    Returns
    -------
    list of float64, shape (points, 2)
        (row, column) in pixel index units, voxel centres at whole numbers; only corners where
        the loop turns.

    Examples
    --------
    >>> [loop.tolist() for loop in loops(np.array([[False, True]]))]
    [[[-0.5, 0.5], [-0.5, 1.5], [0.5, 1.5], [0.5, 0.5]]]
    """
    following = _edges(np.pad(mask.astype(bool), 1))
    found = []
    while following:
        found.append(_turns(_walk(following, next(iter(following)))) - 1.5)
    return found


def _edges(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Return directed edges between corners, with the mask on their right hand."""
    following: dict[Corner, list[Corner]] = defaultdict(list)

    def add(place: NDArray[np.bool_], start: Corner, end: Corner) -> None:
        for row, column in np.argwhere(place).tolist():
            following[row + start[0], column + start[1]].append((row + end[0], column + end[1]))

    above, below = np.roll(mask, 1, axis=0), np.roll(mask, -1, axis=0)
    left, right = np.roll(mask, 1, axis=1), np.roll(mask, -1, axis=1)
    add(mask & ~above, (0, 0), (0, 1))
    add(mask & ~right, (0, 1), (1, 1))
    add(mask & ~below, (1, 1), (1, 0))
    add(mask & ~left, (1, 0), (0, 0))
    return following


def _walk(following: dict[Corner, list[Corner]], start: Corner) -> NDArray[np.float64]:
    """Follow edges back to the start, and take them away."""
    path = [start]
    here, step = start, (0, 0)
    while True:
        ends = following[here]
        # Where two loops touch, turn right: the parts of the mask stay apart.
        right = (here[0] + step[1], here[1] - step[0])
        end = right if len(ends) > 1 and right in ends else ends[0]
        ends.remove(end)
        if not ends:
            del following[here]
        if end == start:
            return np.array(path, float)
        step = (end[0] - here[0], end[1] - here[1])
        path.append(end)
        here = end


def _turns(path: NDArray[np.float64]) -> NDArray[np.float64]:
    before, after = path - np.roll(path, 1, axis=0), np.roll(path, -1, axis=0) - path
    kept: NDArray[np.float64] = path[(before != after).any(axis=1)]
    return kept
