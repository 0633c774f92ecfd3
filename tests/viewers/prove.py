"""The measure of issue 5: an overlay lies where its voxels are, on several slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tests.viewers.measure import (
    Placement,
    boundary_distance,
    changed,
    fit,
    likeness,
    projected,
)
from tests.viewers.studies import ImageStack

#: The lesion covers at least this many screen pixels, a voxel at least this many across: a shift
#: of one voxel is then far beyond the limit.
LESION_PIXELS, VOXEL_PIXELS = 2_000, 7.0
#: Mean distance of the boundaries, screen pixels.
LIMIT_PIXELS = 1.5
#: Below it the picture is not the slice that we took it for.
LIKENESS = 0.98


class Viewer(Protocol):
    name: str
    #: Whether voxels are drawn as rectangles, not interpolated.
    nearest: bool

    def show(self, sop_instance_uid: str) -> None: ...

    def aim(self, row: float, column: float, scale: float) -> None: ...

    def guess(self) -> Placement: ...

    def picture(self, *, overlay: bool) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One slice in the viewer.

    Attributes
    ----------
    expected, found : screen pixels of the projected mask, and of the overlay
    distance : mean distance of their boundaries in screen pixels; infinite if one is missing
    scale : screen pixels a voxel
    said : how far from the fitted place the viewer's own word is, screen pixels, at the corner
    picture : (height, width, 3), with the overlay
    """

    slice_index: int
    expected: int
    found: int
    distance: float
    scale: float
    likeness: float
    said: float
    picture: NDArray[np.uint8]
    overlay: NDArray[np.bool_]

    def __str__(self) -> str:
        return (
            f"slice {self.slice_index}: boundary {self.distance:.2f} px, mask {self.expected} px,"
            f" overlay {self.found} px, {self.scale:.1f} px a voxel, likeness {self.likeness:.3f},"
            f" viewer's word off by {self.said:.2f} px"
        )


def look(viewer: Viewer, mask: NDArray[np.bool_], stack: ImageStack) -> list[Seen]:
    """Measure the first, middle and last slice of the mask, and the empty ones beside it."""
    return [_seen(viewer, mask, stack, index) for index in slices_to_see(mask)]


def prove_overlay(viewer: Viewer, mask: NDArray[np.bool_], stack: ImageStack) -> list[Seen]:
    """Fail unless the overlay that `viewer` shows is the mask (slices, rows, columns), in place."""
    seen = look(viewer, mask, stack)
    wrong = [str(one) for one in seen if not in_place(one)]
    assert not wrong, f"{viewer.name}: the overlay is not in place: " + "; ".join(wrong)
    for one in seen:
        assert one.expected == 0 or one.expected >= LESION_PIXELS, f"zoom is too small: {one}"
        print(f"{viewer.name}: {one}")  # noqa: T201  for docs/viewers.md
    return seen


def in_place(one: Seen) -> bool:
    return one.distance <= LIMIT_PIXELS


def slices_to_see(mask: NDArray[np.bool_]) -> list[int]:
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    assert len(used), "the mask is empty"
    largest = int(mask.sum(axis=(1, 2)).argmax())
    wanted = {used[0] - 1, used[0], largest, used[-1], used[-1] + 1}
    return sorted(int(index) for index in wanted if 0 <= index < len(mask))


def _seen(viewer: Viewer, mask: NDArray[np.bool_], stack: ImageStack, index: int) -> Seen:
    row, column, scale = _aim_of(mask, index)
    viewer.show(stack.sop_instance_uids[index])
    viewer.aim(row, column, scale)
    without = viewer.picture(overlay=False)
    picture = viewer.picture(overlay=True)
    guess = viewer.guess()
    place = fit(stack.values[index], stack.window, grey(without), guess, nearest=viewer.nearest)
    _check_slice(place, stack, index, without, viewer.nearest)
    expected = projected(mask[index], place, without.shape[:2])
    found = changed(without, picture)
    return Seen(
        slice_index=index,
        expected=int(expected.sum()),
        found=int(found.sum()),
        distance=boundary_distance(expected, found),
        scale=abs(place.scale_x),
        likeness=place.likeness,
        said=float(np.hypot(place.left - guess.left, place.top - guess.top)),
        picture=picture,
        overlay=found,
    )


def _aim_of(mask: NDArray[np.bool_], index: int) -> tuple[float, float, float]:
    """Return row, column and pixels a voxel that show the largest piece of the slice well."""
    shown = mask[index] if mask[index].any() else mask[_nearest_used(mask, index)]
    pieces, count = ndimage.label(shown)
    sizes = ndimage.sum_labels(shown, pieces, np.arange(1, count + 1))
    piece = pieces == 1 + int(np.argmax(sizes))
    row, column = (float(v) for v in np.argwhere(piece).mean(axis=0))
    scale = max(VOXEL_PIXELS, float(np.sqrt(1.2 * LESION_PIXELS / piece.sum())))
    return row, column, scale


def _nearest_used(mask: NDArray[np.bool_], index: int) -> int:
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(used[np.abs(used - index).argmin()])


def _check_slice(
    place: Placement,
    stack: ImageStack,
    index: int,
    picture: NDArray[np.uint8],
    nearest: bool,
) -> None:
    """Fail unless the picture is this slice, upright, and rather this one than its neighbours."""
    assert place.likeness >= LIKENESS, f"the picture is not slice {index}: {place}"
    for other in (index - 1, index + 1):
        if 0 <= other < len(stack.values):
            values = stack.values[other]
            alike = likeness(values, stack.window, grey(picture), place, nearest=nearest)
            assert alike < place.likeness, f"the picture is slice {other} rather than {index}"


def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the green channel: without an overlay a picture is grey anyway."""
    return picture[..., 1]
