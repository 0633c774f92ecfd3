"""Display check: every voxel at or above 300 HU, their volume and longest in-plane diameter.

Exact and without a model, so that an overlay in a viewer can be compared with the image itself:
the edge of the overlay is the edge of what the viewer shows white at window level 300, width 1.
"""

import numpy as np

from node.plugin import Line, Measurement, Result, Segment

THRESHOLD_HU = 300


class Plugin:
    def load(self, device):
        """Nothing to load."""

    def run(self, case):
        volume = case.volumes["ct"]
        mask = volume.array >= THRESHOLD_HU  # (slices, rows, columns)
        if volume.padding is not None:
            mask &= ~volume.padding
        count = int(np.count_nonzero(mask))
        if count == 0:
            return Result()
        cubic_cm = count * volume.voxel_volume_mm3 / 1000
        measurements = [Measurement(name="volume", value=cubic_cm, segment="dense")]
        notes = []
        found = longest_diameter(mask, volume.spacing_mm[1:])
        if found is None:
            notes.append("No slice holds two of the voxels, so there is no diameter.")
        else:
            length, line = found
            measurements.append(
                Measurement(name="longest_diameter", value=length, segment="dense", line=line)
            )
        return Result(
            segments=(Segment(name="dense", mask=mask, role="ct"),),
            measurements=tuple(measurements),
            notes=tuple(notes),
        )


def longest_diameter(mask, spacing_mm):
    """Return (mm, Line) of the two voxel centres farthest apart within one slice, or None.

    The farthest pair of a set of points are corners of its convex hull, and the corners are
    among the first and last voxel of each row. Slices are searched from the largest bounding
    box down, until no box can hold a longer line.

    Parameters
    ----------
    mask : bool, shape (slices, rows, columns)
    spacing_mm : (step between rows, step between columns) in mm
    """
    occupied = mask.any(axis=2)  # (slices, rows)
    first = mask.argmax(axis=2)
    last = mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2)
    bounds = _box_diagonals(occupied, first, last, spacing_mm)
    best, line = 0.0, None
    for index in np.argsort(-bounds, kind="stable"):
        if bounds[index] < best or bounds[index] <= 0:
            break
        rows = np.flatnonzero(occupied[index])
        corners = _hull_candidates(rows, first[index, rows], last[index, rows])
        length, start, end = _farthest(corners, spacing_mm)
        candidate = Line(slice_index=int(index), start=start, end=end)
        # Of equal lines the first in the volume, so that the answer never depends on the order.
        if length > best or (line is not None and length == best and _before(candidate, line)):
            best, line = length, candidate
    return None if line is None else (best, line)


def _before(one, other):
    return (one.slice_index, one.start, one.end) < (other.slice_index, other.start, other.end)


def _box_diagonals(occupied, first, last, spacing_mm):
    """Return an upper bound in mm of the diameter in each slice; 0 where there is none."""
    rows = occupied.shape[1]
    height = rows - 1 - occupied[:, ::-1].argmax(axis=1) - occupied.argmax(axis=1)
    left = np.where(occupied, first, first.max() + 1).min(axis=1)
    right = np.where(occupied, last, -1).max(axis=1)
    diagonal = np.hypot(height * spacing_mm[0], (right - left) * spacing_mm[1])
    return np.where(occupied.any(axis=1), diagonal * (1 + 1e-12), 0.0)


def _hull_candidates(rows, first, last):
    """Return the corners of the convex hull, shape (corners, 2), as (row, column) indices.

    Unequal spacing stretches the plane; what is a corner stays one. Whole numbers: exact.
    """
    left = _chain(list(zip(rows.tolist(), first.tolist(), strict=True)), turn=1)
    right = _chain(list(zip(rows.tolist(), last.tolist(), strict=True)), turn=-1)
    return np.array(sorted(set(left + right)), dtype=np.float64)


def _chain(points, turn):
    """Return the corners of one side: the points, sorted by row, that keep turning one way."""
    chain = []
    for row, column in points:
        while len(chain) > 1:
            (row0, column0), (row1, column1) = chain[-2], chain[-1]
            cross = (row1 - row0) * (column - column0) - (column1 - column0) * (row - row0)
            if cross * turn > 0:
                break
            chain.pop()
        chain.append((row, column))
    return chain


def _farthest(points, spacing_mm):
    """Return length in mm, start and end of the longest line between two of the points."""
    steps = points[:, None, :] - points[None, :, :]  # whole numbers: mirrored lines are equal
    squared = ((steps * spacing_mm) ** 2).sum(axis=2)
    start, end = np.unravel_index(squared.argmax(), squared.shape)
    return (
        float(np.sqrt(squared[start, end])),
        tuple(points[start].tolist()),
        tuple(points[end].tolist()),
    )
