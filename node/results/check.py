"""The send gate: an object with a fault of our own making never leaves (S5)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from node.errors import EvidenceRejected
from node.results import dciodvfy
from node.results.coding import copy_elements, plain_copy
from node.results.readback import geometry_faults, voxel_faults
from node.results.request import EncodedObject, EncodeRequest
from node.results.required import missing
from node.results.source import ACQUISITION, PATIENT, STUDY, source_header

#: Top of what was copied besides patient and study attributes.
_COPIED = (
    *PATIENT,
    *STUDY,
    "BodyPartExamined",
    "PositionReferenceIndicator",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "RequestAttributesSequence",
    "ReferencedRequestSequence",
    "ContributingEquipmentSequence",
    "CodingSchemeIdentificationSequence",
)
#: What makes the source's reduced header an object that the validator knows, and its scanner.
_CONTEXT = (
    *ACQUISITION,
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "Modality",
)
_REFERENCE = "ReferencedSOPInstanceUID"


def check_objects(
    objects: Sequence[EncodedObject],
    request: EncodeRequest,
    *,
    find_validator: Callable[[], Path | None] = dciodvfy.validator,
) -> Mapping[str, Mapping[str, object]]:
    """Read the bytes that will be sent and compare them with what they must say.

    Parameters
    ----------
    find_validator : callable
        Returns the dciodvfy program, None where there is none.

    Returns
    -------
    mapping of evidence role to JSON-able facts
        Which checks ran and what they found, without values of the patient. A missing
        validator is a fact of its own (E17).

    Raises
    ------
    EvidenceRejected
        On the first object with an `own` finding; the sentence names the check and the fault.
    """
    program = find_validator()
    with ThreadPoolExecutor(max_workers=2) as pool:
        # The validator is another process: it runs while we read.
        said = [pool.submit(dciodvfy.run, program, o.content) if program else None for o in objects]
        parsed = {item.role: dcmread(io.BytesIO(item.content)) for item in objects}
        for item in objects:
            _reject(item, _faults(item, parsed, request))
        messages = [None if future is None else future.result() for future in said]
    of_source = _messages_of_source(request, program, messages)
    return {
        item.role: _facts(item, program, found, of_source)
        for item, found in zip(objects, messages, strict=True)
    }


def _faults(
    item: EncodedObject, parsed: Mapping[str, Dataset], request: EncodeRequest
) -> Iterator[tuple[str, str]]:
    """Yield (check, fault) of one object; each check names the rule it holds."""
    ds = parsed[item.role]
    yield from (("required attribute", path) for path in missing(ds))
    yield from (("identity (S3)", keyword) for keyword in _identity_faults(ds, request))
    yield from (("own identity (S1)", fault) for fault in _name_faults(item, ds))
    yield from (("private attribute", str(tag)) for tag in _private(ds))
    if ds.SOPClassUID == SegmentationStorage:
        stack = request.stacks[item.source_role]
        findings = [f for f in request.findings if f.segment.role == item.source_role]
        yield from (("geometry", fault) for fault in geometry_faults(ds, stack))
        yield from (("voxel", fault) for fault in voxel_faults(ds, stack, findings))
        known = set(_values(ds.ReferencedSeriesSequence, _REFERENCE))
        references = set(_values(ds.PerFrameFunctionalGroupsSequence, _REFERENCE))
    else:
        known = set(_values(ds.CurrentRequestedProcedureEvidenceSequence, _REFERENCE))
        known |= set(_values(ds.get("PertinentOtherEvidenceSequence") or (), _REFERENCE))
        references = set(_values(ds.ContentSequence, _REFERENCE))
        segs = [other for other in parsed.values() if other.SOPClassUID == SegmentationStorage]
        references |= {str(seg.SOPInstanceUID) for seg in segs}
        references |= {str(h.SOPInstanceUID) for all_ in request.headers.values() for h in all_}
        yield from (("tracking", fault) for fault in _tracking_faults(ds, segs))
    if references - known:
        yield "evidence (S26)", f"{len(references - known)} references are not in the evidence"


def _identity_faults(ds: Dataset, request: EncodeRequest) -> Iterator[str]:
    """Yield patient and study attributes that do not say what the source says (S3, S6)."""
    source = source_header(request)
    for keyword in (*PATIENT, *STUDY):
        if _comparable(ds, keyword) != _comparable(source, keyword):
            yield keyword


def _comparable(ds: Dataset, keyword: str) -> str:
    """Return an attribute's decoded text; absent and empty are equal, so are trailing spaces."""
    if keyword not in ds or ds[keyword].is_empty:
        return ""
    value = ds[keyword].value
    if ds[keyword].VR == "SQ":
        return str([_item_text(plain_copy(item)) for item in value])
    text = str(value).rstrip(" \0")
    return text.rstrip("=^") if ds[keyword].VR == "PN" else text


