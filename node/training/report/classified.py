"""What an evaluation keeps of one case of a classifier: what was said, what is true, a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.manifest import EvaluationSpec
from node.plugin import Case, Labels, Result
from node.training.report.about import About, Known
from node.training.report.picture import Picture, take_picture

#: Fact of a cohort: the probability that its law gave the outcome.
ORACLE = "oracle"
_YES = ("yes", "true", "positive", "1")


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifiedCase:
    """One thing that was judged: a case, or one finding of it.

    Attributes
    ----------
    finding : int
        Number of the finding; 0: the whole case.
    outcome : bool
        Whether it has what is asked for.
    said : float or None
        The plugin's probability, from 0 to 1; None: it gave none.
    also, measured : mapping of measurement to float
        Other probabilities, and every measured number; what is missing is not in it.
    oracle : float or None
        The law's own probability; None where nobody knows it.
    rules : mapping of rule to float
        What simple rules say, on any scale.
    time : float or None
        Until the event or until last seen.
    event : bool or None
        Whether it happened.
    picture : Picture or None
    """

    known: Known
    finding: int
    outcome: bool
    said: float | None
    also: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    oracle: float | None = None
    rules: Mapping[str, float] = field(default_factory=dict)
    time: float | None = None
    event: bool | None = None
    picture: Picture | None = None

    @property
    def name(self) -> str:
        """Return what the case is called in the report."""
        number = f" finding {self.finding}" if self.finding else ""
        return f"{self.known.patient}{number}"

    @property
    def probability(self) -> float:
        """Return what counts: what was said, and the wrong answer where nothing was."""
        return (0.0 if self.outcome else 1.0) if self.said is None else self.said


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """One thing that was changed in many cases.

    Attributes
    ----------
    name, kind : str
        As the cohort's `Variant` says.
    pairs : tuple of (as drawn, changed)
    """

    name: str
    kind: str
    pairs: tuple[tuple[ClassifiedCase, ClassifiedCase], ...]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What can be told of a case without looking at its pixels."""

    patient: str
    outcome: bool
    features: Mapping[str, float | str]


@dataclass(frozen=True, kw_only=True)
class Classification(About):
    """One classifier on one set of cases."""

    spec: EvaluationSpec
    cases: tuple[ClassifiedCase, ...]
    changes: tuple[Change, ...] = ()
    #: Headers and geometry of the cases as drawn, and of the cohort's controls.
    scans: tuple[Scan, ...] = ()
    control_scans: tuple[Scan, ...] = ()


def classify_case(
    case: Case,
    labels: Labels,
    result: Result | None,
    *,
    known: Known,
    spec: EvaluationSpec,
    scores: Mapping[str, NDArray[np.generic]] | None = None,
    with_picture: bool = True,
) -> tuple[ClassifiedCase, ...]:
    """Compare what a plugin said with what is true: of the case, or of each of its findings.

    Parameters
    ----------
    case : Case
        What the plugin got.
    labels : Labels
        With ``values[outcome]``, or ``values[outcome_1]``, ``values[outcome_2]``… for findings.
    result : Result or None
        What `Plugin.run` returned; None: it failed.
    known : Known
        Identity and facts of the case.
    spec : EvaluationSpec
        Of the manifest.
    scores : mapping of rule to numbers
        What `score(case)` in the plugin's ``train.py`` returned: one for the case, or one for each
        finding; masks are passed over.

    Raises
    ------
    LearningError
        If a label is missing or is none.
    """
    return tuple(
        ClassifiedCase(
            known=of_finding(known, finding),
            finding=finding,
            outcome=is_positive(value, spec, known.patient),
            said=_probability(result, spec.probability, finding, spec),
            also=_numbers({n: _probability(result, n, finding, spec) for n in spec.also}),
            measured=_measured(result, finding),
            oracle=_fact(of_finding(known, finding), ORACLE),
            rules=_rules(scores or {}, finding),
            time=_number(labels.values.get(spec.time)) if spec.time else None,
            event=_event(labels.values.get(spec.event)) if spec.event else None,
            picture=_picture(case, result, finding) if with_picture else None,
        )
        for finding, value in truths(labels, spec, known.patient).items()
    )


