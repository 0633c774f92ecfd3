"""What an input role asks of a stack: each requirement says code and sentence, or nothing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from pydicom import Dataset

from node.dicom.contrast import contrast_of
from node.dicom.frames import Frame, Stack
from node.dicom.kinds import not_hounsfield, unsuitable_kind
from node.dicom.phase_words import tokens_of
from node.dicom.phases import Phase
from node.dicom.stacks import value_of
from node.dicom.values import lookup_in, number, text, texts
from node.errors import RefusalCode
from node.manifest import UNLIMITED, InputRole, Range

#: Code (a `RefusalCode`, or a word of ours) and sentence; None: nothing against it.
Objection = tuple[str, str] | None

#: Codes of requirements that have no refusal code of their own.
WRONG_MODALITY = "MODALITY_UNSUITABLE"
UNSUITABLE = RefusalCode.NO_SUITABLE_SERIES.value
#: What names the sequence of an image, beside Image Type.
_SEQUENCE = {
    "Scanning Sequence": "ScanningSequence",
    "Sequence Name": "SequenceName",
    "Pulse Sequence Name": "PulseSequenceName",
    "Series Description": "SeriesDescription",
}
#: Nearer and nearer to the phase that a role asks for.
PHASE_STEPS = ("another", "not known", "contradictory")


def wrong_modality(modality: str, role: InputRole) -> Objection:
    """Return why a modality does not serve a role."""
    if modality in role.modality:
        return None
    return WRONG_MODALITY, f"modality {modality or 'absent'} is not {' or '.join(role.modality)}"


def objection_to(stack: Stack, header: Dataset, role: InputRole) -> tuple[int, Objection]:
    """Return how many requirements a stack meets, and what stands against it first.

    Parameters
    ----------
    stack : Stack
        One that passed the geometry gate.
    header : Dataset
        Of its first instance.
    """
    for met, requirement in enumerate(REQUIREMENTS):
        objection = requirement(stack, header, role)
        if objection is not None:
            return met, objection
    return len(REQUIREMENTS), None


def wrong_phase(phase: Phase, role: InputRole) -> tuple[int, Objection]:
    """Return why a contrast phase does not serve a role, as `objection_to` does."""
    if phase.contradictory:
        code = RefusalCode.PHASE_CONTRADICTORY.value
        word = f"its headers say different contrast phases: {phase.sentence}"
        return _step("contradictory"), (code, word)
    if not phase.name:
        word = f"its contrast phase is not known, {role.phase} is asked for: {phase.sentence}"
        return _step("not known"), (UNSUITABLE, word)
    if phase.name != role.phase:
        word = f"its contrast phase is {phase.name}, not {role.phase}: {phase.sentence}"
        return _step("another"), (UNSUITABLE, word)
    return len(REQUIREMENTS) + len(PHASE_STEPS), None


def _step(name: str) -> int:
    return len(REQUIREMENTS) + PHASE_STEPS.index(name)


def kernel_of(stack: Stack) -> str:
    """Return Convolution Kernel, upper case, several values joined by a backslash."""
    return value_of(stack.frames[0], "ConvolutionKernel")


def thickness_of(stack: Stack) -> float:
    """Return the largest Slice Thickness in mm, where absent the step between slices."""
    known = [f.slice_thickness_mm for f in stack.frames if f.slice_thickness_mm is not None]
    return max(known, default=stack.geometry.spacing_mm[0])


def _kind(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    return _first(stack.frames, lambda frame: unsuitable_kind(frame, allow=role.allow))


def _values(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    return _first(stack.frames, not_hounsfield) if role.values == "HU" else None


def _first(
    frames: Sequence[Frame], look: Callable[[Frame], tuple[RefusalCode, str] | None]
) -> Objection:
    found = next((o for frame in frames if (o := look(frame)) is not None), None)
    return None if found is None else (found[0].value, found[1])


def _plane(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    plane = stack.geometry.plane
    if role.plane in ("any", plane):
        return None
    return UNSUITABLE, f"plane is {plane}, not {role.plane}"


def _count(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    count = len(stack.frames)
    if count < role.slices.low:
        return RefusalCode.TOO_FEW_SLICES.value, f"{count} slices, at least {role.slices.low:g}"
    if count > role.slices.high:
        return UNSUITABLE, f"{count} slices, at most {role.slices.high:g}"
    return None


def _slice_spacing(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    return _inside("slice spacing", stack.geometry.spacing_mm[0], role.slice_spacing_mm)


def _slice_thickness(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    allowed = role.slice_thickness_mm
    if (allowed.low, allowed.high) == (-UNLIMITED, UNLIMITED):
        return None
    for thickness in {frame.slice_thickness_mm for frame in stack.frames}:
        if thickness is None:
            return UNSUITABLE, f"Slice Thickness is absent, {_shown(allowed)} mm is asked for"
        if thickness not in allowed:
            return _inside("slice thickness", thickness, allowed)
    return None


def _pixel_spacing(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    rows, columns = stack.geometry.spacing_mm[1:]
    return _inside("pixel spacing", rows, role.pixel_spacing_mm) or _inside(
        "pixel spacing", columns, role.pixel_spacing_mm
    )


def _image_type(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    for word in role.image_type_has:
        if any(word.upper() not in frame.image_type for frame in stack.frames):
            found = "\\".join(stack.frames[0].image_type[:5]) or "absent"
            return UNSUITABLE, f"Image Type {found} does not say {word}"
    for word in role.image_type_absent:
        if any(word.upper() in frame.image_type for frame in stack.frames):
            return UNSUITABLE, f"Image Type says {word.upper()}"
    return None


def _kernel(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    if not role.kernel:
        return None
    kernel = kernel_of(stack)
    forms = [kernel, *kernel.split("\\")]
    if any(fnmatch.fnmatchcase(form, glob.upper()) for form in forms for glob in role.kernel):
        return None
    return UNSUITABLE, f"kernel {kernel or 'absent'} is none of {', '.join(role.kernel)}"


def _contrast(_stack: Stack, header: Dataset, role: InputRole) -> Objection:
    if role.contrast == "any":
        return None
    found = contrast_of(lookup_in(header))
    if found.given is (role.contrast == "required"):
        return None
    return UNSUITABLE, f"{found.sentence}: {role.contrast}"


def _numbers(_stack: Stack, header: Dataset, role: InputRole) -> Objection:
    look = lookup_in(header)
    for keyword, allowed in role.header.items():
        value = number(look(keyword))
        if value is None:
            return UNSUITABLE, f"{keyword} is absent, {_shown(allowed)} is asked for"
        if value not in allowed:
            return UNSUITABLE, f"{keyword} {value:g} is not {_shown(allowed)}"
    return None


def _absent_numbers(_stack: Stack, header: Dataset, role: InputRole) -> Objection:
    look = lookup_in(header)
    for keyword in role.header_absent:
        if (said := look(keyword)) is None or text(said) == "":
            continue
        value = number(said)
        if value is None:
            return UNSUITABLE, f"{keyword} is no number; it must be absent or 0"
        if value != 0:
            return UNSUITABLE, f"{keyword} {value:g} is said; it must be absent or 0"
    return None


def _words(stack: Stack, header: Dataset, role: InputRole) -> Objection:
    """Object to a word that must be absent, and to an MR that does not say its sequence."""
    if not role.words_absent:
        return None
    look = lookup_in(header)
    # PS3.3 C.8.3.1: each MR image has one. Without it the other texts prove nothing.
    if stack.frames[0].modality == "MR" and not text(look("ScanningSequence")):
        return UNSUITABLE, "Scanning Sequence is absent: which sequence it is, is not known"
    said = {"Image Type": tuple({word for frame in stack.frames for word in frame.image_type})}
    said |= {name: texts(look(keyword)) for name, keyword in _SEQUENCE.items()}
    for name, values in said.items():
        for word in role.words_absent:
            if any(_holds(tokens_of(value), tokens_of(word)) for value in values):
                return UNSUITABLE, f"{name} says {word}"
    return None


def _holds(tokens: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Return whether the wanted words stand there, one after the other."""
    return any(tokens[at : at + len(wanted)] == wanted for at in range(len(tokens)))


