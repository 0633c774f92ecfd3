"""The ``[clinical.NAME]`` tables of a manifest: typed, with unit and range, checked at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from node.keywords import NUMERIC_VRS, is_multi_valued, vr_of, why_no_attribute
from node.manifest import ClinicalSpec, Code, Range
from node.manifest_tables import ClinicalTable, CodeRow
from node.units import ATTRIBUTE_UNITS, all_units, units_like

_NO_UNIT = Code("1", "UCUM", "no units")
_NUMBERS = ("number", "integer")

#: Keys that belong to some kinds only: key → kinds.
_KINDS_OF_KEY: Mapping[str, tuple[str, ...]] = {
    "unit": _NUMBERS,
    "range": _NUMBERS,
    "choices": ("words",),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "number": ("unit", "range"),
    "integer": ("range",),
    "words": ("choices",),
    "flag": (),
}


def clinical_spec(name: str, table: ClinicalTable) -> ClinicalSpec:
    """Return a table that has no `clinical_faults` as a value."""
    numeric = table.kind in _NUMBERS
    return ClinicalSpec(
        name=name,
        kind=table.kind,
        label=table.label or table.code[2],
        code=Code(*table.code),
        unit=(Code(*table.unit) if table.unit else _NO_UNIT) if numeric else None,
        range=Range(*table.range) if table.range else Range(),
        choices={choice: Code(*code) for choice, code in table.choices.items()},
        attribute=table.attribute,
        sr=tuple(Code(*code) for code in table.sr) or (Code(*table.code),),
    )


def clinical_faults(tables: Mapping[str, ClinicalTable]) -> Iterator[str]:
    """Yield what is wrong with the tables, in words; whether codes exist is looked at elsewhere."""
    for name, table in tables.items():
        for fault in (*_keys(table), *_numbers(table), *_choices(table), *_attribute(table)):
            yield f"clinical.{name}{fault}"


def clinical_codes(tables: Mapping[str, ClinicalTable]) -> Iterator[tuple[str, CodeRow]]:
    """Yield each code that our SRs will hold, with its key.

    Those of `sr` are left out: others write them, by dictionaries that we may not have.
    """
    for name, table in tables.items():
        yield f"clinical.{name}.code", table.code
        for choice, code in table.choices.items():
            yield f"clinical.{name}.choices.{choice}", code


def _keys(table: ClinicalTable) -> Iterator[str]:
    for key, kinds in _KINDS_OF_KEY.items():
        if getattr(table, key) and table.kind not in kinds:
            yield f'.{key} belongs to kind = "{kinds[0]}", not to "{table.kind}"'
    for key in _NEEDED[table.kind]:
        if not getattr(table, key):
            yield f'.{key} is missing: kind = "{table.kind}" needs it'


def _numbers(table: ClinicalTable) -> Iterator[str]:
    if table.unit is not None:
        unit, scheme, _ = table.unit
        if scheme != "UCUM":
            yield ".unit must be of scheme UCUM"
        elif not units_like(unit):
            yield f'.unit: "{unit}" is not known here (known: {", ".join(all_units())})'
    if table.range is not None:
        low, high = table.range
        if not low <= high:  # NaN as well
            yield f".range = [{low}, {high}]: the first number must not exceed the second"


def _choices(table: ClinicalTable) -> Iterator[str]:
    names = [choice.casefold() for choice in table.choices]
    codes = [code[:2] for code in table.choices.values()]
    for what, found in (("name", names), ("code", codes)):
        if len(set(found)) < len(found):
            yield f".choices has one {what} twice"


def _attribute(table: ClinicalTable) -> Iterator[str]:
    keyword = table.attribute
    if not keyword:
        return
    if fault := why_no_attribute(keyword):
        yield f".attribute: {fault}"
        return
    numeric = keyword in ATTRIBUTE_UNITS or vr_of(keyword) in NUMERIC_VRS
    if is_multi_valued(keyword):
        yield f".attribute: {keyword} may hold several values; one is needed"
    elif table.kind not in _NUMBERS:
        if vr_of(keyword) != "CS":
            yield f'.attribute: {keyword} holds no coded word, as kind = "{table.kind}" needs'
    elif not numeric:
        yield f'.attribute: {keyword} holds no number, as kind = "{table.kind}" needs'
    else:
        yield from _unit_of_attribute(table)


def _unit_of_attribute(table: ClinicalTable) -> Iterator[str]:
    wanted = table.unit[0] if table.unit else "1"
    found = ATTRIBUTE_UNITS.get(table.attribute, "1")
    if found not in units_like(wanted):
        known = ", ".join(f"{key} in {unit}" for key, unit in ATTRIBUTE_UNITS.items())
        yield (
            f".attribute: {table.attribute} is not known to be in a unit that becomes {wanted} "
            f"(known: {known}, others as numbers without unit)"
        )
