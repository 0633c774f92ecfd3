"""`train.py` and `cohort.py` of a plugin, called; what they get wrong becomes one sentence.

Only worker processes import this code: two plugins may each have a ``net.py``.
"""

from __future__ import annotations

import re
import tomllib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError, NodeError
from node.inference.child import load_module
from node.manifest_file import MANIFEST_NAME
from node.phantom.subject import Subject, Variant
from node.plugin import Case, Labels
from node.toolkit.signature import Compared, Enrichment
from node.toolkit.training import Examples, TrainingRun
from node.training.manifest_edit import Parameter

TRAIN, COHORT = "train.py", "cohort.py"
_FUNCTIONS = ("examples", "fit", "score", "compare", "permuted", "causes_kept")
#: What a cohort may change of a subject (docs/evaluation.md).
VARIANT_KINDS = ("cause", "nuisance", "input", "swap", "blank", "control")
#: What `fit` may return beside weights files: values for ``[parameters]`` of plugin.toml.
_PARAMETERS = "parameters"
#: What a column of labels may hold: ``number``, ``text``, or one of these words.
Kind = str | tuple[str, ...]

_PATHS = re.compile(r"(?:/[^\s/'\":,;]+)+/")


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a plugin offers beside `run`; travels between processes."""

    #: Functions of ``train.py`` that are there.
    train: frozenset[str]
    has_cohort: bool
    #: Columns of the table of labels that it learns from.
    labels: Mapping[str, Kind]
    #: Whether its cohort knows how to change one thing of a subject.
    has_variants: bool = False
    #: Names that `train --model` takes, the one without it first.
    models: tuple[str, ...] = ()
    #: What learns apart, each in a process (`TrainingRun.part`).
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What `fit` returned: arrays by weights file, and values for ``[parameters]``."""

    weights: Mapping[str, Mapping[str, NDArray[Any]]]
    parameters: Mapping[str, Parameter]


def abilities(folder: Path) -> Abilities:
    """Import the plugin's learning code and return what it can."""
    train = _module(folder, TRAIN) if (folder / TRAIN).is_file() else None
    cohort = _module(folder, COHORT) if (folder / COHORT).is_file() else None
    if cohort is not None:
        for name in ("subjects", "render"):
            if not hasattr(cohort, name):
                raise LearningError(f"{COHORT} of {folder.name} has no function `{name}`")
    offered = {name for name in _FUNCTIONS if hasattr(train, name)}
    return Abilities(
        train=frozenset(offered),
        has_cohort=cohort is not None,
        labels={str(k): _kind(folder, k, v) for k, v in getattr(train, "LABELS", {}).items()},
        has_variants=hasattr(cohort, "variants"),
        models=tuple(str(name) for name in getattr(train, "MODELS", ())),
        parts=_parts(folder, getattr(train, "PARTS", ())),
    )


def model_of(able: Abilities, asked: str) -> str:
    """Return the plugin's model that is asked for, "" of a plugin that has but one."""
    if asked and asked not in able.models:
        there = (
            f"it has {', '.join(able.models)}" if able.models else "it has no MODELS in train.py"
        )
        raise LearningError(f"--model {asked} is no model of the plugin; {there}")
    return asked or (able.models[0] if able.models else "")


def examples(folder: Path, case: Case, labels: Labels) -> dict[str, NDArray[Any]]:
    """Return what the plugin's `fit` needs of one case."""
    with plugin_code(folder, TRAIN, "examples"):
        made = _module(folder, TRAIN).examples(case, labels)
        return _arrays(made, f"`examples` of {folder.name}")


def score(folder: Path, case: Case) -> dict[str, NDArray[Any]]:
    """Return what simple rules without learning say; {} where there is no `score`."""
    function = getattr(_module(folder, TRAIN), "score", None)
    if function is None:
        return {}
    with plugin_code(folder, TRAIN, "score"):
        return _arrays(function(case), f"`score` of {folder.name}")


