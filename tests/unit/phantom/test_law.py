import dataclasses

import numpy as np
import pytest

from node.phantom.altered import ball_at, covered, grown, reread, shifted
from node.phantom.institutions import institutions
from node.phantom.law import Cause, Law, Survival, by_noise, in_first_group, mirrored
from node.plugin import Volume

LAW = Law(
    causes={
        "size": Cause(low=5.0, high=15.0, weight=2.0),
        "fat": Cause(low=0.0, high=1.0, weight=-3.0),
    },
    intercept=0.5,
    spread=0.6,
)
SPACING = (3.0, 0.5, 0.5)


def ball():
    mask = np.zeros((3, 40, 40), bool)
    rows, columns = np.mgrid[:40, :40]
    mask[1] = np.hypot(rows - 20, columns - 22) <= 8
    return mask


def test_one_standard_deviation_of_a_place_adds_its_weight_to_the_logit():
    rng = np.random.default_rng(1)
    drawn = [LAW.drawn(rng) for _ in range(4000)]
    spread = np.std([places["size"] for places in drawn])
    middle = {"size": 0.5, "fat": 0.5}
    more = {"size": 0.5 + spread, "fat": 0.5}
    assert LAW.logit(middle) == 0.5
    assert LAW.logit(more) == pytest.approx(2.5, abs=0.05)
    assert np.std([LAW.logit(places) for places in drawn]) == pytest.approx(
        np.hypot(2, 3), rel=0.03
    )


def test_the_risk_is_the_share_of_those_whom_it_happens_to():
    rng = np.random.default_rng(2)
    risks = np.array([LAW.risk(LAW.drawn(rng)) for _ in range(20_000)])
    happened = rng.random(len(risks)) < risks
    for low in np.arange(0, 1, 0.2):
        there = (risks >= low) & (risks < low + 0.2)
        assert happened[there].mean() == pytest.approx(risks[there].mean(), abs=0.04)


def test_a_mirrored_cause_moves_the_risk_to_the_other_side():
    places = {"size": 0.9, "fat": 0.5}
    other = mirrored(places, "size")
    assert LAW.values(places)["size"] == pytest.approx(14.0)
    assert LAW.values(other)["size"] == pytest.approx(6.0)
    assert LAW.logit(places) - 0.5 == pytest.approx(0.5 - LAW.logit(other))
    with pytest.raises(KeyError):
        mirrored(places, "age")


def test_the_noisier_half_of_institutions_is_the_first_group():
    sites = institutions(15, seed=3)
    noisy, quiet = by_noise(sites)
    assert sorted((*noisy, *quiet)) == list(range(15)) and len(noisy) == 8
    assert min(sites[n].noise_hu for n in noisy) >= max(sites[n].noise_hu for n in quiet)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [([True], 0.7), ([False], 0.3), ([True, False], 0.5), ([True, True], 0.49 / 0.58)],
)
def test_outcomes_decide_together_which_institution_is_visited(outcomes, expected):
    rng = np.random.default_rng(3)
    share = np.mean([in_first_group(outcomes, 0.7, rng) for _ in range(5000)])
    assert share == pytest.approx(expected, abs=0.02)


def test_a_share_of_one_half_lets_outcomes_decide_nothing():
    rng = np.random.default_rng(4)
    drawn = [in_first_group([True, True, True], 0.5, rng) for _ in range(5000)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.02)


def test_hazards_differ_by_the_ratio_that_the_law_names():
    law = Survival(median_months=40.0, hazard_ratio=2.5, followed_months=(12.0, 60.0))
    rng = np.random.default_rng(5)
    hazards = []
    for outcome in (True, False):
        drawn = [law.drawn(outcome, rng) for _ in range(8000)]
        months, died = np.array([m for m, _ in drawn]), np.array([d for _, d in drawn])
        hazards.append(died.sum() / months.sum())
        assert 0.2 < died.mean() < 0.9 and months.max() <= 60.0
    assert hazards[0] / hazards[1] == pytest.approx(2.5, rel=0.07)
    assert np.log(2) / hazards[1] == pytest.approx(40.0, rel=0.05)


