"""Header values as plain Python values; what is empty, absent or unreadable is None.

Tolerant on purpose: whether a missing value matters is judged where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pydicom import Dataset
from pydicom.multival import MultiValue

#: Keyword → value as pydicom has it, or None.
Lookup = Callable[[str], object]

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OverflowError)


def lookup_in(ds: Dataset) -> Lookup:
    """Return a look-up of top-level attributes that never raises for what a value says."""

    def look_up(keyword: str) -> object:
        try:
            value: object = ds.get(keyword)
        except _UNREADABLE:
            return None
        return value

    return look_up


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
