"""Commands for the administrator: check, backfill, choose."""

from __future__ import annotations

import time
from itertools import groupby
from typing import Annotated

import typer
from rich.markup import escape

from node import app as parts
from node.cli.common import (
    SettingsOption,
    clock_time,
    console,
    opened_node,
    read_settings,
    sentences,
)
from node.errors import NodeError
from node.logs import hashed
from node.model import Instance, InstanceState
from node.parts import Node
from node.site_check import check_site


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (check, backfill, choose):
        app.command()(command)


def check(settings: SettingsOption = None) -> None:
    """Check settings, rules, plugins, validator and data folder; start nothing."""
    with sentences():
        site = read_settings(settings)
        manifests = parts.read_manifests(site)
        good = True
        for name, problem in check_site(site, manifests):
            good &= problem is None
            mark = "[green]ok[/]" if problem is None else "[bold red]no[/]"
            console.print(f"{mark}  {escape(name)}" + (f": {escape(problem)}" if problem else ""))
        if not good:
            raise typer.Exit(1)


def backfill(
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID of a HELD study.")],
    settings: SettingsOption = None,
) -> None:
    """Let the rules look at a HELD study, whatever it waits for (S15)."""
    from node.routing.dispatch import backfill as release

    with sentences(), opened_node(settings) as node:
        release(node.db, study_uid, now=time.time())
        node.audit.record("study back-filled", hashed(study_uid))
        console.print("The rules will look at it within a second.")


def choose(
    sop_uid: Annotated[
        str, typer.Argument(help="SOP Instance UID in conflict; without it: list all of them.")
    ] = "",
    sha256: Annotated[str, typer.Argument(help="Content hash of the version to use.")] = "",
    settings: SettingsOption = None,
) -> None:
    """Choose between versions of one SOP instance (S2); without a hash: show them."""
    from node.intake.versions import choose_version
    from node.storage.intake_rows import conflicting_instances, versions_of

    with sentences(), opened_node(settings) as node:
        if sha256:
            choose_version(node.db, sop_uid, sha256, now=time.time(), audit=node.audit)
        versions = versions_of(node.db, sop_uid) if sop_uid else conflicting_instances(node.db)
        if not versions and sop_uid:
            raise NodeError("no such SOP Instance UID here; `choose` lists those in conflict")
        if not versions:
            console.print("No instance is in conflict.")
        for _, group in groupby(versions, key=lambda version: version.sop_instance_uid):
            _show_versions(node, tuple(group))


def _show_versions(node: Node, versions: tuple[Instance, ...]) -> None:
    """Print the versions of one instance, and what each says differently from the first."""
    from node.intake.versions import what_differs

    lines = [f"SOP Instance UID {versions[0].sop_instance_uid}"]
    for number, version in enumerate(versions, 1):
        came = f"from {version.calling_ae or '?'} at {clock_time(version.received_at)}"
        lines += [
            f"  {version.state:10} {version.content_sha256}",
            f"    study {version.study_instance_uid}",
            f"    {came}: {version.path}",
        ]
        if number > 1 and version.state is not InstanceState.DUPLICATE:
            lines.append(f"    not as the first: {what_differs(node.files, versions[0], version)}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
