"""Header values as plain Python values; what is empty, absent or unreadable is None.

Tolerant on purpose: whether a missing value matters is judged where it is used.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import cache, lru_cache

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

#: Keyword → value: text (a tuple of several), a number, a sequence, or None.
Lookup = Callable[[str], object]

_STRINGS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})


def lookup_in(ds: Dataset) -> Lookup:
    """Return a look-up of top-level attributes that never raises for what a value says.

    Strings of numbers (DS, IS) may come as text; `number` and `numbers` read them. Does not
    convert them inside `ds`: in a series most values are the same a hundred times over.
    """

    def look_up(keyword: str) -> object:
        tag, vr = _tag_and_vr(keyword)
        element = ds.get_item(tag, keep_deferred=True)
        if element is None:
            return None
        if isinstance(element, RawDataElement) and element.value is not None:
            vr = element.VR or vr
            if vr in _STRINGS:
                return _strings(element.value)
            if vr == "US" and len(element.value) == 2:
                order = "<H" if element.is_little_endian else ">H"
                return struct.unpack(order, element.value)[0]
        try:
            value: object = ds[tag].value
        except Exception:  # noqa: BLE001 border: pydicom raises many kinds of a broken value
            return None
        return value

    return look_up


@cache
def _tag_and_vr(keyword: str) -> tuple[BaseTag, str]:
    tag = Tag(keyword)
    return tag, dictionary_VR(tag)


@lru_cache(maxsize=4096)
def _strings(value: bytes) -> str | tuple[str, ...]:
    whole_text = value.decode("ascii", errors="replace").rstrip("\0 ")
    return tuple(whole_text.split("\\")) if "\\" in whole_text else whole_text


def text(value: object) -> str:
    r"""Return one value as text, the first of several; "" for None.

    Examples
    --------
    >>> text(None), text(" B30f "), text(["1", "2"])
    ('', 'B30f', '1')
    """
    if value is None:
        return ""
    if isinstance(value, list | tuple | MultiValue):
        return text(value[0]) if len(value) else ""
    return str(value).strip(" \0")


def texts(value: object) -> tuple[str, ...]:
    """Return all values as text; () for None."""
    if value is None or value == "":
        return ()
    many = value if isinstance(value, list | tuple | MultiValue) else (value,)
    return tuple(str(one).strip(" \0") for one in many)


def number(value: object) -> float | None:
    """Return one finite number, else None.

    Examples
    --------
    >>> number("1.5"), number(""), number("1A"), number("nan")
    (1.5, None, None, None)
    """
    try:
        found = float(text(value) if not isinstance(value, int | float) else value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """Return one whole number, else None."""
    found = number(value)
    return None if found is None or found != int(found) else int(found)


def numbers(value: object, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite numbers, else None."""
    if not isinstance(value, list | tuple | MultiValue) or len(value) != count:
        return None
    found = [number(one) for one in value]
    clean = tuple(one for one in found if one is not None)
    return clean if len(clean) == count else None
