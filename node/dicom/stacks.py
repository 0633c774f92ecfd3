"""The stacks inside one series: phases, echoes, kernels told apart, or a refusal (S18)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Frame, SourceSeries, Stack
from node.dicom.geometry import TOLERANCES, check_stack
from node.dicom.kinds import never_suitable
from node.dicom.source import DISCRIMINATORS
from node.dicom.values import number
from node.errors import RefusalCode, Refused

#: A way to tell frames apart: label → its frames.
Groups = Mapping[str, tuple[Frame, ...]]

#: Times differ from image to image inside one phase, so groups of equal times fail: where
#: their values fall into clusters, the clusters are tried.
_TIMES = ("TriggerTime", "AcquisitionTime", "ContentTime")
#: The last resort tells phases apart but never names them: its labels are mere numbers.
_LAST = "ContentTime"
#: Gap between two clusters as a multiple of the largest spread inside one.
_GAP = 3.0
#: These may not vary inside one volume, however regular its grid.
_CONSTANT = (
    "StackID",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "DiffusionBValue",
    "ConvolutionKernel",
)


def split_series(series: SourceSeries) -> tuple[Stack, ...]:
    """Return the volumes that lie in one series.

    Frames that no plugin may use (localizers, captures, projections…) are left out if others
    remain. A series whose frames form one regular grid is one stack. Otherwise each
    discriminator of S18 is tried in its order, alone and then in pairs, and is accepted only
    if every group passes the geometry gate with the same positions. (Stack ID, which DICOM
    defines as "belongs together in space", may have other positions per stack.)

    Parameters
    ----------
    series : SourceSeries
        Frames in any order.

    Returns
    -------
    tuple of Stack
        One or more; labelled by what told them apart, "" if nothing had to.

    Raises
    ------
    Refused
        IMAGE_KIND_UNSUITABLE if no frame is fit; PHASES_MIXED if several images share their
        positions and nothing separates them, POSITION_DUPLICATE if they do so at some
        positions only and nothing hints at phases; else what the geometry gate says of the whole.
    """
    frames = suitable_frames(series.frames)
    try:
        return (_stack(series, "", frames),)
    except Refused as whole_refusal:
        for groups in _groupings(frames):
            stacks = _accepted(series, groups)
            if stacks:
                return stacks
        raise _final(frames, whole_refusal) from None


def suitable_frames(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Return the frames that some plugin may use.

    Raises
    ------
    Refused
        IMAGE_KIND_UNSUITABLE with the first reason if there are none.
    """
    if not frames:
        raise Refused(RefusalCode.IMAGE_KIND_UNSUITABLE, "the series holds no images")
    objections = [never_suitable(frame) for frame in frames]
    kept = tuple(f for f, objection in zip(frames, objections, strict=True) if objection is None)
    if not kept and objections[0] is not None:
        raise Refused(*objections[0])
    return kept


def _stack(series: SourceSeries, label: str, frames: Sequence[Frame]) -> Stack:
    ordered, geometry = check_stack(frames)
    _check_constant(ordered)
    return Stack(
        series_instance_uid=series.series_instance_uid,
        label=label,
        frames=ordered,
        geometry=geometry,
    )


def _check_constant(frames: Sequence[Frame]) -> None:
    for keyword in _CONSTANT:
        values = {value_of(frame, keyword) for frame in frames}
        if len(values) > 1:
            shown = ", ".join(sorted(value or "none" for value in values)[:4])
            raise Refused(
                RefusalCode.PHASES_MIXED,
                f"one regular grid, but {keyword} varies inside it ({shown})",
            )


def value_of(frame: Frame, keyword: str) -> str:
    """Return a discriminator of a frame, "" if it has none."""
    return dict(frame.discriminators).get(keyword, "")


def _groupings(frames: Sequence[Frame]) -> Iterator[Groups]:
    """Yield every way to tell the frames apart, in the order of S18."""
    values = [dict(frame.discriminators) for frame in frames]
    varying = [
        keyword for keyword in DISCRIMINATORS if len({own.get(keyword, "") for own in values}) > 1
    ]
    single = [keyword for keyword in varying if keyword != _LAST]
    parts = _images_per_position(frames)
    for keyword in single:
        yield _by_value(frames, values, (keyword,))
        if keyword in _TIMES:
            yield _by_time(frames, keyword, parts, f"{keyword} part ")
    for pair in combinations(single, 2):
        yield _by_value(frames, values, pair)
    if _LAST in varying:
        yield _by_time(frames, _LAST, parts, "part ")


def _by_value(
    frames: Sequence[Frame], values: Sequence[Mapping[str, str]], keywords: Sequence[str]
) -> Groups:
    groups: dict[str, list[Frame]] = {}
    for frame, own in zip(frames, values, strict=True):
        label = ", ".join(f"{name}={own.get(name, '')}" for name in keywords)
        groups.setdefault(label, []).append(frame)
    return {label: tuple(members) for label, members in sorted(groups.items(), key=_natural)}


def _natural(item: tuple[str, object]) -> list[tuple[float, str]]:
    """Order labels by the numbers in them: phase 2 before phase 10."""
    words = re.split(r"(\d+(?:\.\d+)?)", item[0])
    return [(float(word), "") if word[:1].isdigit() else (-1.0, word) for word in words]


