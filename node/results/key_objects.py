"""A Key Object Selection of the images that show the findings best (PS3.3 A.35.4, TID 2010)."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.dicom.codes import KEY_OBJECT_DESCRIPTION, OF_INTEREST, code_item
from node.dicom.frames import Frame
from node.results.coding import add_coding_schemes
from node.results.planes import image_reference
from node.results.request import EncodeRequest
from node.results.sentences import RESEARCH_USE
from node.results.source import new_object, source_header
from node.results.sr import add_evidence, add_orders
from node.results.sr_items import container, item, language, observer, template, text


def key_objects(request: EncodeRequest) -> Dataset | None:
    """Return the selection; None without a finding in the study's own images."""
    frames = _key_frames(request)
    if not frames:
        return None
    source = source_header(request)
    ds = new_object(request, role="kos", modality="KO")
    del ds.ContentQualification  # not in this IOD; the text says it (S4)
    ds.SOPClassUID = KeyObjectSelectionDocumentStorage
    ds.SeriesDescriptionCodeSequence = [code_item(OF_INTEREST)]
    ds.ReferencedPerformedProcedureStepSequence = []
    add_orders(ds, source)
    root = container(OF_INTEREST, relationship="")
    root.ContentTemplateSequence = [template("2010")]
    root.ContentSequence = [
        *language(),
        *observer(request),
        text("CONTAINS", KEY_OBJECT_DESCRIPTION, _description(request)),
        *(_image(frame) for _, frame in frames),
    ]
    for element in root:
        ds.add(element)
    study = str(ds.StudyInstanceUID)
    add_evidence(ds, [(study, series, f.sop_class_uid, f.sop_instance_uid) for series, f in frames])
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _key_frames(request: EncodeRequest) -> list[tuple[str, Frame]]:
    """Return (series, plane): each finding's largest slice, and those with a diameter."""
    study = source_header(request).StudyInstanceUID
    lines = {
        (m.segment, m.finding, m.line.slice_index)
        for m in request.result.measurements
        if m.line is not None
    }
    places: dict[tuple[str, int], None] = {}
    for finding in request.findings:
        role = finding.segment.role
        if request.headers[role][0].StudyInstanceUID != study:
            continue
        own = {i for name, number, i in lines if (name, number) == finding.key}
        places |= dict.fromkeys((role, index) for index in (finding.largest, *sorted(own)))
    stacks = request.stacks
    return [(stacks[r].series_instance_uid, stacks[r].frames[index]) for r, index in places]


def _image(frame: Frame) -> Dataset:
    image = item("CONTAINS", "IMAGE", None)
    image.ReferencedSOPSequence = [image_reference(frame)]
    return image


def _description(request: EncodeRequest) -> str:
    manifest = request.manifest
    labels = ", ".join(finding.label for finding in request.findings[:20])
    research = "" if request.released else f" {RESEARCH_USE}"
    return f"{labels}: found by {manifest.title} ({manifest.name_version}).{research}"
