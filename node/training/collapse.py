"""A model that learned nothing looks like a result; here it is refused (E14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.manifest import Manifest
from node.plugin import Labels, Result

#: UCUM units of numbers that say how likely or how much of something, not how large.
_PROPORTIONS = frozenset({"1", "%", "{score}", "{probability}", "{ratio}"})
_FEWEST = 3
_EQUAL = 1e-4


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said of one tuning case; nothing that depends on the size of an image."""

    #: Whether somebody outlined something; None: nobody looked.
    truth: bool | None
    #: Part of the grid that each segment fills, 0.0 where it is not there.
    filled: Mapping[str, float]
    #: Values of each measurement, by finding.
    values: Mapping[str, tuple[float, ...]]


def answer_of(result: Result, labels: Labels) -> Answer:
    """Return what counts of a result."""
    filled: dict[str, float] = {}
    for segment in result.segments:
        filled[segment.name] = filled.get(segment.name, 0.0) + float(segment.mask.mean())
    values: dict[str, tuple[float, ...]] = {}
    for one in sorted(result.measurements, key=lambda m: (m.name, m.finding)):
        values[one.name] = (*values.get(one.name, ()), one.value)
    truth = any(bool(mask.any()) for mask in labels.masks.values()) if labels.masks else None
    return Answer(truth=truth, filled=filled, values=values)


def collapsed(manifest: Manifest, answers: Sequence[Answer]) -> str:
    """Return why these answers are those of a model that learned nothing; "" if they are not."""
    seen = [one for one in answers if one.truth]
    if manifest.segments and seen and not any(any(one.filled.values()) for one in seen):
        return f"its masks are empty in all {len(seen)} tuning cases that have a region"
    if len(answers) < _FEWEST:
        return ""
    everywhere = [one.filled for one in answers if one.filled]
    for name in sorted({name for filled in everywhere for name in filled}):
        parts = [one.filled.get(name, 0.0) for one in answers]
        if min(parts) >= 1 - _EQUAL:
            return f"its mask `{name}` fills the whole image in all {len(answers)} tuning cases"
    said = {name for one in answers for name in one.values}
    if manifest.evaluation:  # other numbers of a classifier may well be alike
        said &= {manifest.evaluation.probability}
    for name in sorted(said):
        if _constant(manifest, answers, name):
            return f"`{name}` is {answers[0].values[name][0]:g} in all {len(answers)} tuning cases"
    return ""


def _constant(manifest: Manifest, answers: Sequence[Answer], name: str) -> bool:
    """Return whether a number that should tell cases apart is the same in all of them.

    Sizes of findings may be alike by chance of whole voxels, and a count of findings may be one
    everywhere: only proportions are looked at, and all numbers of a plugin without segments.
    """
    values = [one.values.get(name, ()) for one in answers]
    flat = [value for each in values for value in each]
    if not all(values) or max(flat) - min(flat) > _EQUAL * max(1.0, abs(flat[0])):
        return False
    if manifest.evaluation or not manifest.segments:
        return True
    unit = manifest.measurements[name].unit.value
    return unit in _PROPORTIONS and (flat[0] <= 0.0 or not float(flat[0]).is_integer())
