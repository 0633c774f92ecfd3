"""Codes of radiomics features: those of IBSI where its definition is ours, else private ones.

Values and meanings are those of PS3.16; `STATISTICS` has what only the IBSI manual lists.
"""

from __future__ import annotations

import hashlib

#: Statistics of intensities in the manual of IBSI, section 3.3; PS3.16 has no codes for them.
STATISTICS = {
    "QG58": "10th Intensity Percentile",
    "8DWT": "90th Intensity Percentile",
    "N8CA": "Intensity Energy",
    "SALO": "Intensity Interquartile Range",
    "84IY": "Maximum Intensity",
    "Q4LE": "Mean Intensity",
    "4FUA": "Intensity Mean Absolute Deviation",
    "Y12H": "Median Intensity",
    "1GSF": "Minimum Intensity",
    "2OJQ": "Intensity Range",
    "1128": "Intensity Robust Mean Absolute Deviation",
    "5ZWQ": "Root Mean Square Intensity",
    "KE2A": "Intensity Skewness",
    "ECT3": "Intensity Variance",
}

_SHAPE = {
    "Elongation": ("Q3CK", "Elongation"),
    "Flatness": ("N17B", "Flatness"),
    "LeastAxisLength": ("7J51", "Least Axis in 3D Length"),
    "MajorAxisLength": ("TDIC", "Major Axis in 3D Length"),
    "Maximum3DDiameter": ("L0JK", "Maximum 3D Diameter of a Mesh"),
    "MeshVolume": ("RNU0", "Volume of Mesh"),
    "MinorAxisLength": ("P9VJ", "Minor Axis in 3D Length"),
    "Sphericity": ("QCFX", "Sphericity"),
    "SurfaceArea": ("C0JK", "Surface Area of Mesh"),
    "SurfaceVolumeRatio": ("2PR5", "Surface to Volume Ratio"),
    "VoxelVolume": ("YEKZ", "Volume from Voxel Summation"),
}
_FIRSTORDER = {
    **{
        name: (value, STATISTICS[value])
        for name, value in {
            "10Percentile": "QG58",
            "90Percentile": "8DWT",
            "Energy": "N8CA",
            "InterquartileRange": "SALO",
            "Maximum": "84IY",
            "Mean": "Q4LE",
            "MeanAbsoluteDeviation": "4FUA",
            "Median": "Y12H",
            "Minimum": "1GSF",
            "Range": "2OJQ",
            "RobustMeanAbsoluteDeviation": "1128",
            "RootMeanSquared": "5ZWQ",
            "Skewness": "KE2A",
            "Variance": "ECT3",
        }.items()
    },
    # Taken of grey levels, not of the image's values.
    "Entropy": ("TLU2", "Intensity Histogram Entropy"),
    "Uniformity": ("BJ5W", "Intensity Histogram Uniformity"),
}
_GLCM = {
    "Autocorrelation": ("QWB0", "Autocorrelation of GLCM"),
    "ClusterProminence": ("AE86", "Cluster Prominence of GLCM"),
    "ClusterShade": ("7NFM", "Cluster Shade of GLCM"),
    "ClusterTendency": ("DG8W", "Cluster Tendency of GLCM"),
    "Contrast": ("ACUI", "Contrast of GLCM"),
    "Correlation": ("NI2N", "Correlation of GLCM"),
    "DifferenceAverage": ("TF7R", "Difference Average of GLCM"),
    "DifferenceEntropy": ("NTRS", "Difference Entropy of GLCM"),
    "DifferenceVariance": ("D3YU", "Difference Variance of GLCM"),
    "Id": ("IB1Z", "Inverse Difference of GLCM"),
    "Idm": ("WF0Z", "Inverse Difference Moment of GLCM"),
    "Idmn": ("1QCO", "Normalized Inverse Difference Moment of GLCM"),
    "Idn": ("NDRX", "Normalized Inverse Difference of GLCM"),
    "Imc1": ("R8DG", "First Measure of Information Correlation of GLCM"),
    "Imc2": ("JN9H", "Second Measure of Information Correlation of GLCM"),
    "InverseVariance": ("E8JP", "Inverse Variance of GLCM"),
    "JointAverage": ("60VM", "Joint Average of GLCM"),
    "JointEnergy": ("8ZQL", "Angular Second Moment of GLCM"),
    "JointEntropy": ("TU9B", "Joint Entropy of GLCM"),
    "MaximumProbability": ("GYBY", "Joint Maximum of GLCM"),
    "SumAverage": ("ZGXS", "Sum Average of GLCM"),
    "SumEntropy": ("P6QZ", "Sum Entropy of GLCM"),
    "SumSquares": ("UR99", "Joint Variance of GLCM"),
}
_GLRLM = {
    "GrayLevelNonUniformity": ("R5YN", "Gray Level Nonuniformity in Runs"),
    "GrayLevelNonUniformityNormalized": ("OVBL", "Normalized Gray Level Nonuniformity in Runs"),
    "GrayLevelVariance": ("8CE5", "Gray Level Variance in Runs"),
    "HighGrayLevelRunEmphasis": ("G3QZ", "High Gray Level Run Emphasis"),
    "LongRunEmphasis": ("W4KF", "Long Runs Emphasis"),
    "LongRunHighGrayLevelEmphasis": ("3KUM", "Long Run High Gray Level Emphasis"),
    "LongRunLowGrayLevelEmphasis": ("IVPO", "Long Run Low Gray Level Emphasis"),
    "LowGrayLevelRunEmphasis": ("V3SW", "Low Gray Level Run Emphasis"),
    "RunEntropy": ("HJ9O", "Run Entropy"),
    "RunLengthNonUniformity": ("W92Y", "Run Length Nonuniformity"),
    "RunLengthNonUniformityNormalized": ("IC23", "Normalized Run Length Nonuniformity"),
    "RunPercentage": ("9ZK5", "Run Percentage"),
    "RunVariance": ("SXLW", "Run Length Variance"),
    "ShortRunEmphasis": ("22OV", "Short Runs Emphasis"),
    "ShortRunHighGrayLevelEmphasis": ("GD3A", "Short Run High Gray Level Emphasis"),
    "ShortRunLowGrayLevelEmphasis": ("HTZT", "Short Run Low Gray Level Emphasis"),
}
_GLSZM = {
    "GrayLevelNonUniformity": ("JNSA", "Gray Level Nonuniformity of Size Zone Counts"),
    "GrayLevelNonUniformityNormalized": (
        "Y1RO",
        "Normalized Gray Level Nonuniformity of Size Zone Counts",
    ),
    "GrayLevelVariance": ("BYLV", "Gray Level Variance in Size Zones"),
    "HighGrayLevelZoneEmphasis": ("5GN9", "High Gray Level Zone Emphasis"),
    "LargeAreaEmphasis": ("48P8", "Large Zone Emphasis"),
    "LargeAreaHighGrayLevelEmphasis": ("J17V", "Large Zone High Gray Level Emphasis"),
    "LargeAreaLowGrayLevelEmphasis": ("YH51", "Large Zone Low Gray Level Emphasis"),
    "LowGrayLevelZoneEmphasis": ("XMSY", "Low Gray Level Zone Emphasis"),
    "SizeZoneNonUniformity": ("4JP3", "Zone Size Nonuniformity"),
    "SizeZoneNonUniformityNormalized": ("VB3A", "Normalized Zone Size Nonuniformity"),
    "SmallAreaEmphasis": ("5QRC", "Small Zone Emphasis"),
    "SmallAreaHighGrayLevelEmphasis": ("HW1V", "Small Zone High Gray Level Emphasis"),
    "SmallAreaLowGrayLevelEmphasis": ("5RAI", "Small Zone Low Gray Level Emphasis"),
    "ZoneEntropy": ("GU8N", "Zone Size Entropy"),
    "ZonePercentage": ("P30P", "Size Zone Percentage"),
    "ZoneVariance": ("3NSA", "Zone Size Variance"),
}
_GLDM = {
    "DependenceEntropy": ("FCBV", "Dependence count entropy"),
    "DependenceNonUniformity": ("Z87G", "Dependence count non-uniformity"),
    "DependenceNonUniformityNormalized": ("OKJI", "Dependence count non-uniformity normalized"),
    "DependenceVariance": ("DNX2", "Dependence count variance"),
    "GrayLevelNonUniformity": ("FP8K", "Grey level non-uniformity of NGLDM"),
    "GrayLevelVariance": ("1PFV", "Grey level variance of NGLDM"),
    "HighGrayLevelEmphasis": ("OAE7", "High grey level count emphasis"),
    "LargeDependenceEmphasis": ("IMOQ", "High dependence emphasis"),
    "LargeDependenceHighGrayLevelEmphasis": ("9QMG", "High dependence high grey level emphasis"),
    "LargeDependenceLowGrayLevelEmphasis": ("NBZI", "High dependence low grey level emphasis"),
    "LowGrayLevelEmphasis": ("TL9H", "Low grey level count emphasis"),
    "SmallDependenceEmphasis": ("SODN", "Low dependence emphasis"),
    "SmallDependenceHighGrayLevelEmphasis": ("JA6D", "Low dependence high grey level emphasis"),
    "SmallDependenceLowGrayLevelEmphasis": ("EQ3F", "Low dependence low grey level emphasis"),
}
_NGTDM = {
    "Busyness": ("NQ30", "Busyness of NGTDM"),
    "Coarseness": ("QCDE", "Coarseness of NGTDM"),
    "Complexity": ("HDEZ", "Complexity of NGTDM"),
    "Contrast": ("65HE", "Contrast of NGTDM"),
    "Strength": ("1X9X", "Strength of NGTDM"),
}
#: Class, then feature, to value and meaning; what is missing is not as IBSI defines it.
IBSI = {
    "shape": _SHAPE,
    "firstorder": _FIRSTORDER,
    "glcm": _GLCM,
    "glrlm": _GLRLM,
    "glszm": _GLSZM,
    "gldm": _GLDM,
    "ngtdm": _NGTDM,
}

