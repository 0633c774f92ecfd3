"""Commands for the administrator: check, backfill, choose."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.markup import escape

from node import app as parts
from node.cli.common import SettingsOption, console, opened_node, read_settings, sentences
from node.errors import NodeError
from node.logs import hashed
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
    """Let the rules look at a study that was held because of its age (S15)."""
    from node.routing.dispatch import backfill as release

    with sentences(), opened_node(settings) as node:
        release(node.db, study_uid, now=time.time())
        node.audit.record("study back-filled", hashed(study_uid))
        console.print("The rules will look at it within a second.")


def choose(
    sop_uid: Annotated[str, typer.Argument(help="SOP Instance UID with two versions.")],
    sha256: Annotated[str, typer.Argument(help="Content hash of the version to use.")] = "",
    settings: SettingsOption = None,
) -> None:
    """Choose between two versions of one SOP instance (S2); without a hash: show them."""
    from node.intake.versions import choose_version
    from node.storage.intake_rows import versions_of

    with sentences(), opened_node(settings) as node:
        if sha256:
            choose_version(node.db, sop_uid, sha256, now=time.time(), audit=node.audit)
        versions = versions_of(node.db, sop_uid)
        if not versions:
            raise NodeError("no such SOP Instance UID here; `studies` lists what came in")
        for version in versions:
            console.print(f"{version.state:10}  {version.content_sha256}  {version.path}")
