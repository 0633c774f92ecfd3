"""Which features of a block are kept: two readers, one by one, in pairs, and by LASSO.

Every step sees only the cases it is given: those that may be learned from.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.signature.folds import fewest_patients, folds_of, scaling_of
from node.toolkit.signature.table import Array, Block, Rows, SignatureSettings, Truth

#: Penalties that are tried, the least this share of the one that keeps nothing.
_PENALTIES, _LEAST_SHARE, _STEPS = 50, 0.005, 5000
_FEWEST_READ_TWICE = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Selected:
    """What is kept of a block.

    Attributes
    ----------
    columns : intp, shape (kept,)
        Numbers of the features in the block, rising.
    coefficients : float64, shape (kept,)
        Of the LASSO on features of mean 0 and deviation 1; NaN where the block is kept whole.
    mean, deviation : float64, shape (kept,)
        Of the cases learned from.
    counts : how many features were left after each step
    best : number of the feature with the least p, and that p; what is left if nothing is kept
    """

    columns: Rows
    coefficients: Array
    mean: Array
    deviation: Array
    counts: dict[str, int]
    notes: tuple[str, ...]
    best: tuple[int, float]


def select(block: Block, truth: Truth, settings: SignatureSettings, whole: bool) -> Selected:
    """Return what is kept of a block, learned from these cases.

    Parameters
    ----------
    whole : bool
        Keep every feature that is not constant.
    """
    if block.lacking and not whole:
        raise ValueError("a block in which values may be unknown must be kept whole")
    mean, deviation = scaling_of(block.values)
    left = np.flatnonzero(deviation > 0.0)
    counts = {"offered": len(block.names), "not_constant": left.size}
    notes: list[str] = []
    if whole:
        coefficients, best = np.full(left.size, np.nan), (-1, 1.0)
    else:
        left = left[_stable(block, left, settings, notes)]
        counts["two_readers"] = left.size
        p = mann_whitney(block.values[:, left], truth.outcome)
        best = (int(left[p.argmin()]), float(p.min())) if left.size else (-1, 1.0)
        left, p = left[p <= settings.univariate_p], p[p <= settings.univariate_p]
        counts["one_by_one"] = left.size
        left = np.sort(left[uncorrelated(block.values[:, left], p, settings.correlation_most)])
        counts["in_pairs"] = left.size
        scaled = (block.values[:, left] - mean[left]) / deviation[left]
        coefficients = lasso(scaled, truth, settings, notes)
        left, coefficients = left[coefficients != 0.0], coefficients[coefficients != 0.0]
    counts["kept"] = left.size
    return Selected(
        columns=left,
        coefficients=coefficients,
        mean=mean[left],
        deviation=deviation[left],
        counts={name: int(count) for name, count in counts.items()},
        notes=tuple(notes),
        best=best,
    )


def alone(block: Block, column: int, counts: dict[str, int], note: str) -> Selected:
    """Return one feature of a block as all that is kept."""
    mean, deviation = scaling_of(block.values[:, [column]])
    return Selected(
        columns=np.array([column]),
        coefficients=np.zeros(1),
        mean=mean,
        deviation=deviation,
        counts=counts | {"kept": 1},
        notes=(note,),
        best=(column, 1.0),
    )


def _stable(
    block: Block, left: Rows, settings: SignatureSettings, notes: list[str]
) -> NDArray[np.bool_]:
    """Return which features two readers agree on."""
    if block.second is None:
        return np.ones(left.size, np.bool_)
    twice = np.isfinite(block.second).all(axis=1)
    if twice.sum() < _FEWEST_READ_TWICE:
        notes.append(
            f"{int(twice.sum())} of the cases were outlined by two readers, fewer than "
            f"{_FEWEST_READ_TWICE}: their agreement was not asked for"
        )
        return np.ones(left.size, np.bool_)
    agreed = icc(block.values[twice][:, left], block.second[twice][:, left])
    return np.asarray(agreed >= settings.icc_least, np.bool_)


def icc(first: ArrayLike, second: ArrayLike) -> Array:
    """Return ICC(2,1) of each feature: two-way random effects, absolute agreement, one reader.

    Parameters
    ----------
    first, second : float, shape (cases, features)
        The same cases by two readers.

    Returns
    -------
    float64, shape (features,)
        1 where both readers agree; 0 where neither sees a difference between cases.

    References
    ----------
    Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420, ICC(2,1); ICC(A,1) of McGraw and
    Wong 1996.

    Examples
    --------
    >>> icc([[1.0], [2.0], [3.0], [4.0]], [[1.0], [2.0], [3.0], [4.0]]).tolist()
    [1.0]
    """
    ratings = np.stack([np.asarray(first, float), np.asarray(second, float)])
    readers, cases = 2, ratings.shape[1]
    if cases < 2:
        raise ValueError(f"the agreement of two readers needs at least 2 cases, not {cases}")
    grand = ratings.mean(axis=(0, 1))
    between_cases = readers * ((ratings.mean(axis=0) - grand) ** 2).sum(axis=0) / (cases - 1)
    between_readers = cases * ((ratings.mean(axis=1) - grand) ** 2).sum(axis=0) / (readers - 1)
    rest = ratings - ratings.mean(axis=0) - ratings.mean(axis=1)[:, None] + grand
    error = (rest**2).sum(axis=(0, 1)) / ((cases - 1) * (readers - 1))
    bottom = between_cases + (readers - 1) * error + readers * (between_readers - error) / cases
    seen = bottom > 0.0
    agreed: Array = np.where(seen, (between_cases - error) / np.where(seen, bottom, 1.0), 0.0)
    return agreed


def mann_whitney(values: Array, outcome: NDArray[np.bool_]) -> Array:
    """Return the two-sided p of Mann and Whitney's U of each feature, ties counted, shape (n,)."""
    from scipy.stats import mannwhitneyu

    if not values.shape[1]:
        return np.zeros(0)
    found = mannwhitneyu(values[outcome], values[~outcome], axis=0, method="asymptotic")
    return np.asarray(found.pvalue, np.float64)


