"""What a chest CT shows below the diaphragm: liver, spleen and stomach, in fat."""

from __future__ import annotations

import numpy as np

from node.phantom import tissue
from node.phantom.chest_lungs import Organs, dome
from node.phantom.chest_wall import Wall, cavity_bounds
from node.phantom.scene import Layer, Paint
from node.phantom.shapes import Both, Ellipsoid, Region, Shape, Waves, Wavy
from node.phantom.tissue import Contrast


def upper_abdomen(
    wall: Wall, organs: Organs, blood: Contrast, rng: np.random.Generator
) -> list[Paint]:
    """Return what a chest CT shows below the diaphragm: liver, spleen, stomach, in fat."""
    below = dome(wall, organs)
    low, high = cavity_bounds(wall)
    box = (low, (high[0], high[1], organs.dome_mm + 2.0))
    under = Region(box, lambda lattice: np.maximum(below(lattice), wall.cavity(lattice)))
    inner = Region(
        box,
        lambda lattice: np.maximum(below(lattice) + 3.0, wall.cavity(lattice, -4.0)),
    )

    def organ(name: str, value: float, shape: Shape, layers: tuple[Layer, ...] = ()) -> Paint:
        return Paint(shape=Both((inner, shape)), value=value, name=name, layers=layers, edge_mm=1.0)

    z = organs.dome_mm
    liver = Wavy(
        Ellipsoid(wall.at(-44, -8, z - 62), (96, 84, 78), (0, -12, 0)), Waves.drawn(rng, 70), 3.0
    )
    left_lobe = Ellipsoid(wall.at(18, -44, z - 44), (52, 32, 34), (0, -14, 0))
    spleen = Wavy(
        Ellipsoid(wall.at(84, 40, z - 58), (26, 40, 42), (0, 0, 30)), Waves.drawn(rng, 40), 2.0
    )
    stomach = Wavy(
        Ellipsoid(wall.at(56, -8, z - 52), (34, 40, 40), (0, 20, 0)), Waves.drawn(rng, 45), 3.0
    )
    fluid = float(rng.uniform(0, 40))
    level = wall.at(0, float(rng.uniform(-28, 0)), 0)[1]
    gas_box = ((-400.0, -400.0, -400.0), (400.0, level, 400.0))
    gas = Region(
        gas_box, lambda lattice: np.broadcast_to(lattice.y - np.float32(level), lattice.shape)
    )
    hollow = Wavy(Ellipsoid(wall.at(56, -8, z - 52), (29, 35, 35), (0, 20, 0)), stomach.waves, 3.0)
    return [
        Paint(
            shape=under,
            value=tissue.MUSCLE,
            layers=(Layer(3.0, tissue.FAT),),
            name="diaphragm",
            stage="fat",
        ),
        organ("stomach", blood.bowel_wall, stomach, (Layer(4.0, fluid),)),
        Paint(shape=Both((inner, hollow, gas)), value=tissue.GAS, name="stomach"),
        organ("spleen", blood.spleen, spleen),
        organ("liver", blood.liver, liver),
        organ("liver", blood.liver, left_lobe),
    ]
