"""Stored values of frames of a SEG: bits or integers, native or compressed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from node.dicom.headers import quiet_pydicom
from node.dicom.pixels import PixelsUndecodable, decode, syntax_name
from node.dicom.values import lookup_in, whole
from node.errors import RefusalCode, Refused

#: (PS3.5 A.4.13) Each frame is a stream of deflate without header.
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_RLE_HEADER = 64
#: Pixel data as they are. (pydicom 3.0 does not know that deflated frames are encapsulated.)
_NATIVE = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)
#: Bits allocated → bytes of one value.
_WHOLE_BYTES = {8: 1, 16: 2, 32: 4}

#: What pydicom raises where the bytes behind a sound header are none it knows.
_UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

Stored = NDArray[np.generic]


def stored_frames(ds: Dataset, path: Path, indices: Sequence[int]) -> Iterator[tuple[int, Stored]]:
    """Yield (index, stored values of shape (rows, columns)) of frames of a SEG.

    Parameters
    ----------
    ds : Dataset
        Its header, from `read_header`.
    path : Path
    indices : ascending sequence of int
        Frames, from 0.

    Raises
    ------
    Refused
        PIXELS_MISSING, PIXELS_TRUNCATED, PIXELS_UNDECODABLE or PIXEL_FORMAT_UNSUITABLE.
    """
    if not indices:
        return
    bits = whole(lookup_in(ds)("BitsAllocated")) or 0
    if bits != 1 and bits not in _WHOLE_BYTES:
        raise Refused(RefusalCode.PIXEL_FORMAT_UNSUITABLE, f"Bits Allocated is {bits}")
    syntax = str(ds.file_meta.TransferSyntaxUID)
    if syntax not in _NATIVE and bits != 1 and syntax != _DEFLATED_FRAMES:
        yield from _decoded(path, syntax, indices)
        return
    data = _pixel_data(path)
    if syntax not in _NATIVE:
        yield from _unwrapped(ds, data, syntax, indices)
        return
    shape, count = _shape(ds), whole(lookup_in(ds)("NumberOfFrames")) or 1
    expected = (shape[0] * shape[1] * count * bits + 7) // 8
    if len(data) < expected:
        raise _truncated(len(data), expected)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    for index in indices:
        yield index, _native(data, shape, bits, index, order)


def _shape(ds: Dataset) -> tuple[int, int]:
    rows, columns = whole(lookup_in(ds)("Rows")) or 0, whole(lookup_in(ds)("Columns")) or 0
    if min(rows, columns) < 1:
        raise Refused(RefusalCode.PIXEL_FORMAT_UNSUITABLE, "rows or columns are not told")
    return rows, columns


def _pixel_data(path: Path) -> bytes:
    try:
        with quiet_pydicom():
            data = lookup_in(pydicom.dcmread(path))("PixelData")
    except _UNREADABLE:
        raise Refused(
            RefusalCode.PIXELS_UNDECODABLE, "the pixel data of the segmentation cannot be parsed"
        ) from None
    if not isinstance(data, bytes) or not data:
        raise Refused(RefusalCode.PIXELS_MISSING, "the segmentation has no pixel data")
    return data


def _native(data: bytes, shape: tuple[int, int], bits: int, index: int, order: str) -> Stored:
    """Return one frame; those of 1 bit follow each other without padding (PS3.5 8.1.1)."""
    size = shape[0] * shape[1]
    start = index * size
    if bits == 1:
        raw = np.frombuffer(data, np.uint8)[start // 8 : (start + size + 7) // 8]
        flat = np.unpackbits(raw, bitorder="little")[start % 8 : start % 8 + size]
        return flat.reshape(shape)
    width = _WHOLE_BYTES[bits]
    values = np.frombuffer(data, f"{order}u{width}", count=size, offset=start * width)
    return values.reshape(shape)


def _decoded(path: Path, syntax: str, indices: Sequence[int]) -> Iterator[tuple[int, Stored]]:
    try:
        yield from zip(indices, decode(path, indices), strict=True)
    except PixelsUndecodable:
        raise _undecodable(syntax) from None


def _unwrapped(
    ds: Dataset, data: bytes, syntax: str, indices: Sequence[int]
) -> Iterator[tuple[int, Stored]]:
    """Yield frames whose compressed form holds the packed bits (or bytes) themselves."""
    shape, count = _shape(ds), whole(lookup_in(ds)("NumberOfFrames")) or 1
    bits = whole(lookup_in(ds)("BitsAllocated")) or 0
    size = (shape[0] * shape[1] * bits + 7) // 8
    wanted = frozenset(indices)
    try:
        for index, frame in enumerate(generate_frames(data, number_of_frames=count)):
            if index in wanted:
                plain = _plain(frame, syntax, size)
                if len(plain) < size:
                    raise _truncated(len(plain), size)
                yield index, _native(plain, shape, bits, 0, "<")
    except (EOFError, IndexError, ValueError, struct.error, zlib.error):
        raise _undecodable(syntax) from None


def _plain(frame: bytes, syntax: str, size: int) -> bytes:
    if syntax == _DEFLATED_FRAMES:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size)
    if syntax == RLELossless:
        if int.from_bytes(frame[:4], "little") != 1:
            raise ValueError("not one RLE segment")
        return unpacked(frame[_RLE_HEADER:], size)
    raise _undecodable(syntax)


def unpacked(data: bytes, size: int) -> bytes:
    r"""Return at most `size` bytes of one RLE segment (PS3.5 G.3.2).

    Examples
    --------
    >>> unpacked(b"\xfe\x07\x01\x08\x09", 5)
    b'\x07\x07\x07\x08\t'
    """
    out = bytearray()
    place = 0
    while place < len(data) and len(out) < size:
        code = data[place]
        if code < 128:
            out += data[place + 1 : place + 2 + code]
            place += 2 + code
        elif code > 128:
            out += data[place + 1 : place + 2] * (257 - code)
            place += 2
        else:
            place += 1
    return bytes(out[:size])


def _truncated(found: int, expected: int) -> Refused:
    return Refused(
        RefusalCode.PIXELS_TRUNCATED, f"{found} bytes of pixel data, {expected} are expected"
    )


def _undecodable(syntax: str) -> Refused:
    return Refused(
        RefusalCode.PIXELS_UNDECODABLE, f"segments in {syntax_name(syntax)} cannot be decoded"
    )
