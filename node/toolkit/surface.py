"""Distances between the surfaces of two masks, as DeepMind's `surface-distance` measures them.

A surface element stands at each corner where eight voxels meet and some, not all, of them are
inside. Its place is the corner; its area is that of the marching-cubes surface through the
cell of the eight voxel centres. Every mean, percentile and share is weighted by that area.

References
----------
Nikolov et al. 2021, doi:10.2196/26151 (surface Dice at a tolerance); the package
`surface-distance` 0.1 is the oracle of the tests, none of its code or tables is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_Edge = tuple[int, int]
#: The eight corners of a cell in half steps: corner ``c`` is bit ``c`` of a cell's code.
_CORNERS = tuple(product((0, 1), repeat=3))
_FULL = 0b11111111


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Each surface element's distance to the other surface, and its area.

    Attributes
    ----------
    truth_mm, prediction_mm : float64, shape (elements,)
        Distance in mm from the elements of the reference (of the prediction) to the nearest
        element of the other surface, ascending; infinite where there is no other surface.
    truth_mm2, prediction_mm2 : float64, shape (elements,)
        Areas in mm2, in the same order.
    """

    truth_mm: Vector
    truth_mm2: Vector
    prediction_mm: Vector
    prediction_mm2: Vector

    def hausdorff_mm(self, percent: float = 95.0) -> float:
        """Return the larger of both directed percentiles; inf for one empty mask, NaN for two."""
        if not self.truth_mm.size and not self.prediction_mm.size:
            return float("nan")
        return max(
            _percentile(self.truth_mm, self.truth_mm2, percent),
            _percentile(self.prediction_mm, self.prediction_mm2, percent),
        )

    def average_mm(self) -> tuple[float, float]:
        """Return the mean distance from the reference, and from the prediction.

        NaN for a mask that has no surface.
        """
        return _mean(self.truth_mm, self.truth_mm2), _mean(self.prediction_mm, self.prediction_mm2)

    def symmetric_average_mm(self) -> float:
        """Return ASSD: the mean over the elements of both surfaces together.

        inf for one empty mask, NaN for two.
        """
        return _mean(
            np.concatenate([self.truth_mm, self.prediction_mm]),
            np.concatenate([self.truth_mm2, self.prediction_mm2]),
        )

    def dice(self, tolerance_mm: float) -> float:
        """Return the share of both surfaces that lies within the tolerance of the other.

        0 for one empty mask, NaN for two.
        """
        total = float(self.truth_mm2.sum() + self.prediction_mm2.sum())
        if not total:
            return float("nan")
        near = self.truth_mm2[self.truth_mm <= tolerance_mm].sum()
        near += self.prediction_mm2[self.prediction_mm <= tolerance_mm].sum()
        return float(near) / total


def surface_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> SurfaceDistances:
    """Measure two masks on one grid.

    Parameters
    ----------
    truth, prediction : bool, shape (slices, rows, columns)
        The region of interest; nothing is known outside of the arrays, so a mask that touches
        the border has a surface there.
    spacing_mm : (between slices, between rows, between columns)
        As `node.plugin.Volume.spacing_mm`.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    Two single voxels, three rows apart, on a grid of unequal steps:

    >>> mask = np.zeros((3, 6, 3), bool)
    >>> mask[1, 1, 1] = True
    >>> found = surface_distances(mask, np.roll(mask, 3, axis=1), (5.0, 0.8, 0.7))
    >>> round(found.hausdorff_mm(100), 6), found.truth_mm.size
    (2.4, 8)
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f"masks of shapes {truth.shape} and {prediction.shape} are not on one grid"
        )
    box = bounding_box(truth | prediction)
    codes_truth, codes_prediction = _codes(truth[box]), _codes(prediction[box])
    areas = _areas_mm2(tuple(float(step) for step in spacing_mm))
    places_truth = np.argwhere(_border(codes_truth))
    places_prediction = np.argwhere(_border(codes_prediction))
    truth_mm, truth_mm2 = _sorted(
        _nearest_mm(places_truth, places_prediction, spacing_mm),
        areas[codes_truth[tuple(places_truth.T)]],
    )
    prediction_mm, prediction_mm2 = _sorted(
        _nearest_mm(places_prediction, places_truth, spacing_mm),
        areas[codes_prediction[tuple(places_prediction.T)]],
    )
    return SurfaceDistances(
        truth_mm=truth_mm,
        truth_mm2=truth_mm2,
        prediction_mm=prediction_mm,
        prediction_mm2=prediction_mm2,
    )


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box that holds every True; an empty one for an empty mask."""
    spans = []
    for axis in range(mask.ndim):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return tuple(spans)


def _codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return for each corner of the grid which of its eight voxels are inside, as bits."""
    padded = np.pad(mask, 1)
    size = tuple(n - 1 for n in padded.shape)
    codes = np.zeros(size, np.uint8)
    for bit, corner in enumerate(_CORNERS):
        part = tuple(slice(at, at + n) for at, n in zip(corner, size, strict=True))
        codes |= padded[part].astype(np.uint8) << np.uint8(bit)
    return codes


def _border(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a surface element stands."""
    found: NDArray[np.bool_] = (codes != 0) & (codes != _FULL)
    return found