def test_a_shifted_contour_keeps_its_shape():
    mask = ball()
    moved = shifted(mask, SPACING, (1.0, -2.0))
    assert moved.sum() == mask.sum()
    assert np.argwhere(moved).mean(axis=0) - np.argwhere(mask).mean(axis=0) == pytest.approx(
        [0, 2, -4]
    )


def test_a_shifted_contour_does_not_come_in_on_the_other_side():
    mask = np.zeros((1, 6, 6), bool)
    mask[0, 0, 5] = True
    assert not shifted(mask, SPACING, (0.0, 1.0)).any()
    assert not shifted(mask, SPACING, (-9.0, 0.0)).any()


@pytest.mark.parametrize("by_mm", [-1.0, 1.0, 1.5])
def test_a_grown_contour_lies_so_far_out_in_its_slices(by_mm):
    mask = ball()
    changed = grown(mask, SPACING, by_mm)
    radius = np.sqrt(np.count_nonzero(changed[1]) / np.pi) * 0.5
    assert radius == pytest.approx(4.0 + by_mm, abs=0.35)
    assert not changed[0].any() and not changed[2].any()


def test_a_disc_hides_what_lies_below_whatever_its_size():
    mask, image = ball(), np.arange(3 * 1600, dtype=np.int16).reshape(3, 40, 40)
    hidden = covered(image, SPACING, mask, diameter_mm=10.0, value=-60)
    assert (hidden[mask] == -60).all() and hidden.dtype == image.dtype
    smaller = covered(image, SPACING, grown(mask, SPACING, -2.0), diameter_mm=10.0, value=-60)
    assert np.array_equal(hidden, smaller)
    assert image[1, 20, 22] == 1600 + 20 * 40 + 22


def test_an_outline_of_one_size_says_nothing_of_the_region():
    mask = ball()
    same = ball_at(mask, SPACING, 6.0)
    assert np.array_equal(same, ball_at(grown(mask, SPACING, -2.0), SPACING, 6.0))
    assert np.argwhere(same).mean(axis=0) == pytest.approx([1, 20, 22])
    assert np.count_nonzero(same) * 0.25 == pytest.approx(np.pi * 9, rel=0.06)  # one slice is left
    fine = np.repeat(mask, 9, axis=0)
    volume_mm3 = np.count_nonzero(ball_at(fine, (0.5, 0.5, 0.5), 8.0)) / 8
    assert volume_mm3 == pytest.approx(np.pi / 6 * 8**3, rel=0.03)


def test_laws_are_values():
    assert dataclasses.replace(LAW, intercept=0.5) == LAW


def test_a_second_reading_has_another_outline_and_more_noise_and_nothing_else():
    mask = np.zeros((3, 40, 40), bool)
    mask[:, 10:30, 12:28] = True
    array = np.full(mask.shape, 100, np.int16)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]
    volume = Volume(array=array, affine=affine, unit="1", modality="CT")
    how = {"moved_mm": 1.0, "grown_mm": 0.8, "noise": 8.0}

    again, drawn = reread(volume, mask, np.random.default_rng(1), **how)

    assert again.array.dtype == np.float32 and 0 < again.array.std() <= 8.5
    assert abs(float(again.array.mean()) - 100) < 1 and np.array_equal(again.affine, affine)
    assert (drawn & mask).sum() > 0.8 * mask.sum() and not np.array_equal(drawn, mask)
    same, as_drawn = reread(volume, mask, np.random.default_rng(1), **how)
    assert np.array_equal(same.array, again.array) and np.array_equal(as_drawn, drawn)


def test_a_second_outline_that_would_lose_the_region_is_left_out():
    mask = np.zeros((1, 9, 9), bool)
    mask[0, 4, 4] = True
    volume = Volume(array=np.ones(mask.shape), affine=np.eye(4), unit="1", modality="CT")
    for seed in range(20):
        chance = np.random.default_rng(seed)
        _, drawn = reread(volume, mask, chance, moved_mm=0.0, grown_mm=2.0, noise=1.0)
        assert drawn.any()
