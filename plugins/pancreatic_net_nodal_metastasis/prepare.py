"""What is measured of a tumour, the same in training and in a run."""

import tomllib
from functools import cache
from pathlib import Path

import numpy as np

from node.toolkit.crops import adjustable_crop
from node.toolkit.deep_features import backbone, deep_features, deep_names
from node.toolkit.intensity import hu_window
from node.toolkit.logistic import log_odds_of
from node.toolkit.radiomics import extract, feature_names, radiomics_settings
from node.toolkit.signature import only

FOLDER = Path(__file__).resolve().parent
MANIFEST = tomllib.loads((FOLDER / "plugin.toml").read_text(encoding="utf-8"))
SETTINGS = MANIFEST["parameters"]
RADIOMICS = radiomics_settings(MANIFEST["radiomics"])
#: Weights are good for these alone; threshold and limits may differ.
LEARNED_WITH = {
    "radiomics": MANIFEST["radiomics"],
    **{
        name: SETTINGS[name]
        for name in (
            *("classifier", "crop_factor", "crop_px", "window_low_hu", "window_high_hu"),
            *("backbone", "backbone_sha256"),
        )
    },
}
CT, TUMOR = "ct", "tumor"
BLOCKS = ("radiomic", "deep")
#: What pathology says, and its words from the least to the worst.
GRADES = ("g1", "g2", "g3")
PATHOLOGY = ("vascular_invasion", "perineural_invasion", "grade")


def region_of(case):
    """Return the image and the outline of the tumour on its grid."""
    (roi,) = case.rois[TUMOR]
    return case.volumes[CT], roi.mask


def measured(volume, mask, wanted=None):
    """Return features, float64 by block: all, or those of `wanted` (names by block).

    Raises
    ------
    NoFeatures
        With a sentence: the region is too small, or of one value.
    """
    # Radiomics first: it refuses what nothing can be measured of.
    wanted = wanted or {block: names_of(block) for block in BLOCKS}
    found = {"radiomic": extract(volume, mask, RADIOMICS, wanted.get("radiomic", ())).values}
    if "deep" in wanted:
        found["deep"] = only(deep(volume, mask), deep_names(network()), wanted["deep"])
    return found


def deep(volume, mask):
    """Return what the network says of a square around the region in its largest slice."""
    low, high = SETTINGS["window_low_hu"], SETTINGS["window_high_hu"]
    size = (SETTINGS["crop_px"], SETTINGS["crop_px"])
    crop = adjustable_crop(volume, mask, factor=SETTINGS["crop_factor"], size=size)
    return np.asarray(deep_features(network(), hu_window(crop.image, low, high)), np.float64)


@cache
def network():
    """Return the network that deep features come from; a ResNet's weights are the site's file."""
    name, file = SETTINGS["backbone"], SETTINGS["backbone_file"]
    weights = FOLDER / file if file else None
    return backbone(name, weights=weights, sha256=SETTINGS["backbone_sha256"])


@cache
def names_of(block):
    """Return the names of the features of a block."""
    return feature_names(RADIOMICS) if block == "radiomic" else deep_names(network())


def pathology_of(values):
    """Return what pathology found as numbers, in the order of `PATHOLOGY`; NaN: not known."""
    found = [float(values[n]) if n in values else np.nan for n in PATHOLOGY[:2]]
    grade = values.get("grade")
    return np.array([*found, np.nan if grade is None else float(GRADES.index(grade))])


def factors_of(probability, pathology):
    """Return what the nomogram weighs, shape (cases, 5): the signature's log-odds, and pathology.

    Each grade has a weight of its own: nothing says that they lie evenly.
    """
    grades = [pathology[:, 2] == number for number in (1, 2)]
    return np.stack([log_odds_of(probability), *pathology[:, :2].T, *grades], axis=1)
