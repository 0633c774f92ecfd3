"""Which coded concepts exist: PS3.16's dictionaries as pydicom carries them, plus UCUM."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydicom.sr._concepts_dict import concepts  # its public door resolves keywords only

from node.errors import ManifestError
from node.manifest import Code
from node.radiomics_codes import STATISTICS

#: Our own coding scheme; RESULTS declares it in each object (PS3.3 C.12.1.1.7).
PRIVATE_SCHEME = "99SENTINEL"

#: UCUM units that PS3.16 does not list but that a measurement may well have.
_MORE_UCUM = ("/mm", "ml", "mL", "l", "L", "mg", "g", "kg", "g/cm3", "mg/cm3", "cm3", "ms", "s")


def check_code(code: Code, private_schemes: Iterable[str] = ()) -> None:
    """Raise `ManifestError` unless the code exists and means what is said.

    A wrong digit in a code is found by its meaning: (256674009, SCT, "Fat") exists, but
    (85756007, SCT, "Fat") does not.
    """
    if code.scheme.startswith("99"):
        if code.scheme not in (PRIVATE_SCHEME, *private_schemes):
            raise ManifestError(
                f"private coding scheme {code.scheme} is not declared: use {PRIVATE_SCHEME}, "
                f"or name it in private_schemes"
            )
        return
    known = _meanings()
    if code.scheme not in known:
        raise ManifestError(
            f"unknown coding scheme {code.scheme} (known: {', '.join(sorted(known))})"
        )
    meanings = known[code.scheme].get(code.value)
    if meanings is None:
        raise ManifestError(
            f"({code.value}, {code.scheme}) is not in the dictionaries of PS3.16; "
            f"use a code that is, or a private one of {PRIVATE_SCHEME}"
        )
    if code.meaning.casefold() not in {m.casefold() for m in meanings}:
        raise ManifestError(
            f'({code.value}, {code.scheme}) means "{meanings[0]}", not "{code.meaning}"'
        )


@cache
def _meanings() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return scheme → value → meanings."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    tables: dict[str, Any] = concepts
    for scheme, keywords in tables.items():
        values = found.setdefault(scheme, {})
        for codes in keywords.values():
            for value, (meaning, _) in codes.items():
                values[value] = (*values.get(value, ()), meaning)
    # PS3.16 names the manual of IBSI as this scheme's source, and does not list all of it.
    found["IBSI"] |= {value: (meaning,) for value, meaning in STATISTICS.items()}
    units = found["UCUM"]
    for unit in (*units, *_MORE_UCUM):
        # The unit itself is a usual meaning of a unit (PS3.16 CID 7181 has both ways).
        units[unit] = (*units.get(unit, ()), unit)
    return found
