import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.toolkit.auroc import auroc, auroc_interval, compare_aurocs

SCORES = st.lists(st.sampled_from([0.0, 0.2, 0.2, 0.5, 0.7, 1.0]), min_size=2, max_size=9)


def beats(x, y):
    return 1.0 if x > y else 0.5 if x == y else 0.0


def slow_placements(positive, negative):
    table = np.array([[beats(x, y) for y in negative] for x in positive])
    return table.mean(axis=1), table.mean(axis=0)


def slow_covariance(*models):
    """DeLong's covariance by his own formula, in loops."""
    placed = [slow_placements(*model) for model in models]
    total = np.zeros((len(models), len(models)))
    for (i, one), (j, other) in itertools.product(enumerate(placed), repeat=2):
        for side in (0, 1):
            a, b, n = one[side], other[side], len(one[side])
            products = [(x - a.mean()) * (y - b.mean()) for x, y in zip(a, b, strict=True)]
            total[i, j] += sum(products) / (n - 1) / n
    return total


@given(SCORES, SCORES)
def test_auroc_counts_every_pair_and_a_tie_as_a_half(positive, negative):
    pairs = [beats(x, y) for x, y in itertools.product(positive, negative)]

    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(np.mean(pairs))


@given(SCORES, SCORES)
def test_turning_the_scores_around_mirrors_the_interval(positive, negative):
    positive, negative = np.array(positive), np.array(negative)

    forth, back = auroc_interval(positive, negative), auroc_interval(-positive, -negative)

    assert forth.estimate == pytest.approx(1 - back.estimate)
    mirrored = pytest.approx((1 - back.high, 1 - back.low), nan_ok=True)
    assert (forth.low, forth.high) == mirrored
    if len({*positive, *negative}) > 1:  # of ties alone there is no interval
        assert 0 <= forth.low <= forth.estimate <= forth.high <= 1


def test_the_interval_is_delongs_on_the_logit_scale():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 70).round(1)
    area = auroc(positive, negative)
    error = np.sqrt(slow_covariance((positive, negative))[0, 0]) / (area * (1 - area))
    ends = np.log(area / (1 - area)) + np.array([-1, 1]) * 1.959963985 * error

    found = auroc_interval(positive, negative)

    assert (found.low, found.high) == pytest.approx(tuple(1 / (1 + np.exp(-ends))))


def test_a_paired_difference_has_delongs_variance():
    rng = np.random.default_rng(1)
    first = rng.normal(1, 1, 30), rng.normal(0, 1, 45)
    second = first[0] + rng.normal(-0.5, 0.7, 30), first[1] + rng.normal(0, 0.7, 45)
    v = slow_covariance(first, second)

    found = compare_aurocs(first, second)

    half = 1.959963985 * np.sqrt(v[0, 0] + v[1, 1] - 2 * v[0, 1])
    assert found.difference.estimate == pytest.approx(auroc(*first) - auroc(*second))
    assert found.difference.high - found.difference.estimate == pytest.approx(half)
    assert (found.p_value < 0.05) == (not found.difference.low <= 0 <= found.difference.high)


def test_a_score_does_not_differ_from_itself():
    scores = np.array([0.2, 0.8]), np.array([0.1, 0.5])

    found = compare_aurocs(scores, scores)

    assert (found.difference.estimate, found.p_value) == (0.0, 1.0)


def test_a_perfect_separation_of_few_cases_is_not_certain():
    found = auroc_interval(np.arange(5) + 100.0, np.arange(30) * 1.0)

    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 5))


def test_one_case_of_a_class_has_no_interval():
    found = auroc_interval(np.array([0.5]), np.array([0.1, 0.9]))

    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_one_case_of_each_class_in_perfect_order_has_the_interval_of_one_out_of_one():
    found = auroc_interval(np.array([0.9]), np.array([0.1]))

    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025)


@pytest.mark.parametrize("counts", [(1, 1), (5, 7), (300, 200)])
def test_a_score_that_is_the_same_for_all_is_no_certain_half(counts):
    found = auroc_interval(*(np.full(count, 0.3) for count in counts))

    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_patients_whose_cases_cancel_out_leave_nothing_to_measure():
    # What the cases of each patient add is 0, up to rounding; chance, not certainty.
    positive, negative = np.tile([2.0, 4.0], 2), np.tile([1.0, 3.0, 5.0], 2)
    patients = list("aabb"), list("cccddd")

    found = auroc_interval(positive, negative, patients=patients)

    assert found.estimate == pytest.approx(0.5)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("negative", [[0.4, 0.35], [0.4, 0.55], [0.7, 0.8]])
