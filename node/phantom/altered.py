"""What a case looks like when somebody draws less exactly, or when the lesion is covered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.plugin import Volume

Mask = NDArray[np.bool_]


def shifted(mask: Mask, spacing_mm: Sequence[float], shift_mm: tuple[float, float]) -> Mask:
    """Return a mask moved within its slices, by whole pixels; what leaves the image is lost.

    Parameters
    ----------
    mask : bool, shape (slices, rows, columns)
    spacing_mm : step between slices, rows, columns
    shift_mm : along rows and columns
    """
    steps = [round(by / step) for by, step in zip(shift_mm, spacing_mm[1:], strict=True)]
    return _moved(mask, steps[0], steps[1])


def grown(mask: Mask, spacing_mm: Sequence[float], by_mm: float) -> Mask:
    """Return a mask whose outlines lie further out in each slice; further in where negative.

    Parameters
    ----------
    mask : bool, shape (slices, rows, columns)
    spacing_mm : step between slices, rows, columns
    by_mm : voxels whose centres lie within this of the mask (of the outside) change sides

    Examples
    --------
    >>> mask = np.zeros((1, 9, 9), bool)
    >>> mask[0, 4, 4] = True
    >>> int(grown(mask, (3.0, 1.0, 1.0), 1.0).sum()), int(grown(mask, (3.0, 1.0, 1.0), -1.0).sum())
    (5, 0)
    """
    source = mask if by_mm >= 0 else ~mask
    changed = source.copy()
    reach = [int(abs(by_mm) / step) for step in spacing_mm[1:]]
    for rows in range(-reach[0], reach[0] + 1):
        for columns in range(-reach[1], reach[1] + 1):
            if np.hypot(rows * spacing_mm[1], columns * spacing_mm[2]) <= abs(by_mm) + 1e-6:
                changed |= _moved(source, rows, columns)
    return changed if by_mm >= 0 else ~changed


def reread(
    volume: Volume,
    mask: Mask,
    chance: np.random.Generator,
    *,
    moved_mm: float,
    grown_mm: float,
    noise: float,
) -> tuple[Volume, Mask]:
    """Return image and outline as a noisier scanner and another hand would have made them.

    What is measured of both readings tells which features hang on neither (the ICC of a
    signature), where nobody read cases twice.

    Parameters
    ----------
    volume : Volume
    mask : bool, shape (slices, rows, columns)
    chance : draws how much of each
    moved_mm : the outline is moved by it within the slices, in any direction
    grown_mm : at most by so much the outline lies further out or in
    noise : greatest standard deviation of white noise, in the volume's unit
    """
    turn, by_mm = chance.uniform(0, 2 * np.pi), chance.uniform(-grown_mm, grown_mm)
    away_mm = (moved_mm * float(np.sin(turn)), moved_mm * float(np.cos(turn)))
    drawn = grown(shifted(mask, volume.spacing_mm, away_mm), volume.spacing_mm, by_mm)
    added = chance.normal(0, chance.uniform(0, noise), volume.array.shape)
    array = (np.asarray(volume.array, np.float64) + added).astype(np.float32)
    enough = np.count_nonzero(drawn) >= 0.5 * np.count_nonzero(mask)
    return replace(volume, array=array), drawn if enough else mask


def covered(
    image: NDArray[Any], spacing_mm: Sequence[float], mask: Mask, *, diameter_mm: float, value: int
) -> NDArray[Any]:
    """Return an image with a disc of one size and value over a region, in all slices.

    Parameters
    ----------
    image : shape (slices, rows, columns)
    spacing_mm : step between slices, rows, columns
    mask : bool, like `image`; the disc lies about the middle of its box
    diameter_mm, value : of the disc, whatever the region measures
    """
    changed = image.copy()
    changed[:, _disc(mask, spacing_mm, diameter_mm)] = value
    return changed


def ball_at(mask: Mask, spacing_mm: Sequence[float], diameter_mm: float) -> Mask:
    """Return a ball of one size in place of a region, about the middle of its box.

    It leaves out the first and the last slice of the image: an outline that reaches them, or lies
    in one slice alone, is refused as part of a lesion.
    """
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    middle, changed = (slices[0] + slices[-1]) // 2, np.zeros_like(mask)
    for index in range(1, len(mask) - 1):
        across = diameter_mm**2 - (2 * (index - middle) * spacing_mm[0]) ** 2
        if across >= 0:
            changed[index] = _disc(mask, spacing_mm, math.sqrt(across))
    return changed


def _disc(mask: Mask, spacing_mm: Sequence[float], diameter_mm: float) -> Mask:
    """Return the disc about the middle of the box of a region; shape (rows, columns)."""
    _, rows, columns = np.nonzero(mask)
    middle = [(part.min() + part.max()) / 2 for part in (rows, columns)]
    y = (np.arange(mask.shape[1]) - middle[0]) * spacing_mm[1]
    x = (np.arange(mask.shape[2]) - middle[1]) * spacing_mm[2]
    disc: Mask = np.hypot.outer(y, x) <= diameter_mm / 2
    return disc


def _moved(mask: Mask, rows: int, columns: int) -> Mask:
    """Return a mask moved by whole pixels; nothing comes in from outside."""
    moved = np.zeros_like(mask)
    to_rows, from_rows = _overlap(rows, mask.shape[1])
    to_columns, from_columns = _overlap(columns, mask.shape[2])
    moved[:, to_rows, to_columns] = mask[:, from_rows, from_columns]
    return moved


def _overlap(by: int, size: int) -> tuple[slice, slice]:
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size - max(by, 0))
