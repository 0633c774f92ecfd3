"""The measurement groups of the report: TID 1410, 1411, 1501, by highdicom's templates (S26)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset

from node.dicom import codes
from node.dicom.frames import Frame, Stack
from node.errors import ResultInvalid
from node.plugin import Line, Measurement, Quality
from node.results.outlines import MAX_OUTLINES, outlines
from node.results.request import (
    EncodeRequest,
    Finding,
    measurements_of,
    qualities_of,
)
from node.results.seg import algorithm_parameters
from node.results.sr_items import concept, number

#: Outlines of one finding, shared out among its slices; each slice has one at least.
_MAX_REGIONS = 1000


def finding_groups(request: EncodeRequest, segs: Mapping[str, Dataset]) -> Iterator[Dataset]:
    """Yield the groups of every finding, in the shape that the profile wants.

    Each group has exactly one kind of region of interest, and all groups of a finding share
    the SEG's tracking UID (S26).

    Parameters
    ----------
    segs : mapping of input role to the SEG on its grid
    """
    measured, qualified = measurements_of(request), qualities_of(request)
    for finding in request.findings:
        own, qualities = measured.get(finding.key, []), qualified.get(finding.key, [])
        if request.sr_shape == "text":
            yield _text_group(request, finding, own, qualities)
            continue
        volumetric = [m for m in own if m.line is None]
        region = _region(request, finding, segs)
        yield _volume_group(request, finding, region, volumetric, qualities)
        for measurement in own:
            if measurement.line is not None:
                yield _line_group(request, finding, measurement, measurement.line)


def study_groups(request: EncodeRequest) -> Iterator[Dataset]:
    """Yield the group of what belongs to no finding (TID 1501)."""
    measured = measurements_of(request).get(None, [])
    qualities = qualities_of(request).get(None, [])
    if measured or qualities:
        title, found = request.manifest.title, request.manifest.finding
        yield hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid=request.tracking_uid(), identifier=title
            ),
            algorithm_id=_algorithm(request),
            finding_type=None if found is None else concept(found),
            measurements=[_measurement(request, m) for m in measured] or None,
            qualitative_evaluations=_qualities(request, qualities),
        )[0]


def _text_group(
    request: EncodeRequest,
    finding: Finding,
    measured: Sequence[Measurement],
    qualities: Sequence[Quality],
) -> Dataset:
    """Return a group that points at the finding's largest image and at no region (TID 1501)."""
    frame = _largest_frame(request, finding)
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(
                frame.sop_class_uid, frame.sop_instance_uid, _frame_numbers(frame)
            )
        ],
        measurements=[_measurement(request, m) for m in measured] or None,
        qualitative_evaluations=_qualities(request, qualities),
        **_about(request, finding),
    )[0]


def _volume_group(
    request: EncodeRequest,
    finding: Finding,
    region: Mapping[str, Any],
    measured: Sequence[Measurement],
    qualities: Sequence[Quality],
) -> Dataset:
    """Return a group on the whole finding (TID 1411)."""
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        measurements=[_measurement(request, m) for m in measured] or None,
        qualitative_evaluations=_qualities(request, qualities),
        **region,
        **_about(request, finding),
    )[0]


def _region(
    request: EncodeRequest, finding: Finding, segs: Mapping[str, Dataset]
) -> Mapping[str, Any]:
    stack = request.stacks[finding.segment.role]
    if request.sr_shape == "outline":
        return {"referenced_regions": list(_regions(finding, stack))}
    seg = segs[finding.segment.role]
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=finding.number,
        source_series=hd.sr.SourceSeriesForSegmentation(stack.series_instance_uid),
    )
    return {"referenced_segment": segment}


