"""Which images serve each input of a plugin: every candidate explained, never a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydicom import Dataset

from node.dicom.contrast import describes_some
from node.dicom.frames import SourceSeries, Stack
from node.dicom.phases import Phase, phases_of
from node.dicom.stacks import split_series
from node.dicom.values import lookup_in, text, whole
from node.errors import RefusalCode, Refused
from node.manifest import InputRole, Manifest
from node.routing.ranking import scores_of
from node.routing.requirements import (
    PHASE_STEPS,
    REQUIREMENTS,
    Objection,
    objection_to,
    wrong_modality,
    wrong_phase,
)
from node.settings import PLAIN_PHASES, PhaseSettings

#: Progress of a candidate: modality, a kind that never serves, geometry, each requirement, phase.
_WRONG_MODALITY, _NEVER, _WRONG_GEOMETRY, _FIRST_REQUIREMENT = 0, 1, 2, 3
#: Of a candidate that only another role, or the frame of reference, keeps from serving.
_LAST = len(REQUIREMENTS) + len(PHASE_STEPS)
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
    #: What says that it is the phase that was asked for; "" if none was.
    phase: str = ""
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


#: Frames of reference that roles with a phase may be served from; None: any.
_Frames = frozenset[str] | None


class _Opened:
    """A series with what is found in it once for all roles."""

    def __init__(self, series: SourceSeries, settings: PhaseSettings):
        self.series = series
        self._settings = settings

    @cached_property
    def stacks(self) -> tuple[Stack, ...] | Refused:
        try:
            return split_series(self.series)
        except Refused as refusal:
            return refusal

    @cached_property
    def phases(self) -> Mapping[str, Phase]:
        """Return the phase of each stack by its label."""
        stacks = () if isinstance(self.stacks, Refused) else self.stacks
        found = phases_of(self.series, stacks, self._settings)
        return {stack.label: phase for stack, phase in zip(stacks, found, strict=True)}


def select(
    manifest: Manifest, series: Sequence[SourceSeries], phases: PhaseSettings = PLAIN_PHASES
) -> Selection:
    """Choose a stack for every input role of a plugin.

    Candidates are looked at in a fixed order of requirements: modality, geometry gate (S18,
    S19), kind and values (S17, S20), plane, count, slice spacing, thickness, pixel spacing,
    Image Type, kernel, contrast, numbers of the header, those and words that must be absent,
    lossy history, contrast phase. Roles that ask for a phase are served from one frame of
    reference. Those that fit are ranked by the manifest's criteria; equal ones by the lowest
    Series Number, then UID. Equal stacks of one series are never guessed between.

    Parameters
    ----------
    manifest : Manifest
    series : sequence of SourceSeries
        Those that the rule's condition matched, in any order.
    phases : PhaseSettings
        How the site tells contrast phases.
    """
    opened = [_Opened(one, phases) for one in series]
    roles = tuple(manifest.inputs.values())
    shared = _shared_frames(roles, opened)
    inputs: dict[str, Chosen] = {}
    candidates: list[Candidate] = []
    notes: list[str] = []
    for role in roles:
        looked = [each for one in opened for each in _look_at(one, role, inputs, shared)]
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
            if role.phase and shared is not None:
                shared = frozenset({best.chosen.stack.geometry.frame_of_reference_uid})
    return Selection(inputs=inputs, candidates=tuple(candidates), notes=tuple(notes))


def _shared_frames(roles: Sequence[InputRole], opened: Sequence[_Opened]) -> _Frames:
    """Return the frames of reference that hold a candidate for each role with a phase.

    None where fewer than two roles ask for one, or one of them has no candidate at all.
    """
    found = [
        frozenset(
            looked.chosen.stack.geometry.frame_of_reference_uid
            for one in opened
            for looked in _look_at(one, role, {}, None)
            if looked.chosen is not None
        )
        for role in roles
        if role.phase
    ]
    return frozenset.intersection(*found) if len(found) > 1 and all(found) else None


def _look_at(
    opened: _Opened, role: InputRole, taken: Mapping[str, Chosen], shared: _Frames
) -> Iterator[_Looked]:
    """Yield the candidates that a series holds for a role."""
    series = opened.series
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
    if isinstance(opened.stacks, Refused):
        refusal = opened.stacks
        never = refusal.code is RefusalCode.IMAGE_KIND_UNSUITABLE
        word = (refusal.code.value, refusal.sentence)
        yield _excluded(bare, word, _NEVER if never else _WRONG_GEOMETRY)
        return
    for stack in opened.stacks:
        named = replace(bare, stack=stack.label, slices=len(stack.frames))
        yield _look_at_stack(named, opened, stack, role, _taken_by(stack, taken), shared)


def _look_at_stack(
    named: Candidate,
    opened: _Opened,
    stack: Stack,
    role: InputRole,
    taken_by: str,
    shared: _Frames,
) -> _Looked:
    header = _header_of(opened.series, stack)
    passed, objection = objection_to(stack, header, role)
    if objection is None and role.phase:
        passed, objection = wrong_phase(opened.phases[stack.label], role)
        named = replace(named, phase=opened.phases[stack.label].sentence)
    if objection is None:
        passed, objection = _LAST, _not_free(stack, role, taken_by, shared)
    if objection is not None:
        return _excluded(replace(named, phase=""), objection, _FIRST_REQUIREMENT + passed)
    scores = scores_of(stack, header, role)
    fitting = replace(named, scores=scores, progress=_FIRST_REQUIREMENT + _LAST + 1)
    return _Looked(
        candidate=fitting, chosen=Chosen(series=opened.series, stack=stack, header=header)
    )


def _not_free(stack: Stack, role: InputRole, taken_by: str, shared: _Frames) -> Objection:
    """Return why a stack that fits serves another role, or goes with no other phase."""
    if taken_by:
        return RefusalCode.NO_SUITABLE_SERIES.value, f"it serves the input {taken_by} already"
    if not role.phase or shared is None:
        return None
    if stack.geometry.frame_of_reference_uid in shared:
        return None
    code = RefusalCode.FRAME_OF_REFERENCE_MIXED.value
    return code, "it lies in another frame of reference than the other phases"


def _taken_by(stack: Stack, taken: Mapping[str, Chosen]) -> str:
    return next((name for name, chosen in taken.items() if _same(chosen.stack, stack)), "")


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
    _refuse_unlike(role, equal)
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


def _refuse_unlike(role: InputRole, equal: Sequence[_Looked]) -> None:
    """Raise `Refused` if equal MR series name an agent and none says that it came after it (S18).

    Scanners copy the agent into what was measured before the injection.
    """
    series = {one.candidate.series_instance_uid: one.candidate for one in equal}
    first = equal[0].chosen
    if role.contrast != "required" or len(series) < 2 or first is None:
        return
    if first.series.modality != "MR" or describes_some(_described(first)):
        return
    named = ", ".join(str(one.series_number) for one in [*series.values()][:_MOST_NAMED])
    raise Refused(
        RefusalCode.PHASES_MIXED,
        f"series {named} name a contrast agent and serve the input {role.name} equally well, and "
        "none of their descriptions says that it was taken after the injection; describe that "
        "one so (+C, post Gd), or leave the other out",
    )


def _described(chosen: Chosen) -> str:
    return text(lookup_in(chosen.header)("SeriesDescription"))


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
    """Return the refusal that names the candidates, those first that came nearest: it is theirs."""
    if not looked:
        return Refused(
            RefusalCode.NO_SUITABLE_SERIES, f"no image series matches for the input {role.name}"
        )
    nearest = sorted(looked, key=lambda one: -one.progress)
    codes = {one.code for one in nearest if one.progress == nearest[0].progress}
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