def fit(folder: Path, learned: Examples, *, seed: int, run: TrainingRun) -> Learned:
    """Return what the plugin's `fit` returns."""
    with plugin_code(folder, TRAIN, "fit"):
        weights = _module(folder, TRAIN).fit(learned, seed=seed, run=run)
    parameters = {}
    if isinstance(weights, Mapping) and _PARAMETERS in weights:
        parameters = _parameters(folder, weights[_PARAMETERS])
        weights = {name: arrays for name, arrays in weights.items() if name != _PARAMETERS}
    if not isinstance(weights, Mapping) or not weights:
        raise LearningError(
            f"`fit` of {folder.name} returned {_what(weights)}; it must return weights by file "
            'name: {"weights.safetensors": {"name": array}}'
        )
    for name in weights:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*\.safetensors", str(name)):
            raise LearningError(
                f"`fit` of {folder.name} names a weights file {str(name)!r}; use letters, digits "
                "and _ with the ending .safetensors"
            )
    return Learned(
        weights={
            name: _arrays(arrays, f"{name} of `fit`") for name, arrays in sorted(weights.items())
        },
        parameters=parameters,
    )


def _parameters(folder: Path, given: object) -> dict[str, Parameter]:
    """Return what `fit` found for ``[parameters]``: numbers and words, by keys that are there."""
    if not isinstance(given, Mapping):
        raise LearningError(f"`fit` of {folder.name} returned {_what(given)} as parameters")
    known = tomllib.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    found: dict[str, Parameter] = {}
    for key, value in given.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain, str | bool | int | float) or plain != plain:
            raise LearningError(
                f"`fit` of {folder.name} found {key} = {plain!r}; a parameter is a number or a word"
            )
        if key not in known.get("parameters", {}):
            raise LearningError(
                f"`fit` of {folder.name} found {key}, which [parameters] of plugin.toml lacks"
            )
        found[str(key)] = plain
    return found


def compare(
    folder: Path, learned: Examples, *, seed: int, run: TrainingRun
) -> list[dict[str, object]]:
    """Return the rows of a table of models, as JSON knows them."""
    with plugin_code(folder, TRAIN, "compare"):
        rows = list(_module(folder, TRAIN).compare(learned, seed=seed, run=run))
    for row in rows:
        if not isinstance(row, Compared):
            raise LearningError(
                f"`compare` of {folder.name} returned {_what(row)}; it must return what "
                "node.toolkit.signature.compare_classifiers does"
            )
    if not rows:
        raise LearningError(f"`compare` of {folder.name} compared nothing")
    return [row.document() for row in rows]


def permuted(
    folder: Path, learned: Examples, *, seed: int, run: TrainingRun, runs: int
) -> list[float]:
    """Return what the plugin's `permuted` returns: an AUROC of each run with mixed outcomes."""
    with plugin_code(folder, TRAIN, "permuted"):
        found = [
            float(one)
            for one in _module(folder, TRAIN).permuted(learned, seed=seed, run=run, runs=runs)
        ]
    if len(found) != runs or not all(0.0 <= one <= 1.0 for one in found):
        raise LearningError(
            f"`permuted` of {folder.name} returned {len(found)} numbers, not {runs} AUROCs from 0 "
            "to 1"
        )
    return found


def causes_kept(folder: Path, kept: Mapping[str, Sequence[str]]) -> dict[str, Enrichment]:
    """Return by block how far kept features are those that the cohort's causes show in."""
    with plugin_code(folder, TRAIN, "causes_kept"):
        function = _module(folder, TRAIN).causes_kept
        found = {block: function(block, tuple(names)) for block, names in kept.items()}
    for one in found.values():
        if not isinstance(one, Enrichment | None):
            raise LearningError(
                f"`causes_kept` of {folder.name} returned {_what(one)}, not an Enrichment "
                "(node.toolkit.signature.enrichment) nor None"
            )
    return {block: one for block, one in found.items() if one is not None}


