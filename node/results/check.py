"""The send gate: an object with a fault of our own making never leaves (S5)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.errors import EvidenceRejected
from node.results import dciodvfy
from node.results.coding import copy_elements
from node.results.faults import faults, note_faults
from node.results.request import EncodedObject, EncodeRequest
from node.results.seg import LABELMAP_STORAGE
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
#: What our own reading of an object adds, by SOP class: it passed, or there are no facts.
_READ_BACK = {
    SegmentationStorage: ("voxels_read_back",),
    LABELMAP_STORAGE: ("voxels_read_back",),
    ParametricMapStorage: ("voxels_read_back",),
    SecondaryCaptureImageStorage: ("picture_read_back",),
    MultiFrameTrueColorSecondaryCaptureImageStorage: ("picture_read_back",),
    Comprehensive3DSRStorage: ("tree_rules",),
    ComprehensiveSRStorage: ("tree_rules",),
    KeyObjectSelectionDocumentStorage: ("tree_rules",),
}


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
            _reject(item, faults(item, parsed, request))
        messages = [None if future is None else future.result() for future in said]
    of_source = _messages_of_source(source_header(request), program, messages)
    return {
        item.role: _facts(item, parsed[item.role], program, found, of_source)
        for item, found in zip(objects, messages, strict=True)
    }


def check_note(
    item: EncodedObject,
    source: Dataset,
    *,
    find_validator: Callable[[], Path | None] = dciodvfy.validator,
) -> Mapping[str, object]:
    """Check a note about a run as `check_objects` does evidence; return the facts.

    Parameters
    ----------
    source : Dataset
        The header that patient and study were copied from.
    """
    program, ds = find_validator(), dcmread(io.BytesIO(item.content))
    _reject(item, note_faults(item, ds, source))
    messages = dciodvfy.run(program, item.content) if program else None
    return _facts(item, ds, program, messages, _messages_of_source(source, program, [messages]))


def _reject(item: EncodedObject, faults: Iterable[tuple[str, str]]) -> None:
    found = list(faults)
    if found:
        check, fault = found[0]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise EvidenceRejected(f"{item.role}: {check}: {fault}{more}")


def _messages_of_source(
    source: Dataset,
    program: Path | None,
    messages: Iterable[frozenset[dciodvfy.Message] | None],
) -> frozenset[dciodvfy.Message]:
    """Return what the validator says of the source's header, asked only if it matters.

    Only what may be inherited is shown to it: no other fault of the source can stop us.
    """
    if program is None or not any(messages):
        return frozenset()
    header = Dataset()
    copy_elements(source, header, (*_COPIED, *_CONTEXT))
    header.SpecificCharacterSet = "ISO_IR 192"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, header, enforce_file_format=True)
    return dciodvfy.run(program, stream.getvalue()) or frozenset()


def _facts(
    item: EncodedObject,
    ds: Dataset,
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
    facts |= dict.fromkeys(_READ_BACK[item.sop_class_uid], "passed")
    if messages is None:
        why = "not installed" if program is None else "it gave no verdict"
        return {**facts, "dciodvfy": {"ran": False, "why": why}}
    mistaken = {message for message in messages if dciodvfy.is_mistaken(message, ds)}
    inherited, own = dciodvfy.split(messages - mistaken, of_source, _COPIED)
    errors = [str(message) for message in own if message.level == "Error"]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise EvidenceRejected(f"{item.role}: dciodvfy: {errors[0]}{more}")
    facts["dciodvfy"] = {
        "ran": True,
        "inherited": [str(message) for message in inherited],
        "own_warnings": [str(message) for message in own],
        **({"mistaken": sorted(map(str, mistaken))} if mistaken else {}),
    }
    return facts
