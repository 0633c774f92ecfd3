"""Which images serve each input of a plugin: every candidate explained, never a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydicom import Dataset

from node.dicom.frames import SourceSeries, Stack
from node.dicom.stacks import split_series
from node.dicom.values import lookup_in, text, whole
from node.errors import RefusalCode, Refused
from node.manifest import InputRole, Manifest
from node.routing.ranking import scores_of
from node.routing.requirements import REQUIREMENTS, objection_to, wrong_modality

#: Progress of a candidate: modality, a kind that never serves, geometry, each requirement.
_WRONG_MODALITY, _NEVER, _WRONG_GEOMETRY, _FIRST_REQUIREMENT = 0, 1, 2, 3
_MOST_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One stack, or a series that holds none, looked at for one role."""

    role: str
    series_instance_uid: str
    #: Series Number, None where it is no number.
    series_number: int | None
    stack: str
    slices: int
    #: "" if it fits.
    code: str
    sentence: str
    #: By criterion, more is better; only for those that fit.
    scores: Mapping[str, float] = field(default_factory=dict)
    chosen: bool = False
    #: How many checks it passed.
    progress: int = 0

    @property
    def place(self) -> str:
        """Return which stack of which series, for a person."""
        number = "without number" if self.series_number is None else str(self.series_number)
        return f"series {number}{f' ({self.stack})' if self.stack else ''}"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The images for one role."""

    series: SourceSeries
    stack: Stack
    header: Dataset


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen for each role, or why nothing was; all candidates either way."""

    inputs: Mapping[str, Chosen]
    candidates: tuple[Candidate, ...]
    #: One sentence per role about the choice.
    notes: tuple[str, ...] = ()
    #: Why there is no choice; None: `inputs` holds every role.
    refusal: Refused | None = None


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """A candidate with what it would bring."""

    candidate: Candidate
    chosen: Chosen | None = None

    @property
    def order(self) -> tuple[float, ...]:
        return tuple(-score for score in self.candidate.scores.values())

    @property
    def tie_break(self) -> tuple[float, str, str]:
        number = self.candidate.series_number
        by_number = float("inf") if number is None else float(number)
        return by_number, self.candidate.series_instance_uid, self.candidate.stack


def select(manifest: Manifest, series: Sequence[SourceSeries]) -> Selection:
    """Choose a stack for every input role of a plugin.

    Candidates are looked at in a fixed order of requirements: modality, geometry gate (S18,
    S19), kind and values (S17, S20), plane, count, slice spacing, thickness, pixel spacing,
    Image Type, kernel, contrast, lossy history. Those that fit are ranked by the manifest's
    criteria; equal ones by the lowest Series Number, then UID. Equal stacks of one series
    are never guessed between.

    Parameters
    ----------
    manifest : Manifest
    series : sequence of SourceSeries
        Those that the rule's condition matched, in any order.
    """
    inputs: dict[str, Chosen] = {}
    candidates: list[Candidate] = []
    notes: list[str] = []
    for role in manifest.inputs.values():
        looked = [each for one in series for each in _look_at(one, role, inputs)]
        try:
            best, note = _best(role, looked)
        except Refused as refusal:
            candidates += [one.candidate for one in looked]
            return Selection(
                inputs={}, candidates=tuple(candidates), notes=tuple(notes), refusal=refusal
            )
        candidates += [
            replace(one.candidate, chosen=one is best) for one in sorted(looked, key=_shown_first)
        ]
        notes.append(note)
        if best.chosen is not None:
            inputs[role.name] = best.chosen
    return Selection(inputs=inputs, candidates=tuple(candidates), notes=tuple(notes))


def _look_at(
    series: SourceSeries, role: InputRole, taken: Mapping[str, Chosen]
) -> Iterator[_Looked]:
    """Yield the candidates that a series holds for a role."""
    bare = Candidate(
        role=role.name,
        series_instance_uid=series.series_instance_uid,
        series_number=_series_number(series),
        stack="",
        slices=len(series.frames),
        code="",
        sentence="",
    )
    modality = wrong_modality(series.modality, role)
    if modality is not None:
        yield _excluded(bare, modality, _WRONG_MODALITY)
        return
    try:
        stacks = split_series(series)
    except Refused as refusal:
        never = refusal.code is RefusalCode.IMAGE_KIND_UNSUITABLE
        word = (refusal.code.value, refusal.sentence)
        yield _excluded(bare, word, _NEVER if never else _WRONG_GEOMETRY)
        return
    for stack in stacks:
        named = replace(bare, stack=stack.label, slices=len(stack.frames))
        yield _look_at_stack(named, series, stack, role, taken)


