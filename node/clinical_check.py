"""Whether a clinical value is what a manifest allows; what does not fit is refused in words."""

from __future__ import annotations

import json
import math
import re

from node.clinical_values import Value
from node.errors import ClinicalValueRefused
from node.manifest import ClinicalSpec
from node.units import converted, units_like

_YES = ("yes", "true")
_NO = ("no", "false")
#: Beyond it whole numbers have no place of their own in float64, which JSON's readers and DICOM's
#: decimals end in (RFC 8259, section 6): 9007199254740993 would become ...992.
_LARGEST = 2**53 - 1
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def checked(spec: ClinicalSpec, given: object, unit: str = "") -> Value:
    """Return a value in the unit of the manifest.

    Parameters
    ----------
    spec : ClinicalSpec
        What the manifest allows.
    given : object
        A number, a word or a flag, as JSON has them.
    unit : str
        UCUM, as it was given; "" if none was.

    Raises
    ------
    ClinicalValueRefused
        With value, unit and what is allowed: nothing is rounded, cut off or guessed.
    """
    if spec.kind == "flag":
        return _flag(spec, given, unit)
    if spec.kind == "words":
        return _word(spec, given, unit)
    return _number(spec, given, unit)


def from_text(spec: ClinicalSpec, text: str) -> object:
    """Return a word of the command line as the type that the manifest says, if it is one.

    Examples
    --------
    >>> from node.manifest import Code
    >>> spec = ClinicalSpec(name="n", kind="number", label="n", code=Code("", "", ""))
    >>> from_text(spec, "2.5"), from_text(spec, "3"), from_text(spec, "big")
    (2.5, 3, 'big')
    """
    if spec.kind == "flag":
        word = text.strip().casefold()
        return True if word in _YES else False if word in _NO else text
    if spec.kind == "words":
        return text
    if not _NUMBER.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def given_words(given: object, unit: str = "") -> str:
    """Return a value as it was given, for people, at most 64 characters.

    Examples
    --------
    >>> given_words(2.1, "cm"), given_words(True), given_words("G2")
    ('2.1 cm', 'yes', 'G2')
    """
    words = {True: "yes", False: "no"}[given] if isinstance(given, bool) else _plain(given)
    shown = f"{words} {unit}" if unit not in ("", "1") else words
    return shown if len(shown) <= 64 else shown[:61] + "…"


def allowed_words(spec: ClinicalSpec) -> str:
    """Return what a manifest allows, for people: ``1 to 200 mm``."""
    if spec.kind == "flag":
        return "yes or no"
    if spec.kind == "words":
        return f"one of {', '.join(spec.choices)}"
    low, high = spec.range.low, spec.range.high
    unit = "" if spec.unit is None or spec.unit.value == "1" else f" {spec.unit.value}"
    if math.isinf(low) and math.isinf(high):
        between = "any number"
    elif math.isinf(high):
        between = f"{low:g} or more"
    elif math.isinf(low):
        between = f"{high:g} or less"
    else:
        between = f"{low:g} to {high:g}"
    return ("a whole number, " if spec.kind == "integer" else "") + between + unit


def _plain(given: object) -> str:
    if isinstance(given, float):
        return f"{given:.12g}"
    return given if isinstance(given, str) else json.dumps(given, default=str)


def _refuse(spec: ClinicalSpec, given: object, unit: str, why: str) -> ClinicalValueRefused:
    shown = given_words(given, unit)
    return ClinicalValueRefused(f"{spec.name} = {shown}: {why}; allowed: {allowed_words(spec)}")


def _flag(spec: ClinicalSpec, given: object, unit: str) -> bool:
    if unit:
        raise _refuse(spec, given, unit, "it takes no unit")
    if not isinstance(given, bool):
        raise _refuse(spec, given, unit, _quoted(spec, given) or "it is neither yes nor no")
    return given


def _word(spec: ClinicalSpec, given: object, unit: str) -> str:
    if unit:
        raise _refuse(spec, given, unit, "it takes no unit")
    known = {choice.casefold(): choice for choice in spec.choices}
    found = known.get(given.strip().casefold()) if isinstance(given, str) else None
    if found is None:
        raise _refuse(spec, given, unit, "there is no such choice")
    return found


def _number(spec: ClinicalSpec, given: object, unit: str) -> float | int:
    number = _finite(spec, given, unit)
    wanted = spec.unit.value if spec.unit else "1"
    # Without a unit only a number that has none is meant: 20 is not 20 %, and not 0.2.
    if not unit and wanted != "1":
        units = ", ".join(units_like(wanted))
        raise _refuse(spec, given, unit, f"its unit is missing, say one of {units}")
    value = converted(number, unit or "1", wanted)
    if value is None:
        units = ", ".join(units_like(wanted))
        raise _refuse(spec, given, unit, f"its unit must be one of {units}")
    if not math.isfinite(value):
        raise _refuse(spec, given, unit, f"in {wanted} it is not a number that can be used")
    if value not in spec.range:
        raise _refuse(spec, given, unit, _outside(value, unit or "1", wanted))
    if spec.kind != "integer":
        return value
    if value != int(value):
        raise _refuse(spec, given, unit, "it is not a whole number")
    # As given too: as a float it may have come back into the range.
    if max(abs(value), abs(given) if isinstance(given, int) else 0) > _LARGEST:
        raise _refuse(spec, given, unit, f"it is beyond {_LARGEST} and would be rounded")
    return int(value)


def _quoted(spec: ClinicalSpec, given: object) -> str:
    """Return what to do about a text that says a number or a flag; "" for any other thing."""
    if not isinstance(given, str) or isinstance(from_text(spec, given), str):
        return ""
    kind = "true or false" if spec.kind == "flag" else "a number"
    return f"it is text: write {kind} without quotes"


def _finite(spec: ClinicalSpec, given: object, unit: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise _refuse(spec, given, unit, _quoted(spec, given) or "it is not a number")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _refuse(spec, given, unit, "it is not a number that can be used")
    return number


def _outside(value: float, unit: str, wanted: str) -> str:
    if unit == wanted:
        return "it is out of range"
    return f"that is {value:.12g} {wanted}, out of range"
