"""Headers of stored files as data sets, and what they say of the patient."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.errors import InvalidDicomError

from node.dicom.charset import is_damaged, repair_charset
from node.dicom.part10 import scan_file
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
    _, header = scan_file(path)
    header.require_sound()
    try:
        with quiet_pydicom():
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            return repair_charset(ds, assumed_charset)
    except _PARSE_ERRORS as error:
        raise MalformedDataset("the header cannot be parsed") from error


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
