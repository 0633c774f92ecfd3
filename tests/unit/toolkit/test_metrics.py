import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from node.toolkit.metrics import Overlap, dice, mean_overlap, overlap
from node.toolkit.surface import _areas_mm2, surface_distances

MASKS = arrays(bool, (4, 5, 6))


@pytest.fixture(scope="module")
def oracle():
    oracle = pytest.importorskip("surface_distance", reason="needs surface-distance (extra dev)")
    return oracle


def blob(rng, shape=(14, 20, 17), threshold=0.15):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), 2.0)
    return noise > threshold * noise.std()


@given(MASKS, MASKS)
def test_dice_follows_from_the_iou_of_the_same_scan(truth, prediction):
    found = overlap(truth, prediction)

    if truth.any():
        assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))
    else:
        assert np.isnan(found.dice)


@given(MASKS, MASKS)
def test_dice_and_iou_are_symmetric_and_precision_mirrors_recall(one, other):
    if not (one.any() and other.any()):
        return
    forth, back = overlap(one, other), overlap(other, one)

    assert (forth.dice, forth.iou) == (back.dice, back.iou)
    assert (forth.precision, forth.recall) == (back.recall, back.precision)


@given(MASKS)
def test_a_mask_agrees_with_itself_perfectly(mask):
    if mask.any():
        assert overlap(mask, mask) == Overlap(dice=1.0, iou=1.0, precision=1.0, recall=1.0)


def test_an_empty_prediction_of_a_tumour_scores_zero_in_precision_too():
    truth = np.ones((2, 2, 2), bool)

    assert overlap(truth, ~truth) == Overlap(dice=0.0, iou=0.0, precision=0.0, recall=0.0)


def test_a_scan_without_a_tumour_enters_no_average():
    truth = np.ones((2, 2, 2), bool)

    found = mean_overlap([overlap(truth, truth), overlap(~truth, truth), overlap(~truth, ~truth)])

    assert found.dice == 1.0
    assert np.isnan(dice(~truth, ~truth))


def test_the_average_of_no_scan_is_nan():
    assert np.isnan(mean_overlap([]).recall)


def test_the_mean_iou_of_scans_is_more_than_the_iou_of_the_mean_dice():
    # Why the paper's Dice 0.82 stands beside an IoU of 0.72, not 0.695.
    truth = np.arange(100) < 50
    scans = [overlap(truth, np.arange(100) < n) for n in (15, 50)]

    mean = mean_overlap(scans)

    assert mean.iou > mean.dice / (2 - mean.dice)


def test_masks_on_different_grids_are_refused():
    with pytest.raises(ValueError, match="not on one grid"):
        overlap(np.ones((2, 3, 4), bool), np.ones((2, 4, 3), bool))
    with pytest.raises(ValueError, match="not on one grid"):
        surface_distances(np.ones((2, 3, 4), bool), np.ones((2, 4, 3), bool), (1, 1, 1))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.7), (0.7, 2.5, 1.1)])
def test_the_area_of_each_of_the_256_cells_equals_the_oracles(oracle, spacing):
    from surface_distance import lookup_tables

    # Its kernel gives the first corner the highest bit, ours the lowest.
    mirrored = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)

    assert _areas_mm2(spacing)[mirrored] == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.7), (0.7, 2.5, 1.1)])
@pytest.mark.parametrize("seed", range(5))
def test_surface_figures_equal_the_oracles(oracle, seed, spacing):
    rng = np.random.default_rng(seed)
    truth, prediction = blob(rng), blob(rng)
    expected = oracle.compute_surface_distances(truth, prediction, spacing)

    found = surface_distances(truth, prediction, spacing)

    assert found.truth_mm == pytest.approx(expected["distances_gt_to_pred"], abs=1e-9)
    assert found.prediction_mm == pytest.approx(expected["distances_pred_to_gt"], abs=1e-9)
    assert found.truth_mm2.sum() == pytest.approx(expected["surfel_areas_gt"].sum())
    for percent in (50, 95, 100):
        hausdorff = oracle.compute_robust_hausdorff(expected, percent)
        assert found.hausdorff_mm(percent) == pytest.approx(hausdorff, abs=1e-9)
    averages = oracle.compute_average_surface_distance(expected)
    assert found.average_mm() == pytest.approx(averages, abs=1e-9)
    areas = expected["surfel_areas_gt"].sum(), expected["surfel_areas_pred"].sum()
    assert found.symmetric_average_mm() == pytest.approx(np.average(averages, weights=areas))
    for tolerance in (0.0, 1.0, 2.5):
        surface_dice = oracle.compute_surface_dice_at_tolerance(expected, tolerance)
        assert found.dice(tolerance) == pytest.approx(surface_dice, abs=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")
@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_surface_figures_of_rough_masks_equal_the_oracles(truth, prediction):
    oracle = pytest.importorskip("surface_distance")
    if not (truth.any() and prediction.any()):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle.compute_surface_distances(truth, prediction, (3.0, 0.9, 0.5))

    found = surface_distances(truth, prediction, (3.0, 0.9, 0.5))

    assert found.dice(1.0) == pytest.approx(oracle.compute_surface_dice_at_tolerance(expected, 1.0))
    assert found.average_mm() == pytest.approx(oracle.compute_average_surface_distance(expected))


def test_without_a_prediction_distances_are_infinite_and_the_surface_dice_is_zero():
    truth = np.zeros((4, 4, 4), bool)
    truth[1:3, 1:3, 1:3] = True

    found = surface_distances(truth, np.zeros_like(truth), (1, 1, 1))

    assert found.hausdorff_mm() == found.symmetric_average_mm() == np.inf
    assert found.dice(100.0) == 0.0


def test_two_empty_masks_have_no_surface_figures():
    found = surface_distances(np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool), (1, 1, 1))

    assert np.isnan([found.hausdorff_mm(), found.symmetric_average_mm(), found.dice(1.0)]).all()
