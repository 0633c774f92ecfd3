import math

import numpy as np
import pytest

from node.toolkit.logistic import fit_logistic, log_odds_of, sigmoid


def drawn(seed, cases=300):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (cases, 3)) * (1.0, 20.0, 0.1) + (0, 50, 3)
    return x, rng.random(cases) < sigmoid(0.8 * x[:, 0] - 0.03 * (x[:, 1] - 50))


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_weights_are_those_of_scikit_learn(ridge):
    from sklearn.linear_model import LogisticRegression

    x, y = drawn(0)
    strength = np.inf if ridge == 0 else 1 / ridge
    theirs = LogisticRegression(C=strength, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    theirs.fit(x, y)

    ours = fit_logistic(x, y, ridge=ridge)

    assert ours.weights == pytest.approx(theirs.coef_[0], rel=1e-5)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], rel=1e-5)
    assert ours.probability(x) == pytest.approx(theirs.predict_proba(x)[:, 1], rel=1e-5)


def test_an_odds_ratio_of_two_groups_is_that_of_the_table():
    # 30 of 50 exposed and 15 of 60 others have the outcome: odds ratio 4.5, Woolf's interval.
    x = np.repeat([[1.0], [0.0]], [50, 60], axis=0)
    y = np.repeat([1, 0, 1, 0], [30, 20, 15, 45])
    error = np.sqrt(1 / 30 + 1 / 20 + 1 / 15 + 1 / 45)

    found = fit_logistic(x, y)
    ratio = found.odds_ratio(0)

    assert ratio.estimate == pytest.approx(4.5)
    assert ratio.low == pytest.approx(4.5 * np.exp(-1.959964 * error), rel=1e-5)
    assert found.odds_ratio(0, step=2).estimate == pytest.approx(4.5**2)
    p = math.erfc(np.log(4.5) / error / math.sqrt(2))
    assert found.p_value(0) == pytest.approx(p, rel=1e-4)


def test_intervals_cover_the_true_odds_ratio_about_as_often_as_they_say():
    covered = []
    rng = np.random.default_rng(2)
    for _ in range(600):
        x = rng.normal(0, 1, (200, 2))
        y = rng.random(200) < sigmoid(0.7 * x[:, 0])
        found = fit_logistic(x, y)
        covered += [
            r.low <= truth <= r.high
            for r, truth in ((found.odds_ratio(0), np.exp(0.7)), (found.odds_ratio(1), 1.0))
        ]

    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], "without an error"),
        ([[0.0], [1.0]], [1, 1], "needs cases with"),
        ([[0.0], [np.nan]], [0, 1], "not finite"),
        ([[0.0], [1.0]], [0, 1, 1], "not of the same cases"),
        ([[1.0], [2.0], [3.0], [4.0]], [0, 2, 0, 1], "an outcome is from 0 to 1, not 2"),
        ([[1.0], [2.0], [3.0], [4.0]], [-1, 1, -1, 1], "an outcome is from 0 to 1, not -1"),
    ],
)
def test_what_has_no_answer_is_refused(x, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_logistic(x, y)


def test_a_ridge_gives_an_answer_where_the_classes_are_apart():
    found = fit_logistic([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], ridge=1.0)

    assert found.probability([[0.0]]) < 0.5 < found.probability([[3.0]])


def test_log_odds_and_back():
    p = np.array([0.001, 0.3, 0.999])

    assert sigmoid(log_odds_of(p)) == pytest.approx(p)
    assert np.isfinite(log_odds_of([0.0, 1.0])).all()


def test_an_svd_that_gives_up_ends_no_fit_with_a_ridge(monkeypatch):
    # As LAPACK's did on a sound matrix of 314 headers: eigenvalues from 0.8 to 929, two threads.
    svd = np.linalg.svd

    def gives_up(a, *args, hermitian=False, **kwargs):
        if not hermitian:
            raise np.linalg.LinAlgError("SVD did not converge")
        return svd(a, *args, hermitian=True, **kwargs)

    x, y = drawn(3)
    before = fit_logistic(x, y, ridge=1.0)
    monkeypatch.setattr(np.linalg._linalg, "svd", gives_up)

    assert fit_logistic(x, y, ridge=1.0).weights.tolist() == before.weights.tolist()


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3])
def test_a_ridge_on_a_feature_of_another_size_leaves_the_others_alone(scale):
    x, y = drawn(6)
    alone = fit_logistic(x[:, :1], y, ridge=1.0)

    found = fit_logistic(np.column_stack([x[:, 0], x[:, 2] * scale]), y, ridge=1.0)

    assert found.weights[0] == pytest.approx(alone.weights[0], rel=0.05)
    assert found.weights[1] * scale == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.3, 1 / 3, 7.0])
