"""The border for our TOML files: pydantic checks, and every error becomes one sentence."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from node.errors import NodeError

#: A number that may be written with or without a point; never a text, never true.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
#: A number that may also be `inf` or `-inf`: one end of a range.
Bound = Annotated[float, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
#: A sentence or a word that must not be empty.
Said = Annotated[str, Field(strict=True), StringConstraints(strip_whitespace=True, min_length=1)]


class Table(BaseModel):
    """A table of a TOML file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T", bound=Table)

_WORDS = {
    "tuple_type": "must be a list, in brackets: […]",
    "list_type": "must be a list, in brackets: […]",
    "too_short": "needs at least {min_length} in the list",
    "too_long": "takes at most {max_length} in the list",
    "string_type": "must be text, in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern_mismatch": "must have the form {pattern}",
    "int_type": "must be a whole number, without quotes",
    "float_type": "must be a number, without quotes",
    "finite_number": "must be a number that is not inf or nan",
    "bool_type": "must be true or false, without quotes",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}
#: How a key is written whose form is a pattern.
_FORMS = {
    "version": "write it as 1.2.0",
    "digest": "write the 64 digits that `sentinel-node plugins list` shows",
}


def read_toml(text: str, *, where: str, error: type[NodeError]) -> dict[str, Any]:
    """Return the tables of `text`; raises `error` with the line that is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise error(f"{where}: not valid TOML: {fault}") from fault
    except RecursionError as fault:
        raise error(f"{where}: arrays or tables are nested too deeply") from fault


def parse_table(
    model: type[T], table: Mapping[str, Any], *, where: str, error: type[NodeError]
) -> T:
    """Return `table` as `model`; raises `error` with one sentence about its first fault."""
    try:
        return model.model_validate(table)
    except ValidationError as faults:
        fail(error, where, _sentence(model, table, faults))


def fail(error: type[NodeError], where: str, sentence: str) -> NoReturn:
    """Raise `error`: ``where: sentence``."""
    raise error(f"{where}: {sentence}") from None


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known word that is most like a name, "" if none is.

    Examples
    --------
    >>> closest("patient", ["age", "Pateint"]), closest("patient", ["age"])
    ('Pateint', '')
    """
    folded = {word.casefold(): word for word in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return folded[close[0]] if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean "x"?)``, or what there is to choose from, or "".

    Examples
    --------
    >>> nearest("Modalty", ["Modality", "PatientAge"])
    ' (did you mean "Modality"?)'
    """
    choices = sorted(set(known))
    if close := closest(name, choices):
        return f' (did you mean "{close}"?)'
    if choices and len(choices) <= 20:
        return f" (known: {', '.join(choices)})"
    return ""


def masked(words: str) -> str:
    """Return words with whatever may be a password in an address left out.

    Examples
    --------
    >>> masked("postgresql://u:p@ss@h/db")
    'postgresql://u:***@h/db'
    """
    kept = re.sub(r"(://[^:@]*)?:.*@", r"\1:***@", words, flags=re.DOTALL)
    return re.sub(r"(?i)(passw\w*=)[^&\s\"]*", r"\1***", kept)


def shown(value: object) -> str:
    """Return a value as a person would write it, without password, at most 80 characters."""
    try:
        words = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        words = type(value).__name__
    words = masked(words)
    return words if len(words) <= 80 else words[:77] + "…"


def _sentence(model: type[Table], table: Mapping[str, Any], faults: ValidationError) -> str:
    # A mistyped key is both unknown and missing: the unknown one has the better hint.
    details = sorted(faults.errors(), key=lambda d: d["type"] != "extra_forbidden")
    return _words(model, table, details[0])


def _words(model: type[Table], table: Mapping[str, Any], fault: ErrorDetails) -> str:
    place, key = fault["loc"][:-1], str(fault["loc"][-1]) if fault["loc"] else ""
    at = key_path(table, fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {at}{nearest(key, _keys_at(model, place))}"
    if fault["type"] == "missing":
        return f"{at} is missing"
    if fault["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
        return (
            f"{at} = {shown(fault['input'])} must be one of {', '.join(choices)}"
            f"{_meant(fault['input'], choices)}"
        )
    if "password" in key:
        return f"{at}: write the name of an environment variable that holds the password"
    return f"{at} = {shown(fault['input'])}: {_plain(fault, key)}"


def _plain(fault: ErrorDetails, key: str) -> str:
    """Return pydantic's words as a person would say them."""
    kind, bounds = fault["type"], dict(fault.get("ctx", {}))
    if kind in ("tuple_type", "list_type") and len(fault["loc"]) == 1:
        return f"write [[{key}]], with two brackets: there can be several"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        several = isinstance(fault["input"], list)
        return f"write [{key}] once, with one bracket" if several else "must be a table: {…}"
    if kind == "string_pattern_mismatch" and key in _FORMS:
        return _FORMS[key]
    if kind in _WORDS:
        return _WORDS[kind].format(**bounds)
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{message[:1].lower()}{message[1:]}"


def _meant(value: object, choices: list[str]) -> str:
    hint = nearest(value, choices) if isinstance(value, str) else ""
    return hint if "did you mean" in hint else ""


def key_path(table: object, loc: Iterable[int | str]) -> str:
    """Return where in the file a value stands: ``rules["ct"].quiet_s``."""
    path = ""
    for part in loc:
        table = _step(table, part)
        if isinstance(part, int):
            name = table.get("name") if isinstance(table, Mapping) else None
            path += f"[{shown(name)}]" if isinstance(name, str) else f"[{part + 1}]"
        else:
            key = part if part.isprintable() else shown(part)
            path += f".{key}" if path else key
    return path or "the file"


def _step(table: object, part: int | str) -> object:
    if isinstance(table, Mapping):
        return table.get(part)
    if isinstance(table, list) and isinstance(part, int) and part < len(table):
        return table[part]
    return None


def _keys_at(model: type[Table], loc: Iterable[int | str]) -> list[str]:
    annotation: Any = model
    for part in loc:
        annotation = _below(_without_none(annotation), part)
    annotation = _without_none(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [field.alias or name for name, field in annotation.model_fields.items()]
    return []


def _below(annotation: Any, part: int | str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found = annotation.model_fields.get(str(part))
        return found.annotation if found else None
    choices = [a for a in get_args(annotation) if a is not Ellipsis]
    return choices[-1] if choices else None


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation
