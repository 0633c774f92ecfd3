"""Published values of radiomics features: IBSI's digital phantom and pyradiomics' baseline."""

from __future__ import annotations

import ast
import csv

import numpy as np

from node.plugin import Volume
from node.radiomics_settings import CLASSES
from tests.make import shared_data

#: Tags of IBSI's table, without how directions are joined.
TAGS = {
    "shape": {
        "Elongation": "morph_pca_elongation",
        "Flatness": "morph_pca_flatness",
        "LeastAxisLength": "morph_pca_least_axis",
        "MajorAxisLength": "morph_pca_maj_axis",
        "Maximum3DDiameter": "morph_diam",
        "MeshVolume": "morph_volume",
        "MinorAxisLength": "morph_pca_min_axis",
        "Sphericity": "morph_sphericity",
        "SurfaceArea": "morph_area_mesh",
        "SurfaceVolumeRatio": "morph_av",
        "VoxelVolume": "morph_vol_approx",
    },
    "firstorder": {
        "10Percentile": "stat_p10",
        "90Percentile": "stat_p90",
        "Energy": "stat_energy",
        "Entropy": "ih_entropy",
        "InterquartileRange": "stat_iqr",
        "Kurtosis": "stat_kurt",
        "Maximum": "stat_max",
        "Mean": "stat_mean",
        "MeanAbsoluteDeviation": "stat_mad",
        "Median": "stat_median",
        "Minimum": "stat_min",
        "Range": "stat_range",
        "RobustMeanAbsoluteDeviation": "stat_rmad",
        "RootMeanSquared": "stat_rms",
        "Skewness": "stat_skew",
        "Uniformity": "ih_uniformity",
        "Variance": "stat_var",
    },
    "glcm": {
        "Autocorrelation": "cm_auto_corr_3D_avg",
        "ClusterProminence": "cm_clust_prom_3D_avg",
        "ClusterShade": "cm_clust_shade_3D_avg",
        "ClusterTendency": "cm_clust_tend_3D_avg",
        "Contrast": "cm_contrast_3D_avg",
        "Correlation": "cm_corr_3D_avg",
        "DifferenceAverage": "cm_diff_avg_3D_avg",
        "DifferenceEntropy": "cm_diff_entr_3D_avg",
        "DifferenceVariance": "cm_diff_var_3D_avg",
        "Id": "cm_inv_diff_3D_avg",
        "Idm": "cm_inv_diff_mom_3D_avg",
        "Idmn": "cm_inv_diff_mom_norm_3D_avg",
        "Idn": "cm_inv_diff_norm_3D_avg",
        "Imc1": "cm_info_corr1_3D_avg",
        "Imc2": "cm_info_corr2_3D_avg",
        "InverseVariance": "cm_inv_var_3D_avg",
        "JointAverage": "cm_joint_avg_3D_avg",
        "JointEnergy": "cm_energy_3D_avg",
        "JointEntropy": "cm_joint_entr_3D_avg",
        "MaximumProbability": "cm_joint_max_3D_avg",
        "SumAverage": "cm_sum_avg_3D_avg",
        "SumEntropy": "cm_sum_entr_3D_avg",
        "SumSquares": "cm_joint_var_3D_avg",
    },
    "glrlm": {
        "GrayLevelNonUniformity": "rlm_glnu_3D_avg",
        "GrayLevelNonUniformityNormalized": "rlm_glnu_norm_3D_avg",
        "GrayLevelVariance": "rlm_gl_var_3D_avg",
        "HighGrayLevelRunEmphasis": "rlm_hgre_3D_avg",
        "LongRunEmphasis": "rlm_lre_3D_avg",
        "LongRunHighGrayLevelEmphasis": "rlm_lrhge_3D_avg",
        "LongRunLowGrayLevelEmphasis": "rlm_lrlge_3D_avg",
        "LowGrayLevelRunEmphasis": "rlm_lgre_3D_avg",
        "RunEntropy": "rlm_rl_entr_3D_avg",
        "RunLengthNonUniformity": "rlm_rlnu_3D_avg",
        "RunLengthNonUniformityNormalized": "rlm_rlnu_norm_3D_avg",
        "RunPercentage": "rlm_r_perc_3D_avg",
        "RunVariance": "rlm_rl_var_3D_avg",
        "ShortRunEmphasis": "rlm_sre_3D_avg",
        "ShortRunHighGrayLevelEmphasis": "rlm_srhge_3D_avg",
        "ShortRunLowGrayLevelEmphasis": "rlm_srlge_3D_avg",
    },
    "glszm": {
        "GrayLevelNonUniformity": "szm_glnu_3D",
        "GrayLevelNonUniformityNormalized": "szm_glnu_norm_3D",
        "GrayLevelVariance": "szm_gl_var_3D",
        "HighGrayLevelZoneEmphasis": "szm_hgze_3D",
        "LargeAreaEmphasis": "szm_lze_3D",
        "LargeAreaHighGrayLevelEmphasis": "szm_lzhge_3D",
        "LargeAreaLowGrayLevelEmphasis": "szm_lzlge_3D",
        "LowGrayLevelZoneEmphasis": "szm_lgze_3D",
        "SizeZoneNonUniformity": "szm_zsnu_3D",
        "SizeZoneNonUniformityNormalized": "szm_zsnu_norm_3D",
        "SmallAreaEmphasis": "szm_sze_3D",
        "SmallAreaHighGrayLevelEmphasis": "szm_szhge_3D",
        "SmallAreaLowGrayLevelEmphasis": "szm_szlge_3D",
        "ZoneEntropy": "szm_zs_entr_3D",
        "ZonePercentage": "szm_z_perc_3D",
        "ZoneVariance": "szm_zs_var_3D",
    },
    "gldm": {
        "DependenceEntropy": "ngl_dc_entr_3D",
        "DependenceNonUniformity": "ngl_dcnu_3D",
        "DependenceNonUniformityNormalized": "ngl_dcnu_norm_3D",
        "DependenceVariance": "ngl_dc_var_3D",
        "GrayLevelNonUniformity": "ngl_glnu_3D",
        "GrayLevelVariance": "ngl_gl_var_3D",
        "HighGrayLevelEmphasis": "ngl_hgce_3D",
        "LargeDependenceEmphasis": "ngl_hde_3D",
        "LargeDependenceHighGrayLevelEmphasis": "ngl_hdhge_3D",
        "LargeDependenceLowGrayLevelEmphasis": "ngl_hdlge_3D",
        "LowGrayLevelEmphasis": "ngl_lgce_3D",
        "SmallDependenceEmphasis": "ngl_lde_3D",
        "SmallDependenceHighGrayLevelEmphasis": "ngl_ldhge_3D",
        "SmallDependenceLowGrayLevelEmphasis": "ngl_ldlge_3D",
    },
    "ngtdm": {
        "Busyness": "ngt_busyness_3D",
        "Coarseness": "ngt_coarseness_3D",
        "Complexity": "ngt_complexity_3D",
        "Contrast": "ngt_contrast_3D",
        "Strength": "ngt_strength_3D",
    },
}