def _regions(finding: Finding, stack: Stack) -> Iterator[Any]:
    """Yield the outlines of all slices, the largest slice first: OHIF jumps to the first."""
    slices = range(finding.first, finding.last + 1)
    at_most = max(1, min(MAX_OUTLINES, _MAX_REGIONS // len(slices)))
    for slice_index in sorted(slices, key=lambda i: (i != finding.largest, i)):
        for points in outlines(finding.segment.mask[slice_index], at_most):
            yield _image_region(stack.frames[slice_index], points)


def _line_group(
    request: EncodeRequest, finding: Finding, measurement: Measurement, line: Line
) -> Dataset:
    """Return a group on the line of a diameter, in its image (TID 1410, AIR-4).

    The region is the line itself: an open POLYLINE, whose ends are (column, row) from the
    upper left corner of the image, so that voxel centres lie at halves (PS3.3 C.18.6.1.1).
    """
    stack = request.stacks[finding.segment.role]
    if not 0 <= line.slice_index < len(stack.frames):
        raise ResultInvalid(f"the line of {measurement.name!r} lies outside the volume")
    ends = [(column + 0.5, row + 0.5) for row, column in (line.start, line.end)]
    region = _image_region(stack.frames[line.slice_index], np.asarray(ends, dtype=np.float64))
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        measurements=[_measurement(request, measurement)],
        **_about(request, finding),
    )[0]


def _image_region(frame: Frame, points: Any) -> Any:
    return hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=points,
        source_image=hd.sr.SourceImageForRegion(
            frame.sop_class_uid, frame.sop_instance_uid, _frame_numbers(frame)
        ),
    )


def _about(request: EncodeRequest, finding: Finding) -> dict[str, Any]:
    """Return what all groups of one finding say alike."""
    spec = finding.spec
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(
            uid=finding.tracking_uid, identifier=finding.label
        ),
        "finding_category": concept(spec.category),
        "finding_type": concept(request.manifest.finding or spec.type),
        "finding_sites": None if spec.region is None else [hd.sr.FindingSite(concept(spec.region))],
        "algorithm_id": _algorithm(request),
    }


def _measurement(request: EncodeRequest, measurement: Measurement) -> Any:
    spec = request.manifest.measurements[measurement.name]
    template = hd.sr.Measurement(
        name=concept(spec.code),
        value=round(measurement.value, spec.digits),
        unit=concept(spec.unit),
        method=None if spec.method is None else concept(spec.method),
        derivation=None if spec.derivation is None else concept(spec.derivation),
    )
    if measurement.interval is not None:
        low, high = measurement.interval
        content = template[0].get("ContentSequence") or hd.sr.ContentSequence(is_root=False)
        for name, distance in (
            (codes.RANGE_BELOW, measurement.value - low),
            (codes.RANGE_ABOVE, high - measurement.value),
        ):
            size = round(distance, spec.digits)
            content.append(
                hd.sr.NumContentItem.from_dataset(number("HAS PROPERTIES", name, size, spec.unit))
            )
        template[0].ContentSequence = content
    return template


def _qualities(request: EncodeRequest, qualities: Sequence[Quality]) -> list[Any] | None:
    specs = request.manifest.qualities
    return [
        hd.sr.QualitativeEvaluation(
            concept(specs[q.name].code), concept(specs[q.name].choices[q.choice])
        )
        for q in qualities
    ] or None


def _algorithm(request: EncodeRequest) -> Any:
    """Identify the algorithm with version, digest and parameters (TID 4019)."""
    return hd.sr.AlgorithmIdentification(
        name=request.manifest.title,
        version=request.manifest.version,
        # One text: tid1500reader keeps one of several.
        parameters=["; ".join(algorithm_parameters(request))],
        family=concept(request.manifest.algorithm_family),
        manufacturer=request.manifest.manufacturer,
    )


def _largest_frame(request: EncodeRequest, finding: Finding) -> Frame:
    return request.stacks[finding.segment.role].frames[finding.largest]


def _frame_numbers(frame: Frame) -> list[int] | None:
    return [frame.frame_number] if frame.frame_number else None