def _by_time(frames: Sequence[Frame], keyword: str, parts: int, label: str) -> Groups:
    """Return groups of frames whose times lie together, {} if they do not lie far apart."""
    read = number if keyword == "TriggerTime" else seconds_of
    found = [read(value_of(frame, keyword)) for frame in frames]
    times = np.array([time for time in found if time is not None])
    if len(times) < len(frames):
        return {}
    numbers = clusters(times, parts)
    groups: dict[str, list[Frame]] = {f"{label}{i} of {parts}": [] for i in range(1, parts + 1)}
    for frame, part in zip(frames, () if numbers is None else numbers, strict=numbers is not None):
        groups[f"{label}{part} of {parts}"].append(frame)
    return {name: tuple(members) for name, members in groups.items()}


def _images_per_position(frames: Sequence[Frame]) -> int:
    """Return how many images lie at each position, 1 if the number differs or is not known."""
    places = Counter(
        tuple(round(each, 1) for each in frame.image_position_patient or ()) for frame in frames
    )
    return next(iter(places.values())) if len(set(places.values())) == 1 else 1


def clusters(times: NDArray[np.float64], parts: int) -> NDArray[np.int64] | None:
    """Return a numbering from 1 of `times` into `parts` that lie far apart, or None.

    Parameters
    ----------
    times : float64, shape (n,)
        In any unit and order.
    parts : int
        How many.

    Returns
    -------
    int64, shape (n,), or None
        Part of each, ascending in time. Each gap between two parts is more than 3 times the
        largest spread inside a part (S18); None if there are no such gaps.

    Examples
    --------
    >>> clusters(np.array([100.0, 0.0, 1.0, 101.0]), 2).tolist()
    [2, 1, 1, 2]
    >>> clusters(np.array([0.0, 1.0, 2.0, 4.0]), 2) is None
    True
    """
    order = np.argsort(times, kind="stable")
    known = times[order]
    gaps = np.diff(known)
    if not 2 <= parts <= len(times):
        return None
    borders = np.sort(np.argsort(gaps, kind="stable")[len(gaps) - parts + 1 :])
    first = np.concatenate([[0], borders + 1])
    last = np.concatenate([borders, [len(known) - 1]])
    if gaps[borders].min() <= _GAP * (known[last] - known[first]).max():
        return None
    numbering = np.empty(len(times), np.int64)
    numbering[order] = np.searchsorted(borders, np.arange(len(known)), side="left") + 1
    return numbering


def seconds_of(value: str) -> float | None:
    """Return seconds of a TM or DT value (PS3.5 6.2), since midnight or since day 1.

    Examples
    --------
    >>> seconds_of("102551"), seconds_of("110422.093"), seconds_of("")
    (37551.0, 39862.093, None)
    >>> seconds_of("20260102000001.5") - seconds_of("20260101235959")
    2.5
    """
    digits, _, fraction = value.partition("+")[0].partition("-")[0].replace(":", "").partition(".")
    if not digits.isdigit():
        return None
    day, clock = (digits[:8], digits[8:]) if len(digits) > 8 else ("", digits)
    clock = clock.ljust(6, "0")
    seconds = int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:6])
    try:
        days = date.fromisoformat(day).toordinal() if day else 0
    except ValueError:
        return None
    return days * 86400 + seconds + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)


def _accepted(series: SourceSeries, groups: Groups) -> tuple[Stack, ...]:
    """Return the stacks if every group is one and all have equal positions, else ()."""
    by_place = all(label.startswith("StackID=") and "," not in label for label in groups)
    sizes = {len(members) for members in groups.values()}
    if len(groups) < 2 or min(sizes) < 2 or (len(sizes) > 1 and not by_place):
        return ()
    try:
        stacks = tuple(_stack(series, label, members) for label, members in groups.items())
    except Refused:
        return ()
    return stacks if by_place or _equal_positions(stacks) else ()


def _equal_positions(stacks: Sequence[Stack]) -> bool:
    first = stacks[0].geometry
    return all(
        stack.geometry.shape == first.shape
        and np.allclose(stack.geometry.affine, first.affine, rtol=0, atol=TOLERANCES.duplicate_mm)
        for stack in stacks[1:]
    )


def _final(frames: Sequence[Frame], whole: Refused) -> Refused:
    """Return the refusal of a series that could not be split."""
    if whole.code is not RefusalCode.POSITION_DUPLICATE:
        return whole
    varying = {
        keyword: len(values)
        for keyword in DISCRIMINATORS
        if len(values := {value_of(frame, keyword) for frame in frames}) > 1
    }
    # Times differ from image to image anyway: an image too many is no other phase.
    if _images_per_position(frames) == 1 and not varying.keys() - set(_TIMES):
        return whole
    named = [f"{keyword} ({count} values)" for keyword, count in varying.items()]
    tried = ", ".join(named) or "no attribute varies"
    return Refused(
        RefusalCode.PHASES_MIXED,
        f"{whole.sentence}; nothing separates them into equal stacks (tried: {tried})",
    )
