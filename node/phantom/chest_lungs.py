"""The lungs of a chest: their fields, the diaphragm below them, and the vessels in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.phantom import tissue
from node.phantom.chest_wall import CAVITY_HALF_WIDTH, Wall, cavity_bounds
from node.phantom.grid import Field, Lattice
from node.phantom.scene import Paint, Texture
from node.phantom.shapes import Region, Tube, Waves
from node.phantom.tissue import Contrast

Line = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Organs:
    """What differs between the organs of two chests.

    Attributes
    ----------
    heart : factor on the heart's size
    aorta : factor on the width of the aorta
    unfolding_mm : how far the arch reaches out and up, as in old age
    dome_mm : height of the diaphragm's right dome
    thymic_mm : thickness of the fat behind the breast bone
    lung_hu : mean of the lungs
    vessels : factor on the number of visible vessels in the lungs
    thyroid : factor on its size
    jitter : shifts of points of the vessels, shape (64, 3), in mm
    """

    heart: float
    aorta: float
    unfolding_mm: float
    dome_mm: float
    thymic_mm: float
    lung_hu: float
    vessels: float
    thyroid: float
    jitter: NDArray[np.float64]

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, age: float) -> Organs:
        """Return the organs of one patient of many."""
        old = float(np.clip((age - 30) / 50, 0, 1))
        return cls(
            heart=float(rng.uniform(0.9, 1.08) + 0.05 * old),
            aorta=float(rng.uniform(0.88, 1.06) + 0.14 * old),
            unfolding_mm=float(rng.uniform(0, 4) + 9 * old * rng.random()),
            dome_mm=float(rng.uniform(-104, -86)),
            thymic_mm=float(rng.uniform(2, 10)),
            lung_hu=float(rng.uniform(-885, -815)),
            vessels=float(rng.uniform(0.8, 1.1)),
            thyroid=float(rng.uniform(0.8, 1.2)),
            jitter=rng.normal(0, 1.6, (64, 3)),
        )


def cavity_paint(wall: Wall, rng: np.random.Generator) -> Paint:
    """Return the fat that fills the chest before anything else does."""
    texture = Texture(Waves.drawn(rng, 12.0, count=5), 7.0)
    return Paint(
        shape=Region(cavity_bounds(wall), wall.cavity),
        value=tissue.FAT,
        texture=texture,
        name="fat",
        stage="body",
    )


def dome(wall: Wall, organs: Organs) -> Callable[[Lattice], Field]:
    """Return the diaphragm as a field: mm below it are negative."""
    width, depth = wall.size[0], wall.size[1]

    def function(lattice: Lattice) -> Field:
        x, y = lattice.x / np.float32(width), lattice.y / np.float32(depth)
        bow = np.minimum(((np.abs(x) - 58) / 62) ** 2, 2.2) * 26
        slope = np.maximum(y + 10, 0) ** 2 / 150 + np.minimum(y + 10, 0) ** 2 / 420
        lower = np.where(x > 0, np.float32(12), np.float32(0))
        field: Field = (lattice.z - (organs.dome_mm - bow - slope - lower)) * np.float32(0.8)
        return field

    return function


def lung_shapes(wall: Wall, organs: Organs) -> tuple[Region, Region]:
    """Return the right and the left lung, mediastinum already left out."""
    below = dome(wall, organs)

    low, high = cavity_bounds(wall)
    bottom, top = organs.dome_mm - 110.0, 93.0 * wall.size[2]

    def lung(side: int) -> Region:
        def field(lattice: Lattice) -> Field:
            width = _mediastinum(lattice, wall, organs, side)
            across = lattice.x * np.float32(side)
            apex = ((across - np.float32(42 * wall.size[0])) / 30) ** 2 * 9 - np.float32(top)
            inner = np.maximum(width - across, np.float32(0.7) * (lattice.height + apex))
            result: Field = np.maximum(wall.cavity(lattice, -2.0), inner)
            return np.maximum(result, -below(lattice))

        left, right = (low[0], 0.0) if side < 0 else (0.0, high[0])
        return Region(((left, low[1], bottom), (right, high[1], top)), field)

    return lung(-1), lung(1)


def _mediastinum(lattice: Lattice, wall: Wall, organs: Organs, side: int) -> Field:
    """Return the half width of the mediastinum to one side, in mm: from front to back."""
    y = lattice.y / np.float32(wall.size[1])
    z = lattice.height / np.float32(wall.size[2])
    base = np.interp(z, (-120, -60, -20, 20, 60, 100), (26, 20, 21, 25, 25, 17))
    base = base.astype(np.float32)
    front = np.interp(z, (-110, -60, -30, 20, 50, 80), (-76, -84, -82, -72, -62, -52))
    front = front.astype(np.float32)
    # The lungs nearly touch behind the breast bone; fat fills a wedge between them.
    rise = np.clip((y - front) / np.float32(34), 0, 1)
    tip = np.interp(z, (-110, -60, -20, 30, 60), (22, 5, 2, 5, 18)).astype(np.float32)
    tip = tip + np.float32(organs.thymic_mm) * (z > -40)
    width = tip + (base - tip) * rise
    behind = np.clip((y - 18) / np.float32(24), 0, 1)
    target = np.float32(15 if side < 0 else 21)
    width = width + (target - width) * behind
    field: Field = width * np.float32(wall.size[0])
    return field


def lung_paints(
    lungs: tuple[Region, Region], organs: Organs, rng: np.random.Generator
) -> list[Paint]:
    """Return the air-filled tissue of both lungs."""
    slow = Waves.drawn(rng, 60.0, count=3)
    return [
        Paint(
            shape=lung,
            value=organs.lung_hu,
            texture=Texture(slow, 12.0),
            name="lung",
            stage="lung",
        )
        for lung in lungs
    ]


def tree_paints(
    wall: Wall, organs: Organs, blood: Contrast, rng: np.random.Generator
) -> list[Paint]:
    """Return the vessels of both lungs, as trees that fork towards the wall."""
    paints = []
    for side in (-1, 1):
        root = np.array(wall.at(side * 46, 6, -14))
        lines: list[Tube] = []
        targets = _targets(wall, organs, side, int(56 * organs.vessels), rng)
        for target in targets:
            _grow(lines, root + rng.normal(0, 4, 3), target, 4.2, 3, rng)
        for line in lines:
            paints.append(
                Paint(
                    shape=line,
                    value=min(blood.pulmonary, 160.0) * 0.85 - 15,
                    name="lung vessel",
                    stage="lung",
                )
            )
    return paints


def _targets(
    wall: Wall, organs: Organs, side: int, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return places near the surface of one lung, spread over it."""
    up = rng.uniform(-1, 1, count)
    z = np.where(up > 0, up * 82, up * 110) * wall.size[2]
    angle = rng.uniform(0.12, 0.9, count) * np.pi
    height = z.astype(np.float32)
    half_width = wall.profile(CAVITY_HALF_WIDTH, height, 0)
    share = rng.uniform(0.78, 0.95, count)
    x = side * half_width * np.sin(angle) * share
    y = (np.cos(angle) * 76 - 2) * wall.size[1] * share
    x = side * np.maximum(side * x, 36 * wall.size[0])
    return np.stack([x, y, z], axis=1)


def _grow(
    lines: list[Tube],
    start: NDArray[np.float64],
    target: NDArray[np.float64],
    radius: float,
    forks: int,
    rng: np.random.Generator,
) -> None:
    """Append a vessel from `start` to `target`, bent, thinning, with side branches."""
    length = float(np.linalg.norm(target - start))
    middle = (start + target) / 2 + rng.normal(0, 0.09 * length, 3)
    radius = min(radius, 1.0 + 0.034 * length)
    ends = (radius, max(0.6 * radius, 0.75), 0.6)
    lines.append(Tube(np.stack([start, middle, target]), np.array(ends)))
    if forks == 0 or length < 18:
        return
    for place in (0.4, 0.7):
        root = (
            start + (middle - start) * (2 * place)
            if place < 0.5
            else (middle + (target - middle) * (2 * place - 1))
        )
        away = rng.normal(0, 1, 3)
        away /= np.linalg.norm(away)
        onward = (target - start) / max(length, 1.0)
        reach = length * (1 - place) * rng.uniform(0.6, 0.95)
        tip = root + (onward * 0.75 + away * 0.65) * reach
        _grow(lines, root, tip, 0.6 * radius, forks - 1 if forks < 3 else 1, rng)
