"""A walk over an encoded data set that never recurses and reads no value it does not need.

What the C-STORE handler and every later reader run first: it finds the UIDs and where the
pixel data lie, and stops objects that are nested, inflated or cut so that a parser would
fall over them.
"""

from __future__ import annotations

import hashlib
import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.dicom.walk import WANTED, Fault, ScanLimits, Walk
from node.errors import MalformedDataset

__all__ = ["Buffer", "Fault", "Header", "ScanLimits", "scan"]

Buffer = bytes | bytearray | memoryview | mmap.mmap


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a walk found, as far as it came."""

    #: The data set, inflated if it was deflated; offsets count in it.
    dataset: memoryview
    #: Whether `dataset` was inflated: offsets do not count in the file then.
    inflated: bool
    #: Raw value by tag: top-level, some identifying attributes only.
    values: Mapping[int, bytes]
    big_endian: bool
    #: Value of the first pixel data element; None where there is none. `pixel_end` is the end
    #: of the data set if the value is cut off.
    pixel_start: int | None
    pixel_end: int | None
    #: The pixel data element says more bytes than there are, or its fragments do not end.
    pixels_truncated: bool
    deepest: int
    #: The first thing that is wrong before the pixel data, None if the walk came through.
    fault: Fault | None

    def text(self, keyword: str) -> str:
        """Return a kept value as ASCII text without padding; "" if absent.

        Bytes beyond ASCII become U+FFFD: names are decoded elsewhere (S6).
        """
        return self.values.get(WANTED[keyword], b"").decode("ascii", "replace").strip(" \0")

    def uid(self, keyword: str) -> str:
        """Return a kept UID without padding, "" if absent; not checked."""
        return self.text(keyword)

    def pixel_sha256(self) -> str:
        """Return the SHA-256 of the encoded pixel data value, "" if there is none."""
        if self.pixel_start is None:
            return ""
        return hashlib.sha256(self.dataset[self.pixel_start : self.pixel_end]).hexdigest()

    def require_sound(self) -> None:
        """Raise `MalformedDataset` if the walk met a fault."""
        if self.fault is not None:
            raise MalformedDataset(self.fault.sentence, code=self.fault.code)


def scan(data: Buffer, transfer_syntax_uid: str, *, limits: ScanLimits | None = None) -> Header:
    """Walk over an encoded data set (without group 2) up to its pixel data.

    Never raises for what the bytes say: look at `Header.fault`, or call `require_sound`.

    Parameters
    ----------
    data : bytes-like
        The data set as transferred. An mmap must stay open as long as the `Header` lives.
    transfer_syntax_uid : str
        How it is encoded; any compressed syntax counts as explicit VR little endian.
    """
    limits = limits or ScanLimits()
    view = memoryview(data)
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return _scan_deflated(view, limits)
    walk = Walk(
        view,
        explicit=transfer_syntax_uid != ImplicitVRLittleEndian,
        big_endian=transfer_syntax_uid == ExplicitVRBigEndian,
        limits=limits,
    )
    walk.run()
    return _header(walk)


def _scan_deflated(view: memoryview, limits: ScanLimits) -> Header:
    # PS3.5 A.5: a raw deflate stream (RFC 1951), padded to an even length.
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    fault = None
    try:
        inflated = inflater.decompress(view, limits.max_inflated_bytes)
        if inflater.unconsumed_tail:
            fault = Fault(
                code="INFLATED_TOO_LARGE",
                sentence=f"inflates to more than {limits.max_inflated_bytes} bytes",
            )
    except zlib.error:
        inflated = b""
        fault = Fault(code="MALFORMED", sentence="the deflated data set cannot be inflated")
    walk = Walk(memoryview(inflated), explicit=True, big_endian=False, limits=limits)
    walk.fault = fault
    walk.run()
    return _header(walk, inflated=True)


def _header(walk: Walk, *, inflated: bool = False) -> Header:
    start, end = walk.pixel or (None, None)
    return Header(
        dataset=walk.view,
        inflated=inflated,
        values=walk.values,
        big_endian=walk.big_endian,
        pixel_start=start,
        pixel_end=end,
        pixels_truncated=walk.pixels_truncated,
        deepest=walk.deepest,
        fault=walk.fault,
    )
