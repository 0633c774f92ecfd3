"""Closed outlines drawn on the planes of a stack, filled by pixel centre."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Stack
from node.dicom.geometry import normal_of
from node.dicom.region_grid import fill, windings
from node.dicom.region_values import GridMask
from node.errors import RefusalCode, Refused

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: A contour belongs to a plane from which none of its points is farther, as a part of the step.
PLANE_TOLERANCE = 0.1
#: Two outlines of one plane are a region and its hole if one holds at least this part of the
#: smaller, and neighbours if at most the rest; what lies between is refused.
_NESTED = 0.95
#: So few pixels are the overshot end of a line drawn by hand, however small the outline.
_FEW = 2
#: A contour on every so many planes at most leaves out what lies between; more is a gap.
_SKIPPED = 5
#: An outline may reach this many times the image's size beyond it; farther is no outline of it.
_REACH = 2
#: What holds all contours of a region is at most so many times as large as the image.
_LARGEST = 8


@dataclass(frozen=True, kw_only=True)
class Outline:
    """One closed outline in the patient.

    Attributes
    ----------
    points : float64, shape (points, 3)
        mm, LPS+; the last is joined to the first.
    image : str
        SOP Instance UID of the image it was drawn on, "" if not told.
    exclusive : bool
        Said to be combined by XOR with the others of its plane, so that crossing is meant.
    """

    points: Array
    image: str = ""
    exclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One outline on a plane: (points, 2) as (row, column) in pixel index units."""

    plane: int
    points: Array
    exclusive: bool = False


def home_of(
    outlines: Sequence[Outline], frame_of_reference_uid: str, stacks: Sequence[Stack]
) -> Stack:
    """Return the stack on whose planes the outlines lie: the one they name before any other.

    Parameters
    ----------
    stacks : sequence of Stack
        The one it is wanted for first.

    Raises
    ------
    Refused
        ROI_FRAME_OF_REFERENCE if none lies in that frame of reference, ROI_NOT_ON_PLANES if
        they lie on the planes of none.
    """
    if not frame_of_reference_uid:
        raise Refused(RefusalCode.ROI_FRAME_OF_REFERENCE, "the contours name no frame of reference")
    same = [
        stack for stack in stacks if stack.geometry.frame_of_reference_uid == frame_of_reference_uid
    ]
    if not same:
        raise Refused(
            RefusalCode.ROI_FRAME_OF_REFERENCE,
            "the contours lie in another frame of reference than the image",
        )
    images = {outline.image for outline in outlines} - {""}
    named = [s for s in same if images & {frame.sop_instance_uid for frame in s.frames}]
    for stack in (*named, *same):
        if max(_off_planes(outline.points, stack) for outline in outlines) <= PLANE_TOLERANCE:
            return stack
    nearest = named[0] if named else same[0]
    worst = max(_off_planes(outline.points, nearest) for outline in outlines)
    # Those that name images which are here were drawn on them; no other series helps.
    where = "" if named else ", and the series they were drawn on is not at hand"
    raise Refused(
        RefusalCode.ROI_NOT_ON_PLANES,
        f"contours lie up to {worst:.2f} of a slice step off the planes of the image "
        f"(at most {PLANE_TOLERANCE:g}){where}",
    )


def _off_planes(points: Array, stack: Stack) -> float:
    """Return how far a point is from the plane of the outline's middle, as a part of the step."""
    along = _slice_index(points, stack)
    return float(np.abs(along - np.round(np.median(along))).max())


def _slice_index(points: Array, stack: Stack) -> Array:
    """Return how many planes up the stack each point lies, whole numbers on a plane."""
    normal = normal_of(stack.frames[0].image_orientation_patient or ())
    planes = np.array([frame.image_position_patient for frame in stack.frames], float) @ normal
    along = points @ normal
    step = stack.geometry.spacing_mm[0]
    inside = np.interp(along, planes, np.arange(len(planes)))
    below = np.minimum(along - planes[0], 0) / step
    above = np.maximum(along - planes[-1], 0) / step
    return np.asarray(inside + below + above)


