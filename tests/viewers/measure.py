"""Where an image lies on the screen, and how far an overlay's edge is from where it belongs.

The place of the image is found from what is displayed: the slice, windowed and resampled by us,
is fitted to the grey picture. A viewer's own word is the first guess only, so an image drawn in
the wrong place, or mirrored, is found as well. Screen pixels are squares whose corners are whole
numbers; voxel centres are whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

#: A pixel belongs to the overlay if a channel changed by this much (of 255). A light tint on
#: tissue as grey as itself changes little: dwv's red on a mass of 100 HU by 28.
CHANGED = 12
#: At its rim a viewer writes names and buttons over the image: the fit leaves it out.
RIM = 90


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Screen = left + scale_x * (column + 0.5), top + scale_y * (row + 0.5); see `fit`.

    Attributes
    ----------
    scale_x, scale_y : screen pixels per voxel; negative if mirrored
    left, top : where the image's first corner lies, screen pixels
    likeness : correlation of the picture with the image placed so, 1 is the same
    """

    scale_x: float
    scale_y: float
    left: float
    top: float
    likeness: float = float("nan")

    def columns(self, count: int) -> NDArray[np.float64]:
        """Return the image column under each of `count` screen columns."""
        return (np.arange(count) + 0.5 - self.left) / self.scale_x - 0.5

    def rows(self, count: int) -> NDArray[np.float64]:
        return (np.arange(count) + 0.5 - self.top) / self.scale_y - 0.5


def windowed(values: NDArray[np.floating], window: tuple[float, float]) -> NDArray[np.float64]:
    """Return values as a viewer greys them, 0 … 1."""
    centre, width = window
    return np.clip((np.asarray(values, float) - (centre - width / 2)) / width, 0, 1)


