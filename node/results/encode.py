"""A Result as DICOM files, as a viewer profile wants them. Same job, same bytes (S1)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from pydicom import DataElement, Dataset, dcmwrite
from pydicom.charset import python_encoding
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from node.dicom.uids import derived_uid
from node.results.capture import captures
from node.results.key_objects import key_objects
from node.results.parametric_map import parametric_map
from node.results.request import EncodedObject, EncodeRequest, maps_of
from node.results.seg import segmentation
from node.results.sr import reports

__all__ = ["EncodeRequest", "EncodedObject", "encode", "encoded"]

_UNICODE = "ISO_IR 192"
_PIXELS = ("FloatPixelData", "PixelData")
_TEXT_VRS = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """One object before it is bytes."""

    role: str
    source_role: str
    ds: Dataset


def encode(request: EncodeRequest) -> tuple[EncodedObject, ...]:
    """Return the evidence of one job in the order of delivery (S25).

    SEGs and maps, then the reports that refer to them, pictures, the key object selection:
    which of them, the profile says. Without a voxel in any segment there is no SEG, and the SR
    says so (S7).

    Raises
    ------
    ResultInvalid
        If the Result does not fit its manifest or the grids.
    Refused
        RESULT_TOO_LARGE, or SOURCE_ATTRIBUTE_UNUSABLE.
    """
    segs, maps = list(_segs(request)), list(_maps(request))
    later = [*_pictures(request), *_selection(request)]
    srs = reports(
        request,
        {draft.source_role: draft.ds for draft in segs},
        [draft.ds for draft in (*maps, *later)],
    )
    drafts = [*segs, *maps, *_drafts("sr", request.main_role, srs), *later]
    return tuple(_encoded(request, draft, n) for n, draft in enumerate(drafts, start=1))


def _segs(request: EncodeRequest) -> Iterator[_Draft]:
    if request.profile.seg == "none":
        return
    input_roles = dict.fromkeys(finding.segment.role for finding in request.findings)
    for number, input_role in enumerate(input_roles, start=1):
        role = _numbered("seg", number)
        own = [f for f in request.findings if f.segment.role == input_role]
        yield _Draft(role=role, source_role=input_role, ds=segmentation(request, own, role=role))


def _maps(request: EncodeRequest) -> Iterator[_Draft]:
    for number, one in enumerate(maps_of(request), start=1):
        role = _numbered("pm", number)
        yield _Draft(role=role, source_role=one.role, ds=parametric_map(request, one, role=role))


def _pictures(request: EncodeRequest) -> Iterator[_Draft]:
    if request.profile.secondary_capture:
        for number, (input_role, ds) in enumerate(captures(request), start=1):
            yield _Draft(role=_numbered("sc", number), source_role=input_role, ds=ds)


def _selection(request: EncodeRequest) -> Iterator[_Draft]:
    ds = key_objects(request) if request.profile.key_objects else None
    if ds is not None:
        yield _Draft(role="kos", source_role=request.main_role, ds=ds)


def _drafts(kind: str, source_role: str, objects: Sequence[Dataset]) -> Iterator[_Draft]:
    for number, ds in enumerate(objects, start=1):
        yield _Draft(role=_numbered(kind, number), source_role=source_role, ds=ds)


def _numbered(kind: str, number: int) -> str:
    return kind if number == 1 else f"{kind}{number}"


def _encoded(request: EncodeRequest, draft: _Draft, position: int) -> EncodedObject:
    made = encoded(draft.ds, role=draft.role, position=position, charset=request.charset)
    return replace(made, source_role=draft.source_role)


def encoded(ds: Dataset, *, role: str, position: int, charset: str) -> EncodedObject:
    """Return a finished data set as the bytes of its file."""
    ds.SpecificCharacterSet = _charset(ds, charset)
    return EncodedObject(
        role=role,
        content=_file(ds),
        study_instance_uid=str(ds.StudyInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        position=position,
        source_role="",
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
    pixels = [ds[keyword] for keyword in _PIXELS if keyword in ds]
    for element in pixels:
        del ds[element.tag]
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return b"".join([stream.getvalue(), *(part for e in pixels for part in _element(e))])


def _element(element: DataElement) -> tuple[bytes, bytes]:
    """Return head and value of a long element in Explicit VR Little Endian (PS3.5 7.1.2).

    The library copies each value twice on its way; a SEG may hold 200 MB, and its pixels are
    its last element.
    """
    value: bytes = element.value
    tag = element.tag
    head = struct.pack("<HH2s2xL", tag.group, tag.element, element.VR.encode(), len(value))
    return head, value


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
