import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.toolkit.bootstrap import ratio_interval, ratio_intervals


def names(count):
    return [f"P{i}" for i in range(count)]


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    values = np.random.default_rng(0).random(40)

    intervals = [ratio_interval(values, np.ones(40), names(40), seed=s) for s in (1, 1, 2)]

    assert intervals[0] == intervals[1] != intervals[2]


def test_the_interval_equals_one_drawn_with_a_plain_loop():
    rng = np.random.default_rng(5)
    hits, lesions = rng.integers(0, 3, 60).astype(float), np.full(60, 3.0)
    drawn = []
    for _ in range(4000):
        index = rng.integers(0, 60, 60)
        drawn.append(hits[index].sum() / lesions[index].sum())

    found = ratio_interval(hits, lesions, names(60), runs=4000)

    assert found.estimate == hits.sum() / lesions.sum()
    assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)


def test_scans_of_one_patient_are_drawn_together():
    values = np.repeat(np.random.default_rng(1).random(10), 8)
    ones = np.ones(80)

    apart = ratio_interval(values, ones, names(80))
    together = ratio_interval(values, ones, np.repeat(names(10), 8).tolist())

    assert together.high - together.low > 2 * (apart.high - apart.low)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_estimate_lies_inside_and_nothing_is_outside_of_what_was_seen(counts):
    values = np.array(counts, float)

    found = ratio_interval(values, np.ones(len(counts)), names(len(counts)), runs=200)

    assert values.min() <= found.low <= found.high <= values.max()
    assert found.estimate == pytest.approx(values.mean())


def test_resamples_without_a_denominator_are_left_out():
    numerators, denominators = np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0])

    found = ratio_interval(numerators, denominators, names(3))

    assert (found.estimate, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("count", [0, 4])
def test_what_nobody_measured_is_nan(count):
    found = ratio_interval(np.zeros(count), np.zeros(count), names(count))

    assert np.isnan([found.estimate, found.low, found.high]).all()


def test_several_ratios_share_their_resamples():
    values = np.random.default_rng(2).random(30)
    sums = np.stack([np.stack([values, np.ones(30)])] * 2)

    first, second = ratio_intervals(sums, names(30))

    assert first == second


def test_the_interval_of_a_mean_covers_its_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = [
        found.low <= 0.5 <= found.high
        for values in rng.random((400, 60))
        for found in [ratio_interval(values, np.ones(60), names(60), runs=400)]
    ]

    assert 0.91 <= np.mean(covered) <= 0.98
