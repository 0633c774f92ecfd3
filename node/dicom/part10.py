"""Files as we keep them: our own group 2 before the data set as it came (PS3.10 7.1).

The file is the truth, the row an index (E2): who sent it to whom and when stands in the
meta group, so that lost rows can be made again, equal to the byte.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from node import __version__
from node.dicom.scan import Header, ScanLimits, scan
from node.dicom.uids import derived_uid
from node.dicom.walk import LONG_VRS
from node.errors import MalformedDataset
from node.model import Origin

#: Who we are in files and associations (PS3.7 D.3.3.2).
IMPLEMENTATION_CLASS_UID: Final = derived_uid("sentinel-node", "implementation class")
IMPLEMENTATION_VERSION_NAME: Final = f"SENTINEL_{__version__}"[:16]
_PRIVATE_CREATOR: Final = derived_uid("sentinel-node", "private information", "1")
#: Fixed, so that the stamp can be rewritten in place when the last byte has come.
_PRIVATE_BYTES: Final = 512
_PREAMBLE: Final = bytes(128) + b"DICM"
_CHUNK: Final = 1 << 20
_LONGEST_META: Final = 1 << 20
#: Read at first: group 2 is hardly ever longer.
_USUAL_META: Final = 1 << 13


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """How an instance came here."""

    calling_ae: str
    called_ae: str
    #: Name of the configured peer, "" if promiscuous.
    peer: str
    received_at: float
    origin: Origin = Origin.ROUTED


@dataclass(frozen=True, kw_only=True)
class Part10:
    """What stands before the data set of a file."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int
    #: None in files that others wrote.
    stamp: Stamp | None


def encode_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, stamp: Stamp
) -> bytes:
    """Return preamble and group 2; as long for any `received_at`."""
    private = json.dumps(
        {
            "origin": stamp.origin.value,
            "peer": stamp.peer,
            "received_at": repr(stamp.received_at),
        }
    ).encode("ascii")
    if len(private) > _PRIVATE_BYTES:
        raise ValueError("the name of a peer is too long for a file")
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", sop_class_uid.encode("ascii")),
            _element(0x0003, b"UI", sop_instance_uid.encode("ascii")),
            _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii")),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
            _element(0x0016, b"AE", stamp.calling_ae.encode("ascii", "replace")),
            _element(0x0017, b"AE", stamp.calling_ae.encode("ascii", "replace")),
            _element(0x0018, b"AE", stamp.called_ae.encode("ascii", "replace")),
            _element(0x0100, b"UI", _PRIVATE_CREATOR.encode("ascii")),
            _element(0x0102, b"OB", private.ljust(_PRIVATE_BYTES)),
        )
    )
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(elements))) + elements


def read_part10(path: Path) -> Part10:
    """Read preamble and group 2 of a file.

    Raises
    ------
    MalformedDataset
        If it is no DICOM file with a readable group 2 and a transfer syntax.
    """
    with path.open("rb") as stream:
        start = stream.read(_USUAL_META)
        try:
            return parse_part10(start)
        except MalformedDataset:
            return parse_part10(start + stream.read(_LONGEST_META))


def parse_part10(start: bytes) -> Part10:
    """Do `read_part10` on the first MiB of a file.

    Raises
    ------
    MalformedDataset
        If it is no DICOM file with a readable group 2 and a transfer syntax.
    """
    if start[128:132] != b"DICM":
        raise MalformedDataset("no DICOM file: the prefix is missing", code="NO_PART10")
    values, offset = _read_meta(start)
    transfer_syntax_uid = _text(values.get(0x0010, b""))
    if not transfer_syntax_uid:
        raise MalformedDataset("the file does not name its transfer syntax", code="NO_PART10")
    return Part10(
        sop_class_uid=_text(values.get(0x0002, b"")),
        sop_instance_uid=_text(values.get(0x0003, b"")),
        transfer_syntax_uid=transfer_syntax_uid,
        dataset_offset=offset,
        stamp=_stamp(values),
    )


def scan_file(path: Path, *, limits: ScanLimits | None = None) -> tuple[Part10, Header]:
    """Read group 2 and walk over the data set of a file, mapped, not loaded.

    Raises
    ------
    MalformedDataset
        If the file has no readable group 2; for the data set see `Header.fault`.
    """
    part10 = read_part10(path)
    with path.open("rb") as stream:
        return part10, scan_stream(stream, part10, limits=limits)


def scan_stream(stream: IO[bytes], part10: Part10, *, limits: ScanLimits | None = None) -> Header:
    """Walk over the data set of an open file."""
    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    dataset = memoryview(mapped)[part10.dataset_offset :]
    return scan(dataset, part10.transfer_syntax_uid, limits=limits)


def content_sha256(path: Path, part10: Part10) -> str:
    """Return the SHA-256 of a file's data set without group 2 (E3)."""
    with path.open("rb") as stream:
        return hash_range(stream, part10.dataset_offset, None)


def pixel_sha256(stream: IO[bytes], part10: Part10, header: Header) -> str:
    """Return the SHA-256 of the encoded pixel data value, "" if there is none.

    Read in chunks: a mapped gigabyte would count as our memory.
    """
    if header.pixel_start is None or header.pixel_end is None:
        return ""
    if header.inflated:
        return header.pixel_sha256()
    start = part10.dataset_offset + header.pixel_start
    return hash_range(stream, start, header.pixel_end - header.pixel_start)


def hash_range(stream: IO[bytes], start: int, length: int | None) -> str:
    """Return the SHA-256 of `length` bytes from `start`, or of all from there."""
    stream.seek(start)
    digest = hashlib.sha256()
    left = length
    while chunk := stream.read(_CHUNK if left is None else min(_CHUNK, left)):
        digest.update(chunk)
        left = None if left is None else left - len(chunk)
    return digest.hexdigest()


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr in LONG_VRS:
        return struct.pack("<HH2sHL", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def _read_meta(start: bytes) -> tuple[dict[int, bytes], int]:
    """Return the values of group 2 by element number, and where the group ends."""
    values: dict[int, bytes] = {}
    position = 132
    while position + 8 <= len(start):
        group, number, vr, length = struct.unpack_from("<HH2sH", start, position)
        if group != 2:
            return values, position
        position += 8
        if vr in LONG_VRS:
            if position + 4 > len(start):
                break
            (length,) = struct.unpack_from("<L", start, position)
            position += 4
        if position + length > len(start):
            break
        values[number] = start[position : position + length]
        position += length
    if position != len(start):
        raise MalformedDataset("group 2 of the file ends too early", code="NO_PART10")
    return values, position


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _stamp(values: dict[int, bytes]) -> Stamp | None:
    if _text(values.get(0x0100, b"")) != _PRIVATE_CREATOR:
        return None
    try:
        private = json.loads(values.get(0x0102, b""))
        return Stamp(
            calling_ae=_text(values.get(0x0017, b"")),
            called_ae=_text(values.get(0x0018, b"")),
            peer=str(private["peer"]),
            received_at=float(private["received_at"]),
            origin=Origin(private["origin"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
