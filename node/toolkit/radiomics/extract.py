"""The features of one region of one image, by pyradiomics."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.plugin import Volume
from node.radiomics_settings import RadiomicsSettings, feature_names, log_image
from node.toml_file import nearest
from node.toolkit.grids import Box, outside_value
from node.toolkit.radiomics.glcm import glcm_features

#: Steps are rounded to this many digits: 0.9999999 mm is no other grid than 1 mm.
_DIGITS_OF_MM = 6

_IMAGE_TYPES = {
    "original": "Original",
    "wavelet": "Wavelet",
    "log": "LoG",
    "square": "Square",
    "squareroot": "SquareRoot",
    "logarithm": "Logarithm",
    "exponential": "Exponential",
    "gradient": "Gradient",
}
_INTERPOLATORS = {
    "bspline": "sitkBSpline",
    "linear": "sitkLinear",
    "nearest": "sitkNearestNeighbor",
}


class NoFeatures(ValueError):
    """A region without features that mean anything; the sentence says why."""


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers of one region.

    Attributes
    ----------
    names : tuple of str
        As ``original_glcm_Contrast``, in the order that the settings fix.
    values : float64, shape (features,)
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]

    def __getitem__(self, name: str) -> float:
        """Return the value of the feature `name`; `ValueError` if there is none."""
        if name not in self.names:
            raise ValueError(f"there is no feature {name!r} here{nearest(name, self.names)}")
        return float(self.values[self.names.index(name)])


def extract(
    volume: Volume,
    mask: NDArray[np.bool_],
    settings: RadiomicsSettings,
    names: Sequence[str] | None = None,
) -> Features:
    """Return the features of the region `mask`.

    Parameters
    ----------
    volume : Volume
        Only its steps matter, not where in the patient it lies.
    mask : bool, shape (slices, rows, columns)
    settings : RadiomicsSettings
    names : sequence of str or None
        Of `feature_names`: these alone are counted, which takes less time. None: all.

    Returns
    -------
    Features
        The same values on every run, with any number of cores, and whatever else is asked for.

    Raises
    ------
    NoFeatures
        A `ValueError` with a sentence: the region is too small, on another grid, outside of what
        was scanned, or all of one value; or a value is not finite.
    """
    names = _asked(settings, names)
    found = _execute(*checked(volume, mask, settings), volume.spacing_mm, _Order(settings, names))
    if missing := [name for name in names if name not in found]:
        image = missing[0].split("_")[0]
        raise NoFeatures(f"the image is too small for {image}: {len(missing)} features are missing")
    values = np.array([float(found[name]) for name in names])
    if not np.isfinite(values).all():
        wrong = names[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise NoFeatures(f"{wrong} of this region is not a finite number")
    return Features(names=names, values=values)


def _asked(settings: RadiomicsSettings, names: Sequence[str] | None) -> tuple[str, ...]:
    offered = feature_names(settings)
    if isinstance(names, str):
        raise ValueError(f"names are a list of features, not one text: [{names!r}]")
    if unknown := sorted(set(names or ()) - set(offered)):
        raise ValueError(
            f"the settings have no feature {unknown[0]!r}{nearest(unknown[0], offered)}"
        )
    return offered if names is None else tuple(names)


def checked(
    volume: Volume, mask: NDArray[np.bool_], settings: RadiomicsSettings
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values that features are taken of and the region in them.

    Raises
    ------
    NoFeatures
        As `extract` does, before anything long has begun.
    """
    if not isinstance(mask, np.ndarray):
        raise NoFeatures(f"the region is a {type(mask).__name__}; it must be an array of bool")
    if volume.array.dtype.kind not in "iuf":
        raise NoFeatures(f"the image holds {volume.array.dtype}; it must hold real numbers")
    if mask.shape != volume.array.shape or mask.dtype != np.bool_:
        raise NoFeatures(
            f"the region has shape {mask.shape} and type {mask.dtype}; "
            f"it must be bool on the grid of the image, {volume.array.shape}"
        )
    _check_region(mask, volume.padding, settings.least_voxels)
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        wrong = np.count_nonzero(~np.isfinite(volume.array))
        raise NoFeatures(f"{wrong} values are not finite numbers")
    part = _part(mask, settings)
    array, mask = volume.array[part].astype(np.float64), mask[part]
    if volume.padding is not None and volume.padding.any():
        array[volume.padding[part]] = outside_value(volume)
    low, high = array[mask].min(), array[mask].max()
    if low == high:
        raise NoFeatures(f"all {mask.sum()} voxels of the region have the value {low:g}")
    if settings.clip is not None:
        array = np.clip(array, *settings.clip)
        if np.ptp(array[mask]) == 0.0:
            raise NoFeatures(
                f"all {mask.sum()} voxels of the region ({low:g} to {high:g}) are outside of the "
                f"values that are looked at ({settings.clip[0]:g} to {settings.clip[1]:g})"
            )
    return array, mask


