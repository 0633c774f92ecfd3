"""The loop of `fit`: same seed same weights, goes on after a kill, stops, keeps the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from node.toolkit.learning import (  # noqa: E402
    Learner,
    Schedule,
    balanced,
    learn,
    one_cycle,
    said,
    share_done,
    told_apart,
)
from node.toolkit.training import TrainingRun, seed_everything  # noqa: E402

SCHEDULE = Schedule(steps=40, look_every=10, rate=lambda done: 0.05 * one_cycle(done))


class Killed(Exception):
    """Stands for the end of the process."""


def points():
    chance = np.random.default_rng(5)
    outcome = np.arange(80) % 4 == 0
    return chance.normal(outcome[:, None], 1.0, (80, 3)).astype(np.float32), outcome


def small_net():
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1)
    )


def taught(folder, *, schedule=SCHEDULE, look=None, **of_run):
    """Train a small network on points; return (weights, calls of progress)."""
    inputs, outcome = points()
    told = []

    def progress(done, total, **figures):
        told.append((done, total, figures))

    def loss(net, chosen):
        logits = net(torch.from_numpy(inputs[chosen]))[:, 0]
        wanted = torch.from_numpy(outcome[chosen].astype(np.float32))
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)

    def measured(net):
        return told_apart(said(net, [[torch.from_numpy(inputs)]]), outcome)

    seed_everything(3)
    found = learn(
        Learner(small_net(), weight_decay=1e-3, averaging=0.9),
        schedule,
        run=TrainingRun(device="cpu", folder=folder, progress=progress, **of_run),
        seed=3,
        batch=lambda chance: balanced(outcome, 16, chance),
        loss=loss,
        look=look or measured,
    )
    return found, told


def same(first, second):
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_a_network_learns_what_is_shown_and_the_same_seed_gives_the_same_weights(tmp_path):
    first, told = taught(tmp_path / "one")
    second, _ = taught(tmp_path / "two")

    assert same(first, second)
    assert first["0.weight"].dtype == np.float16
    assert first["1.num_batches_tracked"].dtype == np.int64
    done, total, figures = told[-1]
    assert (done, total) == (40, 40)
    assert figures["auroc"] > 0.7 and figures.keys() == {"auroc", "loss"}


def rising(first=1, dies_at=0):
    """Return a look that finds the network better each time, or is the last."""
    looks = iter(range(first, 100))

    def look(_net):
        if (number := next(looks)) == dies_at:
            raise Killed
        return number / 100

    return look


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    whole, _ = taught(tmp_path / "whole", look=rising())

    with pytest.raises(Killed):
        taught(tmp_path / "cut", look=rising(dies_at=3))
    resumed, told = taught(tmp_path / "cut", look=rising(3))

    assert same(resumed, whole)
    assert [done for done, *_ in told] == [30, 40, 40]  # on from step 20
    again, told = taught(tmp_path / "cut", look=rising(dies_at=1))
    assert same(again, whole) and [done for done, *_ in told] == [40]


def test_a_network_that_no_longer_improves_stops_and_its_best_weights_stay(tmp_path):
    figures = iter([0.6, 0.8, 0.7, 0.7])
    schedule = replace(SCHEDULE, steps=200, patience=2, figure="dice")
    kept = []

    def look(net):
        kept.append(net.state_dict()["0.weight"].half().numpy())
        return next(figures)

    found, told = taught(tmp_path, schedule=schedule, look=look)

    done, total, said_last = told[-1]
    assert (done, total) == (40, 200)  # ended early, and says so
    assert said_last["dice"] == 0.8 and len(kept) == 4
    np.testing.assert_array_equal(found["0.weight"], kept[1])


def test_a_training_without_time_still_gives_weights_and_says_how_little_it_did(tmp_path):
    found, told = taught(tmp_path, max_seconds=0.0)

    assert found["1.num_batches_tracked"] == 0
    assert told == [(0, 40, {"loss": 0.0, "auroc": told[0][2]["auroc"]})]


def test_a_figure_of_zero_is_shown_as_zero(tmp_path):
    _, told = taught(tmp_path, look=lambda _net: 0.0)

    assert told[-1][2]["auroc"] == 0.0
    assert "auroc" not in told[0][2]  # nothing was looked at before


def test_the_mean_follows_the_weights_and_leaves_the_network_alone():
    torch.manual_seed(0)
    net = torch.nn.Linear(1, 1, bias=False)
    learner = Learner(net, weight_decay=0.0, averaging=0.9)
    before = net.weight.item()

    learner.step(lambda net: net.weight.square().sum(), rate=0.1)

    after, keep = net.weight.item(), 1 / 11
    assert learner.loss == pytest.approx(before**2)
    assert learner.averaged().weight.item() == pytest.approx(keep * before + (1 - keep) * after)
    assert net.weight.item() == after and net.training


def test_time_counts_where_it_is_shorter_than_the_steps(tmp_path):
    run = TrainingRun(device="cpu", folder=tmp_path)
    assert share_done(run, 0.25) == 0.25

    late = replace(run, max_seconds=100.0, started=run.started - 60.0)
    assert share_done(late, 0.25) == pytest.approx(0.6, abs=0.02)
    assert share_done(late, 0.25, begun=0.2) == pytest.approx(0.68, abs=0.02)
    assert share_done(late, 0.9) == 0.9
    assert share_done(replace(late, started=run.started - 500.0), 0.9) == 1.0


def test_a_batch_holds_both_outcomes_alike_or_the_only_one_there_is():
    chance = np.random.default_rng(0)
    rare = np.array([0.0] * 30 + [1.0])

    assert rare[balanced(rare, 8, chance)].sum() == 4
    assert len(balanced(np.zeros(5), 8, chance)) == 8


def test_each_institution_gives_as_many_of_both_outcomes():
    chance = np.random.default_rng(0)
    # "quiet" has most of the ones, "noisy" most of the others, "single" one outcome alone.
    sites = np.array(["quiet"] * 40 + ["noisy"] * 40 + ["single"] * 10)
    outcome = np.array([1] * 36 + [0] * 4 + [1] * 4 + [0] * 36 + [1] * 10)

    drawn = np.concatenate([balanced(outcome, 32, chance, within=sites) for _ in range(50)])

    for site in ("quiet", "noisy"):
        assert outcome[drawn[sites[drawn] == site]].mean() == 0.5
        assert 0.4 < (sites[drawn] == site).mean() < 0.6
    assert "single" not in sites[drawn]
    # Where no institution has both, there is nothing to hold it against.
    assert outcome[balanced(outcome, 32, chance, within=outcome)].mean() == 0.5


def test_what_tells_institutions_apart_tells_no_outcome_within_them():
    sites, outcome = np.array(list("aaabbb")), np.array([1, 1, 0, 0, 0, 1])
    site_alone = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])

    assert told_apart(site_alone, outcome) > 0.6
    assert told_apart(site_alone, outcome, within=sites) == 0.5


def test_one_outcome_alone_cannot_be_told_apart():
    assert told_apart(np.array([0.2, 0.9]), np.ones(2)) == 0.5
    assert told_apart(np.array([0.2, 0.9]), np.array([1, 0])) == 0.0
