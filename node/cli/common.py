"""What all commands share: the settings file, tables or JSON, errors as one sentence."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from node import app as parts
from node.errors import NodeError, SettingsError
from node.parts import Node
from node.settings import Settings
from node.settings_file import load_settings

console = Console()
error_console = Console(stderr=True)

SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="The settings file [default: $SENTINEL_SETTINGS, ./sentinel.toml, "
        "/etc/sentinel-node/sentinel.toml].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

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
        error_console.print(f"[bold red]{error.code}[/]: ", end="")
        error_console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def show(rows: Iterable[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """Print rows as a table, or as JSON for programs."""
    listed = list(rows)
    if as_json:
        sys.stdout.write(json.dumps(listed, indent=1, default=str) + "\n")
        return
    if not listed:
        console.print(empty)
        return
    table = Table(*listed[0].keys(), header_style="bold")
    for row in listed:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


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
