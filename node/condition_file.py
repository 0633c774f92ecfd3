"""From a rule's ``when = {…}`` table to its condition tree, checked word by word."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass

from node.errors import SettingsError
from node.keywords import is_multi_valued, known_keywords, vr_of
from node.patterns import check_pattern
from node.settings import Condition
from node.toml_file import fail, nearest, shown

#: What a rule may ask for beside DICOM keywords.
OWN_NAMES = ("called_ae", "peer")
#: Operators in a keyword's table; a plain value means `=`, a list means one of.
VALUE_OPERATORS = ("has", "min", "max", "like", "matches", "not")
#: Operators that join conditions.
JOINING_OPERATORS = ("not", "any", "all")

#: Value representations compared as numbers; AS in years.
NUMBER_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AS"})
#: Compared as text that sorts by time.
CLOCK_VRS = {"DA": r"\d{8}", "TM": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"}
_TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT", "DT"})
_MAX_DEPTH = 16
_MAX_TEXT = 256

Value = str | float
Values = tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class _At:
    """Where in the file we are."""

    where: str
    path: str = "when"
    depth: int = 0

    def below(self, key: object) -> _At:
        return _At(where=self.where, path=f"{self.path}.{key}", depth=self.depth + 1)

    def refuse(self, sentence: str) -> SettingsError:
        """Return the error; raising it stays visible where it happens."""
        try:
            fail(SettingsError, self.where, f"{self.path} {sentence}")
        except SettingsError as error:
            return error


def parse_condition(table: object, *, where: str) -> Condition:
    """Return the condition that a ``when`` table says: always an ``all``.

    Parameters
    ----------
    table : object
        As TOML has it: ``{ Modality = "CT", SliceThickness = { max = 3 }, any = […] }``.
    where : str
        Which rule of which file, for the sentence.

    Raises
    ------
    SettingsError
        One sentence: an unknown keyword or operator with the nearest known one, a value
        that the attribute cannot have, a pattern that could run for ever.
    """
    return _all(table, _At(where=where))


def _all(table: object, at: _At) -> Condition:
    if at.depth > _MAX_DEPTH:
        raise at.refuse(f"is nested more than {_MAX_DEPTH} deep")
    if not isinstance(table, Mapping):
        raise at.refuse(f'= {shown(table)} must be a table of conditions: {{ Modality = "CT" }}')
    return Condition(
        operator="all",
        children=tuple(_entry(str(key), value, at.below(key)) for key, value in table.items()),
    )


def _entry(key: str, value: object, at: _At) -> Condition:
    if key == "not":
        return Condition(operator="not", children=(_filled(value, at),))
    if key in JOINING_OPERATORS:
        if not isinstance(value, list) or not value:
            raise at.refuse('must be a list of tables: [{ Modality = "CT" }, …]')
        parts = (_filled(one, at.below(number)) for number, one in enumerate(value, start=1))
        return Condition(operator=key, children=tuple(parts))
    if key not in OWN_NAMES and not vr_of(key):
        # An operator comes first: `anny` is nearer to `any` than to a keyword.
        hint = nearest(key, JOINING_OPERATORS + OWN_NAMES)
        if "did you mean" not in hint:
            hint = nearest(key, known_keywords())
        raise at.refuse(f"is neither a DICOM keyword nor an operator{hint}")
    return _predicate(key, value, at)


def _filled(table: object, at: _At) -> Condition:
    found = _all(table, at)
    if not found.children:
        raise at.refuse("is empty, which would match everything; say what it asks for")
    return found


def _predicate(name: str, value: object, at: _At) -> Condition:
    if isinstance(value, Mapping):
        return _operators(name, value, at)
    if isinstance(value, list):
        return Condition(operator="in", name=name, value=_values(name, value, at))
    return Condition(operator="equals", name=name, value=_value(name, value, at))


def _operators(name: str, table: Mapping[str, object], at: _At) -> Condition:
    if not table:
        raise at.refuse("is empty; say at least one of " + ", ".join(VALUE_OPERATORS))
    if at.depth > _MAX_DEPTH:
        raise at.refuse(f"is nested more than {_MAX_DEPTH} deep")
    parts = tuple(_operator(name, op, value, at.below(op)) for op, value in table.items())
    bounds = {one.operator: one.value for one in parts if one.operator in ("min", "max")}
    if len(bounds) == 2 and _below(bounds["max"], bounds["min"]):
        raise at.refuse(f"= {shown(table)}: nothing is at least min and at most max; swap them")
    return parts[0] if len(parts) == 1 else Condition(operator="all", children=parts)


def _below(one: object, other: object) -> bool:
    """Return whether a bound is lower; both are numbers, or texts that sort by time."""
    if isinstance(one, str) and isinstance(other, str):
        return one < other
    return isinstance(one, int | float) and isinstance(other, int | float) and one < other


def _operator(name: str, operator: str, value: object, at: _At) -> Condition:
    if operator == "not":
        return Condition(operator="not", children=(_predicate(name, value, at),))
    if operator == "has":
        if not is_multi_valued(name) or name in OWN_NAMES:
            raise at.refuse(
                f'asks a list for a value, but {name} has one value; use like = "*…*" for a part'
            )
        many = value if isinstance(value, list) else [value]
        return Condition(operator="has", name=name, value=_values(name, many, at))
    if operator in ("min", "max"):
        return Condition(operator=operator, name=name, value=_bound(name, value, at))
    if operator in ("like", "matches"):
        return Condition(operator=operator, name=name, value=_pattern(operator, name, value, at))
    hint = nearest(operator, VALUE_OPERATORS)
    raise at.refuse(f"is not an operator{hint}")


def _values(name: str, values: list[object], at: _At) -> Values:
    if not values:
        raise at.refuse("is an empty list, which nothing matches")
    return tuple(_value(name, value, at) for value in values)


def _value(name: str, value: object, at: _At) -> Value:
    vr = "AE" if name in OWN_NAMES else vr_of(name)
    if vr in NUMBER_VRS:
        return _number(name, value, vr, at)
    if vr in CLOCK_VRS:
        return _clock(name, value, vr, at)
    if vr in _TEXT_VRS:
        return _text(name, value, at)
    raise at.refuse(f"cannot be asked for: {name} holds {_kind(vr)}")


def _kind(vr: str) -> str:
    return "a sequence" if vr == "SQ" else f"no text and no number ({vr})"


def _number(name: str, value: object, vr: str, at: _At) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        unit = " of years" if vr == "AS" else ""
        raise at.refuse(f"= {shown(value)} must be a number{unit}, without quotes")
    try:
        number = float(value)
    except OverflowError:
        number = float("nan")
    if number != number or abs(number) == float("inf"):
        raise at.refuse(f"= {shown(value)} must be a number that {name} can have")
    return number


def _clock(name: str, value: object, vr: str, at: _At) -> str:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = value.strftime("%Y%m%d") if vr == "DA" else value
    elif isinstance(value, datetime.time):
        value = value.strftime("%H%M%S.%f") if vr == "TM" else value
    if not isinstance(value, str) or not re.fullmatch(CLOCK_VRS[vr], value, re.ASCII):
        form = '"YYYYMMDD"' if vr == "DA" else '"HHMMSS"'
        raise at.refuse(f"= {shown(value)} must be written as {form}")
    return clock_key(value, vr)


def clock_key(value: str, vr: str) -> str:
    """Return a date or time so that text order is order in time.

    Examples
    --------
    >>> clock_key("0930", "TM"), clock_key("20260131", "DA"), clock_key("2026.01.31", "DA")
    ('093000.000000', '20260131', '20260131')
    """
    if vr == "DA":
        return value.replace(".", "")
    whole, _, fraction = value.replace(":", "").partition(".")
    return f"{whole:0<6}.{fraction:0<6}"


def _text(name: str, value: object, at: _At) -> str:
    if not isinstance(value, str):
        raise at.refuse(f"= {shown(value)} must be text, in quotes")
    kept = value.strip(" \0")
    if not kept:
        raise at.refuse(f'= {shown(value)} is empty; ask {name} = {{ not = {{ like = "*" }} }}')
    if len(kept) > _MAX_TEXT:
        raise at.refuse(f"is longer than {_MAX_TEXT} characters")
    return kept


def _bound(name: str, value: object, at: _At) -> Value:
    vr = "" if name in OWN_NAMES else vr_of(name)
    if vr not in NUMBER_VRS and vr not in CLOCK_VRS:
        raise at.refuse(f"needs a number, a date or a time, and {name} is none")
    return _value(name, value, at)


def _pattern(operator: str, name: str, value: object, at: _At) -> str:
    vr = "AE" if name in OWN_NAMES else vr_of(name)
    if vr not in _TEXT_VRS:
        raise at.refuse(f"needs text, and {name} holds {'numbers' if vr in NUMBER_VRS else vr}")
    pattern = _text(name, value, at)
    fault = check_pattern(pattern) if operator == "matches" else ""
    if fault:
        raise at.refuse(f"= {shown(pattern)}: {fault}")
    return pattern
