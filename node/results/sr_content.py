"""The content tree of the report: TID 1500 around its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom import Dataset

from node.dicom import codes
from node.dicom.codes import code_of_item
from node.dicom.frames import Frame, Stack
from node.manifest import Code
from node.results.clinical import patient_characteristics
from node.results.planes import image_reference
from node.results.regions import region_items
from node.results.request import EncodeRequest
from node.results.sentences import report_sentences
from node.results.source import source_header
from node.results.sr_follow_up import derived_measurements, follow_up_sentences
from node.results.sr_items import (
    code,
    container,
    item,
    language,
    number,
    observer,
    template,
    text,
    uid,
)


def report_tree(request: EncodeRequest, title: Code, groups: Sequence[Dataset]) -> Dataset:
    """Return the root container of a report (TID 1500).

    Parameters
    ----------
    title : one of CID 7021
    groups : measurement groups, maybe none
    """
    root = container(title, relationship="")
    root.ContentTemplateSequence = [template("1500")]
    content = [
        *language(),
        *observer(request),
        code("HAS CONCEPT MOD", codes.PROCEDURE_REPORTED, procedure_of(source_header(request))),
        _image_library(request),
    ]
    if groups:
        measurements = container(codes.IMAGING_MEASUREMENTS)
        measurements.ContentSequence = list(groups)
        content.append(measurements)
    derived = derived_measurements(request)
    if derived is not None:
        content.append(derived)
    content.append(_evaluations(request))
    content.extend(patient_characteristics(request))
    root.ContentSequence = content
    return root


def procedure_of(source: Dataset) -> Code:
    """Return the imaging procedure that was analysed, never the model (AIR-5)."""
    orders = source.get("RequestAttributesSequence") or ()
    candidates = [
        *(source.get("ProcedureCodeSequence") or ()),
        *(c for order in orders for c in order.get("RequestedProcedureCodeSequence") or ()),
    ]
    named = [found for found in map(code_of_item, candidates) if found is not None]
    modality = str(source.get("Modality") or "")
    return named[0] if named else codes.PROCEDURES.get(modality, codes.IMAGING_PROCEDURE)


def _image_library(request: EncodeRequest) -> Dataset:
    """List the images that were analysed, described once a series (TID 1600-1602)."""
    library = container(codes.IMAGE_LIBRARY)
    groups = []
    for stack in request.stacks.values():
        group = container(codes.IMAGE_LIBRARY_GROUP)
        group.ContentSequence = [*_descriptors(stack), *_images(stack)]
        groups.append(group)
    library.ContentSequence = groups
    return library


def _descriptors(stack: Stack) -> Iterator[Dataset]:
    about = "HAS ACQ CONTEXT"
    first, geometry = stack.frames[0], stack.geometry
    if first.modality in codes.MODALITIES:
        yield code(about, codes.MODALITY, codes.MODALITIES[first.modality])
    yield uid(about, codes.FRAME_OF_REFERENCE_UID, geometry.frame_of_reference_uid)
    between_slices, between_rows, between_columns = geometry.spacing_mm
    yield number(about, codes.PIXEL_ROWS, geometry.shape[1], codes.PIXELS)
    yield number(about, codes.PIXEL_COLUMNS, geometry.shape[2], codes.PIXELS)
    yield number(about, codes.HORIZONTAL_PIXEL_SPACING, between_columns, codes.MILLIMETRE)
    yield number(about, codes.VERTICAL_PIXEL_SPACING, between_rows, codes.MILLIMETRE)
    yield number(about, codes.SPACING_BETWEEN_SLICES, between_slices, codes.MILLIMETRE)
    if first.slice_thickness_mm is not None:
        yield number(about, codes.SLICE_THICKNESS, first.slice_thickness_mm, codes.MILLIMETRE)


def _images(stack: Stack) -> Iterator[Dataset]:
    """Yield one item an image; all planes of a multi-frame instance share one."""
    planes: dict[str, list[Frame]] = {}
    for frame in stack.frames:
        planes.setdefault(frame.sop_instance_uid, []).append(frame)
    for frames in planes.values():
        # TID 1601 asks for no name; without one OHIF 3.13.2 crashes on every report as text.
        image = item("CONTAINS", "IMAGE", codes.SOURCE_IMAGE)
        reference = image_reference(frames[0])
        if frames[0].frame_number:
            reference.ReferencedFrameNumber = [frame.frame_number for frame in frames]
        image.ReferencedSOPSequence = [reference]
        yield image


def _evaluations(request: EncodeRequest) -> Dataset:
    """Say in a code and in sentences how the run ended (S7)."""
    found = bool(request.findings)
    evaluations = container(codes.QUALITATIVE_EVALUATIONS)
    outcome = codes.WITH_FINDINGS if found else codes.WITHOUT_FINDINGS
    items = [code("CONTAINS", codes.FINDINGS_SUMMARY, outcome)] if request.manifest.segments else []
    sentences = report_sentences(request, found=found, follow_up=follow_up_sentences(request))
    evaluations.ContentSequence = [
        *items,
        *(text("CONTAINS", codes.COMMENT, sentence) for sentence in sentences),
        *region_items(request.regions),
    ]
    return evaluations
