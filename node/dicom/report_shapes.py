"""Graphic types of SCOORD and SCOORD3D as corners of closed outlines (PS3.3 C.18.6, C.18.9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Corners of an ellipse: of 200 pixels across, none is farther than 1e-4 pixel from it.
_CORNERS = 2048
#: First and last point are one if no farther apart, in pixels or mm.
_SAME_POINT = 1e-3
#: Axes of an ellipse may leave a right angle and a common middle by this part of their length.
_SKEW = 0.05

#: Graphic type → least number of points.
_CLOSED_2D = {"POLYLINE": 4, "CIRCLE": 2, "ELLIPSE": 4}
_CLOSED_3D = {"POLYLINE": 4, "POLYGON": 4, "ELLIPSE": 4}


def closed(graphic: str, values: Array, *, dimensions: int) -> str:
    """Return why a graphic encloses no region, "" if it does.

    Parameters
    ----------
    values : float64, shape (points * dimensions,)

    Examples
    --------
    >>> closed("POLYLINE", np.array([0.0, 0, 4, 0, 4, 4]), dimensions=2)
    'an open POLYLINE of 3 points encloses no region'
    >>> closed("POLYLINE", np.array([0.0, 0, 4, 0, 4, 4, 0, 0]), dimensions=2)
    ''
    """
    known = _CLOSED_2D if dimensions == 2 else _CLOSED_3D
    if graphic not in known:
        return f"a graphic of type {graphic or 'none'} encloses no region that can be filled"
    if len(values) % dimensions or not np.isfinite(values).all():
        return f"the {graphic} is no list of points"
    points = values.reshape(-1, dimensions)
    if graphic in ("POLYLINE", "POLYGON"):
        apart = np.linalg.norm(points[0] - points[-1]) if len(points) else np.inf
        if apart > _SAME_POINT or len(points) < known[graphic]:
            return f"an open {graphic} of {len(points)} points encloses no region"
    elif len(points) != known[graphic]:
        return f"an {graphic} of {len(points)} points is none"
    elif graphic == "ELLIPSE" and _is_skew(points):
        return "the axes of the ELLIPSE do not halve each other at a right angle"
    return ""


def _is_skew(points: Array) -> bool:
    major, minor = points[1] - points[0], points[3] - points[2]
    long, short = float(np.linalg.norm(major)), float(np.linalg.norm(minor))
    if min(long, short) == 0:
        return True
    middles = np.linalg.norm(points[:2].mean(axis=0) - points[2:].mean(axis=0))
    return bool(abs(major @ minor) > _SKEW * long * short or middles > _SKEW * long)


def corners_in_plane(graphic: str, values: Array) -> Array:
    """Return the corners, shape (n, 2), of a closed SCOORD as (column, row) of the image.

    Examples
    --------
    A circle by its middle and a point on it:

    >>> corners = corners_in_plane("CIRCLE", np.array([5.0, 7, 5, 10]))
    >>> corners.min(axis=0).round(3).tolist(), corners.max(axis=0).round(3).tolist()
    ([2.0, 4.0], [8.0, 10.0])
    """
    points = values.reshape(-1, 2)
    if graphic == "CIRCLE":
        radius = float(np.linalg.norm(points[1] - points[0]))
        return _ellipse(points[0], np.array([radius, 0.0]), np.array([0.0, radius]))
    return _corners(graphic, points)


def corners_in_space(graphic: str, values: Array) -> Array:
    """Return the corners, shape (n, 3), of a closed SCOORD3D in mm, LPS+."""
    return _corners(graphic, values.reshape(-1, 3))


def _corners(graphic: str, points: Array) -> Array:
    if graphic == "ELLIPSE":
        middle = points.mean(axis=0)
        return _ellipse(middle, (points[1] - points[0]) / 2, (points[3] - points[2]) / 2)
    return points[:-1]


def _ellipse(middle: Array, one: Array, other: Array) -> Array:
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
    return np.asarray(middle + np.cos(turn) * one + np.sin(turn) * other)
