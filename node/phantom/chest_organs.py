"""What lies between the lungs: airways, heart, great vessels, gullet; and the thyroid above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.phantom import tissue
from node.phantom.chest_lungs import Organs, cavity_paint, lung_paints, lung_shapes, tree_paints
from node.phantom.chest_wall import Wall
from node.phantom.grid import Point
from node.phantom.scene import Layer, Paint
from node.phantom.shapes import Ellipsoid, Shape, Tube, Waves, Wavy, tube
from node.phantom.tissue import Contrast


def organ_paints(
    wall: Wall, organs: Organs, blood: Contrast, rng: np.random.Generator
) -> list[Paint]:
    """Return what fills the chest."""
    build = _Builder(wall, organs, blood)
    lungs = lung_shapes(wall, organs)
    paints = [cavity_paint(wall, rng), *lung_paints(lungs, organs, rng)]
    paints.extend(tree_paints(wall, organs, blood, rng))
    paints.extend(build.heart())
    paints.extend(build.vessels())
    paints.extend(build.airways())
    paints.extend(build.gullet_and_thyroid(rng))
    return paints


class _Builder:
    """Places heart and vessels of one chest."""

    def __init__(self, wall: Wall, organs: Organs, blood: Contrast):
        self._wall, self._organs, self._blood = wall, organs, blood
        self._used = 0

    def _at(self, x: float, y: float, z: float) -> Point:
        """Return a point of the average chest in this one, shifted a little."""
        shift = self._organs.jitter[self._used % len(self._organs.jitter)]
        self._used += 1
        a, b, c = self._wall.at(x, y, z)
        return (a + float(shift[0]), b + float(shift[1]), c + float(shift[2]))

    def _tube(
        self, points: Sequence[Point], radii: float | Sequence[float], factor: float = 1.0
    ) -> Tube:
        scale = factor * (self._wall.size[0] + self._wall.size[1]) / 2
        return tube([self._at(*p) for p in points], np.asarray(radii) * scale)  # type: ignore[arg-type]

    def heart(self) -> list[Paint]:
        """Return fat around the heart, its muscle and its chambers."""
        size = self._organs.heart * (self._wall.size[0] + self._wall.size[1]) / 2
        blood = self._blood

        def blob(centre: Point, half: Point, turn: Point = (0, 0, 0)) -> Ellipsoid:
            return Ellipsoid(
                self._wall.at(*centre), (half[0] * size, half[1] * size, half[2] * size), turn
            )

        whole = blob((22, -34, -72), (60, 42, 46), (0, 24, 30))
        right = blob((-26, -22, -58), (26, 31, 38))
        left = blob((2, 6, -44), (38, 20, 26))
        fat = [
            Paint(shape=shape, value=tissue.FAT + 8, name="heart fat", stage="fat")
            for shape in (
                blob((22, -36, -74), (67, 48, 53), (0, 24, 30)),
                blob((-25, -22, -60), (31, 35, 44)),
                blob((2, 6, -44), (42, 23, 30)),
            )
        ]
        chambers = (
            (right, blood.cava, (Layer(0.0, blood.cava),)),
            (left, blood.pulmonary, ()),
            (whole, blood.heart, ()),
            (blob((4, -46, -74), (36, 23, 34), (0, 20, 25)), blood.cava, ()),
            (blob((42, -24, -78), (30, 19, 20), (0, 24, 35)), blood.aorta, ()),
        )
        return fat + [
            Paint(shape=shape, value=value, layers=layers, name="heart", stage="organ", edge_mm=1.5)
            for shape, value, layers in chambers
        ]

    def vessels(self) -> list[Paint]:
        """Return the great vessels, each in a little fat that holds the lungs off."""
        blood, wide, out = self._blood, self._organs.aorta, self._organs.unfolding_mm
        paints: list[Paint] = []

        def add(name: str, shape: Tube, value: float, around: float = 3.0) -> None:
            sleeve = Tube(shape.points, shape.radii + around)
            paints.append(Paint(shape=sleeve, value=tissue.FAT + 5, name="fat", stage="fat"))
            paints.append(Paint(shape=shape, value=value, name=name, stage="vessel", edge_mm=1.0))

        veins = (
            ("vein", ((-2, 0, -20), (-30, 8, -30), (-52, 12, -38)), 6.0, blood.pulmonary),
            ("vein", ((6, 4, -30), (34, 14, -30), (54, 16, -38)), 6.0, blood.pulmonary),
            ("azygos", ((-4, 34, -200), (-5, 33, -60), (-7, 30, 0), (-14, 26, 22),
                        (-24, 2, 27), (-27, -10, 26)), 4.2, blood.veins),
            ("pulmonary", ((13, -46, -44), (19, -42, -26), (20, -28, -8), (17, -18, -4)),
             (15, 14.5, 14, 13), blood.pulmonary),
            ("pulmonary", ((17, -22, -6), (2, -6, -11), (-20, -2, -14), (-40, 2, -18),
                           (-54, 8, -30)), (12, 11.5, 11, 9.5, 7), blood.pulmonary),
            ("pulmonary", ((17, -20, -4), (30, -4, 2), (42, 14, -4), (48, 20, -24)),
             (12, 11.5, 10.5, 8), blood.pulmonary),
            ("cava", ((-28, -14, -38), (-29, -15, 0), (-28, -17, 28), (-27, -20, 48)),
             (11, 10, 9.5, 9), blood.cava),
            ("cava", ((-27, -19, 46), (-30, -18, 64), (-38, -12, 84), (-40, -6, 110),
                      (-38, -4, 160)), (8.5, 7.5, 7, 6.5, 6.5), blood.cava),
            ("brachiocephalic vein", ((-27, -20, 50), (-8, -30, 58), (14, -30, 66),
                                      (34, -22, 78), (40, -8, 110), (38, -4, 160)),
             (8, 7.5, 7, 7, 6.5, 6.5), blood.veins),
            ("hollow vein", ((-22, -8, -70), (-26, -6, -100), (-24, 6, -150), (-22, 14, -260)),
             (12, 12, 11.5, 11), blood.veins),
        )  # fmt: skip
        for name, points, radii, value in veins:
            add(name, self._tube(points, radii), value)
        add("artery", self._tube(
            ((-6, -14, 48), (-14, -14, 62), (-24, -8, 84), (-27, -2, 110), (-26, 0, 160)),
            (6.8, 6.5, 6, 4, 3.8)), blood.aorta)  # fmt: skip
        add(
            "artery",
            self._tube(((6, -6, 50), (13, -6, 70), (22, -3, 100), (26, 0, 160)), (5, 4.4, 4, 3.8)),
            blood.aorta,
        )
        add(
            "artery",
            self._tube(((15, 6, 48), (23, 8, 70), (36, 6, 90), (66, 0, 102)), (5.5, 5.2, 5, 4.5)),
            blood.aorta,
        )
        add("aorta", self._tube(
            ((10, -22, -44), (-4, -27, -30), (-15 - out, -28, -8), (-16 - out, -27, 12),
             (-9, -20, 34 + out), (6, -4, 41 + out), (18 + out, 16, 36), (22 + out, 29, 20),
             (21 + out, 34, -10), (18 + out, 36, -60), (10, 36, -120), (4, 28, -180),
             (2, 20, -260)),
            (15, 16, 16.5, 16, 14.5, 14, 13.5, 13, 12.5, 12, 11.5, 11, 10)),
            blood.aorta)  # fmt: skip
        paints[-1] = Paint(
            shape=_widened(paints[-1].shape, wide),
            value=blood.aorta,
            name="aorta",
            stage="vessel",
            edge_mm=1.0,
        )
        return paints

    def airways(self) -> list[Paint]:
        """Return windpipe and bronchi, with their walls."""
        points: tuple[tuple[tuple[Point, ...], tuple[float, ...]], ...] = (
            (((0, -6, 165), (0, -4, 120), (-2, 2, 70), (-3, 8, 30), (-2, 10, 2)),
             (9.5, 9.5, 9.5, 9.5, 10)),
            (((-2, 10, 4), (-18, 10, -10), (-32, 12, -18), (-46, 14, -24)), (8.5, 7.5, 6.5, 4.5)),
            (((-1, 10, 4), (14, 12, -12), (28, 16, -22), (42, 20, -30)), (8, 6.8, 6.2, 4.8)),
            (((-32, 12, -18), (-44, 16, -2), (-54, 14, 12)), (4.5, 3.6, 2.5)),
            (((-44, 14, -24), (-50, 24, -52), (-58, 30, -80)), (4.8, 3.6, 2.2)),
            (((40, 20, -30), (48, 28, -54), (56, 32, -82)), (4.8, 3.6, 2.2)),
            (((38, 18, -28), (46, 8, -14), (56, -4, 0)), (4.2, 3.4, 2.2)),
        )  # fmt: skip
        paints = []
        for line, radii in points:
            shape = self._tube(line, radii)
            wall = Tube(shape.points, shape.radii + 1.6)
            paints.append(Paint(shape=wall, value=20.0, name="airway", stage="vessel"))
            paints.append(Paint(shape=shape, value=tissue.GAS, name="airway", stage="airway"))
        return paints

    def gullet_and_thyroid(self, rng: np.random.Generator) -> list[Paint]:
        """Return oesophagus and thyroid."""
        line = ((2, 10, 165), (3, 14, 110), (5, 21, 60), (6, 24, 20), (4, 26, -20),
                (4, 28, -60), (10, 24, -100), (18, 14, -122))  # fmt: skip
        shape = self._tube(line, (6.5, 6.5, 7, 7, 7, 7.5, 8, 9))
        paints = [Paint(shape=shape, value=38.0, name="oesophagus", stage="organ", edge_mm=1.0)]
        for _ in range(int(rng.integers(0, 4))):
            place = shape.points[int(rng.integers(2, len(shape.points) - 2))]
            gas = Ellipsoid((float(place[0]), float(place[1]), float(place[2])), (2.6, 1.8, 9.0))
            paints.append(Paint(shape=gas, value=-650.0, name="oesophagus", stage="organ"))
        waves = Waves.drawn(rng, 14.0)
        for side in (-1, 1):
            half = tuple(h * self._organs.thyroid for h in (10.0, 11.0, 24.0))
            lobe: Shape = Ellipsoid(
                self._at(side * 17, -8, 124), (half[0], half[1], half[2]), (12, side * 8, 0)
            )
            paints.append(_thyroid(Wavy(lobe, waves, 0.7), self._blood))
        isthmus = Ellipsoid(self._at(0, -18, 118), (14, 4, 8))
        paints.append(_thyroid(isthmus, self._blood))
        return paints


def _thyroid(shape: Shape, blood: Contrast) -> Paint:
    return Paint(shape=shape, value=blood.thyroid, name="thyroid", stage="organ")


def _widened(shape: Shape, factor: float) -> Shape:
    """Return a tube whose radii are multiplied."""
    if not isinstance(shape, Tube):
        return shape
    return Tube(shape.points, shape.radii * factor, shape.squash)
