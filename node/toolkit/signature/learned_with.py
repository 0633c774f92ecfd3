"""Weights name the settings that they were learned with: by others, features are others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import ManifestError

_NAME = "learned_with"


def settings_array(settings: Mapping[str, object]) -> dict[str, NDArray[Any]]:
    """Return what a weights file keeps of the settings that decide what is measured and how.

    Parameters
    ----------
    settings : mapping of name to what JSON knows
        For instance the table ``[radiomics]`` and some of ``[parameters]``.
    """
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False).encode()
    return {_NAME: np.frombuffer(text, np.uint8).copy()}


def check_settings(arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, object]) -> None:
    """Raise `ManifestError` unless the weights were learned with these settings.

    Parameters
    ----------
    arrays : mapping
        Of the weights file (`read_weights`).
    settings : mapping
        As they are now; numbers are compared as JSON has them.
    """
    if _NAME not in arrays:
        raise ManifestError("the weights do not say with which settings they learned; train again")
    learned = _flat(json.loads(arrays[_NAME].tobytes()))
    now = _flat(json.loads(json.dumps(settings)))
    other = sorted(name for name in learned.keys() | now.keys() if _apart(name, learned, now))
    if other:
        named = "; ".join(f"{n} = {_shown(n, now)}, they {_shown(n, learned)}" for n in other[:4])
        more = f" and {len(other) - 4} more" if len(other) > 4 else ""
        raise ManifestError(
            f"the weights learned with other settings than plugin.toml has: {named}{more}; put "
            "those back, or train again"
        )


def _flat(settings: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{start}{name}.")
        else:
            found[start + name] = value
    return found


def _apart(name: str, learned: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return name not in learned or name not in now or learned[name] != now[name]


def _shown(name: str, settings: Mapping[str, Any]) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "nothing"