def uncorrelated(values: Array, p: Array, most: float) -> Rows:
    """Return the features that are left when of each alike pair the one of greater p goes."""
    from scipy.stats import rankdata

    if values.shape[1] < 2 or most >= 1.0:
        return np.arange(values.shape[1])
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    ranks /= np.sqrt((ranks**2).sum(axis=0))
    alike = np.abs(ranks.T @ ranks) > most
    kept: list[int] = []
    gone = np.zeros(values.shape[1], np.bool_)
    for column in np.argsort(p, kind="stable"):
        if not gone[column]:
            kept.append(int(column))
            gone |= alike[column]
    return np.array(kept, np.intp)


def lasso(scaled: Array, truth: Truth, settings: SignatureSettings, notes: list[str]) -> Array:
    """Return the coefficient of each feature, 0 where it is left out.

    Least squares on the outcome as 0 and 1 (scikit-learn's LassoCV), its penalty by folds of
    patients: "min" or "1se" as in Friedman, Hastie and Tibshirani 2010 (glmnet).
    """
    from sklearn.linear_model import Lasso, LassoCV

    if not scaled.shape[1]:
        return np.zeros(0)
    target = truth.outcome.astype(np.float64)
    count = min(settings.lasso_folds, fewest_patients(truth))
    folds = folds_of(truth, count, seed=settings.seed)
    if count < settings.lasso_folds:
        notes.append(f"LASSO had {count} folds: a class has no more patients")
    with settling("LASSO", notes):
        path = LassoCV(alphas=_PENALTIES, eps=_LEAST_SHARE, cv=folds, max_iter=_STEPS)
        path.fit(scaled, target)
        error = path.mse_path_.mean(axis=1)  # of each penalty, the greatest first
        spread = path.mse_path_.std(axis=1, ddof=1) / np.sqrt(len(folds))
        best = int(error.argmin())
        if settings.rule == "1se":
            best = int(np.flatnonzero(error <= error[best] + spread[best])[0])
        found = Lasso(alpha=path.alphas_[best], max_iter=_STEPS).fit(scaled, target)
    return np.asarray(found.coef_, np.float64)


@contextmanager
def settling(what: str, notes: list[str]) -> Iterator[None]:
    """Turn warnings that something did not settle into one note; others go on their way."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    rest = [one for one in caught if not issubclass(one.category, ConvergenceWarning)]
    for one in rest:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if len(rest) < len(caught):
        notes.append(f"{what} was stopped before it had settled")
