"""The maximal correlation coefficient: counted by symmetry, as pyradiomics counts it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.toolkit.radiomics.glcm import glcm_features, maximal_correlation

pytest.importorskip("radiomics", reason="needs pyradiomics (extra radiomics)")


def of_image(kind, values, inside):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(values.astype(np.float64))
    region = SimpleITK.GetImageFromArray(inside.astype(np.uint8))
    counted = kind(image, region, binWidth=1, label=1)
    counted.enableFeatureByName("MCC")
    counted.enableFeatureByName("Contrast")
    return counted.execute()


def pyradiomics_own():
    from radiomics.glcm import RadiomicsGLCM

    return RadiomicsGLCM


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), levels=st.integers(2, 40), smooth=st.booleans())
def test_mcc_is_the_one_of_pyradiomics(seed, levels, smooth):
    chance = np.random.default_rng(seed)
    values = chance.integers(0, levels, (5, 7, 6))
    if smooth:
        values = np.sort(values, axis=2)
    inside = chance.random(values.shape) < 0.8
    inside[1:3, 2:4, 2:4] = True
    values[1, 2, 2:4] = 0, levels - 1
    ours = of_image(glcm_features(), values, inside)
    theirs = of_image(pyradiomics_own(), values, inside)
    assert ours["Contrast"] == theirs["Contrast"]
    np.testing.assert_allclose(ours["MCC"], np.real(theirs["MCC"]), rtol=1e-6, atol=1e-7)


def test_mcc_of_a_chessboard_is_one_and_of_unrelated_levels_zero():
    chessboard = np.array([[0.0, 0.5], [0.5, 0.0]])[None, :, :, None]
    assert maximal_correlation(chessboard) == pytest.approx([1.0])
    unrelated = np.outer([0.2, 0.3, 0.5], [0.2, 0.3, 0.5])[None, :, :, None]
    assert maximal_correlation(unrelated) == pytest.approx([0.0], abs=1e-12)


def test_mcc_of_one_level_is_one_as_pyradiomics_says():
    assert maximal_correlation(np.ones((1, 1, 1, 13))) == pytest.approx([1.0])


def test_a_level_that_has_no_neighbour_in_a_direction_changes_nothing():
    known = np.array([[0.3, 0.1], [0.1, 0.5]])
    with_gap = np.zeros((3, 3))
    with_gap[:2, :2] = known
    found = [maximal_correlation(one[None, :, :, None]) for one in (known, with_gap)]
    assert found[0] == pytest.approx(found[1])


def test_our_class_is_as_quiet_as_pyradiomics_own():
    chance = np.random.default_rng(0)
    counted = of_image(glcm_features(), chance.integers(0, 9, (4, 5, 5)), np.ones((4, 5, 5), bool))
    assert set(counted) == {"MCC", "Contrast"}
    assert glcm_features().__module__.split(".")[0] == logging.getLogger("radiomics").name
