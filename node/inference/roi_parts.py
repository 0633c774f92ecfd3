"""Whether a region is one lesion: connected parts of a mask, counted without crumbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.errors import RefusalCode, Refused
from node.manifest import RoiRole
from node.plugin import Roi

#: Slices between two voxels that still belong together: contours are often drawn on every other.
_GAP_SLICES = 2
#: Smaller parts are crumbs of a drawing tool: voxels, and percent of the largest part's.
_LEAST_VOXELS = 8
_LEAST_PERCENT = 5
#: Parts that a sentence describes.
_NAMED = 3

Numbers = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One connected part of a mask."""

    voxels: int
    #: Slices from 0.
    first: int
    last: int
    #: (slice, row, column) of its centre of mass.
    centre: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Voxels of a mask that follow each other in a row; arrays of one length, in order."""

    slice_index: Numbers
    row: Numbers
    #: First and last column.
    first: Numbers
    last: Numbers


def check_one_piece(role: RoiRole, roi: Roi, spacing_mm: Sequence[float]) -> None:
    """Refuse a region that holds several lesions, where its role asks for one piece (S21).

    Parameters
    ----------
    role : RoiRole
    roi : Roi
        On the grid of the role's input.
    spacing_mm : (slices, rows, columns)

    Raises
    ------
    Refused
        ROI_SEVERAL
    """
    if not role.one_piece:
        return
    parts = parts_of(roi.mask)
    if len(parts) > 1:
        mend = (
            "draw each as a region of its own"
            if role.many
            else "outline the one lesion that is meant"
        )
        raise Refused(
            RefusalCode.ROI_SEVERAL,
            f"{role.name}: {roi.source}: {len(parts)} parts that do not touch: "
            f"{_where(parts, spacing_mm)}; {mend}",
        )


def parts_of(mask: NDArray[np.bool_]) -> tuple[Part, ...]:
    """Return the connected parts of a mask, the largest first; crumbs are left out.

    Voxels belong together that touch, corners included, or that would if the slices between
    them, `_GAP_SLICES` at most, were drawn too.
    """
    runs = _runs_of(mask)
    pairs = [np.stack(found) for found in _meeting(runs)]
    _, label = np.unique(_labels(runs.row.size, pairs), return_inverse=True)
    voxels = np.bincount(label, weights=runs.last - runs.first + 1)
    least = max(_LEAST_VOXELS, voxels.max(initial=0) * _LEAST_PERCENT / 100)
    # The largest counts, however small it is: a lesion of a few voxels is one all the same.
    largest_first = np.argsort(-voxels, kind="stable")
    counted = [n for at, n in enumerate(largest_first) if at == 0 or voxels[n] >= least]
    return tuple(_part(runs, label == number) for number in counted)


def _runs_of(mask: NDArray[np.bool_]) -> _Runs:
    air = np.zeros((*mask.shape[:2], 1), np.bool_)
    slices, rows, first = np.nonzero(mask & ~np.concatenate([air, mask[..., :-1]], axis=2))
    last = np.nonzero(mask & ~np.concatenate([mask[..., 1:], air], axis=2))[2]
    return _Runs(slice_index=slices, row=rows, first=first, last=last)


def _meeting(runs: _Runs) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield pairs of runs, (earlier, later), of which a voxel of one reaches one of the other."""
    if not runs.row.size:
        return
    margin = _GAP_SLICES + 1
    # Each run on one long line of numbers, so far apart that no search meets another row.
    height, width = int(runs.row.max()) + 2 * margin, int(runs.last.max()) + 2 * margin + 1
    line = (runs.slice_index * height + runs.row) * width
    first, last = line + runs.first, line + runs.last
    for slices, rows, reach in _steps():
        ahead = (slices * height + rows) * width
        low = np.searchsorted(last, first + ahead - reach, "left")
        high = np.searchsorted(first, last + ahead + reach, "right")
        count = np.maximum(high - low, 0)
        one = np.repeat(np.arange(count.size), count)
        # Number of the pair among those of its run, from 0.
        place = np.arange(one.size) - np.repeat(np.cumsum(count) - count, count)
        yield one, np.repeat(low, count) + place


def _steps() -> Iterator[tuple[int, int, int]]:
    """Yield (slices on, rows on, columns to either side) where a voxel may have a neighbour.

    Over a gap a border may lean as far as it could if each slice were drawn: one voxel a slice.
    """
    yield 0, 1, 1
    for slices in range(1, _GAP_SLICES + 2):
        for rows in range(-slices, slices + 1):
            yield slices, rows, slices


def _labels(count: int, pairs: Sequence[Numbers]) -> Numbers:
    """Return for each of `count` things the lowest number among those it hangs together with."""
    label = np.arange(count)
    if not pairs:
        return label
    one, other = np.concatenate(pairs, axis=1)
    while np.any(label[one] != label[other]):
        lowest = np.minimum(label[one], label[other])
        for end in (label[one], label[other]):
            np.minimum.at(label, end, lowest)
        while np.any(label[label] != label):
            label = label[label]
    return label


def _part(runs: _Runs, own: NDArray[np.bool_]) -> Part:
    slice_index, first, last = runs.slice_index[own], runs.first[own], runs.last[own]
    voxels = last - first + 1
    places = (slice_index, runs.row[own], (first + last) / 2)
    slices, rows, columns = (float(np.average(place, weights=voxels)) for place in places)
    return Part(
        voxels=int(voxels.sum()),
        first=int(slice_index.min()),
        last=int(slice_index.max()),
        centre=(slices, rows, columns),
    )


def _where(parts: Sequence[Part], spacing_mm: Sequence[float]) -> str:
    """Return where the largest parts lie; slices as people count them, from 1."""
    words = [f"{one.voxels} voxels on {_slices(one)}" for one in parts[:_NAMED]]
    for number, one in enumerate(parts[1:_NAMED], start=1):
        steps = np.subtract(one.centre, parts[0].centre) * np.asarray(spacing_mm)
        words[number] += f", {np.linalg.norm(steps):.0f} mm from the first (centre to centre)"
    more = f", and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return ", ".join(words) + more


def _slices(part: Part) -> str:
    if part.first == part.last:
        return f"slice {part.first + 1}"
    return f"slices {part.first + 1} to {part.last + 1}"
