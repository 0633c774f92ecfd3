"""The regular grid of a stack of planes, or why there is none (S19; PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Frame, StackGeometry
from node.errors import RefusalCode, Refused

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Every tolerance of the geometry gate; changed here or nowhere (S19)."""

    #: Departure of a direction cosine vector from length 1, and of two from a right angle.
    orthonormal: float = 1e-3
    #: Difference of any direction cosine between two planes of a stack.
    parallel: float = 1e-3
    #: Difference of pixel spacing between two planes, as a part of it.
    pixel_spacing: float = 1e-3
    #: Planes nearer than this are at one position.
    duplicate_mm: float = 0.01
    #: Angle between the stack direction and the normal.
    tilt_degrees: float = 0.5
    #: Sideways departure of a plane from the straight line through all, in pixels.
    sideways_pixels: float = 0.25
    #: Step between planes as a multiple of the median: above it a plane is missing.
    missing_step: float = 1.5
    #: Departure of a step from the median, as a part of it.
    spacing: float = 0.05
    #: Departure of a plane from its place on the regular grid, as a part of the step.
    grid: float = 0.25
    #: Pixel spacing and step between planes that a scanner can mean: 0.01 mm in specimens,
    #: some 10 mm in nuclear medicine.
    spacing_mm: tuple[float, float] = (0.001, 100.0)
    #: A stack is no larger in any direction; a whole body is 2 m.
    extent_mm: float = 5000.0
    #: No plane is farther from the origin, in any coordinate.
    position_mm: float = 100_000.0


TOLERANCES = Tolerances()


def normal_of(orientation: Sequence[float] | Array) -> Array:
    """Return the unit normal of a plane: row direction x column direction.

    Examples
    --------
    >>> [float(v) for v in normal_of((1, 0, 0, 0, 1, 0))]
    [0.0, 0.0, 1.0]
    """
    cosines = np.asarray(orientation, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def affine_from_planes(
    *,
    image_orientation_patient: Sequence[float],
    image_positions_patient: Array,
    pixel_spacing_mm: tuple[float, float],
) -> Array:
    """Return the affine of parallel, equally spaced planes.

    Parameters
    ----------
    image_orientation_patient : six floats
        Direction cosines of the row, then of the column (0020,0037); no unit.
    image_positions_patient : float64, shape (slices, 3), slices >= 2
        Centre of the first voxel of each plane in mm, LPS+, sorted along the normal.
    pixel_spacing_mm : (row spacing, column spacing)
        Distance between rows, then between columns, in mm (0028,0030).

    Returns
    -------
    float64, shape (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in mm, LPS+.

    References
    ----------
    PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.

    Examples
    --------
    Rows 2 mm apart, columns 1 mm apart, slices 5 mm apart:

    >>> a = affine_from_planes(
    ...     image_orientation_patient=(1, 0, 0, 0, 1, 0),
    ...     image_positions_patient=np.array([[10.0, 20, 30], [10, 20, 35]]),
    ...     pixel_spacing_mm=(2.0, 1.0),
    ... )

    A step of one column moves along the *row direction* by the column spacing, a step of one
    row along the *column direction* by the row spacing:

    >>> print(a @ [0, 0, 1, 1], a @ [0, 1, 0, 1], a @ [1, 0, 0, 1])
    [11. 20. 30.  1.] [10. 22. 30.  1.] [10. 20. 35.  1.]
    """
    cosines = np.asarray(image_orientation_patient, float)
    positions = np.asarray(image_positions_patient, float)
    row_spacing, column_spacing = pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 1] = cosines[3:] * row_spacing
    affine[:3, 2] = cosines[:3] * column_spacing
    affine[:3, 3] = positions[0]
    return affine


def check_stack(
    frames: Sequence[Frame], tolerances: Tolerances = TOLERANCES
) -> tuple[tuple[Frame, ...], StackGeometry]:
    """Sort frames along their normal and return the grid they form.

    Parameters
    ----------
    frames : sequence of Frame
        In any order.
    tolerances : Tolerances
        What still counts as regular.

    Returns
    -------
    frames, StackGeometry
        Sorted along row direction x column direction; the grid.

    Raises
    ------
    Refused
        If they form no regular grid; the code says what is wrong, the sentence the values.
    """
    _require_values(frames)
    _check_frame_of_reference(frames)
    _check_grid(frames, tolerances)
    orientation = _check_orientation(frames, tolerances)
    normal = normal_of(orientation)
    positions = _positions(frames, tolerances)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = tuple(frames[i] for i in order)
    positions = positions[order]
    along = positions @ normal
    steps = np.diff(along)
    _check_duplicates(along, steps, tolerances)
    if len(frames) < 2:
        raise Refused(RefusalCode.TOO_FEW_SLICES, "1 plane; a volume needs at least 2")
    _check_extent(frames[0], along, steps, tolerances)
    _check_tilt(positions, along, normal, frames[0], tolerances)
    _check_steps(along, steps, tolerances)
    return ordered, _geometry(ordered[0], orientation, positions)


