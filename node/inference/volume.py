"""From a stack of frames to a Volume: pixels read or decoded into one array (S20)."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from node.dicom.decoding import each_stored
from node.dicom.frames import Frame, Stack
from node.dicom.pixels import Pixels
from node.inference.gate import FLOAT32_MAX, check_plausible, check_values
from node.manifest import InputRole
from node.plugin import Volume

_INT16 = np.iinfo(np.int16)


class _DoesNotFit(Exception):
    """A value does not fit into int16; never leaves this module."""


def build_volume(stack: Stack, role: InputRole) -> Volume:
    """Return the values of a stack with their place in the patient.

    Parameters
    ----------
    stack : Stack
        Its frames sorted along the normal, its geometry checked.
    role : InputRole
        What the plugin asks for; the value gate of S20 is applied first.

    Returns
    -------
    Volume
        int16 where every slope is 1, every intercept whole and every value fits; else float32.
        Photometric Interpretation does not change values: MONOCHROME1 only shows them inverted.

    Raises
    ------
    Refused
        By the value gate, or because pixels are missing, truncated or undecodable.
    OSError
        If a file cannot be read.
    """
    unit = check_values(stack, role)
    padding = _Padding(stack.geometry.shape)
    try:
        array: NDArray[np.generic] = _integers(stack, padding)
    except _DoesNotFit:
        padding = _Padding(stack.geometry.shape)
        array = _floats(stack, padding, role)
    return Volume(
        array=array,
        affine=np.array(stack.geometry.affine),
        unit=unit,
        modality=stack.frames[0].modality,
        padding=padding.mask if padding.found else None,
    )


def _integers(stack: Stack, padding: _Padding) -> NDArray[np.int16]:
    """Return the values as int16, or raise `_DoesNotFit`."""
    if not all(_may_be_int16(frame) for frame in stack.frames):
        raise _DoesNotFit
    out = np.empty(stack.geometry.shape, np.int16)

    def take(index: int, stored: Pixels) -> None:
        frame = stack.frames[index]
        values = padding.take(index, stored, frame)
        add = int(frame.rescale_intercept or 0)
        if int(values.min()) + add < _INT16.min or int(values.max()) + add > _INT16.max:
            raise _DoesNotFit
        if values.dtype.itemsize == 2:
            # Wraps round and back again: the sum fits, as just seen.
            np.add(values.view(np.int16), np.int16(add), out=out[index])
        else:
            out[index] = values.astype(np.int32) + add

    each_stored(stack.frames, take, into=out)
    return out


def _floats(stack: Stack, padding: _Padding, role: InputRole) -> NDArray[np.float32]:
    """Return the values as float32; slope and intercept of each frame in double precision."""
    out = np.empty(stack.geometry.shape, np.float32)

    def take(index: int, stored: Pixels) -> None:
        frame = stack.frames[index]
        values = padding.take(index, stored, frame).astype(np.float64)
        slope = 1.0 if frame.rescale_slope is None else frame.rescale_slope
        with np.errstate(over="ignore", invalid="ignore"):  # told by `check_plausible`
            values = values * slope + (frame.rescale_intercept or 0.0)
        check_plausible(padding.measured(index, values), role)
        # Only padding can be beyond it now.
        np.clip(values, -FLOAT32_MAX, FLOAT32_MAX, out=out[index], casting="same_kind")

    each_stored(stack.frames, take)
    return out


def _may_be_int16(frame: Frame) -> bool:
    intercept = frame.rescale_intercept or 0.0
    return (
        frame.rescale_slope in (None, 1.0)
        and intercept == int(intercept)
        and _INT16.min <= intercept <= _INT16.max
    )


class _Padding:
    """Where the scanner wrote padding; `take` also frees values of bits that are no pixel's."""

    def __init__(self, shape: tuple[int, int, int]):
        self._shape = shape
        self._lock = threading.Lock()
        self.mask: NDArray[np.bool_] | None = None
        self.found = False

    def take(self, index: int, stored: Pixels, frame: Frame) -> Pixels:
        """Note the padding of one plane and return its values, only Bits Stored of them.

        A padding value that Bits Stored cannot hold is looked for before the bits above are
        cleared, any other afterwards: overlays may lie there (PS3.5 8.1.1).
        """
        limits = _padding_limits(frame)
        if limits is not None and not _representable(limits, frame):
            self._mark(index, stored, limits)
            limits = None
        values = clear_unused_bits(stored, frame)
        if limits is not None:
            self._mark(index, values, limits)
        return values

    def measured(self, index: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of one plane that are no padding, shape (n,)."""
        return values.ravel() if self.mask is None else values[~self.mask[index]]

    def _mark(self, index: int, values: Pixels, limits: tuple[int, int]) -> None:
        low, high = limits
        here = np.equal(values, low) if low == high else _between(values, low, high)
        if here.any():
            self._plane(index)[...] = here

    def _plane(self, index: int) -> NDArray[np.bool_]:
        with self._lock:
            if self.mask is None:
                self.mask = np.zeros(self._shape, np.bool_)
            self.found = True
            return np.asarray(self.mask[index])


def _between(values: Pixels, low: int, high: int) -> NDArray[np.bool_]:
    return np.asarray(np.greater_equal(values, low) & np.less_equal(values, high))


def clear_unused_bits(stored: Pixels, frame: Frame) -> Pixels:
    """Clear (or, for signed pixels, fill by the sign) the bits above Bits Stored, in place.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> frame = SimpleNamespace(bits_stored=12, pixel_representation=1)
    >>> clear_unused_bits(np.array([0x1FFF, 0x0001], np.int16), frame).tolist()
    [-1, 1]
    """
    unused = stored.dtype.itemsize * 8 - frame.bits_stored
    if unused <= 0:
        return stored
    shift = stored.dtype.type(unused)
    np.left_shift(stored, shift, out=stored)
    np.right_shift(stored, shift, out=stored)
    return stored


def _padding_limits(frame: Frame) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that means padding (PS3.3 C.7.5.1.1.2)."""
    value, limit = frame.pixel_padding_value, frame.pixel_padding_range_limit
    if value is None:
        return None
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _representable(limits: tuple[int, int], frame: Frame) -> bool:
    if frame.pixel_representation:
        half = 1 << (frame.bits_stored - 1)
        return -half <= limits[0] and limits[1] < half
    return limits[0] >= 0 and limits[1] < 1 << frame.bits_stored
