"""What the networks see of a node, the same in training and in a run."""

import tomllib
from pathlib import Path

import numpy as np
from torch import nn

from node.toolkit.crops import adjustable_crop, fixed_crop, largest_slice
from node.toolkit.diameters import longest_in_plane
from node.toolkit.intensity import hu_window
from node.toolkit.networks import cam_layer, classifier
from node.toolkit.settings import check_numbers, check_ranges

FOLDER = Path(__file__).resolve().parent
SETTINGS = tomllib.loads((FOLDER / "plugin.toml").read_text(encoding="utf-8"))["parameters"]
IMAGE, REGION = "ct", "axillary_node"
#: Fixed size crop: all nodes at one scale. Adjustable square crop: each node fills its image.
CROPS = ("fsc", "asc")
check_numbers(
    SETTINGS,
    {
        **{"fsc_mm": (1.0, 500.0), "asc_factor": (0.5, 20.0), "input_px": (32, 1024)},
        **{"width": (0.01, 4.0), "dropout": (0.0, 0.9), "slices_beside": (0, 20)},
        **{"fsc_share": (0.0, 1.0), "threshold": (0.0, 1.0)},
    },
)
check_ranges(SETTINGS, ("window_low_hu", "window_high_hu"), ("least_hu", "most_hu"))
SIZE = (SETTINGS["input_px"], SETTINGS["input_px"])
#: A slice shows the node if its area is at least this share of the largest.
LEAST_AREA = 0.6


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


def heat_layer(crop, network):
    """Return the layer of a crop's network that Grad-CAM looks at; raises if it has none such."""
    name = SETTINGS[f"{crop}_network"]
    layer = SETTINGS["cam_layer"] or cam_layer(name)
    if layer not in dict(network.named_modules()):
        raise ValueError(
            f'cam_layer is {layer!r}, which {name} does not have; set it to "" for the last layer '
            "of each network"
        )
    return layer


def not_a_node(volume, mask):
    """Return why an outline cannot hold a node, or "": its size, or what is in it.

    The networks say something of anything: of a click, of lung, of bone, of HU 1024 too high, of
    a node that the scanner's field of view cut off.
    """
    found = longest_in_plane(mask, volume.spacing_mm[1:])
    longest_mm = 0.0 if found is None else found[0]
    if not SETTINGS["least_mm"] <= longest_mm <= SETTINGS["most_mm"]:
        return (
            f"its outline is {longest_mm:.1f} mm long in its longest slice, and a node is expected "
            f"to be {SETTINGS['least_mm']:g} to {SETTINGS['most_mm']:g} mm; outline the whole node "
            "and nothing else"
        )
    if volume.padding is not None and volume.padding[mask].any():
        return (
            "the images hold no values in a part of its outline (padding outside of the field of "
            "view); send images that show all of the node"
        )
    low, high = SETTINGS["least_hu"], SETTINGS["most_hu"]
    middle = float(np.median(volume.array[mask]))
    if low <= middle <= high:
        return ""
    return (
        f"this does not look like a lymph node: half of the outline lies above {middle:.0f} HU and "
        f"half below, and a node's middle is expected between {low:g} and {high:g} HU"
    )


def slice_beside(mask, away):
    """Return the index of the slice so many away from the largest, if it shows the node too."""
    areas, largest = np.count_nonzero(mask, axis=(1, 2)), largest_slice(mask)
    at = int(np.clip(largest + away, 0, len(mask) - 1))
    return at if areas[at] >= LEAST_AREA * areas[largest] else largest


def crops_of(volume, mask, *, slice_index=None, wider=1.0):
    """Return the two crops of a node by name, in HU: its largest slice, or another one.

    `wider` stretches the box that the adjustable crop goes by, as a larger contour would.
    """
    fixed = {"side_mm": SETTINGS["fsc_mm"], "size": SIZE, "slice_index": slice_index}
    factor = SETTINGS["asc_factor"] * wider
    return {
        "fsc": fixed_crop(volume, mask, **fixed),
        "asc": adjustable_crop(volume, mask, factor=factor, size=SIZE, slice_index=slice_index),
    }


def image_of(crop):
    """Return a crop as the network sees it: float32 in [0, 1], shape (1, rows, columns)."""
    low, high = SETTINGS["window_low_hu"], SETTINGS["window_high_hu"]
    return hu_window(crop.image, low, high)[None].astype(np.float32)
