"""The contrast phase of a stack by what its headers say: one answer, none, or a contradiction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

from pydicom import Dataset

from node.dicom.enhanced import frame_lookups
from node.dicom.frames import Frame, SourceSeries, Stack
from node.dicom.headers import quiet_pydicom
from node.dicom.phase_words import Said, read_words
from node.dicom.stacks import seconds_of, value_of
from node.dicom.values import Lookup, lookup_in, text, texts
from node.manifest import PHASES
from node.settings import PLAIN_PHASES, PhaseSettings

_DAY_S = 86400.0
#: Acquisitions of one bolus lie closer together; further apart the clock passed midnight.
_LONGEST_S = 3600.0
#: Contrast/Bolus Agent Phase (0018,9344), PS3.3 C.7.6.16.2.12. VENOUS, which stands there beside
#: PORTAL_VENOUS, and CAPILLARY, DYNAMIC… are no phase of ours.
_CODES = {
    "PRE_CONTRAST": "non_contrast",
    "ARTERIAL": "arterial",
    "PORTAL_VENOUS": "portal_venous",
    "DELAYED": "delayed",
}
_TEXTS = {
    "comments": ("Image Comments", "ImageComments"),
    "description": ("Series Description", "SeriesDescription"),
    "protocol": ("Protocol Name", "ProtocolName"),
}
_ORDINALS = ("first", "second", "third", "last")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is known of the contrast phase of a stack."""

    #: One of `PHASES`; "" = not known.
    name: str = ""
    #: Its headers say different phases.
    contradictory: bool = False
    #: What says it, or why it is not known; never the text of a header (S28).
    sentence: str


@dataclass(frozen=True)
class _Clue:
    """What one piece of evidence says of a stack."""

    #: One: the phase. None: nothing sure. Several: its images say different ones.
    phases: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class _Image:
    """What one image says that may tell its phase."""

    said: dict[str, Said]
    code: str
    acquired_s: float | None
    bolus_s: float | None


def phases_of(
    series: SourceSeries, stacks: Sequence[Stack], settings: PhaseSettings = PLAIN_PHASES
) -> tuple[Phase, ...]:
    """Return the phase of each stack of a series (S18).

    A piece of evidence counts only if all images of a stack say the same. Pieces that name
    different phases contradict each other: the order of `PHASE_EVIDENCE` is that of the
    sentence, none of them wins.

    Parameters
    ----------
    series : SourceSeries
        With all of its headers.
    stacks : sequence of Stack
        All that `split_series` found in it.
    settings : PhaseSettings
        The site's words and times, and which evidence it trusts.
    """
    with quiet_pydicom():
        images = [_images(series, stack, settings) for stack in stacks]
    clues = [_clues(own, settings) for own in images]
    if "order" in settings.evidence:
        for own, clue in zip(clues, _by_order(images), strict=False):
            own.append(clue)
    return tuple(map(_phase, clues))


def _phase(clues: Sequence[_Clue]) -> Phase:
    named = [clue for clue in clues if clue.phases]
    names = {phase for clue in named for phase in clue.phases}
    sentence = "; ".join(clue.sentence for clue in named or clues)
    if len(names) > 1:
        return Phase(contradictory=True, sentence=sentence)
    return Phase(name=next(iter(names), ""), sentence=sentence or "no header that we ask says it")


def _clues(images: Sequence[_Image], settings: PhaseSettings) -> list[_Clue]:
    found = []
    for kind in settings.evidence:
        if kind in _TEXTS:
            found.append(_by_words(_TEXTS[kind][0], [image.said[kind] for image in images]))
        elif kind == "code":
            found.append(_by_code([image.code for image in images]))
        elif kind == "time":
            found.append(_by_time(images, settings))
    return [clue for clue in found if clue is not None]


def _by_words(name: str, said: Sequence[Said]) -> _Clue | None:
    words = ", ".join(sorted({word for one in said for word in one.words}))
    clue = _agreed(name, [one.phase for one in said], words)
    if clue is not None or not words:
        return clue
    return _Clue((), f"{name} ({words}) names no single phase")


def _by_code(codes: Sequence[str]) -> _Clue | None:
    phases = [_CODES.get(code, "") for code in codes]
    known = ", ".join(sorted({code for code in codes if code in _CODES}))
    return _agreed("Contrast/Bolus Agent Phase", phases, known)


def _agreed(name: str, phases: Sequence[str], words: str) -> _Clue | None:
    """Return what all images say; None if none says anything."""
    named = tuple(phase for phase in PHASES if phase in phases)
    if not named:
        return None
    if len(named) > 1:
        return _Clue(named, f"{name} ({words}) says {' and '.join(named)} on different images")
    count = sum(bool(phase) for phase in phases)
    if count < len(phases):
        return _Clue((), f"{name} says {named[0]} on {count} of {len(phases)} images only")
    return _Clue(named, f"{name} ({words}) says {named[0]}")


