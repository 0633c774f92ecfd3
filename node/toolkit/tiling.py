"""Where windows lie in an image and how much each of their voxels counts, as MONAI does it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Index = tuple[slice, slice, slice]
_Triple = tuple[int, int, int]

#: Width of the Gaussian as a part of the window; MONAI's default.
SIGMA = 0.125
#: Smallest weight of a voxel; MONAI's.
_SMALLEST_WEIGHT = 1e-3


def padding(shape: Sequence[int], size: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return how many voxels (before, after) each axis lacks of one window.

    Examples
    --------
    >>> padding((10, 64, 33), (16, 32, 32))
    ((3, 3), (0, 0), (0, 0))
    """
    lacking = [max(window - n, 0) for n, window in zip(shape, size, strict=True)]
    return tuple((n // 2, n - n // 2) for n in lacking)


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along one axis; the last one ends with the image.

    Examples
    --------
    >>> starts(200, 96, 0.5), starts(96, 96, 0.5), starts(10, 4, 0.25)
    ([0, 48, 96, 104], [0], [0, 3, 6])
    """
    step = max(int(window * (1 - overlap)), 1)
    begins = list(range(0, max(length - window, 0), step))
    return [*begins, length - window]


def windows(shape: Sequence[int], size: Sequence[int], overlap: float) -> list[Index]:
    """Return the windows that cover an image of at least one window, in the order of its voxels.

    Parameters
    ----------
    shape, size : (slices, rows, columns) of the image and of a window
    overlap : part of a window that the next one covers too, from 0 to below 1
    """
    along = [starts(n, window, overlap) for n, window in zip(shape, size, strict=True)]
    return [
        (slice(a, a + size[0]), slice(b, b + size[1]), slice(c, c + size[2]))
        for a, b, c in product(*along)
    ]


def occupied(image: NDArray[np.float32], indices: Sequence[Index], air: float) -> list[Index]:
    """Return the windows that hold a value above `air` in any channel.

    Parameters
    ----------
    image : float32, shape (channels, slices, rows, columns)
    """
    # Reduced axis by axis: windows share their slices, and those their rows.
    left: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    left[()] = np.asarray((image > air).any(axis=0))

    def within(index: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Return whether there is anything in `index`, by the axes that it does not cut."""
        key = tuple(part.start for part in index)
        if key not in left:
            left[key] = np.asarray(within(index[:-1])[index[-1]].any(axis=0))
        return left[key]

    return [index for index in indices if within(index)]


def gaussian(size: _Triple) -> NDArray[np.float32]:
    """Return the weight of each voxel of a window: a Gaussian about its middle, never 0."""
    weights = np.ones((), dtype=np.float32)
    for length in size:
        distance = np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2)
        along = np.exp(distance**2 / np.float32(-2 * (SIGMA * length) ** 2))
        weights = weights[..., None] * along
    smallest = max(float(weights.min()), _SMALLEST_WEIGHT)
    return np.maximum(weights, np.float32(smallest))
