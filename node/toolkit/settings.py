"""Settings of a manifest: numbers that the code cannot work with are told before a case runs."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TypeGuard


def check_numbers(
    settings: Mapping[str, object], limits: Mapping[str, tuple[float, float]]
) -> None:
    """Raise of the first setting that is no number between its limits; for the top of a module.

    Parameters
    ----------
    settings : mapping
        `[parameters]` of the manifest.
    limits : mapping of name to (least, most)
        Both included. Where both are int, the setting must be a whole number.

    Raises
    ------
    ValueError
        With the name, the value, and what to set.

    Examples
    --------
    >>> check_numbers({"slices": 3, "share": 0.6}, {"slices": (1, 31), "share": (0.0, 1.0)})
    >>> check_numbers({"slices": 2.5}, {"slices": (1, 31)})
    Traceback (most recent call last):
        ...
    ValueError: slices is 2.5 in the manifest; set a whole number from 1 to 31
    """
    for name, (least, most) in limits.items():
        is_whole = isinstance(least, int) and isinstance(most, int)
        value = settings.get(name)
        if _is_number(value, is_whole) and least <= value <= most:
            continue
        what = "a whole number" if is_whole else "a number"
        shown = "not" if value is None else repr(value)
        raise ValueError(
            f"{name} is {shown} in the manifest; set {what} from {least:g} to {most:g}"
        )


def check_ranges(settings: Mapping[str, object], *ranges: tuple[str, str]) -> None:
    """Raise of the first two settings that are no lower and upper end; for the top of a module.

    Parameters
    ----------
    settings : mapping
        `[parameters]` of the manifest.
    ranges : (name of the lower end, name of the upper end)
        Of HU, mm or whatever else. Infinite ends are no ends.

    Raises
    ------
    ValueError
        With both names, both values, and what to set.

    Examples
    --------
    >>> check_ranges({"low_hu": -160, "high_hu": 240}, ("low_hu", "high_hu"))
    >>> check_ranges({"low_hu": 240, "high_hu": -160}, ("low_hu", "high_hu"))
    Traceback (most recent call last):
        ...
    ValueError: low_hu to high_hu is 240 to -160 in the manifest; set two numbers, the lower first
    """
    for names in ranges:
        low, high = (settings.get(name) for name in names)
        if _is_number(low, False) and _is_number(high, False) and -inf < low < high < inf:
            continue
        raise ValueError(
            f"{names[0]} to {names[1]} is {low!r} to {high!r} in the manifest; "
            "set two numbers, the lower first"
        )


def _is_number(value: object, is_whole: bool) -> TypeGuard[float]:
    """Tell whether a value of a manifest is a number; `true` is an int to Python only."""
    return isinstance(value, int if is_whole else (int, float)) and not isinstance(value, bool)
