"""Commands that talk to others: send a folder, echo a destination."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from node.cli.common import SettingsOption, console, error_console, read_settings, sentences
from node.delivery.echo import echo_destination
from node.dicom.network import RemoteAE
from node.dicom.send import Sent, dicom_files, send_files
from node.errors import SettingsError


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (send, echo):
        app.command()(command)


def send(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files, or one file.")],
    host: Annotated[str, typer.Argument()],
    port: Annotated[int, typer.Argument(min=1, max=65535)],
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
        names = [one.name for one in site.destinations]
        if destination not in names:
            known = ", ".join(names) or "none"
            raise SettingsError(f"there is no destination `{destination}`; there are: {known}")
        words = echo_destination(site.destination(destination), site.ae_titles[0])
        console.print(f"{destination}: {words}", markup=False)


def send_with_progress(paths: tuple[Path, ...], remote: RemoteAE) -> tuple[Sent, ...]:
    """Send files with a progress bar."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"send to {remote.ae_title}", total=len(paths))
        return send_files(paths, remote, on_sent=lambda _: progress.advance(task))
