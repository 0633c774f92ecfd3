"""Which radiomics features there are, and what a manifest's ``[radiomics]`` table asks of them.

The names are pyradiomics'. Their order here is the order of every vector of features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product

#: Features of each class, in alphabetical order.
CLASSES: dict[str, tuple[str, ...]] = {
    "shape": (
        *("Elongation", "Flatness", "LeastAxisLength", "MajorAxisLength"),
        *("Maximum2DDiameterColumn", "Maximum2DDiameterRow", "Maximum2DDiameterSlice"),
        *("Maximum3DDiameter", "MeshVolume", "MinorAxisLength", "Sphericity", "SurfaceArea"),
        *("SurfaceVolumeRatio", "VoxelVolume"),
    ),
    "firstorder": (
        *("10Percentile", "90Percentile", "Energy", "Entropy", "InterquartileRange", "Kurtosis"),
        *("Maximum", "Mean", "MeanAbsoluteDeviation", "Median", "Minimum", "Range"),
        *("RobustMeanAbsoluteDeviation", "RootMeanSquared", "Skewness", "TotalEnergy"),
        *("Uniformity", "Variance"),
    ),
    "glcm": (
        *("Autocorrelation", "ClusterProminence", "ClusterShade", "ClusterTendency", "Contrast"),
        *("Correlation", "DifferenceAverage", "DifferenceEntropy", "DifferenceVariance", "Id"),
        *("Idm", "Idmn", "Idn", "Imc1", "Imc2", "InverseVariance", "JointAverage", "JointEnergy"),
        *("JointEntropy", "MCC", "MaximumProbability", "SumAverage", "SumEntropy", "SumSquares"),
    ),
    "glrlm": (
        *("GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "GrayLevelVariance"),
        *("HighGrayLevelRunEmphasis", "LongRunEmphasis", "LongRunHighGrayLevelEmphasis"),
        *("LongRunLowGrayLevelEmphasis", "LowGrayLevelRunEmphasis", "RunEntropy"),
        *("RunLengthNonUniformity", "RunLengthNonUniformityNormalized", "RunPercentage"),
        *("RunVariance", "ShortRunEmphasis", "ShortRunHighGrayLevelEmphasis"),
        "ShortRunLowGrayLevelEmphasis",
    ),
    "glszm": (
        *("GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "GrayLevelVariance"),
        *("HighGrayLevelZoneEmphasis", "LargeAreaEmphasis", "LargeAreaHighGrayLevelEmphasis"),
        *("LargeAreaLowGrayLevelEmphasis", "LowGrayLevelZoneEmphasis", "SizeZoneNonUniformity"),
        *("SizeZoneNonUniformityNormalized", "SmallAreaEmphasis"),
        *("SmallAreaHighGrayLevelEmphasis", "SmallAreaLowGrayLevelEmphasis", "ZoneEntropy"),
        *("ZonePercentage", "ZoneVariance"),
    ),
    "gldm": (
        *("DependenceEntropy", "DependenceNonUniformity", "DependenceNonUniformityNormalized"),
        *("DependenceVariance", "GrayLevelNonUniformity", "GrayLevelVariance"),
        *("HighGrayLevelEmphasis", "LargeDependenceEmphasis"),
        *("LargeDependenceHighGrayLevelEmphasis", "LargeDependenceLowGrayLevelEmphasis"),
        *("LowGrayLevelEmphasis", "SmallDependenceEmphasis"),
        *("SmallDependenceHighGrayLevelEmphasis", "SmallDependenceLowGrayLevelEmphasis"),
    ),
    "ngtdm": ("Busyness", "Coarseness", "Complexity", "Contrast", "Strength"),
}

#: What features are taken of, in this order: the image as it is, and filtered.
IMAGE_TYPES = (
    *("original", "wavelet", "log"),
    *("square", "squareroot", "logarithm", "exponential", "gradient"),
)

#: Low and high pass along columns, rows and slices.
WAVELET_BANDS = tuple("".join(band) for band in product("LH", repeat=3))


@dataclass(frozen=True, kw_only=True)
class RadiomicsSettings:
    """The ``[radiomics]`` table of a manifest, checked (docs/write-a-plugin.md has each key)."""

    #: Of `IMAGE_TYPES`.
    image_types: tuple[str, ...]
    #: Of `CLASSES`.
    classes: tuple[str, ...]
    #: Whether the image is cut around the region before it is filtered: changes values (E16).
    pre_crop: bool
    #: Width of a grey level in the image's unit; None: `bin_count` levels.
    bin_width: float | None = None
    bin_count: int | None = None
    #: Of the ``log`` images, in mm.
    log_sigma_mm: tuple[float, ...] = ()
    wavelet: str = "coif1"
    #: Between slices, rows and columns; None: the image's own.
    spacing_mm: tuple[float, float, float] | None = None
    #: ``bspline``, ``linear`` or ``nearest``.
    interpolator: str = "bspline"
    #: What stays around the region where the image is cut or resampled.
    pad_voxels: int = 5
    #: Lowest and highest value that voxels may have; None: any.
    clip: tuple[float, float] | None = None
    #: Whether the whole image gets mean 0 and standard deviation `normalize_scale`.
    normalize: bool = False
    normalize_scale: float = 1.0
    #: Normalized values further from 0 are set to that distance; None: all are kept.
    remove_outliers_sd: float | None = None
    #: Added to every value before energy and root mean square are taken.
    shift: float = 0.0
    #: Features left out of every image, as ``class_Feature``.
    drop: tuple[str, ...] = ()
    #: Smaller regions are refused.
    least_voxels: int = 64


def settings_words(settings: RadiomicsSettings) -> dict[str, str]:
    """Return every setting by name as a report names it; what is None does not count.

    Examples
    --------
    >>> words = settings_words(RadiomicsSettings(
    ...     image_types=("original", "log"), log_sigma_mm=(2.0, 4.5), classes=("glcm",),
    ...     pre_crop=True, bin_width=25.0))
    >>> words["radiomics.image_types"], words["radiomics.log_sigma_mm"]
    ('original,log', '2,4.5')
    >>> words["radiomics.bin_width"], words["radiomics.pre_crop"], "radiomics.clip" in words
    ('25', 'True', False)
    """
    given = {one.name: getattr(settings, one.name) for one in fields(settings)}
    return {
        f"radiomics.{name}": ",".join(map(_word, value))
        if isinstance(value, tuple)
        else _word(value)
        for name, value in given.items()
        if value is not None and value != ()
    }


def _word(value: str | float | bool) -> str:
    return str(value) if isinstance(value, str | bool) else f"{value:g}"


def features_of(settings: RadiomicsSettings) -> dict[str, tuple[str, ...]]:
    """Return the features of each class that is asked for, without those that are dropped."""
    return {
        name: tuple(one for one in features if f"{name}_{one}" not in settings.drop)
        for name, features in CLASSES.items()
        if name in settings.classes
    }


def image_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """Return the images that features are taken of, as they stand in names of features.

    Examples
    --------
    >>> image_names(RadiomicsSettings(
    ...     image_types=("log", "original"), log_sigma_mm=(2.0, 4.5), classes=("glcm",),
    ...     pre_crop=True, bin_width=25.0))
    ('original', 'log-sigma-2-0-mm-3D', 'log-sigma-4-5-mm-3D')
    """
    several = {
        "wavelet": [f"wavelet-{band}" for band in WAVELET_BANDS],
        "log": [log_image(sigma_mm) for sigma_mm in settings.log_sigma_mm],
    }
    asked = [kind for kind in IMAGE_TYPES if kind in settings.image_types]
    return tuple(name for kind in asked for name in several.get(kind, [kind]))


def log_image(sigma_mm: float) -> str:
    """Return the name of the image that a Laplacian of Gaussian of this width makes."""
    return f"log-sigma-{float(sigma_mm)}-mm-3D".replace(".", "-")


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """Return the names of all features in the order of their vector: settings alone decide.

    Shape comes first and once; it looks at the region and at no image.

    Examples
    --------
    >>> names = feature_names(RadiomicsSettings(
    ...     image_types=("original", "wavelet"), classes=("shape", "ngtdm"), pre_crop=True,
    ...     bin_width=25.0, drop=("shape_VoxelVolume",)))
    >>> len(names), names[0], names[-1]
    (58, 'original_shape_Elongation', 'wavelet-HHH_ngtdm_Strength')
    """
    features = features_of(settings)
    shape = [f"original_shape_{one}" for one in features.pop("shape", ())]
    textures = [
        f"{image}_{name}_{one}"
        for image in image_names(settings)
        for name, several in features.items()
        for one in several
    ]
    return (*shape, *textures)
