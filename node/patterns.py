"""Regular expressions of rules: which ones cannot run for ever."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from re import _constants as words  # type: ignore[attr-defined]  # re has no public parser
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

#: Values longer than this match no pattern; DICOM texts that rules look at have 64 or less.
LONGEST_VALUE = 128
#: Ways a pattern may try on the longest value: about a tenth of a second.
_MOST_WAYS = 3_000_000
_REPEATS = (words.MAX_REPEAT, words.MIN_REPEAT, words.POSSESSIVE_REPEAT)


def check_pattern(pattern: str) -> str:
    """Return why a pattern may not be used, "" if it may.

    Examples
    --------
    >>> check_pattern("T[12].*FS")
    ''
    >>> check_pattern("(a+)+b")
    'a repeat inside a repeat, or a choice inside one, can run for ever; say it without'
    """
    try:
        with warnings.catch_warnings():
            # A nested set like [[a] will mean something else in a later Python.
            warnings.simplefilter("error")
            re.compile(pattern)
            ways = _ways(parser.parse(pattern))
    except (re.error, OverflowError, RecursionError, ValueError, Warning) as error:
        return f"not a regular expression: {error}"
    except _ForEverError:
        return "a repeat inside a repeat, or a choice inside one, can run for ever; say it without"
    except _UnknownError as unknown:
        return f"{unknown} is not supported in rules"
    if ways > _MOST_WAYS:
        return "too many open repeats (.* or +) in one pattern; say it with fewer"
    return ""


class _ForEverError(Exception):
    """Exponential time."""


class _UnknownError(Exception):
    """A construct whose time we do not reckon."""


def _ways(items: Iterable[Any]) -> int:
    """Return an upper bound of how many ways a sequence can match one value."""
    ways = 1
    for operation, argument in items:
        ways *= _ways_of(operation, argument)
    return ways


def _ways_of(operation: Any, argument: Any) -> int:
    if operation in _REPEATS:
        low, high, inner = argument
        inner_ways = _ways(inner)
        if high > 1 and inner_ways > 1:
            raise _ForEverError
        return int(min(high, LONGEST_VALUE) - min(low, LONGEST_VALUE) + 1) * inner_ways
    if operation is words.SUBPATTERN:
        return _ways(argument[-1])
    if operation is words.BRANCH:
        return sum(_ways(branch) for branch in argument[1])
    if operation in (words.LITERAL, words.NOT_LITERAL, words.ANY, words.IN, words.AT):
        return 1
    raise _UnknownError(str(operation).lower().replace("_", " "))
