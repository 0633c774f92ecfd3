"""What all commands share: the settings file, tables or JSON, errors as one sentence."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from node import app as parts
from node.errors import NodeError, SchemaMismatch, SettingsError
from node.parts import Node
from node.settings import Settings
from node.settings_file import load_settings
from node.site_check import never_started

console = Console()
error_console = Console(stderr=True)

SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="The settings file.",
        show_default="$SENTINEL_SETTINGS, ./sentinel.toml, /etc/sentinel-node/sentinel.toml",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

#: Exit status after Ctrl-C: 128 + SIGINT.
INTERRUPTED = 130
_ENDLESS = 100_000
#: What a person can do about an error of the system.
_ADVICE = {
    errno.ENOENT: "name a place that is there, or can be made",
    errno.EACCES: "give this user the right to it, or run the command as the node's user",
    errno.EPERM: "give this user the right to it, or run the command as the node's user",
    errno.ENOSPC: "make room on that disk",
    errno.EROFS: "name a place that can be written",
    errno.ENOTDIR: "a part of that path is a file; name a folder",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENAMETOOLONG: "name a shorter path",
}
_PLACES = (Path("sentinel.toml"), Path("/etc/sentinel-node/sentinel.toml"))


def settings_path(given: Path | None) -> Path:
    """Return the settings file: the one given, from the environment, or the usual places.

    Raises
    ------
    SettingsError
        If there is none.
    """
    named = given or (Path(os.environ["SENTINEL_SETTINGS"]) if _in_environment() else None)
    if named is not None:
        if not named.is_file():
            raise SettingsError(f"there is no settings file {named}; check `--settings`")
        return named
    for place in _PLACES:
        if place.is_file():
            return place
    places = ", ".join(str(place) for place in _PLACES)
    raise SettingsError(f"no settings file found ({places}); name one with `--settings FILE`")


def read_settings(given: Path | None) -> Settings:
    """Return the site's settings."""
    return load_settings(settings_path(given))


@contextmanager
def opened_node(given: Path | None, *, with_plugins: bool = False) -> Iterator[Node]:
    """Open the node's rows and files for one command."""
    settings = read_settings(given)
    if never_started(settings):
        raise SchemaMismatch(
            "the node has not been started yet; `sentinel-node serve` (or `sentinel-node upgrade`)"
            " makes the rows",
            code="NOT_STARTED",
        )
    node = parts.open_node(settings, with_plugins=with_plugins)
    try:
        yield node
    finally:
        node.close()


@contextmanager
def sentences() -> Iterator[None]:
    """Turn an error of ours into one sentence on standard error and exit status 1."""
    try:
        yield
    except NodeError as error:
        _say(error.code, str(error))
        raise typer.Exit(1) from error
    except BrokenPipeError:  # `| head` has seen enough
        raise
    except OSError as error:
        _say("SYSTEM_ERROR", _system_words(error))
        raise typer.Exit(1) from error


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Turn Ctrl-C, or the end of a batch job, into one sentence and the exit status of shells."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        if number is signal.SIGTERM or before[number] is signal.default_int_handler:
            signal.signal(number, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        _say("INTERRUPTED", sentence)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # It can come while an object is being made; what the destructor of that half says of itself
    # is no news, and this process only ends from here.
    sys.unraisablehook = lambda _complaint: None
    raise KeyboardInterrupt


def _say(code: str, sentence: str) -> None:
    error_console.print(f"[bold red]{code}[/]: ", end="")
    error_console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _system_words(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    place = error.filename2 or error.filename
    advice = _ADVICE.get(error.errno or 0, "look at that place, then run the command again")
    return f"{what}{f': {place}' if place else ''}; {advice}"


def show(rows: Iterable[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """Print rows as a table, or as JSON for programs; nothing is cut off in a narrow window."""
    listed = list(rows)
    if as_json:
        sys.stdout.write(json.dumps(listed, indent=1, default=str) + "\n")
        return
    if not listed:
        console.print(empty)
        return
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in listed[0]:
        table.add_column(name, no_wrap=True)
    for row in listed:
        table.add_row(*(_word(value) for value in row.values()))
    wanted = console.measure(table, options=console.options.update(width=_ENDLESS)).maximum
    if wanted <= console.width:
        console.print(table)
    else:
        _show_blocks(listed)


def _show_blocks(rows: Sequence[Mapping[str, object]]) -> None:
    """Print each row as a paragraph: its first value, then what else it has."""
    for row in rows:
        first, *others = row.items()
        words = [f"[dim]{name}[/] {_word(value)}" for name, value in others if _word(value)]
        console.print(f"[bold]{first[0]} {_word(first[1])}[/]", soft_wrap=True, highlight=False)
        console.print(Padding("  ".join(words), (0, 0, 0, 2)), highlight=False)


def _word(value: object) -> str:
    return "" if value is None else escape(str(value))


def clock_time(seconds: float | None) -> str | None:
    """Return a row's time as ISO 8601 in UTC, to the second.

    Examples
    --------
    >>> clock_time(0.0)
    '1970-01-01T00:00:00Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _in_environment() -> bool:
    return bool(os.environ.get("SENTINEL_SETTINGS"))