def _volume(array, spacing_mm) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]]
    return Volume(array=array, affine=affine, unit="1", modality="OT")


def digital_phantom() -> tuple[Volume, np.ndarray]:
    """Return IBSI's phantom of 5 x 4 x 4 voxels with values 1 to 6, and its region."""
    import nibabel

    folder = shared_data("reference-values/ibsi-digital-phantom")
    image, mask = (
        np.asarray(nibabel.load(folder / name).dataobj).T
        for name in ("phantom.nii.gz", "mask.nii.gz")
    )
    return _volume(image.astype(np.int16), (2.0, 2.0, 2.0)), mask > 0


def ibsi_values() -> dict[str, tuple[float, float]]:
    """Return reference value and tolerance of each tag."""
    table = shared_data("reference-values/ibsi-reference-values") / "ibsi_1_dig_phantom.csv"
    rows = [line.split(";") for line in table.read_text().splitlines()[1:]]
    return {tag: (float(value), float(tolerance)) for value, tolerance, tag in rows if tolerance}


def baseline_case(name: str) -> tuple[Volume, np.ndarray]:
    """Return an image of pyradiomics' tests and its region."""
    import SimpleITK

    folder = shared_data("reference-values/pyradiomics")
    image = SimpleITK.ReadImage(str(folder / f"{name}_image.nrrd"))
    mask = SimpleITK.ReadImage(str(folder / f"{name}_label.nrrd"))
    array = SimpleITK.GetArrayFromImage(image)
    return _volume(array, image.GetSpacing()[::-1]), SimpleITK.GetArrayFromImage(mask) == 1


def baseline(case: str) -> dict[str, tuple[dict[str, object], dict[str, float]]]:
    """Return the settings and the features of each class that has this case."""
    found = {}
    for name in CLASSES:
        path = shared_data("reference-values/pyradiomics/baseline") / f"baseline_{name}.csv"
        rows = list(csv.reader(path.read_text().splitlines()))
        if case not in rows[0]:
            continue
        column = {row[0]: row[rows[0].index(case)] for row in rows[1:]}
        values = {key: float(x) for key, x in column.items() if key.startswith("original_")}
        said = column["diagnostics_Configuration_Settings"]
        found[name] = (ast.literal_eval(said), values)
    return found
