"""Maps of a Result in its pictures: which slices, and how heat becomes colour."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node.plugin import Map
from node.results.request import EncodeRequest, Finding
from node.results.sentences import unit_text

#: Pictures of maps in one run at most: the findings keep half of all pictures.
MAX_HEAT = 12
#: Colours from no heat to most: each is lighter than the one before, so that the order is seen
#: without telling red from green, and on a grey print. Between them: straight lines.
_COLOURS = (
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)
#: How much of the wash covers the image, from no heat to most: anatomy stays visible.
_COVER = (0.15, 0.6)


def hottest_slices(request: EncodeRequest) -> list[tuple[Map, int]]:
    """Return (map, slice) of the pictures that show the maps, at most `MAX_HEAT`, map by map.

    For each map and finding the slice with the most heat in the box around the finding; where
    no finding has any, the map's hottest slice. Where there are too many, the pale ones are
    left out.
    """
    found = [(one, *place) for one in request.result.maps for place in _places(request, one)]
    bright = sorted(range(len(found)), key=lambda number: -found[number][2])[:MAX_HEAT]
    return [found[number][:2] for number in sorted(bright)]


def _places(request: EncodeRequest, one: Map) -> list[tuple[int, float]]:
    """Return (slice, its greatest heat as a share of the map's) for each slice to be shown."""
    greatest = float(max(one.array.max(), -one.array.min()))
    if greatest == 0:
        return []
    own = [finding for finding in request.findings if finding.segment.role == one.role]
    places = dict(place for finding in own for place in _place(one.array, finding))
    if not places:
        sums = np.abs(one.array).sum(axis=(1, 2), dtype=np.float64)
        places = {int(np.argmax(sums)): greatest}
    return [(index, heat / greatest) for index, heat in places.items()]


def _place(array: NDArray[np.float32], finding: Finding) -> Iterator[tuple[int, float]]:
    """Yield the hottest slice of a finding with its greatest heat, unless there is none."""
    slices = slice(finding.first, finding.last + 1)
    flat = np.any(finding.segment.mask[slices], axis=0)
    rows, columns = (np.flatnonzero(np.any(flat, axis=axis)) for axis in (1, 0))
    box = np.abs(array[slices, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    index = int(np.argmax(box.sum(axis=(1, 2), dtype=np.float64)))
    heat = float(box[index].max())
    if heat > 0:
        yield finding.first + index, heat


def washed(picture: Image.Image, one: Map, slice_index: int) -> Image.Image:
    """Return a picture of a slice with the heat over it; where the map is 0 it stays grey."""
    plane = one.array[slice_index]
    low, high = range_of(one)
    size, smooth = picture.size, Image.Resampling.BILINEAR
    shown = Image.fromarray((plane - low) / (high - low)).resize(size, smooth)
    share = np.clip(np.asarray(shown), 0, 1)
    there = Image.fromarray(((plane != 0) * 255).astype(np.uint8))
    is_there = np.asarray(there.resize(size, Image.Resampling.NEAREST)) > 0
    cover = np.where(is_there, _COVER[0] + (_COVER[1] - _COVER[0]) * share, 0)[..., None]
    grey = np.asarray(picture, np.float32)
    return Image.fromarray(np.rint(grey + cover * (colours(share) - grey)).astype(np.uint8))


def colours(share: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the colour of each share of the greatest heat, 0 to 1: shape (..., 3), 0-255."""
    stops = np.linspace(0, 1, len(_COLOURS))
    return np.stack(
        [np.interp(share, stops, channel) for channel in zip(*_COLOURS, strict=True)], -1
    )


def colour_bar(width: int, height: int) -> Image.Image:
    """Return the colours from left to right."""
    bar = np.rint(colours(np.linspace(0, 1, width))).astype(np.uint8)
    return Image.fromarray(np.repeat(bar[None], height, axis=0))


def map_words(request: EncodeRequest, one: Map) -> str:
    """Return a map's name and unit, as people read it."""
    spec = request.manifest.maps[one.name]
    unit = unit_text(spec.unit)
    return f"{spec.label}, {unit}" if unit else spec.label


def range_of(one: Map) -> tuple[float, float]:
    """Return the values of the first and the last colour; 0 is among them."""
    return min(0.0, float(one.array.min())), max(0.0, float(one.array.max()))
