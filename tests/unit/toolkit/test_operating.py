import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.toolkit.operating import (
    clopper_pearson,
    confusion,
    roc_curve,
    threshold_for_sensitivity,
    threshold_for_specificity,
    wilson,
    youden,
)

CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.3, 0.8, 1.0]), st.booleans()), min_size=2
).filter(lambda cases: len({outcome for _, outcome in cases}) == 2)


def rates(scores, outcome, threshold):
    called = scores >= threshold
    return called[outcome].mean(), (~called)[~outcome].mean()


@given(CASES)
def test_the_curve_is_scikit_learns(cases):
    from sklearn.metrics import roc_curve as theirs

    scores, outcome = (np.array(column) for column in zip(*cases, strict=True))
    false, hits, thresholds = theirs(outcome, scores, drop_intermediate=False)

    found = roc_curve(scores, outcome)

    assert found.thresholds == pytest.approx(thresholds)
    assert found.sensitivity == pytest.approx(hits)
    assert found.specificity == pytest.approx(1 - false)


@given(CASES, st.floats(0, 1))
def test_thresholds_keep_what_they_promise_and_no_better_one_exists(cases, share):
    scores, outcome = (np.array(column) for column in zip(*cases, strict=True))
    tried = [rates(scores, outcome, t) for t in (*np.unique(scores), np.inf)]

    sensitive, _ = rates(scores, outcome, threshold_for_sensitivity(scores, outcome, share))
    _, specific = rates(scores, outcome, threshold_for_specificity(scores, outcome, share))
    best = rates(scores, outcome, youden(scores, outcome))

    assert sensitive >= share - 1e-9 and specific >= share - 1e-9
    assert sensitive == pytest.approx(min(s for s, _ in tried if s >= share - 1e-12))
    assert specific == pytest.approx(min(s for _, s in tried if s >= share - 1e-12))
    assert sum(best) == pytest.approx(max(map(sum, tried)))


def test_the_confusion_of_the_paper_has_wilsons_intervals():
    # 001: 50 of 51 malignant and 56 of 62 benign nodes right (0.980, 0.903, 0.938).
    scores = np.repeat([0.9, 0.1, 0.1, 0.9], [50, 1, 56, 6])
    outcome = np.repeat([1, 1, 0, 0], [50, 1, 56, 6])

    found = confusion(scores, outcome, 0.5)

    counts = (found.true_positives, found.false_negatives)
    assert counts == (50, 1) and (found.true_negatives, found.false_positives) == (56, 6)
    named = (found.sensitivity, found.specificity, found.accuracy)
    assert [round(one.estimate, 3) for one in named] == [0.980, 0.903, 0.938]
    assert found.sensitivity == wilson(50, 51) and found.specificity == wilson(56, 62)
    assert found.positive_predictive_value.estimate == pytest.approx(50 / 56)


def test_nobody_called_positive_has_no_predictive_value():
    found = confusion([0.1, 0.2], [0, 1], 0.5)

    assert np.isnan(found.positive_predictive_value.estimate)
    assert found.sensitivity.estimate == 0.0 and found.sensitivity.low == 0.0


@pytest.mark.parametrize(("part", "whole"), [(0, 10), (3, 10), (10, 10), (61, 62)])
def test_intervals_of_shares_are_scipys(part, whole):
    from scipy.stats import binomtest

    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = binomtest(part, whole).proportion_ci(method=method)
        found = ours(part, whole)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
        assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_exact_intervals_are_there_for_a_confusion():
    found = confusion([0.9, 0.1, 0.6], [1, 0, 0], 0.5, interval=clopper_pearson)

    assert found.accuracy == clopper_pearson(2, 3)


@pytest.mark.parametrize(
    ("scores", "outcome", "sentence"),
    [
        ([0.1, 0.2], [1, 1], "needs cases"),
        ([0.1, np.nan], [1, 0], "NaN"),
        ([0.1], [1, 0], "one for each"),
        ([0.1, 0.2], [0, 3], "neither 0 nor 1"),
    ],
)
def test_scores_that_make_no_curve_are_refused(scores, outcome, sentence):
    with pytest.raises(ValueError, match=sentence):
        roc_curve(scores, outcome)


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match="no share"):
        threshold_for_sensitivity([0.1, 0.2], [0, 1], 95.0)


def test_a_threshold_that_is_none_is_refused():
    with pytest.raises(ValueError, match="threshold is NaN"):
        confusion([0.1, 0.9], [0, 1], float("nan"))


@pytest.mark.parametrize(("part", "whole"), [(5, 3), (-1, 3), (0, -3), (2, 0)])
@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_a_part_is_not_more_than_the_whole(interval, part, whole):
    with pytest.raises(ValueError, match=f"{part} of {whole} is no share"):
        interval(part, whole)