def test_a_ridge_holds_a_feature_that_never_changes(value):
    x, y = drawn(7)
    design = np.column_stack([np.full(len(x), value), x[:, 0], np.ones(len(x))])

    found = fit_logistic(design[:, :2], y, ridge=1e-2)

    assert found.weights[0] == 0.0
    spread = np.einsum("ij,jk,ik->i", design, found.covariance, design)
    assert np.isfinite(spread).all() and (spread > 0).all()


@pytest.mark.parametrize(
    ("scale", "offset"), [(1.0, 2020.0), (0.05, 7.38), (1.0, 1e6), (1e-9, 0.0), (1e9, 0.0)]
)
def test_units_and_offsets_change_no_answer(scale, offset):
    x, y = drawn(4)
    plain = fit_logistic(x[:, :1], y)

    found = fit_logistic(x[:, :1] * scale + offset, y)

    assert found.weights[0] * scale == pytest.approx(plain.weights[0], rel=1e-6)
    assert found.probability(x[:, :1] * scale + offset) == pytest.approx(
        plain.probability(x[:, :1]), abs=1e-6
    )
    ratio, same = found.odds_ratio(0, step=scale), plain.odds_ratio(0)
    assert (ratio.low, ratio.high) == pytest.approx((same.low, same.high), rel=1e-5)
    assert found.p_value(0) == pytest.approx(plain.p_value(0), rel=1e-4)


def test_a_part_of_a_class_that_is_told_apart_is_refused():
    # None of the 30 without the sign has the outcome, 25 of 30 with it.
    sign = np.repeat([[0.0], [1.0]], 30, axis=0)

    with pytest.raises(ValueError, match="a part of one, apart without an error"):
        fit_logistic(sign, np.repeat([0, 1, 0], [30, 25, 5]))


def test_more_features_than_cases_tell_any_outcome_apart():
    rng = np.random.default_rng(0)

    with pytest.raises(ValueError, match="without an error"):
        fit_logistic(rng.normal(size=(60, 80)), rng.random(60) < 0.5)


@pytest.mark.parametrize("value", [7.0, 0.3, 2.2])
def test_a_feature_that_never_changes_has_no_weight_and_no_limit(value):
    x, y = drawn(5)

    found = fit_logistic(np.column_stack([np.full(len(x), value), x[:, 0]]), y)

    assert found.weights[0] == 0.0 and found.p_value(0) == 1.0
    assert found.odds_ratio(0).estimate == 1.0
    assert found.odds_ratio(0).low < 1e-300 and found.odds_ratio(0).high > 1e300
    assert found.weights[1] == pytest.approx(fit_logistic(x[:, :1], y).weights[0])


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
def test_a_ridge_is_a_number_from_0_on(ridge):
    with pytest.raises(ValueError, match=f"a ridge is a number from 0 on, not {ridge:g}"):
        fit_logistic([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1], ridge=ridge)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e200, 1e307, 1e-200])
def test_a_feature_whose_spread_is_beyond_float64_is_refused(scale):
    x, y = drawn(8)
    x[:, 1] *= scale / abs(x[:, 1]).max()

    with pytest.raises(ValueError, match=r"feature 1 spreads too .* give it in another unit"):
        fit_logistic(x, y)


def test_shares_are_outcomes_too():
    found = fit_logistic([[0.0], [0.0], [1.0], [1.0]], [0.2, 0.4, 0.6, 0.8])

    assert found.probability([[0.0], [1.0]]) == pytest.approx([0.3, 0.7])
