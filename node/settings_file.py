"""Read the one settings file: TOML, every key checked, every fault one sentence.

`docs/rules-and-settings.md` describes each key; a test keeps it complete.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from node.condition_file import parse_condition
from node.errors import SettingsError
from node.model import DestinationGrade
from node.profiles import NOT_SHOWN, PLAIN_PACS, PROFILES, STANDARD, ViewerProfile
from node.settings import (
    PLAIN_PHASES,
    DestinationSettings,
    PeerSettings,
    PhaseSettings,
    ReceiveSettings,
    ReleaseSettings,
    RoiSettings,
    RuleSettings,
    Settings,
    WebSettings,
)
from node.settings_check import check_against, check_settings, missing_secrets
from node.settings_words import (
    ae_title,
    charset_term,
    date_text,
    device_slot,
    host_name,
    network,
    one_name,
    orthanc_url,
    phase_word,
    span_s,
    without_password,
)
from node.toml_file import (
    Bound,
    Flag,
    Number,
    Table,
    Text,
    Whole,
    nearest,
    parse_table,
    read_toml,
)

__all__ = ["check_against", "load_settings", "missing_secrets", "parse_settings"]

_Strict = Annotated[str, Field(strict=True)]
_AeTitle = Annotated[_Strict, AfterValidator(ae_title)]
_Name = Annotated[_Strict, AfterValidator(one_name)]
_Host = Annotated[_Strict, AfterValidator(host_name)]
_Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
_Seconds = Annotated[Number, Field(ge=0, le=7 * 86400)]
_Positive = Annotated[Number, Field(gt=0)]
_Count = Annotated[Whole, Field(ge=1)]
_Megabytes = 10**9  # no disk and no header has more
_Hex = Annotated[_Strict, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Env = Annotated[_Strict, StringConstraints(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")]


class NodeTable(Table):
    """``[node]``."""

    data_dir: Annotated[_Strict, StringConstraints(min_length=1)]
    ae_titles: Annotated[tuple[_AeTitle, ...], Field(min_length=1)] = ("SENTINEL",)
    bind: _Host = "127.0.0.1"
    port: _Port = 11112
    database_url: Annotated[_Strict, AfterValidator(without_password)] = ""
    promiscuous: Flag = False
    plugin_dirs: tuple[Annotated[_Strict, StringConstraints(min_length=1)], ...] = ()
    devices: Annotated[
        tuple[Annotated[_Strict, AfterValidator(device_slot)], ...], Field(min_length=1)
    ] = ("auto",)
    quiet_s: _Seconds = 120.0
    roi_quiet_s: _Seconds = 5.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    institution: Annotated[_Strict, StringConstraints(max_length=64)] = ""
    device_serial_number: Annotated[_Strict, StringConstraints(max_length=64)] = ""


class ReceiveTable(Table):
    """``[receive]``."""

    max_associations: _Count = 32
    max_pdu_bytes: Annotated[int, Field(strict=True, ge=4096, le=2**32 - 1)] = 131072
    idle_timeout_s: _Positive = 60.0
    min_free_mb: Annotated[int, Field(strict=True, ge=0, le=_Megabytes)] = 1024
    max_header_mb: Annotated[int, Field(strict=True, ge=1, le=_Megabytes)] = 64
    max_depth: Annotated[int, Field(strict=True, ge=1, le=500)] = 32


class WebTable(Table):
    """``[web]``."""

    port: _Port | None = None
    bind: _Host = "127.0.0.1"
    tls_certificate: Annotated[_Strict, StringConstraints(min_length=1)] | None = None
    tls_key: Annotated[_Strict, StringConstraints(min_length=1)] | None = None
    token_env: _Env = ""
    max_body_kb: Annotated[int, Field(strict=True, ge=1, le=1024)] = 64
    timeout_s: Annotated[Number, Field(gt=0, le=600)] = 10.0


class PeerTable(Table):
    """``[[peers]]``."""

    name: _Name
    ae_title: _AeTitle
    hosts: tuple[Annotated[_Strict, AfterValidator(network)], ...] = ()
    port: _Port | None = None
    called: tuple[_AeTitle, ...] = ()
    store: Flag = True
    query: Flag = False
    assumed_charset: Annotated[_Strict, AfterValidator(charset_term)] = ""
    max_associations: _Count = 8


class RoiTable(Table):
    """``[rules.rois.NAME]``."""

    labels: tuple[Annotated[_Strict, StringConstraints(min_length=1)], ...] = ()
    unapproved: Flag = False
    latest: Flag = False


_Words = tuple[Annotated[_Strict, AfterValidator(phase_word)], ...]
_Span = Annotated[tuple[Number, Number], AfterValidator(span_s)]


class PhaseTable(Table):
    """``[rules.phases]``."""

    non_contrast: _Words = ()
    arterial: _Words = ()
    portal_venous: _Words = ()
    delayed: _Words = ()
    ignore: _Words = ()
    evidence: tuple[
        Literal["code", "comments", "description", "protocol", "time", "order"], ...
    ] = ("code", "comments", "description", "protocol", "time")
    arterial_s: _Span = PLAIN_PHASES.arterial_s
    portal_venous_s: _Span = PLAIN_PHASES.portal_venous_s
    delayed_s: _Span = PLAIN_PHASES.delayed_s


class RuleTable(Table):
    """``[[rules]]``."""

    name: _Name
    plugin: Annotated[_Strict, StringConstraints(min_length=1)]
    when: dict[str, Any]
    destinations: tuple[Text, ...] = ()
    quiet_s: _Seconds | None = None
    max_age_days: Annotated[Bound, Field(ge=0)] = 7.0
    grace_s: _Seconds = 900.0
    shadow: Flag = False
    roi_wait_s: Annotated[Number, Field(ge=0, le=366 * 86400)] = 259200.0
    rois: dict[_Name, RoiTable] = Field(default_factory=dict)
    phases: PhaseTable = PhaseTable()


class DestinationTable(Table):
    """``[[destinations]]``."""

    name: _Name
    kind: Literal["dicom", "orthanc", "folder"]
    grade: Literal["test", "research", "clinical"]
    ae_title: Annotated[_Strict, AfterValidator(lambda v: ae_title(v) if v else v)] = ""
    host: Annotated[_Strict, AfterValidator(lambda v: host_name(v) if v else v)] = ""
    port: _Port = 104
    calling_ae: Annotated[_Strict, AfterValidator(lambda v: ae_title(v) if v else v)] = ""
    url: Annotated[_Strict, AfterValidator(lambda v: orthanc_url(v) if v else v)] = ""
    username: Text = ""
    password_env: _Env = ""
    path: Annotated[_Strict, StringConstraints(min_length=1)] | None = None
    profile: Text | None = None
    charset: Literal["ISO_IR 192", "source"] = "ISO_IR 192"
    required: Literal["sent", "proven"] = "proven"
    not_run: Flag = False
    withdraw: Literal["note", "delete"] = "note"
    timeout_s: _Positive = 30.0


class ProfileTable(Table):
    """``[profiles.NAME]``: what is not said is as in the profile that it is like."""

    like: Text | None = None
    seg: Literal["binary", "labelmap", "fractional", "none"] | None = None
    max_seg_frames: _Count | None = None
    labelmap_beyond: Flag | None = None
    sr: Literal["outline", "segment", "text"] | None = None
    sr_class: Literal["comprehensive 3d", "comprehensive"] | None = None
    secondary_capture: Flag | None = None
    pictures: Literal["images", "frames"] | None = None
    key_objects: Flag | None = None
    presentation_state: Flag | None = None
    parametric_map: Flag | None = None
    iocm: Literal["none", "quality", "safety"] | None = None


class ReleaseTable(Table):
    """``[[releases]]``."""

    plugin: Annotated[_Strict, StringConstraints(min_length=1)]
    digest: _Hex
    rule: Text
    by: Annotated[_Strict, StringConstraints(min_length=1)]
    on: Annotated[Any, AfterValidator(date_text)]


class SettingsFile(Table):
    """The whole file."""

    node: NodeTable
    receive: ReceiveTable = ReceiveTable()
    web: WebTable = WebTable()
    peers: tuple[PeerTable, ...] = ()
    rules: tuple[RuleTable, ...] = ()
    destinations: tuple[DestinationTable, ...] = ()
    profiles: dict[_Name, ProfileTable] = Field(default_factory=dict)
    releases: tuple[ReleaseTable, ...] = ()


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the settings file at `path`.

    Parameters
    ----------
    path : Path
        TOML; relative paths in it are relative to its folder.
    environ : mapping
        Where passwords named by ``password_env`` come from; those not set are left out, and
        `missing_secrets` names them.

    Raises
    ------
    SettingsError
        One sentence: file, key, value, what to do.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path}: not UTF-8 text") from error
    return parse_settings(text, path.parent.resolve(), where=path.name, environ=environ)


def parse_settings(
    text: str,
    base_dir: Path,
    *,
    where: str = "settings",
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings that a TOML text says; see `load_settings`."""
    table = read_toml(text, where=where, error=SettingsError)
    file = parse_table(SettingsFile, table, where=where, error=SettingsError)
    node = file.node.model_dump()
    node["data_dir"] = _absolute(file.node.data_dir, base_dir)
    node["plugin_dirs"] = tuple(_absolute(one, base_dir) for one in file.node.plugin_dirs)
    profiles = {**PROFILES, **_profiles(file.profiles, where)}
    settings = Settings(
        **node,
        receive=ReceiveSettings(**file.receive.model_dump()),
        web=_web(file.web, base_dir),
        peers=tuple(PeerSettings(**peer.model_dump()) for peer in file.peers),
        rules=tuple(_rule(rule, file.node.quiet_s, where) for rule in file.rules),
        destinations=tuple(_destination(d, base_dir, profiles, where) for d in file.destinations),
        profiles=profiles,
        releases=tuple(ReleaseSettings(**one.model_dump()) for one in file.releases),
        secrets=_secrets(file, environ or {}),
    )
    check_settings(settings, where)
    return settings


