"""Whether the stored values of a stack are what an input role asks for (S20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Frame, Stack
from node.dicom.kinds import hint, not_hounsfield, unsuitable_kind
from node.errors import RefusalCode, Refused
from node.manifest import InputRole

#: UCUM code of Hounsfield units.
HOUNSFIELD = "[hnsf'U]"
#: Units (0054,1001) of PET in UCUM (PS3.3 C.8.9.1.1.3).
_PET_UNITS = {"BQML": "Bq/ml", "GML": "g/ml", "CM2ML": "cm2/ml", "CNTS": "{counts}"}
_BITS_ALLOCATED = (8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class ValueLimits:
    """What values a scanner can mean; changed here or nowhere (S20).

    Wide of all CT practice: air is -1000, what lies outside of the field of view is written
    down to -32768 with an intercept of some thousands, metal on the extended scale reaches
    30,000, and 16 unsigned bits with slope 1 end at 65,535.
    """

    #: Lowest and highest value in HU, padding apart.
    hu: tuple[float, float] = (-40_000.0, 100_000.0)
    #: Rescale Slope of HU: 1 in practice, 10 on some extended scales, small with 32 bits.
    hu_slope: tuple[float, float] = (1e-6, 100.0)


VALUE_LIMITS = ValueLimits()
#: Plugins get no larger number.
FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_values(stack: Stack, role: InputRole) -> str:
    """Return the UCUM unit of a stack's values.

    Parameters
    ----------
    stack : Stack
        With a regular grid.
    role : InputRole
        What the plugin asks for.

    Returns
    -------
    str
        ``[hnsf'U]`` for HU, a unit of PET, else ``1``.

    Raises
    ------
    Refused
        If the images are of a kind, a pixel format or a value scale that the role does not
        take.
    """
    frames = stack.frames
    _check_kind(frames, role)
    _check_format(frames)
    _check_scale(frames, role)
    if not role.lossy and (count := sum(frame.lossy for frame in frames)):
        raise Refused(
            RefusalCode.LOSSY_COMPRESSED,
            f"{count} of {len(frames)} images were compressed with loss",
        )
    if role.values == "HU":
        return HOUNSFIELD
    return _PET_UNITS.get(hint(frames[0], "Units"), "1") if frames[0].modality == "PT" else "1"


def check_plausible(values: NDArray[np.float64], role: InputRole) -> None:
    """Refuse rescaled values that no scanner measures.

    Parameters
    ----------
    values : float64, any shape
        In the unit of the role, without padding.
    role : InputRole

    Raises
    ------
    Refused
        VALUES_IMPLAUSIBLE if one is not finite (as float32, which plugins get), or outside
        of `VALUE_LIMITS` where the role asks for HU. int16 values are always inside of them.
    """
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    if not max(-low, high) <= FLOAT32_MAX:
        raise Refused(
            RefusalCode.VALUES_IMPLAUSIBLE, f"values from {low:g} to {high:g} are no finite numbers"
        )
    least, most = VALUE_LIMITS.hu
    if role.values == "HU" and not (least <= low and high <= most):
        raise Refused(
            RefusalCode.VALUES_IMPLAUSIBLE,
            f"values from {low:g} to {high:g} HU in one image; {least:g} to {most:g} can be",
        )


def _check_kind(frames: Sequence[Frame], role: InputRole) -> None:
    for frame in frames:
        objection = unsuitable_kind(frame, allow=role.allow)
        if objection is None and role.values == "HU":
            objection = not_hounsfield(frame)
        if objection is not None:
            raise Refused(*objection)


def _check_format(frames: Sequence[Frame]) -> None:
    for name, values in (
        ("Pixel Representation", {frame.pixel_representation for frame in frames}),
        ("Bits Allocated", {frame.bits_allocated for frame in frames}),
        ("Photometric Interpretation", {frame.photometric_interpretation for frame in frames}),
    ):
        if len(values) > 1:
            shown = ", ".join(sorted(map(str, values)))
            raise Refused(RefusalCode.PIXEL_FORMAT_MIXED, f"{name} differs in one stack: {shown}")
    for frame in frames:
        _check_bits(frame)


def _check_bits(frame: Frame) -> None:
    if frame.bits_allocated not in _BITS_ALLOCATED:
        raise Refused(
            RefusalCode.PIXEL_FORMAT_UNSUITABLE,
            f"Bits Allocated is {frame.bits_allocated}, not 8, 16 or 32",
        )
    if frame.pixel_representation not in (0, 1):
        raise Refused(RefusalCode.PIXEL_FORMAT_UNSUITABLE, "no Pixel Representation of 0 or 1")
    if not 1 <= frame.bits_stored <= frame.bits_allocated:
        raise Refused(
            RefusalCode.PIXEL_FORMAT_UNSUITABLE,
            f"{frame.bits_stored} bits stored in {frame.bits_allocated} allocated",
        )
    if frame.high_bit not in (None, frame.bits_stored - 1):
        raise Refused(
            RefusalCode.PIXEL_FORMAT_UNSUITABLE,
            f"High Bit is {frame.high_bit} with {frame.bits_stored} bits stored",
        )


def _check_scale(frames: Sequence[Frame], role: InputRole) -> None:
    if any(frame.has_modality_lut for frame in frames):
        raise Refused(RefusalCode.MODALITY_LUT, "the values go through a Modality LUT")
    rescaled = [
        frame
        for frame in frames
        if frame.rescale_slope is not None and frame.rescale_intercept is not None
    ]
    if len(rescaled) not in (0, len(frames)) or (role.values == "HU" and not rescaled):
        raise Refused(
            RefusalCode.RESCALE_MISSING,
            f"{len(frames) - len(rescaled)} of {len(frames)} images lack Rescale Slope, Intercept",
        )
    if any(frame.rescale_slope == 0 for frame in frames):
        raise Refused(RefusalCode.RESCALE_MISSING, "Rescale Slope is 0")
    low, high = VALUE_LIMITS.hu_slope
    slopes = [frame.rescale_slope or 0.0 for frame in rescaled if role.values == "HU"]
    odd = [slope for slope in slopes if not low <= slope <= high]
    if odd:
        raise Refused(
            RefusalCode.VALUES_IMPLAUSIBLE,
            f"Rescale Slope is {odd[0]:g} in {len(odd)} of {len(frames)} images; "
            f"HU take {low:g} to {high:g}",
        )
    if len({frame.rescale_type for frame in frames}) > 1:
        raise Refused(RefusalCode.PIXEL_FORMAT_MIXED, "Rescale Type differs in one stack")