def on_planes(outlines: Iterable[Outline], home: Stack) -> list[Drawn]:
    """Return the outlines in pixel indices of the plane that each lies on.

    Planes are numbered as in `home`; those below its first or above its last one go on evenly.
    """
    row_step, column_step = home.geometry.spacing_mm[1:]
    cosines = np.array(home.frames[0].image_orientation_patient, float)
    affine = np.array(home.geometry.affine)
    drawn = []
    for outline in outlines:
        along = np.round(np.median(_slice_index(outline.points, home)))
        plane = int(np.clip(along, -_most(home), _most(home)))
        if 0 <= plane < len(home.frames):
            start = np.array(home.frames[plane].image_position_patient, float)
        else:
            start = affine[:3, 3] + plane * affine[:3, 0]
        rows = (outline.points - start) @ cosines[3:] / row_step
        columns = (outline.points - start) @ cosines[:3] / column_step
        drawn.append(
            Drawn(plane=plane, points=np.stack([rows, columns], 1), exclusive=outline.exclusive)
        )
    return drawn


def _most(home: Stack) -> int:
    return (_REACH + 1) * len(home.frames)


def filled(drawn: Sequence[Drawn], home: Stack) -> GridMask:
    """Return the region that outlines enclose: even-odd on each plane, planes as drawn.

    Raises
    ------
    Refused
        ROI_EMPTY, ROI_OUTSIDE_IMAGE, ROI_SLICES_SKIPPED or ROI_CONTOURS_CROSS.
    """
    by_plane: Mapping[int, list[Drawn]] = _distinct(drawn)
    if not by_plane:
        raise Refused(RefusalCode.ROI_EMPTY, "the region has no contour that encloses anything")
    corner, shape = _canvas(drawn, home)
    first = min(by_plane)
    mask = np.zeros((max(by_plane) - first + 1, *shape), np.bool_)
    for plane, outlines in by_plane.items():
        moved = [replace(one, points=one.points - corner) for one in outlines]
        for one in moved:
            _check_loops(one, plane)
        _check_crossing(moved, plane)
        mask[plane - first] = fill([one.points for one in moved], shape)
    if not mask.any():
        raise Refused(
            RefusalCode.ROI_EMPTY, "the contours are so small that they enclose no pixel centre"
        )
    _check_steps(mask)
    affine = np.array(home.geometry.affine)
    affine[:, 3] = affine @ [first, *corner, 1]
    return GridMask(mask=mask, affine=affine)


def _distinct(drawn: Sequence[Drawn]) -> dict[int, list[Drawn]]:
    """Return outlines by plane; one that is there twice counts once, lines and points do not."""
    by_plane: dict[int, list[Drawn]] = defaultdict(list)
    seen: set[tuple[int, bytes]] = set()
    for one in drawn:
        key = (one.plane, np.round(one.points, 3).tobytes())
        if len(one.points) >= 3 and key not in seen:
            seen.add(key)
            by_plane[one.plane].append(one)
    return by_plane


