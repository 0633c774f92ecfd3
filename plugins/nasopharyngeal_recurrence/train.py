"""How signatures are learned: features are selected and a classifier fitted, model by model."""

import hashlib
import tomllib
from contextlib import suppress
from dataclasses import replace

import numpy as np
from prepare import (
    CLASSIFIERS,
    FOLDER,
    LEARNED_WITH,
    MADE_OF,
    SEQUENCES,
    SETTINGS,
    TUMOR,
    blocks_of,
    comparable,
    measured,
    model_named,
    names_in,
    names_of,
    region_of,
    table_with,
)

from node.phantom.altered import reread
from node.toolkit.radiomics import NoFeatures
from node.toolkit.signature import (
    Cases,
    SignatureSettings,
    Table,
    compare_classifiers,
    enrichment,
    fit_signature,
    permutation_aurocs,
    settings_array,
)
from node.toolkit.signature.shown import families_of
from node.toolkit.training import institutions_of, patients_of

LABELS = {"recurrence": ["no", "yes"]}
#: Two sequences x three models x five classifiers: the 30 models, the default first.
MODELS = tuple(f"{s}-{m}-{c}" for s in SEQUENCES for m in ("II", "I", "III") for c in CLASSIFIERS)
BLOCKS = tuple(dict.fromkeys(block for s in SEQUENCES for block in blocks_of(s, "III")))
#: Our choices; the paper says LASSO and no more. Clinical values are kept as they are.
HOW = SignatureSettings(
    icc_least=0.95,
    univariate_p=0.001,
    correlation_most=0.8,
    rule="min",
    whole=("clinical",),
    scores=True,
)
#: Of every so many cases that one reader outlined one is measured twice: outlined a little
#: otherwise, scanned noisier.
TWICE, MOVED_MM, GROWN_MM = 4, 1.0, 0.8
#: Of the second scan, as a share of the tumour's mean signal.
NOISE = 0.05
_AGAIN = "_again"


def examples(case, labels):
    """Return all features of both sequences, of some cases twice; clinical values; the outcome."""
    found, images = measured(case, names_in(BLOCKS)), [b for b in BLOCKS if b != "clinical"]
    again = {block: np.full(len(names_of(block)), np.nan) for block in images}
    mask = region_of(case, SEQUENCES[0])
    chance = np.random.default_rng(list(hashlib.sha256(mask.tobytes()).digest()))
    if second := second_reading(case, labels, chance):
        with suppress(NoFeatures):  # a second outline is too small: read once
            again = measured(second, names_in(images))
    return {
        **found,
        **{f"{block}{_AGAIN}": values for block, values in again.items()},
        "outcome": np.array(labels.values["recurrence"] == "yes"),
    }


def second_reading(case, labels, chance):
    """Return a case as a second reader outlined it, else now and then a simulated one, or None."""
    if labels.second_rois:
        return replace(case, rois=labels.second_rois)
    return reread_of(case, chance) if chance.integers(TWICE) == 0 else None


def reread_of(case, chance):
    """Return a case as noisier scanners and another hand would have made it."""
    volumes, rois = dict(case.volumes), dict(case.rois)
    for role in SEQUENCES:
        volume, (roi,) = case.volumes[role], case.rois[TUMOR[role]]
        noise = NOISE * float(volume.array[roi.mask].mean())
        volumes[role], mask = reread(
            volume, roi.mask, chance, moved_mm=MOVED_MM, grown_mm=GROWN_MM, noise=noise
        )
        rois[TUMOR[role]] = (replace(roi, mask=mask),)
    return replace(case, volumes=volumes, rois=rois)


def score(case):
    """Return what simple rules say: how large and how bright the tumour is, what clinics know."""
    found = {}
    for role in SEQUENCES:
        stored, mask = case.volumes[role], region_of(case, role)
        found[f"mean signal, {role}"] = float(comparable(stored).array[mask].mean())
        found[f"mean stored value, {role}"] = float(stored.array[mask].mean())
    volume = case.volumes["t2"]
    found["volume"] = float(np.count_nonzero(region_of(case, "t2")) * volume.voxel_volume_mm3)
    for name in ("ebv_dna", "n_category", "age"):
        value = case.values.get(name)
        found[name] = float(str(value).lstrip("n")) if value is not None else 0.0
    return found


def fit(examples, *, seed, run):
    """Return the signature that is asked for, and that of radiomics alone to compare it with."""
    cases = [*examples.train, *examples.tuning]
    name = run.model or SETTINGS["model"]
    sequence, _, classifier = model_named(name)
    model = learned(name, cases, seed, run.workers)
    run.progress(1, 2)
    radiomic = learned(f"{sequence}-I-{classifier}", cases, seed, run.workers)
    run.progress(2, 2)
    threshold = round(float(np.clip(model.threshold, 0.01, 0.99)), 3)
    return {
        "weights.safetensors": {
            **settings_array({**LEARNED_WITH, "model": name}),
            **model.arrays("model."),
            **radiomic.arrays("radiomic."),
        },
        "parameters": {"model": name, "threshold": threshold},
    }


def learned(name, cases, seed, workers=1):
    """Return the signature of one of `MODELS`."""
    sequence, model, classifier = model_named(name)
    how = replace(HOW, classifier=classifier, seed=seed)
    return fit_signature(known_of(cases, sequence, model), how, workers=workers)


def known_of(examples, sequence, model):
    """Return what is known of cases, with the features of one sequence and model."""
    cases = list(examples)
    blocks = dict(table_with(cases, names_in(blocks_of(sequence, model))).blocks)
    for name, block in blocks.items():
        if name != "clinical":
            second = np.stack([one[f"{name}{_AGAIN}"] for one in cases])
            blocks[name] = replace(block, second=second)
    return Cases(
        Table(blocks=blocks),
        [bool(one["outcome"]) for one in cases],
        patients_of(cases),
        institutions_of(cases),
    )


def compare(examples, *, seed, run):
    """Return all 30 models, judged on the cases learned from and on the tuning cases."""
    rows, how = [], replace(HOW, seed=seed)
    for number, sequence in enumerate(SEQUENCES):
        models = {f"{sequence} {name}": blocks_of(sequence, name) for name in MADE_OF}
        rows += compare_classifiers(
            known_of(examples.train, sequence, "III"),
            how,
            models=models,
            classifiers=CLASSIFIERS,
            held_out=known_of(examples.tuning, sequence, "III") if examples.tuning else None,
            workers=run.workers,
            advance=lambda done, total, n=number: run.progress(n + done / total, len(SEQUENCES)),
        )
    return rows


def permuted(examples, *, seed, run, runs):
    """Return the AUROC of each run with mixed outcomes: what ships, learned anew in every fold."""
    sequence, model, classifier = model_named(run.model or SETTINGS["model"])
    return permutation_aurocs(
        known_of([*examples.train, *examples.tuning], sequence, model),
        replace(HOW, classifier=classifier, seed=seed),
        runs=runs,
        workers=run.workers,
        advance=run.progress,
    )


def causes_kept(block, kept):
    """Return how far kept features are those that the cohort's causes show in; None: of no block.

    Which deep features show what, nobody knows.
    """
    if not block.endswith("radiomic"):
        return None
    path = FOLDER / "families.toml"
    families = tomllib.loads(path.read_text(encoding="utf-8"))[block]
    return enrichment(kept, families_of(names_of(block), families), tuple(families))
