"""`sentinel-node train`: cases, examples, `fit`, a look at what came out, and only then files."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node import __version__
from node.errors import LearningError
from node.manifest import Manifest
from node.manifest_file import MANIFEST_NAME, parse_manifest
from node.plugin_files import file_hashes
from node.toolkit.training import write_whole
from node.toolkit.workers import Workers, fit_threads
from node.training.answers import Answered, answers
from node.training.cases import Task, phantom_tasks, tasks_of
from node.training.collapse import Answer, answer_of, collapsed
from node.training.examples import Made, keys_of, make_examples
from node.training.fitting import Fitted, fit
from node.training.fitting_process import FitJob
from node.training.folder import studies_of
from node.training.manifest_edit import edited
from node.training.plugin_code import Abilities, abilities, model_of
from node.training.relevant import PROVENANCE, manifest_part, parameters_before
from node.training.splits import TRAIN_SPLIT, TUNING_SPLIT, check_seed
from node.training.store import Store, check_new_folder, check_writable, sha256_of

#: So many tuning cases are run before weights count as a result.
_LOOKED_AT = 8
#: Each phantom costs about a second to render and some megabytes to keep.
MOST_PHANTOMS = 10_000
FEWEST_TO_TRAIN, FEWEST_TO_EVALUATE = 2, 1

#: Called with the stage, what is done, how much there is, and figures.
Progress = Callable[[str, float, float, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What `train` and `evaluate` are both asked for."""

    plugin: Path
    #: A data folder, or so many phantoms.
    data: Path | None = None
    phantoms: int | None = None
    seed: int = 0
    device: str = "cpu"
    store: Path


