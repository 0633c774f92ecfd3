"""The head and the upper neck about the nasopharynx; signals for MR, or HU for CT.

Body frame: the middle of the nasopharynx is the origin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from node.phantom.grid import UPRIGHT, Point, Pose
from node.phantom.mri import SIGNALS
from node.phantom.scene import Layer, Paint, Scene, Texture
from node.phantom.shapes import Ellipsoid, Shape, Tube, Union, Waves, Wavy, tube


@dataclass(frozen=True, kw_only=True)
class HeadAnatomy:
    """One patient's head and neck.

    Attributes
    ----------
    sex : "F" or "M"
    age : years
    size : factors of width, depth and height on an average head
    fat_mm : fat under the skin
    adenoid : thickness of the mucosa of the nasopharynx, mm
    sinus : 0..1, how full of fluid the left maxillary sinus is
    seed : of textures
    """

    sex: str
    age: float
    size: Point
    fat_mm: float
    adenoid: float
    sinus: float
    seed: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> HeadAnatomy:
        """Return one patient of many."""
        female = bool(rng.random() < 0.3)
        base = 0.96 if female else 1.02
        size = base * rng.uniform(0.95, 1.05, 3)
        return cls(
            sex="F" if female else "M",
            age=float(np.clip(rng.normal(49, 12), 18, 85)),
            size=(float(size[0]), float(size[1]), float(size[2])),
            fat_mm=float(rng.uniform(3, 9)),
            adenoid=float(rng.uniform(2.5, 4.5)),
            sinus=float(max(0.0, rng.uniform(-1.5, 0.9))),
            seed=int(rng.integers(2**31)),
        )

    def at(self, x: float, y: float, z: float) -> Point:
        """Return a point of the average head in this one."""
        return (x * self.size[0], y * self.size[1], z * self.size[2])


@dataclass(frozen=True, kw_only=True)
class HeadNeck:
    """A head to put things into.

    Attributes
    ----------
    scene : Scene
        Paints are named as their tissue or part: airway, mucosa, muscle, brain, skull, clivus,
        vertebra, parapharyngeal fat, gland, vessel, tongue …
    landmarks : mapping of name to a point in the body, mm
    anatomy : HeadAnatomy
    palette : signal (or HU) of each tissue
    """

    scene: Scene
    landmarks: Mapping[str, Point]
    anatomy: HeadAnatomy
    palette: Mapping[str, float]

    def with_paints(self, *groups: Paint | tuple[Paint, ...] | list[Paint]) -> HeadNeck:
        """Return the head with more in it."""
        paints: list[Paint] = []
        for group in groups:
            paints.extend([group] if isinstance(group, Paint) else group)
        return replace(self, scene=self.scene.with_paints(paints))


_LANDMARKS: Mapping[str, Point] = {
    "nasopharynx": (0, 6, 0),
    "rosenmuller_right": (-15, 8, 2),
    "rosenmuller_left": (15, 8, 2),
    "roof": (0, 6, 14),
    "clivus": (0, 22, 18),
    "parapharyngeal_right": (-25, -2, -4),
    "parapharyngeal_left": (25, -2, -4),
    "retropharyngeal_right": (-15, 16, -10),
    "retropharyngeal_left": (15, 16, -10),
    "node_right": (-40, 22, -42),
    "node_left": (40, 22, -42),
    "cavernous_sinus_right": (-14, 8, 32),
    "cavernous_sinus_left": (14, 8, 32),
}


def head_neck(
    anatomy: HeadAnatomy,
    *,
    sequence: str = "T1",
    rng: np.random.Generator | None = None,
    pose: Pose = UPRIGHT,
) -> HeadNeck:
    """Return the head and neck of one patient as a sequence shows it.

    Parameters
    ----------
    anatomy : HeadAnatomy
    sequence : "T1", "T1C", "T2" or "CT"
    rng : draws how tissues differ from their means; the same generator state for all sequences
        of a visit keeps the patient's differences the same way round
    pose : how the patient lies in the scanner
    """
    palette = dict(SIGNALS[sequence])
    if rng is not None:
        spread = rng.normal(1.0, 0.05, len(palette))
        palette = {
            name: value * float(factor) if sequence != "CT" else value
            for (name, value), factor in zip(palette.items(), spread, strict=True)
        }
    build = _Head(anatomy, palette)
    paints = [*build.outside(), *build.bones(), *build.soft(), *build.airways()]
    return HeadNeck(
        scene=Scene(paints=tuple(paints), pose=pose, background=palette["air"]),
        landmarks={name: anatomy.at(*point) for name, point in _LANDMARKS.items()},
        anatomy=anatomy,
        palette=palette,
    )


class _Head:
    """Places the parts of one head."""

    def __init__(self, anatomy: HeadAnatomy, palette: Mapping[str, float]):
        self._anatomy, self._palette = anatomy, palette
        self._rng = np.random.default_rng(anatomy.seed)

    def _blob(
        self, centre: Point, half: Point, turn: Point = (0, 0, 0), wavy: float = 0.0
    ) -> Shape:
        size = self._anatomy.size
        shape = Ellipsoid(
            self._anatomy.at(*centre),
            (half[0] * size[0], half[1] * size[1], half[2] * size[2]),
            turn,
        )
        if not wavy:
            return shape
        return Wavy(shape, Waves.drawn(self._rng, 2.2 * min(half)), wavy)

    def _pair(
        self, centre: Point, half: Point, turn: Point = (0, 0, 0), wavy: float = 0.0
    ) -> list[Shape]:
        """Return the same part on both sides, the right one first."""
        x, y, z = centre
        a, b, c = turn
        return [
            self._blob((side * x, y, z), half, (a, side * b, side * c), wavy) for side in (-1, 1)
        ]

    def _line(self, points: Sequence[Point], radii: float | Sequence[float]) -> Tube:
        return tube([self._anatomy.at(*point) for point in points], radii)

    def _paint(
        self,
        shape: Shape,
        tissue: str,
        *,
        stage: str = "organ",
        name: str = "",
        layers: tuple[tuple[float, str], ...] = (),
        grain: float = 0.05,
    ) -> Paint:
        value = self._palette[tissue]
        texture = None
        if grain:
            texture = Texture(Waves.drawn(self._rng, 9.0), grain * min(abs(value), 600.0))
        return Paint(
            shape=shape,
            value=value,
            name=name or tissue,
            stage=stage,
            layers=tuple(Layer(depth, self._palette[inner]) for depth, inner in layers),
            texture=texture,
        )

    def outside(self) -> list[Paint]:
        """Return skin, fat, and the muscles of the neck."""
        fat = self._anatomy.fat_mm
        parts = (
            self._blob((0, 14, 48), (76, 97, 92)),
            self._blob((0, -30, -20), (56, 60, 62)),
            self._blob((0, 30, -60), (62 + fat, 56 + fat, 95)),
            self._blob((0, -92, -2), (13, 16, 16)),
        )
        head = Union(parts, blend_mm=22.0)
        paints = [
            self._paint(head, "skin", stage="body", name="body", layers=((2.0, "fat"),), grain=0.03)
        ]
        muscles = [
            *self._pair((20, 74, -40), (21, 17, 70), wavy=1.0),
            *self._pair((40, 62, -40), (16, 20, 60), (0, 0, 30), 1.0),
            *self._pair((52, 36, -48), (10, 19, 60), (18, 0, 25), 0.7),
            *self._pair((54, -24, -18), (9, 22, 32), (0, 0, -12), 0.6),
            *self._pair((61, -16, 34), (8, 28, 32), (0, 0, -8), 0.5),
            *self._pair((28, 46, -55), (14, 15, 60), wavy=1.0),
            *self._pair((22, 26, -48), (7, 8, 40), wavy=0.5),
            *self._pair((33, -14, -12), (8.5, 17, 24), (0, 12, -20), 0.6),
            *self._pair((38, -18, 11), (13, 20, 9), (0, 0, -20), 0.6),
            *self._pair((9, 19, -30), (8.5, 6, 48), (0, 0, -8), 0.5),
            *self._pair((17, 4, -8), (4, 7, 14), (0, 0, 20), 0.3),
            self._blob((0, 4, -44), (19, 14, 36), wavy=0.6),
            self._blob((0, -34, -64), (30, 34, 10), (10, 0, 0), 1.0),
            self._blob((0, 2, 0), (21, 15, 20), wavy=0.6),
        ]
        paints.extend(self._paint(shape, "muscle", stage="fat") for shape in muscles)
        tongue = self._blob((0, -38, -44), (25, 32, 20), (14, 0, 0), 1.0)
        paints.append(self._paint(tongue, "muscle", stage="fat", name="tongue", grain=0.12))
        return paints

    def bones(self) -> list[Paint]:
        """Return skull with brain, skull base, jaws, vertebrae with their canal."""
        vault = self._blob((0, 16, 74), (69, 89, 68))
        inside = self._blob((0, 17, 76), (62, 82, 62))
        fossa, hollow = (self._blob((0, 56, 26), (52 - t, 44 - t, 33 - t)) for t in (0, 6))
        stem = self._line([(0, 40, 36), (0, 42, 8), (0, 49, -40), (0, 50, -140)], (13, 10, 6, 5.5))
        below = stem.points[:, 2] < 6
        canal = Tube(stem.points[below], stem.radii[below] + 4.5)
        ventricles = self._pair((11, 4, 84), (5, 26, 12), (0, 0, 12))
        paints = [
            self._paint(fossa, "compact", name="skull", layers=((2.0, "marrow"), (4.5, "compact"))),
            self._paint(vault, "compact", name="skull", layers=((2.0, "marrow"), (4.5, "compact"))),
            self._paint(hollow, "csf", name="brain"),
            self._paint(inside, "csf", name="brain", layers=((3.0, "grey"), (8.0, "white"))),
            *(self._paint(shape, "csf", name="brain") for shape in ventricles),
            *(
                self._paint(shape, "grey", name="brain", grain=0.1)
                for shape in self._pair((26, 66, 30), (26, 22, 19), wavy=1.2)
            ),
        ]
        marrow: list[tuple[str, Shape]] = [
            ("clivus", self._blob((0, 23, 20), (14, 6.5, 24), (-24, 0, 0))),
            ("skull", self._blob((0, -4, 30), (22, 17, 13))),
            *(("skull", s) for s in self._pair((42, 26, 22), (24, 12, 13), (0, 0, 32), 0.8)),
            ("skull", self._blob((0, -52, -20), (27, 24, 5))),
        ]
        for top in (-14, -36, -55, -74, -93, -112):
            low = top - (20 if top == -14 else 17)
            marrow.append(
                ("vertebra", self._blob((0, 34, (top + low) / 2), (11, 9, (top - low) / 2)))
            )
            marrow.append(("vertebra", self._blob((0, 66, (top + low) / 2), (9, 10, 6))))
            marrow.extend(("vertebra", s) for s in self._pair((20, 44, (top + low) / 2), (8, 9, 7)))
        jaw = [(-48, 2, 4), (-47, -4, -30), (-40, -30, -48), (-20, -68, -56), (0, -78, -58)]
        marrow.append(
            ("jaw", self._line([*jaw, *((-x, y, z) for x, y, z in reversed(jaw[:-1]))], 6.0))
        )
        marrow.append(
            ("jaw", self._line([(-24, -38, -22), (-16, -68, -22), (0, -76, -22), (16, -68, -22),
                                (24, -38, -22)], 5.5))
        )  # fmt: skip
        paints.extend(
            self._paint(shape, "compact", stage="bone", name=name, layers=((1.5, "marrow"),))
            for name, shape in marrow
        )
        paints.append(self._paint(canal, "csf", stage="bone", name="canal"))
        paints.append(self._paint(stem, "white", stage="bone", name="brain"))
        return paints

    def soft(self) -> list[Paint]:
        """Return fat spaces, glands, vessels, and small nodes that everybody has."""
        paints = [
            self._paint(shape, "fat", stage="fat", name="parapharyngeal fat")
            for shape in self._pair((25, -2, -6), (5, 14, 22), (0, 0, -14), 0.6)
        ]
        glands = [
            *self._pair((55, 14, -14), (12, 17, 25), (0, 0, 10), 1.0),
            *self._pair((30, -30, -64), (10, 16, 13), wavy=0.8),
        ]
        paints.extend(self._paint(shape, "gland", grain=0.12) for shape in glands)
        for side in (-1, 1):
            artery = [(side * 30, 26, -140), (side * 28, 22, -60), (side * 25, 20, -10),
                      (side * 22, 18, 14), (side * 12, 4, 30)]  # fmt: skip
            vein = [(side * 40, 32, -140), (side * 37, 28, -60), (side * 33, 27, 0)]
            paints.append(self._paint(self._line(artery, 2.8), "vessel", stage="vessel", grain=0))
            paints.append(self._paint(self._line(vein, 4.5), "vessel", stage="vessel", grain=0))
        for shape in self._pair((40, 24, -46), (4, 3.5, 7), (0, 0, 10)):
            paints.append(self._paint(shape, "lymph"))
        eyes = self._pair((32, -62, 34), (12, 12, 12))
        paints.extend(self._paint(shape, "fluid", name="eye", grain=0) for shape in eyes)
        orbits = self._pair((29, -46, 34), (15, 24, 15))
        paints = [self._paint(shape, "fat", name="orbit") for shape in orbits] + paints
        return paints

    def airways(self) -> list[Paint]:
        """Return nasopharynx, nose, sinuses and throat, lined with mucosa."""
        thick = self._anatomy.adenoid
        lining: list[Shape] = []
        lumen: list[Shape] = []

        def cavity(centre: Point, half: Point, wall: float, turn: Point = (0, 0, 0)) -> None:
            grown = (half[0] + wall, half[1] + wall, half[2] + wall)
            lining.append(self._blob(centre, grown, turn))
            lumen.append(self._blob(centre, half, turn))

        cavity((0, -2, 0), (12, 8, 14), thick)
        for side in (-1, 1):
            cavity((side * 14, 6, 3), (2.2, 5.5, 7), 0.7 * thick, (0, 0, side * -35))
            cavity((side * 6, -42, 4), (4, 34, 17), 1.5)
        cavity((0, 4, -42), (11, 6.5, 26), 2.5)
        cavity((0, 2, -90), (9, 8, 30), 2.5)
        paints = [self._paint(shape, "mucosa", stage="vessel") for shape in lining]
        paints += [
            self._paint(shape, "air", stage="airway", name="airway", grain=0) for shape in lumen
        ]
        for side in (-1, 1):
            for height in (-6, 6):
                turbinate = self._line(
                    [(side * 6, -64, height), (side * 6.5, -42, height), (side * 6, -24, height)],
                    (2.5, 3.2, 2.5),
                )
                paints.append(self._paint(turbinate, "mucosa", stage="airway"))
            full = self._anatomy.sinus if side > 0 else 0.0
            inside = "fluid" if full > 0.5 else "air"
            sinus = self._blob((side * 29, -42, 4), (14, 17, 17))
            paints.append(
                self._paint(
                    sinus,
                    "compact",
                    stage="bone",
                    name="sinus",
                    layers=((1.0, "mucosa"), (2.2, inside)),
                    grain=0,
                )
            )
        sphenoid = self._blob((0, -6, 30), (14, 11, 8))
        paints.append(
            self._paint(
                sphenoid, "mucosa", stage="top", name="sinus", layers=((1.2, "air"),), grain=0
            )
        )
        palate = self._blob((0, -10, -19), (14, 13, 4.5), (-24, 0, 0))
        paints.append(self._paint(palate, "muscle", stage="airway", name="palate"))
        return paints
