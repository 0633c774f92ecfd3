"""A Result as DICOM files: one SEG for each grid, then the report. Same job, same bytes (S1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.metadata import version

from pydicom import Dataset, dcmwrite
from pydicom.charset import python_encoding
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from node.dicom.uids import derived_uid
from node.results.request import EncodedObject, EncodeRequest, Finding
from node.results.seg import segmentation
from node.results.sr import reports

__all__ = ["EncodeRequest", "EncodedObject", "encode"]

_UNICODE = "ISO_IR 192"
_TEXT_VRS = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})


def encode(request: EncodeRequest) -> tuple[EncodedObject, ...]:
    """Return the evidence of one job: SEGs, then the SR that refers to them (S25).

    Without a voxel in any segment there is no SEG, and the SR says so (S7).

    Raises
    ------
    ResultInvalid
        If the Result does not fit its manifest or the grids.
    Refused
        RESULT_TOO_LARGE, or SOURCE_ATTRIBUTE_UNUSABLE.
    """
    segs: dict[str, EncodedObject] = {}
    if request.profile.seg != "none":
        for input_role in dict.fromkeys(f.segment.role for f in request.findings):
            own = [f for f in request.findings if f.segment.role == input_role]
            segs[input_role] = _seg(request, own, number=len(segs) + 1)
    position = len(segs) + 1
    srs = [
        _encoded(
            request,
            ds,
            role="sr" if n == 0 else f"sr{n + 1}",
            position=position + n,
            source_role=request.main_role,
        )
        for n, ds in enumerate(reports(request, segs, (), position=position))
    ]
    return (*segs.values(), *srs)


def _seg(request: EncodeRequest, findings: Sequence[Finding], *, number: int) -> EncodedObject:
    role = "seg" if number == 1 else f"seg{number}"
    ds = segmentation(request, findings, role=role, position=number)
    source_role = findings[0].segment.role
    return _encoded(request, ds, role=role, position=number, source_role=source_role)


def _encoded(
    request: EncodeRequest, ds: Dataset, *, role: str, position: int, source_role: str
) -> EncodedObject:
    ds.SpecificCharacterSet = _charset(ds, request.charset)
    return EncodedObject(
        role=role,
        content=_file(ds),
        study_instance_uid=str(ds.StudyInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        position=position,
        source_role=source_role,
    )


def _file(ds: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(derived_uid("sentinel-node", "implementation"))
    meta.ImplementationVersionName = f"SENTINEL_{version('sentinel-node')}"[:16]
    ds.file_meta = meta
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def _charset(ds: Dataset, wanted: str) -> str | list[str]:
    """Return the wanted character set where it holds every text of `ds`, else Unicode (S6)."""
    values = [value.strip() for value in wanted.split("\\")]
    if values == [_UNICODE] or not any(values):
        return _UNICODE
    encodings = [python_encoding.get(value, "") for value in values]
    holds = all(_fits(text, encodings) for text in _texts(ds))
    return (values if len(values) > 1 else values[0]) if holds else _UNICODE


def _texts(ds: Dataset) -> set[str]:
    found: set[str] = set()
    for element in ds:
        if element.VR == "SQ" and element.keyword != "PerFrameFunctionalGroupsSequence":
            for item in element.value:
                found |= _texts(item)
        elif element.VR in _TEXT_VRS and element.value:
            found.add(str(element.value))
    return found


def _fits(text: str, encodings: Sequence[str]) -> bool:
    """Return whether each part of `text` can be written in one of the sets."""
    if text.isascii():
        return True
    return any(encoding and _can_encode(text, encoding) for encoding in encodings)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
