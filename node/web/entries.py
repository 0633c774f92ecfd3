"""``{name: {value, unit, by}}`` as a caller sends it: strict JSON, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from node.clinical import Said
from node.person_name import is_whole
from node.web.answers import WebRefused

_KEYS = frozenset({"value", "unit", "by"})
_MOST_NAMES = 100
_FORM = '{"grade": {"value": "g2", "by": "A. Reader"}}'


def said_in(body: bytes) -> Mapping[str, Said]:
    """Return what the body of a request says.

    Raises
    ------
    WebRefused
        400 with a sentence: no JSON, half a character, a name twice, a key that nobody knows.
    """
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise WebRefused(400, "NOT_JSON", "the body is not valid JSON in UTF-8") from error
    if not isinstance(document, dict) or not 0 < len(document) <= _MOST_NAMES:
        _malformed(f"send 1 to {_MOST_NAMES} values, like {_FORM}")
    return {name: _said(name, one) for name, one in document.items()}


def _said(name: str, one: object) -> Said:
    shown = name[:64]
    if not isinstance(one, dict):
        _malformed(f"{shown}: write an object, like {_FORM}")
    for key in sorted(one.keys() - _KEYS):
        _malformed(f"{shown}: there is no key {key[:64]}; value, unit and by are known")
    for key in ("value", "by"):
        if key not in one:
            _malformed(f"{shown}: {key} is missing")
    unit = one.get("unit")
    if not isinstance(one["by"], str) or not isinstance(unit, str | None):
        _malformed(f"{shown}: by and unit are texts")
    if isinstance(one["value"], list | dict):
        _malformed(f"{shown}: value is a number, a text, true, false, or null to take it back")
    return Said(value=one["value"], unit=unit or "", by=one["by"])


def _malformed(sentence: str) -> NoReturn:
    raise WebRefused(400, "MALFORMED", sentence)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        _malformed("a name or key stands there twice")
    texts = (one for pair in pairs for one in pair if isinstance(one, str))
    if not all(map(is_whole, texts)):
        _malformed("a text holds half a character (\\ud800 to \\udfff alone); send whole ones")
    return dict(pairs)


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)
