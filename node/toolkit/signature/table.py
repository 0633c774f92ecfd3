"""Features of cases in named blocks, and what a signature is to be made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

#: Greater numbers overflow when they are squared.
_GREATEST = 1e100
#: What may tell the classes apart from the kept features.
CLASSIFIERS = (
    *("logistic", "linear_svm", "rbf_svm", "knn", "random_forest"),
    *("extra_trees", "gbdt", "xgboost", "lightgbm", "mlp"),
)
#: Those whose parameters are rows of patients' features (E15).
HOLDS_PATIENTS = frozenset({"rbf_svm", "knn"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Features of one kind: they are selected together, by one LASSO.

    Attributes
    ----------
    names : tuple of str, length features
    values : float64, shape (cases, features)
    second : float64, shape (cases, features), or None
        By a second reader; NaN throughout a row: that case was outlined once.
    lacking : bool
        Whether a value may be unknown, NaN: it then counts as the mean of the cases learned from.
        Of blocks that are kept whole only, clinical values for instance.
    """

    names: tuple[str, ...]
    values: Array
    second: Array | None = None
    lacking: bool = False

    def __post_init__(self) -> None:
        for given in (self.values, self.second):
            if not (given is None or isinstance(given, np.ndarray)):
                raise ValueError(f"features are an array, not a {type(given).__name__}")
            if given is not None and given.dtype.kind not in "fiub":
                raise ValueError(f"features are numbers, not {given.dtype}")
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(f"{len(self.names)} names do not fit features {self.values.shape}")
        if len(set(self.names)) < len(self.names):
            raise ValueError("two features of a block have one name")
        if self.second is not None and self.second.shape != self.values.shape:
            raise ValueError(
                f"the second reader's features {self.second.shape} are not of the same cases as "
                f"the first one's {self.values.shape}"
            )
        known = np.isfinite(self.values) | (np.isnan(self.values) & self.lacking)
        finite = known.all(axis=0)
        if not finite.all():
            name = self.names[int(np.argmin(finite))]
            raise ValueError(f"feature {name} is not finite in every case; leave it out")
        if (large := (np.abs(self.values) > _GREATEST).any(axis=0)).any():
            name = self.names[int(np.argmax(large))]
            raise ValueError(f"feature {name} is over {_GREATEST:g} somewhere; take another unit")
        if self.second is not None and not self.lacking:
            _check_second(self.names, self.second)


