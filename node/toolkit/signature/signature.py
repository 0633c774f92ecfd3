"""A signature as it is shipped: kept features, classifier, calibration. NumPy only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import ManifestError
from node.toolkit.bootstrap import Interval
from node.toolkit.signature import predictors
from node.toolkit.signature.calibrated import Calibration
from node.toolkit.signature.table import HOLDS_PATIENTS, Array, Block, Table

#: Of 960 phantoms learned from, and of 156 others, no kept feature lay further than 5.8.
UNLIKE_SD = 6.0
_BITS = "~float64"
_WORDS = "words"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A feature of a signature.

    Attributes
    ----------
    coefficient : float
        Of the LASSO, for a difference of one standard deviation; NaN of a block kept whole.
    mean, deviation : float
        Of the cases learned from, in the feature's own unit.
    """

    block: str
    name: str
    coefficient: float
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Signature:
    """What makes a probability of features.

    Attributes
    ----------
    kept : tuple of Kept
        In the order in which the classifier takes them.
    classifier : one of `CLASSIFIERS`
    given : mapping
        Settings of the classifier that the inner folds chose.
    model : mapping of name to array
        What the classifier learned.
    calibration : Calibration
    threshold : float
        Of the probability; by Youden on cases that were not learned from in their fold.
    counts : mapping of block to how many features each step left
    notes : tuple of str
        What did not go as planned.
    scores : bool
        Whether the classifier takes the LASSO's score of each block, too.
    """

    kept: tuple[Kept, ...]
    classifier: str
    given: Mapping[str, Any]
    model: Mapping[str, NDArray[Any]]
    calibration: Calibration
    threshold: float
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scores: bool = False

    @property
    def holds_patients(self) -> bool:
        """Return whether its parameters are rows of patients' features: the card must say so."""
        return self.classifier in HOLDS_PATIENTS

    def features(self, table: Table) -> Array:
        """Return the kept features as measured, shape (cases, kept).

        Raises
        ------
        ValueError
            If the table lacks one.
        """
        columns = []
        for one in self.kept:
            block = table.blocks.get(one.block)
            if block is None or one.name not in block.names:
                raise ValueError(f"the feature {one.name} of block {one.block} is missing")
            columns.append(block.values[:, block.names.index(one.name)])
        return np.stack(columns, axis=1)

    def scaled(self, table: Table) -> Array:
        """Return the kept features with mean 0 and deviation 1 of the cases learned from.

        What is not known counts as their mean.
        """
        mean = np.array([one.mean for one in self.kept])
        deviation = np.array([one.deviation for one in self.kept])
        found: Array = np.nan_to_num((self.features(table) - mean) / deviation, nan=0.0)
        return found

    def taken(self, table: Table) -> Array:
        """Return what the classifier takes, shape (cases, kept and scores).

        The kept features, scaled; with `scores` then of each block that the LASSO looked through
        the sum of coefficient x feature.
        """
        found = self.scaled(table)
        if not self.scores:
            return found
        coefficient = np.array([one.coefficient for one in self.kept])
        block = np.array([one.block for one in self.kept])
        own = [block == name for name in dict.fromkeys(block.tolist())]
        looked_through = [one for one in own if np.isfinite(coefficient[one]).all()]
        scores = [found[:, one] @ coefficient[one] for one in looked_through]
        return np.column_stack([found, *scores])

    def unlike(self, table: Table) -> tuple[tuple[str, ...], ...]:
        """Return of each case the kept features that nothing like was learned from.

        They lie more than `UNLIKE_SD` standard deviations from the mean of the cases learned from:
        what the classifier makes of them, no case has shown.
        """
        far = np.abs(self.scaled(table)) > UNLIKE_SD
        return tuple(
            tuple(one.name for one, is_far in zip(self.kept, row, strict=True) if is_far)
            for row in far
        )

    def score(self, table: Table) -> Array:
        """Return what the classifier says, from 0 to 1, not calibrated; shape (cases,)."""
        return predictors.score(self.classifier, self.model, self.taken(table))

    def probability(self, table: Table) -> Array:
        """Return the calibrated probability of the outcome, shape (cases,)."""
        return self.calibration.probability(self.score(table))

    def intervals(self, table: Table, *, level: float = 0.95) -> tuple[Interval, ...]:
        """Return the probability of each case with its interval (`Calibration.interval`)."""
        score = self.score(table)
        middle = self.calibration.probability(score)
        low, high = self.calibration.interval(score, level=level)
        return tuple(
            Interval(estimate=float(p), low=float(a), high=float(b), level=level)
            for p, a, b in zip(middle, low, high, strict=True)
        )

    def arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Return what a weights file keeps, to the last bit.

        Weights files hold float32: double precision travels as whole numbers of 64 bits, words
        as bytes.
        """
        words = {
            "classifier": self.classifier,
            "given": dict(self.given),
            "kept": [[one.block, one.name] for one in self.kept],
            "counts": {block: dict(counts) for block, counts in self.counts.items()},
            "notes": list(self.notes),
            "scores": self.scores,
        }
        numbers = [[one.coefficient, one.mean, one.deviation] for one in self.kept]
        kept = {
            "kept": np.array(numbers),
            "threshold": np.array([self.threshold]),
            **{f"model.{name}": array for name, array in self.model.items()},
            **{f"calibration.{name}": a for name, a in self.calibration.arrays().items()},
        }
        packed = {f"{prefix}{n}": a for name, array in kept.items() for n, a in _bits(name, array)}
        text = json.dumps(words, ensure_ascii=False).encode()
        return {**packed, f"{prefix}{_WORDS}": np.frombuffer(text, np.uint8).copy()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Signature:
        """Return the signature that `arrays` of a weights file were.

        Raises
        ------
        ManifestError
            If they are none.
        """
        found = _unpacked(arrays, prefix)
        try:
            words = json.loads(arrays[f"{prefix}{_WORDS}"].tobytes())
            numbers = found["kept"].reshape(-1, 3)
            kept = tuple(
                Kept(block=b, name=n, coefficient=float(c), mean=float(m), deviation=float(d))
                for (b, n), (c, m, d) in zip(words["kept"], numbers, strict=True)
            )
            made = Signature(
                kept=kept,
                classifier=words["classifier"],
                given=words["given"],
                model=_part(found, "model."),
                calibration=Calibration.from_arrays(_part(found, "calibration.")),
                threshold=float(found["threshold"][0]),
                counts=words["counts"],
                notes=tuple(words["notes"]),
                scores=words.get("scores", False),
            )
            # Of a case like the mean of all: a missing part is said now, not of a patient.
            _check_numbers(made, found)
            return made
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ManifestError(
                f"the weights hold no signature {prefix!r} ({error}); train again"
            ) from error


def _check_numbers(made: Signature, found: Mapping[str, NDArray[Any]]) -> None:
    """Raise `ValueError` unless a signature says something of a case."""
    for name, array in found.items():
        # A block that is kept whole has no coefficients.
        numbers = array.reshape(-1, 3)[:, 1:] if name == "kept" else array
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name} is not finite")
    made.probability(_mean_case(made.kept))


def _mean_case(kept: Sequence[Kept]) -> Table:
    """Return one case whose features are the means of the cases learned from."""
    blocks: dict[str, dict[str, float]] = {}
    for one in kept:
        blocks.setdefault(one.block, {})[one.name] = one.mean
    return Table(
        blocks={
            name: Block(names=tuple(own), values=np.array([[*own.values()]]))
            for name, own in blocks.items()
        }
    )


def kept_names(*signatures: Signature) -> dict[str, tuple[str, ...]]:
    """Return the names of all features that some signatures look at, by block.

    So few of all that `extract` and a plugin need not measure the rest.
    """
    found: dict[str, list[str]] = {}
    for one in (one for signature in signatures for one in signature.kept):
        names = found.setdefault(one.block, [])
        if one.name not in names:
            names.append(one.name)
    return {block: tuple(names) for block, names in found.items()}


def prefixes_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """Return the prefixes of the signatures that a weights file holds."""
    return tuple(
        sorted(
            name.removesuffix(_WORDS)
            for name in arrays
            if name == _WORDS or name.endswith(f".{_WORDS}")
        )
    )


def _bits(name: str, array: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    if array.dtype != np.float64:
        return [(name, array)]
    return [(name + _BITS, np.ascontiguousarray(array).view(np.int64))]


def _unpacked(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    found = {}
    for name, array in arrays.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            is_bits = short.endswith(_BITS)
            found[short.removesuffix(_BITS)] = array.view(np.float64) if is_bits else array
    return found


def _part(found: Mapping[str, NDArray[Any]], start: str) -> dict[str, NDArray[Any]]:
    return {n.removeprefix(start): a for n, a in found.items() if n.startswith(start)}
