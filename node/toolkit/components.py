"""Connected regions of a mask, and what is measured of each. NumPy, and SciPy for the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.plugin import Grid, Line, Volume
from node.toolkit.diameters import longest_3d_mm, longest_in_plane
from node.toolkit.grids import Box
from node.toolkit.masks import checked_mask

#: Neighbours of a voxel -> how many of the three indices may differ at once.
_CONNECTIVITY = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """One connected region of a mask.

    Attributes
    ----------
    box : Box
        The smallest box around it.
    inside : bool, shape of `box`
        The region within its box.
    grid : Grid
        Of the whole mask.
    """

    box: Box
    inside: NDArray[np.bool_]
    grid: Grid

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Return the region on the whole grid, shape (slices, rows, columns)."""
        whole = np.zeros(self.grid.shape, dtype=bool)
        whole[self.box.slices] = self.inside
        return whole

    @property
    def voxels(self) -> int:
        """Return how many voxels it has."""
        return int(np.count_nonzero(self.inside))

    @property
    def volume_ml(self) -> float:
        """Return its volume in mL."""
        return self.voxels * self.grid.voxel_volume_mm3 / 1000

    def longest_axial(self) -> tuple[float, Line] | None:
        """Return the longest line in one slice in mm, and where; None if no slice has two voxels.

        Between voxel centres. The slices are those of the grid: axial in an axial series.
        """
        _, row_mm, column_mm = self.grid.spacing_mm
        found = longest_in_plane(self.inside, (row_mm, column_mm))
        if found is None:
            return None
        length, line = found
        slice0, row0, column0 = self.box.start
        return length, Line(
            slice_index=line.slice_index + slice0,
            start=(line.start[0] + row0, line.start[1] + column0),
            end=(line.end[0] + row0, line.end[1] + column0),
        )

    def longest_3d_mm(self) -> float:
        """Return the largest distance between two of its voxel centres in mm; 0 for one voxel."""
        return longest_3d_mm(self.inside, self.grid.affine)

    def mean(self, volume: Volume) -> float:
        """Return the mean of a volume on the same grid, in its unit, without padding.

        Raises
        ------
        ValueError
            If the shape is another one, or every voxel is padding.
        """
        self._check(volume.array.shape)
        counted = self.inside
        if volume.padding is not None:
            counted = counted & ~volume.padding[self.box.slices]
        if not counted.any():
            raise ValueError("every voxel of the region is padding: there is no mean")
        return float(volume.array[self.box.slices][counted].mean(dtype=np.float64))

    def score(
        self, probability: NDArray[np.floating], how: Literal["mean", "max"] = "mean"
    ) -> float:
        """Return the mean or the largest probability of its voxels, from 0 to 1.

        Parameters
        ----------
        probability : float, shape (slices, rows, columns)
            Of one class, on the grid of the mask.
        """
        self._check(probability.shape)
        values = probability[self.box.slices][self.inside]
        return float(values.max() if how == "max" else values.mean(dtype=np.float64))

    def _check(self, shape: tuple[int, ...]) -> None:
        if shape != self.grid.shape:
            raise ValueError(f"the mask has shape {self.grid.shape}, the values {shape}")


def components(
    mask: NDArray[np.generic],
    where: Grid | Volume,
    *,
    min_ml: float = 0.0,
    connectivity: Literal[6, 18, 26] = 26,
) -> tuple[Component, ...]:
    """Return the connected regions of at least `min_ml`, the largest first.

    Of equally large regions the one whose first voxel comes first in the volume leads, so that
    the numbers of the findings never depend on the machine.

    Parameters
    ----------
    mask : bool or 0/1, shape (slices, rows, columns)
    where : the grid of the mask, or a volume on it
    min_ml : float
        Smallest volume kept, in mL.
    connectivity : 6, 18 or 26
        Neighbours of a voxel: across faces, edges too, corners too.

    Raises
    ------
    ValueError
        If mask and grid have different shapes, the mask is none, or the neighbours are.

    Examples
    --------
    >>> mask = np.zeros((3, 4, 5), bool)
    >>> mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 3, 4] = True
    >>> grid = Grid(shape=(3, 4, 5), affine=np.diag([5.0, 10.0, 10.0, 1.0]))
    >>> [(c.voxels, round(c.volume_ml, 6)) for c in components(mask, grid)]
    [(2, 1.0), (1, 0.5)]
    >>> len(components(mask, grid, min_ml=0.6)), len(components(mask, grid, connectivity=6))
    (1, 3)
    """
    from scipy import ndimage

    grid = where if isinstance(where, Grid) else where.grid
    if mask.shape != grid.shape:
        raise ValueError(f"the mask has shape {mask.shape}, its grid {grid.shape}")
    if connectivity not in _CONNECTIVITY:
        raise ValueError(f"connectivity is {connectivity}; of 6, 18 or 26 neighbours")
    boolean = checked_mask(mask)
    around = Box.of(boolean)
    if around is None:
        return ()
    structure = ndimage.generate_binary_structure(3, _CONNECTIVITY[connectivity])
    labels, count = ndimage.label(boolean[around.slices], structure=structure)
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels)
    # Labels are given in the order of first voxels; a stable sort keeps it for equal sizes.
    order = np.argsort(-sizes, kind="stable").tolist()
    fewest = _fewest_voxels(min_ml, grid.voxel_volume_mm3)
    return tuple(
        Component(
            box=Box.from_slices(boxes[index]).moved(around.start),
            inside=labels[boxes[index]] == index + 1,
            grid=grid,
        )
        for index in order
        if sizes[index] >= fewest
    )


def _fewest_voxels(min_ml: float, voxel_volume_mm3: float) -> int:
    """Return how many voxels make `min_ml`; rounding of the affine does not cost one."""
    return math.ceil(min_ml * 1000 / voxel_volume_mm3 * (1 - 1e-9))
