"""Commands about plugins: list, check, switch off and on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from node import app as parts
from node.cli.common import (
    JsonOption,
    SettingsOption,
    console,
    opened_node,
    read_settings,
    sentences,
    settings_path,
    show,
)
from node.errors import RefusalCode, SettingsError
from node.inference.registry import builtin_plugin_folder, discover
from node.manifest import Manifest
from node.manifest_file import MANIFEST_NAME
from node.settings_check import lacking
from node.site_check import switched_off

app = typer.Typer(name="plugins", help="List, check, switch off and on.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None, typer.Option(help="A folder of plugin folders, instead of the settings file.")
]


@app.command("list")
def list_plugins(
    settings: SettingsOption = None, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """List the plugins this site has. Reads manifests; runs nothing."""
    with sentences():
        off = _switched_off(settings)
        rows = [
            {
                "plugin": manifest.name_version,
                **({} if off is None else {"off": off.get(manifest.name)}),
                "title": manifest.title,
                "grade": str(manifest.grade),
                "inputs": ", ".join(manifest.inputs),
                "digest": manifest.digest,
                "folder": str(manifest.folder),
            }
            for manifest in _manifests(settings, folder)
        ]
        show(rows, as_json=as_json, empty="There is no plugin.")


@app.command("check")
def check_plugins(settings: SettingsOption = None, folder: FolderOption = None) -> None:
    """Load each plugin in its process: hashes, device, isolation, memory limit."""
    from node.inference.check import check_plugin

    with sentences():
        failed = False
        for manifest in _manifests(settings, folder):
            if lack := lacking(manifest):
                # No fault of an installation that has no rule for it; a rule is refused.
                console.print(f"{lack}; not loaded", markup=False, highlight=False, soft_wrap=True)
                continue
            report = check_plugin(manifest)
            failed |= not report.ok
            console.print(report.text, markup=False, highlight=False, soft_wrap=True)
        if failed:
            raise typer.Exit(1)


@app.command("off")
def switch_off(
    plugin: Annotated[str, typer.Argument(help="Name of the plugin, without version.")],
    reason: Annotated[str, typer.Option(help="Why; shown with every refusal.")],
    settings: SettingsOption = None,
) -> None:
    """Kill switch: the plugin makes no job, and what it has not delivered stays here (S22)."""
    _switch(plugin, settings, off=True, reason=reason)
    console.print(f"{plugin} is off: no new job, undelivered results are held.")


@app.command("on")
def switch_on(
    plugin: Annotated[str, typer.Argument(help="Name of the plugin, without version.")],
    settings: SettingsOption = None,
) -> None:
    """Switch a plugin on again: its waiting jobs and held results go on."""
    from node.storage.count_rows import refused_jobs
    from node.storage.retry_rows import retry_job

    refused: tuple[str, ...] = ()
    was_off = _switch(plugin, settings, off=False, reason="")
    if not was_off:
        console.print(f"{plugin} was on already.")
        return
    with sentences(), opened_node(settings) as node:
        refused = refused_jobs(node.db, plugin, RefusalCode.PLUGIN_DISABLED)
        for job_id in refused:
            retry_job(node.db, job_id, now=time.time())
            node.audit.record("job retried", job_id)
    console.print(
        f"{plugin} is on; its waiting jobs and held results go on, and jobs refused "
        f"meanwhile go through the rules again ({len(refused)}).",
        soft_wrap=True,
    )


def _switch(plugin: str, settings: Path | None, *, off: bool, reason: str) -> bool:
    """Set the kill switch; return whether it was off before."""
    from node.storage.switch_rows import is_plugin_off, set_plugin_switch

    with sentences(), opened_node(settings, with_plugins=True) as node:
        known = sorted({manifest.name for manifest in node.manifests.values()})
        if plugin not in known:
            raise SettingsError(f"there is no plugin `{plugin}`; there are: {', '.join(known)}")
        was_off = is_plugin_off(node.db, plugin)
        set_plugin_switch(node.db, plugin, off=off, reason=reason, now=time.time())
        node.audit.record("plugin switched", plugin, off=off, reason=reason)
        return was_off


def _manifests(settings: Path | None, folder: Path | None) -> list[Manifest]:
    """Return the plugins of the settings file, or without one the built-in ones."""
    if folder is not None:
        if not discover((folder,), points=()):
            raise SettingsError(
                f"there is no plugin in {folder}; a plugin is a folder with {MANIFEST_NAME}: name "
                "it, or the folder that holds it"
            )
        found = discover((folder,))
    elif settings is None and not _has_settings():
        found = discover((builtin_plugin_folder(),))
    else:
        found = parts.read_manifests(read_settings(settings))
    return sorted(found.values(), key=lambda manifest: manifest.name_version)


def _switched_off(settings: Path | None) -> dict[str, str] | None:
    """Return the plugins that are off, with why; None without settings."""
    if settings is None and not _has_settings():
        return None
    off = switched_off(read_settings(settings))
    return {name: f"off: {reason}" if reason else "off" for name, reason in off.items()}


def _has_settings() -> bool:
    try:
        settings_path(None)
    except SettingsError:
        return False
    return True
