"""Breast and armpit on a chest: fat of the armpit, its vessels, lymph nodes, breast tumours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from node.phantom.chest_wall import EVERYWHERE
from node.phantom.grid import Lattice, Point, axial_grid, turned
from node.phantom.masses import Inside, Radial, mass, mass_paints
from node.phantom.scene import Layer, Paint, Texture
from node.phantom.shapes import (
    Both,
    Ellipsoid,
    Grown,
    Region,
    Shape,
    Tube,
    Union,
    Waves,
    Wavy,
    Without,
    tube,
)
from node.phantom.thorax import ChestAnatomy, Thorax
from node.phantom.tissue import FAT, SKIN


@dataclass(frozen=True, kw_only=True)
class Node:
    """One lymph node as the generator sees it.

    Attributes
    ----------
    short_mm, long_mm : axes; the third lies between
    cortex_mm : mean thickness of the cortex; half of `short_mm` leaves no hilum
    hilum : share of the inner part that is fat, 0..1
    eccentric : 0 even cortex, 1 all of its excess on one side
    roughness : 0 smooth margin .. 1 lobulated and spiculated
    stranding : 0 clean fat around it .. 1 dense streaks
    hu : of the cortex
    notch : 0 an oval .. 1 a bean
    """

    short_mm: float
    long_mm: float
    cortex_mm: float
    hilum: float
    eccentric: float
    roughness: float
    stranding: float
    hu: float
    notch: float = 0.0


#: Streaks lie in what is darker than this, not in muscle or vessels.
_NO_FAT_HU = -25.0
#: Ribs end so far outside of the chest's inner wall.
_RIBS_MM = 11.0
#: Levels I to III and the sides, in the average chest.
_PLACES: dict[str, Point] = {
    "level_1": (131, 4, 36),
    "level_2": (112, -16, 60),
    "level_3": (94, -26, 78),
}


def female_anatomy(rng: np.random.Generator) -> ChestAnatomy:
    """Draw a chest until it is a woman's; uses up a varying part of the stream."""
    while True:
        anatomy = ChestAnatomy.drawn(rng)
        if anatomy.sex == "F":
            return anatomy


def armpit(thorax: Thorax, rng: np.random.Generator) -> tuple[Paint, ...]:
    """Return the fat of both armpits between the muscles, with its vessels."""
    wall, paints = thorax.anatomy.wall, []
    outside = Region(EVERYWHERE, lambda lattice: _RIBS_MM - wall.cavity(lattice))
    for side in (-1, 1):
        fat = Union(
            (
                Ellipsoid(wall.at(side * 130, 6, 38), (24, 35, 48), (0, side * -8, side * -10)),
                Ellipsoid(wall.at(side * 112, -16, 64), (26, 20, 26), (0, 0, side * -30)),
            ),
            blend_mm=12.0,
        )
        streaks = Texture(Waves.drawn(rng, 11.0, count=6), 7.0)
        # The armpit may bulge: skin where there would be air.
        paints.append(
            Paint(
                shape=Grown(fat, 5.0),
                value=SKIN,
                name="body",
                stage="body",
                layers=(Layer(2.2, FAT),),
                under=FAT - 50,
            )
        )
        paints.append(
            Paint(
                shape=Both((Wavy(fat, Waves.drawn(rng, 30.0), 1.5), outside)),
                value=FAT,
                texture=streaks,
                name="armpit fat",
                stage="fat",
            )
        )
        minor = tube(
            [wall.at(side * 86, -46, 92), wall.at(side * 80, -52, 60), wall.at(side * 74, -62, 20)],
            (6.0, 7.0, 6.0),
        )
        flat = Tube(minor.points, minor.radii, squash=(0.6, 1.0, 1.0))
        paints.append(Paint(shape=flat, value=55.0, name="muscle", stage="fat"))
        for offset, value in ((0, thorax.blood.aorta), (8, thorax.blood.veins)):
            line = [
                wall.at(side * 64, -4 - offset, 98),
                wall.at(side * 92, -2 - offset, 84),
                wall.at(side * 118, 4 - offset, 72),
                wall.at(side * 146, 8 - offset, 78),
            ]
            shape = tube(line, (3.6, 3.4, 3.0, 2.6))
            paints.append(Paint(shape=shape, value=value, name="axillary vessel", stage="vessel"))
        branch = [
            wall.at(side * 116, 4, 70),
            wall.at(side * 120, 16, 40),
            wall.at(side * 116, 22, 5),
        ]
        paints.append(
            Paint(
                shape=tube(branch, 1.6),
                value=thorax.blood.veins,
                name="axillary vessel",
                stage="vessel",
            )
        )
    return tuple(paints)


def place(thorax: Thorax, level: str, side: str, rng: np.random.Generator) -> Point:
    """Return a place for a node of "level_1" to "level_3" on the "left" or "right"."""
    x, y, z = _PLACES[level]
    sign = 1 if side == "left" else -1
    wall = thorax.anatomy.wall
    middle = np.array(wall.at(sign * x, y, z)) + rng.normal(0, 1, 3) * np.array([2, 6, 8])
    here = Lattice.of(axial_grid((1, 1, 1), (1.0, 1.0, 1.0), _point(middle)))
    # Never within the ribs.
    middle[0] += sign * max(0.0, _RIBS_MM + 8.0 - float(wall.cavity(here)[0, 0, 0]))
    return _point(middle)


