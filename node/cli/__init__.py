"""The command ``sentinel-node``."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from node import __version__, logs
from node.cli import (
    admin,
    clinical,
    demo,
    learning,
    listings,
    local,
    network,
    plugins,
    service,
    withdrawal,
)

app = typer.Typer(
    name="sentinel-node",
    help="A clinical AI node for the hospital's DICOM network. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # S28: locals may hold a data set
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sentinel-node {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say it.")
    ] = False,
) -> None:
    """Set what all commands share: files are private, logs say what went wrong (S28)."""
    os.umask(0o077)
    logs.configure("ERROR")
    # A command says itself what went wrong; `serve` configures its own logs.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


service.add_to(app)
demo.add_to(app)
local.add_to(app)
learning.add_to(app)
network.add_to(app)
listings.add_to(app)
withdrawal.add_to(app)
admin.add_to(app)
app.add_typer(plugins.app, name="plugins")
app.add_typer(clinical.app, name="clinical")


def main() -> None:
    """Run the command."""
    app()
