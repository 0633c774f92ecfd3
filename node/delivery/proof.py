"""Whether what lies at the destination is our object under our patient (S3, S24)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import DataElement, Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.pixels.utils import iter_pixels
from pydicom.tag import BaseTag, Tag

from node.dicom.charset import is_damaged, repair_charset
from node.dicom.headers import quiet_pydicom
from node.model import Identity

#: What an archive may rightly change or add on its way in (PS3.4 B.4.1.3, IHE PIR, MPI); it
#: takes no part in the digest, and each difference is told by its keyword.
COERCIBLE = (
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
    "AdmissionID",
    "InstitutionName",
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
)
#: What an archive adds for itself, or drops because it says nothing.
_ARCHIVE_OWN = (
    "DataSetTrailingPadding",
    "RetrieveAETitle",
    "InstanceAvailability",
    "InstanceCoercionDateTime",
    "OriginalAttributesSequence",
    "StorageMediaFileSetID",
    "StorageMediaFileSetUID",
    "QueryRetrieveLevel",
)
_LEFT_OUT = frozenset(Tag(word) for word in (*COERCIBLE, *_ARCHIVE_OWN))
_PIXEL_DATA = Tag("PixelData")
_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})


class ProofOutcome(StrEnum):
    """What looking for an object at its destination showed (S24)."""

    #: Found under the expected study and patient, and what it holds is ours.
    PROVEN = "proven"
    #: Not there (yet).
    NOT_FOUND = "not found"
    #: There, but under another patient or study, or with other content.
    DIFFERS = "differs"
    #: The destination answers no question that could prove anything.
    UNAVAILABLE = "unavailable"


class ProofKind(StrEnum):
    """What a proof rests on."""

    #: A digest over the whole retrieved object.
    CONTENT = "content"
    #: Attributes that the destination's index holds: weaker.
    ATTRIBUTES = "attributes"
    NONE = ""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is known of an object at its destination."""

    outcome: ProofOutcome
    kind: ProofKind = ProofKind.NONE
    #: For a person: keywords of attributes that differ, never their values (S28).
    sentence: str = ""
    #: Stable word if it differs.
    code: str = ""


# --- patients -------------------------------------------------------------------------------


def identity_at_destination(ds: Dataset) -> Identity:
    """Return the patient of a C-FIND response; "" for what is absent or undecodable."""
    with quiet_pydicom():
        repair_charset(ds)
        values = {word: str(ds.get(word) or "").strip("\0 ") for word in _IDENTITY_KEYWORDS}
    return Identity(
        **{
            name: "" if is_damaged(values[word]) else values[word]
            for word, name in _IDENTITY_KEYWORDS.items()
        }
    )


_IDENTITY_KEYWORDS = {
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "AccessionNumber": "accession_number",
}


def identity_differences(ours: Identity, theirs: Identity) -> tuple[str, ...]:
    """Return the keywords in which the archive's patient or order is another one (S3).

    An attribute that one side lacks says nothing. Names are compared by their alphabetic
    part, without case and without what PN may leave out: "DOE^JANE^" is "Doe^Jane".
    """
    return tuple(_differing(ours, theirs))


def letters_are_missing(ours: Identity, theirs: Identity) -> bool:
    """Return whether they differ only in letters that the archive's answer cannot hold.

    An archive that answers in Latin 1 drops letters of other scripts, or writes "?".
    """
    differing = _differing(ours, theirs).values()
    return bool(differing) and all(_is_without_letters(a, b) for a, b in differing)


def _differing(ours: Identity, theirs: Identity) -> dict[str, tuple[str, str]]:
    pairs = {
        "PatientID": (ours.patient_id, theirs.patient_id),
        "IssuerOfPatientID": (ours.issuer_of_patient_id, theirs.issuer_of_patient_id),
        "PatientName": (_plain_name(ours.patient_name), _plain_name(theirs.patient_name)),
        "PatientBirthDate": (ours.patient_birth_date, theirs.patient_birth_date),
        "AccessionNumber": (ours.accession_number, theirs.accession_number),
    }
    return {word: (a, b) for word, (a, b) in pairs.items() if a and b and a.strip() != b.strip()}


def _is_without_letters(ours: str, theirs: str) -> bool:
    """Return whether `theirs` is `ours` without letters beyond ASCII, or "?" for them."""
    if ours.isascii():
        return False
    # What PN may leave out at its end was left out on both sides before.
    theirs += "^" * (ours.count("^") - theirs.count("^"))
    # How much of `theirs` the letters of `ours` so far may stand for.
    reached = {0}
    for letter in ours:
        dropped = reached if not letter.isascii() or letter == " " else set()
        marks = (letter,) if letter.isascii() else (letter, "?")
        reached = dropped | {at + 1 for at in reached if theirs[at : at + 1] in marks}
    return len(theirs) in reached


