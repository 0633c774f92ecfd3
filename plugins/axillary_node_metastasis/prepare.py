"""What the networks see of a node, the same in training and in a run."""

import tomllib
from pathlib import Path

import numpy as np
from torch import nn

from node.toolkit.crops import adjustable_crop, fixed_crop
from node.toolkit.intensity import hu_window
from node.toolkit.networks import classifier

FOLDER = Path(__file__).resolve().parent
SETTINGS = tomllib.loads((FOLDER / "plugin.toml").read_text(encoding="utf-8"))["parameters"]
IMAGE, REGION = "ct", "axillary_node"
#: Fixed size crop: all nodes at one scale. Adjustable square crop: each node fills its image.
CROPS = ("fsc", "asc")
SIZE = (SETTINGS["input_px"], SETTINGS["input_px"])


def networks():
    """Return the two untrained networks by crop; one logit each."""
    return nn.ModuleDict(
        {
            crop: classifier(
                SETTINGS[f"{crop}_network"], width=SETTINGS["width"], dropout=SETTINGS["dropout"]
            )
            for crop in CROPS
        }
    )


def crops_of(volume, mask):
    """Return the two crops of a node by name: its largest slice, in HU."""
    return {
        "fsc": fixed_crop(volume, mask, side_mm=SETTINGS["fsc_mm"], size=SIZE),
        "asc": adjustable_crop(volume, mask, factor=SETTINGS["asc_factor"], size=SIZE),
    }


def image_of(crop):
    """Return a crop as the network sees it: float32 in [0, 1], shape (1, rows, columns)."""
    low, high = SETTINGS["window_low_hu"], SETTINGS["window_high_hu"]
    return hu_window(crop.image, low, high)[None].astype(np.float32)
