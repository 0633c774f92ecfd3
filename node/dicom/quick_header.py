"""Headers of well-formed files four times as fast as by `read_header`, with the same outcome.

One walk that guards the depth, keeps the raw values and finds the pixel data. Sequences stay
bytes until somebody asks. Whatever is not plain (big endian, deflated, odd VRs, other text than
ASCII in places we do not look into…) is left to `read_header`: `quick_header` returns None.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dicom.charset import declare_unicode, repair_charset

#: A header is rarely longer; then the whole file is read.
_FIRST_BYTES = 48 << 10
_LONGEST = 8 << 20
_META_START = 132
_UNDEFINED = 0xFFFFFFFF
_CHARSET = 0x00080005
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
#: As in `walk.ScanLimits`; deeper ones are refused by `read_header`.
_MAX_DEPTH = 32
_TEXT = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})
_LONG_VRS = {
    code: code.decode()
    for code in (
        *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ"),
        *(b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"),
    )
}
_SHORT_VRS = {
    code: code.decode()
    for code in (
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
}

_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHL").unpack_from
_long = struct.Struct("<L").unpack_from


@dataclass(frozen=True, kw_only=True)
class QuickHeader:
    """A header and where the native pixel data lie, if there are such."""

    dataset: Dataset
    #: Bytes in the file; None where there are none or they are encapsulated.
    pixel_offset: int | None
    pixel_length: int | None


class _Unusual(Exception):
    """Something for `read_header`; never leaves this module."""


class _TooShort(_Unusual):
    """The bytes read so far end inside the header."""


def quick_header(path: Path, *, assumed_charset: str = "") -> QuickHeader | None:
    """Return the header of a plain file as `read_header` would, None if it is not plain.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        for size in (_FIRST_BYTES, _LONGEST):
            file.seek(0)
            try:
                return _parse(file.read(size) or b"", assumed_charset)
            except _TooShort:
                continue
            except (_Unusual, struct.error, UnicodeDecodeError):
                return None
    return None


def _parse(data: bytes, assumed_charset: str) -> QuickHeader:
    if data[128:_META_START] != b"DICM":
        raise _Unusual
    meta = _Walk(data, explicit=True)
    start = meta.top_level(_META_START, meta=True)
    file_meta = FileMetaDataset(meta.elements)  # type: ignore[arg-type]
    syntax = str(file_meta.get("TransferSyntaxUID", ""))
    if syntax in ("", DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        raise _Unusual
    explicit = syntax != ImplicitVRLittleEndian
    if explicit is not data[start + 4 : start + 6].isalpha():
        raise _Unusual
    walk = _Walk(data, explicit=explicit)
    walk.top_level(start)
    ds = Dataset(walk.elements)  # type: ignore[arg-type]
    ds.file_meta = file_meta
    ds.set_original_encoding(not explicit, True, "iso8859")
    native = syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    offset, length = walk.pixels if native and walk.pixels else (None, None)
    return QuickHeader(
        dataset=repair_charset(ds, assumed_charset) if walk.other_text else declare_unicode(ds),
        pixel_offset=offset,
        pixel_length=length,
    )


class _Walk:
    """One walk over little-endian elements."""

    def __init__(self, data: bytes, *, explicit: bool):
        self.data = data
        self.explicit = explicit
        self.elements: dict[BaseTag, RawDataElement] = {}
        #: Text that is not plain ASCII, or a character set of its own in an item.
        self.other_text = False
        self.pixels: tuple[int, int] | None = None

    def top_level(self, position: int, *, meta: bool = False) -> int:
        """Keep the elements up to the pixel data (or of group 2); return where the walk ended."""
        data, size, elements = self.data, len(self.data), self.elements
        explicit = self.explicit
        while position < size:
            if meta and data[position : position + 2] != b"\2\0":
                return position
            tag, vr, start, length = self._element(position)
            if tag in _PIXELS:
                whole_numbers = tag == 0x7FE00010 and length != _UNDEFINED
                self.pixels = (start, length) if whole_numbers else None
                return position
            if length == _UNDEFINED:
                position = self._items(start, size, 1)
                end = position - 8
            else:
                position = end = start + length
                if end > size:
                    raise _TooShort
                if vr == "SQ":
                    self._items(start, end, 1, defined=True)
            value = data[start:end] if end > start else _empty(vr)
            if vr in _TEXT:
                self._look(value)
            kept = BaseTag(tag)
            elements[kept] = RawDataElement(
                kept, vr if explicit else None, length, value, start, not explicit, True
            )
        if size in (_FIRST_BYTES, _LONGEST):
            raise _TooShort
        return position

    def _element(self, position: int) -> tuple[int, str, int, int]:
        """Return tag, VR, start and length of the value of the element at `position`."""
        data = self.data
        if position + 12 > len(data):
            raise _TooShort
        if not self.explicit:
            group, element, length = _implicit(data, position)
            tag = group << 16 | element
            vr = _known_vr(tag)
            start = position + 8
        else:
            group, element, code, length = _explicit(data, position)
            tag = group << 16 | element
            start = position + 8
            vr = _SHORT_VRS.get(code, "")
            if not vr:
                vr = _LONG_VRS.get(code, "")
                length = _long(data, start)[0]
                start += 4
        if not vr or group == 0xFFFE:
            raise _Unusual
        if vr == "UN" and (length == _UNDEFINED or data[start : start + 4] == b"\xfe\xff\x00\xe0"):
            raise _Unusual
        if length == _UNDEFINED and vr != "SQ" and tag not in _PIXELS:
            raise _Unusual
        return tag, vr, start, length

    def _items(self, position: int, end: int, depth: int, *, defined: bool = False) -> int:
        """Walk over the items of a sequence; return where it ends, its delimiter included."""
        if depth > _MAX_DEPTH:
            raise _Unusual
        while not defined or position < end:
            if position + 8 > end:
                raise _Unusual if defined else _TooShort
            group, element, length = _implicit(self.data, position)
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END and not defined and length == 0:
                return position
            if tag != _ITEM:
                raise _Unusual
            if length == _UNDEFINED:
                position = self._item(position, end, depth, defined=False)
            else:
                if position + length > end:
                    raise _Unusual if defined else _TooShort
                position = self._item(position, position + length, depth, defined=True)
        if position != end:
            raise _Unusual
        return position

    def _item(self, position: int, end: int, depth: int, *, defined: bool) -> int:
        """Walk over the elements of one item; return where it ends, its delimiter included."""
        data = self.data
        while position < end:
            if not defined and data[position : position + 4] == b"\xfe\xff\x0d\xe0":
                return position + 8
            tag, vr, start, length = self._element(position)
            if tag == _CHARSET:
                self.other_text = True
            if length == _UNDEFINED:
                position = self._items(start, end, depth + 1)
                continue
            position = start + length
            if position > end:
                raise _Unusual if defined else _TooShort
            if vr == "SQ":
                self._items(start, position, depth + 1, defined=True)
            elif vr in _TEXT:
                self._look(data[start:position])
        if not defined:
            raise _TooShort
        return position

    def _look(self, value: bytes | None) -> None:
        if value and (not value.isascii() or b"\x1b" in value):
            self.other_text = True


@cache
def _known_vr(tag: int) -> str:
    """Return the VR of an element without one; private and unknown ones are UN."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return vr if vr in _TEXT or vr == "SQ" else "other"


@cache
def _empty(vr: str) -> bytes | None:
    value: bytes | None = empty_value_for_VR(vr, raw=True)  # type: ignore[assignment]
    return value
