"""Are two files of one SOP Instance UID the same image, only its header corrected, or not (S2)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydicom import DataElement, Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dicom.headers import quiet_pydicom, read_header
from node.dicom.part10 import Part10, pixel_sha256, read_part10, scan_stream
from node.errors import MalformedDataset


class Difference(StrEnum):
    """The gravest difference between two files."""

    #: Nothing but encoding.
    NONE = "NONE"
    #: Header only, no geometry and nothing that gives pixels their meaning: a correction.
    HEADER = "HEADER"
    #: Pixels, geometry or content; also what cannot be compared.
    CONTENT = "CONTENT"


def _tags(*keywords: str) -> frozenset[int]:
    tags = {tag_for_keyword(keyword) for keyword in keywords}
    if None in tags:
        raise ValueError("an unknown keyword")
    return frozenset(tag for tag in tags if tag is not None)


#: Where a voxel lies, and what its number means: no correction, another image.
_GEOMETRY = _tags(
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PixelRepresentation",
    "BitsStored",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    "RealWorldValueMappingSequence",
)
#: Sequences that are no content of a report, contour set or segmentation.
_HEADER_SEQUENCES = _tags(
    "IssuerOfAccessionNumberSequence",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "OriginalAttributesSequence",
    "ProcedureCodeSequence",
    "ReferencedPerformedProcedureStepSequence",
    "ReferencedRequestSequence",
    "ReferencedStudySequence",
    "RequestAttributesSequence",
)
#: How pixels are packed; their decoded values are compared instead.
_PACKING = _tags("BitsAllocated", "HighBit", "PhotometricInterpretation", "PlanarConfiguration")
#: Says how text was coded, and it is compared decoded; padding.
_IGNORED = _tags("SpecificCharacterSet", "DataSetTrailingPadding")
#: What a transcoder writes about its work ("Full fidelity image").
_TRANSCODED = _tags("DerivationDescription", "DerivationCodeSequence")
_PLAIN = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
#: One byte, one character: undeclared text that differs stays different.
_ANY_BYTES = "ISO_IR 100"


def compare_files(first: Path, second: Path) -> Difference:
    """Return how two DICOM files differ.

    Group 2, lengths, padding, character set and transfer syntax do not count. Pixels that
    cannot be decoded are compared as they are encoded.
    """
    try:
        one, other = read_part10(first), read_part10(second)
        with quiet_pydicom():
            grave = _header_difference(
                read_header(first, assumed_charset=_ANY_BYTES),
                read_header(second, assumed_charset=_ANY_BYTES),
                same_order=_is_big(one) == _is_big(other),
                transcoded=one.transfer_syntax_uid != other.transfer_syntax_uid,
            )
            if grave is Difference.CONTENT or not _equal_pixels(first, one, second, other):
                return Difference.CONTENT
    except (MalformedDataset, ValueError, TypeError, struct.error):
        return Difference.CONTENT  # not comparable is not equal
    return grave


def differing_attributes(first: Path, second: Path) -> tuple[str, ...]:
    """Return the keywords (tags, where private) of what the headers of two files say differently.

    Raises
    ------
    MalformedDataset
        If a header cannot be parsed.
    OSError
        If a file cannot be read.
    """
    with quiet_pydicom():
        headers = [read_header(path, assumed_charset=_ANY_BYTES) for path in (first, second)]
        one, other = (_flat(header, with_private=True) for header in headers)
        tags = sorted(tag for tag in one.keys() | other.keys() if one.get(tag) != other.get(tag))
    return tuple(keyword_for_tag(tag) or f"{tag >> 16:04X},{tag & 0xFFFF:04X}" for tag in tags)


def _header_difference(
    first: Dataset, second: Dataset, *, same_order: bool, transcoded: bool
) -> Difference:
    one = _flat(first, with_private=same_order)
    other = _flat(second, with_private=same_order)
    differing = {tag for tag in one.keys() | other.keys() if one.get(tag) != other.get(tag)}
    if not differing - (_TRANSCODED if transcoded else frozenset()):
        return Difference.NONE
    if differing & _GEOMETRY:
        return Difference.CONTENT
    # In an object without pixels the sequences are the content (ROI contours, report items).
    if "Rows" not in first and any(
        _is_sequence(first, tag) or _is_sequence(second, tag)
        for tag in differing - _HEADER_SEQUENCES
    ):
        return Difference.CONTENT
    return Difference.HEADER


def _is_sequence(ds: Dataset, tag: int) -> bool:
    return tag in ds and ds[tag].VR == "SQ"


def _flat(ds: Dataset, *, with_private: bool) -> Mapping[int, object]:
    """Return comparable values by tag, nested ones included.

    Between byte orders private values are left out: of those with VR UN the order is lost.
    """
    ignored = _IGNORED | _PACKING
    return {
        int(element.tag): _plain(element, with_private=with_private)
        for element in ds
        if element.tag.element != 0
        and element.tag not in ignored
        and (with_private or not element.tag.is_private)
    }


def _plain(element: DataElement, *, with_private: bool) -> object:
    value = element.value
    if element.VR == "SQ":
        return [_flat(item, with_private=with_private) for item in value]
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    if isinstance(value, str | int | float):
        return str(value).strip("\0 ")
    try:
        return [str(each).strip("\0 ") for each in value] if element.VM != 1 else str(value).strip()
    except TypeError:
        return str(value)


def _equal_pixels(first: Path, one: Part10, second: Path, other: Part10) -> bool:
    """Return whether decoded values are equal; encoded ones where decoding is impossible."""
    same_form = one.transfer_syntax_uid == other.transfer_syntax_uid or {
        one.transfer_syntax_uid,
        other.transfer_syntax_uid,
    } <= set(_PLAIN)
    encoded = _encoded_hash(first, one), _encoded_hash(second, other)
    if same_form and encoded[0] == encoded[1]:
        return True
    if "" in encoded:
        return encoded[0] == encoded[1]
    decoded = decoded_pixel_sha256(first), decoded_pixel_sha256(second)
    return "" not in decoded and decoded[0] == decoded[1]


def _encoded_hash(path: Path, part10: Part10) -> str:
    with path.open("rb") as stream:
        return pixel_sha256(stream, part10, scan_stream(stream, part10))


def decoded_pixel_sha256(path: Path) -> str:
    """Return the SHA-256 of the decoded pixels, the same in any lossless syntax; "" if undecodable.

    Frame by frame, so that memory holds one.
    """
    digest = hashlib.sha256()
    try:
        with quiet_pydicom():
            for frame in iter_pixels(path):
                digest.update(f"{frame.shape} {frame.dtype.kind}{frame.dtype.itemsize}".encode())
                digest.update(frame.astype(frame.dtype.newbyteorder("<")).tobytes())
    except Exception:  # noqa: BLE001 border: codecs raise whatever they like on foreign bytes
        return ""
    return digest.hexdigest()


def _is_big(part10: Part10) -> bool:
    return part10.transfer_syntax_uid == ExplicitVRBigEndian