def fit(
    values: NDArray[np.floating],
    window: tuple[float, float],
    picture: NDArray[np.uint8],
    guess: Placement,
    *,
    nearest: bool = False,
) -> Placement:
    """Fit a slice (rows, columns) to a grey picture (height, width), from coarse to fine.

    Viewers interpolate values and make them grey after that; so it is done here. The guess may
    be two voxels and a twentieth of the scale off. `nearest`: see `likeness`.
    """
    shown = picture.astype(float) / 255

    def coarsely(place: Placement, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return _resampled(soft, place, shape, 4)

    def finely(place: Placement, shape: tuple[int, ...]) -> NDArray[np.float64]:
        seen = _resampled(values, place, shape, 2, outside=-2000, nearest=nearest)
        # Edges of rectangles are made soft, or a small move would change nothing.
        return np.asarray(ndimage.gaussian_filter(windowed(seen, window), float(nearest)))

    # Blurred first, so that a guess some pixels off still finds its way.
    blur = 6.0
    sigma = (blur / abs(guess.scale_y), blur / abs(guess.scale_x))
    soft = ndimage.gaussian_filter(windowed(values, window), sigma)
    coarse = _refined(coarsely, ndimage.gaussian_filter(shown, blur)[::4, ::4], guess, 4)
    fine = _refined(finely, ndimage.gaussian_filter(shown[::2, ::2], float(nearest)), coarse, 2)
    return replace(fine, likeness=likeness(values, window, picture, fine, nearest=nearest))


def _refined(
    seen: Callable[[Placement, tuple[int, ...]], NDArray[np.float64]],
    shown: NDArray[np.float64],
    start: Placement,
    step: int,
) -> Placement:
    """Return the placement near `start` in which `seen` is most like `shown`."""
    middle = (shown.shape[1] * step / 2, shown.shape[0] * step / 2)
    reach = 2.0 * max(abs(start.scale_x), abs(start.scale_y))
    inner = (slice(RIM // step, -RIM // step),) * 2
    unit = np.array([1.0, 1.0, 2e-3, 2e-3])
    limit = np.array([reach, reach, 0.05, 0.05]) / unit

    def placed(p: NDArray[np.float64]) -> Placement:
        """p: shift of the picture's middle, changes of both scales; each 1 where it begins."""
        x, y, grow_x, grow_y = (p - 1) * unit
        return Placement(
            scale_x=start.scale_x * np.exp(grow_x),
            scale_y=start.scale_y * np.exp(grow_y),
            left=middle[0] - (middle[0] - start.left) * np.exp(grow_x) + x,
            top=middle[1] - (middle[1] - start.top) * np.exp(grow_y) + y,
        )

    found = optimize.least_squares(
        lambda p: np.asarray((seen(placed(p), shown.shape) - shown)[inner].ravel()[::3]),
        np.ones(4),
        diff_step=0.05,
        # Letters that the viewer writes over the image must not pull, wherever they are.
        loss="soft_l1",
        f_scale=0.1,
        max_nfev=40,
        bounds=(1 - limit, 1 + limit),
    )
    return placed(found.x)


def likeness(
    values: NDArray[np.floating],
    window: tuple[float, float],
    picture: NDArray[np.uint8],
    place: Placement,
    *,
    nearest: bool = False,
) -> float:
    """Return the correlation of a grey picture with a slice placed so; 1 is the same.

    `nearest`: the viewer draws each voxel as a rectangle, and does not interpolate.
    """
    resampled = _resampled(values, place, picture.shape, outside=-2000, nearest=nearest)
    seen = windowed(resampled, window)
    inner = (slice(RIM, -RIM),) * 2
    return float(np.corrcoef(seen[inner].ravel(), picture[inner].ravel())[0, 1])


def _resampled(
    image: NDArray[np.floating],
    place: Placement,
    shape: tuple[int, ...],
    step: int = 1,
    *,
    outside: float = 0.0,
    nearest: bool = False,
) -> NDArray[np.float64]:
    """Return the image as it lies on the screen, every `step`-th pixel, bilinear."""
    rows = place.rows(shape[0] * step)[::step]
    columns = place.columns(shape[1] * step)[::step]
    if nearest:
        rows, columns = np.rint(rows), np.rint(columns)
    # Linear along one axis, then along the other: the same as bilinear, and quick.
    return _along(_along(image, rows, 0, outside), columns, 1, outside)


def _along(
    image: NDArray[np.floating], where: NDArray[np.float64], axis: int, outside: float
) -> NDArray[np.float64]:
    count = image.shape[axis]
    inside = (where > -0.5) & (where < count - 0.5)
    held = np.clip(where, 0, count - 1)
    low = np.minimum(held.astype(int), count - 2)
    part = held - low
    shape = [1, 1]
    shape[axis] = -1
    part, inside = part.reshape(shape), inside.reshape(shape)
    first, second = image.take(low, axis), image.take(low + 1, axis)
    return np.where(inside, first * (1 - part) + second * part, outside)


def projected(
    mask: NDArray[np.bool_], place: Placement, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the screen pixels whose centre lies in a voxel of the mask (rows, columns)."""
    rows, columns = np.rint(place.rows(shape[0])), np.rint(place.columns(shape[1]))
    good_rows = (rows >= 0) & (rows < mask.shape[0])
    good_columns = (columns >= 0) & (columns < mask.shape[1])
    on_screen = np.zeros(shape, bool)
    chosen = mask[np.ix_(rows[good_rows].astype(int), columns[good_columns].astype(int))]
    on_screen[np.ix_(good_rows, good_columns)] = chosen
    return on_screen


def changed(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels in which two pictures (height, width, 3) differ."""
    difference = np.abs(one.astype(int) - other.astype(int)).max(axis=2)
    return np.asarray(difference >= CHANGED)


def boundary_distance(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the mean distance in pixels of two regions' boundaries, both ways.

    0 if neither has a pixel, infinite if only one has. The picture's own edge is no boundary.
    """
    if not one.any() and not other.any():
        return 0.0
    if not one.any() or not other.any():
        return float("inf")
    first, second = _boundary(one), _boundary(other)
    if not first.any() or not second.any():
        return 0.0 if np.array_equal(one, other) else float("inf")
    there = ndimage.distance_transform_edt(~second)[first]
    back = ndimage.distance_transform_edt(~first)[second]
    return float(np.concatenate([there, back]).mean())


def _boundary(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(region & ~ndimage.binary_erosion(region, border_value=1))
