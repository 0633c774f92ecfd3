"""What a report says in words: what was looked for where, and what it is worth (S7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from node.dicom.frames import Stack
from node.manifest import Code, MeasurementSpec
from node.plugin import Measurement
from node.results.clinical import clinical_sentences
from node.results.regions import region_sentence
from node.results.request import EncodeRequest

RESEARCH_USE = "Research use only. Not for diagnosis or treatment."
UNVERIFIED = "Made by an algorithm and verified by nobody."

#: Axis of LPS that slices of a plane are counted along.
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def report_sentences(
    request: EncodeRequest, *, found: bool, follow_up: Iterable[str] = ()
) -> Iterator[str]:
    """Yield the sentences of the report, in order; `follow_up` is what earlier studies say."""
    if request.manifest.segments and not found:
        yield nothing_found(request)
    yield from intervals(request)
    yield from clinical_sentences(request)
    yield from follow_up
    patient = str(request.source.get("PatientName", ""))
    yield from (region_sentence(one, patient) for one in request.regions)
    yield UNVERIFIED
    if request.manifest.training:
        yield sentence(request.manifest.training)
    if not request.released:
        yield RESEARCH_USE
    for note in request.result.notes:
        yield sentence(note)


def intervals(request: EncodeRequest) -> Iterator[str]:
    """Yield each value that has an interval, with it: readers skip properties of numbers."""
    labels = {finding.key: finding.label for finding in request.findings}
    for m in request.result.measurements:
        if m.interval is not None:
            label = "" if m.segment is None else labels.get((m.segment, m.finding), m.segment)
            text = value_text(m, request.manifest.measurements[m.name])
            yield f"{label}: {text}." if label else f"{text}."


def value_text(measurement: Measurement, spec: MeasurementSpec) -> str:
    """Return a value with its name, unit and interval, as people read it."""
    digits = spec.digits
    text = f"{spec.code.meaning} {measurement.value:.{digits}f} {unit_text(spec.unit)}".rstrip()
    if measurement.interval is None:
        return text
    low, high = measurement.interval
    return f"{text} ({spec.interval} {low:.{digits}f} to {high:.{digits}f})"


def unit_text(unit: Code) -> str:
    """Return a unit as people read it.

    Examples
    --------
    >>> unit_text(Code("[hnsf'U]", "UCUM", "Hounsfield unit")), unit_text(Code("%", "UCUM", "%"))
    ('HU', '%')
    """
    return {"[hnsf'U]": "HU", "1": "", "mm2": "mm²", "cm2": "cm²"}.get(unit.value, unit.value)


def nothing_found(request: EncodeRequest) -> str:
    """Return "no … detected by …", with the images that were looked at (S7)."""
    manifest = request.manifest
    places = "; ".join(
        place(request.stacks[role], _series_number(request, role)) for role in request.stacks
    )
    return (
        f"no {manifest.finding_name} detected by {manifest.title} {manifest.version} in {places}; "
        "does not exclude disease"
    )


def place(stack: Stack, series_number: str) -> str:
    """Return the series and the range of slice positions of a stack, in words.

    Positions are those of the first and last plane along the patient axis that is nearest to
    the stack's normal, in mm, LPS+.
    """
    axis = _AXES.get(stack.geometry.plane, 2)
    ends = [stack.frames[index].image_position_patient for index in (0, -1)]
    first, last = (0.0 if end is None else end[axis] for end in ends)
    part = f" ({stack.label})" if stack.label else ""
    return f"series {series_number}{part}, positions {first:.1f} to {last:.1f} mm"


def _series_number(request: EncodeRequest, role: str) -> str:
    number = request.headers[role][0].get("SeriesNumber")
    return "without number" if number is None or str(number) == "" else str(number)


def sentence(text: str) -> str:
    """Return a text with a full stop, if it has no other end."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
