"""Signatures learned: selection, classifier, calibration and threshold from the same cases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from node.errors import LearningError
from node.toolkit.auroc import auroc
from node.toolkit.calibration import Platt
from node.toolkit.operating import youden
from node.toolkit.signature import predictors
from node.toolkit.signature.calibrated import Calibration, calibrate
from node.toolkit.signature.folds import Fold, check_folds, fewest_patients, folds_of
from node.toolkit.signature.learners import GRIDS, learn
from node.toolkit.signature.parallel import Advance, each, one_thread
from node.toolkit.signature.selection import Selected, alone, select
from node.toolkit.signature.signature import Kept, Signature
from node.toolkit.signature.table import Array, Cases, Rows, SignatureSettings, Table, Truth

#: Patients of each outcome that institutions with both of them must have.
_FEWEST = 5
#: As "clincal" is like "clinical".
_ALIKE = 0.9
_UNCALIBRATED = Calibration(line=Platt(slope=1.0, intercept=0.0), covariance=np.zeros((2, 2)))


def fit_signature(
    cases: Cases,
    settings: SignatureSettings,
    *,
    workers: int = 1,
) -> Signature:
    """Learn a signature from cases.

    The inner folds choose the classifier's settings, calibrate and set the threshold: each of
    them selects features anew. Then features, scaling and classifier are learned from all cases.

    Parameters
    ----------
    cases : Cases
    settings : SignatureSettings
    workers : int
        Processes. Their number changes nothing of the result.

    Raises
    ------
    LearningError
        If a class has too few patients.
    ValueError
        If no feature varies.
    """
    everybody = np.arange(len(cases.table))
    desk = Desk(cases.table, cases.truth(settings.seed), settings, workers=workers)
    desk.select(desk.needed(everybody))
    with one_thread():
        return desk.fit(everybody, tuple(cases.table.blocks), settings.classifier)


def _check_whole(whole: Sequence[str], blocks: Iterable[str]) -> None:
    """Refuse a misspelt name; a block that this table just has not got is none."""
    for name in set(whole).difference(blocks):
        near = [one for one in blocks if _misspelt(name, one)]
        if near:
            raise ValueError(
                f"there is no block {name!r} to be kept whole; did you mean {near[0]!r}?"
            )


def _misspelt(name: str, block: str) -> bool:
    """Return whether two names differ by a letter or by case; by a number they are two blocks."""
    said, meant = name.casefold().strip(), block.casefold()
    alike = SequenceMatcher(None, said, meant).ratio() >= _ALIKE
    return alike and re.sub(r"\D", "", said) == re.sub(r"\D", "", meant)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """Features kept of several blocks, learned from some rows of a table."""

    kept: tuple[Kept, ...]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]


class Desk:
    """Selections by block and rows, each made once, and what is learned on them."""

    def __init__(
        self, table: Table, truth: Truth, settings: SignatureSettings, *, workers: int = 1
    ):
        _check_whole(settings.whole, table.blocks)
        self.table, self.truth, self.settings = table, truth, settings
        self._workers = workers
        self._selected: dict[tuple[str, bytes], Selected] = {}

    def inner(self, rows: Rows) -> list[Fold]:
        """Return the inner folds of some rows, as rows of the whole table."""
        found = folds_of(self.truth.rows(rows), self.settings.inner_folds, seed=self.settings.seed)
        folds = [(rows[learned], rows[tested]) for learned, tested in found]
        check_folds(folds, self.truth.groups.tolist())
        return folds

    def needed(self, rows: Rows) -> list[Rows]:
        """Return all that must be selected on to learn from some rows."""
        return [rows, *(learned for learned, _ in self.inner(rows))]

    def select(self, several: Iterable[Rows], advance: Advance | None = None) -> None:
        """Select features of every block on each of these rows."""
        work = {
            (name, rows.tobytes()): rows
            for rows in several
            for name in self.table.blocks
            if (name, rows.tobytes()) not in self._selected
        }
        tasks = (
            (
                self.table.only([name]).rows(self.even(rows)).blocks[name],
                self.truth.rows(self.even(rows)),
                self.settings,
                name in self.settings.whole,
            )
            for (name, _), rows in work.items()
        )
        found = each(select, tasks, len(work), workers=self._workers, advance=advance)
        self._selected.update(zip(work, found, strict=True))

    def even(self, rows: Rows) -> Rows:
        """Return some rows so that no institution tells the outcome.

        Raises
        ------
        LearningError
            If too few patients are at institutions with both outcomes.
        """
        found = self.truth.evened(rows)
        everybody = rows.size == len(self.table)
        part = "" if everybody else f" among the {rows.size} cases that a fold learns from"
        if not found.size:
            count = np.unique(self.truth.institution[rows]).size
            raise LearningError(
                f"none of {count} institutions has patients with both outcomes{part}: what is "
                "learned would tell institutions apart; add patients of institutions that have both"
            )
        left = fewest_patients(self.truth.rows(found))
        if left < min(_FEWEST, fewest_patients(self.truth.rows(rows))):
            raise LearningError(
                f"only {left} patients with one of the outcomes are at institutions that have both "
                f"outcomes{part}, and {_FEWEST} are the fewest: with the others, what is learned "
                "would tell institutions apart; add patients of institutions that have both"
            )
        return found

    def chosen(self, rows: Rows, blocks: Sequence[str]) -> Chosen:
        """Return what is kept of some blocks; if that is nothing, the feature of least p."""
        parts = {name: self._selected[name, rows.tobytes()] for name in blocks}
        if not any(one.columns.size for one in parts.values()):
            name = min(blocks, key=lambda block: parts[block].best[1])
            column, p = parts[name].best
            if column < 0:
                raise ValueError(self._why_nothing(parts.values()))
            note = f"LASSO kept nothing; the feature of least p ({p:.2g}) was taken"
            block = self.table.rows(rows).blocks[name]
            parts[name] = alone(block, column, parts[name].counts, note)
        kept = []
        for name, one in parts.items():
            named = self.table.blocks[name].names
            numbers = zip(one.columns, one.coefficients, one.mean, one.deviation, strict=True)
            kept += [
                Kept(
                    block=name,
                    name=named[column],
                    coefficient=float(coefficient),
                    mean=float(mean),
                    deviation=float(deviation),
                )
                for column, coefficient, mean, deviation in numbers
            ]
        return Chosen(
            kept=tuple(kept),
            counts={name: one.counts for name, one in parts.items()},
            notes=tuple(f"{name}: {note}" for name, one in parts.items() for note in one.notes),
        )

    def _why_nothing(self, parts: Iterable[Selected]) -> str:
        vary = sum(one.counts["not_constant"] for one in parts)
        if not vary:
            return "no feature varies: there is nothing to learn from"
        return (
            f"two readings agree on none of {vary} features by an ICC of "
            f"{self.settings.icc_least:g} or more: there is nothing to learn from; look at the "
            "second readings, or ask for less by icc_least"
        )

    def fit(self, rows: Rows, blocks: Sequence[str], classifier: str) -> Signature:
        """Learn a signature from some rows, `needed` of which were selected on."""
        own, folds = self.truth.rows(rows), self.inner(rows)
        place = np.empty(len(self.table), np.intp)
        place[rows] = np.arange(rows.size)
        said: list[Array] = []
        for given in GRIDS[classifier]:
            score = np.empty(rows.size)
            for learned, tested in folds:
                score[place[tested]] = self.score(learned, tested, blocks, classifier, given)
            said.append(score)
        areas = [auroc(one[own.outcome], one[~own.outcome]) for one in said]
        best = int(np.argmax(areas))
        notes: list[str] = []
        calibration = calibrate(said[best], own, notes)
        bare = self.learned(rows, blocks, classifier, GRIDS[classifier][best])
        return replace(
            bare,
            calibration=calibration,
            threshold=youden(calibration.probability(said[best]), own.outcome),
            notes=(*bare.notes, *notes),
        )

    def learned(
        self, rows: Rows, blocks: Sequence[str], classifier: str, given: Mapping[str, Any]
    ) -> Signature:
        """Learn the classifier from some rows; neither calibrated nor with a threshold."""
        chosen = self.chosen(rows, blocks)
        notes: list[str] = []
        bare = Signature(
            kept=chosen.kept,
            classifier=classifier,
            given=given,
            model={},
            calibration=_UNCALIBRATED,
            threshold=0.5,
            counts=chosen.counts,
            scores=self.settings.scores,
        )
        even = self.even(rows)
        if lost := rows.size - np.unique(even).size:
            notes.append(
                f"{lost} of {rows.size} cases did not count in selection and classifier: their "
                "institution has one outcome only"
            )
        model = learn(
            classifier,
            bare.taken(self.table.only(blocks).rows(even)),
            self.truth.outcome[even],
            given,
            seed=self.settings.seed,
            notes=notes,
        )
        return replace(bare, model=model, notes=(*chosen.notes, *notes))

    def score(
        self,
        learned: Rows,
        tested: Rows,
        blocks: Sequence[str],
        classifier: str,
        given: Mapping[str, Any],
    ) -> Array:
        """Return what is said of some rows by what was learned from others."""
        found = self.learned(learned, blocks, classifier, given)
        taken = found.taken(self.table.only(blocks).rows(tested))
        return predictors.score(classifier, found.model, taken)