@pytest.mark.parametrize("patients", [(["a"], ["b", "c"]), (["a", "b"], ["c"]), ([], [])])
def test_each_case_needs_a_patient_whatever_the_area(negative, patients):
    scores = np.array([0.5, 0.6]), np.array(negative)

    with pytest.raises(ValueError, match=r"each case needs a patient: 2 and 2 cases, but"):
        auroc_interval(*scores, patients=patients)
    with pytest.raises(ValueError, match=r"each case needs a patient"):
        compare_aurocs(scores, scores, patients=patients)


@pytest.mark.parametrize(
    ("positive", "negative", "sentence"),
    [([], [0.1], "needs cases"), ([0.1], [], "needs cases"), ([np.nan], [0.1], "NaN")],
)
def test_scores_that_cannot_be_ordered_are_refused(positive, negative, sentence):
    with pytest.raises(ValueError, match=sentence):
        auroc(np.array(positive), np.array(negative))


def test_scores_of_different_cases_cannot_be_paired():
    with pytest.raises(ValueError, match="every case"):
        compare_aurocs((np.ones(2), np.ones(3)), (np.ones(2), np.ones(4)))


@pytest.mark.parametrize("size", [50, 200])
@pytest.mark.parametrize("area", [0.75, 0.9])
def test_intervals_cover_the_true_auroc_about_as_often_as_they_say(size, area):
    # Normal scores, unit variance: AUROC = Phi(shift / sqrt(2)). 1,000 runs (E13).
    from statistics import NormalDist

    rng = np.random.default_rng(size)
    shift = np.sqrt(2) * NormalDist().inv_cdf(area)

    covered = [
        found.low <= area <= found.high
        for _ in range(1000)
        for found in [auroc_interval(rng.normal(shift, 1, size), rng.normal(0, 1, size))]
    ]

    assert 0.93 <= np.mean(covered) <= 0.97


def test_paired_intervals_cover_no_difference_about_as_often_as_they_say():
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(1000):
        cause = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
        first, second = (tuple(c + rng.normal(0, 0.8, 60) for c in cause) for _ in range(2))
        found = compare_aurocs(first, second).difference
        covered.append(found.low <= 0 <= found.high)

    assert 0.93 <= np.mean(covered) <= 0.97


@given(SCORES, SCORES)
def test_the_area_is_scikit_learns(positive, negative):
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(positive), len(negative)])

    expected = roc_auc_score(truth, positive + negative)
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(expected)


def test_one_case_for_each_patient_is_delongs_interval():
    rng = np.random.default_rng(2)
    positive, negative = rng.normal(1, 1, 30), rng.normal(0, 1, 40)
    patients = [f"p{n}" for n in range(30)], [f"n{n}" for n in range(40)]

    plain, clustered = (auroc_interval(positive, negative, patients=p) for p in (None, patients))

    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high))


def test_cases_given_twice_make_nothing_surer():
    rng = np.random.default_rng(3)
    positive, negative = rng.normal(1, 1, 30), rng.normal(0, 1, 40)
    patients = [str(n) for n in range(30)], [str(n + 20) for n in range(40)]  # some have both
    twice = [np.repeat(side, 2) for side in (positive, negative)]

    once = auroc_interval(positive, negative, patients=patients)
    again = auroc_interval(*twice, patients=tuple(np.repeat(p, 2) for p in patients))

    assert (again.low, again.high) == pytest.approx((once.low, once.high))
    assert auroc_interval(*twice).low > once.low


def test_intervals_of_patients_with_several_nodes_cover_as_often_as_they_say():
    from statistics import NormalDist

    rng = np.random.default_rng(5)
    shift = 1.0
    area = NormalDist().cdf(shift / np.sqrt(2 * (1 + 0.7**2)))
    covered, naive = [], []
    for _ in range(600):
        own = rng.normal(0, 0.7, 80)  # what the nodes of a patient have in common
        owner = rng.integers(0, 80, 200)
        sick = rng.random(80)[owner] < 0.5
        scores = own[owner] + rng.normal(0, 1, 200) + shift * sick
        sides = scores[sick], scores[~sick]
        patients = tuple([str(n) for n in owner[where]] for where in (sick, ~sick))
        found = auroc_interval(*sides, patients=patients)
        covered.append(found.low <= area <= found.high)
        naive.append(auroc_interval(*sides).low <= area <= auroc_interval(*sides).high)

    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(naive) < np.mean(covered)