def _by_time(images: Sequence[_Image], settings: PhaseSettings) -> _Clue | None:
    """Return what the time since the bolus says; None if a header lacks one of both times."""
    delays = [_delay_s(image) for image in images]
    known = [delay for delay in delays if delay is not None]
    if len(known) < len(delays) or not known:
        return None
    low, high = min(known), max(known)
    windows = {
        "non_contrast": (-_DAY_S, -1.0),
        "arterial": settings.arterial_s,
        "portal_venous": settings.portal_venous_s,
        "delayed": settings.delayed_s,
    }
    fits = [name for name, (start, end) in windows.items() if start <= low and high <= end]
    span = f"{low:.0f} s" if round(low) == round(high) else f"{low:.0f} to {high:.0f} s"
    said = f"the acquisition {span} after the start of the bolus"
    return _Clue((fits[0],), f"{said} says {fits[0]}") if fits else _Clue((), f"{said} fits none")


def _delay_s(image: _Image) -> float | None:
    if image.acquired_s is None or image.bolus_s is None:
        return None
    # The start of a bolus has no date: the nearest one is meant.
    return (image.acquired_s - image.bolus_s + _DAY_S / 2) % _DAY_S - _DAY_S / 2


def _by_order(images: Sequence[Sequence[_Image]]) -> Sequence[_Clue]:
    """Return a clue for each stack where the description names as many phases as there are.

    Decision 0012: whether a description speaks of its series or of the whole examination only
    the site knows, so this is asked only where the site says so.
    """
    phases = {image.said["description"].phases for own in images for image in own}
    times = [[image.acquired_s for image in own] for own in images]
    if len(phases) != 1 or any(time is None for own in times for time in own):
        return ()
    (named,) = phases
    spans = [(min(own), max(own)) for own in _known(times)]
    order = sorted(range(len(spans)), key=lambda number: spans[number])
    apart = all(spans[one][1] < spans[other][0] for one, other in pairwise(order))
    if len(named) != len(images) or len(images) < 2 or not apart:
        return ()
    if spans[order[-1]][1] - spans[order[0]][0] > _LONGEST_S:
        return ()
    return tuple(_place_in_order(order.index(number), named) for number in range(len(images)))


def _place_in_order(place: int, named: Sequence[str]) -> _Clue:
    which = _ORDINALS[-1] if place == len(named) - 1 else _ORDINALS[place]
    said = f"Series Description names {' and '.join(named)}"
    return _Clue((named[place],), f"{said}, and this is the {which} of {len(named)} acquisitions")


def _known(times: Iterable[Iterable[float | None]]) -> list[list[float]]:
    return [[time for time in own if time is not None] for own in times]


def _images(series: SourceSeries, stack: Stack, settings: PhaseSettings) -> list[_Image]:
    # Most texts are those of the image before.
    read = lru_cache(maxsize=64)(partial(read_words, settings=settings))
    headers = {text(lookup_in(ds)("SOPInstanceUID")): ds for ds in series.headers}
    lookups: dict[str, tuple[Lookup, ...]] = {}
    found = []
    for frame in stack.frames:
        uid = frame.sop_instance_uid
        if uid not in lookups:
            lookups[uid] = frame_lookups(headers[uid])
        index = max(frame.frame_number - 1, 0)
        found.append(_image(frame, lookups[uid][index], headers[uid], read))
    return found


def _image(frame: Frame, look: Lookup, header: Dataset, read: Callable[[str], Said]) -> _Image:
    said = {kind: read(" ".join(texts(look(keyword)))) for kind, (_, keyword) in _TEXTS.items()}
    acquired = value_of(frame, "AcquisitionTime") or text(look("AcquisitionDateTime"))
    return _Image(
        said=said,
        code=_code(header, frame.frame_number),
        acquired_s=_clock_s(acquired),
        bolus_s=_clock_s(text(look("ContrastBolusStartTime"))),
    )


def _clock_s(value: str) -> float | None:
    seconds = seconds_of(value)
    return None if seconds is None else seconds % _DAY_S


def _code(header: Dataset, frame_number: int) -> str:
    """Return Contrast/Bolus Agent Phase of a frame, "" if none or several of ours."""
    frames = _items(header, "PerFrameFunctionalGroupsSequence")[frame_number - 1 : frame_number]
    shared = _items(header, "SharedFunctionalGroupsSequence")
    for level in (frames, shared, [header]):
        usages = [use for one in level for use in _items(one, "ContrastBolusUsageSequence")]
        places = [*usages, *level]
        codes = {text(lookup_in(one)("ContrastBolusAgentPhase")).upper() for one in places} - {""}
        if codes:
            return codes.pop() if len(codes) == 1 else ""
    return ""


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    found = lookup_in(ds)(keyword)
    return list(found) if hasattr(found, "__iter__") and not isinstance(found, str) else []