def _look_at_stack(
    named: Candidate,
    series: SourceSeries,
    stack: Stack,
    role: InputRole,
    taken: Mapping[str, Chosen],
) -> _Looked:
    header = _header_of(series, stack)
    passed, objection = objection_to(stack, header, role)
    if objection is not None:
        return _excluded(named, objection, _FIRST_REQUIREMENT + passed)
    other = next((name for name, c in taken.items() if _same(c.stack, stack)), None)
    if other is not None:
        word = (RefusalCode.NO_SUITABLE_SERIES.value, f"it serves the input {other} already")
        return _excluded(named, word, _FIRST_REQUIREMENT + passed)
    scores = scores_of(stack, header, role)
    fitting = replace(named, scores=scores, progress=_FIRST_REQUIREMENT + len(REQUIREMENTS) + 1)
    return _Looked(candidate=fitting, chosen=Chosen(series=series, stack=stack, header=header))


def _excluded(bare: Candidate, objection: tuple[str, str], progress: int) -> _Looked:
    code, sentence = objection
    return _Looked(candidate=replace(bare, code=code, sentence=sentence, progress=progress))


def _best(role: InputRole, looked: Sequence[_Looked]) -> tuple[_Looked, str]:
    """Return the one to use and the sentence that says why; raises `Refused`."""
    fitting = sorted(
        (one for one in looked if one.chosen is not None), key=lambda o: (o.order, o.tie_break)
    )
    if not fitting:
        raise _nothing_fits(role, [one.candidate for one in looked])
    best = fitting[0]
    equal = [one for one in fitting if one.order == best.order]
    _refuse_guess(role, best, equal)
    return best, _note(role, best.candidate, fitting, equal)


def _refuse_guess(role: InputRole, best: _Looked, equal: Sequence[_Looked]) -> None:
    """Raise `Refused` if the best stack has an equal one inside its own series (S18)."""
    uid = best.candidate.series_instance_uid
    twins = [one.candidate.stack for one in equal if one.candidate.series_instance_uid == uid]
    if len(twins) > 1:
        named = "; ".join(twins[:_MOST_NAMED]) + ("; …" if len(twins) > _MOST_NAMED else "")
        raise Refused(
            RefusalCode.PHASES_MIXED,
            f"series {best.candidate.series_number} holds {len(twins)} stacks that serve the "
            f"input {role.name} equally well, and nothing says which one is meant: {named}",
        )


def _note(
    role: InputRole, best: Candidate, fitting: Sequence[_Looked], equal: Sequence[_Looked]
) -> str:
    if len(fitting) == 1:
        return f"{role.name}: {best.place} is the only one that fits"
    if len(equal) > 1:
        return (
            f"{role.name}: {best.place} of {len(equal)} equal ones, by the lowest Series Number, "
            "then UID"
        )
    second = fitting[1].candidate.scores
    decided = next(name for name, score in best.scores.items() if score != second[name])
    return f"{role.name}: {best.place} of {len(fitting)} that fit, by {decided}"


def _nothing_fits(role: InputRole, looked: Sequence[Candidate]) -> Refused:
    """Return the refusal that names the candidates that came nearest."""
    if not looked:
        return Refused(
            RefusalCode.NO_SUITABLE_SERIES, f"no image series matches for the input {role.name}"
        )
    furthest = max(one.progress for one in looked)
    nearest = [one for one in looked if one.progress == furthest]
    codes = {one.code for one in nearest}
    known = {code.value for code in RefusalCode}
    only = next(iter(codes)) if len(codes) == 1 else ""
    named = "; ".join(f"{one.place}: {one.sentence}" for one in nearest[:_MOST_NAMED])
    more = f"; and {len(nearest) - _MOST_NAMED} more" if len(nearest) > _MOST_NAMED else ""
    none = (
        "the only candidate does not serve"
        if len(looked) == 1
        else f"none of {len(looked)} candidates serves"
    )
    return Refused(
        RefusalCode(only) if only in known else RefusalCode.NO_SUITABLE_SERIES,
        f"{none} the input {role.name}: {named}{more}",
    )


def _shown_first(looked: _Looked) -> tuple[object, ...]:
    fits = looked.chosen is not None
    return (not fits, looked.order if fits else (), looked.tie_break)


def _series_number(series: SourceSeries) -> int | None:
    first = series.headers[0] if series.headers else Dataset()
    return whole(text(lookup_in(first)("SeriesNumber")))


def _header_of(series: SourceSeries, stack: Stack) -> Dataset:
    uid = stack.frames[0].sop_instance_uid
    return next(
        (ds for ds in series.headers if text(ds.get("SOPInstanceUID")) == uid), series.headers[0]
    )


def _same(one: Stack, other: Stack) -> bool:
    return one.series_instance_uid == other.series_instance_uid and one.label == other.label
