"""Where voxels lie: grids in the scanner, poses of the patient, and boxes of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.plugin import Grid

#: Numbers over a box of voxels, shape (slices, rows, columns) or one that broadcasts to it.
Field = NDArray[np.floating[Any]]
#: A point or lengths along x, y, z in mm, LPS+.
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]


def axial_grid(
    shape: tuple[int, int, int], spacing_mm: Sequence[float], centre_mm: Point = (0.0, 0.0, 0.0)
) -> Grid:
    """Return an axial grid: slices to the head, rows to the back, columns to the left.

    Parameters
    ----------
    shape : (slices, rows, columns)
    spacing_mm : step between slices, rows, columns
    centre_mm : where the middle of the grid lies

    Examples
    --------
    >>> grid = axial_grid((3, 5, 5), (2.0, 1.0, 1.0))
    >>> (grid.affine @ [0, 0, 0, 1])[:3].tolist()
    [-2.0, -2.0, -2.0]
    """
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
    affine[3, 3] = 1.0
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = np.round(np.array(centre_mm) - middle, 6)
    return Grid(shape=shape, affine=affine)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the patient lies in the scanner: scanner = rotation(turn) · body + shift.

    Attributes
    ----------
    turn_deg : rotations about x (nod), y (lean) and z (roll), applied in this order
    shift_mm : where the body's origin lies in the scanner
    """

    turn_deg: Point = (0.0, 0.0, 0.0)
    shift_mm: Point = (0.0, 0.0, 0.0)

    def matrix(self) -> NDArray[np.float64]:
        """Return the (4, 4) matrix from body to scanner coordinates."""
        matrix = np.eye(4)
        matrix[:3, :3] = turned(self.turn_deg)
        matrix[:3, 3] = self.shift_mm
        return matrix

    def place(self, point: Point) -> Point:
        """Return where a point of the body lies in the scanner, in mm."""
        x, y, z, _ = self.matrix() @ (*point, 1.0)
        return (float(x), float(y), float(z))


UPRIGHT = Pose()


def turned(degrees: Sequence[float]) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        if angle == 0.0:  # keeps exact zeros: coordinates then need no full array
            continue
        cosine, sine = np.cos(angle), np.sin(angle)
        step = np.eye(3)
        first, second = ((1, 2), (2, 0), (0, 1))[axis]
        step[first, first] = step[second, second] = cosine
        step[first, second], step[second, first] = -sine, sine
        matrix = step @ matrix
    return matrix


class Lattice:
    """The voxels of a box of a grid, and where their centres lie in the body.

    `x`, `y`, `z` are float32 mm that broadcast to `shape`: no larger than the pose makes
    necessary. `height` is z in the middle of each slice, shape (slices, 1, 1): profiles along
    the body use it, for they change so slowly that a tilt of a few degrees does not matter.
    """

    def __init__(
        self, shape: tuple[int, int, int], matrix: NDArray[np.float64], height: Field | None = None
    ):
        self.shape = shape
        self._matrix = matrix
        inverse = np.linalg.inv(matrix)
        self._to_index, self._index_origin = inverse[:3, :3], inverse[:3, 3]
        self._reach = np.abs(self._to_index)
        self.x, self.y, self.z = (_coordinate(matrix[axis], shape) for axis in range(3))
        if height is None:
            row = matrix[2]
            middle = row[1] * (shape[1] - 1) / 2 + row[2] * (shape[2] - 1) / 2 + row[3]
            height = (row[0] * np.arange(shape[0]) + middle).astype(np.float32).reshape(-1, 1, 1)
        self.height: Field = height
        steps = np.linalg.norm(matrix[:3, :3], axis=0)
        #: Farther than this from a surface no voxel is cut by it.
        self.reach_mm = float(1.5 * steps.max())
        self.step_mm = float(steps.min())

    @classmethod
    def of(cls, grid: Grid, pose: Pose = UPRIGHT) -> Lattice:
        """Return the whole of a grid, seen from a body that lies in this pose."""
        return cls(grid.shape, np.linalg.inv(pose.matrix()) @ grid.affine)

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box | None:
        """Return the voxels that a box in mm touches, with a margin; None where there are none."""
        lower, upper = np.asarray(low, float), np.asarray(high, float)
        middle = self._to_index @ ((lower + upper) / 2) + self._index_origin
        half = self._reach @ ((upper - lower) / 2 + self.reach_mm)
        first = np.maximum(np.ceil(middle - half), 0).astype(int)
        last = np.minimum(np.floor(middle + half) + 1, self.shape).astype(int)
        if (first >= last).any():
            return None
        return (
            slice(int(first[0]), int(last[0])),
            slice(int(first[1]), int(last[1])),
            slice(int(first[2]), int(last[2])),
        )

    def crop(self, box: Box) -> Lattice:
        """Return the lattice of those voxels."""
        part = object.__new__(Lattice)
        start = np.array([s.start for s in box])
        part.shape = (
            box[0].stop - box[0].start,
            box[1].stop - box[1].start,
            box[2].stop - box[2].start,
        )
        part._matrix = self._matrix
        part._to_index, part._reach = self._to_index, self._reach
        part._index_origin = self._index_origin - start
        part.x, part.y, part.z = (_cut(c, box) for c in (self.x, self.y, self.z))
        part.height = _cut(self.height, box)
        part.reach_mm, part.step_mm = self.reach_mm, self.step_mm
        return part


def _coordinate(row: NDArray[np.float64], shape: tuple[int, int, int]) -> Field:
    """Return one coordinate of every voxel, along the axes on which it changes only."""
    total: Field = np.full((1, 1, 1), row[3], np.float32)
    for axis, count in enumerate(shape):
        if row[axis] != 0.0:
            line = (row[axis] * np.arange(count)).astype(np.float32)
            total = total + line.reshape([-1 if a == axis else 1 for a in range(3)])
    return total


def _cut(values: Field, box: Box) -> Field:
    keep = tuple(
        part if size > 1 else slice(None) for part, size in zip(box, values.shape, strict=True)
    )
    return values[keep]