def _absolute(path: str, base_dir: Path) -> Path:
    return (base_dir / Path(path).expanduser()).resolve()


def _rule(rule: RuleTable, quiet_s: float, where: str) -> RuleSettings:
    return RuleSettings(
        name=rule.name,
        plugin=rule.plugin,
        when=parse_condition(rule.when, where=f'{where}: rules["{rule.name}"]'),
        destinations=rule.destinations,
        quiet_s=quiet_s if rule.quiet_s is None else rule.quiet_s,
        max_age_days=rule.max_age_days,
        grace_s=rule.grace_s,
        shadow=rule.shadow,
        roi_wait_s=rule.roi_wait_s,
        rois={name: RoiSettings(**roi.model_dump()) for name, roi in rule.rois.items()},
        phases=PhaseSettings(**rule.phases.model_dump()),
    )


def _profiles(tables: Mapping[str, ProfileTable], where: str) -> Mapping[str, ViewerProfile]:
    """Return the site's own profiles, each from the ready one that it is like."""
    made: dict[str, ViewerProfile] = {}
    for name, table in tables.items():
        at = f"{where}: profiles.{name}"
        like = table.like or (name if name in PROFILES else PLAIN_PACS.name)
        if like not in PROFILES:
            raise SettingsError(
                f'{at}.like: there is no ready profile "{like}"{nearest(like, PROFILES)}'
            )
        said = table.model_dump(exclude={"like"}, exclude_none=True)
        try:
            own = replace(PROFILES[like], name=name, **said)
        except ValueError as error:
            raise SettingsError(f"{at}: {error}") from None
        if fault := _not_shown(own, like):
            raise SettingsError(f"{at}.{fault}")
        same = own.encoding == PROFILES[like].encoding
        made[name] = own if same else replace(own, tested="untested")
    return made