_LENGTHS = ("mm", "UCUM", "mm")
_UNITS = {
    "MeshVolume": ("mm3", "UCUM", "cubic millimeter"),
    "VoxelVolume": ("mm3", "UCUM", "cubic millimeter"),
    "SurfaceArea": ("mm2", "UCUM", "mm2"),
    "SurfaceVolumeRatio": ("/mm", "UCUM", "/mm"),
    **dict.fromkeys(
        (
            *("LeastAxisLength", "MajorAxisLength", "MinorAxisLength", "Maximum3DDiameter"),
            *("Maximum2DDiameterColumn", "Maximum2DDiameterRow", "Maximum2DDiameterSlice"),
        ),
        _LENGTHS,
    ),
}
#: Statistics in the unit of the image.
_INTENSITIES = frozenset(
    (
        *("10Percentile", "90Percentile", "InterquartileRange", "Maximum", "Mean"),
        *("MeanAbsoluteDeviation", "Median", "Minimum", "Range", "RobustMeanAbsoluteDeviation"),
        "RootMeanSquared",
    )
)


def code_of(name: str) -> tuple[str, str, str]:
    """Return value, scheme and meaning of a feature, at most 16, 16 and 64 characters.

    A feature of a filtered image is none of IBSI's: two images would have one code. It gets a
    private one, as do features that IBSI does not have or defines otherwise.

    Examples
    --------
    >>> code_of("original_glcm_Contrast")
    ('ACUI', 'IBSI', 'Contrast of GLCM')
    >>> code_of("wavelet-LLH_glcm_Contrast")
    ('RX-83AB1118DE', '99SENTINEL', 'wavelet-LLH glcm Contrast')
    """
    image, group, feature = name.split("_", 2)
    known = IBSI[group].get(feature) if image == "original" else None
    if known:
        return (known[0], "IBSI", known[1])
    digest = hashlib.sha256(name.encode()).hexdigest()[:10].upper()
    return (f"RX-{digest}", "99SENTINEL", f"{image} {group} {feature}"[:64])


def unit_of(name: str, *, hu: bool = False) -> tuple[str, str, str]:
    """Return the UCUM unit of a feature; those that have none are of unit 1.

    Parameters
    ----------
    name : str
    hu : bool
        Whether the values of the image are HU, which no name tells. Statistics of the original
        image that are in its unit are then in HU; squares of HU have no unit of PS3.16.

    Examples
    --------
    >>> unit_of("original_shape_SurfaceArea")[0], unit_of("original_glcm_Contrast")[0]
    ('mm2', '1')
    >>> unit_of("original_firstorder_Mean", hu=True)[0]
    "[hnsf'U]"
    """
    image, group, feature = name.split("_", 2)
    if hu and (image, group) == ("original", "firstorder") and feature in _INTENSITIES:
        return ("[hnsf'U]", "UCUM", "Hounsfield unit")
    found = _UNITS.get(feature) if group == "shape" else None
    return found or ("1", "UCUM", "no units")
