"""What counts as a region: True and False, or 1 and 0. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def checked_mask(mask: NDArray[Any], *, axes: int | None = 3) -> NDArray[np.bool_]:
    """Return a mask as bool; one that is bool already is returned as it is.

    A label map or a probability is no mask: what 2 or 0.3 mean is not guessed.

    Parameters
    ----------
    mask : bool, or 0 and 1 of any number type
    axes : int or None
        How many it has to have; 3: (slices, rows, columns). None: any number.

    Raises
    ------
    ValueError
        If it holds another value, or has other axes.

    Examples
    --------
    >>> checked_mask(np.array([0, 1, 1], np.uint8), axes=1).tolist()
    [False, True, True]
    >>> checked_mask(np.array([0, 2], np.uint8), axes=1)
    Traceback (most recent call last):
        ...
    ValueError: a region is True and False, or 1 and 0, but this one holds 2
    """
    found = np.asarray(mask)
    if axes is not None and found.ndim != axes:
        wanted = "slices, rows and columns" if axes == 3 else f"{axes} axes"
        raise ValueError(f"a region has {wanted}, not the shape {found.shape}")
    if found.dtype == np.bool_:
        return found
    other = ~((found == 0) | (found == 1))
    if other.any():
        raise ValueError(
            f"a region is True and False, or 1 and 0, but this one holds {found[other][0]:g}"
            if found.dtype.kind in "iuf"
            else f"a region is True and False, or 1 and 0, not {found.dtype}"
        )
    ones: NDArray[np.bool_] = found == 1
    return ones
