"""MR images made comparable: without the bias field of the coils, on one scale of values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.plugin import Volume
from node.toolkit.radiomics.extract import one_thread

_ROUNDS = (50, 50, 50, 50)
_SMALLEST_SIDE = 4


def n4(
    volume: Volume,
    mask: NDArray[np.bool_] | None = None,
    *,
    shrink: int = 4,
    rounds: tuple[int, ...] = _ROUNDS,
) -> Volume:
    """Return an MR volume without its bias field (N4, SimpleITK).

    The field is fitted on a coarser grid and divided out of every voxel of the fine one.

    Parameters
    ----------
    volume : Volume
        Values of 0 and above; below 0 they count as background.
    mask : bool, shape of the volume, or None
        Where the field is fitted; None: Otsu's foreground.
    shrink : int
        Steps of the coarse grid in voxels, in the plane and where there are enough slices.
    rounds : tuple of int
        At most so many iterations at each of the fitting levels.

    Returns
    -------
    Volume
        float32.

    Raises
    ------
    ValueError
        If values are not finite, or all the same, or `mask` is empty or on another grid.
    """
    import SimpleITK

    itk: Any = SimpleITK
    array = np.asarray(volume.array, dtype=np.float32)
    _check(array, mask)
    with one_thread():
        image = itk.GetImageFromArray(array)
        image.SetSpacing([float(step) for step in reversed(volume.spacing_mm)])
        where = (
            itk.OtsuThreshold(image, 0, 1, 200)
            if mask is None
            else itk.GetImageFromArray(mask.astype(np.uint8))
        )
        where.CopyInformation(image)
        factors = [max(1, min(shrink, n // _SMALLEST_SIDE)) for n in image.GetSize()]
        filter_ = itk.N4BiasFieldCorrectionImageFilter()
        filter_.SetMaximumNumberOfIterations(list(rounds))
        filter_.Execute(itk.Shrink(image, factors), itk.Shrink(where, factors))
        field = np.exp(itk.GetArrayFromImage(filter_.GetLogBiasFieldAsImage(image)))
    return replace(volume, array=(array / field).astype(np.float32))


def standardized(
    volume: Volume,
    mask: NDArray[np.bool_] | None = None,
    *,
    scale: float = 100.0,
    shift: float = 300.0,
    outliers_sd: float = 3.0,
) -> Volume:
    """Return a volume on a scale of its own: mean `shift`, standard deviation `scale`.

    Parameters
    ----------
    volume : Volume
    mask : bool, shape of the volume, or None
        Where mean and deviation are taken; None: where values are above their mean, which in
        an MR image leaves the air out.
    scale, shift : float
    outliers_sd : float
        Values further from the mean are set to that many deviations.

    Returns
    -------
    Volume
        float32, of unit 1.

    Examples
    --------
    >>> array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    >>> volume = Volume(array=array, affine=np.eye(4), unit="1", modality="MR")
    >>> found = standardized(volume, np.ones(array.shape, bool)).array
    >>> round(float(found.mean())), round(float(found.std()))
    (300, 100)
    """
    array = np.asarray(volume.array, dtype=np.float32)
    _check(array, mask)
    inside = array[array > array.mean() if mask is None else mask].astype(np.float64)
    deviation = inside.std()
    if deviation == 0:
        raise ValueError(f"all {inside.size} values that the scale is taken of are the same")
    scaled = np.clip((array - inside.mean()) / deviation, -outliers_sd, outliers_sd)
    return replace(volume, array=(scaled * scale + shift).astype(np.float32), unit="1")


def _check(array: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(array))} values are not finite numbers")
    if array.min() == array.max():
        raise ValueError(f"all values of the image are {array.flat[0]:g}")
    if mask is not None and (mask.shape != array.shape or not mask.any()):
        raise ValueError(f"the mask is empty, or of shape {mask.shape} instead of {array.shape}")
