import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from node.toolkit.froc import (
    CAMELYON_RATES,
    ScanMatch,
    average_sensitivity,
    froc_over_match_iou,
    froc_over_score,
    froc_points,
    label_components,
    match,
    match_scan,
    pairwise_iou,
)

MATRICES = arrays(
    float,
    array_shapes(min_dims=2, max_dims=2, max_side=4),
    elements=st.sampled_from([0.0, 0.1, 0.3, 0.3, 0.5, 0.7, 0.9]),
)


def naive_pairs(iou, threshold):
    """Greedy matching, the slow way: sort every pair, take what is free."""
    pairs = [(-iou[g, p], g, p) for g, p in itertools.product(*map(range, iou.shape))]
    taken = []
    for value, g, p in sorted(pairs):
        if -value >= threshold and all(g != h and p != q for h, q in taken):
            taken.append((g, p))
    return taken


def best_count(iou, threshold):
    """Largest number of pairs of any one-to-one matching."""
    allowed = iou >= threshold
    if not allowed.any():
        return 0
    if iou.shape[0] > iou.shape[1]:
        allowed = allowed.T
    rows, columns = allowed.shape
    return max(
        sum(allowed[row, column] for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )


@given(MATRICES, st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8]))
def test_pairs_of_at_least_t_are_the_greedy_matching_at_t(iou, threshold):
    found = [(p.lesion, p.component) for p in match(iou) if p.iou >= threshold]

    assert found == naive_pairs(iou, threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_above_half_overlap_greedy_matching_of_real_masks_is_the_best_there_is(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, 3, 6, 6)) > 0.8
    truth_labels, lesions = label_components(truth)
    labels, components = label_components(prediction | (truth & (rng.random(truth.shape) > 0.2)))
    iou = pairwise_iou(truth_labels, labels, (lesions, components))
    if min(iou.shape) == 0 or max(iou.shape) > 6:
        return

    found = match_scan(iou, [1.0] * components)

    assert found.hits(0.51) == best_count(iou, 0.51)


@given(MATRICES)
def test_matching_is_one_to_one_and_its_points_are_monotone(iou):
    scan = match_scan(iou, [1.0] * iou.shape[1])

    assert len({p.lesion for p in scan.pairs}) == len(scan.pairs) <= min(iou.shape)
    assert len({p.component for p in scan.pairs}) == len(scan.pairs)
    points = froc_over_match_iou([scan])
    sensitivities, rates = (
        [p.sensitivity for p in points],
        [p.fp_per_scan for p in points],
    )
    assert sensitivities == sorted(sensitivities, reverse=True)
    assert rates == sorted(rates)
    for t in (0.1, 0.5):
        assert scan.hits(t) + scan.false_positives(t) == iou.shape[1]


def test_one_component_over_two_lesions_finds_one_of_them():
    iou = np.array([[0.4], [0.5]])

    scan = match_scan(iou, [0.9])

    assert (scan.hits(0.5), scan.hits(0.1), scan.false_positives(0.1)) == (1, 1, 0)


def test_iou_of_components_is_counted_in_voxels():
    truth = np.zeros((1, 2, 8), np.int32)
    truth[0, 0, 0:4], truth[0, 1, 7] = 1, 2
    prediction = np.zeros_like(truth)
    prediction[0, 0, 2:6] = 1

    iou = pairwise_iou(truth, prediction, (2, 1))

    assert iou == pytest.approx(np.array([[2 / 6], [0.0]]))


def test_iou_without_lesion_or_component_is_an_empty_matrix():
    empty = np.zeros((2, 2, 2), np.int32)

    assert pairwise_iou(empty, empty, (0, 0)).shape == (0, 0)
    assert match(np.empty((0, 3))) == ()


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True

    assert label_components(mask)[1] == 1


#: The example of MONAI's test of `compute_froc_score`: 2 images, 4 targets, of which it holds
#: seven entries with three zeros for what was missed.
FALSE = np.array([0.8, 0.6])
TRUE = np.array([1, 1, 0, 0, 0.8, 0.8, 0])


def test_average_sensitivity_equals_monais_reference_value():
    curve = froc_points(FALSE, TRUE[TRUE > 0], lesions=4, scans=2)

    assert average_sensitivity(curve) == pytest.approx(0.95833333, rel=1e-8)
    assert average_sensitivity(curve, (0.25,)) == pytest.approx(0.75)


def test_curve_and_average_equal_monai_itself():
    metrics = pytest.importorskip("monai.metrics", reason="needs monai (extra models)")
    rng = np.random.default_rng(3)
    for _ in range(20):
        lesions, scans = int(rng.integers(3, 30)), int(rng.integers(1, 12))
        scores = rng.permutation(200)[: lesions + 40] / 199
        hits = np.where(rng.random(lesions) < 0.7, scores[:lesions], 0.0)
        hits[0] = 0.0  # MONAI drops its lowest threshold: let that be a missed lesion
        false = scores[lesions:][scores[lesions:] > 0][: int(rng.integers(1, 40))]
        rate, sensitivity = metrics.compute_froc_curve_data(false, hits, lesions, scans)

        curve = froc_points(false, hits[hits > 0], lesions=lesions, scans=scans)

        assert [p.fp_per_scan for p in curve] == pytest.approx(list(rate[::-1]))
        assert [p.sensitivity for p in curve] == pytest.approx(list(sensitivity[::-1]))
        expected = metrics.compute_froc_score(rate, sensitivity, CAMELYON_RATES)
        assert average_sensitivity(curve) == pytest.approx(expected)


def test_both_curves_meet_where_every_component_counts_and_the_match_iou_is_the_same():
    rng = np.random.default_rng(0)
    scans = [
        match_scan(rng.random((2, 3)) * (rng.random((2, 3)) < 0.5), rng.random(3)) for _ in range(9)
    ]
    scans.append(ScanMatch(lesions=0, scores=(0.4,), pairs=()))

    over_score, over_iou = froc_over_score(scans, 0.5), froc_over_match_iou(scans, (0.5,))

    assert over_score[-1].sensitivity == over_iou[0].sensitivity
    assert over_score[-1].fp_per_scan == over_iou[0].fp_per_scan
    assert (over_score[0].sensitivity, over_score[0].fp_per_scan) == (0.0, 0.0)


def test_without_lesions_the_sensitivity_is_nan_and_false_positives_still_count():
    (point,) = froc_over_match_iou([ScanMatch(lesions=0, scores=(0.9, 0.8), pairs=())], (0.5,))

    assert np.isnan(point.sensitivity)
    assert point.fp_per_scan == 2.0
