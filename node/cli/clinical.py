"""Commands about clinical values of a study: set, clear, show, names."""

from __future__ import annotations

import getpass
import json
import sys
import time
from typing import Annotated

import typer

from node.app import read_manifests
from node.cli.common import (
    JsonOption,
    SettingsOption,
    clock_time,
    console,
    opened_node,
    read_settings,
    sentences,
    show,
)
from node.clinical import Said, enter, known
from node.clinical_check import allowed_words, given_words
from node.clinical_values import ClinicalValue, source_words, value_words

app = typer.Typer(
    name="clinical", help="Clinical values: set, clear, show, names.", no_args_is_help=True
)

StudyArgument = Annotated[str, typer.Argument(help="Study Instance UID.")]
NameArgument = Annotated[str, typer.Argument(help="Its name in a plugin's manifest.")]
ByOption = Annotated[
    str, typer.Option(help="Who says so.", show_default="the user of this computer")
]


# A number below zero is no option.
@app.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    study_uid: StudyArgument,
    name: NameArgument,
    value: Annotated[str, typer.Argument(help="A number, a word, yes or no.")],
    unit: Annotated[str, typer.Option(help="UCUM unit of a number: mm, a, ng/mL.")] = "",
    by: ByOption = "",
    settings: SettingsOption = None,
) -> None:
    """Say a clinical value of a study; plugins that can use it run again."""
    _enter(study_uid, name, Said(value=value, unit=unit, by=by or getpass.getuser()), settings)


@app.command("clear")
def clear_value(
    study_uid: StudyArgument,
    name: NameArgument,
    by: ByOption = "",
    settings: SettingsOption = None,
) -> None:
    """Take back what was set: reports and attributes of the study count again."""
    _enter(study_uid, name, Said(value=None, by=by or getpass.getuser()), settings)


@app.command("names")
def list_names(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """List the clinical values that this site's plugins can use, and what is allowed."""
    with sentences():
        rows = [
            {
                "name": name,
                "plugin": manifest.name_version,
                "label": spec.label,
                "allowed": allowed_words(spec),
                "attribute": spec.attribute,
                "reports": ", ".join(f"{code.value} {code.scheme}" for code in spec.sr),
            }
            for manifest in read_manifests(read_settings(settings)).values()
            for name, spec in manifest.clinical.items()
        ]
        show(rows, as_json=as_json, empty="No plugin here can use a clinical value.")


@app.command("show")
def show_values(
    study_uid: StudyArgument, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Show what was entered for a study, and which values its jobs used."""
    with sentences(), opened_node(settings) as node:
        document = known(node, study_uid)
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    lines = [
        f"{clock_time(one['at'])} {one['name']}: "
        + ("taken back" if one["value"] is None else given_words(one["value"], one["unit"]))
        + f", by {one['by']} ({one['way']})"
        for one in document["entries"]
    ]
    for job in document["jobs"]:
        lines.append(f"job {job['job']} of {job['plugin']}, {job['state']}:")
        values = (ClinicalValue(**{**one, "against": ()}) for one in job["values"])
        lines += [f"  {_line(one)}" for one in values]
    for line in lines or ["Nothing was entered, and no job used a clinical value."]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _line(one: ClinicalValue) -> str:
    if not one.used:
        return f"{one.name}: not used, {one.why_not}"
    return f"{one.name}: {value_words(one)} ({source_words(one)})"


def _enter(study_uid: str, name: str, said: Said, settings: SettingsOption) -> None:
    with sentences(), opened_node(settings, with_plugins=True) as node:
        stored = enter(node, study_uid, {name: said}, way="command", now=time.time(), as_text=True)
    (entry,) = stored.entries
    what = "taken back" if entry.value is None else given_words(entry.value, entry.unit)
    again = "; the rules look at the study again" if stored.again else ""
    console.print(f"{name}: {what}{again}", markup=False, highlight=False, soft_wrap=True)
