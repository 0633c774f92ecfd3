"""Single values of the settings file: each check returns the value or says what is wrong."""

from __future__ import annotations

import datetime
import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from pydicom.charset import python_encoding
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from node.toml_file import nearest

_DNS = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME = re.compile(r"\S(.{0,62}\S)?")


def ae_title(value: str) -> str:
    r"""Return an AE title without the spaces that do not count (PS3.5 6.2, AE).

    Examples
    --------
    >>> ae_title(" SENTINEL ")
    'SENTINEL'
    """
    kept = value.strip(" ")
    if not kept:
        raise ValueError("an AE title must not be empty")
    if len(kept) > 16:
        raise ValueError(f"an AE title has at most 16 characters, this one has {len(kept)}")
    if not all(" " <= letter <= "~" and letter != "\\" for letter in kept):
        raise ValueError("an AE title holds plain ASCII without backslash")
    return kept


def one_name(value: str) -> str:
    """Return a name of ours: 1 to 64 printable characters, no space at its ends."""
    if not _NAME.fullmatch(value) or not value.isprintable():
        raise ValueError("a name has 1 to 64 printable characters and no space at its ends")
    return value


def host_name(value: str) -> str:
    """Return an address or a DNS name."""
    try:
        ip_address(value)
    except ValueError:
        if not _DNS.fullmatch(value) or re.fullmatch(r"[0-9.]+", value):
            raise ValueError("neither an address nor a host name") from None
    return value


def network(value: str) -> str:
    """Return an address or a network in CIDR form."""
    try:
        ip_network(value)
    except ValueError as error:
        raise ValueError(f"write an address or a network like 10.1.0.0/16 ({error})") from None
    return value


def charset_term(value: str) -> str:
    """Return a defined term of Specific Character Set (PS3.3 C.12.1.1.2), or ""."""
    known = [term for term in python_encoding if term]
    if value and value not in known:
        raise ValueError(f"not a defined term of Specific Character Set{nearest(value, known)}")
    return value


def device_slot(value: str) -> str:
    """Return a device slot."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
        raise ValueError("a device is auto, cpu, cuda or cuda:0, cuda:1…")
    return value


def orthanc_url(value: str) -> str:
    """Return the address of an Orthanc, without a password in it."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # whose words may quote the password
        raise ValueError("not a web address; write one like http://pacs:8042") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("write an address like http://pacs:8042")
    if parts.username or parts.password:
        raise ValueError("no user or password here: use username and password_env")
    return value


def without_password(value: str) -> str:
    """Return the address of the rows, or ""; a password belongs into the environment."""
    if not value:
        return value
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError("write sqlite:////folder/node.db or postgresql+psycopg://…") from None
    if url.password or any("pass" in name.lower() for name in url.query):
        raise ValueError("no password in the settings file: use PGPASSWORD or a .pgpass file")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError("rows live in sqlite or postgresql")
    return value


def date_text(value: object) -> str:
    """Return a TOML date or "YYYY-MM-DD" as text."""
    try:
        if isinstance(value, datetime.date):
            return value.isoformat()[:10]
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError("write a date like 2026-01-31") from None


def phase_word(value: str) -> str:
    """Return what a site calls a contrast phase: it is looked for as a word, so it must be one."""
    if not any(letter.isalnum() for letter in value) or len(value) > 64:
        raise ValueError("write a word or a few, with a letter or digit, at most 64 characters")
    return value


def span_s(value: tuple[float, float]) -> tuple[float, float]:
    """Return the first and the last second after the start of a bolus."""
    if not 0 <= value[0] < value[1] <= 36000:
        raise ValueError("write the first and the last second after the bolus: [15, 45]")
    return value
