"""How good a signature is: nested cross-validation, and cases that nothing was learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.toolkit.auroc import auroc, auroc_interval
from node.toolkit.bootstrap import Interval
from node.toolkit.calibration import brier
from node.toolkit.operating import wilson
from node.toolkit.signature.fitting import Desk
from node.toolkit.signature.folds import Fold, check_folds, check_scaling, folds_of
from node.toolkit.signature.parallel import Advance, one_thread
from node.toolkit.signature.signature import Signature
from node.toolkit.signature.table import (
    Array,
    Cases,
    Rows,
    SignatureSettings,
    Table,
    Truth,
)

#: Learns a signature from some rows.
Fit = Callable[[Rows], Signature]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What was said of each case by a signature that had not seen its patient.

    Attributes
    ----------
    outcome : bool, shape (cases,)
    groups : str, shape (cases,)
    probability : float64, shape (cases,)
        Calibrated, by the signature of the case's fold.
    called : bool, shape (cases,)
        At or above that signature's own threshold.
    fold : intp, shape (cases,)
    signatures : tuple of Signature
        One of each fold; () where there was one for all.
    """

    outcome: NDArray[np.bool_]
    groups: NDArray[np.str_]
    probability: Array
    called: NDArray[np.bool_]
    fold: NDArray[np.intp]
    signatures: tuple[Signature, ...] = ()

    @property
    def auroc(self) -> Interval:
        """Return the AUROC over all cases, by DeLong; by patient where one has several cases."""
        y, p = self.outcome, self.probability
        several = np.unique(self.groups).size < self.groups.size
        patients = (self.groups[y].tolist(), self.groups[~y].tolist()) if several else None
        return auroc_interval(p[y], p[~y], patients=patients)

    @property
    def fold_aurocs(self) -> tuple[float, ...]:
        """Return the AUROC within each fold, where nothing depends on other folds' calibration."""
        found = []
        for number in np.unique(self.fold):
            y, p = self.outcome[self.fold == number], self.probability[self.fold == number]
            found.append(auroc(p[y], p[~y]))
        return tuple(found)

    def figures(self) -> dict[str, float]:
        """Return AUROC with its interval, accuracy, sensitivity, specificity and Brier score."""
        y, called, area = self.outcome, self.called, self.auroc
        shares = {
            "accuracy": (int((called == y).sum()), y.size),
            "sensitivity": (int((called & y).sum()), int(y.sum())),
            "specificity": (int((~called & ~y).sum()), int((~y).sum())),
        }
        return {
            "cases": float(y.size),
            "auroc": area.estimate,
            "auroc_low": area.low,
            "auroc_high": area.high,
            **{name: wilson(*share).estimate for name, share in shares.items()},
            "brier": brier(self.probability, y),
        }


def nested_auroc(
    cases: Cases,
    settings: SignatureSettings,
    *,
    workers: int = 1,
    advance: Advance | None = None,
) -> Judged:
    """Judge a signature by nested cross-validation: all of it is learned anew in every fold.

    The parameters are those of `fit_signature`.

    Raises
    ------
    LearningError
        DATA_LEAK, if a patient is on both sides of a fold or a scaler knows a tested case.
    """
    table, truth = cases.table, cases.truth(settings.seed)
    folds = outer_folds(truth, settings)
    desk = Desk(table, truth, settings, workers=workers)
    desk.select([rows for learned, _ in folds for rows in desk.needed(learned)], advance)
    blocks = tuple(table.blocks)
    with one_thread():
        return cross_validated(
            table, truth, folds, lambda rows: desk.fit(rows, blocks, settings.classifier)
        )


def outer_folds(truth: Truth, settings: SignatureSettings) -> list[Fold]:
    """Return the folds that judge; drawn apart from those inside of them."""
    return folds_of(truth, settings.outer_folds, seed=settings.seed + 1_000_003)


def cross_validated(table: Table, truth: Truth, folds: Sequence[Fold], fit: Fit) -> Judged:
    """Return what the signature of each fold says of the cases it was not learned from.

    Raises
    ------
    LearningError
        As `nested_auroc`.
    """
    check_folds(folds, truth.groups.tolist())
    probability, called = np.full(len(table), np.nan), np.zeros(len(table), np.bool_)
    number, signatures = np.full(len(table), -1), []
    for index, (learned, tested) in enumerate(folds):
        found = fit(learned)
        check_scaling(
            np.array([one.mean for one in found.kept]),
            np.array([one.deviation for one in found.kept]),
            found.features(table.rows(truth.evened(learned))),
        )
        probability[tested] = found.probability(table.rows(tested))
        called[tested] = probability[tested] >= found.threshold
        number[tested] = index
        signatures.append(found)
    seen = number >= 0
    return Judged(
        outcome=truth.outcome[seen],
        groups=truth.groups[seen],
        probability=probability[seen],
        called=called[seen],
        fold=number[seen],
        signatures=tuple(signatures),
    )


def judged_on(signature: Signature, cases: Cases) -> Judged:
    """Judge a finished signature on cases it was not learned from."""
    truth = cases.truth(0)
    probability = signature.probability(cases.table)
    return Judged(
        outcome=truth.outcome,
        groups=truth.groups,
        probability=probability,
        called=probability >= signature.threshold,
        fold=np.zeros(len(cases.table), np.intp),
    )
