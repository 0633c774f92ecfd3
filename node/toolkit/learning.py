"""The loop of `fit`: a network that learns in steps, with looks and checkpoints.

What differs between plugins is given: batches, the loss, the figure on the tuning cases. PyTorch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from node.toolkit.auroc import auroc
from node.toolkit.training import (
    EarlyStopping,
    TrainingRun,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
    tensors_of,
)

#: Weights of one network by name, as a weights file holds them.
Tensors = dict[str, NDArray[Any]]
#: Share of the full rate at the very start, and of the training until the full rate.
_FIRST, _RISE = 0.1, 0.1
_LONGEST_GRADIENT = 5.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When things happen in a training.

    Attributes
    ----------
    steps : int
        At most.
    look_every : int
        Steps between two looks at the tuning cases; a checkpoint is written there.
    rate : callable (share of the training that is done, 0..1) -> float
        The learning rate, e.g. ``lambda done: 2e-3 * one_cycle(done)``.
    patience : int or None
        So many looks in a row without improvement end the training of a network; None: never.
    least : float
        Smaller improvements do not count.
    figure : str
        What `look` gives, as it is shown.
    say_every : int
        Steps between two calls of `TrainingRun.progress`.
    """

    steps: int
    look_every: int
    rate: Callable[[float], float]
    patience: int | None = None
    least: float = 0.0
    figure: str = "auroc"
    say_every: int = 10


