"""The walk itself: a stack instead of recursion, every step moves forward (PS3.5 7)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword

#: Values that are kept: top-level, by tag.
_WANTED_KEYWORDS: Final = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "AccessionNumber",
    "Modality",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "NumberOfFrames",
)
#: Keyword → tag.
WANTED: Final[Mapping[str, int]] = {
    word: tag for word in _WANTED_KEYWORDS if (tag := tag_for_keyword(word)) is not None
}
_WANTED_TAGS: Final = frozenset(WANTED.values())
_LONGEST_KEPT: Final = 4096
_PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_TRAILING_PADDING: Final = 0xFFFCFFFC
_UNDEFINED: Final = 0xFFFFFFFF
#: VRs whose explicit length has 32 bits (PS3.5 7.1.2).
LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
#: Above this nesting not even the walk goes on: the stack itself would eat the memory.
_HOPELESS_DEPTH: Final = 10_000
#: A single value as long as this is bulk (a document, a waveform), not header.
_BULK_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ScanLimits:
    """How deep and how large a header may be."""

    max_depth: int = 32
    max_header_bytes: int = 64 << 20
    #: A deflated data set may become so large.
    max_inflated_bytes: int = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why an object must not be parsed: stable code, sentence without values."""

    #: ``MALFORMED``, ``TOO_DEEP``, ``HEADER_TOO_LARGE`` or ``INFLATED_TOO_LARGE``.
    code: str
    sentence: str


@dataclass(slots=True)
class _Container:
    """A sequence or an item that the walk is inside of."""

    is_item: bool
    #: Where it ends at the latest, by its own length or by that of one around it.
    bound: int | None
    #: Encoding of the elements inside.
    explicit: bool
    #: Perhaps only looks like a sequence: its faults are its own, the walk goes on behind it.
    guessed_end: int | None


class _Broken(Exception):
    """The walk cannot go on from here."""

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.sentence = sentence


