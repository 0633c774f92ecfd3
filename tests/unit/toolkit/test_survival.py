"""Reference values of lifelines' own pages, and coverage on cohorts without images (E13)."""

import math

import numpy as np
import pytest

pytest.importorskip("lifelines")

from node.toolkit.survival import cox, harrell_c, kaplan_meier, log_rank

#: Fox and Weisberg 2011, Cox Proportional-Hazards Regression for Survival Data in R, and the
#: page "Survival regression" of lifelines: coefficient and standard error.
ROSSI = {
    "fin": (-0.37942, 0.19138),
    "age": (-0.05744, 0.02200),
    "race": (0.31390, 0.30799),
    "wexp": (-0.14980, 0.21222),
    "mar": (-0.43370, 0.38187),
    "paro": (-0.08487, 0.19576),
    "prio": (0.09150, 0.02865),
}


@pytest.fixture(scope="module")
def rossi():
    from lifelines.datasets import load_rossi

    return load_rossi()


def columns(table, names):
    return {name: table[name].to_numpy(float) for name in names}


def test_cox_gives_the_published_figures_of_rossi(rossi):
    found = cox(rossi["week"], rossi["arrest"], columns(rossi, ROSSI))

    for name, (weight, error) in ROSSI.items():
        hazard = found.hazard(name)
        assert math.log(hazard.ratio.estimate) == pytest.approx(weight, abs=2e-5)
        width = math.log(hazard.ratio.high / hazard.ratio.low)
        assert width == pytest.approx(2 * 1.959964 * error, abs=2e-4)
    assert found.hazard("fin").p_value == pytest.approx(0.0474, abs=1e-4)
    assert found.log_likelihood == pytest.approx(-658.75, abs=0.01)
    assert found.concordance == pytest.approx(0.64, abs=0.005)


def test_kaplan_meier_of_rossi_is_a_count_as_nobody_leaves_early(rossi):
    found = kaplan_meier(rossi["week"], rossi["arrest"])

    for week in (1, 20, 52):
        at = np.searchsorted(found.time, week, side="right") - 1
        free = 1 - ((rossi["week"] <= week) & (rossi["arrest"] == 1)).mean()
        assert found.survival[at] == pytest.approx(free)
    assert found.survival[-1] == pytest.approx(318 / 432)
    assert found.at_risk[0] == 432 and math.isinf(found.median)
    assert (found.low <= found.survival).all() and (found.survival <= found.high).all()


def test_medians_and_log_rank_of_lifelines_first_page():
    from lifelines.datasets import load_waltons

    table = load_waltons()
    found = log_rank(table["T"], table["E"], list(table["group"]))

    assert kaplan_meier(table["T"], table["E"]).median == 56.0
    assert (found.statistic, found.degrees) == (pytest.approx(122.25, abs=0.005), 1)
    assert found.p_value == pytest.approx(2.0359e-28, rel=1e-3)


def test_three_groups_have_two_degrees_of_freedom():
    rng = np.random.default_rng(0)
    found = log_rank(rng.exponential(1, 90), np.ones(90), list("abc") * 30)

    assert found.degrees == 2 and found.p_value > 0.001


def test_harrells_c_counts_pairs_whose_order_is_known():
    # The second is lost before the third's event, so those two cannot be compared.
    time, event = [1, 2, 3, 4], [1, 0, 1, 0]
    pairs = {(0, 1): 1, (0, 2): 1, (0, 3): 1, (2, 3): 0}

    assert harrell_c(time, event, [0.9, 0.8, 0.1, 0.5]) == sum(pairs.values()) / len(pairs)
    assert harrell_c(time, event, [0.5, 0.5, 0.5, 0.5]) == 0.5
    with pytest.raises(ValueError, match="whose event came first"):
        harrell_c([1.0, 2.0], [0, 1], [0.5, 0.4])


