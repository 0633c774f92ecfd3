"""Lesions found and false positives: matching, and two FROC curves that are not the same.

(a) over the match IoU: every component counts, the overlap that makes a hit is swept. So the
    abstract of paper 003 (anterior mediastinal tumours on CT) words its curve.
(b) over the score: the match IoU is fixed, components below a score are left out. The classic
    FROC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Match IoU of the operating point.
MATCH_IOU = 0.5
#: Match IoU of the curve (a).
MATCH_IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
#: False positives per scan at which CAMELYON16 averages the sensitivity.
CAMELYON_RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A lesion and the component that found it, by their index from 0."""

    lesion: int
    component: int
    iou: float


@dataclass(frozen=True, kw_only=True)
class ScanMatch:
    """What was found in one scan.

    Attributes
    ----------
    lesions : int
        Number of components of the reference; 0 for a scan without a tumour.
    scores : tuple of float
        Score of each component of the prediction.
    pairs : tuple of Pair
        One to one, by descending IoU; none has an IoU of 0.
    """

    lesions: int
    scores: tuple[float, ...]
    pairs: tuple[Pair, ...]

    def hits(self, match_iou: float = MATCH_IOU) -> int:
        """Return the number of lesions found."""
        return sum(pair.iou >= match_iou for pair in self.pairs)

    def false_positives(self, match_iou: float = MATCH_IOU) -> int:
        """Return the number of components that found no lesion."""
        return len(self.scores) - self.hits(match_iou)


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Give each component of a mask a number from 1; voxels that touch at a corner are one (26).

    Examples
    --------
    >>> mask = np.zeros((2, 2, 4), bool)
    >>> mask[0, 0, 0] = mask[1, 1, 1] = mask[0, 0, 3] = True
    >>> label_components(mask)[1]
    2
    """
    from scipy.ndimage import label

    labels, count = label(mask, structure=np.ones((3,) * mask.ndim, int), output=np.int32)
    return labels, int(count)


def pairwise_iou(
    truth: NDArray[np.int32], prediction: NDArray[np.int32], counts: tuple[int, int]
) -> NDArray[np.float64]:
    """Return |p and g| / |p or g| in voxels for each lesion and each component.

    Parameters
    ----------
    truth, prediction : int32, shape (slices, rows, columns)
        Labels from 1, 0 outside, on one grid.
    counts : (lesions, components)
        The largest labels.

    Returns
    -------
    float64, shape (lesions, components)
    """
    lesions, components = counts
    together = np.bincount(
        (truth.astype(np.int64) * (components + 1) + prediction).ravel(),
        minlength=(lesions + 1) * (components + 1),
    ).reshape(lesions + 1, components + 1)
    shared = together[1:, 1:]
    union = together.sum(axis=1)[1:, None] + together.sum(axis=0)[None, 1:] - shared
    found: NDArray[np.float64] = shared / np.maximum(union, 1)
    return found


def match(iou: NDArray[np.float64]) -> tuple[Pair, ...]:
    """Match lesions and components one to one, the largest IoU first.

    Equal IoUs: the lesion of lower number first, then the component of lower number. The pairs
    of at least t are the greedy matching at the match IoU t, for every t > 0.

    Parameters
    ----------
    iou : float64, shape (lesions, components)

    Examples
    --------
    >>> [(p.lesion, p.component) for p in match(np.array([[0.6, 0.5], [0.55, 0.0]]))]
    [(0, 0)]
    >>> [(p.lesion, p.component) for p in match(np.array([[0.6, 0.5], [0.7, 0.0]]))]
    [(1, 0), (0, 1)]
    """
    left, pairs = iou.astype(np.float64).copy(), []
    while left.size and left.max() > 0:
        lesion, component = (int(i) for i in np.unravel_index(np.argmax(left), left.shape))
        pairs.append(Pair(lesion=lesion, component=component, iou=float(left[lesion, component])))
        left[lesion, :] = left[:, component] = 0.0
    return tuple(pairs)


def match_scan(iou: NDArray[np.float64], scores: Sequence[float]) -> ScanMatch:
    """Match one scan, given its IoU matrix and its components' scores."""
    return ScanMatch(lesions=iou.shape[0], scores=tuple(map(float, scores)), pairs=match(iou))


