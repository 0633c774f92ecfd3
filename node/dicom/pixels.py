"""Stored pixel values of frames: native ones straight from the file, compressed ones by codecs."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom.frames import Frame
from node.dicom.headers import quiet_pydicom
from node.dicom.part10 import scan_file
from node.errors import RefusalCode, Refused

Pixels = NDArray[np.generic]

_LITTLE_ENDIAN = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
_JPEG = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 57, 70))
_JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (80, 81))
_JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (90, 91, 201, 202, 203))
_RLE = "1.2.840.10008.1.2.5"
#: Transfer syntax → codec, the fastest right one measured.
_CODECS = {
    **dict.fromkeys(_JPEG, "gdcm"),
    **dict.fromkeys(_JPEG_LS, "pyjpegls"),
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
    _RLE: "pylibjpeg",
}
#: About how long a codec takes, in seconds per million pixels (measured on CT images).
_SECONDS_PER_MEGAPIXEL = {
    **dict.fromkeys(_JPEG, 0.024),
    **dict.fromkeys(_JPEG_LS, 0.018),
    **dict.fromkeys(_JPEG_2000, 0.09),
}
_FAULTS = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class PixelsUndecodable(ValueError):
    """A codec failed; `decoding` turns it into a refusal with the transfer syntax."""


def is_native(frame: Frame) -> bool:
    """Return whether the frame's values lie in the file as they are, at a known place."""
    return (
        frame.pixel_offset is not None
        and frame.bits_allocated in (8, 16, 32)
        and frame.transfer_syntax_uid in _LITTLE_ENDIAN
    )


def stored_dtype(frame: Frame) -> np.dtype[np.generic]:
    """Return the dtype of a frame's stored values in this machine's byte order.

    Raises
    ------
    Refused
        PIXEL_FORMAT_UNSUITABLE if Bits Allocated is not 8, 16 or 32.
    """
    if frame.bits_allocated not in (8, 16, 32):
        raise Refused(
            RefusalCode.PIXEL_FORMAT_UNSUITABLE,
            f"Bits Allocated is {frame.bits_allocated}, not 8, 16 or 32",
        )
    kind = "i" if frame.pixel_representation else "u"
    return np.dtype(f"{kind}{frame.bits_allocated // 8}")


def decoding_seconds(frame: Frame) -> float:
    """Return about how long decoding a frame takes."""
    cost = _SECONDS_PER_MEGAPIXEL.get(frame.transfer_syntax_uid, 0.002)
    return cost * frame.rows * frame.columns / 1e6


def read_native(frame: Frame, out: Pixels) -> None:
    """Read the bytes of one native frame into `out`, nothing changed.

    Parameters
    ----------
    frame : Frame
        With `is_native`.
    out : integers, shape (rows, columns), contiguous, dtype `stored_dtype`
        Gets all bits allocated, those above Bits Stored included.

    Raises
    ------
    Refused
        PIXELS_TRUNCATED if there are fewer bytes than the header says, PIXEL_FORMAT_UNSUITABLE
        if there are more.
    """
    if frame.pixel_offset is None or frame.pixel_length is None:
        raise ValueError("not a native frame")
    size = out.nbytes
    _check_length(frame, frame.pixel_length, size * frame.number_of_frames)
    with frame.path.open("rb", buffering=0) as file:
        file.seek(frame.pixel_offset + max(frame.frame_number - 1, 0) * size)
        view = memoryview(out.data).cast("B")
        got = file.readinto(view)
        while got is not None and 0 < got < size and (more := file.readinto(view[got:])):
            got += more
    if got != size:
        raise _truncated(got or 0, size)


def check_encoded(frame: Frame) -> None:
    """Check that the pixel data of a frame's instance can be decoded, without doing it.

    Raises
    ------
    Refused
        PIXELS_UNDECODABLE (which names the transfer syntax), PIXELS_MISSING, PIXELS_TRUNCATED
        or PIXEL_FORMAT_UNSUITABLE.
    """
    require_decodable(frame.transfer_syntax_uid)
    _, header = scan_file(frame.path)
    if header.pixel_start is None or header.pixel_end is None:
        raise Refused(RefusalCode.PIXELS_MISSING, "the image has no pixel data")
    if header.pixels_truncated:
        raise Refused(
            RefusalCode.PIXELS_TRUNCATED, "the file ends before the end of the pixel data"
        )
    if not UID(frame.transfer_syntax_uid).is_encapsulated:
        words = frame.rows * frame.columns * frame.samples_per_pixel * frame.number_of_frames
        expected = words * frame.bits_allocated // 8
        _check_length(frame, header.pixel_end - header.pixel_start, expected)


def decode(path: Path, indices: Sequence[int]) -> Iterator[Pixels]:
    """Yield the stored values of frames of one file, by pydicom and its codecs.

    Parameters
    ----------
    path : Path
        A DICOM file whose header was checked.
    indices : sequence of int
        Frames, from 0.

    Yields
    ------
    integers, shape (rows, columns)
        In this machine's byte order, to be changed at will.

    Raises
    ------
    PixelsUndecodable
        If the codec cannot make sense of the bytes.
    """
    try:
        with quiet_pydicom():
            ds = pydicom.dcmread(path)
            syntax = str(ds.file_meta.TransferSyntaxUID)
            decoder = get_decoder(syntax)
            codec = _CODECS.get(syntax, "")
            if codec not in decoder.available_plugins:
                codec = ""
            for array, _ in decoder.iter_array(
                ds, indices=list(indices), raw=True, decoding_plugin=codec
            ):
                yield _one_sample(array)
    except _FAULTS as error:
        raise PixelsUndecodable("the codec cannot decode the pixels") from error


def undecodable(frame: Frame) -> Refused:
    """Return the refusal of a frame whose codec failed."""
    name = syntax_name(frame.transfer_syntax_uid)
    return Refused(RefusalCode.PIXELS_UNDECODABLE, f"pixels in {name} cannot be decoded")


def require_decodable(transfer_syntax_uid: str) -> None:
    """Raise PIXELS_UNDECODABLE, naming the syntax, if we have no codec for it."""
    try:
        decoder = get_decoder(transfer_syntax_uid)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        raise Refused(
            RefusalCode.PIXELS_UNDECODABLE,
            f"no codec here for transfer syntax {syntax_name(transfer_syntax_uid)}",
        )


def syntax_name(transfer_syntax_uid: str) -> str:
    """Return the name of a transfer syntax and its UID.

    Examples
    --------
    >>> syntax_name("1.2.840.10008.1.2.4.80")
    'JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80)'
    """
    uid = UID(transfer_syntax_uid)
    return f"{uid.name} ({uid})" if uid.name != uid else str(uid)


def _one_sample(array: Pixels) -> Pixels:
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"shape {array.shape}, dtype {array.dtype}")
    return np.require(array, array.dtype.newbyteorder("="), ["C_CONTIGUOUS", "WRITEABLE"])


def _check_length(frame: Frame, found: int, expected: int) -> None:
    if found < expected:
        raise _truncated(found, expected)
    if found > expected + expected % 2:
        raise Refused(
            RefusalCode.PIXEL_FORMAT_UNSUITABLE,
            f"{found} bytes of pixel data where {expected} are expected for "
            f"{frame.number_of_frames} x {frame.rows} x {frame.columns}",
        )


def _truncated(found: int, expected: int) -> Refused:
    return Refused(
        RefusalCode.PIXELS_TRUNCATED, f"{found} bytes of pixel data, {expected} are expected"
    )
