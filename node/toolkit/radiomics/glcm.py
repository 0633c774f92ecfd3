"""pyradiomics' co-occurrence features, the slowest of them counted another way."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def maximal_correlation(glcm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the maximal correlation coefficient (MCC), the mean over directions.

    MCC is the root of the second largest eigenvalue of ``Q = D^-1 P D^-1 P``, D the sums of the
    rows of P (Haralick 1973). P is symmetrical, so Q has the eigenvalues of the square of
    ``D^-1/2 P D^-1/2``, which is symmetrical too: an order of magnitude less work than those of Q.

    Parameters
    ----------
    glcm : float64, shape (regions, levels, levels, directions)
        Symmetrical co-occurrence matrices, each of sum 1.

    Returns
    -------
    float64, shape (regions,)
        1 for a region of one level, as pyradiomics says.
    """
    matrices = np.moveaxis(glcm, 3, 1)
    if matrices.shape[-1] < 2:
        return np.ones(len(matrices))
    sums = matrices.sum(-1)
    roots = np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
    alike = roots[..., :, None] * matrices * roots[..., None, :]
    sizes = np.sort(np.abs(np.linalg.eigvalsh(alike)), axis=-1)
    found: NDArray[np.float64] = np.nanmean(sizes[..., -2], axis=1)
    return found


@cache
def glcm_features() -> Any:
    """Return pyradiomics' class of co-occurrence features with our `maximal_correlation`."""
    from radiomics.glcm import RadiomicsGLCM

    class Glcm(RadiomicsGLCM):  # type: ignore[misc]
        # pyradiomics names the logger after it: quiet where its own are.
        __module__ = RadiomicsGLCM.__module__

        def getMCCFeatureValue(self) -> NDArray[np.float64]:
            return maximal_correlation(self.P_glcm)

    return Glcm