@pytest.mark.slow
def test_cox_intervals_cover_the_laws_hazard_ratio_on_cohorts_without_images():
    """300 cohorts of 120 patients, hazard ratio 2.5, administrative censoring (E13: 92-98 %)."""
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(300):
        group = (rng.random(120) < 0.4).astype(float)
        time = rng.exponential(24 / 2.5**group)
        stop = rng.uniform(12, 60, 120)
        found = cox(np.minimum(time, stop), time <= stop, {"group": group})
        covered.append(found.hazards[0].ratio.low <= 2.5 <= found.hazards[0].ratio.high)

    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("covariates", "event", "sentence"),
    [
        ({"same": [1.0, 1.0, 1.0]}, [1, 1, 0], "same is the same in every case"),
        ({"x": [1.0, np.nan, 0.0]}, [1, 1, 0], "x has not one finite value"),
        ({"x": [1.0, 2.0, 0.0]}, [0, 0, 0], "no event happened"),
        ({"x": [1.0, 1.0, 0.0]}, [1, 1, 0], "finds no maximum"),
    ],
)
def test_hazards_that_cannot_be_estimated_are_refused(covariates, event, sentence):
    with pytest.raises(ValueError, match=sentence):
        cox([1.0, 2.0, 3.0], event, covariates)


@pytest.mark.parametrize(
    ("time", "event", "sentence"),
    [([-1.0], [1], "negative"), ([1.0], [2], "neither 0 nor 1"), ([], [], "one for each")],
)
def test_times_that_are_none_are_refused(time, event, sentence):
    with pytest.raises(ValueError, match=sentence):
        kaplan_meier(time, event)


def test_one_group_is_no_comparison():
    with pytest.raises(ValueError, match="two groups"):
        log_rank([1.0, 2.0], [1, 1], ["a", "a"])


def test_cox_of_events_all_at_one_time_says_why_not():
    with pytest.raises(ValueError, match="of no two cases is known whose event came first"):
        cox([12.5] * 8, [1] * 8, {"called": [0, 1, 0, 1, 0, 1, 1, 0]})


def test_the_unit_of_a_covariate_changes_no_answer(rossi):
    time, event, age = (rossi[name].to_numpy(float) for name in ("week", "arrest", "age"))
    plain = cox(time, event, {"age": age}).hazard("age")

    in_centuries = cox(time, event, {"age": age / 100}).hazard("age")
    tiny = cox(time, event, {"age": age * 1e-9}).hazard("age")

    assert in_centuries.ratio.estimate == pytest.approx(plain.ratio.estimate**100, rel=1e-5)
    assert in_centuries.p_value == pytest.approx(plain.p_value, rel=1e-6)
    assert tiny.p_value == pytest.approx(plain.p_value, rel=1e-6)


def test_a_covariate_that_is_not_in_the_model_is_said(rossi):
    found = cox(rossi["week"], rossi["arrest"], {"age": rossi["age"]})

    with pytest.raises(ValueError, match="no covariate fin; the model has age"):
        found.hazard("fin")


@pytest.mark.parametrize("missing", [float("nan"), np.float32("nan"), None])
@pytest.mark.parametrize("others", [[1, 0, 1], ["a", "b", "a"]])
def test_a_case_without_a_group_is_refused(missing, others):
    with pytest.raises(ValueError, match="a case has no group"):
        log_rank([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1], [*others, missing])


def test_equal_numbers_are_one_group():
    time, event = [1.0, 2.0, 3.0, 4.0], [1, 1, 1, 0]
    plain = log_rank(time, event, [0, 1, 1, 0])

    for group in ([0, 1, 1.0, 0.0], [-0.0, True, np.int8(1), 0], [False, np.True_, 1, 0]):
        assert log_rank(time, event, group) == plain
    with pytest.raises(ValueError, match="two groups"):
        log_rank(time, event, [1, 1.0, 1, 1.0])


def test_words_and_numbers_are_no_groups_together():
    with pytest.raises(ValueError, match="all numbers or all words; here are both"):
        log_rank([1.0, 2.0, 3.0], [1, 1, 1], [1, "1", 2])
