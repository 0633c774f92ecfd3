"""Left and right by nothing but the picture: a ball on the patient's left, a cube on the right.

Where they lie is drawn in the patient's millimetres (x grows to the left), so the check needs no
header and no fit. Commissioning marks the ball alone: its overlay must cover what looks round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tests.viewers.measure import changed, windowed
from tests.viewers.prove import Viewer, grey
from tests.viewers.studies import ImageStack, inside

#: Between the body, 40 HU, and the cube, which stays below the threshold of commissioning.
BODY_HU, BETWEEN_HU, CUBE_HU, BALL_HU = 40.0, 115.0, 190.0, 650.0
AWAY_MM = 25.0
#: A disk fills 0.79 of the box around it, an upright square all of it.
ROUND_BELOW = 0.89


def ball_and_cube(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw a body with a ball on its left and a cube on its right, mirror images in place."""
    hu = np.full(x.shape, -1000.0)
    hu[inside(x, y, z, (0, 0, 0), (52, 46, 60))] = BODY_HU
    hu[inside(x, y, z, (AWAY_MM, 0, 0), (13, 13, 13))] = BALL_HU
    hu[np.maximum(np.maximum(abs(x + AWAY_MM), abs(y)), abs(z)) < 11] = CUBE_HU
    return hu


def prove_side(viewer: Viewer, stack: ImageStack) -> NDArray[np.float64]:
    """Fail unless the overlay lies on the ball; return the way to the patient's left.

    That is (x, y) in screen pixels, from the cube's middle to the ball's, y downwards.
    """
    viewer.show(stack.sop_instance_uids[len(stack.values) // 2])
    without, picture = viewer.picture(overlay=False), viewer.picture(overlay=True)
    ball, cube = found(grey(without), stack.window)
    overlay = changed(without, picture)
    on_ball, on_cube = (int((overlay & one).sum()) for one in (ball, cube))
    assert overlay.any(), f"{viewer.name} shows no overlay"
    said = f"{overlay.sum()} px of overlay, {on_ball} on the left's ball, {on_cube} on the right's"
    assert on_cube == 0 and on_ball > 0.9 * max(overlay.sum(), ball.sum()), (
        f"{viewer.name}: the overlay is on the wrong side: {said}"
    )
    print(f"{viewer.name}: {said}")  # noqa: T201  for docs/viewers.md
    return np.array(_middle(ball)) - _middle(cube)


def found(
    picture: NDArray[np.uint8], window: tuple[float, float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels of ball and cube: the two largest bright bodies of a grey picture."""
    between = 255 * windowed(np.array(BETWEEN_HU), window)
    bodies, count = ndimage.label(ndimage.gaussian_filter(picture.astype(float), 3) > between)
    assert count >= 2, "the picture shows no two bright bodies"
    sizes = ndimage.sum_labels(bodies > 0, bodies, np.arange(1, count + 1))
    first, second = (bodies == 1 + int(index) for index in np.argsort(sizes)[-2:])
    ball, cube = sorted((first, second), key=_filling)
    assert _filling(ball) < ROUND_BELOW < _filling(cube), "these are no ball and cube"
    return ball, cube


def _filling(region: NDArray[np.bool_]) -> float:
    """Return the share of the box around a region that it fills."""
    (box,) = ndimage.find_objects(region.astype(int))
    return float(region[box].mean())


def _middle(region: NDArray[np.bool_]) -> tuple[float, float]:
    row, column = ndimage.center_of_mass(region)
    return float(column), float(row)