def _part(mask: NDArray[np.bool_], settings: RadiomicsSettings) -> tuple[slice, slice, slice]:
    """Return what pyradiomics would cut out at once; a whole body need not be copied for that.

    Resampling and normalizing look at the whole image.
    """
    box = Box.of(mask)
    if box is None or not settings.pre_crop or settings.normalize or settings.spacing_mm:
        return (slice(None), slice(None), slice(None))
    return box.grown([settings.pad_voxels] * 3, mask.shape).slices


def _check_region(
    mask: NDArray[np.bool_], padding: NDArray[np.bool_] | None, least_voxels: int
) -> None:
    count = np.count_nonzero(mask)
    if count < least_voxels:
        raise NoFeatures(f"the region has {count} voxels; at least {least_voxels} are needed")
    outside = 0 if padding is None else np.count_nonzero(mask & padding)
    if outside:
        raise NoFeatures(f"{outside} of {count} voxels of the region are outside of the scan")


def _execute(
    array: NDArray[np.float64],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    order: _Order,
) -> Mapping[str, Any]:
    import SimpleITK

    extractor = _extractor(order)
    images = []
    for values in (array, mask.astype(np.uint8)):
        image: Any = SimpleITK.GetImageFromArray(values)
        image.SetSpacing([round(step, _DIGITS_OF_MM) for step in reversed(spacing_mm)])
        images.append(image)
    with _quiet(), one_thread():
        try:
            found: Mapping[str, Any] = extractor.execute(*images)
        except MemoryError as error:
            raise NoFeatures(
                "the region has too many grey levels for the memory; take a larger bin_width, or "
                "clip the values"
            ) from error
        except (ValueError, RuntimeError, ArithmeticError) as error:
            raise NoFeatures(_said(error, order.settings)) from error
    return found


def _said(error: Exception, settings: RadiomicsSettings) -> str:
    """Return pyradiomics' reason, without values that it may have put into it."""
    steps = " x ".join(f"{step:g}" for step in settings.spacing_mm or ())
    after = f" after resampling to {steps} mm" if steps else ""
    if "Size of the ROI" in str(error) or "not present" in str(error):
        return f"the region has fewer than {settings.least_voxels} voxels{after}"
    if "dimension" in str(error):
        return f"the region is a line or a point{after}; it needs two dimensions"
    return f"pyradiomics could not take the features{after} ({type(error).__name__})"


@dataclass(frozen=True)
class _Order:
    """What is to be counted."""

    settings: RadiomicsSettings
    names: tuple[str, ...]

    def features(self) -> dict[str, dict[str, list[str]]]:
        """Return the features of each class by the image that they are taken of."""
        found: dict[str, dict[str, list[str]]] = {}
        for name in self.names:
            image, kind, feature = name.split("_")
            found.setdefault(image, {}).setdefault(kind, []).append(feature)
        return found

    def image_types(self) -> dict[str, dict[str, Any]]:
        """Return pyradiomics' image types that have features, each with its own settings."""
        settings, images = self.settings, self.features()
        sigma_mm = [s for s in settings.log_sigma_mm if log_image(s) in images]
        own: dict[str, dict[str, Any]] = {
            "wavelet": {"wavelet": settings.wavelet},
            "log": {"sigma": sigma_mm},
        }
        begun = {image.split("-")[0] for image in images}
        return {
            _IMAGE_TYPES[kind]: own.get(kind, {}) for kind in settings.image_types if kind in begun
        }


