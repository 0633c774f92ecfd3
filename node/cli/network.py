"""Commands that talk to others: send a folder, echo and probe a destination."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from node import app as parts
from node.cli.common import (
    JsonOption,
    SettingsOption,
    console,
    error_console,
    read_settings,
    sentences,
    show,
)
from node.delivery.echo import echo_destination
from node.dicom.network import RemoteAE
from node.dicom.send import Sent, dicom_files, send_files
from node.errors import SettingsError
from node.manifest_file import find_manifest
from node.settings import DestinationSettings, Settings

if TYPE_CHECKING:
    from node.delivery.probe import Probe


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (send, echo, probe):
        app.command()(command)


def send(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files, or one file.")],
    host: Annotated[str, typer.Argument(help="Address or name of the receiver.")],
    port: Annotated[int, typer.Argument(min=1, max=65535, help="Its port.")],
    aet: Annotated[str, typer.Option(help="Called AE title.")] = "SENTINEL",
    calling: Annotated[str, typer.Option(help="Calling AE title.")] = "SENTINEL_SEND",
) -> None:
    """Send DICOM files by C-STORE, as they are."""
    with sentences():
        if not folder.exists():
            raise SettingsError(f"there is no file or folder {folder}")
        paths = dicom_files(folder)
        if not paths:
            raise SettingsError(f"no DICOM file (Part 10) in {folder}")
        remote = RemoteAE(host=host, port=port, ae_title=aet, calling_ae=calling)
        sent = send_with_progress(paths, remote)
        refused = [one for one in sent if not one.stored]
        for one in refused:
            status = "not sent" if one.status is None else _status_words(one.status)
            error_console.print(f"{one.path.name}: {status} {one.reason}", markup=False)
        console.print(f"{len(sent) - len(refused)} of {len(sent)} objects stored by {aet}.")
        if refused:
            raise typer.Exit(1)


def _status_words(status: int) -> str:
    """Return a C-STORE status with its meaning (PS3.4 B.2.3, PS3.7 C)."""
    known = {
        0x0122: "SOP class not supported",
        0x0124: "not authorised",
        0x0110: "processing failure",
        0x0111: "this UID is there already",
    }
    kinds = {
        0xA7: "out of resources",
        0xA9: "data set does not match SOP class",
    }
    said = known.get(status) or kinds.get(status >> 8)
    if said is None and status >> 12 == 0xC:
        said = "cannot understand"
    return f"status {status:04X}" + (f" ({said})" if said else "")


def echo(
    destination: Annotated[str, typer.Argument(help="Name of a destination in the settings.")],
    settings: SettingsOption = None,
) -> None:
    """Ask a destination whether it is there and lets us in (C-ECHO, HTTP, or a test write)."""
    with sentences():
        site = read_settings(settings)
        words = echo_destination(_named(site, destination), site.ae_titles[0])
        console.print(f"{destination}: {words}", markup=False, soft_wrap=True)


def probe(
    destination: Annotated[str, typer.Argument(help="Name of a destination in the settings.")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a destination which objects it takes, and compare with its viewer profile.

    One association without data. Exit status 1 if the profile sends what is refused.
    """
    from node.delivery.probe import probe_destination

    with sentences():
        site = read_settings(settings)
        place = _named(site, destination)
        maps = sends_maps(site, destination)
        with console.status(f"asking {destination}"):
            found = probe_destination(place, site.ae_titles[0], maps=maps)
        if as_json:
            sys.stdout.write(json.dumps(_document(place, found, maps=maps), indent=1) + "\n")
        else:
            _print_probe(site, place, found, maps=maps)
        if found.warnings:
            raise typer.Exit(1)


def sends_maps(site: Settings, destination: str) -> bool:
    """Return whether a plugin whose results go to a destination makes maps."""
    manifests = parts.read_manifests(site).values()
    rules = [rule for rule in site.rules if destination in rule.destinations]
    return any(find_manifest(rule.plugin, manifests).maps for rule in rules)


def _named(site: Settings, destination: str) -> DestinationSettings:
    names = [one.name for one in site.destinations]
    if destination not in names:
        known = ", ".join(names) or "none"
        raise SettingsError(f"there is no destination `{destination}`; there are: {known}")
    return site.destination(destination)


def _document(place: DestinationSettings, found: Probe, *, maps: bool) -> dict[str, object]:
    return {
        "destination": place.name,
        "place": found.place,
        "profile": place.profile.name,
        "sends_maps": maps,
        "objects": _rows(found),
        "notes": found.notes,
        "warnings": found.warnings,
        "cautions": found.cautions,
    }


def _rows(found: Probe) -> list[dict[str, object]]:
    return [
        {
            "object": kind.name,
            "accepted in": ", ".join(syntaxes) or "refused",
            "profile sends it": found.wanted.get(kind, "no"),
        }
        for kind, syntaxes in found.accepted.items()
    ]


def _print_probe(site: Settings, place: DestinationSettings, found: Probe, *, maps: bool) -> None:
    from node.delivery.probe import cautions, suits

    profile = place.profile
    lines = [f"{place.name}: {found.place}, profile {profile.name} ({profile.tested})"]
    if found.accepted:
        console.print(lines.pop(), markup=False)
        show(_rows(found), as_json=False, empty="")
        fit = [one for one in site.profiles.values() if suits(one, found.accepted, maps=maps)]
        part = [one.name for one in fit if cautions(one, found.accepted, maps=maps)]
        whole = [one.name for one in fit if one.name not in part]
        lines.append(f"It takes all that these profiles send: {', '.join(whole) or 'none'}.")
        if part:
            lines.append(f"It takes what these send as a rule, but not all: {', '.join(part)}.")
        lines.append("What an archive takes says nothing about what its viewers show.")
    warnings = (*found.warnings, *found.cautions)
    lines += [*found.notes, *(f"WARNING: {one}" for one in warnings)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def send_with_progress(paths: tuple[Path, ...], remote: RemoteAE) -> tuple[Sent, ...]:
    """Send files with a progress bar."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"send to {remote.ae_title}", total=len(paths))
        return send_files(paths, remote, on_sent=lambda _: progress.advance(task))