def nearest_plane(normal: Array) -> tuple[str, float]:
    """Return the name of the nearest anatomical plane and the degrees off it.

    Examples
    --------
    >>> nearest_plane(np.array([0.0, 0.6, 0.8]))[0]
    'axial'
    """
    axis = int(np.argmax(np.abs(normal)))
    degrees = np.degrees(np.arccos(np.clip(np.abs(normal[axis]), 0, 1)))
    return ("sagittal", "coronal", "axial")[axis], float(degrees)


def _geometry(first: Frame, orientation: Array, positions: Array) -> StackGeometry:
    spacing = first.pixel_spacing_mm or (0.0, 0.0)
    affine = affine_from_planes(
        image_orientation_patient=orientation.tolist(),
        image_positions_patient=positions,
        pixel_spacing_mm=spacing,
    )
    plane, oblique = nearest_plane(normal_of(orientation))
    rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine)
    return StackGeometry(
        affine=rows,
        shape=(len(positions), first.rows, first.columns),
        spacing_mm=(float(np.linalg.norm(affine[:3, 0])), *spacing),
        plane=plane,
        oblique_degrees=oblique,
        frame_of_reference_uid=first.frame_of_reference_uid,
    )


def _require_values(frames: Sequence[Frame]) -> None:
    if not frames:
        raise Refused(RefusalCode.TOO_FEW_SLICES, "no image planes")
    for keyword, attribute, code in (
        ("Image Orientation", "image_orientation_patient", RefusalCode.ORIENTATION_MISSING),
        ("Image Position", "image_position_patient", RefusalCode.POSITION_MISSING),
        ("Pixel Spacing", "pixel_spacing_mm", RefusalCode.PIXEL_SPACING_MISSING),
    ):
        without = sum(getattr(frame, attribute) is None for frame in frames)
        if without:
            raise Refused(code, f"{without} of {len(frames)} planes have no {keyword} in numbers")


def _check_frame_of_reference(frames: Sequence[Frame]) -> None:
    uids = {frame.frame_of_reference_uid for frame in frames}
    if "" in uids:
        without = sum(not frame.frame_of_reference_uid for frame in frames)
        raise Refused(
            RefusalCode.FRAME_OF_REFERENCE_MISSING,
            f"{without} of {len(frames)} planes have no Frame of Reference UID",
        )
    if len(uids) > 1:
        raise Refused(
            RefusalCode.FRAME_OF_REFERENCE_MIXED, f"{len(uids)} frames of reference in one stack"
        )


def _check_grid(frames: Sequence[Frame], tolerances: Tolerances) -> None:
    shapes = sorted({(frame.rows, frame.columns) for frame in frames})
    if len(shapes) > 1:
        found = ", ".join(f"{rows} x {columns}" for rows, columns in shapes[:4])
        raise Refused(RefusalCode.GRID_MIXED, f"planes of different size: {found}")
    spacings = np.array([frame.pixel_spacing_mm for frame in frames], float)
    if spacings.min() <= 0:
        raise Refused(
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            f"Pixel Spacing of {spacings.min():g} mm is not positive",
        )
    least, most = tolerances.spacing_mm
    if spacings.min() < least or spacings.max() > most:
        raise Refused(
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            f"Pixel Spacing from {spacings.min():g} to {spacings.max():g} mm; "
            f"{least:g} to {most:g} mm can be",
        )
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    if ((high - low) > tolerances.pixel_spacing * low).any():
        worst = int(np.argmax((high - low) / low))
        raise Refused(
            RefusalCode.GRID_MIXED,
            f"Pixel Spacing from {low[worst]:g} to {high[worst]:g} mm in one stack",
        )