def _nearest_mm(
    places: NDArray[np.int64], others: NDArray[np.int64], spacing_mm: Sequence[float]
) -> Vector:
    """Return each element's distance in mm to the nearest of the others; inf without any.

    Parameters
    ----------
    places, others : int64, shape (elements, 3)
        Indices of corners of the grid.
    """
    if not len(places) or not len(others):
        return np.full(len(places), np.inf)
    from scipy.spatial import cKDTree

    spacing = np.asarray(spacing_mm, float)
    nearest = cKDTree(others * spacing).query(places * spacing)[1]
    # Steps first, then mm: a distance of exactly 1 mm must not become 1 mm and a rounding error.
    found: Vector = np.sqrt((((places - others[nearest]) * spacing) ** 2).sum(axis=1))
    return found


def _sorted(distances: Vector, areas: Vector) -> tuple[Vector, Vector]:
    """Return both by distance, then by area."""
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]


def _percentile(distances_mm: Vector, areas_mm2: Vector, percent: float) -> float:
    """Return the smallest distance within which `percent` of the area lies."""
    if not distances_mm.size:
        return float("inf")
    share = np.cumsum(areas_mm2) / areas_mm2.sum()
    index = int(np.searchsorted(share, percent / 100.0))
    return float(distances_mm[min(index, distances_mm.size - 1)])


def _mean(distances_mm: Vector, areas_mm2: Vector) -> float:
    """Return the mean weighted by area; NaN of nothing."""
    if not distances_mm.size:
        return float("nan")
    return float((distances_mm * areas_mm2).sum() / areas_mm2.sum())


def _areas_mm2(spacing_mm: tuple[float, ...]) -> Vector:
    """Return the area of the surface through a cell, for each of its 256 codes.

    The area of a triangle on a grid of unequal steps follows from its normal on the unit grid:
    each component is stretched by the two steps across it.
    """
    slices, rows, columns = spacing_mm
    stretch = np.array([rows * columns, slices * columns, slices * rows])
    return np.array(
        [
            sum(float(np.linalg.norm(normal * stretch)) for normal in _normals(code))
            for code in range(_FULL + 1)
        ]
    )


@cache
def _normals(code: int) -> tuple[Vector, ...]:
    """Return the normals, as long as the areas, of a cell's triangles on the unit grid.

    A cell and its complement have the same surface, so that four corners inside are the most.
    Where a polygon is not flat its area depends on how it is cut into triangles: the oracle's
    table always holds the cut of largest area.
    """
    if code.bit_count() > 4:
        code = _FULL ^ code
    cut = [
        max(_triangulations(tuple(polygon)), key=lambda normals: sum(map(np.linalg.norm, normals)))
        for polygon in _polygons(code)
    ]
    return tuple(normal for normals in cut for normal in normals)


def _polygons(code: int) -> list[list[_Edge]]:
    """Return the closed polygons of a cell, each as the edges of the cube that it crosses."""
    links: dict[_Edge, list[_Edge]] = {}
    for one, other in _crossings(code):
        links.setdefault(one, []).append(other)
        links.setdefault(other, []).append(one)
    polygons = []
    while links:
        polygon, edge = [], next(iter(links))
        while edge in links:
            polygon.append(edge)
            ahead = [e for e in links.pop(edge) if e in links]
            edge = ahead[0] if ahead else polygon[0]
        polygons.append(polygon)
    return polygons


def _crossings(code: int) -> list[tuple[_Edge, _Edge]]:
    """Return the pairs of edges that the surface joins across the six faces of the cube."""
    pairs = []
    for axis, side in product(range(3), (0, 1)):
        face = [c for c in range(8) if _CORNERS[c][axis] == side]
        cut = [
            (a, b)
            for a, b in combinations(face, 2)
            if np.abs(np.subtract(_CORNERS[a], _CORNERS[b])).sum() == 1
            and (code >> a & 1) != (code >> b & 1)
        ]
        if len(cut) == 2:
            pairs.append((cut[0], cut[1]))
        elif cut:
            # Two corners inside, across the diagonal: the surface parts them.
            inside = [c for c in face if code >> c & 1]
            of_corner = [[edge for edge in cut if corner in edge] for corner in inside]
            pairs += [(edges[0], edges[1]) for edges in of_corner]
    return pairs


def _triangulations(polygon: tuple[_Edge, ...]) -> list[list[Vector]]:
    """Return every way to cut a polygon into triangles, each as the triangles' normals."""
    if len(polygon) < 3:
        return [[]]
    first, last = polygon[0], polygon[-1]
    return [
        [_normal(first, polygon[i], last), *left, *right]
        for i in range(1, len(polygon) - 1)
        for left in _triangulations(polygon[: i + 1])
        for right in _triangulations(polygon[i:])
    ]


def _normal(one: _Edge, two: _Edge, three: _Edge) -> Vector:
    """Return the normal of the triangle between the middles of three edges of the cube."""
    a, b, c = (np.add(_CORNERS[p], _CORNERS[q]) / 2.0 for p, q in (one, two, three))
    found: Vector = np.cross(b - a, c - a) / 2.0
    return found