def _lossy(stack: Stack, _header: Dataset, role: InputRole) -> Objection:
    count = sum(frame.lossy for frame in stack.frames)
    if role.lossy or not count:
        return None
    return (
        RefusalCode.LOSSY_COMPRESSED.value,
        f"{count} of {len(stack.frames)} images were compressed with loss",
    )


def _inside(what: str, value: float, allowed: Range) -> Objection:
    if round(value, 3) in allowed:
        return None
    return UNSUITABLE, f"{what} {value:.3g} mm is not {_shown(allowed)} mm"


def _shown(allowed: Range) -> str:
    """Return a range in words.

    Examples
    --------
    >>> _shown(Range(1.0, 3.0)), _shown(Range(high=5.0)), _shown(Range(low=2.0))
    ('1 to 3', 'at most 5', 'at least 2')
    """
    if allowed.low == -UNLIMITED:
        return f"at most {allowed.high:g}"
    if allowed.high == UNLIMITED:
        return f"at least {allowed.low:g}"
    return f"{allowed.low:g} to {allowed.high:g}"


#: In the order they are looked at; modality and geometry come before them.
REQUIREMENTS: tuple[Callable[[Stack, Dataset, InputRole], Objection], ...] = (
    _kind,
    _values,
    _plane,
    _count,
    _slice_spacing,
    _slice_thickness,
    _pixel_spacing,
    _image_type,
    _kernel,
    _contrast,
    _numbers,
    _absent_numbers,
    _words,
    _lossy,
)
