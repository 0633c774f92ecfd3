"""How good signatures are: nested cross-validation, a table of them, and with labels mixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.auroc import auroc, auroc_interval
from node.toolkit.bootstrap import Interval
from node.toolkit.calibration import brier
from node.toolkit.operating import wilson
from node.toolkit.signature.fitting import Desk
from node.toolkit.signature.folds import Fold, check_folds, check_scaling, folds_of
from node.toolkit.signature.learners import GRIDS
from node.toolkit.signature.parallel import Advance, each, one_thread
from node.toolkit.signature.signature import Signature
from node.toolkit.signature.table import (
    CLASSIFIERS,
    Array,
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
    table: Table,
    outcome: ArrayLike,
    groups: Sequence[object] | None,
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
    truth = Truth.of(outcome, groups, len(table), settings.seed)
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
            found.features(table.rows(learned)),
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


def judged_on(
    signature: Signature, table: Table, outcome: ArrayLike, groups: Sequence[object] | None
) -> Judged:
    """Judge a finished signature on cases it was not learned from."""
    truth = Truth.of(outcome, groups, len(table), 0)
    probability = signature.probability(table)
    return Judged(
        outcome=truth.outcome,
        groups=truth.groups,
        probability=probability,
        called=probability >= signature.threshold,
        fold=np.zeros(len(table), np.intp),
    )


# --- a table ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One row of a table: some blocks of features and one classifier.

    Attributes
    ----------
    judged : by nested cross-validation
    signature : learned from all of those cases
    held_out : on further cases; None where there are none
    """

    model: str
    classifier: str
    judged: Judged
    signature: Signature
    held_out: Judged | None = None

    def document(self) -> dict[str, object]:
        """Return the row as JSON knows it."""
        kept = {block: counts["kept"] for block, counts in self.signature.counts.items()}
        return {
            "model": self.model,
            "classifier": self.classifier,
            "kept": kept,
            "features": [
                {"block": one.block, "name": one.name, "coefficient": _known(one.coefficient)}
                for one in self.signature.kept
            ],
            "given": dict(self.signature.given),
            "threshold": self.signature.threshold,
            "cross_validated": _figures(self.judged),
            "fold_aurocs": list(self.judged.fold_aurocs),
            "held_out": None if self.held_out is None else _figures(self.held_out),
            "notes": list(self.signature.notes),
        }


def _figures(judged: Judged) -> dict[str, float | None]:
    return {name: _known(value) for name, value in judged.figures().items()}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


#: Table, outcome, and whose case it is (None: each of another patient).
Cases = tuple[Table, ArrayLike, Sequence[object] | None]


def compare_classifiers(
    cases: Cases,
    settings: SignatureSettings,
    *,
    models: Mapping[str, Sequence[str]] | None = None,
    classifiers: Sequence[str] = CLASSIFIERS,
    held_out: Cases | None = None,
    workers: int = 1,
    advance: Advance | None = None,
) -> tuple[Compared, ...]:
    """Judge several models with several classifiers, features being selected once for all.

    Parameters
    ----------
    cases : (table, outcome, patients)
        As in `fit_signature`.
    settings : SignatureSettings
        Its `classifier` does not count.
    models : mapping of name to names of blocks; None: one of all blocks
    classifiers : sequence of `CLASSIFIERS`
    held_out : (table, outcome, patients) that nothing is learned from, or None
    """
    table, outcome, groups = cases
    truth = Truth.of(outcome, groups, len(table), settings.seed)
    models = models or {"all": tuple(table.blocks)}
    table = table.only(list(dict.fromkeys(name for own in models.values() for name in own)))
    folds, everybody = outer_folds(truth, settings), np.arange(len(table))
    desk = Desk(table, truth, settings, workers=workers)
    sides = [everybody, *(learned for learned, _ in folds)]
    desk.select([rows for side in sides for rows in desk.needed(side)], advance)
    tasks = [
        (desk, folds, name, tuple(own), c) for name, own in models.items() for c in classifiers
    ]
    rows = each(_compared, tasks, len(tasks), workers=workers, advance=advance)
    if held_out is None:
        return tuple(rows)
    return tuple(replace(row, held_out=judged_on(row.signature, *held_out)) for row in rows)


