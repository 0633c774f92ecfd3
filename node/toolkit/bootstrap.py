"""Percentile bootstrap intervals by patient: what other patients would have given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Patients are drawn in blocks, so that (runs, patients) never takes much memory.
_BLOCK_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with the interval that holds it at `level`; NaN where nothing was measured."""

    estimate: float
    low: float
    high: float
    level: float = 0.95


def ratio_interval(
    numerators: Array,
    denominators: Array,
    patients: Sequence[str],
    *,
    runs: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return sum(numerators) / sum(denominators) and its interval over resampled patients.

    A sensitivity is hits over lesions, a rate false positives over scans, a mean values over
    ones; a scan that does not count has 0 in both. All scans of a patient are drawn together.

    Parameters
    ----------
    numerators, denominators : float, shape (scans,)
        What each scan adds to either sum; no NaN.
    patients : sequence of str, length scans
        Whose scan it is.
    runs : int
        Number of resamples; those in which the denominator is 0 are left out.

    References
    ----------
    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; patients instead
    of scans: Rutter 2000, Acad Radiol 7:413-419.

    Examples
    --------
    >>> found = ratio_interval(np.ones(20), np.ones(20), [str(i) for i in range(20)])
    >>> found.estimate, found.low, found.high
    (1.0, 1.0, 1.0)
    """
    stacked = np.stack([numerators, denominators]).astype(np.float64)  # (2, scans)
    return ratio_intervals(stacked[None], patients, runs=runs, seed=seed, level=level)[0]


def ratio_intervals(
    sums: Array, patients: Sequence[str], *, runs: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[Interval, ...]:
    """Return the intervals of several ratios over the same resamples.

    Parameters
    ----------
    sums : float64, shape (ratios, 2, scans)
        For each ratio: what the scans add to its numerator, and to its denominator.
    """
    grouped = _by_patient(sums, patients)  # (ratios, 2, patients)
    estimates = _ratios(grouped.sum(axis=2)[None])[0]  # (ratios,)
    count = grouped.shape[2]
    if not count:
        return tuple(_interval(float("nan"), np.empty(0), level) for _ in estimates)
    drawn = np.concatenate(
        [_ratios(np.einsum("bn,kpn->bkp", w, grouped)) for w in _weights(count, runs, seed)]
    )  # (runs, ratios)
    return tuple(
        _interval(float(estimate), drawn[:, k], level) for k, estimate in enumerate(estimates)
    )


def _by_patient(sums: Array, patients: Sequence[str]) -> Array:
    """Add up the scans of each patient."""
    names, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    grouped = np.zeros((*sums.shape[:2], len(names)))
    for scan, patient in enumerate(index):
        grouped[:, :, patient] += sums[:, :, scan]
    return grouped


def _weights(count: int, runs: int, seed: int) -> list[Array]:
    """Return how often each run draws each patient, in blocks of shape (runs, patients)."""
    rng, block = np.random.default_rng(seed), max(1, _BLOCK_CELLS // count)
    return [
        rng.multinomial(count, np.full(count, 1.0 / count), size=min(block, runs - start)).astype(
            np.float64
        )
        for start in range(0, runs, block)
    ]


def _ratios(sums: Array) -> Array:
    """Divide (…, 0) by (…, 1); NaN where the denominator is 0."""
    top, bottom = sums[..., 0], sums[..., 1]
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)


def _interval(estimate: float, drawn: Array, level: float) -> Interval:
    """Return the percentile interval of what was drawn."""
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        return Interval(estimate=estimate, low=float("nan"), high=float("nan"), level=level)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level)
