"""What remains when labels are mixed, and which of the planted causes were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from node.toolkit.auroc import auroc
from node.toolkit.signature.fitting import Desk
from node.toolkit.signature.folds import check_folds
from node.toolkit.signature.judging import outer_folds
from node.toolkit.signature.learners import GRIDS
from node.toolkit.signature.parallel import Advance, each
from node.toolkit.signature.table import Cases, SignatureSettings, Table, Truth


def permutation_aurocs(
    cases: Cases,
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
    if runs < 1:
        raise ValueError(f"runs = {runs}: at least one outcome must be mixed")
    truth = cases.truth(settings.seed)
    tasks = ((cases.table, _mixed(truth, run), settings) for run in range(runs))
    return tuple(each(_by_chance, tasks, runs, workers=workers, advance=advance))


def _by_chance(table: Table, truth: Truth, settings: SignatureSettings) -> float:
    folds = outer_folds(truth, settings)
    check_folds(folds, truth.groups.tolist())
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
    return replace(truth, outcome=outcome)


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
