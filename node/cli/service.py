"""Commands that run the node: serve, check, upgrade, reindex."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from node import app as parts
from node import roles
from node.cli.common import SettingsOption, console, read_settings, sentences, settings_path
from node.errors import SettingsError


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (serve, upgrade, reindex):
        app.command()(command)


def serve(
    settings: SettingsOption = None,
    role: Annotated[
        str, typer.Option(help="all, receiver or engine: which part of the node to run here.")
    ] = "all",
) -> None:
    """Run the node until SIGTERM."""
    with sentences():
        path = settings_path(settings)
        site = read_settings(path)
        parts.configure_logs(site)
        if role == "receiver":
            roles.run_receiver(site)
        elif role == "engine":
            roles.run_engine(site)
        elif role == "all":
            from node.supervisor import Supervisor

            raise typer.Exit(Supervisor(settings=site, settings_path=path.resolve()).run())
        else:
            raise SettingsError(f"there is no role `{role}`; use all, receiver or engine")


def upgrade(settings: SettingsOption = None) -> None:
    """Bring the rows to this program's schema, after a backup. Stop the node first."""
    from node.storage.database import SCHEMA_REVISION, Database, schema_revision
    from node.supervisor import lock_data_folder

    with sentences():
        site = read_settings(settings)
        with lock_data_folder(site.data_dir):
            before = schema_revision(Database(site.resolved_database_url)) or "none"
            parts.prepare_data(site)
        console.print(f"schema {before} → {SCHEMA_REVISION}")


def reindex(settings: SettingsOption = None) -> None:
    """Rebuild the rows of studies and instances from the files. Stop the node first."""
    from node.intake.reindex import reindex as rebuild
    from node.supervisor import lock_data_folder

    with sentences():
        site = read_settings(settings)
        with lock_data_folder(site.data_dir):
            parts.prepare_data(site)
            node = parts.open_node(site, with_plugins=False)
            with console.status("reading files"):
                counts = rebuild(node.db, node.files, now=time.time())
            node.close()
        console.print(counts)
