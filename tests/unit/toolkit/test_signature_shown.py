"""What a report shows of a signature: kept features under the names of their measurements."""

import numpy as np

from node.toolkit.calibration import Platt
from node.toolkit.signature import Kept, Signature, table_of
from node.toolkit.signature.calibrated import Calibration
from node.toolkit.signature.shown import families_of, kept_measurements, kept_words

KEPT = (
    ("radiomic", "wavelet-LLH_glcm_Contrast"),
    ("deep", "efficientnet_lite0.output.0042"),
    ("clinical", "age"),
)


def signature():
    return Signature(
        kept=tuple(
            Kept(block=block, name=name, coefficient=1.0, mean=0.0, deviation=1.0)
            for block, name in KEPT
        ),
        classifier="logistic",
        given={},
        model={"weights": np.ones(3), "intercept": np.zeros(1)},
        calibration=Calibration(line=Platt(slope=1.0, intercept=0.0), covariance=np.eye(2)),
        threshold=0.5,
        counts={"radiomic": {"offered": 9, "kept": 1}, "deep": {"offered": 1000, "kept": 1}},
    )


def table():
    vectors = {"radiomic": [7.0, 2.5], "deep": [-1.25], "clinical": [61.0]}
    names = {"radiomic": ["x", KEPT[0][1]], "deep": [KEPT[1][1]], "clinical": ["age"]}
    return table_of([vectors], names)


def test_kept_features_are_measurements_of_the_region_they_were_taken_of():
    found = kept_measurements(signature(), table(), segment="tumor", leave=("clinical",))
    assert [(one.name, one.value, one.segment) for one in found] == [
        ("wavelet-llh_glcm_contrast", 2.5, "tumor"),
        ("deep_42", -1.25, "tumor"),
    ]


def test_what_is_not_left_out_is_shown_by_its_own_name():
    assert kept_measurements(signature(), table())[-1].name == "age"


def test_counts_are_said_by_block():
    assert kept_words(signature()) == "1 radiomic, 1 deep"


def test_the_first_family_whose_pattern_fits_has_a_feature():
    families = {"size": ["original_shape_*Volume"], "shape": ["original_shape_*"]}
    found = families_of(["original_shape_MeshVolume", "original_shape_Sphericity", "x"], families)
    assert list(found.values()) == ["size", "shape", ""]
    assert families_of(["x"], families, none="none") == {"x": "none"}
