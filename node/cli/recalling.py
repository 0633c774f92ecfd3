"""Which results a recall means: what was typed, checked before anything is taken back (S8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from node.errors import NodeError, SettingsError
from node.model import Job
from node.storage.database import Database
from node.storage.replaced_rows import Package, jobs_of_plugin, packages_with_results

_LEAST_DIGITS = 8
_ALL_DIGITS = 64


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """The results that are meant; "" and None mean any."""

    plugin: str = ""
    version: str = ""
    digest: str = ""
    since: datetime | None = None
    #: The last day, itself included.
    until: datetime | None = None

    def jobs(self, db: Database) -> tuple[Job, ...]:
        """Return them, the oldest first.

        Raises
        ------
        NodeError
            If no result of such a package was ever made here.
        """
        known = packages_with_results(db)
        if not any(self._is(one) for one in known):
            raise NodeError(f"no result of {self._what(plugin='plugin ')}; {self._known(known)}")
        return jobs_of_plugin(
            db,
            plugin=self.plugin,
            version=self.version,
            digest=self.digest,
            since=self.since.timestamp() if self.since else None,
            until=(self.until + timedelta(days=1)).timestamp() if self.until else None,
        )

    @property
    def nothing(self) -> str:
        """Return the sentence that none of them ended in these days."""
        since = f" from {self.since:%Y-%m-%d}" if self.since else ""
        until = f" {'to' if since else 'until'} {self.until:%Y-%m-%d}" if self.until else ""
        return f"No result of {self._what()} ended{since}{until}."

    def _is(self, one: Package) -> bool:
        return (
            self.plugin in ("", one.plugin)
            and self.version in ("", one.version)
            and one.digest.startswith(self.digest)
        )

    def _what(self, *, plugin: str = "") -> str:
        version = f"@{self.version}" if self.version else ""
        named = f"{plugin}{self.plugin}{version}" if self.plugin else ""
        digest = f"digest {self.digest[:12]}" if self.digest else ""
        return " with ".join(part for part in (named, digest) if part)

    def _known(self, every: tuple[Package, ...]) -> str:
        """Return what could have been meant: versions of that plugin, else all plugins."""
        if not every:
            return "no plugin has made a result here yet"
        own = [one for one in every if one.plugin == self.plugin]
        words = (
            f"{one.plugin}@{one.version}" + (f" {one.digest[:12]}" if self.digest else "")
            for one in own or every
        )
        return f"known here: {', '.join(dict.fromkeys(words))}"


def recalled(
    plugin: str | None, digest: str | None, since: str | None, until: str | None
) -> Recalled:
    """Return what was typed; None: that option was not given.

    Raises
    ------
    SettingsError
        If a part is empty: an unset variable of a shell must not mean every result. Or if a
        part cannot be understood.
    """
    given = {"--plugin": plugin, "--digest": digest, "--from": since, "--to": until}
    for option, text in given.items():
        if text is not None and not text.strip():
            raise SettingsError(f"`{option}` is empty; say it, or leave the option out")
    if plugin is None and digest is None:
        raise SettingsError("say which results: `--plugin NAME@VERSION` or `--digest SHA256`")
    name, version = _name_and_version(plugin) if plugin else ("", "")
    first, last = (_day(text) if text else None for text in (since, until))
    if first and last and first > last:
        raise SettingsError(f"`--from {since}` is after `--to {until}`; exchange them")
    checked = _digits(digest) if digest else ""
    return Recalled(plugin=name, version=version, digest=checked, since=first, until=last)


def _name_and_version(text: str) -> tuple[str, str]:
    name, at, version = (part.strip() for part in text.partition("@"))
    if not name or (at and not version):
        part = "version" if name else "name"
        raise SettingsError(f"the {part} in `--plugin {text}` is empty; write NAME@VERSION")
    return name, version


def _digits(text: str) -> str:
    digest = text.strip().lower()
    if not re.fullmatch("[0-9a-f]*", digest):
        raise SettingsError(f"`--digest {text[:80]}` is no SHA-256: its digits are 0-9 and a-f")
    if not _LEAST_DIGITS <= len(digest) <= _ALL_DIGITS:
        raise SettingsError(
            f"`--digest` has {len(digest)} digits; give at least {_LEAST_DIGITS} digits of the "
            f"digest, and at most all {_ALL_DIGITS} digits"
        )
    return digest


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise SettingsError(f"`{text}` is no date; write it like 2026-03-01") from None
