"""Rules of the trees that we write: TID 1500 with its groups, and TID 2010 (PS3.16)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydicom import Dataset

from node.dicom import codes

#: CID 7021, and what takes a result back: a defined context group may be extended.
_TITLES = {"126000", "126001", "126002", "126003", codes.WITHDRAWN_REPORT.value}
_GROUPS = {"1410", "1411", "1501"}
_GROUP = "125007"
_TRACKING_ID, _TRACKING_UID = "112039", "112040"
_ALGORITHM = ("111001", "111003")
_IMAGE_REGION, _REFERENCED_SEGMENT = "111030", "121191"
#: What each row of the root must be: concept, relationship.
_ROOT = (
    ("121049", "HAS CONCEPT MOD"),  # Language
    ("121005", "HAS OBS CONTEXT"),  # Observer Type
    ("121058", "HAS CONCEPT MOD"),  # Procedure reported
    ("111028", "CONTAINS"),  # Image Library
)


def report_faults(ds: Dataset) -> Iterator[str]:
    """Yield where a report breaks TID 1500, or what crashes a viewer that reads it (S26)."""
    title = _concept(ds)
    if title not in _TITLES:
        yield "the title is not of CID 7021"
    if _template(ds) != "1500":
        yield "the root template is not TID 1500"
    rows = [(_concept(item), item.get("RelationshipType")) for item in ds.ContentSequence]
    yield from (f"the root has no {row[0]}" for row in _ROOT if row not in rows)
    groups = [
        group
        for container in ds.ContentSequence
        if _concept(container) == codes.IMAGING_MEASUREMENTS.value
        for group in container.get("ContentSequence") or ()
    ]
    for number, group in enumerate(groups, start=1):
        yield from (f"group {number} {fault}" for fault in _group_faults(group))
    if title == codes.IMAGING_MEASUREMENT_REPORT.value and not all(map(_coordinates, groups)):
        yield "a group has no coordinates under title 126000, which crashes OHIF"
    yield from _number_faults(ds)


def segment_references(items: Iterable[Dataset]) -> Iterator[Dataset]:
    """Yield every reference that names a segment by its number, however deep."""
    for item in items:
        if "ReferencedSegmentNumber" in item:
            yield item
        for element in item:
            if element.VR == "SQ":
                yield from segment_references(element.value)


def _group_faults(group: Dataset) -> Iterator[str]:
    """Yield what a measurement group lacks; it has exactly one kind of region (S26)."""
    if _concept(group) != _GROUP or group.get("RelationshipType") != "CONTAINS":
        yield "is no measurement group"
        return
    items = group.get("ContentSequence") or ()
    names = [_concept(item) for item in items]
    for concept in (_TRACKING_ID, _TRACKING_UID):
        if names.count(concept) != 1:
            yield f"has {names.count(concept)} items {concept}"
    yield from (f"has no {concept}" for concept in _ALGORITHM if concept not in names)
    template = _template(group)
    regions, segments = len(_coordinates(group)), names.count(_REFERENCED_SEGMENT)
    allowed = {
        "1410": regions + segments == 1,
        "1411": segments == 0 < regions or (segments == 1 and regions == 0),
        "1501": regions + segments == 0,
    }
    if template not in _GROUPS:
        yield "is of no template that TID 1500 includes"
    elif not allowed[template]:
        yield f"of TID {template} has {regions} regions and {segments} segments"
    if any(len(item.get("ContentSequence") or ()) != 1 for item in _coordinates(group)):
        yield "has coordinates on no image"


def _coordinates(group: Dataset) -> Sequence[Dataset]:
    items = group.get("ContentSequence") or ()
    return [item for item in items if item.ValueType == "SCOORD"]


def _number_faults(ds: Dataset) -> Iterator[str]:
    for item in _walk(ds):
        if item.get("ValueType") == "NUM":
            measured = item.get("MeasuredValueSequence") or []
            if len(measured) != 1 or not measured[0].get("MeasurementUnitsCodeSequence"):
                yield "a number has no value or no unit"


def selection_faults(ds: Dataset) -> Iterator[str]:
    """Yield where a Key Object Selection breaks TID 2010."""
    if _template(ds) != "2010":
        yield "the root template is not TID 2010"
    if not any(item.ValueType in ("IMAGE", "COMPOSITE", "WAVEFORM") for item in ds.ContentSequence):
        yield "nothing is selected"
    if any(item.get("ContentSequence") for item in ds.ContentSequence):
        yield "an item has children"


def _walk(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from _walk(item)


def _concept(item: Dataset) -> str:
    name = item.get("ConceptNameCodeSequence")
    return str(name[0].get("CodeValue")) if name else ""


def _template(item: Dataset) -> str:
    named = item.get("ContentTemplateSequence")
    return str(named[0].TemplateIdentifier) if named else ""
