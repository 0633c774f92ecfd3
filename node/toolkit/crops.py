"""Square crops around a region in its largest slice, and the way back to the volume. NumPy only.

A crop is a linear map of one plane: `Place` knows it in both directions, so that what a network
makes of a crop (a heat map) can be put where it belongs. Positions in a plane are in pixels,
pixel centres at whole numbers; outside of the plane lies air.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node.plugin import Volume
from node.toolkit.grids import AIR_HU
from node.toolkit.masks import checked_mask

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Rows and columns of the network's input.
Size = tuple[int, int]
_SIZE: Size = (224, 224)
#: A crop reaches at most so many times as far as the plane: farther is another unit.
_WIDEST = 100.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a crop lies in a volume.

    Attributes
    ----------
    shape : (slices, rows, columns)
        Of the volume.
    slice_index : int
        The plane.
    middle : (row, column)
        Of the crop, in pixels of the plane; may lie outside of it.
    extent : (rows, columns)
        Of the crop, in pixels of the plane, any part of one included.
    size : (rows, columns)
        Of the network's input.
    """

    shape: tuple[int, int, int]
    slice_index: int
    middle: tuple[float, float]
    extent: tuple[float, float]
    size: Size

    def cut(self, plane: NDArray[np.generic], *, fill: float = AIR_HU) -> Plane:
        """Return the crop of a plane of the same grid, e.g. another phase or the next slice.

        Parameters
        ----------
        plane : any number type, shape (rows, columns)
            Of the volume's size in the plane.
        fill : float
            Value outside of the plane.

        Returns
        -------
        float32, shape `size`
            Interpolated linearly; where the crop is finer than the plane it is enlarged, where it
            is coarser each pixel is an average, so that nothing is skipped.

        Raises
        ------
        ValueError
            If the plane has another size, or a value that goes into the crop is not finite.
        """
        if plane.shape != self.shape[1:]:
            raise ValueError(f"the plane has shape {plane.shape}, the volume {self.shape[1:]}")
        down, across = (self._weights(axis) for axis in (0, 1))
        # Only what goes into it: 0 times a value far away that is none would be none.
        rows, columns = _held(down), _held(across)
        values = plane[rows, columns].astype(np.float32) - np.float32(fill)  # air adds nothing
        if not np.isfinite(values).all():
            raise ValueError("a value inside the crop is not finite; say what stands for it")
        cropped: Plane = down[:, rows] @ values @ across[:, columns].T + np.float32(fill)
        return cropped

    def cut_mask(self, plane: Mask) -> Mask:
        """Return the crop of a mask: True where at least half of the pixel is."""
        return self.cut(checked_mask(plane, axes=2), fill=0.0) >= 0.5 - 1e-5

    def to_source(self, cropped: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return what was made of the crop, on the volume's grid; 0 outside of the crop.

        Parameters
        ----------
        cropped : any number type, shape (rows, columns)
            Over the whole crop, in any number of pixels: a layer's own map will do.

        Returns
        -------
        float32, shape (slices, rows, columns)
            Interpolated linearly, averaged where it is finer than the plane; fit for `Map.array`.
        """
        if cropped.ndim != 2 or not cropped.size:
            raise ValueError(f"a crop has rows and columns, not the shape {cropped.shape}")
        volume = np.zeros(self.shape, np.float32)
        down, across = (self._back(axis, cropped.shape[axis]) for axis in (0, 1))
        volume[self.slice_index] = down @ cropped.astype(np.float32) @ across.T
        return volume

    def _span(self, axis: int) -> tuple[float, float]:
        """Return where the crop begins, and its length; edges of pixels at halves."""
        return self.middle[axis] - self.extent[axis] / 2.0, self.extent[axis]

    def _weights(self, axis: int) -> Plane:
        """Return (pixels of the crop, pixels of the plane): how much of each goes into which."""
        (start, length), count = self._span(axis), self.size[axis]
        step = length / count
        at = start + (np.arange(count) + 0.5) * step  # centres, in pixels of the plane
        reach = max(step, 1.0)
        # Air beyond the plane takes its part, so weights may add up to less than 1.
        pixels = np.arange(
            min(0, int(np.floor(at[0] - reach))),
            max(self.shape[axis + 1], int(np.ceil(at[-1] + reach)) + 1),
        )
        weights = np.maximum(0.0, 1.0 - np.abs(pixels - at[:, None]) / reach)
        weights /= weights.sum(axis=1, keepdims=True)
        inside = (pixels >= 0) & (pixels < self.shape[axis + 1])
        return weights[:, inside].astype(np.float32)

    def _back(self, axis: int, count: int) -> Plane:
        """Return (pixels of the plane, pixels of what was made of the crop)."""
        start, length = self._span(axis)
        pixels = np.arange(self.shape[axis + 1])
        at = (pixels - start) * count / length - 0.5  # in pixels of the crop
        held = (pixels > start) & (pixels < start + length)
        at = np.clip(at, 0.0, count - 1.0)
        reach = max(count / length, 1.0)
        weights = np.maximum(0.0, 1.0 - np.abs(np.arange(count) - at[:, None]) / reach)
        weights /= weights.sum(axis=1, keepdims=True)
        back: Plane = (weights * held[:, None]).astype(np.float32)
        return back


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """A crop around a region.

    Attributes
    ----------
    image : float32, shape (rows, columns)
        In the volume's unit.
    mask : bool, shape (rows, columns)
        The region in it.
    place : Place
        Where it lies.
    """

    image: Plane
    mask: Mask
    place: Place


def largest_slice(mask: Mask) -> int:
    """Return the slice in which a region has most voxels; of several the first.

    Raises
    ------
    ValueError
        If the region is empty, or no mask of three axes.

    Examples
    --------
    >>> mask = np.zeros((3, 4, 4), bool)
    >>> mask[1, 1:3, 1:3], mask[2, 0, 0] = True, True
    >>> largest_slice(mask)
    1
    """
    areas = np.count_nonzero(checked_mask(mask), axis=(1, 2))
    if not areas.any():
        raise ValueError("the region is empty: there is nothing to crop around")
    return int(areas.argmax())


def fixed_crop(
    volume: Volume,
    mask: Mask,
    *,
    side_mm: float | None = None,
    side_px: float | None = None,
    size: Size = _SIZE,
    slice_index: int | None = None,
    fill: float | None = None,
) -> Crop:
    """Return a square of one size for all: it keeps how large the region is.

    Parameters
    ----------
    volume : Volume
    mask : bool, shape of the volume
        The region; the crop's middle is that of its box in the slice.
    side_mm, side_px : float
        One of them: the side in mm, or in pixels of the plane.
    size : (rows, columns)
        Of the network's input.
    slice_index : int or None
        None: the largest slice of the region.
    fill : float or None
        Value outside of the plane; None: air for HU, else the smallest of the plane.

    Raises
    ------
    ValueError
        If the region is empty (in that slice), no mask, or not on the volume's grid; or side,
        size or slice are none.
    """
    mask = checked_mask(mask)
    if (side_mm is None) == (side_px is None):
        raise ValueError("give the side of the crop in mm or in pixels, not both")
    box = _box(volume, mask, slice_index)
    if side_mm is not None:
        _, row_mm, column_mm = volume.spacing_mm
        extent = (side_mm / row_mm, side_mm / column_mm)
    else:
        assert side_px is not None
        extent = (side_px, side_px)
    return _crop(volume, mask, replace(box, extent=extent, size=size), fill)


def adjustable_crop(
    volume: Volume,
    mask: Mask,
    *,
    factor: float = 1.25,
    least_mm: float = 0.0,
    size: Size = _SIZE,
    slice_index: int | None = None,
    fill: float | None = None,
) -> Crop:
    """Return a square that grows with the region: it keeps shape and texture, not size.

    Parameters
    ----------
    factor : float
        The side, by the longer side of the region's box in mm.
    least_mm : float
        The side is never smaller.

    The other parameters are those of `fixed_crop`, and so is what is refused.
    """
    if math.isnan(factor) or math.isnan(least_mm):
        raise ValueError(f"factor is {factor:g} and least_mm {least_mm:g}; both must be numbers")
    mask = checked_mask(mask)
    box = _box(volume, mask, slice_index)
    _, row_mm, column_mm = volume.spacing_mm
    longest_mm = max(box.extent[0] * row_mm, box.extent[1] * column_mm)
    side_mm = max(factor * longest_mm, least_mm)
    if not side_mm > 0.0:
        raise ValueError(f"a crop of {side_mm:g} mm holds nothing")
    place = replace(box, extent=(side_mm / row_mm, side_mm / column_mm), size=size)
    return _crop(volume, mask, place, fill)


def _box(volume: Volume, mask: Mask, slice_index: int | None) -> Place:
    """Return the box of the region in its plane, as a place."""
    if mask.shape != volume.array.shape:
        raise ValueError(f"the region has shape {mask.shape}, the volume {volume.array.shape}")
    index = largest_slice(mask) if slice_index is None else _whole(slice_index)
    if not 0 <= index < len(mask):
        raise ValueError(f"there is no slice {index}; the volume has 0 to {len(mask) - 1}")
    rows, columns = (np.flatnonzero(mask[index].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise ValueError(f"the region is empty in slice {index}: there is nothing to crop around")
    slices, height, width = mask.shape
    return Place(
        shape=(slices, height, width),
        slice_index=index,
        middle=((rows[0] + rows[-1]) / 2.0, (columns[0] + columns[-1]) / 2.0),
        extent=(float(rows[-1] - rows[0] + 1), float(columns[-1] - columns[0] + 1)),
        size=_SIZE,
    )


def _whole(slice_index: object) -> int:
    try:
        if not isinstance(slice_index, bool):
            return operator.index(slice_index)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise ValueError(f"slice_index is {slice_index!r}; say a whole number")


def _crop(volume: Volume, mask: Mask, place: Place, fill: float | None) -> Crop:
    _check(place)
    plane = np.asarray(volume.array[place.slice_index], np.float32)
    if fill is None:
        fill = AIR_HU if volume.unit == "[hnsf'U]" else _lowest(plane)
    if volume.padding is not None:
        plane = np.where(volume.padding[place.slice_index], np.float32(fill), plane)
    return Crop(
        image=place.cut(plane, fill=fill),
        mask=place.cut_mask(mask[place.slice_index]),
        place=place,
    )


def _check(place: Place) -> None:
    size: object = place.size
    listed = isinstance(size, tuple | list)
    whole = listed and all(
        isinstance(one, int | np.integer) and not isinstance(one, bool) for one in place.size
    )
    if not (whole and len(place.size) == 2):
        raise ValueError(f"size is {size!r}; say (rows, columns) in whole pixels")
    if not min(place.extent) > 0.0 or min(place.size) < 1:
        raise ValueError(f"a crop of {place.extent} pixels into {place.size} holds nothing")
    widest = _WIDEST * max(place.shape[1:])
    if not max(place.extent) <= widest:
        raise ValueError(
            f"a crop of {max(place.extent):g} pixels reaches farther than {widest:g}, "
            f"{_WIDEST:g} times the plane; its side is in mm, or in pixels"
        )


def _lowest(plane: Plane) -> float:
    held = plane[np.isfinite(plane)]
    if not held.size:
        raise ValueError("the plane holds no finite value")
    return float(held.min())


def _held(weights: Plane) -> slice:
    """Return the pixels of the plane that go into a crop; none, where it lies beside the plane."""
    held = np.flatnonzero(weights.any(axis=0))
    return slice(int(held[0]), int(held[-1]) + 1) if held.size else slice(0)
