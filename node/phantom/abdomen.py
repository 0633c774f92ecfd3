"""The upper abdomen below the chest: liver, stomach, pancreas, spleen, kidneys, and their fat.

The same body frame as the chest: z = 0 at the carina, the liver's dome near z = -95. One anatomy
drawn in two phases gives two series that fit each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from node.phantom import tissue
from node.phantom.chest_lungs import Organs, dome
from node.phantom.chest_organs import organ_paints
from node.phantom.chest_wall import Wall, cavity_bounds, wall_paints
from node.phantom.grid import UPRIGHT, Point, Pose
from node.phantom.scene import Layer, Paint, Scene, Texture
from node.phantom.shapes import Both, Ellipsoid, Region, Shape, Tube, Waves, Wavy, Without, tube
from node.phantom.thorax import ChestAnatomy
from node.phantom.tissue import Contrast, contrast


@dataclass(frozen=True, kw_only=True)
class Omentum:
    """The fat between the left lobe of the liver and the stomach.

    Attributes
    ----------
    size : factor on the width of the region
    fat_hu : mean of its fat
    stranding_hu : standard deviation of strands in it
    """

    size: float = 1.0
    fat_hu: float = -100.0
    stranding_hu: float = 6.0


@dataclass(frozen=True, kw_only=True)
class Abdomen:
    """An abdomen to put things into.

    Attributes
    ----------
    scene : Scene
        Names of paints beside the chest's: liver, stomach, gall bladder, pancreas, spleen,
        kidney, bowel, portal vein, hepatic vein, lesser omentum, hollow vein, aorta, artery.
    landmarks : mapping of name to a point in the body, mm
    anatomy, blood : what it was drawn from
    """

    scene: Scene
    landmarks: Mapping[str, Point]
    anatomy: ChestAnatomy
    blood: Contrast

    @property
    def width_mm(self) -> float:
        """Return the width of the body at its widest."""
        wall = self.anatomy.wall
        return 2 * (130 * wall.size[0] + 18 * wall.muscle * wall.size[0] + 1.15 * wall.fat_mm)

    def with_paints(self, *groups: Paint | tuple[Paint, ...] | list[Paint]) -> Abdomen:
        """Return the abdomen with more in it; what lies in an organ has the stage "top"."""
        paints: list[Paint] = []
        for group in groups:
            paints.extend([group] if isinstance(group, Paint) else group)
        return replace(self, scene=self.scene.with_paints(paints))


_LANDMARKS: Mapping[str, Point] = {
    "liver_dome": (-52, 0, -122),
    "liver_right": (-78, 4, -160),
    "liver_right_low": (-74, 6, -200),
    "liver_middle": (-36, -24, -160),
    "liver_left": (20, -50, -146),
    "pancreas_head": (-22, -20, -222),
    "pancreas_neck": (0, -22, -208),
    "pancreas_body": (24, -14, -199),
    "pancreas_tail": (62, 18, -180),
    "lesser_omentum": (14, -26, -178),
    "coeliac": (6, 0, -186),
    "stomach": (56, -18, -165),
    "spleen": (84, 40, -158),
    "portal_vein": (-16, -14, -190),
    "hepatoduodenal_node": (-14, -4, -200),
    "aortocaval_node": (-8, 14, -215),
    "kidney_right": (-60, 40, -232),
    "kidney_left": (60, 40, -222),
}


def abdomen(
    anatomy: ChestAnatomy,
    *,
    phase: str = "portal",
    rng: np.random.Generator | None = None,
    blood: Contrast | None = None,
    omentum: Omentum | None = None,
    pose: Pose = UPRIGHT,
) -> Abdomen:
    """Return the upper abdomen of one patient in one phase and pose.

    Parameters
    ----------
    anatomy : ChestAnatomy
        Whose trunk it is.
    phase, rng, blood, pose : as for `thorax`
    omentum : the fat at the lesser curvature
    """
    blood = blood or contrast(phase, rng or np.random.default_rng(anatomy.seed))
    own = np.random.default_rng(anatomy.seed)
    wall, organs = anatomy.wall, anatomy.organs
    build = _Abdomen(wall, organs, blood, np.random.default_rng([anatomy.seed, 1]))
    paints = [
        *wall_paints(wall, own),
        *organ_paints(wall, organs, blood, own),
        *build.fat(omentum or Omentum()),
        *build.stomach_and_bowel(),
        *build.solid(),
        *build.vessels(),
    ]
    return Abdomen(
        scene=Scene(paints=tuple(paints), pose=pose),
        landmarks={name: wall.at(*point) for name, point in _LANDMARKS.items()},
        anatomy=anatomy,
        blood=blood,
    )


class _Abdomen:
    """Places the organs of one abdomen."""

    def __init__(self, wall: Wall, organs: Organs, blood: Contrast, rng: np.random.Generator):
        self._wall, self._blood, self._rng = wall, blood, rng
        below = dome(wall, organs)
        low, high = cavity_bounds(wall)
        box = (low, (high[0], high[1], organs.dome_mm + 2.0))
        self._under = Region(box, lambda lattice: np.maximum(below(lattice), wall.cavity(lattice)))
        self._inner = Region(
            box, lambda lattice: np.maximum(below(lattice) + 3.0, wall.cavity(lattice, -4.0))
        )
        self._lift = organs.dome_mm + 95.0
        self._notch: Shape = Ellipsoid((0, 0, 0), (1, 1, 1))

    def _blob(
        self,
        centre: Point,
        half: Point,
        turn: Point = (0, 0, 0),
        wavy: tuple[float, float] = (0, 0),
    ) -> Shape:
        """Return an ellipsoid of the average abdomen in this one; wavy: wavelength, mm."""
        size = self._wall.size
        jitter = self._rng.normal(0, 1.5, 3)
        x, y, z = (a + b for a, b in zip(self._wall.at(*centre), jitter, strict=True))
        shape = Ellipsoid(
            (float(x), float(y), float(z)),
            (half[0] * size[0], half[1] * size[1], half[2] * size[2]),
            turn,
        )
        length, height = wavy
        return Wavy(shape, Waves.drawn(self._rng, length), height) if length else shape

    def _line(self, points: Sequence[Point], radii: float | Sequence[float]) -> Tube:
        return tube([self._wall.at(*point) for point in points], radii, smooth=4)

    def _organ(
        self,
        name: str,
        value: float,
        shape: Shape,
        *,
        layers: tuple[Layer, ...] = (),
        stage: str = "organ",
    ) -> Paint:
        inside = Both((self._inner, shape))
        texture = Texture(Waves.drawn(self._rng, 25.0, count=4), 2.5)
        return Paint(
            shape=inside,
            value=value,
            name=name,
            layers=layers,
            stage=stage,
            edge_mm=1.0,
            texture=texture,
        )

    def fat(self, omentum: Omentum) -> list[Paint]:
        """Return the fat of the belly, and that of the lesser omentum."""
        wide = omentum.size
        region = self._blob(
            (12, -28, -180), (30 * wide, 20 * wide, 30 * wide), (0, 0, 20), (40, 1.5)
        )
        self._notch = region
        strands = Texture(Waves.drawn(self._rng, 9.0, count=8), omentum.stranding_hu)
        return [
            Paint(
                shape=self._under,
                value=tissue.MUSCLE,
                layers=(Layer(3.0, tissue.FAT),),
                name="diaphragm",
                stage="fat",
            ),
            Paint(
                shape=Both((self._inner, region)),
                value=omentum.fat_hu,
                texture=strands,
                name="lesser omentum",
                stage="fat",
            ),
        ]

    def stomach_and_bowel(self) -> list[Paint]:
        """Return stomach with fluid and gas, and loops of bowel below."""
        blood, rng = self._blood, self._rng
        line = [(54, 4, -134), (60, -14, -164), (50, -36, -196), (20, -50, -214), (-8, -46, -212),
                (-24, -34, -208)]  # fmt: skip
        fluid = float(rng.uniform(0, 40))
        radii = np.array((30, 34, 25, 18, 14, 10)) * float(rng.uniform(0.75, 1.05))
        whole = self._line(line, list(radii))
        hollow = Tube(whole.points, np.maximum(whole.radii - 4.5, 1.0))
        level = float(rng.uniform(-46, -24)) * self._wall.size[1]
        box = ((-480.0, -480.0, -480.0), (480.0, level, 480.0))
        gas = Region(box, lambda t: np.broadcast_to(t.y - np.float32(level), t.shape))
        paints = [
            self._organ("stomach", blood.bowel_wall, whole),
            self._organ("stomach", fluid, hollow),
            self._organ("stomach", tissue.GAS, Both((hollow, gas))),
        ]
        colon = [(-92, 10, -330), (-90, 0, -250), (-60, -52, -238), (0, -64, -252), (60, -56, -236),
                 (92, -4, -196), (94, 26, -250), (92, 30, -340)]  # fmt: skip
        loops = [self._line(colon, 17.0)]
        for _ in range(7):
            start = np.array([rng.uniform(-50, 60), rng.uniform(-58, -10), rng.uniform(-330, -258)])
            steps = np.cumsum(rng.normal(0, 20, (4, 3)) * (1, 0.6, 0.6), axis=0)
            points = [(float(x), float(y), float(z)) for x, y, z in start + steps]
            loops.append(self._line(points, float(rng.uniform(9, 13))))
        for loop in loops:
            inside = float(rng.choice((20.0, 35.0, -40.0)))
            paints.append(
                self._organ("bowel", blood.bowel_wall, loop, layers=(Layer(3.0, inside),))
            )
        for loop in loops[:2]:
            bubble = Tube(loop.points - (0, 5, 0), loop.radii * 0.55)
            paints.append(self._organ("bowel", tissue.GAS, bubble))
        return paints

    def solid(self) -> list[Paint]:
        """Return liver, gall bladder, spleen, pancreas and kidneys."""
        blood, up = self._blood, self._lift
        liver = [
            self._blob((-58, -4, -157 + up), (80, 80, 80), (0, -14, 0), (70, 3.0)),
            self._blob((6, -54, -142 + up), (70, 27, 36), (0, -16, 8), (50, 2.0)),
            self._blob((-74, 6, -215), (44, 52, 40), (0, 8, 0), (50, 2.0)),
        ]
        pancreas = self._line(
            [(-24, -16, -232), (-20, -22, -216), (0, -24, -207), (24, -14, -199), (50, 6, -190),
             (76, 26, -174)], (12, 12.5, 8.5, 9.5, 9.5, 8))  # fmt: skip
        lobules = Wavy(pancreas, Waves.drawn(self._rng, 9.0), 0.9)
        paints = [
            self._organ(
                "spleen",
                blood.spleen,
                self._blob((84, 40, -158), (25, 38, 44), (0, 0, 30), (40, 2.0)),
            ),
            *(self._organ("liver", blood.liver, Without(shape, self._notch)) for shape in liver),
            self._organ(
                "gall bladder", 8.0, self._blob((-40, -44, -214), (14, 15, 26), (20, 0, 0))
            ),
            self._organ("pancreas", blood.pancreas, lobules),
        ]
        for side, height in ((-1, -238), (1, -226)):
            kidney = self._blob(
                (side * 60, 42, height), (26, 23, 52), (8, side * 10, side * 20), (40, 1.0)
            )
            sinus = self._blob((side * 50, 38, height), (13, 8, 26))
            pyramids = (Layer(8.0, blood.kidney_core),)
            paints.append(self._organ("kidney", blood.kidney, kidney, layers=pyramids))
            paints.append(self._organ("kidney", tissue.FAT, sinus))
            adrenal = self._line(
                [(side * 38, 24, -190), (side * 34, 16, -178), (side * 42, 26, -168)], 3.0
            )
            paints.append(self._organ("adrenal", blood.node, adrenal))
        return paints

    def vessels(self) -> list[Paint]:
        """Return portal and hepatic veins, and the branches of the aorta to the organs."""
        blood = self._blood
        portal = [
            ((0, -8, -330), (-2, -12, -250), (-4, -12, -208)),
            ((70, 26, -170), (36, 4, -186), (12, -8, -197), (-4, -11, -206)),
            ((-4, -11, -206), (-20, -14, -186), (-34, -16, -172)),
            ((-34, -16, -172), (-58, -6, -166), (-82, 0, -160)),
            ((-34, -16, -172), (-20, -34, -156), (8, -48, -148)),
            ((-58, -6, -166), (-70, -22, -146), (-78, -28, -128)),
            ((-58, -6, -166), (-76, 18, -184), (-90, 22, -198)),
        ]  # fmt: skip
        hepatic = [
            ((-24, 2, -114), (-50, 16, -128), (-86, 26, -160)),
            ((-24, 0, -114), (-38, -22, -130), (-52, -44, -170)),
            ((-24, 0, -113), (-2, -26, -124), (18, -46, -136)),
        ]
        arteries = [
            ((5, 16, -184), (5, 2, -188), (8, -4, -188)),
            ((8, -4, -188), (-6, -12, -190), (-22, -18, -190), (-34, -20, -174)),
            ((8, -4, -188), (30, 4, -184), (52, 18, -176), (74, 32, -164)),
            ((4, 14, -200), (3, 0, -212), (2, -8, -250), (2, -8, -320)),
            ((-2, 20, -222), (-24, 26, -226), (-46, 36, -234)),
            ((8, 20, -220), (28, 28, -220), (48, 36, -224)),
        ]
        paints = []
        for lines, radii, name, value, stage in (
            (portal, (6.5, 6.0, 4.5), "portal vein", blood.portal, "top"),
            (hepatic, (5.0, 4.0, 2.5), "hepatic vein", blood.portal - 8, "top"),
            (arteries, (3.6, 3.0, 2.2), "artery", blood.aorta, "vessel"),
        ):
            for number, line in enumerate(lines):
                factor = 1.0 if number < 3 else 0.75
                widths = np.interp(np.linspace(0, 1, len(line)), (0, 0.5, 1), radii) * factor
                shape = self._line(line, list(widths))
                paints.append(Paint(shape=shape, value=value, name=name, stage=stage, edge_mm=1.0))
        return paints