def _compared(
    desk: Desk, folds: Sequence[Fold], model: str, blocks: tuple[str, ...], classifier: str
) -> Compared:
    def fit(rows: Rows) -> Signature:
        return desk.fit(rows, blocks, classifier)

    return Compared(
        model=model,
        classifier=classifier,
        judged=cross_validated(desk.table, desk.truth, folds, fit),
        signature=fit(np.arange(len(desk.table))),
    )


# --- chance ----------------------------------------------------------------------------------


def permutation_aurocs(
    table: Table,
    outcome: ArrayLike,
    groups: Sequence[object] | None,
    settings: SignatureSettings,
    *,
    runs: int = 30,
    workers: int = 1,
    advance: Advance | None = None,
) -> tuple[float, ...]:
    """Return the mean AUROC of the folds for each of `runs` mixed outcomes.

    Everything is selected and learned anew in every fold; the classifier keeps the first settings
    of its grid. About 0.5, or something looked at the tested cases.
    """
    truth = Truth.of(outcome, groups, len(table), settings.seed)
    tasks = ((table, _mixed(truth, run), settings) for run in range(runs))
    return tuple(each(_by_chance, tasks, runs, workers=workers, advance=advance))


def _by_chance(table: Table, truth: Truth, settings: SignatureSettings) -> float:
    folds = outer_folds(truth, settings)
    desk = Desk(table, truth, settings)
    desk.select([learned for learned, _ in folds])
    blocks, given = tuple(table.blocks), GRIDS[settings.classifier][0]
    found = []
    for learned, tested in folds:
        said = desk.score(learned, tested, blocks, settings.classifier, given)
        y = truth.outcome[tested]
        found.append(auroc(said[y], said[~y]))
    return float(np.mean(found))


def _mixed(truth: Truth, run: int) -> Truth:
    """Return other outcomes: those of patients with as many cases, in another order."""
    chance = np.random.default_rng([truth.seed, run])
    _, place, sizes = np.unique(truth.groups, return_inverse=True, return_counts=True)
    outcome = truth.outcome.copy()
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        rows = [np.flatnonzero(place == one) for one in alike]
        for target, source in zip(rows, chance.permutation(len(alike)), strict=True):
            outcome[target] = truth.outcome[rows[source]]
    return Truth(outcome=outcome, groups=truth.groups, seed=truth.seed)


# --- causes that were planted ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """How far the kept features are those of what was planted.

    Attributes
    ----------
    families_kept, families : int
        Causal families of which at least one feature was kept; all of them.
    share_causal, share_null : float
        Of the features of any causal family, and of the others, that were kept.
    """

    families_kept: int
    families: int
    share_causal: float
    share_null: float

    @property
    def share(self) -> float:
        """Return the share of causal families kept."""
        return self.families_kept / self.families

    @property
    def enrichment(self) -> float:
        """Return how many times as many causal features are kept as others; inf: no other is."""
        if self.share_null == 0.0:
            return float("inf") if self.share_causal > 0.0 else float("nan")
        return self.share_causal / self.share_null


def enrichment(
    kept: Sequence[str], families: Mapping[str, str], causal: Sequence[str]
) -> Enrichment:
    """Return how far kept features belong to causal families.

    Parameters
    ----------
    kept : names of the kept features
    families : mapping of every feature that was offered to its family
    causal : families that the law looks at

    Examples
    --------
    >>> found = enrichment(["a1"], {"a1": "a", "a2": "a", "n1": "", "n2": ""}, ["a"])
    >>> found.share, found.enrichment
    (1.0, inf)
    """
    unknown = [name for name in kept if name not in families]
    missing = [name for name in causal if name not in families.values()]
    if unknown or missing or not causal:
        raise ValueError(f"no family is known of {unknown}, no feature of {missing or causal}")
    of_cause = {name for name, family in families.items() if family in set(causal)}
    others = families.keys() - of_cause
    chosen = set(kept)
    return Enrichment(
        families_kept=len({families[name] for name in chosen & of_cause}),
        families=len(set(causal)),
        share_causal=len(chosen & of_cause) / len(of_cause),
        share_null=len(chosen & others) / len(others) if others else 0.0,
    )