@dataclass(frozen=True, kw_only=True)
class TrainOrder(Order):
    """What `train` was asked for."""

    #: A new folder for the trained plugin; None: into the plugin itself.
    out: Path | None
    #: For `fit`; None: until it stops by itself.
    minutes: float | None = None
    #: Neither examples nor checkpoint of an earlier call.
    fresh: bool = False
    #: One of the plugin's `MODELS`; "": the first of them.
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave."""

    folder: Path
    manifest: Manifest
    fitted: Fitted
    train: int
    tuning: int


def train(order: TrainOrder, progress: Progress) -> Trained:
    """Train a plugin and write it, weights, hashes and provenance included.

    Raises
    ------
    LearningError
        If data, code or result are not what they must be; then nothing is written over.
    ManifestError
        If the plugin is none.
    """
    manifest = parse_manifest(order.plugin)
    check_source(order.data, order.phantoms, fewest=FEWEST_TO_TRAIN)
    if order.out is not None:
        check_new_folder(order.out, outside=order.plugin)
    else:
        check_writable(order.plugin)
    store = Store(order.store)
    store.prune(time.time())
    with Workers() as workers:
        able = workers.one(abilities, order.plugin)
        _check_able(manifest, able, order)
        model = model_of(able, order.model)
        tasks, made = examples_of(order, able, workers, progress, fresh=order.fresh)
    with store.alone_in(_run_key(order, model, tasks, store), fresh=order.fresh) as run:
        job = FitJob(
            plugin=order.plugin,
            train=made[TRAIN_SPLIT],
            tuning=made[TUNING_SPLIT],
            seed=order.seed,
            device=order.device,
            threads=fit_threads(),
            max_seconds=None if order.minutes is None else 60.0 * order.minutes,
            folder=run,
            model=model,
            parts=able.parts,
        )
        fitted = fit(job, lambda done, total, figures: progress("fit", done, total, figures))
        candidate = _candidate(order, manifest, fitted, job, made, run)
        try:
            _check_learned(candidate, tasks_of(tasks, TUNING_SPLIT), order, progress)
        except LearningError as error:
            if error.code == "MODEL_COLLAPSED":
                store.drop(run)  # the same weights would only be refused again
            raise
        folder = _publish(candidate.folder, order)
        store.drop(run)
        return Trained(
            folder=folder,
            manifest=parse_manifest(folder),
            fitted=fitted,
            train=len(job.train),
            tuning=len(job.tuning),
        )


def examples_of(
    order: Order, able: Abilities, workers: Workers, progress: Progress, *, fresh: bool
) -> tuple[tuple[Task, ...], dict[str, tuple[Made, ...]]]:
    """Return the cases that are learned from and tuned on, and their examples by split."""
    store = Store(order.store)
    tasks = _tasks(order, able, workers, store, progress)
    made = {
        split: make_examples(
            tasks_of(tasks, split),
            workers=workers,
            store=store,
            fresh=fresh,
            advance=partial(_advance, progress, f"{split} examples"),
        )
        for split in (TRAIN_SPLIT, TUNING_SPLIT)
    }
    _check_distinct(made[TRAIN_SPLIT], made[TUNING_SPLIT])
    return tasks, made


def check_source(data: Path | None, phantoms: int | None, *, fewest: int) -> None:
    """Raise `LearningError` unless there is a data folder or a number of phantoms, not both."""
    if (data is None) == (phantoms is None):
        raise LearningError("give either --data DIR or --phantom N")
    if phantoms is not None:
        check_count("--phantom", phantoms, fewest=fewest)


def check_count(option: str, phantoms: int, *, fewest: int) -> None:
    """Raise `LearningError` unless so many phantoms can be of use, and be made."""
    if phantoms < fewest:
        raise LearningError(f"{option} {phantoms} is too few; give at least {fewest}")
    if phantoms > MOST_PHANTOMS:
        raise LearningError(
            f"{option} {phantoms} is too many; give at most {MOST_PHANTOMS}: each takes about a "
            "second to render and some megabytes of disk"
        )


def check_cohort(manifest: Manifest, able: Abilities) -> None:
    """Raise `LearningError` unless the plugin has phantoms whose law was fixed before (E11)."""
    if not able.has_cohort:
        raise LearningError(
            f"{manifest.name} has no cohort.py, so there are no phantoms of it; use --data, or "
            "see docs/train.md"
        )
    if manifest.cohort is None:
        raise LearningError(
            f"plugin.toml of {manifest.name} has no [cohort] with file and sha256; the law of the "
            "phantoms is fixed before anything is trained on them (docs/train.md)"
        )


def check_functions(manifest: Manifest, able: Abilities, order: Order, *names: str) -> None:
    """Raise `LearningError` unless ``train.py`` has these functions, and seed and cohort serve."""
    missing = [name for name in names if name not in able.train]
    if missing:
        what = {"compare": "compared", "permuted": "permuted"}.get(missing[0], "trained")
        raise LearningError(
            f"{manifest.name} cannot be {what}: no function `{missing[0]}` in a train.py beside "
            "plugin.toml (docs/train.md)"
        )
    check_seed("--seed", order.seed)
    if order.phantoms is not None:
        check_cohort(manifest, able)


def _check_able(manifest: Manifest, able: Abilities, order: TrainOrder) -> None:
    check_functions(manifest, able, order, "examples", "fit")
    if order.minutes is not None and not order.minutes > 0:
        raise LearningError(f"--minutes {order.minutes:g} is no time; give more than 0")


def _tasks(
    order: Order, able: Abilities, workers: Workers, store: Store, progress: Progress
) -> tuple[Task, ...]:
    if order.phantoms is not None:
        tuning = max(4, order.phantoms // 8)
        return (
            *phantom_tasks(order.plugin, TRAIN_SPLIT, order.phantoms, order.seed),
            *phantom_tasks(order.plugin, TUNING_SPLIT, tuning, order.seed),
        )
    assert order.data is not None
    tasks = studies_of(
        order.data,
        order.plugin,
        able.labels,
        workers=workers,
        store=store,
        advance=partial(_advance, progress, "look at studies"),
    )
    for split in (TRAIN_SPLIT, TUNING_SPLIT):
        if not tasks_of(tasks, split):
            raise LearningError(
                f"no patient is in split {split}; add patients, or say the split in a column "
                "`split` (train, tuning, test)",
                code="DATA_INVALID",
            )
    return tasks


def _advance(progress: Progress, stage: str, done: int, total: int) -> None:
    progress(stage, done, total, {})


def _check_distinct(train: Sequence[Made], tuning: Sequence[Made]) -> None:
    shared = {one.content for one in train} & {one.content for one in tuning}
    if shared:
        raise LearningError(
            f"leak: {len(shared)} cases of split tuning have the same images as cases of split "
            "train; `subjects` of cohort.py must draw by its split and seed"
        )


def _run_key(order: TrainOrder, model: str, tasks: Sequence[Task], store: Store) -> str:
    """Return a key for all that decides the outcome: only the same command finds the same run."""
    hashes = file_hashes(order.plugin)
    code = sorted(f"{name} {sha}" for name, sha in hashes.items() if name.endswith(".py"))
    asked = f"{order.seed} {order.minutes} {order.device} {fit_threads()}"
    asked += f" {model}" if model else ""
    return store.key("run", *code, manifest_part(order.plugin), *keys_of(tasks, store), asked)


def _candidate(
    order: TrainOrder,
    manifest: Manifest,
    fitted: Fitted,
    job: FitJob,
    made: Mapping[str, Sequence[Made]],
    run: Path,
) -> Manifest:
    """Return the trained plugin in a folder of its own, as it would be published."""
    folder = run / "candidate" / order.plugin.resolve().name
    shutil.rmtree(folder, ignore_errors=True)
    # A card that speaks of other weights would be untrue of these.
    left = ("__pycache__", "*.pyc", *(("README.md",) if order.data and order.out else ()))
    shutil.copytree(order.plugin, folder, ignore=shutil.ignore_patterns(*left))
    for name, path in fitted.weights.items():
        shutil.copyfile(path, folder / name)
    hashes = dict(manifest.weights) | {n: sha256_of(p) for n, p in fitted.weights.items()}
    words = {"grade": "phantom", "training": _sentence(order, len(job.train))}
    if order.out is not None:
        words["version"] = _version(manifest.version, hashes)
    text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
    (folder / MANIFEST_NAME).write_text(
        edited(text, words, hashes, fitted.parameters), encoding="utf-8"
    )
    provenance = _provenance(order, manifest, fitted, job, made)
    (folder / PROVENANCE).write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    return parse_manifest(folder)


def _sentence(order: TrainOrder, count: int) -> str:
    if order.phantoms is not None:
        return f"trained on {count} synthetic phantoms (seed {order.seed}), no clinical validity"
    return f"trained on {count} studies of a data folder (seed {order.seed}), not evaluated"


def _version(version: str, hashes: Mapping[str, str]) -> str:
    """Return the version with a word for its weights; 32 characters at most."""
    suffix = hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()[:8]
    return f"{version.partition('+')[0][:14]}+trained.{suffix}"


def _provenance(
    order: TrainOrder,
    manifest: Manifest,
    fitted: Fitted,
    job: FitJob,
    made: Mapping[str, Sequence[Made]],
) -> dict[str, object]:
    """Return where the weights come from; no identity, no path."""
    return {
        "plugin": manifest.name_version,
        "trained_from_digest": manifest.digest,
        "data": "phantoms" if order.phantoms is not None else "folder",
        "cohort_sha256": manifest.cohort.sha256 if manifest.cohort and order.phantoms else "",
        "train": len(job.train),
        "tuning": len(job.tuning),
        "seed": order.seed,
        "device": job.device,
        "threads": fitted.threads,
        "minutes": order.minutes,
        "model": job.model,
        "parameters": dict(fitted.parameters),
        "parameters_before": parameters_before(order.plugin, fitted.parameters),
        "fit_seconds": fitted.seconds,
        "progress": {"done": fitted.done, "total": fitted.total},
        "figures": dict(fitted.figures),
        "weights": {
            name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
            for name, path in fitted.weights.items()
        },
        "versions": {"sentinel-node": __version__, **fitted.versions},
        # What `evaluate` must not be given again.
        "cases": " ".join(sorted(one.content[:16] for each in made.values() for one in each)),
        "slices": " ".join(
            sorted(few for each in made.values() for one in each for few in one.slices)
        ),
    }


def _check_learned(
    candidate: Manifest, tuning: Sequence[Task], order: TrainOrder, progress: Progress
) -> None:
    """Raise `LearningError` if the weights say the same, or nothing, of every tuning case."""
    looked_at = tuning[:_LOOKED_AT]
    with Workers(1) as workers:
        found = answers(
            (candidate,),
            looked_at,
            workers=workers,
            device=order.device,
            with_scores=False,
            store=Store(order.store),
        )
        said = _said(found, len(looked_at), progress)
    why = collapsed(candidate, said)
    if why:
        raise LearningError(
            f"the model collapsed on the tuning cases: {why}; nothing was written. "
            "Train longer, on more cases, or with another --seed",
            code="MODEL_COLLAPSED",
        )


def _said(
    found: Generator[tuple[Answered, ...], None, None], total: int, progress: Progress
) -> list[Answer]:
    said: list[Answer] = []
    with closing(found):
        for (answered,) in found:
            if answered.failure:
                raise LearningError(
                    f"the trained plugin fails on a tuning case: {answered.failure}",
                    code="PLUGIN_FAILED",
                )
            said.append(answer_of(answered.result, answered.loaded.labels))
            progress("look at the result", len(said), total, {})
    return said


def _publish(candidate: Path, order: TrainOrder) -> Path:
    """Put what is new or changed into its place, readable by whom the manifest was readable."""
    folder = order.plugin if order.out is None else order.out
    mode = (order.plugin / MANIFEST_NAME).stat().st_mode & 0o777
    files = [path for path in candidate.rglob("*") if path.is_file()]
    # The manifest last: it names the hashes of the others.
    for path in sorted(files, key=lambda p: (p.name == MANIFEST_NAME, p)):
        target, content = folder / path.relative_to(candidate), path.read_bytes()
        if not target.is_file() or target.read_bytes() != content:
            write_whole(target, content)
            target.chmod(mode)
    return folder
