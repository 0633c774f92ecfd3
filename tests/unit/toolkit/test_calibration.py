import numpy as np
import pytest

from node.toolkit.calibration import (
    Isotonic,
    Platt,
    Temperature,
    brier,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    recalibration,
    reliability,
)
from node.toolkit.logistic import log_odds_of, sigmoid


def drawn(seed=0, cases=400, slope=2.0, shift=0.5):
    """Probabilities that are too extreme by `slope` and too high by `shift`."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.2, cases)
    return sigmoid(slope * (truth + shift)), rng.random(cases) < sigmoid(truth)


def test_platt_is_scikit_learns_sigmoid():
    from sklearn.calibration import _SigmoidCalibration

    p, y = drawn()
    theirs = _SigmoidCalibration().fit(log_odds_of(p), y)

    assert fit_platt(p, y)(p) == pytest.approx(theirs.predict(log_odds_of(p)), abs=1e-4)


def test_isotonic_is_scikit_learns():
    from sklearn.isotonic import IsotonicRegression

    p, y = drawn(3)
    p = p.round(2)  # ties
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    asked = np.linspace(0, 1, 201)

    found = fit_isotonic(p, y)

    assert found(asked) == pytest.approx(theirs.predict(asked), abs=1e-12)
    assert found.given.size < 60


def test_temperature_is_the_one_of_least_loss_and_keeps_the_order():
    p, y = drawn(shift=0.0)
    found = fit_temperature(p, y)

    def loss(temperature):
        eta = log_odds_of(p) / temperature
        return (np.logaddexp(0, eta) - y * eta).sum()

    assert found.temperature == pytest.approx(2.0, rel=0.25)
    assert loss(found.temperature) <= min(loss(found.temperature * f) for f in (0.99, 1.01))
    assert (np.argsort(found(p)) == np.argsort(p)).all()
    assert Temperature(temperature=3.0)([0.5]) == pytest.approx([0.5])


@pytest.mark.parametrize("fit", [fit_platt, fit_temperature, fit_isotonic])
def test_a_calibrator_comes_back_from_plain_arrays(fit, tmp_path):
    from node.toolkit.training import read_weights, write_weights

    found = fit(*drawn())
    write_weights(tmp_path / "w.safetensors", found.arrays())

    again = type(found).from_arrays(read_weights(tmp_path / "w.safetensors"))

    asked = np.linspace(0.001, 0.999, 50)
    assert isinstance(again, Platt | Temperature | Isotonic)
    assert again(asked) == pytest.approx(found(asked), abs=1e-6)


def test_calibration_helps_on_other_cases():
    p, y = drawn(1)
    other, came = drawn(2)
    before = expected_calibration_error(other, came), brier(other, came)

    for fit in (fit_platt, fit_isotonic):
        said = fit(p, y)(other)
        assert expected_calibration_error(said, came) < before[0] / 2
        assert brier(said, came) < before[1]


def test_slope_and_intercept_tell_what_is_wrong():
    wrong = recalibration(*drawn(cases=4000))
    right = recalibration(*drawn(cases=4000, slope=1.0, shift=0.0))

    assert wrong.slope.estimate == pytest.approx(0.5, abs=0.06)
    assert wrong.intercept.high < 0
    assert right.slope.low < 1 < right.slope.high
    assert right.intercept.low < 0 < right.intercept.high


def test_a_reliability_curve_counts_every_case_once_and_equals_scikit_learns():
    from sklearn.calibration import calibration_curve

    p, y = drawn()
    for ours, theirs in (("width", "uniform"), ("count", "quantile")):
        came, said = calibration_curve(y, p, n_bins=10, strategy=theirs)
        found = reliability(p, y, bins=10, by=ours)
        assert sum(one.cases for one in found) == p.size
        assert [one.said for one in found] == pytest.approx(said)
        assert [one.came for one in found] == pytest.approx(came)


def test_brier_is_scikit_learns():
    from sklearn.metrics import brier_score_loss

    p, y = drawn()

    assert brier(p, y) == pytest.approx(brier_score_loss(y, p))


@pytest.mark.parametrize(
    ("p", "y", "sentence"),
    [
        ([1.2, 0.1], [1, 0], "not from 0 to 1"),
        ([0.2, 0.1], [1, 2], "neither 0 nor 1"),
        ([0.2, 0.1], [1, 1], "with the outcome and cases without"),
        ([0.2], [1, 0], "one for each"),
    ],
)
def test_what_is_no_probability_is_refused(p, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_platt(p, y)


def test_a_temperature_of_nothing_is_1_and_one_of_0_is_none():
    assert fit_temperature([0.5] * 4, [0, 1, 1, 1]).temperature == 1.0
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            Temperature.from_arrays({"temperature": [bad]})


@pytest.mark.parametrize(
    ("kind", "arrays", "sentence"),
    [
        (Platt, {}, "the weights hold no platt"),
        (Platt, {"platt": [1.0, 2.0, 3.0]}, "shape"),
        (Isotonic, {"isotonic_given": [0.9, 0.1], "isotonic_said": [0.0, 1.0]}, "does not rise"),
        (Isotonic, {"isotonic_given": [0.1, 0.9], "isotonic_said": [0.0]}, "other knots"),
    ],
)
def test_arrays_of_no_calibrator_are_refused(kind, arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind.from_arrays(arrays)


def test_bins_by_a_word_that_nobody_knows_are_refused():
    with pytest.raises(ValueError, match="by is 'counts'; width or count"):
        reliability([0.1, 0.5, 0.9], [0, 1, 1], by="counts")


@pytest.mark.parametrize("bins", [0, -3])
def test_fewer_than_one_bin_is_refused(bins):
    for judge in (reliability, expected_calibration_error):
        with pytest.raises(ValueError, match=f"bins is {bins}; at least 1"):
            judge([0.1, 0.5, 0.9], [0, 1, 1], bins=bins)
