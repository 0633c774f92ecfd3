"""The content tree of the report: TID 1500 with its groups, by highdicom's templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.dicom import codes
from node.dicom.codes import code_item, code_of_item
from node.dicom.frames import Frame, Stack
from node.errors import ResultInvalid
from node.manifest import Code
from node.plugin import Measurement
from node.results.coding import decimal
from node.results.planes import image_reference
from node.results.request import EncodedObject, EncodeRequest, Finding, measurements_of
from node.results.seg import algorithm_parameters
from node.results.sentences import report_sentences
from node.results.source import PRODUCT_NAME, source_header

_Key = tuple[str, int] | None


def report_tree(
    request: EncodeRequest, findings: Sequence[Finding], segs: Mapping[str, EncodedObject]
) -> Dataset:
    """Return the root container of the report (TID 1500).

    Parameters
    ----------
    findings : those that hold a voxel
    segs : mapping of input role to the SEG on its grid
    """
    groups = list(_groups(request, findings, segs))
    root = _container(codes.ONCOLOGY_MEASUREMENT_REPORT, relationship="")
    root.ContentTemplateSequence = [_template("1500")]
    content = [
        *hd.sr.LanguageOfContentItemAndDescendants(hd.sr.CodedConcept("en", "RFC5646", "English")),
        *_observer(request),
        _code("HAS CONCEPT MOD", codes.PROCEDURE_REPORTED, _procedure(request)),
        _image_library(request),
    ]
    if groups:
        measurements = _container(codes.IMAGING_MEASUREMENTS)
        measurements.ContentSequence = groups
        content.append(measurements)
    content.append(_evaluations(request, found=bool(findings)))
    root.ContentSequence = content
    return root


def _observer(request: EncodeRequest) -> Any:
    """Name the device that observed: the plugin in this node (TID 1001, 1004)."""
    return hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=request.device_uid,
            name=request.manifest.title,
            manufacturer_name=request.manifest.manufacturer,
            model_name=f"{PRODUCT_NAME}: {request.manifest.name_version}",
            serial_number=request.device_serial_number,
        ),
    )


def _procedure(request: EncodeRequest) -> Code:
    """Return the imaging procedure that was analysed, never the model (AIR-5)."""
    source = source_header(request)
    orders = source.get("RequestAttributesSequence") or ()
    candidates = [
        *(source.get("ProcedureCodeSequence") or ()),
        *(c for order in orders for c in order.get("RequestedProcedureCodeSequence") or ()),
    ]
    named = [code for code in map(code_of_item, candidates) if code is not None]
    modality = str(source.get("Modality") or "")
    return named[0] if named else codes.PROCEDURES.get(modality, codes.IMAGING_PROCEDURE)


# --- groups (S26: exactly one kind of ROI each) ----------------------------------------------


def _groups(
    request: EncodeRequest, findings: Sequence[Finding], segs: Mapping[str, EncodedObject]
) -> Iterator[Dataset]:
    measured = dict(measurements_of(request))
    for finding in findings:
        own = measured.pop(finding.key, [])
        volumetric = [m for m in own if m.line is None]
        yield _volume_group(request, finding, volumetric, segs[finding.segment.role])
        for measurement in own:
            if measurement.line is not None:
                yield _line_group(request, finding, measurement)
    of_study = measured.pop(None, [])
    if of_study:
        yield _study_group(request, of_study)


def _volume_group(
    request: EncodeRequest, finding: Finding, measured: list[Measurement], seg: EncodedObject
) -> Dataset:
    """Return a group on the whole segment (TID 1411)."""
    stack = request.stacks[finding.segment.role]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=seg.sop_instance_uid,
            segment_number=finding.number,
            source_series=hd.sr.SourceSeriesForSegmentation(stack.series_instance_uid),
        ),
        measurements=[_measurement(request, m) for m in measured] or None,
        **_about(request, finding),
    )
    return group[0]


def _line_group(request: EncodeRequest, finding: Finding, measurement: Measurement) -> Dataset:
    """Return a group on the line of a diameter, in its image (TID 1410, AIR-4).

    The region is the line itself: an open POLYLINE, whose ends are (column, row) from the
    upper left corner of the image, so that voxel centres lie at halves (PS3.3 C.18.6.1.1).
    """
    line, stack = measurement.line, request.stacks[finding.segment.role]
    assert line is not None
    if not 0 <= line.slice_index < len(stack.frames):
        raise ResultInvalid(f"the line of {measurement.name!r} lies outside the volume")
    frame = stack.frames[line.slice_index]
    ends = [(column + 0.5, row + 0.5) for row, column in (line.start, line.end)]
    region = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.asarray(ends, dtype=np.float64),
        source_image=hd.sr.SourceImageForRegion(
            frame.sop_class_uid, frame.sop_instance_uid, _frame_numbers(frame)
        ),
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        measurements=[_measurement(request, measurement)],
        **_about(request, finding),
    )
    return group[0]


def _study_group(request: EncodeRequest, measured: list[Measurement]) -> Dataset:
    """Return a group that belongs to no region (TID 1501)."""
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=request.tracking_uid(), identifier=request.manifest.title
        ),
        algorithm_id=_algorithm(request),
        finding_type=_sr(request.manifest.finding) if request.manifest.finding else None,
        measurements=[_measurement(request, m) for m in measured],
    )
    return group[0]


def _about(request: EncodeRequest, finding: Finding) -> dict[str, Any]:
    """Return what all groups of one finding say alike."""
    spec = finding.spec
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(
            uid=finding.tracking_uid, identifier=finding.label
        ),
        "finding_category": _sr(spec.category),
        "finding_type": _sr(request.manifest.finding or spec.type),
        "finding_sites": None if spec.region is None else [hd.sr.FindingSite(_sr(spec.region))],
        "algorithm_id": _algorithm(request),
    }


def _measurement(request: EncodeRequest, measurement: Measurement) -> Any:
    spec = request.manifest.measurements[measurement.name]
    return hd.sr.Measurement(
        name=_sr(spec.code),
        value=round(measurement.value, spec.digits),
        unit=_sr(spec.unit),
        method=None if spec.method is None else _sr(spec.method),
        derivation=None if spec.derivation is None else _sr(spec.derivation),
    )


def _algorithm(request: EncodeRequest) -> Any:
    """Identify the algorithm with version, digest and parameters (TID 4019)."""
    return hd.sr.AlgorithmIdentification(
        name=request.manifest.title,
        version=request.manifest.version,
        # One text: tid1500reader keeps one of several.
        parameters=["; ".join(algorithm_parameters(request))],
        family=_sr(request.manifest.algorithm_family),
        manufacturer=request.manifest.manufacturer,
    )


def _frame_numbers(frame: Frame) -> list[int] | None:
    return [frame.frame_number] if frame.frame_number else None


# --- image library and sentences -------------------------------------------------------------


def _image_library(request: EncodeRequest) -> Dataset:
    """List the images that were analysed, described once a series (TID 1600-1602)."""
    library = _container(codes.IMAGE_LIBRARY)
    groups = []
    for stack in request.stacks.values():
        group = _container(codes.IMAGE_LIBRARY_GROUP)
        group.ContentSequence = [*_descriptors(stack), *_images(stack)]
        groups.append(group)
    library.ContentSequence = groups
    return library


def _descriptors(stack: Stack) -> Iterator[Dataset]:
    first, geometry = stack.frames[0], stack.geometry
    if first.modality in codes.MODALITIES:
        yield _code("HAS ACQ CONTEXT", codes.MODALITY, codes.MODALITIES[first.modality])
    frame_of_reference = _item("HAS ACQ CONTEXT", "UIDREF", codes.FRAME_OF_REFERENCE_UID)
    frame_of_reference.UID = geometry.frame_of_reference_uid
    yield frame_of_reference
    between_slices, between_rows, between_columns = geometry.spacing_mm
    yield _number(codes.PIXEL_ROWS, geometry.shape[1], codes.PIXELS)
    yield _number(codes.PIXEL_COLUMNS, geometry.shape[2], codes.PIXELS)
    yield _number(codes.HORIZONTAL_PIXEL_SPACING, between_columns, codes.MILLIMETRE)
    yield _number(codes.VERTICAL_PIXEL_SPACING, between_rows, codes.MILLIMETRE)
    yield _number(codes.SPACING_BETWEEN_SLICES, between_slices, codes.MILLIMETRE)
    if first.slice_thickness_mm is not None:
        yield _number(codes.SLICE_THICKNESS, first.slice_thickness_mm, codes.MILLIMETRE)


def _images(stack: Stack) -> Iterator[Dataset]:
    """Yield one item an image; all planes of a multi-frame instance share one."""
    planes: dict[str, list[Frame]] = {}
    for frame in stack.frames:
        planes.setdefault(frame.sop_instance_uid, []).append(frame)
    for frames in planes.values():
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
        reference = image_reference(frames[0])
        if frames[0].frame_number:
            reference.ReferencedFrameNumber = [frame.frame_number for frame in frames]
        item.ReferencedSOPSequence = [reference]
        yield item


def _evaluations(request: EncodeRequest, *, found: bool) -> Dataset:
    """Say in a code and in sentences how the run ended (S7)."""
    container = _container(codes.QUALITATIVE_EVALUATIONS)
    outcome = codes.WITH_FINDINGS if found else codes.WITHOUT_FINDINGS
    items = (
        []
        if not request.manifest.segments
        else [_code("CONTAINS", codes.FINDINGS_SUMMARY, outcome)]
    )
    for sentence in report_sentences(request, found=found):
        item = _item("CONTAINS", "TEXT", codes.COMMENT)
        item.TextValue = sentence
        items.append(item)
    container.ContentSequence = items
    return container


# --- content items ---------------------------------------------------------------------------


def _item(relationship: str, value_type: str, name: Code) -> Dataset:
    item = Dataset()
    if relationship:
        item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [code_item(name)]
    return item


def _container(name: Code, *, relationship: str = "CONTAINS") -> Dataset:
    item = _item(relationship, "CONTAINER", name)
    item.ContinuityOfContent = "SEPARATE"
    return item


def _code(relationship: str, name: Code, value: Code) -> Dataset:
    item = _item(relationship, "CODE", name)
    item.ConceptCodeSequence = [code_item(value)]
    return item


def _number(name: Code, value: float, unit: Code) -> Dataset:
    measured = Dataset()
    measured.NumericValue = decimal(value)
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    item = _item("HAS ACQ CONTEXT", "NUM", name)
    item.MeasuredValueSequence = [measured]
    return item


def _template(identifier: str) -> Dataset:
    item = Dataset()
    item.MappingResource = "DCMR"
    item.TemplateIdentifier = identifier
    return item


def _sr(code: Code) -> Any:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