def truths(labels: Labels, spec: EvaluationSpec, patient: str) -> dict[int, str | float]:
    """Return the label of the case as number 0, or that of each finding."""
    if spec.outcome in labels.values:
        return {0: labels.values[spec.outcome]}
    pattern = re.compile(rf"{re.escape(spec.outcome)}_([1-9]\d*)")
    found = {
        int(match[1]): value
        for name, value in labels.values.items()
        if (match := pattern.fullmatch(name))
    }
    if not found:
        raise LearningError(
            f"{patient} has no label `{spec.outcome}` (nor `{spec.outcome}_1`…); [evaluation] of "
            "plugin.toml names it"
        )
    return dict(sorted(found.items()))


def of_finding(known: Known, finding: int) -> Known:
    """Return what is known of one finding: its own facts without their number, and the patient's.

    Examples
    --------
    >>> node = of_finding(Known(patient="P", facts={"size_1": 5.0, "size_2": 9.0, "age": 60.0}), 2)
    >>> dict(node.facts)
    {'size': 9.0, 'age': 60.0}
    """
    if not finding:
        return known
    facts = {}
    for name, value in known.facts.items():
        match = re.fullmatch(r"(.+)_([1-9]\d*)", name)
        if match is None:
            facts[name] = value
        elif int(match[2]) == finding:
            facts[match[1]] = value
    return replace(known, facts=facts)


def is_positive(value: str | float, spec: EvaluationSpec, patient: str) -> bool:
    """Return whether a label says that the outcome is there."""
    if isinstance(value, str):
        return value.strip().casefold() == str(spec.positive).strip().casefold()
    if not isinstance(spec.positive, str):
        return float(value) == float(spec.positive)
    if spec.positive.casefold() in _YES and value in (0, 1):
        return bool(value)
    raise LearningError(
        f"{patient}: label `{spec.outcome}` = {value!r} is a number; [evaluation] positive says "
        f"{spec.positive!r}"
    )


def _probability(
    result: Result | None, name: str, finding: int, spec: EvaluationSpec
) -> float | None:
    value = _value(result, name, finding)
    return None if value is None else min(1.0, max(0.0, value / spec.scale))


def _value(result: Result | None, name: str, finding: int) -> float | None:
    """Return a measurement of one finding, or that of the study: its own, else the greatest."""
    found = [m for m in (result.measurements if result else ()) if m.name == name]
    if finding:
        numbered = [m for m in found if m.finding == finding]
        # That of a segment goes before one of the study, whose number means nothing.
        return next((m.value for m in sorted(numbered, key=lambda m: m.segment is None)), None)
    own = [m.value for m in found if m.segment is None]
    values = own if len(own) == 1 else [m.value for m in found]
    return max(values, default=None)


def _measured(result: Result | None, finding: int) -> dict[str, float]:
    names = {m.name for m in (result.measurements if result else ())}
    return _numbers({name: _value(result, name, finding) for name in sorted(names)})


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _fact(known: Known, name: str) -> float | None:
    value = known.facts.get(name)
    return None if value is None or isinstance(value, str) else float(value)


def _rules(scores: Mapping[str, NDArray[np.generic]], finding: int) -> dict[str, float]:
    found = {}
    for name, values in scores.items():
        flat = np.asarray(values, float).reshape(-1) if np.ndim(values) < 2 else np.empty(0)
        index = max(finding - 1, 0)
        if index < flat.size and math.isfinite(flat[index]) and (finding or flat.size == 1):
            found[name] = float(flat[index])
    return found


def _number(value: str | float | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)


def _event(value: str | float | None) -> bool | None:
    if isinstance(value, str):
        return value.casefold() in _YES
    return None if value is None else bool(value)


def _picture(case: Case, result: Result | None, finding: int) -> Picture | None:
    """Return the slice with most of what was outlined; None where nothing was."""
    rois = [roi for several in case.rois.values() for roi in several]
    numbered = next((r for r in case.rois.values() if finding and len(r) >= finding), None)
    if numbered is not None:
        rois = [numbered[finding - 1]]
    segments = result.segments if result else ()
    role = rois[0].role if rois else (segments[0].role if segments else "")
    if role not in case.volumes:
        return None
    volume = case.volumes[role]
    drawn, found = np.zeros((2, *volume.array.shape), np.bool_)
    for roi in rois:
        if roi.role == role:
            drawn |= roi.mask
    for segment in segments:
        if segment.role == role:
            found |= segment.mask != 0
    maps = [one.array for one in (result.maps if result else ()) if one.role == role]
    heat: NDArray[np.float32] | None = np.maximum.reduce(maps) if maps else None
    return take_picture(volume, drawn, found, heat)