class Walk:
    """One walk and what it found; `run` goes it."""

    def __init__(self, view: memoryview, *, explicit: bool, big_endian: bool, limits: ScanLimits):
        self.view = view
        self.end = len(view)
        self.explicit = explicit
        self.big_endian = big_endian
        self.limits = limits
        order = ">" if big_endian else "<"
        self._tag_length = struct.Struct(f"{order}HHL").unpack_from
        self._short = struct.Struct(f"{order}H").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from
        self.position = 0
        self.stack: list[_Container] = []
        self.values: dict[int, bytes] = {}
        self.fault: Fault | None = None
        self.deepest = 0
        self.bulk_bytes = 0
        self.pixel: tuple[int, int] | None = None
        self.pixels_truncated = False
        #: Where the top-level element that the walk is inside of ends, if it says so.
        self.top_end: int | None = None

    def run(self) -> None:
        """Walk to the pixel data, to the end, or to where nothing can be understood."""
        self.explicit = self._looks_explicit(self.explicit)
        running = True
        while running:
            try:
                running = self._step()
            except _Broken as broken:
                running = self._recover(broken)

    def _step(self) -> bool:
        """Go over one element, item or delimiter; return whether there is more."""
        self._leave_what_ended()
        if self.position >= self.end:
            if self.stack:
                raise _Broken("ends inside a sequence")
            return False
        if self.position - self.bulk_bytes > self.limits.max_header_bytes:
            self._note("HEADER_TOO_LARGE", f"header above {self.limits.max_header_bytes} bytes")
            return False
        if self.position + 8 > self.end:
            raise _Broken(f"{self.end - self.position} stray bytes at the end")
        group, element, length = self._tag_length(self.view, self.position)
        tag = group << 16 | element
        if group == 0xFFFE:
            self._structure(tag, length)
            return True
        return self._element(tag, length)

    def _leave_what_ended(self) -> None:
        while self.stack:
            bound = self.stack[-1].bound
            if bound is None or self.position < bound:
                return
            self.stack.pop()
        self.top_end = None

    def _structure(self, tag: int, length: int) -> None:
        """Go over an item's start or a delimiter (PS3.5 7.5)."""
        self.position += 8
        if tag == _ITEM:
            if not self.stack or self.stack[-1].is_item:
                raise _Broken("an item outside of a sequence")
            outer = self.stack[-1]
            self._enter(is_item=True, length=length, explicit=outer.explicit, guessed=False)
            self.stack[-1].explicit = self._looks_explicit(outer.explicit)
        elif tag not in (_ITEM_END, _SEQUENCE_END):
            raise _Broken("an unknown tag of group FFFE")
        elif self.stack and self.stack[-1].is_item is (tag == _ITEM_END):
            self.stack.pop()
        elif self.stack and length:
            raise _Broken("a delimiter with a length in the wrong place")
        # Delimiters too many, of length 0, are common and change nothing.

    def _element(self, tag: int, length: int) -> bool:
        """Go over one data element; return whether there is more."""
        if self.stack and not self.stack[-1].is_item:
            raise _Broken(f"element {_shown(tag)} between the items of a sequence")
        explicit = self.stack[-1].explicit if self.stack else self.explicit
        vr = b""
        start = self.position + 8
        if explicit:
            vr = bytes(self.view[self.position + 4 : self.position + 6])
            if not (vr.isalpha() and vr.isupper()):
                vr = b""  # an implicit element in an explicit data set: written by some
            elif vr in LONG_VRS:
                if start + 4 > self.end:
                    raise _Broken(f"ends inside element {_shown(tag)}")
                length = self._long(self.view, start)[0]
                start += 4
            else:
                length = self._short(self.view, self.position + 6)[0]
        if not self.stack:
            if tag in _PIXEL_TAGS:
                return self._pixels(start, length)
            if tag == _TRAILING_PADDING:
                return False
        self._value(tag, vr, start, length)
        return True

    def _value(self, tag: int, vr: bytes, start: int, length: int) -> None:
        if length == _UNDEFINED:
            self.position = start
            # PS3.5 6.2.2: UN of undefined length is a sequence in implicit VR.
            explicit = vr not in (b"UN", b"")
            self._enter(is_item=False, length=length, explicit=explicit, guessed=False)
            return
        end = start + length
        if end > self._bound():
            raise _Broken(f"element {_shown(tag)} says {length} bytes, fewer are left")
        if self._is_sequence(vr, start, length):
            self.position = start
            guessed = vr != b"SQ" and not _known_sequence(tag)
            explicit = vr == b"SQ"
            self._enter(is_item=False, length=length, explicit=explicit, guessed=guessed)
            return
        if not self.stack:
            self.top_end = None
            if tag in _WANTED_TAGS and length <= _LONGEST_KEPT:
                self.values[tag] = bytes(self.view[start:end])
            if length >= _BULK_BYTES:
                self.bulk_bytes += length
        self.position = end

    def _is_sequence(self, vr: bytes, start: int, length: int) -> bool:
        if vr == b"SQ":
            return True
        if vr not in (b"", b"UN") or length < 8:
            return False
        group, element, _ = self._tag_length(self.view, start)
        return bool(group << 16 | element == _ITEM)

    def _enter(self, *, is_item: bool, length: int, explicit: bool, guessed: bool) -> None:
        outer = self.stack[-1] if self.stack else None
        bound = outer.bound if outer else None
        if length != _UNDEFINED:
            bound = self.position + length
            if bound > self._bound():
                raise _Broken("an item or sequence says more bytes than are left")
        if outer is None:
            self.top_end = bound
        guessed_end = outer.guessed_end if outer else None
        if guessed and guessed_end is None:
            guessed_end = bound
        self.stack.append(_Container(is_item, bound, explicit, guessed_end))
        depth = (len(self.stack) + 1) // 2
        self.deepest = max(self.deepest, depth)
        if depth > self.limits.max_depth:
            self._note("TOO_DEEP", f"sequences nested deeper than {self.limits.max_depth}")
        if depth > _HOPELESS_DEPTH:
            raise _Broken("sequences nested without end")

    def _bound(self) -> int:
        bound = self.stack[-1].bound if self.stack else None
        return self.end if bound is None else bound

    def _recover(self, broken: _Broken) -> bool:
        """Leave what is broken, if it says where it ends; return whether the walk goes on."""
        guessed_end = self.stack[-1].guessed_end if self.stack else None
        if guessed_end is not None and self.deepest <= _HOPELESS_DEPTH:
            while self.stack and self.stack[-1].guessed_end == guessed_end:
                self.stack.pop()
            self.position = guessed_end
            return True
        self._note("MALFORMED", broken.sentence)
        if not self.stack or self.top_end is None:
            return False
        self.stack.clear()
        self.position, self.top_end = self.top_end, None
        return True

    def _note(self, code: str, sentence: str) -> None:
        self.fault = self.fault or Fault(code=code, sentence=sentence)

    def _looks_explicit(self, expected: bool) -> bool:
        """Return how the elements from here on are encoded, whatever was announced.

        Data sets in the other VR encoding than announced exist, as do explicit items inside
        of implicit sequences: two capital letters behind the first tag tell (as in pydicom).
        """
        if self.position + 8 > self.end:
            return expected
        group, _, _ = self._tag_length(self.view, self.position)
        if group == 0xFFFE:
            return expected
        vr = bytes(self.view[self.position + 4 : self.position + 6])
        return vr.isalpha() and vr.isupper()

    def _pixels(self, start: int, length: int) -> bool:
        """Find the end of the pixel data value; always ends the walk."""
        if length != _UNDEFINED:
            self.pixels_truncated = start + length > self.end
            self.pixel = (start, min(start + length, self.end))
            return False
        position = start
        while position + 8 <= self.end:
            group, element, size = self._tag_length(self.view, position)
            tag = group << 16 | element
            if tag != _ITEM or size == _UNDEFINED:
                break
            position += 8 + size
        else:
            tag = 0
        self.pixels_truncated = tag != _SEQUENCE_END
        self.pixel = (start, self.end if self.pixels_truncated else position)
        return False


def _shown(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _known_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"