def _check_second(names: Sequence[str], second: Array) -> None:
    """Refuse a reading of which a part is missing: agreement would be asked of fewer cases."""
    missing = np.isnan(second)
    wrong = ~(np.abs(second) <= _GREATEST) & ~missing.all(axis=1, keepdims=True)
    if wrong.any():
        case, feature = (int(at) for at in np.argwhere(wrong)[0])
        raise ValueError(
            f"the second reading of case {case} has no number of feature {names[feature]}; a case "
            "that was read once has NaN in all of its features"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Blocks of features of the same cases."""

    blocks: Mapping[str, Block]

    def __post_init__(self) -> None:
        counts = {name: len(block.values) for name, block in self.blocks.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"blocks are not of the same cases: {counts}")

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())).values)

    def rows(self, chosen: ArrayLike) -> Table:
        """Return the features of some cases, by their numbers."""
        index = np.asarray(chosen, np.intp)
        return Table(
            blocks={
                name: replace(
                    block,
                    values=block.values[index],
                    second=None if block.second is None else block.second[index],
                )
                for name, block in self.blocks.items()
            }
        )

    def only(self, names: Sequence[str]) -> Table:
        """Return some blocks, in that order."""
        missing = [name for name in names if name not in self.blocks]
        if missing or not names:
            raise ValueError(f"there is no block {missing or names}; there are {[*self.blocks]}")
        return Table(blocks={name: self.blocks[name] for name in names})


def table_of(
    cases: Sequence[Mapping[str, ArrayLike]],
    names: Mapping[str, Sequence[str]],
    *,
    lacking: Sequence[str] = (),
) -> Table:
    """Return the table of cases that came one by one.

    Parameters
    ----------
    cases : sequence of mapping of block to float, shape (features,)
        What an example holds; more entries may be in it.
    names : mapping of block to the names of its features
    lacking : names of blocks in which NaN stands for what is not known
    """
    if not cases:
        raise ValueError("there is no case")
    return Table(
        blocks={
            block: Block(
                names=tuple(named),
                values=np.stack([np.asarray(one[block], np.float64) for one in cases]),
                lacking=block in lacking,
            )
            for block, named in names.items()
        }
    )


def only(values: ArrayLike, names: Sequence[str], wanted: Sequence[str]) -> Array:
    """Return some of the named features of one case, in the order of `wanted`.

    Examples
    --------
    >>> only([1.0, 2.0, 3.0], ["a", "b", "c"], ["c", "a"]).tolist()
    [3.0, 1.0]
    """
    found: Array = np.asarray(values, np.float64)[[names.index(name) for name in wanted]]
    return found


@dataclass(frozen=True, eq=False)
class Cases:
    """What is known of cases to learn from or to be judged on.

    Attributes
    ----------
    table : Table
    outcome : bool, shape (cases,)
    patients : sequence, length cases, or None
        Whose case it is; all cases of a patient are in one fold. None: each of another patient.
    institutions : sequence, length cases, or None
        Both outcomes of each of them weigh alike in selection and classifier, so that no scanner
        tells the outcome; calibration and threshold go by the cases as they are.
    """

    table: Table
    outcome: ArrayLike
    patients: Sequence[object] | None = None
    institutions: Sequence[object] | None = None

    def truth(self, seed: int) -> Truth:
        """Return all but the features, checked."""
        count = len(self.table)
        named = range(count) if self.patients is None else self.patients
        places = [""] * count if self.institutions is None else self.institutions
        y, patients, scanned = (np.asarray(one) for one in (self.outcome, named, places))
        if not y.shape == patients.shape == scanned.shape == (count,):
            raise ValueError(
                f"{count} cases have {y.size} outcomes, {patients.size} patients and "
                f"{scanned.size} institutions; give one each"
            )
        if not np.isin(y, (0, 1)).all():
            raise ValueError("an outcome is neither 0 nor 1")
        return Truth(
            outcome=y.astype(np.bool_),
            groups=patients.astype(np.str_),
            institution=scanned.astype(np.str_),
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class SignatureSettings:
    """How a signature is made. All of it is ours; the papers give the method, not these values.

    Attributes
    ----------
    icc_least : float
        Features that two readers agree on less are left out, where there are two readers.
    univariate_p : float
        Mann-Whitney's p above which a feature is left out; 1: none is.
    correlation_most : float
        Of two features with a greater |Spearman| the one with the greater p is left out.
    lasso_folds : int
    rule : "min" or "1se"
        The penalty of least error, or the greatest within one standard error of it.
    whole : names of blocks that are kept as they are, clinical values for instance
    scores : bool
        The classifier gets the LASSO's score of each block besides the features that it kept: a
        forest, which splits by one feature at a time, else needs many splits for a sum of them.
    classifier : one of `CLASSIFIERS`
    inner_folds, outer_folds : int
        To choose the classifier's settings and to calibrate; to judge.
    seed : int
    """

    icc_least: float = 0.75
    univariate_p: float = 0.05
    correlation_most: float = 0.9
    lasso_folds: int = 10
    rule: Literal["min", "1se"] = "min"
    whole: tuple[str, ...] = ()
    scores: bool = False
    classifier: str = "logistic"
    inner_folds: int = 5
    outer_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise ValueError(
                f"there is no classifier {self.classifier!r}; take one of {', '.join(CLASSIFIERS)}"
            )
        if self.rule not in ("min", "1se"):
            raise ValueError(f"rule is {self.rule!r}; it must be min or 1se")
        shares = ("icc_least", "univariate_p", "correlation_most")
        for name in shares:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} is not from 0 to 1")
        if isinstance(self.whole, str):
            raise ValueError(f"whole = {self.whole!r} is one text; it must be names in a list")
        numbers = ("lasso_folds", "inner_folds", "outer_folds", "seed")
        for name in numbers:
            given = getattr(self, name)
            if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < 0:
                raise ValueError(f"{name} = {given!r} is no whole number from 0 on")
        if min(self.lasso_folds, self.inner_folds, self.outer_folds) < 2:
            raise ValueError("fewer than 2 folds leave nothing to test on")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Who the cases are of, who had the outcome, and where they were scanned."""

    outcome: NDArray[np.bool_]
    groups: NDArray[np.str_]
    #: Of each case; all alike where nothing is known.
    institution: NDArray[np.str_]
    seed: int = field(default=0)

    def rows(self, chosen: Rows) -> Truth:
        """Return those of some cases."""
        return replace(
            self,
            outcome=self.outcome[chosen],
            groups=self.groups[chosen],
            institution=self.institution[chosen],
        )

    def evened(self, chosen: Rows) -> Rows:
        """Return some cases so that no institution tells the outcome: the rarer one repeated.

        Cases of an institution with one outcome only are left out, all of them where none has
        both. Cases of one institution alone stay as they are.
        """
        places = np.unique(self.institution[chosen])
        if places.size < 2:
            return chosen
        found: list[Rows] = []
        for place in places:
            own = chosen[self.institution[chosen] == place]
            parts = [own[self.outcome[own] == value] for value in (False, True)]
            if all(part.size for part in parts):
                most = max(part.size for part in parts)
                found += [np.resize(part, most) for part in parts]
        return np.sort(np.concatenate([chosen[:0], *found]))
