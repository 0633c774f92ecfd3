"""One slice of a case, small enough to keep: the image, the reference, what was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.plugin import Volume

#: What is shown around the masks at least, on each side, mm.
_MARGIN_MM = 35.0
#: Soft tissue window of CT (centre, width) in HU; other modalities: these percentiles.
_WINDOW_HU = (40.0, 400.0)
_PERCENTILES = (1.0, 99.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """Part of one slice.

    Attributes
    ----------
    grey : uint8, shape (rows, columns)
        The image through its window.
    truth, prediction : bool, shape (rows, columns)
        On the same part of the same slice.
    pixel_mm : (between rows, between columns)
    slice_index : int
        From 0.
    heat : float32, shape (rows, columns), or None
        What a map of the plugin says there, from 0 to 1.
    """

    grey: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    pixel_mm: tuple[float, float]
    slice_index: int
    heat: NDArray[np.float32] | None = None


def take_picture(
    volume: Volume,
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    heat: NDArray[np.float32] | None = None,
) -> Picture | None:
    """Return the slice with most of the reference, or of the prediction without one.

    None where both masks are empty: there is nothing to be seen.
    """
    shown = truth if truth.any() else prediction
    if not shown.any():
        return None
    index = int(np.argmax(np.count_nonzero(shown, axis=(1, 2))))
    _, row_mm, column_mm = volume.spacing_mm
    plane = truth[index] | prediction[index]
    box = (_span(plane.any(axis=1), row_mm), _span(plane.any(axis=0), column_mm))
    return Picture(
        grey=_windowed(volume.array[index], volume.modality)[box],
        truth=truth[index][box].copy(),
        prediction=prediction[index][box].copy(),
        pixel_mm=(row_mm, column_mm),
        slice_index=index,
        heat=None if heat is None else _scaled(heat[index][box]),
    )


def _scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map with its greatest value at 1."""
    found: NDArray[np.float32] = np.clip(heat / max(float(heat.max()), 1e-6), 0, 1)
    return found


def _span(hit: NDArray[np.bool_], step_mm: float) -> slice:
    """Return the indices that are hit, and the margin around them."""
    at, margin = np.flatnonzero(hit), round(_MARGIN_MM / step_mm)
    return slice(max(0, int(at[0]) - margin), min(hit.size, int(at[-1]) + margin + 1))


def _windowed(plane: NDArray[np.generic], modality: str) -> NDArray[np.uint8]:
    """Return one plane of values as grey."""
    values = plane.astype(np.float32)  # (rows, columns)
    if modality == "CT":
        low, high = _WINDOW_HU[0] - _WINDOW_HU[1] / 2, _WINDOW_HU[0] + _WINDOW_HU[1] / 2
    else:
        low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
    scaled: NDArray[np.float32] = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return scaled.astype(np.uint8)
