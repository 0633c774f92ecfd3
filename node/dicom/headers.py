"""Headers of stored files as data sets, and what they say of the patient."""

from __future__ import annotations

import mmap
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from node.dicom.charset import is_damaged, repair_charset
from node.dicom.scan import Header, ScanLimits, scan
from node.errors import MalformedDataset, RefusalCode, Refused
from node.model import Identity

# Tolerant in: real headers break rules of length and form in most studies, and pydicom's
# warnings quote the value (S28). What matters is checked where it is used.
pydicom.config.settings.reading_validation_mode = IGNORE

_IDENTITY = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
)
#: What pydicom raises on data sets that no rule of encoding explains.
_PARSE_ERRORS = (
    AttributeError,
    EOFError,
    InvalidDicomError,
    KeyError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_PREAMBLE_BYTES = 128
_META_START = _PREAMBLE_BYTES + 4


@dataclass(frozen=True, kw_only=True)
class Part10:
    """A DICOM file in its two parts: file meta information and the encoded data set."""

    transfer_syntax_uid: str
    #: Bytes of the data set as stored, mapped from the file.
    dataset: memoryview
    meta: Dataset


def open_part10(path: Path) -> Part10:
    """Map a DICOM file and split it, parsing nothing behind group 2.

    Raises
    ------
    MalformedDataset
        If it is no DICOM file, or does not say its transfer syntax.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size < _META_START:
            raise MalformedDataset("too short for a DICOM file")
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if bytes(view[_PREAMBLE_BYTES:_META_START]) != b"DICM":
        raise MalformedDataset("no DICOM file meta information")
    try:
        with quiet_pydicom():
            meta = read_file_meta_info(path)
            syntax = str(meta.get("TransferSyntaxUID", "") or "")
    except _PARSE_ERRORS as error:
        raise MalformedDataset("the file meta information cannot be read") from error
    if not syntax:
        raise MalformedDataset("the file meta information names no transfer syntax")
    return Part10(transfer_syntax_uid=syntax, dataset=view[_meta_end(view) :], meta=meta)


def scan_file(path: Path, *, limits: ScanLimits | None = None) -> Header:
    """Return the guarded walk over the data set of a DICOM file.

    Raises
    ------
    MalformedDataset
        As `open_part10`; a fault inside the data set is in `Header.fault`.
    """
    part10 = open_part10(path)
    return scan(part10.dataset, part10.transfer_syntax_uid, limits=limits)


def read_header(path: Path, *, assumed_charset: str = "") -> Dataset:
    """Return the data set of a DICOM file without its pixel data, all text in Unicode.

    Parameters
    ----------
    path : Path
        A Part-10 file.
    assumed_charset : str
        Character set of undeclared 8-bit text (S6).

    Returns
    -------
    Dataset
        With `file_meta`; Specific Character Set is ISO_IR 192, see `repair_charset`.

    Raises
    ------
    MalformedDataset
        If the file is no DICOM file, or too deep, too large or too broken to be parsed.
    OSError
        If it cannot be read.
    """
    scan_file(path).require_sound()
    try:
        with quiet_pydicom():
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            return repair_charset(ds, assumed_charset)
    except _PARSE_ERRORS as error:
        raise MalformedDataset("the header cannot be parsed") from error


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """How an instance came here, as its file meta information says (E2)."""

    calling_ae: str
    called_ae: str
    #: When the file was written, seconds since the epoch.
    received_at: float


def meta_of(path: Path) -> Arrival:
    """Return who sent an instance to whom, from group 2 (PS3.10 7.1), and its file's time.

    Raises
    ------
    MalformedDataset
        If it is no DICOM file.
    """
    meta = open_part10(path).meta
    calling = _text(meta, "SendingApplicationEntityTitle")
    return Arrival(
        calling_ae=calling or _text(meta, "SourceApplicationEntityTitle"),
        called_ae=_text(meta, "ReceivingApplicationEntityTitle"),
        received_at=path.stat().st_mtime,
    )


def _meta_end(view: memoryview) -> int:
    """Return where the data set starts, by walking over group 2 (always explicit VR LE)."""
    at = _META_START
    while at + 8 <= len(view):
        group, _element, vr, length = struct.unpack_from("<HH2sH", view, at)
        if group != 2:
            break
        if vr in (b"OB", b"UN", b"OW", b"UT", b"SQ"):
            length = struct.unpack_from("<L", view, at + 8)[0]
            at += 4
        at += 8 + length
    return min(at, len(view))


def identity_of(ds: Dataset) -> Identity:
    """Return what names the patient, spaces and empty name parts at the end dropped.

    Raises
    ------
    Refused
        SOURCE_ATTRIBUTE_UNUSABLE if a part could not be decoded: undeclared 8-bit text of a
        peer without `assumed_charset`, or bytes that the declared set does not have (S6).
    """
    with quiet_pydicom():
        values = {keyword: _text(ds, keyword) for keyword in _IDENTITY}
    damaged = [keyword for keyword, value in values.items() if is_damaged(value)]
    if damaged:
        raise Refused(
            RefusalCode.SOURCE_ATTRIBUTE_UNUSABLE,
            f"{', '.join(damaged)} cannot be decoded by the declared character set; "
            "set `assumed_charset` of the peer if it declares none",
        )
    return Identity(
        patient_id=values["PatientID"],
        issuer_of_patient_id=values["IssuerOfPatientID"],
        patient_name=_plain_name(values["PatientName"]),
        patient_birth_date=values["PatientBirthDate"],
        patient_sex=values["PatientSex"],
        accession_number=values["AccessionNumber"],
    )


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip("\0 ")


def _plain_name(name: str) -> str:
    """Return a PN without what may be left out at its end (PS3.5 6.2.1).

    Examples
    --------
    >>> _plain_name("Doe^Jane^^^=")
    'Doe^Jane'
    """
    groups = [group.rstrip("^ ") for group in name.split("=")]
    return "=".join(groups).rstrip("=")


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_filters = warnings.catch_warnings()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Drop warnings while pydicom converts values: they quote them (S28).

    What is wrong with a value is judged by us where it matters. Safe with several threads,
    unlike `warnings.catch_warnings`, whose filters belong to the process.
    """
    global _quiet_users, _quiet_filters
    with _quiet_lock:
        _quiet_users += 1
        if _quiet_users == 1:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_filters.__exit__(None, None, None)
