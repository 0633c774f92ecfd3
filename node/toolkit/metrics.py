"""How well a mask agrees with the reference: overlap of one scan, and its average over scans.

Conventions for empty masks (`docs/evaluation.md` says why): where the reference is empty, all
four are NaN, and a scan without a tumour enters no average of them; where only the prediction
is empty, all four are 0, precision too, so that saying nothing is never rewarded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Agreement of two masks in voxels, each from 0 to 1, or NaN for an empty reference."""

    dice: float
    iou: float
    precision: float
    recall: float


def overlap(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Overlap:
    """Return Dice, IoU, precision and recall of one scan.

    Parameters
    ----------
    truth, prediction : bool, shape (slices, rows, columns)
        On one grid; any other equal shapes are taken as well.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Dice = 2TP / (2TP + FP + FN), IoU = TP / (TP + FP + FN), precision = TP / (TP + FP),
    recall = TP / (TP + FN): Taha and Hanbury 2015, doi:10.1186/s12880-015-0068-x.

    Examples
    --------
    >>> truth = np.array([[[True, True, True, False]]])
    >>> overlap(truth, np.array([[[False, False, True, True]]]))
    Overlap(dice=0.4, iou=0.25, precision=0.5, recall=0.3333333333333333)
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f"masks of shapes {truth.shape} and {prediction.shape} are not on one grid"
        )
    both = int(np.count_nonzero(truth & prediction))
    of_truth, of_prediction = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    if not of_truth:
        return Overlap(dice=np.nan, iou=np.nan, precision=np.nan, recall=np.nan)
    return Overlap(
        dice=2 * both / (of_truth + of_prediction),
        iou=both / (of_truth + of_prediction - both),
        precision=both / of_prediction if of_prediction else 0.0,
        recall=both / of_truth,
    )


def dice(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of one scan; NaN where `truth` is empty."""
    return overlap(truth, prediction).dice


def mean_overlap(overlaps: Iterable[Overlap]) -> Overlap:
    """Return the mean of each figure over the scans whose reference is not empty.

    This is the mean of per-scan values, as the papers give it; it is not the figure of all
    voxels pooled, and its IoU is not Dice / (2 - Dice) of its Dice.

    Examples
    --------
    >>> full, none = (np.array([True, True]), np.array([False, False]))
    >>> mean_overlap([overlap(full, full), overlap(full, none), overlap(none, full)]).dice
    0.5
    """
    rows = [(o.dice, o.iou, o.precision, o.recall) for o in overlaps if not np.isnan(o.dice)]
    if not rows:
        return Overlap(dice=np.nan, iou=np.nan, precision=np.nan, recall=np.nan)
    means = [float(value) for value in np.mean(rows, axis=0)]
    return Overlap(dice=means[0], iou=means[1], precision=means[2], recall=means[3])