@cache
def subjects(folder: Path, split: str, count: int, seed: int) -> Sequence[Any]:
    """Return the plans of a cohort, drawn once per process."""
    with plugin_code(folder, COHORT, "subjects"):
        plans: Sequence[Any] = _module(folder, COHORT).subjects(split, count, seed=seed)
        drawn = len(plans)
    if drawn != count:
        raise LearningError(
            f"`subjects` of {folder.name} drew {drawn} subjects of split {split}, {count} were "
            "asked for"
        )
    return plans


def variants(folder: Path, plan: Any) -> tuple[Variant, ...]:
    """Return the ways in which a cohort can change one thing of a subject."""
    with plugin_code(folder, COHORT, "variants"):
        found = tuple(_module(folder, COHORT).variants(plan))
    for one in found:
        if not isinstance(one, Variant) or one.kind not in VARIANT_KINDS:
            raise LearningError(
                f"`variants` of {folder.name} returned {getattr(one, 'kind', _what(one))!r}; give "
                f"each a kind of {', '.join(VARIANT_KINDS)} (node.phantom.subject.Variant)"
            )
    if len({one.name for one in found}) < len(found):
        raise LearningError(f"`variants` of {folder.name} gives one name to two changes")
    return found


def render(folder: Path, plan: Any) -> Subject:
    """Return the subject that a plan describes."""
    with plugin_code(folder, COHORT, "render"):
        subject = _module(folder, COHORT).render(plan)
    if not isinstance(subject, Subject):
        raise LearningError(
            f"`render` of {folder.name} returned {_what(subject)}, not a Subject "
            "(node.phantom.subject)"
        )
    return subject


@contextmanager
def plugin_code(folder: Path, file: str, function: str) -> Iterator[None]:
    """Turn whatever the plugin raises inside into one sentence with its place."""
    try:
        yield
    except NodeError:
        raise
    except (Exception, SystemExit) as error:
        message = _PATHS.sub("", str(error))[:400]
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_of(f, folder)]
        at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        raise LearningError(
            f"`{function}` in {file} of {folder.name} failed: {type(error).__name__}: "
            f"{message}{at}",
            code="PLUGIN_FAILED",
        ) from error


def _is_of(frame: traceback.FrameSummary, folder: Path) -> bool:
    return Path(frame.filename).is_relative_to(folder.resolve())


@cache
def _module(folder: Path, file: str) -> Any:
    if not (folder / file).is_file():
        raise LearningError(f"{folder.name} has no {file}; see docs/train.md")
    with plugin_code(folder, file, "import"):
        return load_module(folder, file)


def _parts(folder: Path, given: object) -> tuple[str, ...]:
    """Return names of parts: words that may name folders, each once."""
    parts = tuple(given) if isinstance(given, tuple | list) else ()
    words = all(
        isinstance(one, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,31}", one) for one in parts
    )
    if not words or len(set(parts)) < len(parts) or (given and not parts):
        raise LearningError(
            f"PARTS in {TRAIN} of {folder.name} = {given!r}; it is a tuple of different words of "
            "small letters, digits and _"
        )
    return parts


def _kind(folder: Path, column: object, given: object) -> Kind:
    if given in (float, int, "number"):
        return "number"
    if given in (str, "text"):
        return "text"
    if isinstance(given, tuple | list) and given and all(isinstance(word, str) for word in given):
        return tuple(given)
    raise LearningError(
        f"LABELS in {TRAIN} of {folder.name}: {column} = {given!r} is not float, str or a list "
        "of words"
    )


def _arrays(made: object, what: str) -> dict[str, NDArray[Any]]:
    if not isinstance(made, Mapping):
        raise LearningError(f"{what} returned {_what(made)}, not arrays by name")
    arrays = {str(name): np.asarray(value) for name, value in made.items()}
    for name, array in arrays.items():
        if array.dtype == object:
            raise LearningError(f"{what}: {name} is no array of numbers or text")
    return arrays


def _what(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__}"
