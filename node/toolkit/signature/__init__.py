"""Signatures: features selected, a classifier learned, judged and shipped as plain arrays.

Running one needs NumPy only; learning needs scikit-learn, and for two of the classifiers XGBoost
or LightGBM.
"""

from node.toolkit.signature.chance import Enrichment, enrichment, permutation_aurocs
from node.toolkit.signature.comparing import Compared, compare_classifiers
from node.toolkit.signature.fitting import fit_signature
from node.toolkit.signature.folds import check_blind, check_folds, check_scaling
from node.toolkit.signature.judging import Judged, cross_validated, judged_on, nested_auroc
from node.toolkit.signature.learned_with import check_settings, settings_array
from node.toolkit.signature.signature import Kept, Signature, kept_names, prefixes_of
from node.toolkit.signature.table import (
    CLASSIFIERS,
    HOLDS_PATIENTS,
    Block,
    Cases,
    SignatureSettings,
    Table,
    Truth,
    only,
    table_of,
)

__all__ = [
    "CLASSIFIERS",
    "HOLDS_PATIENTS",
    "Block",
    "Cases",
    "Compared",
    "Enrichment",
    "Judged",
    "Kept",
    "Signature",
    "SignatureSettings",
    "Table",
    "Truth",
    "check_blind",
    "check_folds",
    "check_scaling",
    "check_settings",
    "compare_classifiers",
    "cross_validated",
    "enrichment",
    "fit_signature",
    "judged_on",
    "kept_names",
    "nested_auroc",
    "only",
    "permutation_aurocs",
    "prefixes_of",
    "settings_array",
    "table_of",
]
