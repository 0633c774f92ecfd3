"""Whether an outline can be of a whole lesion, and how far two of them lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.toolkit.diameters import longest_in_plane
from node.toolkit.grids import Box

Mask = NDArray[np.bool_]


def incomplete(mask: Mask, spacing_mm: tuple[float, float, float]) -> str:
    """Return why an outline cannot be of a whole lesion, or "".

    Parameters
    ----------
    mask : bool, shape (slices, rows, columns)
    spacing_mm : between slices, rows and columns

    Returns
    -------
    str
        What is wrong and what to do: the outline reaches the edge of the image, or lies in one
        slice although the lesion is longer there than two slices are apart.

    Examples
    --------
    >>> mask = np.zeros((5, 40, 40), bool)
    >>> mask[2, 10:30, 10:30] = True
    >>> incomplete(mask, (2.0, 1.0, 1.0))[:33]
    'it is in one slice only and 27 mm'
    """
    box = Box.of(mask)
    if box is None:
        return ""
    for axis, name in enumerate(("slice", "row", "column")):
        if box.start[axis] == 0 or box.stop[axis] == mask.shape[axis]:
            return (
                f"it reaches the first or last {name} of the image, so part of the lesion may be "
                "missing; take images that show all of it"
            )
    longest = longest_in_plane(mask, spacing_mm[1:])
    if box.shape[0] == 1 and longest is not None and longest[0] > 2 * spacing_mm[0]:
        return (
            f"it is in one slice only and {longest[0]:.0f} mm long there; outline the lesion on "
            "every slice that shows it"
        )
    return ""


def gap_mm(
    first: tuple[Mask, NDArray[np.float64]], second: tuple[Mask, NDArray[np.float64]]
) -> float:
    """Return how far the boxes around two regions lie apart in the patient, 0 where they touch.

    Parameters
    ----------
    first, second : (mask, affine)
        Bool of shape (slices, rows, columns), and (slice, row, column, 1) to (x, y, z, 1) in mm,
        LPS+.

    Raises
    ------
    ValueError
        If one is empty.
    """
    (low, high), (other_low, other_high) = _box_mm(*first), _box_mm(*second)
    between = np.maximum(0.0, np.maximum(other_low - high, low - other_high))
    return float(np.linalg.norm(between))


def _box_mm(
    mask: Mask, affine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and greatest corner of the box around a region in mm, shape (3,) each."""
    box = Box.of(mask)
    if box is None:
        raise ValueError("an empty region lies nowhere")
    ends = np.array([box.start, box.stop]) - 0.5
    corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1)
    mm = affine[:3, :3] @ corners + affine[:3, 3:]
    return mm.min(axis=1), mm.max(axis=1)
