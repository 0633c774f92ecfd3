"""How the signature is learned, and the nomogram on top of it."""

import hashlib
import tomllib
from contextlib import suppress
from dataclasses import replace

import numpy as np
from plugin import nomogram_arrays
from prepare import (
    BLOCKS,
    FOLDER,
    LEARNED_WITH,
    SETTINGS,
    factors_of,
    measured,
    names_of,
    pathology_of,
    region_of,
)

from node.phantom.altered import reread
from node.toolkit.diameters import longest_3d_mm
from node.toolkit.logistic import fit_logistic
from node.toolkit.radiomics import NoFeatures
from node.toolkit.signature import (
    CLASSIFIERS,
    Block,
    Cases,
    SignatureSettings,
    Table,
    compare_classifiers,
    enrichment,
    fit_signature,
    nested_auroc,
    permutation_aurocs,
    settings_array,
)
from node.toolkit.signature.shown import families_of
from node.toolkit.training import institutions_of, patients_of

LABELS = {"nodal_metastasis": ["no", "yes"]}
#: The first is learned where nothing else is said.
MODELS = (SETTINGS["classifier"], *(one for one in CLASSIFIERS if one != SETTINGS["classifier"]))
#: Our choices; the paper states none of them.
HOW = SignatureSettings(
    icc_least=0.9, univariate_p=0.05, correlation_most=0.9, rule="1se", lasso_folds=10
)
#: Of every so many cases that one reader outlined one is measured twice: outlined a little
#: otherwise, scanned noisier.
TWICE, SECOND_READING = 4, {"moved_mm": 1.0, "grown_mm": 0.8, "noise": 8.0}
#: A nomogram of fewer patients would be made up.
FEWEST = 60
_RIDGE = 1e-2


def examples(case, labels):
    """Return all features, of some cases twice; what pathology found; and the outcome."""
    volume, mask = region_of(case)
    found, names = measured(volume, mask), {block: len(names_of(block)) for block in BLOCKS}
    again = {block: np.full(count, np.nan) for block, count in names.items()}
    chance = np.random.default_rng(list(hashlib.sha256(mask.tobytes()).digest()))
    if second := second_reading(case, labels, chance):
        with suppress(NoFeatures):  # the second outline is too small: read once
            again = measured(*second)
    return {
        **found,
        **{f"{block}_again": values for block, values in again.items()},
        "pathology": pathology_of(case.values),
        "outcome": np.array(labels.values["nodal_metastasis"] == "yes"),
    }


def second_reading(case, labels, chance):
    """Return image and region by a second reader, else now and then simulated ones, or None."""
    if labels.second_rois:
        return region_of(replace(case, rois=labels.second_rois))
    if chance.integers(TWICE) == 0:
        return reread(*region_of(case), chance, **SECOND_READING)
    return None


def score(case):
    """Return what simple rules say: how large and how bright the tumour is, how much it varies."""
    volume, mask = region_of(case)
    return {
        "volume": float(np.count_nonzero(mask) * volume.voxel_volume_mm3 / 1000),
        "diameter": longest_3d_mm(mask, volume.affine),
        "mean HU": float(volume.array[mask].mean()),
    }


def fit(examples, *, seed, run):
    """Return signature and nomogram, and the threshold for the manifest."""
    found = [*examples.train, *examples.tuning]
    cases = known_of(found)
    how = replace(HOW, seed=seed, classifier=run.model or SETTINGS["classifier"])
    signature = fit_signature(cases, how, workers=run.workers)
    run.progress(1, 2, threshold=signature.threshold)
    judged = nested_auroc(cases, how, workers=run.workers)
    figures = {"threshold": signature.threshold, "auroc": judged.auroc.estimate}
    run.progress(2, 2, **figures)
    # The nomogram learns from what was said of patients that the signature had not seen.
    with_settings = settings_array({**LEARNED_WITH, "classifier": how.classifier})
    arrays = {
        **with_settings,
        **signature.arrays("rdp."),
        **nomogram(found, judged.probability, judged.outcome),
    }
    threshold = round(float(np.clip(signature.threshold, 0.01, 0.99)), 3)
    parameters = {"threshold": threshold, "classifier": how.classifier}
    return {"weights.safetensors": arrays, "parameters": parameters}


def nomogram(cases, probability, outcome):
    """Return the arrays of the nomogram; none where too few patients have pathology."""
    pathology = np.stack([one["pathology"] for one in cases])
    known = np.isfinite(pathology).all(axis=1)
    if known.sum() < FEWEST or len(set(outcome[known].tolist())) < 2:
        return {}
    factors = factors_of(probability[known], pathology[known])
    return nomogram_arrays(fit_logistic(factors, outcome[known], ridge=_RIDGE))


def compare(examples, *, seed, run):
    """Return the ten classifiers, judged on the cases learned from and on the tuning cases."""
    return compare_classifiers(
        known_of(examples.train),
        replace(HOW, seed=seed),
        classifiers=CLASSIFIERS,
        held_out=known_of(examples.tuning) if examples.tuning else None,
        workers=run.workers,
        advance=lambda done, total: run.progress(done, total),
    )


def known_of(examples):
    """Return what is known of cases: those measured twice have both tables."""
    cases = list(examples)
    table = Table(
        blocks={
            block: Block(
                names=names_of(block),
                values=np.stack([one[block] for one in cases]).astype(np.float64),
                second=np.stack([one[f"{block}_again"] for one in cases]).astype(np.float64),
            )
            for block in BLOCKS
        }
    )
    outcome = [bool(one["outcome"]) for one in cases]
    return Cases(table, outcome, patients_of(cases), institutions_of(cases))


def permuted(examples, *, seed, run, runs):
    """Return the AUROC of each run with mixed outcomes: what ships, learned anew in every fold."""
    return permutation_aurocs(
        known_of([*examples.train, *examples.tuning]),
        replace(HOW, seed=seed, classifier=run.model or SETTINGS["classifier"]),
        runs=runs,
        workers=run.workers,
        advance=run.progress,
    )


def causes_kept(block, kept):
    """Return how far kept features are those that the cohort's causes show in; None: of no block.

    Which deep features show what, nobody knows.
    """
    if block != "radiomic":
        return None
    table = tomllib.loads((FOLDER / "cohort.toml").read_text(encoding="utf-8"))
    families = families_of(names_of(block), table["families"])
    return enrichment(kept, families, tuple(table["families"]))
