"""What the network sees of a case, the same in training and in a run."""

from pathlib import Path

import numpy as np

from node.toolkit.grids import box_around, grid_of, resample, to_isotropic
from node.toolkit.intensity import hu_window
from node.toolkit.networks import unet

#: All of these are our choice; the paper states none of them.
SPACING_MM = 3.0
WINDOW_HU = (-160.0, 240.0)
BODY_HU = -500.0
MARGIN_MM = 10.0
#: Windows of the network, in voxels (slices, rows, columns): 144 x 168 x 192 mm.
PATCH = (48, 56, 64)

FOLDER = Path(__file__).resolve().parent


def network():
    """Return the untrained 3D U-Net; logits of one class."""
    return unet(
        inputs=1, outputs=1, channels=(16, 32, 64, 128), strides=(2, 2, 2), residual_units=2
    )


def image_of(volume):
    """Return (float32 image in [0, 1], its Grid): equal steps, canonical, only the patient.

    Shape (slices, rows, columns) on both; the image is cut to the box of the body.
    """
    even = to_isotropic(volume, SPACING_MM)
    grid = grid_of(even)
    body = even.array > BODY_HU
    # A table lies apart from the body, but its box may be larger: rows that are mostly air go.
    busy = body & (body.mean(axis=2, keepdims=True) > 0.02)
    box = box_around(busy if busy.any() else np.ones(grid.shape, bool), grid, margin_mm=MARGIN_MM)
    part = even.array[box.slices]
    return hu_window(part, *WINDOW_HU), cut(grid, box)


def cut(grid, box):
    """Return the grid of the part of `grid` inside `box`."""
    affine = grid.affine.copy()
    affine[:3, 3] = (grid.affine @ [*box.start, 1])[:3]
    return type(grid)(
        shape=tuple(b - a for a, b in zip(box.start, box.stop, strict=True)), affine=affine
    )


def mask_on(mask, volume, grid):
    """Return a mask of the source grid on the network's grid: float32 share of each voxel."""
    return resample(mask.astype(np.float32), grid_of(volume), grid, order="linear", fill=0.0)
