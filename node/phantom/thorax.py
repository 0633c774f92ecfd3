"""A chest as a scene, with the places where a cohort puts what it studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from node.phantom.chest_base import upper_abdomen
from node.phantom.chest_lungs import Organs
from node.phantom.chest_organs import organ_paints
from node.phantom.chest_wall import Wall, wall_paints
from node.phantom.grid import UPRIGHT, Point, Pose
from node.phantom.scene import Paint, Scene
from node.phantom.tissue import Contrast, contrast


@dataclass(frozen=True, kw_only=True)
class ChestAnatomy:
    """One patient's chest, without contrast medium and pose.

    Attributes
    ----------
    sex : "F" or "M"
    age : years
    wall, organs : what differs between patients
    seed : the textures' and small branches' own stream
    """

    sex: str
    age: float
    wall: Wall
    organs: Organs
    seed: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> ChestAnatomy:
        """Return one patient of many."""
        female = bool(rng.random() < 0.52)
        age = float(np.clip(rng.normal(57, 14), 20, 90))
        return cls(
            sex="F" if female else "M",
            age=age,
            wall=Wall.drawn(rng, female=female),
            organs=Organs.drawn(rng, age=age),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True, kw_only=True)
class Thorax:
    """A chest to put things into.

    Attributes
    ----------
    scene : Scene
        Names of paints: body, shoulder, breast, fat, muscle, bone, canal, lung, lung vessel,
        heart fat, heart, aorta, artery, cava, brachiocephalic vein, pulmonary, vein, azygos,
        hollow vein, airway, oesophagus, thyroid, diaphragm, liver, spleen, stomach.
    landmarks : mapping of name to a point in the body, mm
    anatomy, blood : what it was drawn from
    """

    scene: Scene
    landmarks: Mapping[str, Point]
    anatomy: ChestAnatomy
    blood: Contrast

    @property
    def width_mm(self) -> float:
        """Return the width of the body at its widest, without shoulders."""
        wall = self.anatomy.wall
        return 2 * (130 * wall.size[0] + 18 * wall.muscle * wall.size[0] + 1.15 * wall.fat_mm)

    def with_paints(self, *groups: Paint | tuple[Paint, ...] | list[Paint]) -> Thorax:
        """Return the chest with more in it."""
        paints: list[Paint] = []
        for group in groups:
            paints.extend([group] if isinstance(group, Paint) else group)
        return replace(self, scene=self.scene.with_paints(paints))


#: Places in the average chest.
_LANDMARKS: Mapping[str, Point] = {
    "carina": (0, 8, 0),
    "anterior_mediastinum": (2, -56, 6),
    "anterior_mediastinum_right": (-22, -54, 0),
    "anterior_mediastinum_left": (28, -54, -2),
    "anterior_mediastinum_high": (0, -50, 44),
    "anterior_mediastinum_low": (0, -70, -14),
    "thymic_bed": (2, -52, 22),
    "cardiophrenic_right": (-50, -50, -80),
    "cardiophrenic_left": (78, -56, -86),
    "pericardium_right": (-58, -34, -70),
    "paratracheal": (-17, 2, 32),
    "prevascular": (12, -40, 34),
    "aortopulmonary": (24, -4, 20),
    "subcarinal": (-1, 18, -22),
    "hilum_right": (-48, 8, -18),
    "hilum_left": (48, 12, -14),
    "ascending_aorta": (-15, -28, 2),
    "aortic_arch": (6, -4, 41),
    "descending_aorta": (21, 34, -20),
    "heart": (20, -32, -70),
    "thyroid": (0, -10, 124),
    "thyroid_right_pole": (-16, -8, 102),
    "thyroid_left_pole": (16, -8, 102),
    "axilla_right": (-120, 6, 62),
    "axilla_left": (120, 6, 62),
    "lung_right": (-78, 0, 10),
    "lung_left": (78, 0, 10),
}


def thorax(
    anatomy: ChestAnatomy,
    *,
    phase: str = "portal",
    rng: np.random.Generator | None = None,
    blood: Contrast | None = None,
    pose: Pose = UPRIGHT,
) -> Thorax:
    """Return the chest of one patient in one phase and pose.

    Parameters
    ----------
    anatomy : ChestAnatomy
    phase : "none", "early" or "portal"
    rng : draws how strongly the patient's vessels are opacified; part of the acquisition
    blood : what tissues measure, instead of drawing it (e.g. veins that are not opacified)
    pose : how the patient lies in the scanner
    """
    blood = blood or contrast(phase, rng or np.random.default_rng(anatomy.seed))
    wall, organs = anatomy.wall, anatomy.organs
    own = np.random.default_rng(anatomy.seed)
    paints = [
        *wall_paints(wall, own),
        *organ_paints(wall, organs, blood, own),
        *upper_abdomen(wall, organs, blood, own),
    ]
    return Thorax(
        scene=Scene(paints=tuple(paints), pose=pose),
        landmarks={name: wall.at(*point) for name, point in _LANDMARKS.items()},
        anatomy=anatomy,
        blood=blood,
    )
