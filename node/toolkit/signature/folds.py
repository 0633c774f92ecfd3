"""Folds by patient, and the guard that catches what a fold must not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.toolkit.signature.table import Array, Rows, Table, Truth

#: Rows to learn from, rows to test on.
Fold = tuple[Rows, Rows]
LEAK = "DATA_LEAK"


def folds_of(truth: Truth, count: int, *, seed: int) -> list[Fold]:
    """Return folds of nearly the same share of outcomes; all cases of a patient are in one.

    Unequal shares would make the folds' intercepts tell the outcome, the wrong way round.

    Raises
    ------
    LearningError
        If a class has fewer patients than there are folds.
    """
    patients, place, has = _patients(truth)
    if min(has.sum(), (~has).sum()) < count:
        raise LearningError(
            f"{int(has.sum())} patients with the outcome and {int((~has).sum())} without it are "
            f"too few for {count} folds; learn from more patients"
        )
    order = np.random.default_rng(seed).permutation(len(patients))
    order = order[np.argsort(has[order], kind="stable")]  # one class after the other
    turn = np.empty(len(patients), np.intp)
    turn[order] = np.arange(len(patients)) % count
    fold = turn[place]
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(count)]


def fewest_patients(truth: Truth) -> int:
    """Return how many patients the smaller class has."""
    _, _, has = _patients(truth)
    return int(min(has.sum(), (~has).sum()))


def _patients(truth: Truth) -> tuple[NDArray[np.str_], Rows, NDArray[np.bool_]]:
    """Return the patients, which of them each case is of, and who has the outcome anywhere."""
    patients, place = np.unique(truth.groups, return_inverse=True)
    return patients, place, np.bincount(place, weights=truth.outcome) > 0


def check_folds(folds: Sequence[Fold], groups: Sequence[object]) -> None:
    """Raise `LearningError` (DATA_LEAK) if a patient is learned from and tested in one fold."""
    named = np.array([str(one) for one in groups])
    for number, (learned, tested) in enumerate(folds, start=1):
        shared = np.intersect1d(named[learned], named[tested])
        if shared.size:
            raise LearningError(
                f"leak: fold {number} learns from {shared.size} patients that it is tested on; "
                "put all cases of a patient into one fold",
                code=LEAK,
            )
    tested_on = np.concatenate([tested for _, tested in folds])
    if np.unique(tested_on).size != tested_on.size:
        raise LearningError("leak: a case is tested in two folds", code=LEAK)


def check_scaling(
    mean: Array, deviation: Array, learned: Array, *, tolerance: float = 1e-9
) -> None:
    """Raise `LearningError` unless features were scaled by the cases learned from, no others.

    Parameters
    ----------
    mean, deviation : float64, shape (features,)
        What the features are scaled by.
    learned : float64, shape (cases, features)
        Of the cases that may be learned from, as measured.
    """
    wanted, spread = scaling_of(learned)
    apart = np.maximum(np.abs(mean - wanted), np.abs(deviation - spread)) > tolerance * spread
    if apart.any():
        raise LearningError(
            f"leak: {int(apart.sum())} of {apart.size} features are scaled by the mean and "
            "deviation of other cases than those learned from; fit the scaler inside the fold",
            code=LEAK,
        )


def scaling_of(values: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each feature; 0 where it is constant.

    What is unknown (NaN) is left out of both.
    """
    known = ~np.isnan(values)
    if known.all():
        mean, deviation = values.mean(axis=0), values.std(axis=0)
    else:
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / count
        deviation = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
    # The mean of equal numbers may differ from them by a hair.
    flat = (np.ptp(np.where(known, values, mean), axis=0) == 0.0) | (
        deviation <= 1e-12 * np.abs(mean)
    )
    return mean, np.where(flat, 0.0, deviation)


#: Learns from some rows of a table and returns the probability of every row.
Learn = Callable[[Table, NDArray[np.bool_], Rows], Array]


#: How often the tested cases are changed: one change may by chance leave a choice as it is.
_CHANGES = 4


def check_blind(
    learn: Learn, table: Table, outcome: NDArray[np.bool_], fold: Fold, *, seed: int = 0
) -> None:
    """Raise `LearningError` if what is learned depends on the cases to be tested.

    It learns anew with other features, second readings and outcomes of the tested cases, and with
    others of them unknown. What it then says of the cases learned from must be the same to the
    last bit, whatever it is made of. A dependence that several such changes leave as it is, for
    instance on the number of cases, is not seen.
    """
    learned, tested = fold
    before = learn(table, outcome, learned)[learned]
    for change in range(_CHANGES):
        after = learn(*_altered(table, outcome, tested, seed, change), learned)[learned]
        if not np.array_equal(before, after):
            raise LearningError(
                f"leak: what was learned from {learned.size} cases changes with the features and "
                f"outcomes of the {tested.size} cases it is tested on; fit every step inside the "
                "fold",
                code=LEAK,
            )


def _altered(
    table: Table, outcome: NDArray[np.bool_], tested: Rows, seed: int, change: int
) -> tuple[Table, NDArray[np.bool_]]:
    """Return the same cases, the tested ones with other values and the other outcome.

    Of what may be unknown, everything is known with even changes and nothing with odd ones.
    """
    chance = np.random.default_rng([seed, change])
    unknown = change % 2 == 1
    blocks = {}
    for name, block in table.blocks.items():
        values = _moved(block.values, tested, chance, unknown=unknown and block.lacking)
        second = block.second
        if second is not None:
            second = _moved(second, tested, chance, unknown=unknown)
        blocks[name] = replace(block, values=values, second=second)
    turned = outcome.copy()
    turned[tested] = ~turned[tested]
    return Table(blocks=blocks), turned


def _moved(values: Array, tested: Rows, chance: np.random.Generator, *, unknown: bool) -> Array:
    """Return the values, those of tested cases far from where any was, or unknown."""
    mean, deviation = scaling_of(values)
    shape = (tested.size, values.shape[1])
    there = np.where(np.isnan(values[tested]), mean, values[tested])
    # By another strength for each feature, or all of them would keep their order.
    reach = 20.0 * (deviation + 1.0) * chance.random(values.shape[1])
    moved = values.copy()
    moved[tested] = np.nan if unknown else there + reach * (1.0 + chance.random(shape))
    return moved
