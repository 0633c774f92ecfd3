"""What is wrong with an object that we made, kind by kind, without any value of it (S5, S28)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.results.coding import plain_copy
from node.results.readback import (
    geometry_faults,
    layer_of_map,
    layers_of,
    picture_faults,
    voxel_faults,
)
from node.results.request import EncodedObject, EncodeRequest
from node.results.required import missing
from node.results.seg import LABELMAP_STORAGE
from node.results.source import PATIENT, STUDY, source_header
from node.results.tree_rules import report_faults, segment_references, selection_faults

Parsed = Mapping[str, Dataset]
#: (check, fault)
Faults = Iterator[tuple[str, str]]

_REFERENCE = "ReferencedSOPInstanceUID"


def faults(item: EncodedObject, parsed: Parsed, request: EncodeRequest) -> Faults:
    """Yield (check, fault) of one object; each check names the rule it holds.

    Parameters
    ----------
    parsed : mapping of evidence role to data set
        All objects of the job, as read from the bytes that will be sent.
    """
    ds = parsed[item.role]
    absent = list(_common_faults(item, ds, source_header(request)))
    yield from absent
    if not any(check == "required attribute" for check, _ in absent):
        yield from _KINDS[str(ds.SOPClassUID)](item, parsed, request)


def note_faults(item: EncodedObject, ds: Dataset, source: Dataset) -> Faults:
    """Yield (check, fault) of a note about a run: a report, or a rejection."""
    common = list(_common_faults(item, ds, source))
    yield from common
    if common:
        return
    tree = (
        selection_faults if ds.SOPClassUID == KeyObjectSelectionDocumentStorage else report_faults
    )
    yield from (("tree", fault) for fault in tree(ds))
    yield from _evidence_faults(_evidence_of(ds), set(_values(ds.ContentSequence, _REFERENCE)))


def _common_faults(item: EncodedObject, ds: Dataset, source: Dataset) -> Faults:
    absent = [("required attribute", path) for path in missing(ds)]
    if absent:
        yield from absent
        return  # what follows reads those attributes
    yield from (("identity (S3)", keyword) for keyword in _identity_faults(ds, source))
    yield from (("own identity (S1)", fault) for fault in _name_faults(item, ds))
    yield from (("private attribute", str(tag)) for tag in _private(ds))


def _seg_faults(item: EncodedObject, parsed: Parsed, request: EncodeRequest) -> Faults:
    ds, stack = parsed[item.role], request.stacks[item.source_role]
    findings = [f for f in request.findings if f.segment.role == item.source_role]
    yield from (("geometry", fault) for fault in geometry_faults(ds, stack))
    layers = layers_of(ds, stack, findings)
    yield from (("voxel", fault) for fault in voxel_faults(ds, stack, layers))
    yield from _series_faults(ds)


def _map_faults(item: EncodedObject, parsed: Parsed, request: EncodeRequest) -> Faults:
    ds, stack = parsed[item.role], request.stacks[item.source_role]
    roles = [role for role, other in parsed.items() if other.SOPClassUID == ParametricMapStorage]
    one = request.result.maps[roles.index(item.role)]
    yield from (("geometry", fault) for fault in geometry_faults(ds, stack))
    yield from (("voxel", fault) for fault in voxel_faults(ds, stack, layer_of_map(one)))
    yield from _series_faults(ds)


def _series_faults(ds: Dataset) -> Faults:
    known = set(_values(ds.ReferencedSeriesSequence, _REFERENCE))
    yield from _evidence_faults(
        known, set(_values(ds.PerFrameFunctionalGroupsSequence, _REFERENCE))
    )


def _capture_faults(item: EncodedObject, parsed: Parsed, request: EncodeRequest) -> Faults:
    stack = request.stacks[item.source_role]
    findings = [f for f in request.findings if f.segment.role == item.source_role]
    maps = [one for one in request.result.maps if one.role == item.source_role]
    found = picture_faults(parsed[item.role], stack, findings, maps)
    yield from (("picture", fault) for fault in found)


def _selection_faults(item: EncodedObject, parsed: Parsed, request: EncodeRequest) -> Faults:
    ds = parsed[item.role]
    yield from (("tree", fault) for fault in selection_faults(ds))
    yield from _evidence_faults(_evidence_of(ds), set(_values(ds.ContentSequence, _REFERENCE)))


def _report_faults(item: EncodedObject, parsed: Parsed, request: EncodeRequest) -> Faults:
    ds = parsed[item.role]
    references = set(_values(ds.ContentSequence, _REFERENCE))
    # The whole result hangs together in its report (AIR-13), and so does what was analysed.
    others = [other for other in parsed.values() if other.Modality != "SR"]
    references |= {str(other.SOPInstanceUID) for other in others}
    references |= {str(h.SOPInstanceUID) for all_ in request.headers.values() for h in all_}
    yield from (("tree (TID 1500)", fault) for fault in report_faults(ds))
    yield from _evidence_faults(_evidence_of(ds), references)
    yield from (("segment", fault) for fault in _segment_faults(ds, others))
    if item.role == "sr":
        yield from (("tracking", fault) for fault in _tracking_faults(ds, others))


def _evidence_of(ds: Dataset) -> set[str]:
    current = _values(ds.CurrentRequestedProcedureEvidenceSequence, _REFERENCE)
    return {*current, *_values(ds.get("PertinentOtherEvidenceSequence") or (), _REFERENCE)}


def _evidence_faults(known: set[str], references: set[str]) -> Faults:
    if references - known:
        yield "evidence (S26)", f"{len(references - known)} references are not in the evidence"


def _identity_faults(ds: Dataset, source: Dataset) -> Iterator[str]:
    """Yield patient and study attributes that do not say what the source says (S3, S6)."""
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
        for segment in seg.get("SegmentSequence") or ():
            if segment.TrackingUID not in in_tree:
                yield f"segment {segment.SegmentNumber} is in no group of the report"


def _segment_faults(ds: Dataset, others: Iterable[Dataset]) -> Iterator[str]:
    """Yield references to a segment that a SEG of this run does not have (S26)."""
    known = {
        str(other.SOPInstanceUID): {item.SegmentNumber for item in other.SegmentSequence}
        for other in others
        if "SegmentSequence" in other
    }
    for item in segment_references(ds.ContentSequence):
        numbers = item["ReferencedSegmentNumber"]
        wanted = set(numbers.value if numbers.VM > 1 else [numbers.value])
        if not wanted <= known.get(str(item.ReferencedSOPInstanceUID), wanted):
            yield "a reference names a segment that its segmentation does not have"


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


_KINDS: Mapping[str, Callable[[EncodedObject, Parsed, EncodeRequest], Faults]] = {
    SegmentationStorage: _seg_faults,
    LABELMAP_STORAGE: _seg_faults,
    ParametricMapStorage: _map_faults,
    SecondaryCaptureImageStorage: _capture_faults,
    MultiFrameTrueColorSecondaryCaptureImageStorage: _capture_faults,
    KeyObjectSelectionDocumentStorage: _selection_faults,
    Comprehensive3DSRStorage: _report_faults,
    ComprehensiveSRStorage: _report_faults,
}
