import numpy as np
import pytest

from node.toolkit.decision import decision_curve


def test_net_benefit_is_counted_as_vickers_does():
    # 100 patients, 20 with the outcome; at 20 % the model calls 30, of whom 15 have it.
    p = np.repeat([0.5, 0.5, 0.1, 0.1], [15, 15, 5, 65])
    y = np.repeat([1, 0, 1, 0], [15, 15, 5, 65])

    found = decision_curve(p, y, [0.2])

    assert found.model[0] == pytest.approx(15 / 100 - 15 / 100 * 0.25)
    assert found.everybody[0] == pytest.approx(20 / 100 - 80 / 100 * 0.25)


def test_at_the_lowest_threshold_the_model_treats_everybody():
    rng = np.random.default_rng(0)
    p, y = rng.uniform(0.02, 1, 200), rng.random(200) < 0.3

    found = decision_curve(p, y)

    assert found.thresholds[[0, -1]] == pytest.approx([0.01, 0.99])
    assert found.model[0] == pytest.approx(found.everybody[0])
    assert found.everybody[np.argmin(abs(found.thresholds - y.mean()))] == pytest.approx(
        0, abs=0.02
    )


def test_a_probability_that_knows_is_never_worse_than_both_rules():
    rng = np.random.default_rng(1)
    p = rng.uniform(0, 1, 20_000)
    found = decision_curve(p, rng.random(20_000) < p, np.arange(0.05, 0.95, 0.05))

    assert (found.model >= np.maximum(found.everybody, 0) - 0.01).all()


def test_thresholds_lie_inside():
    with pytest.raises(ValueError, match="above 0 and below 1"):
        decision_curve([0.1, 0.2], [0, 1], [0.0])
    with pytest.raises(ValueError, match="one for each"):
        decision_curve([0.1], [0, 1])


@pytest.mark.parametrize(
    ("p", "y", "sentence"),
    [
        ([90.0, 10.0], [1, 0], "not from 0 to 1"),
        ([float("nan"), 0.1], [1, 0], "not from 0 to 1"),
        ([0.9, 0.1], [2, 1], "neither 0 nor 1"),
        ([0.9], [1, 0], "not one for each"),
    ],
)
def test_what_is_no_probability_or_outcome_is_refused(p, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        decision_curve(p, y)


def test_a_probability_of_whole_percents_is_at_its_own_threshold():
    for percent in range(1, 100):
        found = decision_curve([percent / 100], [1])

        assert found.thresholds.size == 99
        assert found.model.sum() == percent  # called at 1 % up to its own