def compare_patients(expected: Identity, filed: Sequence[Identity]) -> Proof | None:
    """Return why the study does not lie under the expected patient; None if it does.

    Parameters
    ----------
    expected : Identity
        The patient in our object.
    filed : sequence of Identity
        Under whom the destination files the study; empty where it does not say.
    """
    wrong = {word for found in filed for word in identity_differences(expected, found)}
    if not wrong & {"PatientID", "IssuerOfPatientID"}:
        return None
    return Proof(
        outcome=ProofOutcome.DIFFERS,
        code="PATIENT_DIFFERS",
        sentence=f"the destination files it under another patient: {_listed(sorted(wrong))} differ",
    )


def _plain_name(name: str) -> str:
    alphabetic = name.split("=")[0].casefold()
    return "^".join(part.strip() for part in alphabetic.split("^")).rstrip("^ ")


# --- content --------------------------------------------------------------------------------


def compare_files(ours: Path, theirs: bytes) -> Proof:
    """Compare the object we sent with the one retrieved from the destination.

    Parameters
    ----------
    ours : Path
        Our Part-10 file.
    theirs : bytes
        A Part-10 file with their bytes.

    Returns
    -------
    Proof
        PROVEN by content, coerced attributes named; or DIFFERS with what differs.
    """
    try:
        with quiet_pydicom():
            found = pydicom.dcmread(BytesIO(theirs))
            return compare_datasets(pydicom.dcmread(ours), found)
    except Exception as error:  # noqa: BLE001 border: whatever a peer sent may be no DICOM at all
        return Proof(
            outcome=ProofOutcome.DIFFERS,
            code="CONTENT_DIFFERS",
            sentence=f"what the destination returns cannot be read ({type(error).__name__})",
        )


def compare_datasets(ours: Dataset, theirs: Dataset) -> Proof:
    """Compare two decoded objects by `content_digests`; their text is decoded in place.

    What the destination changed or dropped makes it another object; what it only added, or
    what an archive may change (`COERCIBLE`), is told.
    """
    expected, found = content_digests(ours), content_digests(theirs)
    wrong = sorted(tag for tag, digest in expected.items() if found.get(tag) != digest)
    if wrong:
        return Proof(
            outcome=ProofOutcome.DIFFERS,
            code="CONTENT_DIFFERS",
            sentence=f"the object there is not ours: {_listed(map(_word, wrong))} differ",
        )
    coerced = [word for word in COERCIBLE if _coercible(ours, word) != _coercible(theirs, word)]
    notes = [f"the destination changed {_listed(coerced)}"] if coerced else []
    if added := sorted(found.keys() - expected.keys()):
        notes.append(f"the destination added {_listed(map(_word, added))}")
    if {"PatientID", "IssuerOfPatientID"} & set(coerced):
        return Proof(outcome=ProofOutcome.DIFFERS, code="PATIENT_DIFFERS", sentence=notes[0])
    return Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT, sentence="; ".join(notes))


def content_digests(ds: Dataset) -> dict[int, bytes]:
    """Return a SHA-256 of each top-level element's value, however it is encoded, by tag.

    Left out: group 2, group lengths, private elements, and what an archive may change or add.
    Transfer syntax, padding and value representation make no difference: text counts as
    Unicode, numbers by value, compressed pixel data after decoding.

    Parameters
    ----------
    ds : Dataset
        As read by pydicom, with `file_meta`; its text is decoded in place.
    """
    with quiet_pydicom():
        repair_charset(ds)
        return {
            int(element.tag): hashlib.sha256(_value_bytes(element, ds)).digest()
            for element in ds
            if _counts(element.tag) and element.tag not in _LEFT_OUT
        }


def _counts(tag: BaseTag) -> bool:
    return tag.group > 2 and tag.element != 0 and not tag.is_private


def _value_bytes(element: DataElement, ds: Dataset) -> bytes:
    if element.tag == _PIXEL_DATA and ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return _even(b"".join(frame.tobytes() for frame in iter_pixels(ds, raw=True)))
    return _canonical(element)


def _canonical(element: DataElement) -> bytes:
    if element.VR == "SQ":
        return _framed(_canonical_item(item) for item in element.value)
    value = element.value
    if isinstance(value, bytes):
        return _even(value)
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    if element.VR in _NUMBERS:
        return repr([_number(v) for v in values if v is not None]).encode()
    return "\\".join("" if v is None else str(v).strip("\0 ") for v in values).encode()


def _canonical_item(item: Dataset) -> bytes:
    elements = (element for element in item if _counts(element.tag))
    return _framed(int(e.tag).to_bytes(4, "big") + _canonical(e) for e in elements)


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _number(value: float | int) -> float | int:
    return float(value) if isinstance(value, float) else int(value)


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def _coercible(ds: Dataset, word: str) -> bytes:
    return _canonical(ds[word]) if word in ds else b""


def _word(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _listed(words: Iterable[str]) -> str:
    """Return keywords for a sentence, the first eight of them."""
    every = list(words)
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "")