@cache
def _extractor(order: _Order) -> Any:
    """Return what takes the features of each image, and of no other, by pyradiomics.

    pyradiomics' own extractor takes the same features of every image.
    """
    with _quiet():
        from radiomics.featureextractor import RadiomicsFeatureExtractor

        class OfImage(RadiomicsFeatureExtractor):  # type: ignore[misc]
            def __init__(self, glcm: Sequence[str], **features: list[str]) -> None:
                super().__init__(**_pyradiomics_settings(order.settings))
                self.glcm = glcm
                self.disableAllImageTypes()
                self.disableAllFeatures()
                self.enableFeaturesByName(**features)

            def computeFeatures(
                self, image: Any, mask: Any, imageTypeName: str, **settings: Any
            ) -> Mapping[str, Any]:
                found: dict[str, Any] = super().computeFeatures(
                    image, mask, imageTypeName, **settings
                )
                return found | _glcm_of(self.glcm, image, mask, imageTypeName, settings)

        def of_image(features: Mapping[str, list[str]]) -> Any:
            others = {kind: names for kind, names in features.items() if kind != "glcm"}
            return OfImage(features.get("glcm", ()), **others)

        images = {image: of_image(features) for image, features in order.features().items()}

        class Extractor(RadiomicsFeatureExtractor):  # type: ignore[misc]
            def computeFeatures(
                self, image: Any, mask: Any, imageTypeName: str, **settings: Any
            ) -> Mapping[str, Any]:
                if imageTypeName not in images:
                    return {}
                found: Mapping[str, Any] = images[imageTypeName].computeFeatures(
                    image, mask, imageTypeName, **settings
                )
                return found

        extractor = Extractor(**_pyradiomics_settings(order.settings))
        extractor.disableAllImageTypes()
        extractor.enableImageTypes(**order.image_types())
        extractor.disableAllFeatures()
        shape = order.features().get("original", {}).get("shape", [])
        extractor.enableFeaturesByName(**({"shape": shape} if shape else {}))
    return extractor


def _glcm_of(
    names: Sequence[str], image: Any, mask: Any, image_type: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return co-occurrence features by their full names."""
    if not names:
        return {}
    counted = glcm_features()(image, mask, **settings)
    for name in names:
        counted.enableFeatureByName(name)
    return {f"{image_type}_glcm_{name}": value for name, value in counted.execute().items()}


def _pyradiomics_settings(settings: RadiomicsSettings) -> dict[str, Any]:
    """Return the settings by pyradiomics' names; what it would choose itself is said too."""
    spacing_mm = settings.spacing_mm
    levels: dict[str, Any] = (
        {"binWidth": settings.bin_width}
        if settings.bin_width is not None
        else {"binCount": settings.bin_count}
    )
    return {
        **levels,
        "label": 1,
        "minimumROIDimensions": 2,
        "minimumROISize": settings.least_voxels - 1,  # so many are still too few
        "normalize": settings.normalize,
        "normalizeScale": settings.normalize_scale,
        "removeOutliers": settings.remove_outliers_sd,
        "resampledPixelSpacing": None if spacing_mm is None else list(reversed(spacing_mm)),
        "interpolator": _INTERPOLATORS[settings.interpolator],
        "preCrop": settings.pre_crop,
        "padDistance": settings.pad_voxels,
        "voxelArrayShift": settings.shift,
        "distances": [1],
        "force2D": False,
        "additionalInfo": False,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pyradiomics from writing: its lines hold paths and values, and it warns of much."""
    logger = logging.getLogger("radiomics")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        yield
        logger.setLevel(logging.CRITICAL + 1)  # its import has set another one


class _Threads:
    """How many of our threads are inside `one_thread`, and what ITK had before the first."""

    lock = threading.Lock()
    inside = 0
    before = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Have ITK count with one thread inside: sums depend on how they are shared out (E16).

    The number is one for the whole process: whoever leaves last puts it back.
    """
    import SimpleITK

    itk: Any = SimpleITK.ProcessObject
    with _Threads.lock:
        if _Threads.inside == 0:
            _Threads.before = itk.GetGlobalDefaultNumberOfThreads()
            itk.SetGlobalDefaultNumberOfThreads(1)
        _Threads.inside += 1
    try:
        yield
    finally:
        with _Threads.lock:
            _Threads.inside -= 1
            if _Threads.inside == 0:
                itk.SetGlobalDefaultNumberOfThreads(_Threads.before)
