r"""Text of any declared or assumed character set as Unicode (S6; PS3.3 C.12.1.1.2, PS3.5 6.1).

Own decoder, because pydicom's reads undeclared bytes as Latin-1 without a word and quotes
values in its warnings (S28). What cannot be decoded becomes U+FFFD, one a byte or more: a mark
that no source has, so that it can be refused where it matters (`is_damaged`) and never lies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

#: What stands where bytes could not be decoded.
DAMAGED = "\ufffd"

#: Text VRs whose bytes depend on Specific Character Set (PS3.5 6.1.2.3).
_TEXT_VRS = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})
_ONE_VALUE_VRS = frozenset({"ST", "LT", "UT"})
_CHARSET_TAG = BaseTag(0x00080005)
_ESC = 0x1B
#: Control characters and the value delimiter end every designation; in PN `^` and `=` too.
_RESETS = frozenset(b"\t\n\f\r\\")
_PN_RESETS = _RESETS | frozenset(b"^=")

#: Stand-alone sets: no code extensions (PS3.3 Table C.12-5).
_WHOLE = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
#: Python codec of the upper half (G1) by registration number; all of them are ASCII below.
_UPPER = {
    "13": "shift_jis",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "166": "tis_620",
    "203": "iso8859_15",
    "58": "gb2312",
}
#: Sets that live in the lower half only after an escape.
_LOWER_ONLY = frozenset({"6", "14", "87", "159"})
#: Escape sequence → (which half, codec); PS3.3 Tables C.12-3 and C.12-4.
_ESCAPES: dict[bytes, tuple[str, str]] = {
    b"(B": ("lower", ""),
    b"(J": ("lower", ""),
    b"$B": ("lower", "$B"),
    b"$@": ("lower", "$B"),
    b"$(D": ("lower", "$(D"),
    b")I": ("upper", "shift_jis"),
    b"-A": ("upper", "latin_1"),
    b"-B": ("upper", "iso8859_2"),
    b"-C": ("upper", "iso8859_3"),
    b"-D": ("upper", "iso8859_4"),
    b"-F": ("upper", "iso8859_7"),
    b"-G": ("upper", "iso8859_6"),
    b"-H": ("upper", "iso8859_8"),
    b"-L": ("upper", "iso8859_5"),
    b"-M": ("upper", "iso8859_9"),
    b"-T": ("upper", "tis_620"),
    b"-b": ("upper", "iso8859_15"),
    b"$)C": ("upper", "euc_kr"),
    b"$)A": ("upper", "gb2312"),
}
#: Two-byte sets of the lower half and the Python codec that keeps their escape.
_LOWER_CODECS = {"$B": "iso2022_jp", "$(D": "iso2022_jp_2"}


@dataclass(frozen=True, kw_only=True)
class CharacterSet:
    """How the text bytes of a data set are to be read."""

    #: Codec of the whole value, "" with code extensions.
    whole: str = ""
    #: Codec of the upper half before any escape, "" = none: bytes >= 0x80 are damage.
    upper: str = ""
    #: The first declared set has that upper half itself; else it is kept over delimiters.
    upper_is_first: bool = False


def parse_charset(terms: Sequence[str], assumed: str = "") -> CharacterSet:
    r"""Return how to read text declared as `terms`; `assumed` counts if nothing is declared.

    Parameters
    ----------
    terms : sequence of str
        Values of Specific Character Set (0008,0005); common misspellings are understood.
    assumed : str
        Defined terms of the peer, values separated by a backslash; "" = none.
    """
    parsed = [_normal(term) for term in terms]
    if not any(number not in {"", "6"} for number in parsed):
        parsed = [_normal(term) for term in assumed.split("\\")]
    if parsed and parsed[0] in _WHOLE:
        return CharacterSet(whole=_WHOLE[parsed[0]])
    first = _UPPER.get(parsed[0], "") if parsed else ""
    if first:
        return CharacterSet(upper=first, upper_is_first=True)
    others = [_UPPER[number] for number in parsed[1:] if number in _UPPER]
    # Scanners of Korea and China forget the escape; one declared set leaves no doubt.
    return CharacterSet(upper=others[0] if len(others) == 1 else "")


def known_charset(term: str) -> bool:
    """Return whether `term` is a character set that we can read (for settings).

    Examples
    --------
    >>> known_charset("ISO_IR 100"), known_charset("ISO 2022 IR 87"), known_charset("LATIN")
    (True, True, False)
    """
    number = _normal(term)
    return number in _WHOLE or number in _UPPER or number in _LOWER_ONLY


def decode_text(data: bytes, charset: CharacterSet, *, person_name: bool = False) -> str:
    r"""Return `data` as text; U+FFFD stands for what `charset` does not explain.

    Examples
    --------
    >>> decode_text(b"M\xfcller", parse_charset(["ISO_IR 100"]))
    'Müller'
    >>> decode_text(b"M\xfcller", parse_charset([]))
    'M\ufffdller'
    """
    if data.isascii() and _ESC not in data:
        return data.decode("ascii")
    if charset.whole:
        return data.decode(charset.whole, errors="replace")
    return _decode_extended(data, charset, _PN_RESETS if person_name else _RESETS)


def is_damaged(text: str) -> bool:
    """Return whether some bytes of `text` could not be decoded."""
    return DAMAGED in text


def source_charset(ds: Dataset) -> tuple[str, ...]:
    """Return what Specific Character Set said before `repair_charset`; () if it was absent."""
    terms: tuple[str, ...] = getattr(ds, "_node_source_charset", ())
    return terms


def repair_charset(ds: Dataset, assumed_charset: str = "") -> Dataset:
    """Decode all text of `ds` in place and declare it ISO_IR 192.

    Parameters
    ----------
    ds : Dataset
        As read from a file, its depth already guarded (`node.dicom.scan`).
    assumed_charset : str
        Character set of undeclared 8-bit text (S6); "" leaves U+FFFD in its place.

    Returns
    -------
    Dataset
        The same `ds`; `source_charset` still tells what was declared.
    """
    _repair_level(ds, _declared(ds, ()), assumed_charset)
    return declare_unicode(ds)


def declare_unicode(ds: Dataset) -> Dataset:
    """Declare text that is known to be plain ASCII ISO_IR 192; `source_charset` remembers."""
    object.__setattr__(ds, "_node_source_charset", _declared(ds, ()))
    ds[_CHARSET_TAG] = DataElement(_CHARSET_TAG, "CS", "ISO_IR 192")
    return ds


def _repair_level(ds: Dataset, terms: tuple[str, ...], assumed: str) -> None:
    charset = parse_charset(terms, assumed)
    for tag in list(ds.keys()):
        element = ds.get_item(tag)
        if isinstance(element, RawDataElement):
            _repair_raw(ds, element, charset, lambda item: _repair_item(item, terms, assumed))
        elif element is not None and element.VR == "SQ":
            for item in element.value:
                _repair_item(item, terms, assumed)


def _repair_item(item: Dataset, outer: tuple[str, ...], assumed: str) -> None:
    """Decode one sequence item; it inherits the set of its parent unless it has its own."""
    _repair_level(item, _declared(item, outer), assumed)
    if _CHARSET_TAG in item:
        del item[_CHARSET_TAG]  # inherits ISO_IR 192 now


def _repair_raw(
    ds: Dataset,
    element: RawDataElement,
    charset: CharacterSet,
    repair_item: Callable[[Dataset], None],
) -> None:
    data = element.value
    if not isinstance(data, bytes) or (data.isascii() and _ESC not in data):
        return  # the same in every set; pydicom converts it when asked
    vr = _vr_of(element)
    if vr == "SQ":
        for item in ds[element.tag].value:
            repair_item(item)
    elif vr in _TEXT_VRS:
        value = _values(decode_text(data, charset, person_name=vr == "PN"), vr)
        ds[element.tag] = DataElement(element.tag, vr, value, validation_mode=IGNORE)


def _values(text: str, vr: str) -> object:
    if vr in _ONE_VALUE_VRS:
        return text.rstrip("\0 ")
    values = [value.rstrip("\0 ") for value in text.split("\\")]
    made = [PersonName(value, validation_mode=IGNORE) for value in values] if vr == "PN" else values
    return made[0] if len(made) == 1 else made


def _vr_of(element: RawDataElement) -> str:
    """Return the VR as far as it matters here; implicit VR has it from the dictionary."""
    if element.VR and element.VR != "UN":
        return element.VR
    if element.tag.is_private:
        return "LO" if element.tag.is_private_creator else "UN"
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"


def _declared(ds: Dataset, outer: tuple[str, ...]) -> tuple[str, ...]:
    element = ds.get_item(_CHARSET_TAG)
    if element is None:
        return outer
    value = element.value
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace").split("\\")
    terms = [value] if isinstance(value, str) else list(value or ())
    return tuple(str(term).strip("\0 ") for term in terms)


def _normal(term: str) -> str:
    """Return the name of a stand-alone set, or the registration number of an ISO set."""
    text = term.strip("\0 ").upper()
    if text in {"GBK", "ISO 2022 GBK"}:
        return "GBK"
    if text in {"GB18030", "ISO_IR 192"}:
        return text
    if text == "ISO 2022 58":  # written so by scanners of China (CP-1234)
        return "58"
    found = re.fullmatch(r"ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?(\d+)", text)
    if found is None:
        return text
    return "ISO_IR 192" if found.group(1) == "192" else found.group(1)


def _decode_extended(data: bytes, charset: CharacterSet, resets: frozenset[int]) -> str:
    """Decode text with code extensions by ISO 2022: two halves, changed by escapes."""
    parts: list[str] = []
    lower, upper, at = "", charset.upper, 0
    while at < len(data):
        if data[at] == _ESC:
            escape = next((e for e in _ESCAPES if data.startswith(e, at + 1)), b"")
            half, codec = _ESCAPES.get(escape, ("", ""))
            lower = codec if half == "lower" else lower
            upper = codec if half == "upper" else upper
            parts.append("" if escape else DAMAGED)
            at += 1 + len(escape)
            continue
        end = _run_end(data, at, two_bytes=bool(lower), resets=resets)
        if end == at:  # a delimiter: back to the first set (PS3.5 6.1.2.5.3)
            parts.append(chr(data[at]))
            lower = ""
            upper = charset.upper if charset.upper_is_first else upper
            at += 1
            continue
        parts.append(_decode_run(data[at:end], lower, upper))
        at = end
    return "".join(parts)


def _run_end(data: bytes, start: int, *, two_bytes: bool, resets: frozenset[int]) -> int:
    r"""Return where the bytes of one designation end: at an escape or a delimiter.

    Inside a two-byte set `\\`, `^` and `=` may be half of a character: only controls end it.
    """
    stops = frozenset(b"\t\n\f\r") if two_bytes else resets
    end = start
    while end < len(data) and data[end] != _ESC and data[end] not in stops:
        end += 1
    return end


def _decode_run(run: bytes, lower: str, upper: str) -> str:
    if lower and run.isascii():
        escape = b"\x1b" + lower.encode()
        return (escape + run).decode(_LOWER_CODECS[lower], errors="replace")
    return run.decode(upper or "ascii", errors="replace")
