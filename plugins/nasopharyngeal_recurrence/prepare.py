"""What is measured of a tumour in each sequence, the same in training and in a run."""

import math
import tomllib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from node.toolkit.crops import adjustable_crop
from node.toolkit.deep_features import backbone, deep_features, deep_names
from node.toolkit.intensity import hu_window
from node.toolkit.outlines import gap_mm, incomplete
from node.toolkit.radiomics import (
    extract,
    feature_names,
    n4,
    radiomics_settings,
    standardized,
)
from node.toolkit.radiomics.extract import NoFeatures, checked
from node.toolkit.signature import only, table_of

FOLDER = Path(__file__).resolve().parent
MANIFEST = tomllib.loads((FOLDER / "plugin.toml").read_text(encoding="utf-8"))
SETTINGS = MANIFEST["parameters"]
RADIOMICS = radiomics_settings(MANIFEST["radiomics"])

#: Weights are good for these alone; the threshold may differ.
LEARNED_WITH = {
    "radiomics": MANIFEST["radiomics"],
    **{
        name: SETTINGS[name]
        for name in (
            *("model", "n4", "n4_shrink", "crop_factor", "crop_px"),
            *("backbone", "backbone_sha256"),
        )
    },
}
SEQUENCES = ("t2", "t1_contrast")
SAID = {"t2": "T2", "t1_contrast": "T1 after contrast"}
#: The region that is outlined on each sequence.
TUMOR = {role: f"tumor_{role}" for role in SEQUENCES}
#: What each model of the paper is made of, of one sequence.
MADE_OF = {"I": ("radiomic",), "II": ("radiomic", "deep"), "III": ("radiomic", "deep", "clinical")}
CLASSIFIERS = ("random_forest", "logistic", "rbf_svm", "knn", "xgboost")
CLINICAL = ("sex", "age", "t_category", "n_category", "stage", "log10_ebv_dna")
#: Words of the clinical values, from the least to the worst.
_WORDS = {
    "sex": ("f", "m"),
    "t_category": ("t1", "t2", "t3", "t4"),
    "n_category": ("n0", "n1", "n2", "n3"),
    "stage": ("i", "ii", "iii", "iva", "ivb"),
}
#: Scale on which features are taken: mean and deviation of what is not air, and its ends.
MIDDLE, DEVIATION, OUTLIERS_SD = 300.0, 100.0, 3.0
LOW, HIGH = MIDDLE - OUTLIERS_SD * DEVIATION, MIDDLE + OUTLIERS_SD * DEVIATION


def blocks_of(sequence, model):
    """Return the names of the blocks of features that a model looks at."""
    return tuple(kind if kind == "clinical" else f"{sequence}_{kind}" for kind in MADE_OF[model])


def names_in(blocks):
    """Return the names of all features of some blocks."""
    return {block: names_of(block) for block in blocks}


@cache
def names_of(block):
    """Return the names of the features of a block."""
    if block == "clinical":
        return CLINICAL
    return feature_names(RADIOMICS) if block.endswith("radiomic") else deep_names(network())


def model_named(name):
    """Return sequence, model and classifier of a name such as ``t2-II-random_forest``."""
    sequence, _, rest = name.partition("-")
    model, _, classifier = rest.partition("-")
    if sequence not in SEQUENCES or model not in MADE_OF or classifier not in CLASSIFIERS:
        raise ValueError(
            f'"{name}" is no model: say SEQUENCE-MODEL-CLASSIFIER, of {", ".join(SEQUENCES)}; '
            f"{', '.join(MADE_OF)}; {', '.join(CLASSIFIERS)}"
        )
    return sequence, model, classifier


def check_regions(case):
    """Raise `NoFeatures` unless both sequences have a region of one tumour, fit for features."""
    for role in SEQUENCES:
        volume, mask = case.volumes[role], region_of(case, role)
        with on_sequence(role):
            checked(volume, mask, RADIOMICS)
            if why := incomplete(mask, volume.spacing_mm):
                raise NoFeatures(why)
    regions = [(region_of(case, role), case.volumes[role].affine) for role in SEQUENCES]
    if (apart_mm := gap_mm(*regions)) > 0:
        raise NoFeatures(
            f"the outlines on {' and '.join(SAID.values())} lie {apart_mm:.0f} mm apart, so they "
            "are not of one tumour; outline the same one on both"
        )


@contextmanager
def on_sequence(role):
    """Say of what `NoFeatures` complains about on which sequence it is."""
    try:
        yield
    except NoFeatures as error:
        raise NoFeatures(f"on {SAID[role]}: {error}") from error


def region_of(case, role):
    """Return the mask of the tumour on the grid of a sequence."""
    (roi,) = case.rois[TUMOR[role]]
    return roi.mask


def measured(case, wanted):
    """Return features of a case, float64 by block: those of `wanted` (names by block)."""
    found = {}
    for role in SEQUENCES:
        asked = [block for block in wanted if block.startswith(f"{role}_")]
        if asked:
            volume, mask = comparable(case.volumes[role]), region_of(case, role)
            for block in asked:
                take = radiomic if block.endswith("radiomic") else deep
                with on_sequence(role):
                    found[block] = take(volume, mask, wanted[block])
    if "clinical" in wanted:
        found["clinical"] = only(clinical(case.values), CLINICAL, wanted["clinical"])
    return found


def table_with(cases, wanted):
    """Return the table of what was measured; a clinical value may be unknown, NaN."""
    return table_of(cases, wanted, lacking=("clinical",))


def comparable(volume):
    """Return an MR volume without its bias field and on one scale, whatever the scanner."""
    corrected = n4(volume, shrink=SETTINGS["n4_shrink"]) if SETTINGS["n4"] else volume
    return standardized(corrected, scale=DEVIATION, shift=MIDDLE, outliers_sd=OUTLIERS_SD)


def radiomic(volume, mask, names):
    """Return radiomics features of a region."""
    return extract(volume, mask, RADIOMICS, names).values


def deep(volume, mask, names):
    """Return outputs of the network of a square around the region in its largest slice."""
    size = (SETTINGS["crop_px"], SETTINGS["crop_px"])
    crop = adjustable_crop(volume, mask, factor=SETTINGS["crop_factor"], size=size, fill=LOW)
    found = deep_features(network(), hu_window(crop.image, LOW, HIGH))
    return only(found, deep_names(network()), names)


@cache
def network():
    """Return the network that deep features come from; a ResNet's weights are the site's file."""
    name, file = SETTINGS["backbone"], SETTINGS["backbone_file"]
    weights = FOLDER / file if file else None
    return backbone(name, weights=weights, sha256=SETTINGS["backbone_sha256"])


def clinical(values):
    """Return the clinical values as numbers, in the order of `CLINICAL`; NaN: not known."""
    found = {
        name: float(words.index(values[name])) for name, words in _WORDS.items() if name in values
    }
    if "age" in values:
        found["age"] = float(values["age"])
    if "ebv_dna" in values:
        found["log10_ebv_dna"] = math.log10(max(float(values["ebv_dna"]), 1.0))
    return np.array([found.get(name, math.nan) for name in CLINICAL])