class Learner:
    """One network, its optimiser (AdamW), and the running mean of its weights.

    Parameters
    ----------
    network : Module
        On its device.
    weight_decay : float
    averaging : float
        What stays of the running mean at each step; in the first steps less.
    """

    def __init__(self, network: nn.Module, *, weight_decay: float, averaging: float):
        self.network, self.averaging = network, averaging
        # Each step brings its own rate.
        self.optimiser = torch.optim.AdamW(
            network.parameters(), weight_decay=weight_decay, fused=True
        )
        self.mean = {name: value.detach().clone() for name, value in network.state_dict().items()}
        #: Smoothed over about 20 steps.
        self.loss = 0.0
        self.steps = 0

    def step(self, loss_of: Callable[..., Any], *given: Any, rate: float) -> None:
        """Learn from one batch: ``loss_of(network, *given)``, the network in training mode."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        loss = loss_of(self.network, *given)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _LONGEST_GRADIENT)
        self.optimiser.step()
        value = float(loss.detach())
        self.loss += (0.05 if self.steps else 1.0) * (value - self.loss)
        self.steps += 1
        self._average()

    def averaged(self) -> nn.Module:
        """Return a network with the running mean of the weights; its own stays as it is."""
        other = copy.deepcopy(self.network)
        other.load_state_dict(self.mean)
        return other.eval()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "mean": self.mean,
            "loss": self.loss,
            "steps": self.steps,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, value in state["mean"].items():
            self.mean[name].copy_(value)
        self.loss, self.steps = state["loss"], state["steps"]

    def _average(self) -> None:
        keep = min(self.averaging, self.steps / (self.steps + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.mean[name].lerp_(value, 1 - keep)
                else:
                    self.mean[name].copy_(value)


def learn(
    learner: Learner,
    schedule: Schedule,
    *,
    run: TrainingRun,
    seed: int,
    batch: Callable[[np.random.Generator], Any],
    loss: Callable[[nn.Module, Any], Any],
    look: Callable[[nn.Module], float],
) -> Tensors:
    """Return the best weights of a network; goes on from the checkpoint in `run.folder`.

    The end is the last step, the end of the time, or early stopping; the bar then stands at the
    steps that were made. Several networks that learn apart are `PARTS` of a plugin
    (docs/train.md).

    Parameters
    ----------
    learner : Learner
    schedule : Schedule
    run : TrainingRun
    seed : int
        Of the generator that `batch` is given. What else is random is torch's: call
        `seed_everything` before the network is made.
    batch : callable (generator) -> anything
    loss : callable (network, batch) -> tensor
    look : callable (averaged network) -> float
        How good it is on the tuning cases; higher is better.

    Returns
    -------
    mapping of name to array
        Running means, floating point in 16 bits: the largest figure's.
    """
    course = _Course(learner, schedule, run, seed)
    course.resume()
    begun = course.step / schedule.steps
    while not course.over:
        rate = schedule.rate(share_done(run, course.step / schedule.steps, begun))
        learner.step(loss, batch(course.chance), rate=rate)
        course.step += 1
        if course.step % schedule.say_every == 0:
            course.say()
        if course.step % schedule.look_every == 0:
            course.look(look)
            course.save()
    if course.looked_at < course.step or not course.kept:
        course.look(look)
    course.say()
    return course.kept


class _Course:
    """Where a training stands."""

    def __init__(self, learner: Learner, schedule: Schedule, run: TrainingRun, seed: int):
        self.learner, self.schedule, self.run = learner, schedule, run
        patience = schedule.steps if schedule.patience is None else schedule.patience
        self.best = EarlyStopping(patience=patience, least=schedule.least)
        self.kept: Tensors = {}
        self.step = self.looked_at = 0
        self.chance = np.random.default_rng(seed)

    @property
    def over(self) -> bool:
        return self.step >= self.schedule.steps or self.run.out_of_time or self.best.over

    def look(self, look: Callable[[nn.Module], float]) -> None:
        """Keep the weights that are the best so far."""
        self.looked_at = self.step
        network = self.learner.averaged()
        if self.best.improved(look(network)) or not self.kept:
            self.kept = tensors_of(network, half=True)

    def say(self) -> None:
        figures = {"loss": self.learner.loss}
        if self.best.best is not None:
            figures[self.schedule.figure] = self.best.best
        self.run.progress(self.step, self.schedule.steps, **figures)

    def save(self) -> None:
        state = {
            "learner": self.learner.state(),
            "best": self.best.state(),
            "kept": self.kept,
            "step": self.step,
            "chance": self.chance.bit_generator.state,
            "random": random_state(),
        }
        save_checkpoint(self.run.folder, state)

    def resume(self) -> None:
        if (state := load_checkpoint(self.run.folder)) is None:
            return
        self.learner.load(state["learner"])
        self.best = EarlyStopping(**state["best"])
        self.kept, self.step = state["kept"], state["step"]
        self.looked_at = self.step
        self.chance.bit_generator.state = state["chance"]
        restore_random_state(state["random"])


def share_done(run: TrainingRun, by_steps: float, begun: float = 0.0) -> float:
    """Return how far a training is, 0..1: by steps, or by time where that is short.

    Parameters
    ----------
    run : TrainingRun
    by_steps : float
        Share of the steps that were made.
    begun : float
        That share when this run began: more than 0 after a checkpoint.
    """
    if run.max_seconds is None:
        return by_steps
    spent = (time.monotonic() - run.started) / run.max_seconds
    return min(1.0, max(by_steps, begun + (1 - begun) * spent))


def one_cycle(done: float) -> float:
    """Return the share of the full rate: up in the first tenth, then down like a cosine.

    Examples
    --------
    >>> [round(one_cycle(done), 2) for done in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """
    if done < _RISE:
        return _FIRST + (1 - _FIRST) / _RISE * done
    return float(0.5 * (1 + np.cos(np.pi * (done - _RISE) / (1 - _RISE))))


def balanced(
    outcome: NDArray[Any],
    size: int,
    chance: np.random.Generator,
    *,
    within: Sequence[object] | NDArray[Any] | None = None,
) -> NDArray[np.signedinteger[Any]]:
    """Return the numbers of cases for one step: half of each outcome, where both occur.

    Parameters
    ----------
    outcome : shape (cases,)
        0 or 1.
    size : int
        Of the batch.
    chance : Generator
    within : sequence, one of each case, or None
        Institutions, for instance. Half of each outcome comes from each of them, so that none
        tells the outcome: those with one outcome alone are left out, if any has both. Otherwise a
        network learns the scanner of the hospital that has most of the patients.
    """
    strata = _strata(outcome, within)
    sizes = np.array([sum(map(len, groups)) for groups in strata], np.float64)
    drawn = chance.choice(len(strata), size // len(strata[0]), p=sizes / sizes.sum())
    return np.array([chance.choice(of) for one in drawn for of in strata[one]], np.intp)


def _strata(
    outcome: NDArray[Any], within: Sequence[object] | NDArray[Any] | None
) -> list[list[NDArray[np.intp]]]:
    """Return the cases of each outcome in each stratum; all in one if none has both outcomes."""
    places = np.zeros(len(outcome), np.intp)
    if within is not None:
        _, places = np.unique(np.asarray(within, np.str_), return_inverse=True)
    found = [
        [np.flatnonzero((places == place) & (outcome == value)) for value in (0, 1)]
        for place in range(places.max() + 1)
    ]
    both = [groups for groups in found if all(map(len, groups))]
    if both:
        return both
    everybody = [np.flatnonzero(outcome == value) for value in (0, 1)]
    return [[group for group in everybody if len(group)]]


def said(network: nn.Module, batches: Iterable[Sequence[Any]]) -> NDArray[np.float32]:
    """Return the first number that a network says of each case.

    Parameters
    ----------
    network : Module
    batches : iterable of the inputs of one call
        Tensors on the network's device.
    """
    with torch.no_grad():
        found = [network(*inputs)[:, 0].float().cpu() for inputs in batches]
    numbers: NDArray[np.float32] = torch.cat(found).numpy()
    return numbers


def told_apart(
    numbers: NDArray[Any],
    outcome: NDArray[Any],
    *,
    within: Sequence[object] | NDArray[Any] | None = None,
) -> float:
    """Return the AUROC of numbers; 0.5 where only one outcome occurs.

    With `within`, as for `balanced`, only pairs of one stratum are compared: what tells
    institutions apart gains nothing.

    Examples
    --------
    >>> told_apart(np.array([0.1, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1]))
    0.75
    >>> numbers, sites = np.array([0.1, 0.4, 0.3, 0.9]), ["a", "b", "a", "b"]
    >>> told_apart(numbers, np.array([0, 0, 1, 1]), within=sites)
    1.0
    """
    strata = [groups for groups in _strata(np.asarray(outcome) > 0.5, within) if len(groups) == 2]
    pairs = [len(negative) * len(positive) for negative, positive in strata]
    areas = [auroc(numbers[positive], numbers[negative]) for negative, positive in strata]
    return float(np.average(areas, weights=pairs)) if pairs else 0.5


def named(weights: Tensors, network: str) -> Tensors:
    """Return the weights of one network as a ``ModuleDict`` of several names them.

    Examples
    --------
    >>> list(named({"w": np.zeros(1)}, "fsc"))
    ['fsc.w']
    """
    return {f"{network}.{key}": array for key, array in weights.items()}
