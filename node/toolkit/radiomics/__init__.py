"""Radiomics features by pyradiomics: named, in a fixed order, cached, in several processes.

Nothing heavy is loaded before the first extraction.
"""

from node.manifest_radiomics import radiomics_settings
from node.radiomics_codes import code_of, unit_of
from node.radiomics_settings import RadiomicsSettings, feature_names
from node.toolkit.radiomics.bias import n4, standardized
from node.toolkit.radiomics.extract import Features, NoFeatures, checked, extract
from node.toolkit.radiomics.many import Batch, extract_many

__all__ = [
    "Batch",
    "Features",
    "NoFeatures",
    "RadiomicsSettings",
    "checked",
    "code_of",
    "extract",
    "extract_many",
    "feature_names",
    "n4",
    "radiomics_settings",
    "standardized",
    "unit_of",
]
