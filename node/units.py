"""UCUM units that clinical values may come in, and what one is in another. No other is guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Units of one quantity, each with its size in the quantity's base unit. UCUM: a month is a
#: twelfth of a year of 365.25 days. What is not in one row is never converted: mass and amount
#: of substance, ``U`` and ``[IU]``.
_QUANTITIES: tuple[Mapping[str, float], ...] = (
    {"mm": 1, "cm": 10, "m": 1000},
    {"mm2": 1, "cm2": 100},
    {"mm3": 1, "cm3": 1e3, "mL": 1e3, "L": 1e6},
    {"g": 1, "kg": 1000},
    {"d": 1, "wk": 7, "mo": 30.4375, "a": 365.25},
    {"1": 1, "%": 0.01},
    {"ng/L": 1, "pg/mL": 1, "ng/mL": 1e3, "ug/L": 1e3, "ug/mL": 1e6, "mg/L": 1e6}
    | {"mg/dL": 1e7, "g/L": 1e9, "g/dL": 1e10},
    {"nmol/L": 1, "umol/L": 1e3, "mmol/L": 1e6},
    {"[IU]/L": 1, "m[IU]/mL": 1, "k[IU]/L": 1e3, "[IU]/mL": 1e3},
    {"U/L": 1, "kU/L": 1e3, "U/mL": 1e3},
    {"10*6/L": 1, "/uL": 1, "10*9/L": 1e3, "10*3/uL": 1e3},
    {"{copies}/mL": 1e3, "{copies}/L": 1},
    {"kg/m2": 1},
    {"mm[Hg]": 1},
)

#: What these attributes are measured in (PS3.3 C.7.2.2); Patient's Age as `node.dicom.age` says.
ATTRIBUTE_UNITS: Mapping[str, str] = {
    "PatientAge": "a",
    "PatientWeight": "kg",
    "PatientSize": "m",
    "PatientBodyMassIndex": "kg/m2",
}

#: Digits that a conversion keeps: 1.1 cm are 11 mm, not 11.000000000000002.
_DIGITS = 12


def units_like(unit: str) -> tuple[str, ...]:
    """Return all units that can be converted into `unit`, itself first; () if it is unknown.

    Examples
    --------
    >>> units_like("cm"), units_like("furlong")
    (('cm', 'mm', 'm'), ())
    """
    for quantity in _QUANTITIES:
        if unit in quantity:
            return (unit, *(other for other in quantity if other != unit))
    return ()


def all_units() -> tuple[str, ...]:
    """Return every unit that is known here."""
    return tuple(unit for quantity in _QUANTITIES for unit in quantity)


def converted(value: float, unit: str, to: str) -> float | None:
    """Return `value` in the unit `to`; None unless both are units of one quantity.

    Examples
    --------
    >>> converted(1.1, "cm", "mm"), converted(18, "mo", "a"), converted(1, "mg/L", "mmol/L")
    (11.0, 1.5, None)
    """
    if unit == to:
        return value
    for quantity in _QUANTITIES:
        if unit in quantity and to in quantity:
            return _rounded(value * quantity[unit] / quantity[to])
    return None


def _rounded(value: float) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, _DIGITS - 1 - math.floor(math.log10(abs(value))))