def _not_shown(own: ViewerProfile, like: str) -> str:
    """Return what the viewer that a profile is like would not show, "" if nothing."""
    asked = [("seg", own.seg)]
    if own.seg == "binary" and own.labelmap_beyond:
        asked.append(("labelmap_beyond", "labelmap"))
    for key, kind in asked:
        if why := NOT_SHOWN.get((like, kind)):
            value = "true" if key == "labelmap_beyond" else f'"{kind}"'
            return (
                f"{key} = {value} gives a SEG of kind {kind}, and {why}; leave {key} out, or write "
                'like = "standard" if the viewer is another one'
            )
    return ""


def _destination(
    table: DestinationTable, base_dir: Path, profiles: Mapping[str, ViewerProfile], where: str
) -> DestinationSettings:
    said = table.model_dump(exclude={"grade", "path", "profile"})
    # A folder shows nothing: programs read it, and they read all of the standard.
    usual = STANDARD if table.kind == "folder" else PLAIN_PACS
    profile = usual.name if table.profile is None else table.profile
    if profile not in profiles:
        raise SettingsError(
            f'{where}: destinations["{table.name}"].profile: there is no profile "{profile}"'
            f"{nearest(profile, profiles)}"
        )
    return DestinationSettings(
        grade=DestinationGrade(table.grade),
        profile=profiles[profile],
        path=None if table.path is None else _absolute(table.path, base_dir),
        **said,
    )


def _web(table: WebTable, base_dir: Path) -> WebSettings:
    said = table.model_dump()
    for key in ("tls_certificate", "tls_key"):
        said[key] = None if said[key] is None else _absolute(said[key], base_dir)
    return WebSettings(**said)


def _secrets(file: SettingsFile, environ: Mapping[str, str]) -> Mapping[str, str]:
    names = {file.web.token_env, *(one.password_env for one in file.destinations)} - {""}
    return {name: environ[name] for name in sorted(names) if name in environ}
