"""Clinical values that persons say of a study: checked, stored, on record, and looked at again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from node.clinical_check import checked, from_text
from node.clinical_values import Value
from node.errors import ClinicalValueRefused, InstanceRejected, ManifestError
from node.logs import hashed
from node.manifest import ClinicalSpec
from node.manifest_file import find_manifest
from node.parts import Node
from node.person_name import is_whole, why_no_person_name
from node.storage.clinical_rows import (
    Entry,
    NewEntry,
    NoSuchStudy,
    enter_values,
    entries_of_study,
    holding,
)
from node.storage.files import check_uid
from node.storage.intake_rows import get_study
from node.storage.job_rows import jobs_of_study
from node.toml_file import nearest


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a person says of one clinical value."""

    #: None takes back what was said before.
    value: object
    #: UCUM; "" = none.
    unit: str = ""
    by: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What became of it."""

    entries: tuple[Entry, ...]
    #: Whether the rules look at the study again.
    again: bool


def enter(
    node: Node,
    study_instance_uid: str,
    said: Mapping[str, Said],
    *,
    way: str,
    now: float,
    as_text: bool = False,
) -> Stored:
    """Check and store what a person says of a study's clinical values, all of it or nothing.

    Parameters
    ----------
    way : str
        ``command`` or ``http``.
    as_text : bool
        Values are words of a command line; they become the type that the manifest says.

    Raises
    ------
    ClinicalValueRefused
        If a value is none that a plugin knows, or not what every such plugin allows.
    NoSuchStudy
        If nothing of the study is here.
    """
    _check_study(study_instance_uid)
    entries = [_entry(node, name, one, way=way, as_text=as_text) for name, one in said.items()]
    look_again = any(name in said for name in _names_of_rules(node))
    stored, again = enter_values(
        node.db, study_instance_uid, entries, look_again=look_again, now=now
    )
    for one in stored:
        act = "clinical value taken back" if one.value is None else "clinical value entered"
        facts: dict[str, str | int] = {"name": one.name, "by": one.entered_by, "way": way}
        node.audit.record(act, hashed(study_instance_uid), **facts, entry=one.id)
    return Stored(entries=stored, again=again)


def known(node: Node, study_instance_uid: str) -> dict[str, Any]:
    """Return what persons entered of a study and what its jobs used, JSON-able.

    Raises
    ------
    NoSuchStudy
        If nothing of the study is here.
    """
    _check_study(study_instance_uid)
    if get_study(node.db, study_instance_uid) is None:
        raise NoSuchStudy("there is no such study here; `sentinel-node studies` lists them")
    entries = entries_of_study(node.db, study_instance_uid)
    return {
        "study": study_instance_uid,
        "values": {name: entry_document(one) for name, one in holding(entries).items()},
        "entries": [{"name": one.name, **entry_document(one)} for one in entries],
        "jobs": [
            {
                "job": job.id,
                "plugin": job.plugin_name_version,
                "state": str(job.state),
                "values": [asdict(one) for one in job.clinical],
            }
            for job in jobs_of_study(node.db, study_instance_uid)
            if job.clinical
        ],
    }


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return an entry for people and programs, without its name."""
    about = {"unit": entry.unit, "by": entry.entered_by, "at": entry.at, "way": entry.way}
    return {"value": entry.value, **about}


def _check_study(study_instance_uid: str) -> None:
    try:
        check_uid(study_instance_uid)
    except InstanceRejected as error:
        raise NoSuchStudy("that is no Study Instance UID") from error


def _entry(node: Node, name: str, said: Said, *, way: str, as_text: bool) -> NewEntry:
    _check_text(name, said)
    specs = dict(_specs(node, name))
    if not specs:
        names = {one for manifest in node.manifests.values() for one in manifest.clinical}
        raise ClinicalValueRefused(
            f'no plugin here can use a clinical value "{name[:64]}"{nearest(name, names)}'
        )
    return NewEntry(
        name=name,
        value=_given(specs, said, as_text=as_text),
        unit=said.unit if said.value is not None else "",
        entered_by=_person(name, said.by.strip()),
        way=way,
    )


def _person(name: str, by: str) -> str:
    """Return who says it; raises unless a report can hold the name."""
    why_not = why_no_person_name(by)
    if why_not:
        like = "by a name like A. Reader or READER^ANNA"
        raise ClinicalValueRefused(f"{name}: say who enters it, {like}: {why_not}")
    return by


def _check_text(name: str, said: Said) -> None:
    """Raise if a text cannot be written; which one it is cannot be shown either."""
    texts = (name, said.unit, said.by, *([said.value] if isinstance(said.value, str) else ()))
    if not all(map(is_whole, texts)):
        raise ClinicalValueRefused(
            "name, value, unit or by holds half a character (a lone surrogate): "
            "write whole characters, in UTF-8"
        )


def _given(specs: Mapping[str, ClinicalSpec], said: Said, *, as_text: bool) -> Value | None:
    """Return the value as it was given; raises unless every plugin that uses it allows it."""
    if said.value is None:
        return None
    given: Any = None
    for plugin, spec in specs.items():
        given = from_text(spec, str(said.value)) if as_text else said.value
        try:
            checked(spec, given, said.unit)
        except ClinicalValueRefused as refusal:
            raise ClinicalValueRefused(f"{refusal} ({plugin})") from None
    return given  # type: ignore[no-any-return]


def _specs(node: Node, name: str) -> Iterator[tuple[str, ClinicalSpec]]:
    for manifest in node.manifests.values():
        if name in manifest.clinical:
            yield manifest.name_version, manifest.clinical[name]


def _names_of_rules(node: Node) -> Iterator[str]:
    """Yield the clinical values that plugins of the rules can use."""
    for rule in node.settings.rules:
        try:
            yield from find_manifest(rule.plugin, node.manifests.values()).clinical
        except ManifestError:  # the rules themselves refuse it by name
            continue
