"""What tissues measure: HU, and how contrast medium changes them from phase to phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PHASES = ("none", "early", "portal")

AIR, LUNG, FAT, WATER = -1000.0, -860.0, -105.0, 4.0
SKIN, MUSCLE, CARTILAGE = 25.0, 55.0, 115.0
SPONGY_BONE, COMPACT_BONE, DISC, CORD = 160.0, 620.0, 85.0, 38.0
GAS = -980.0


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """HU of what takes up contrast medium, in one patient and phase.

    Attributes
    ----------
    phase : "none", "early" (arterial) or "portal"
    aorta, pulmonary, cava, veins : blood in arteries, pulmonary trunk, superior caval vein and
        right heart, and the veins of neck and arm on the other side
    portal : portal and hepatic veins
    heart : heart muscle
    thyroid, liver, spleen, kidney, pancreas, bowel_wall, node : organs
    wash : 0..1
        How far soft tissue has taken up the medium; for masses.
    """

    phase: str
    aorta: float
    pulmonary: float
    cava: float
    veins: float
    portal: float
    heart: float
    thyroid: float
    liver: float
    spleen: float
    kidney: float
    kidney_core: float
    pancreas: float
    bowel_wall: float
    node: float
    wash: float


_MEANS = {
    "none": {
        "aorta": 42, "pulmonary": 42, "cava": 42, "veins": 42, "portal": 42, "heart": 45,
        "thyroid": 105, "liver": 58, "spleen": 48, "kidney": 34, "kidney_core": 30,
        "pancreas": 42, "bowel_wall": 38, "node": 38, "wash": 0.0,
    },
    "early": {
        "aorta": 310, "pulmonary": 250, "cava": 330, "veins": 90, "portal": 75, "heart": 100,
        "thyroid": 170, "liver": 70, "spleen": 115, "kidney": 165, "kidney_core": 70,
        "pancreas": 105, "bowel_wall": 75, "node": 70, "wash": 0.55,
    },
    "portal": {
        "aorta": 155, "pulmonary": 150, "cava": 145, "veins": 140, "portal": 175, "heart": 105,
        "thyroid": 150, "liver": 112, "spleen": 125, "kidney": 180, "kidney_core": 150,
        "pancreas": 95, "bowel_wall": 85, "node": 85, "wash": 1.0,
    },
}  # fmt: skip
#: One patient's dose and heart: all enhancement is scaled together.
_SPREAD = {"none": 0.0, "early": 0.16, "portal": 0.12}


def contrast(phase: str, rng: np.random.Generator) -> Contrast:
    """Draw what one patient's tissues measure in a phase.

    Raises
    ------
    KeyError
        Unknown phase; `PHASES` has them.
    """
    plain, means = _MEANS["none"], _MEANS[phase]
    factor = float(np.clip(rng.normal(1.0, _SPREAD[phase]), 0.6, 1.45))
    blood = float(rng.normal(0, 4))
    values: dict[str, float] = {}
    for name, mean in means.items():
        own = 1.0 if phase == "none" else float(np.clip(rng.normal(1.0, 0.06), 0.8, 1.2))
        values[name] = plain[name] + (mean - plain[name]) * factor * own + rng.normal(0, 2.0)
    for name in ("aorta", "pulmonary", "cava", "veins", "portal"):
        values[name] += blood
    values["wash"] = float(np.clip(means["wash"] * factor, 0, 1.2))
    return Contrast(phase=phase, **values)