def lymph_node(
    centre: Point, node: Node, rng: np.random.Generator, *, name: str = "lymph node"
) -> tuple[Paint, ...]:
    """Return a node: streaks about it, cortex, fatty hilum, and spicules of a rough margin.

    Each part has a stream of its own, so that changing one property leaves the others as they
    were. `Scene.mask(grid, name)` is the node with its hilum, without streaks.
    """
    lie, surface, tissue, around, spikes, inside = rng.spawn(6)
    short, long = node.short_mm / 2, node.long_mm / 2
    half = (short, 0.5 * (short + long), long)
    turn = lie.uniform(-50, 50, 3)
    angles = _point(turn)
    body: Shape = Ellipsoid(centre, half, angles)
    if node.roughness > 0.05:
        waves = Waves.drawn(surface, 1.2, count=8)
        body = Radial(centre, half, angles, waves, 0.15 * node.roughness)
    if node.notch > 0:
        body = Without(body, _notch(centre, half, angles, node.notch))
    paints = []
    if node.stranding > 0:
        paints.extend(_streaks(centre, half, angles, node, around, name))
    if node.roughness > 0.05:
        paints.append(_spicules(centre, half, angles, node, spikes, name))
    texture = Texture(Waves.drawn(tissue, 5.0), 4.0)
    paints.append(
        Paint(shape=body, value=node.hu, texture=texture, name=name, stage="mass", edge_mm=0.6)
    )
    inner = np.array(half) - node.cortex_mm
    if node.hilum > 0 and (inner > 0.6).all():
        away = inside.standard_normal(3)
        away *= node.eccentric * node.cortex_mm * 0.8 / np.linalg.norm(away)
        hilum = Ellipsoid(_point(np.array(centre) + away), _point(inner), angles)
        value = node.hu + node.hilum * (FAT - node.hu)
        paints.append(Paint(shape=hilum, value=value, name=name, stage="mass", edge_mm=1.2))
    return tuple(paints)


def _notch(centre: Point, half: Point, angles: Point, depth: float) -> Ellipsoid:
    """Return what a bean lacks on one side: a dent of `depth` half axes."""
    offset = turned(angles) @ np.array((half[0] * 1.25, 0.0, 0.0))
    size = (half[0] * (0.25 + depth), half[1] * 0.5, half[2] * 0.45)
    return Ellipsoid(_point(np.array(centre) + offset), size, angles)


def _streaks(
    centre: Point, half: Point, angles: Point, node: Node, rng: np.random.Generator, name: str
) -> list[Paint]:
    """Return denser fat around a node, and strands in it; both end where the fat ends."""
    texture = Texture(Waves.drawn(rng, 4.0, count=8), 24.0 * node.stranding)
    haze = Paint(
        shape=Ellipsoid(centre, _point(np.array(half) + 5.0), angles),
        value=FAT + 50 * node.stranding,
        texture=texture,
        edge_mm=5.0,
        strength=0.9 * node.stranding,
        under=_NO_FAT_HU,
        name=f"{name} streaks",
        stage="mass",
    )
    strands = []
    for _ in range(22):
        away, aside = rng.standard_normal((2, 3))
        away /= np.linalg.norm(away)
        foot = np.array(centre) + turned(angles) @ (away * np.array(half))
        tip = foot + rng.uniform(4, 6) * (away + 0.4 * aside / np.linalg.norm(aside))
        strands.append(Tube(np.stack([foot, tip]), np.array([1.5, 1.0])))
    lines = replace(
        haze, shape=Union(tuple(strands)), value=35.0, texture=None, edge_mm=0.0,
        strength=0.8 * node.stranding,
    )  # fmt: skip
    return [haze, lines]


def _spicules(
    centre: Point, half: Point, angles: Point, node: Node, rng: np.random.Generator, name: str
) -> Paint:
    """Return spikes from the node into the fat; the rougher, the longer."""
    spikes = []
    for _ in range(14):
        away = rng.standard_normal(3)
        away /= np.linalg.norm(away)
        surface = turned(angles) @ (away * np.array(half))
        reach = 1 + node.roughness * rng.uniform(2, 5) / float(np.linalg.norm(surface))
        points = np.array(centre) + np.stack([0.7 * surface, reach * surface])
        spikes.append(Tube(points, np.array([1.7, 0.5])))
    return Paint(
        shape=Union(tuple(spikes)), value=node.hu - 15, name=f"{name} streaks", stage="mass"
    )


def breast_tumour(
    thorax: Thorax, rng: np.random.Generator, *, side: str = "left", diameter_mm: float = 20.0
) -> tuple[Paint, ...]:
    """Return an enhancing tumour in one breast."""
    wall = thorax.anatomy.wall
    sign = 1 if side == "left" else -1
    front = wall.front_y(-40) - 14 - wall.fat_mm
    centre = np.array(
        (sign * 82 * wall.size[0], front - 0.15 * wall.breasts_mm, -48 * wall.size[2])
    )
    shape = mass("spiculated", _point(centre + rng.normal(0, 8, 3)), diameter_mm, rng)
    hu = 45 + 55 * thorax.blood.wash
    return mass_paints(shape, hu, Inside(rim_hu=10.0), rng, name="breast tumour")


def _point(values: np.ndarray) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