def _check_steps(mask: Mask) -> None:
    """Refuse a region of which most neighbouring planes skip some that it must pass through.

    A gap with nothing above or below it lies between two parts and is meant.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    pairs = list(pairwise(planes.tolist()))
    skipped = [
        upper - lower
        for lower, upper in pairs
        if 1 < upper - lower <= _SKIPPED and (mask[lower] & mask[upper]).any()
    ]
    if 2 * len(skipped) > len(pairs):
        raise Refused(
            RefusalCode.ROI_SLICES_SKIPPED,
            f"contours on {len(planes)} planes, mostly {np.median(skipped):g} apart: what lies "
            "between was not drawn",
        )


def _canvas(drawn: Sequence[Drawn], home: Stack) -> tuple[Array, tuple[int, int]]:
    """Return first pixel and size of the part of the plane that holds all outlines."""
    points = np.concatenate([one.points for one in drawn])
    # Not whole numbers yet: a coordinate that is broken may be too large for one.
    corner, end = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0)) + 1
    planes = [one.plane for one in drawn]
    size = np.array(home.geometry.shape)
    low, high = np.array([min(planes), *corner]), np.array([max(planes) + 1, *end])
    apart = (low < -_REACH * size).any() or (high > (_REACH + 1) * size).any()
    # Contours on both sides of the image: what is between them would be filled in memory.
    if apart or np.prod(high - low) > _LARGEST * np.prod(size):
        raise Refused(RefusalCode.ROI_OUTSIDE_IMAGE, "contours lie far outside the image")
    return corner, (int(end[0] - corner[0]), int(end[1] - corner[1]))


def _check_loops(outline: Drawn, plane: int) -> None:
    """Refuse an outline that goes twice around something, or around a part the other way.

    Where an outline goes in by a slit and out the same way, what it goes around twice is a hole.
    """
    if outline.exclusive:
        return
    corner = np.floor(outline.points.min(axis=0))
    rows, columns = (np.ceil(outline.points.max(axis=0)) - corner + 1).astype(int)
    around = windings(outline.points - corner, (int(rows), int(columns)))
    way = 1 if around.sum() >= 0 else -1
    inside, doubtful = np.count_nonzero(around), np.count_nonzero((around != 0) & (around != way))
    if doubtful > max(_FEW, (1 - _NESTED) * inside) and not _has_slit(outline.points):
        raise Refused(
            RefusalCode.ROI_CONTOURS_CROSS,
            f"a contour of plane {plane + 1} crosses itself: it goes twice, or the other way, "
            f"around {doubtful / inside:.0%} of it; draw it again, once around each part",
        )


def _has_slit(points: Array) -> bool:
    starts = [tuple(point) for point in np.round(points, 3).tolist()]
    edges = {(a, b) for a, b in zip(starts, starts[1:] + starts[:1], strict=True) if a != b}
    return any((b, a) in edges for a, b in edges)


def _check_crossing(outlines: Sequence[Drawn], plane: int) -> None:
    """Refuse outlines that overlap without one being a hole in the other."""
    unsure = [one.points for one in outlines if not one.exclusive]
    for one, other in _near_pairs(unsure):
        corner = np.floor(np.minimum(one.min(axis=0), other.min(axis=0)))
        end = np.ceil(np.maximum(one.max(axis=0), other.max(axis=0))) - corner + 1
        shape = (int(end[0]), int(end[1]))
        first, second = fill([one - corner], shape), fill([other - corner], shape)
        smaller = min(int(first.sum()), int(second.sum()))
        common = int((first & second).sum())
        same = common and common == int((first | second).sum())
        if same or (1 - _NESTED) * smaller < common < _NESTED * smaller:
            raise Refused(
                RefusalCode.ROI_CONTOURS_CROSS,
                f"two contours of plane {plane + 1} overlap by {common / smaller:.0%} of the "
                "smaller: union or hole is not told",
            )


def _near_pairs(outlines: Sequence[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield the pairs whose boxes overlap."""
    if len(outlines) < 2:
        return
    low = np.array([points.min(axis=0) for points in outlines])
    high = np.array([points.max(axis=0) for points in outlines])
    apart = (low[:, None] > high).any(axis=2)
    for one, other in np.argwhere(np.triu(~(apart | apart.T), 1)).tolist():
        yield outlines[one], outlines[other]


def check_alike(home: Stack, target: Stack) -> None:
    """Refuse a region of another frame of reference.

    Raises
    ------
    Refused
        ROI_FRAME_OF_REFERENCE.
    """
    if home.geometry.frame_of_reference_uid != target.geometry.frame_of_reference_uid:
        raise Refused(
            RefusalCode.ROI_FRAME_OF_REFERENCE,
            "the region was drawn in another frame of reference than the image",
        )