def _item_text(item: Dataset) -> list[tuple[str, str]]:
    return [(element.keyword, _comparable(item, element.keyword)) for element in item]


def _name_faults(item: EncodedObject, ds: Dataset) -> Iterator[str]:
    expected = {
        "StudyInstanceUID": item.study_instance_uid,
        "SeriesInstanceUID": item.series_instance_uid,
        "SOPInstanceUID": item.sop_instance_uid,
        "SOPClassUID": item.sop_class_uid,
    }
    yield from (keyword for keyword, uid in expected.items() if ds.get(keyword) != uid)
    if ds.file_meta.MediaStorageSOPInstanceUID != item.sop_instance_uid:
        yield "MediaStorageSOPInstanceUID"
    if ds.file_meta.TransferSyntaxUID != item.transfer_syntax_uid:
        yield "TransferSyntaxUID"


def _tracking_faults(ds: Dataset, segs: Iterable[Dataset]) -> Iterator[str]:
    """Yield if a segment's tracking UID is in no measurement group (S26)."""
    in_tree = set(_values(ds.ContentSequence, "UID"))
    for seg in segs:
        for segment in seg.SegmentSequence:
            if segment.TrackingUID not in in_tree:
                yield f"segment {segment.SegmentNumber} is in no group of the report"


def _values(items: Iterable[Dataset], keyword: str) -> Iterator[str]:
    """Yield every value of `keyword` in the items, however deep."""
    for item in items:
        for element in item:
            if element.keyword == keyword:
                yield str(element.value)
            elif element.VR == "SQ":
                yield from _values(element.value, keyword)


def _private(ds: Dataset) -> Iterator[object]:
    for element in ds:
        if element.tag.is_private:
            yield element.tag
        elif element.VR == "SQ":
            for item in element.value:
                yield from _private(item)


def _reject(item: EncodedObject, faults: Iterable[tuple[str, str]]) -> None:
    found = list(faults)
    if found:
        check, fault = found[0]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise EvidenceRejected(f"{item.role}: {check}: {fault}{more}")


def _messages_of_source(
    request: EncodeRequest,
    program: Path | None,
    messages: Iterable[frozenset[dciodvfy.Message] | None],
) -> frozenset[dciodvfy.Message]:
    """Return what the validator says of the source's header, asked only if it matters.

    Only what may be inherited is shown to it: no other fault of the source can stop us.
    """
    if program is None or not any(messages):
        return frozenset()
    header = Dataset()
    copy_elements(source_header(request), header, (*_COPIED, *_CONTEXT))
    header.SpecificCharacterSet = "ISO_IR 192"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, header, enforce_file_format=True)
    return dciodvfy.run(program, stream.getvalue()) or frozenset()


def _facts(
    item: EncodedObject,
    program: Path | None,
    messages: frozenset[dciodvfy.Message] | None,
    of_source: frozenset[dciodvfy.Message],
) -> Mapping[str, object]:
    """Return what is recorded of one object that passed our own checks."""
    facts: dict[str, object] = {
        "required_attributes": "passed",
        "identity": "passed",
        "evidence_references": "passed",
    }
    if item.sop_class_uid == SegmentationStorage:
        facts["voxels_read_back"] = "passed"
    if messages is None:
        why = "not installed" if program is None else "it gave no verdict"
        return {**facts, "dciodvfy": {"ran": False, "why": why}}
    inherited, own = dciodvfy.split(messages, of_source, _COPIED)
    errors = [str(message) for message in own if message.level == "Error"]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise EvidenceRejected(f"{item.role}: dciodvfy: {errors[0]}{more}")
    facts["dciodvfy"] = {
        "ran": True,
        "inherited": [str(message) for message in inherited],
        "own_warnings": [str(message) for message in own],
    }
    return facts
