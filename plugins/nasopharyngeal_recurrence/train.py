"""How signatures are learned: features are selected and a classifier fitted, model by model."""

import tomllib
from dataclasses import replace

import numpy as np
from prepare import (
    CLASSIFIERS,
    FOLDER,
    PARTS,
    SEQUENCES,
    SETTINGS,
    blocks_of,
    comparable,
    measured,
    model_named,
    names_in,
    names_of,
    region_of,
    table_with,
)

from node.toolkit.signature import (
    Cases,
    SignatureSettings,
    compare_classifiers,
    enrichment,
    fit_signature,
    permutation_aurocs,
)
from node.toolkit.signature.shown import families_of
from node.toolkit.training import institutions_of, patients_of

LABELS = {"recurrence": ["no", "yes"]}
#: Two sequences x three models x five classifiers: the 30 models, the default first.
MODELS = tuple(f"{s}-{m}-{c}" for s in SEQUENCES for m in ("II", "I", "III") for c in CLASSIFIERS)
BLOCKS = tuple(dict.fromkeys(block for s in SEQUENCES for block in blocks_of(s, "III")))
#: Our choices; the paper says LASSO and no more. Clinical values are kept as they are.
HOW = SignatureSettings(univariate_p=0.05, correlation_most=0.95, rule="1se", whole=("clinical",))


def examples(case, labels):
    """Return all features of both sequences, the clinical values, and the outcome."""
    found = measured(case, names_in(BLOCKS))
    return {**found, "outcome": np.array(labels.values["recurrence"] == "yes")}


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
        "weights.safetensors": {**model.arrays("model."), **radiomic.arrays("radiomic.")},
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
    return Cases(
        table_with(cases, names_in(blocks_of(sequence, model))),
        [bool(one["outcome"]) for one in cases],
        patients_of(cases),
        institutions_of(cases),
    )


def compare(examples, *, seed, run):
    """Return all 30 models, judged on the cases learned from and on the tuning cases."""
    rows, how = [], replace(HOW, seed=seed)
    for number, sequence in enumerate(SEQUENCES):
        models = {f"{sequence} {name}": blocks_of(sequence, name) for name in PARTS}
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
    path = FOLDER / "cohort.toml"
    families = tomllib.loads(path.read_text(encoding="utf-8"))["families"]
    return enrichment(kept, families_of(names_of(block), families), tuple(families))
