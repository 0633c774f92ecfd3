"""What all our objects are written from: who made what of which study, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

from pydicom import Dataset

from node.dicom.uids import derived_uid
from node.model import Job


class Author(Protocol):
    """The plugin that an object names as its maker: a manifest, or what rows remember of one."""

    @property
    def name(self) -> str:
        """Return the plugin's name."""
        ...

    @property
    def version(self) -> str:
        """Return its version."""
        ...

    @property
    def name_version(self) -> str:
        """Return ``name@version``."""
        ...

    @property
    def digest(self) -> str:
        """Return the SHA-256 of its package."""
        ...

    @property
    def title(self) -> str:
        """Return its title for people."""
        ...

    @property
    def manufacturer(self) -> str:
        """Return who made it."""
        ...

    @property
    def private_schemes(self) -> tuple[str, ...]:
        """Return coding schemes of its own."""
        ...


class Writing(Protocol):
    """What any object of ours is written from: a run's evidence, or a note about a run."""

    @property
    def job(self) -> Job:
        """Return the job that it is about."""
        ...

    @property
    def manifest(self) -> Author:
        """Return the plugin."""
        ...

    @property
    def source(self) -> Dataset:
        """Return the header that patient and study are copied from (S3)."""
        ...

    @property
    def content_qualification(self) -> str:
        """Return ``RESEARCH`` or ``PRODUCT`` (S4)."""
        ...

    @property
    def device_serial_number(self) -> str:
        """Return the node's serial number."""
        ...

    @property
    def institution(self) -> str:
        """Return where the node stands, or ""."""
        ...

    @property
    def station_name(self) -> str:
        """Return the node's AE title."""
        ...

    @property
    def released(self) -> bool:
        """Return whether it may go without the word RESEARCH."""
        ...

    @property
    def time(self) -> datetime:
        """Return the one time that it says (S1)."""
        ...

    @property
    def sr_class(self) -> str:
        """Return the SOP class of its reports, as a profile says it."""
        ...

    @property
    def device_uid(self) -> str:
        """Return the Device UID of the plugin (AIR-7)."""
        ...

    def uid(self, *parts: str) -> str:
        """Return the UID of one thing in it (S1)."""
        ...


def moment_of(seconds: float, source: Dataset) -> datetime:
    """Return a row's time in the zone of `source`."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone_of(source))


def device_uid(author: Author) -> str:
    """Return the Device UID of a plugin."""
    return derived_uid("plugin", author.name, author.digest)


def zone_of(header: Dataset) -> timezone | None:
    """Return the source's Timezone Offset From UTC (0008,0201); None: not stated.

    Examples
    --------
    >>> ds = Dataset()
    >>> ds.TimezoneOffsetFromUTC = "-0330"
    >>> zone_of(ds).utcoffset(None).total_seconds()
    -12600.0
    """
    text = str(header.get("TimezoneOffsetFromUTC") or "").strip()
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdecimal():
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    offset = timedelta(minutes=-minutes if text[0] == "-" else minutes)
    return timezone(offset) if abs(offset) < timedelta(hours=24) else None