@dataclass(frozen=True, kw_only=True)
class MatchPoint:
    """A point of curve (a): all components, one match IoU."""

    match_iou: float
    sensitivity: float
    fp_per_scan: float


def froc_over_match_iou(
    scans: Sequence[ScanMatch], match_ious: Sequence[float] = MATCH_IOUS
) -> tuple[MatchPoint, ...]:
    """Return sensitivity and false positives per scan as the match IoU rises.

    Sensitivity falls, false positives rise with it: a component that no longer overlaps enough
    loses its hit and becomes a false positive. NaN without lesions, or without scans.
    """
    lesions, count = sum(scan.lesions for scan in scans), len(scans)
    return tuple(
        MatchPoint(
            match_iou=t,
            sensitivity=_part(sum(scan.hits(t) for scan in scans), lesions),
            fp_per_scan=_part(sum(scan.false_positives(t) for scan in scans), count),
        )
        for t in match_ious
    )


@dataclass(frozen=True, kw_only=True)
class ScorePoint:
    """A point of curve (b): components of at least `score`, fixed match IoU."""

    score: float
    sensitivity: float
    fp_per_scan: float


def froc_over_score(
    scans: Sequence[ScanMatch], match_iou: float = MATCH_IOU
) -> tuple[ScorePoint, ...]:
    """Return the classic FROC curve at a fixed match IoU, from no component to all of them."""
    hits, false = [], []
    for scan in scans:
        found = {pair.component for pair in scan.pairs if pair.iou >= match_iou}
        hits += [score for index, score in enumerate(scan.scores) if index in found]
        false += [score for index, score in enumerate(scan.scores) if index not in found]
    return froc_points(false, hits, lesions=sum(s.lesions for s in scans), scans=len(scans))


def froc_points(
    false_scores: Sequence[float], hit_scores: Sequence[float], *, lesions: int, scans: int
) -> tuple[ScorePoint, ...]:
    """Return the FROC curve of scored components.

    Parameters
    ----------
    false_scores : scores of the components that are false positives
    hit_scores : scores of the components that found a lesion; a missed lesion has none
    lesions, scans : int
        What sensitivity and rate are parts of.

    Returns
    -------
    tuple of ScorePoint
        From (0, 0) at the score inf down through each score that occurs.

    Examples
    --------
    >>> [(p.score, p.sensitivity, p.fp_per_scan)
    ...  for p in froc_points([0.8, 0.6], [0.9, 0.8], lesions=4, scans=2)]
    [(inf, 0.0, 0.0), (0.9, 0.25, 0.0), (0.8, 0.5, 0.5), (0.6, 0.5, 1.0)]
    """
    false, hit = np.sort(np.asarray(false_scores, float)), np.sort(np.asarray(hit_scores, float))
    thresholds = [np.inf, *np.unique(np.concatenate([false, hit]))[::-1]]
    return tuple(
        ScorePoint(
            score=float(t),
            sensitivity=_part(hit.size - int(np.searchsorted(hit, t)), lesions),
            fp_per_scan=_part(false.size - int(np.searchsorted(false, t)), scans),
        )
        for t in thresholds
    )


def average_sensitivity(
    curve: Sequence[ScorePoint], rates: Sequence[float] = CAMELYON_RATES
) -> float:
    """Return the mean sensitivity at the given false positives per scan.

    Between points the curve is straight; beyond its last point it stays as high as there.

    References
    ----------
    CAMELYON16, Ehteshami Bejnordi et al. 2017, doi:10.1001/jama.2017.14585; MONAI's
    `compute_froc_score` gives the same number.
    """
    rate = [point.fp_per_scan for point in curve]
    return float(np.mean(np.interp(rates, rate, [point.sensitivity for point in curve])))


def _part(part: int, whole: int) -> float:
    """Return part / whole; NaN of nothing."""
    return part / whole if whole else float("nan")
