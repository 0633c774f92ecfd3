"""Does a rule's condition hold for a series, and what was found for each predicate."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.multival import MultiValue

from node.condition_file import CLOCK_VRS, NUMBER_VRS, OWN_NAMES, Value, clock_key
from node.dicom.age import age_in_years
from node.dicom.enhanced import frame_lookups, is_enhanced
from node.dicom.headers import quiet_pydicom
from node.dicom.values import lookup_in, number
from node.keywords import vr_of
from node.patterns import LONGEST_VALUE
from node.settings import Condition

#: Values in `explain` are cut to so many characters.
_SHOWN = 80


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What rules may ask about one series: by name, every value; () = absent."""

    values: Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One predicate or joining word of a condition, and whether it held."""

    #: How deep it stands in the condition.
    depth: int
    #: As a person would say it: ``SliceThickness max 3.0``, ``any``.
    said: str
    #: The value that was found; "" for joining words, ``absent`` where there is none.
    found: str
    held: bool


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Whether a condition holds, with every line of it."""

    matched: bool
    lines: tuple[Line, ...]


def facts_of(
    header: Dataset, condition: Condition, *, called_ae: str = "", peer: str = ""
) -> Facts:
    """Return what `condition` asks about the series of this header.

    In an enhanced multi-frame image the values of its first frame count where the top level
    has none.

    Parameters
    ----------
    header : Dataset
        Of one instance of the series.
    condition : Condition
        Only what it names is looked up.
    """
    values: dict[str, tuple[Value, ...]] = {"called_ae": _texts(called_ae), "peer": _texts(peer)}
    with quiet_pydicom():
        lookups = [lookup_in(header)]
        if is_enhanced(header):
            lookups += frame_lookups(header)[:1]
        for name in _names(condition) - set(OWN_NAMES):
            found = (_values(name, look(name)) for look in lookups)
            values[name] = next((value for value in found if value), ())
    return Facts(values=values)


def evaluate(condition: Condition, facts: Facts) -> Evaluation:
    """Evaluate a condition, every part of it, so that all of it can be explained.

    An absent attribute satisfies no predicate; only ``not`` turns that around.

    Examples
    --------
    >>> ct = Condition(operator="equals", name="Modality", value="CT")
    >>> evaluate(ct, Facts(values={"Modality": ("CT",)})).matched
    True
    >>> evaluate(ct, Facts(values={})).lines[0].found
    'absent'
    """
    lines: list[Line] = []
    matched = _evaluate(condition, facts, 0, lines)
    return Evaluation(matched=matched, lines=tuple(lines))


def _evaluate(condition: Condition, facts: Facts, depth: int, lines: list[Line]) -> bool:
    if condition.operator in _JOIN:
        place = len(lines)
        held = _JOIN[condition.operator](
            [_evaluate(child, facts, depth + 1, lines) for child in condition.children]
        )
        lines.insert(place, Line(depth=depth, said=condition.operator, found="", held=held))
        return held
    values = facts.values.get(condition.name, ())
    held = bool(values) and _HOLDS[condition.operator](values, condition.value)
    lines.append(Line(depth=depth, said=_said(condition), found=shown_values(values), held=held))
    return held


_JOIN: Mapping[str, Callable[[list[bool]], bool]] = {
    "all": all,
    "any": any,
    "not": lambda parts: not all(parts),
}

Wanted = Value | tuple[Value, ...]


def _equals(values: tuple[Value, ...], wanted: Wanted) -> bool:
    # A multi-valued attribute as a whole, as DICOM writes it, or any one of its values.
    return wanted in values or (len(values) > 1 and wanted == "\\".join(map(str, values)))


def _in(values: tuple[Value, ...], wanted: Wanted) -> bool:
    return any(_equals(values, one) for one in _many(wanted))


def _has(values: tuple[Value, ...], wanted: Wanted) -> bool:
    return all(one in values for one in _many(wanted))


def _min(values: tuple[Value, ...], wanted: Wanted) -> bool:
    return all(_ordered(wanted, value) for value in values)


def _max(values: tuple[Value, ...], wanted: Wanted) -> bool:
    return all(_ordered(value, wanted) for value in values)


def _like(values: tuple[Value, ...], wanted: Wanted) -> bool:
    pattern = str(wanted).casefold()
    return any(fnmatch.fnmatchcase(str(value).casefold(), pattern) for value in values)


def _matches(values: tuple[Value, ...], wanted: Wanted) -> bool:
    pattern = re.compile(str(wanted))
    short = (str(value) for value in values if len(str(value)) <= LONGEST_VALUE)
    return any(pattern.fullmatch(value) for value in short)


_HOLDS: Mapping[str, Callable[[tuple[Value, ...], Wanted], bool]] = {
    "equals": _equals,
    "in": _in,
    "has": _has,
    "min": _min,
    "max": _max,
    "like": _like,
    "matches": _matches,
}


def _many(wanted: Wanted) -> tuple[Value, ...]:
    return wanted if isinstance(wanted, tuple) else (wanted,)


def _ordered(low: Wanted, high: Wanted) -> bool:
    if isinstance(low, float) and isinstance(high, float):
        return low <= high
    return isinstance(low, str) and isinstance(high, str) and low <= high


def _names(condition: Condition) -> set[str]:
    names = {condition.name} if condition.name else set()
    return names.union(*(_names(child) for child in condition.children))


def _values(name: str, value: object) -> tuple[Value, ...]:
    """Return the values of an attribute as rules compare them; unreadable ones are left out."""
    if value is None:
        return ()
    vr = vr_of(name)
    many = value if isinstance(value, list | tuple | MultiValue) else [value]
    texts = [str(one).strip(" \0") for one in many]
    if vr == "AS":
        ages = [age_in_years(one) for one in texts]
        return tuple(age for age in ages if age is not None)
    if vr in NUMBER_VRS:
        numbers = [number(one) for one in many]
        return tuple(found for found in numbers if found is not None)
    if vr in CLOCK_VRS:
        # Other forms than PS3.5 6.2 allows are no date or time.
        return tuple(
            clock_key(one, vr) for one in texts if re.fullmatch(CLOCK_VRS[vr], one, re.ASCII)
        )
    if vr == "PN":
        texts = [one.rstrip("^= ") for one in texts]
    return tuple(one for one in texts if one)


def _texts(value: str) -> tuple[Value, ...]:
    return (value,) if value else ()


def _said(condition: Condition) -> str:
    operator = {"equals": "=", "in": "one of"}.get(condition.operator, condition.operator)
    wanted = ", ".join(_plain(one) for one in _many(condition.value))
    return f"{condition.name} {operator} {wanted}"


def shown_values(values: tuple[Value, ...]) -> str:
    """Return what was found, as DICOM writes several values."""
    words = "\\".join(_plain(one) for one in values) if values else "absent"
    return words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…"


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else value
