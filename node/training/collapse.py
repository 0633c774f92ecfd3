"""A model that learned nothing looks like a result; `train` and `evaluate` ask the same (E14)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.manifest import Manifest
from node.plugin import Labels, Result

#: UCUM units of numbers that say how likely or how much of something, not how large.
_PROPORTIONS = frozenset({"1", "%", "{score}", "{probability}", "{ratio}"})
#: So many cases with the same mask, or with the same number, are no chance.
_FEWEST_MASKS, _FEWEST_NUMBERS = 2, 3
_EQUAL = 1e-4
_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said of one case: no masks, only what tells whether it learned anything."""

    #: Whether somebody outlined something; None: nobody looked.
    truth: bool | None
    #: Part of the grid that each segment fills, 0.0 where it is not there.
    filled: Mapping[str, float]
    #: Part of the grid that its reference fills, where there is one.
    outlined: Mapping[str, float] = field(default_factory=dict)
    #: A hash of each segment that holds something: of which voxels they are.
    masks: Mapping[str, str] = field(default_factory=dict)
    #: Values of each measurement, by finding.
    values: Mapping[str, tuple[float, ...]]


def answer_of(result: Result, labels: Labels) -> Answer:
    """Return what counts of a result; several findings of a segment are one mask together."""
    found: dict[str, NDArray[np.bool_]] = {}
    for segment in result.segments:
        here = np.asarray(segment.mask) != 0
        found[segment.name] = found[segment.name] | here if segment.name in found else here
    values: dict[str, tuple[float, ...]] = {}
    for one in sorted(result.measurements, key=lambda m: (m.name, m.finding)):
        values[one.name] = (*values.get(one.name, ()), one.value)
    truth = any(bool(mask.any()) for mask in labels.masks.values()) if labels.masks else None
    return Answer(
        truth=truth,
        filled={name: float(mask.mean()) for name, mask in found.items()},
        outlined={name: float(mask.mean()) for name, mask in labels.masks.items()},
        masks={name: _digest(mask) for name, mask in found.items() if mask.any()},
        values=values,
    )


def _digest(mask: NDArray[Any]) -> str:
    """Return a hash of which voxels a mask holds, whatever the number of slices above them."""
    last = int(np.flatnonzero(mask.any(axis=(1, 2)))[-1])
    kept = np.packbits(mask[: last + 1]).tobytes()
    return hashlib.sha256(repr(mask.shape[1:]).encode() + kept).hexdigest()


def collapsed(manifest: Manifest, answers: Sequence[Answer]) -> str:
    """Return why these answers are those of a model that learned nothing; "" if they are not."""
    seen = [one for one in answers if one.truth]
    if manifest.segments and seen and not any(any(one.filled.values()) for one in seen):
        return f"its masks are empty in all {len(seen)} cases that have a region"
    return _of_masks(answers) or _of_numbers(manifest, answers)


def _of_masks(answers: Sequence[Answer]) -> str:
    count = len(answers)
    for name in sorted(set(_names(one.filled for one in answers))):
        if all(one.filled.get(name, 0.0) >= _most(one, name) for one in answers):
            return f"its mask `{name}` fills half of the image or more in all {count} cases"
        masks = [one.masks.get(name, "") for one in answers]
        if count >= _FEWEST_MASKS and masks[0] and len(set(masks)) == 1:
            return f"its mask `{name}` is the same in all {count} cases"
    return ""


def _most(answer: Answer, name: str) -> float:
    """Return which part of the image nothing that was learned fills.

    Half, where somebody outlined less than that; else all of it: a segment may be the body.
    """
    return _HALF if answer.outlined.get(name, 1.0) < _HALF else 1.0 - _EQUAL


def _of_numbers(manifest: Manifest, answers: Sequence[Answer]) -> str:
    said = set(_names(one.values for one in answers))
    if manifest.evaluation:  # other numbers of a classifier may well be alike
        probability = manifest.evaluation.probability
        if answers and probability not in said:
            return f"no case has a `{probability}`"
        said = {probability}
    for name in sorted(said):
        values = [one.values.get(name, ()) for one in answers]
        if manifest.evaluation:  # a run that failed is counted elsewhere
            values = [each for each in values if each]
        if len(values) >= _FEWEST_NUMBERS and _constant(manifest, name, values):
            return f"`{name}` is {values[0][0]:g} in all {len(values)} cases"
    return ""


def _names(each: Iterable[Mapping[str, object]]) -> Iterable[str]:
    return (name for one in each for name in one)


def _constant(manifest: Manifest, name: str, values: Sequence[tuple[float, ...]]) -> bool:
    """Return whether a number that should tell cases apart is the same in all of them.

    Sizes of findings may be alike by chance of whole voxels, and a count of findings may be one
    everywhere: only proportions are looked at, and all numbers of a plugin without segments.
    """
    flat = [value for each in values for value in each]
    if not all(values) or max(flat) - min(flat) > _EQUAL * max(1.0, abs(flat[0])):
        return False
    if manifest.evaluation or not manifest.segments:
        return True
    unit = manifest.measurements[name].unit.value
    return unit in _PROPORTIONS and (flat[0] <= 0.0 or not float(flat[0]).is_integer())
