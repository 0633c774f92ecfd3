"""What looks like a mass of the anterior mediastinum and is none; each for a cohort to place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from node.phantom.chest_lungs import lung_shapes
from node.phantom.grid import Point
from node.phantom.masses import Inside, mass, mass_paints
from node.phantom.scene import Layer, Paint, Texture
from node.phantom.shapes import Both, Ellipsoid, Shape, Union, Waves, Wavy, tube
from node.phantom.thorax import Thorax
from node.phantom.tissue import FAT, WATER

Paints = tuple[Paint, ...]


def thymic_remnant(thorax: Thorax, rng: np.random.Generator) -> Paints:
    """Return an arrow-shaped thymus: two thin lobes of tissue streaked with fat."""
    wall = thorax.anatomy.wall
    x, y, z = thorax.landmarks["thymic_bed"]
    thick, reach = float(rng.uniform(4, 8)), float(rng.uniform(17, 27))
    lobes: list[Shape] = []
    for side in (-1, 1):
        centre = (x + side * 9.0 + float(rng.normal(0, 2)), y + 1, z + float(rng.normal(-6, 6)))
        half = (float(rng.uniform(13, 18)), thick, reach * wall.size[2])
        lobes.append(Ellipsoid(centre, half, (4, 0, side * float(rng.uniform(22, 42)))))
    shape = Wavy(Union(tuple(lobes), blend_mm=6.0), Waves.drawn(rng, 18.0), 0.9)
    tissue_share = float(rng.uniform(0.25, 0.85))
    value = FAT + tissue_share * (38 + 25 * thorax.blood.wash - FAT)
    texture = Texture(Waves.drawn(rng, 7.0, count=7), 60.0 * (1 - tissue_share) + 8.0)
    return (
        Paint(
            shape=shape,
            value=value,
            texture=texture,
            name="thymus",
            stage="mass",
            edge_mm=4.0,
            over=-200.0,
        ),
    )


def nodes(
    thorax: Thorax,
    rng: np.random.Generator,
    *,
    places: tuple[str, ...] = ("paratracheal", "prevascular", "aortopulmonary", "subcarinal"),
    count: int = 4,
    short_mm: tuple[float, float] = (3.0, 8.0),
) -> Paints:
    """Return small nodes about these landmarks; short axes within `short_mm`."""
    paints = []
    for _ in range(count):
        place = np.array(thorax.landmarks[places[int(rng.integers(len(places)))]])
        centre = _point(place + rng.normal(0, 6, 3))
        short = float(rng.uniform(*short_mm)) / 2
        half = (short, short * float(rng.uniform(1.0, 1.3)), short * float(rng.uniform(1.1, 1.9)))
        turn = _point(rng.uniform(-60, 60, 3))
        fatty = rng.random() < 0.35 and short > 2.5
        layers = (Layer(0.55 * short, -50.0),) if fatty else ()
        paints.append(
            Paint(
                shape=Ellipsoid(centre, half, turn),
                value=thorax.blood.node,
                layers=layers,
                name="node",
                stage="mass",
            )
        )
    return tuple(paints)


def goitre(thorax: Thorax, rng: np.random.Generator) -> Paints:
    """Return a nodular thyroid that reaches down behind the breast bone, beside the windpipe."""
    side = "left" if rng.random() < 0.5 else "right"
    top = np.array(thorax.landmarks[f"thyroid_{side}_pole"])
    reach, width = float(rng.uniform(38, 62)), float(rng.uniform(13, 19))
    sign = 1 if side == "left" else -1
    points = [
        _point(top + np.array([0, -2, 6])),
        _point(top + np.array([sign * 2, -6, -0.45 * reach])),
        _point(top + np.array([sign * 1, -12, -reach])),
    ]
    shape = Wavy(tube(points, (0.8 * width, width, 0.75 * width)), Waves.drawn(rng, 22.0), 1.6)
    inside = Inside(
        cyst=float(rng.uniform(0.3, 0.5)) * float(rng.random() < 0.5),
        calcifications=int(rng.integers(0, 4)),
        unrest_hu=14.0,
    )
    return mass_paints(shape, thorax.blood.thyroid - 12, inside, rng, name="goitre")


def pericardial_cyst(thorax: Thorax, rng: np.random.Generator) -> Paints:
    """Return a thin-walled cyst of water at the heart's edge."""
    names = ("cardiophrenic_right", "pericardium_right", "cardiophrenic_left")
    name = names[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
    centre = _point(np.array(thorax.landmarks[name]) + rng.normal(0, 4, 3))
    half = _point(rng.uniform(11, 24) * rng.uniform(0.7, 1.0, 3))
    shape = Wavy(
        Ellipsoid(centre, half, _point(rng.uniform(-30, 30, 3))), Waves.drawn(rng, 40), 0.8
    )
    value = WATER + float(rng.uniform(-4, 10))
    return (Paint(shape=shape, value=value, name="cyst", stage="mass"),)


def aneurysm(thorax: Thorax, rng: np.random.Generator) -> Paints:
    """Return a widened ascending aorta or arch; one in three with clot along its wall."""
    arch = bool(rng.random() < 0.35)
    wall = thorax.anatomy.wall
    wide = float(rng.uniform(21, 29))
    if arch:
        line = [wall.at(-4, -18, 38), wall.at(8, -6, 42), wall.at(19, 12, 38)]
        radii = (16.0, wide, 15.0)
    else:
        line = [wall.at(-4, -26, -30), wall.at(-17, -31, -4), wall.at(-16, -27, 22)]
        radii = (17.0, wide, 16.0)
    shape = tube(line, radii, smooth=4)
    blood = Paint(
        shape=shape, value=thorax.blood.aorta, name="aneurysm", stage="vessel", edge_mm=1.0
    )
    if rng.random() > 1 / 3:
        return (blood,)
    clot_shape = tube(line, tuple(r + 5 for r in radii), smooth=4)
    clot = Paint(shape=clot_shape, value=38.0, name="aneurysm", stage="vessel")
    return (clot, blood)


def lung_nodule(thorax: Thorax, rng: np.random.Generator) -> Paints:
    """Return a small round nodule of one lung."""
    side = "left" if rng.random() < 0.5 else "right"
    centre = _point(np.array(thorax.landmarks[f"lung_{side}"]) + rng.normal(0, 18, 3))
    shape = mass("irregular", centre, float(rng.uniform(5, 16)), rng)
    return mass_paints(shape, float(rng.uniform(10, 60)), Inside(), rng, name="lung nodule")


def effusion(thorax: Thorax, rng: np.random.Generator) -> Paints:
    """Return a pleural effusion that lies in the back of one side."""
    side = 1 if rng.random() < 0.5 else -1
    wall = thorax.anatomy.wall
    centre = wall.at(side * 70, 74, -78)
    pool = Ellipsoid(centre, (58, float(rng.uniform(14, 34)), 88), (14, 0, side * -24))
    shape = Both((pool, lung_shapes(wall, thorax.anatomy.organs)[(side + 1) // 2]))
    return (
        Paint(
            shape=shape,
            value=WATER + float(rng.uniform(0, 12)),
            name="effusion",
            stage="lung",
        ),
    )


#: What `cohort.py` may choose from, by name.
DISTRACTORS: Mapping[str, Callable[[Thorax, np.random.Generator], Paints]] = {
    "thymic_remnant": thymic_remnant,
    "nodes": nodes,
    "goitre": goitre,
    "pericardial_cyst": pericardial_cyst,
    "aneurysm": aneurysm,
    "lung_nodule": lung_nodule,
    "effusion": effusion,
}


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
