"""Change a few keys of a ``plugin.toml`` and leave every comment where it is."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

from node.errors import LearningError

#: Of ``[parameters]``: a number, a word, yes or no.
Parameter = str | float | bool

_TABLE = re.compile(r"^\s*\[")


def edited(
    text: str,
    keys: Mapping[str, str],
    weights: Mapping[str, str],
    parameters: Mapping[str, Parameter] | None = None,
) -> str:
    """Return a manifest with text values at the top, parameters and ``[weights]`` set.

    Parameters
    ----------
    text : str
        A valid manifest.
    keys : mapping of top-level key to text
    weights : mapping of file name to SHA-256
        Replaces the whole table.
    parameters : mapping of key of ``[parameters]`` to number or text
        Each is there already.

    Raises
    ------
    LearningError
        If the manifest is written so that this cannot be done line by line.

    Examples
    --------
    >>> print(edited('version = "1"  # ours', {"version": "2"}, {"a": "0"}), end="")
    version = "2"  # ours
    <BLANKLINE>
    [weights]
    "a" = "0"
    """
    before = tomllib.loads(text)
    expected = before | dict(keys) | {"weights": dict(weights)}
    lines = text.splitlines()
    for key, value in keys.items():
        lines = _with_key(lines, key, value)
    if parameters:
        expected["parameters"] = before.get("parameters", {}) | dict(parameters)
        for key, found in parameters.items():
            lines = _with_parameter(lines, key, found)
    lines = _with_weights(lines, weights)
    made = "\n".join(lines) + "\n"
    try:
        right = tomllib.loads(made) == expected
    except tomllib.TOMLDecodeError:
        right = False
    if not right:
        raise LearningError(
            "plugin.toml cannot be edited line by line; write "
            f"{', '.join([*keys, *(parameters or ())])} and each entry of [weights] on one line of "
            "their own"
        )
    return made


def _with_key(lines: list[str], key: str, value: str) -> list[str]:
    top = next((i for i, line in enumerate(lines) if _TABLE.match(line)), len(lines))
    written = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    pattern = re.compile(rf"^{re.escape(key)}\s*=\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*')")
    for index in range(top):
        if pattern.match(lines[index]):
            changed = pattern.sub(lambda _: written, lines[index])
            return [*lines[:index], changed, *lines[index + 1 :]]
    while top and not lines[top - 1].strip():
        top -= 1
    return [*lines[:top], written, *lines[top:]]


def _with_parameter(lines: list[str], key: str, value: Parameter) -> list[str]:
    """Return the lines with another value of a key of ``[parameters]``, its comment kept."""
    pattern = re.compile(rf"^(\s*{re.escape(key)}\s*=\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s#]+)")
    written, inside = json.dumps(value, ensure_ascii=False), False
    for index, line in enumerate(lines):
        if _TABLE.match(line):
            inside = line.strip().startswith("[parameters]")
        elif inside and pattern.match(line):
            changed = pattern.sub(lambda found: f"{found[1]}{written}", line)
            return [*lines[:index], changed, *lines[index + 1 :]]
    return lines


def _with_weights(lines: list[str], weights: Mapping[str, str]) -> list[str]:
    entries = [f'"{name}" = "{sha256}"' for name, sha256 in sorted(weights.items())]
    start = next((i for i, line in enumerate(lines) if line.strip().startswith("[weights]")), None)
    if start is None:
        return [*lines, "", "[weights]", *entries]
    after = range(start + 1, len(lines))
    end = next((i for i in after if _TABLE.match(lines[i])), len(lines))
    kept = [line for line in lines[start + 1 : end] if not line.strip() or _is_comment(line)]
    comments = [line for line in kept if line.strip()]
    rest = lines[end:]
    return [*lines[: start + 1], *comments, *entries, *([""] if rest else []), *rest]


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")
