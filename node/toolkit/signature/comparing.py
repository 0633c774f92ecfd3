"""A table of signatures: models by classifiers, each judged by nested cross-validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from node.errors import LearningError
from node.toolkit.signature.fitting import Desk
from node.toolkit.signature.folds import Fold
from node.toolkit.signature.judging import Judged, cross_validated, judged_on, outer_folds
from node.toolkit.signature.parallel import Advance, each
from node.toolkit.signature.signature import Signature
from node.toolkit.signature.table import CLASSIFIERS, Cases, Rows, SignatureSettings


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
    cases : Cases
    settings : SignatureSettings
        Its `classifier` does not count.
    models : mapping of name to names of blocks; None: one of all blocks
    classifiers : sequence of `CLASSIFIERS`
    held_out : Cases that nothing is learned from, or None
    """
    unknown = [one for one in classifiers if one not in CLASSIFIERS]
    if unknown or not classifiers:
        raise ValueError(
            f"classifiers are some of {', '.join(CLASSIFIERS)}, not {unknown or 'none at all'}"
        )
    truth = cases.truth(settings.seed)
    if held_out is not None and len(set(held_out.truth(settings.seed).outcome.tolist())) < 2:
        raise LearningError(
            "the tuning cases all have one outcome, so no model can be judged on them; give both "
            "outcomes to that split (a column `split` in the table), or take more cases"
        )
    models = models or {"all": tuple(cases.table.blocks)}
    table = cases.table.only(list(dict.fromkeys(name for own in models.values() for name in own)))
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
    return tuple(replace(row, held_out=judged_on(row.signature, held_out)) for row in rows)


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