def _check_orientation(frames: Sequence[Frame], tolerances: Tolerances) -> Array:
    """Return the common orientation of the planes, six floats."""
    cosines = np.array([frame.image_orientation_patient for frame in frames], float)
    row, column = cosines[:, :3], cosines[:, 3:]
    lengths = np.concatenate([np.linalg.norm(row, axis=1), np.linalg.norm(column, axis=1)])
    between = np.abs((row * column).sum(axis=1)).max()
    off = np.abs(lengths - 1).max()
    if max(off, between) > tolerances.orthonormal:
        raise Refused(
            RefusalCode.ORIENTATION_INVALID,
            f"direction cosines are not orthonormal: length off by {off:.4f}, "
            f"product {between:.4f} (at most {tolerances.orthonormal:g})",
        )
    spread = np.ptp(cosines, axis=0).max()
    if spread > tolerances.parallel:
        count = len(np.unique(np.round(cosines, 2), axis=0))
        raise Refused(
            RefusalCode.ORIENTATION_MIXED,
            f"planes are not parallel: direction cosines differ by up to {spread:.3f} "
            f"({count} orientations among {len(frames)} planes)",
        )
    return np.asarray(cosines[0])


def _positions(frames: Sequence[Frame], tolerances: Tolerances) -> Array:
    positions = np.array([frame.image_position_patient for frame in frames], float)
    farthest = float(np.abs(positions).max())
    if farthest > tolerances.position_mm:
        raise Refused(
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            f"a plane is {farthest:g} mm from the origin (at most {tolerances.position_mm:g})",
        )
    return positions


def _check_extent(frame: Frame, along: Array, steps: Array, tolerances: Tolerances) -> None:
    median = float(np.median(steps))
    if median > tolerances.spacing_mm[1]:
        raise Refused(
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            f"planes are {median:g} mm apart (at most {tolerances.spacing_mm[1]:g})",
        )
    between_rows, between_columns = frame.pixel_spacing_mm or (0.0, 0.0)
    extents = (
        float(along[-1] - along[0]),
        frame.rows * between_rows,
        frame.columns * between_columns,
    )
    if max(extents) > tolerances.extent_mm:
        shown = " x ".join(f"{extent:.0f}" for extent in extents)
        raise Refused(
            RefusalCode.GEOMETRY_IMPLAUSIBLE,
            f"the stack is {shown} mm large (at most {tolerances.extent_mm:g})",
        )


def _check_duplicates(along: Array, steps: Array, tolerances: Tolerances) -> None:
    doubled = steps < tolerances.duplicate_mm
    if doubled.any():
        where = along[int(np.argmax(doubled))]
        places = len(along) - int(doubled.sum())
        raise Refused(
            RefusalCode.POSITION_DUPLICATE,
            f"{len(along)} planes at {places} positions, e.g. two at {where:.2f} mm",
        )


def _check_tilt(
    positions: Array, along: Array, normal: Array, frame: Frame, tolerances: Tolerances
) -> None:
    """Measure the stack direction against the normal; what (0018,1120) says does not count."""
    centred = along - along.mean()
    sideways = positions - np.outer(along, normal)
    sideways -= sideways.mean(axis=0)
    slope = centred @ sideways / (centred @ centred)
    degrees = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if degrees > tolerances.tilt_degrees:
        raise Refused(
            RefusalCode.GANTRY_TILT,
            f"the stack leaves the normal of its planes by {degrees:.1f} degrees "
            f"(at most {tolerances.tilt_degrees:g})",
        )
    rest = np.linalg.norm(sideways - np.outer(centred, slope), axis=1).max()
    pixel = min(frame.pixel_spacing_mm or (0.0,))
    if rest > tolerances.sideways_pixels * pixel:
        raise Refused(RefusalCode.GRID_MIXED, f"planes are shifted sideways by up to {rest:.2f} mm")


def _check_steps(along: Array, steps: Array, tolerances: Tolerances) -> None:
    median = float(np.median(steps))
    widest = int(np.argmax(steps))
    if steps[widest] > tolerances.missing_step * median:
        raise Refused(
            RefusalCode.SLICE_MISSING,
            f"a step of {steps[widest]:.2f} mm between planes at {along[widest]:.2f} and "
            f"{along[widest + 1]:.2f} mm where {median:.2f} mm is usual",
        )
    off = float(np.abs(steps - median).max())
    if off > tolerances.spacing * median:
        raise Refused(
            RefusalCode.SPACING_VARIABLE,
            f"steps from {steps.min():.3f} to {steps.max():.3f} mm, "
            f"median {median:.3f} mm (5 % allowed)",
        )
    regular = np.linspace(along[0], along[-1], len(along))
    drift = float(np.abs(along - regular).max())
    if drift > tolerances.grid * median:
        raise Refused(
            RefusalCode.SPACING_VARIABLE,
            f"planes drift from a regular grid by {drift:.2f} mm (step {median:.2f} mm)",
        )
