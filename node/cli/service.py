"""Commands that run the node: serve, check, upgrade, reindex."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.progress import Progress

from node import app as parts
from node import roles
from node.cli.common import SettingsOption, console, read_settings, sentences, settings_path
from node.errors import SettingsError

#: What `reindex` counts, in words.
_COUNTED = {
    "instances": "instances added (those with a row already are not counted)",
    "quarantined": "quarantined objects added",
    "own": "results of ours, known as ours",
    "unfit": "files that do not fit their place; left there, without a row",
    "gone": "rows whose file is gone; look for it",
    "restored": "files back under the names that a loss of power took",
    "leftovers": "half-received files removed",
    "held": "new studies held, because results of them exist",
}


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (serve, upgrade, reindex):
        app.command()(command)


def serve(
    settings: SettingsOption = None,
    role: Annotated[
        str, typer.Option(help="all, receiver, engine or web: which part of the node to run here.")
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
        elif role == "web":
            roles.run_web(site)
        elif role == "all":
            from node.supervisor import Supervisor

            raise typer.Exit(Supervisor(settings=site, settings_path=path.resolve()).run())
        else:
            raise SettingsError(f"there is no role `{role}`; use all, receiver, engine or web")


def upgrade(
    settings: SettingsOption = None,
    backed_up: Annotated[
        bool, typer.Option("--backed-up", help="PostgreSQL: a backup was made by hand.")
    ] = False,
) -> None:
    """Bring the rows to this program's schema, after a backup. Stop the node first."""
    from node.supervisor import lock_data_folder

    with sentences():
        site = read_settings(settings)
        with lock_data_folder(site.data_dir):
            before, after = parts.prepare_data(site, backed_up=backed_up)
        console.print(f"schema {before or 'none'} → {after}")


def reindex(settings: SettingsOption = None) -> None:
    """Rebuild the rows of studies and instances from the files. Stop the node first."""
    from node.intake.reindex import reindex as rebuild
    from node.supervisor import lock_data_folder

    with sentences():
        site = read_settings(settings)
        with lock_data_folder(site.data_dir):
            parts.prepare_data(site)
            node = parts.open_node(site, with_plugins=False)
            with Progress(console=console, transient=True) as progress:
                task = progress.add_task("read files", total=None)
                counts = rebuild(
                    node.db,
                    node.files,
                    now=time.time(),
                    progress=lambda done, total: progress.update(task, completed=done, total=total),
                )
            node.close()
        for name, count in counts.items():
            console.print(f"{count:8} {_COUNTED.get(name, name)}")
