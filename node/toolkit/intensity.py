"""Values of an image made ready for a network. NumPy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def hu_window(values: NDArray[np.generic], low_hu: float, high_hu: float) -> NDArray[np.float32]:
    """Clip to a window and scale it to [0, 1]; padding and air become exactly 0.

    Parameters
    ----------
    values : any number type, any shape
        HU.
    low_hu, high_hu : HU that become 0 and 1

    Returns
    -------
    float32, same shape

    Raises
    ------
    ValueError
        If the window has no width, or no end.

    Examples
    --------
    >>> hu_window(np.array([-2000, -160, 40, 240, 3000], np.int16), -160, 240).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if not low_hu < high_hu:
        raise ValueError(f"a window from {low_hu:g} to {high_hu:g} HU has no width")
    if not math.isfinite(high_hu - low_hu):
        raise ValueError(f"a window from {low_hu:g} to {high_hu:g} HU has no end; give two numbers")
    scaled: NDArray[np.float32] = np.clip(values, low_hu, high_hu, dtype=np.float32)
    scaled -= np.float32(low_hu)
    scaled /= np.float32(high_hu - low_hu)
    return scaled
