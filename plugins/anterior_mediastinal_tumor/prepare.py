"""What the network sees of a case, the same in training and in a run."""

import tomllib
from pathlib import Path

import numpy as np

from node.toolkit.grids import box_around, part_of, resample, to_spacing
from node.toolkit.intensity import hu_window
from node.toolkit.networks import unet

FOLDER = Path(__file__).resolve().parent
SETTINGS = tomllib.loads((FOLDER / "plugin.toml").read_text(encoding="utf-8"))["parameters"]
#: Between slices, rows and columns of what the network sees.
SPACING_MM = (SETTINGS["slice_mm"], SETTINGS["pixel_mm"], SETTINGS["pixel_mm"])
#: Windows of the network, in voxels (slices, rows, columns): 144 x 144 x 160 mm.
PATCH = (48, 72, 80)
BODY_HU = -500.0
LUNG_HU = (-960.0, -600.0)
SOFT_TISSUE_HU = (-150.0, 200.0)
#: Pixels a side of the squares whose means tell what an image shows.
BLOCK = 4
MARGIN_MM = 10.0


def network():
    """Return the untrained 3D U-Net; logits of one class."""
    return unet(
        inputs=1, outputs=1, channels=(16, 32, 64, 128), strides=(2, 2, 2), residual_units=2
    )


def not_a_chest(volume):
    """Return why the values are not those of a chest CT, or "": little lung, little tissue.

    The network says something of anything: of water, of noise, of HU that are 1024 too high.
    """
    rows, columns = (n - n % BLOCK for n in volume.array.shape[1:])
    blocks = volume.array[:, :rows, :columns].astype(np.float32)
    # Means of blocks: noise alone makes neither lung nor tissue.
    blocks = blocks.reshape(len(blocks), rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    hu = blocks.mean(axis=(2, 4))
    ml = volume.voxel_volume_mm3 * BLOCK**2 / 1000
    for name, (low, high), least_ml in (
        ("lung", LUNG_HU, SETTINGS["least_lung_ml"]),
        ("soft tissue", SOFT_TISSUE_HU, SETTINGS["least_soft_tissue_ml"]),
    ):
        found_ml = float(((hu >= low) & (hu <= high)).sum()) * ml
        if found_ml < least_ml:
            return (
                f"this does not look like a chest CT: {found_ml:.0f} mL between {low:g} and "
                f"{high:g} HU ({name}), and at least {least_ml:g} mL are asked for"
            )
    return ""


def image_of(volume):
    """Return (float32 image in [0, 1], its Grid): steps of the network, canonical, the patient.

    Shape (slices, rows, columns) on both; the image is cut to the box of the body.
    """
    even = to_spacing(volume, SPACING_MM)
    grid = even.grid
    body = even.array > BODY_HU
    # A table lies apart from the body, but its box may be larger: rows that are mostly air go.
    busy = body & (body.mean(axis=2, keepdims=True) > 0.02)
    box = box_around(busy if busy.any() else np.ones(grid.shape, bool), grid, margin_mm=MARGIN_MM)
    image = hu_window(even.array[box.slices], SETTINGS["window_low_hu"], SETTINGS["window_high_hu"])
    return image, part_of(grid, box)


def mask_on(mask, volume, grid):
    """Return a mask of the source grid on the network's grid: float32 share of each voxel."""
    return resample(mask.astype(np.float32), volume.grid, grid, order="linear", fill=0.0)
