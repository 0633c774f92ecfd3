"""The chosen frames of a job again, and the Case that its plugin gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom import Dataset

from node.dicom.age import patient_age_years
from node.dicom.frames import SourceSeries, Stack
from node.dicom.geometry import check_stack
from node.dicom.values import lookup_in, number, text, texts
from node.errors import RefusalCode, Refused
from node.inference.volume import build_volume
from node.manifest import Manifest
from node.model import JobInput
from node.plugin import Case

_NUMERIC_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"})
_SEXES = frozenset({"F", "M", "O"})


def select_frames(series: Sequence[SourceSeries], job_input: JobInput) -> Stack:
    """Return the frames that were chosen for one input role, as the stack they form.

    Parameters
    ----------
    series : sequence of SourceSeries
        What the job's files hold now.
    job_input : JobInput
        What was chosen when the job was made.

    Raises
    ------
    Refused
        INPUT_CHANGED if a chosen frame is gone, or if they no longer lie in the order they
        had; any code of the geometry gate.
    """
    there = {
        (frame.sop_instance_uid, frame.frame_number): frame
        for one in series
        if one.series_instance_uid == job_input.series_instance_uid
        for frame in one.frames
    }
    wanted = list(zip(job_input.sop_instance_uids, job_input.frame_numbers, strict=True))
    frames = [there[key] for key in wanted if key in there]
    if len(frames) < len(wanted):
        raise Refused(
            RefusalCode.INPUT_CHANGED,
            f"{len(wanted) - len(frames)} of {len(wanted)} chosen images of role "
            f"{job_input.role} are not there any more",
        )
    ordered, geometry = check_stack(frames)
    if list(ordered) != frames:
        raise Refused(
            RefusalCode.INPUT_CHANGED,
            f"the chosen images of role {job_input.role} changed their positions",
        )
    return Stack(
        series_instance_uid=job_input.series_instance_uid,
        label=job_input.stack,
        frames=ordered,
        geometry=geometry,
    )


def build_case(
    manifest: Manifest,
    stacks: Mapping[str, Stack],
    headers: Mapping[str, tuple[Dataset, ...]],
    device: str,
) -> Case:
    """Return what the plugin gets: decoded volumes and the attributes it asks for.

    Parameters
    ----------
    manifest : Manifest
        Names the input roles and the attributes.
    stacks, headers : mappings of role
        The chosen frames and the headers of their instances.
    device : str
        ``cpu`` or ``cuda:N``.

    Raises
    ------
    Refused
        By the value gate, or because pixels cannot be read.
    """
    volumes = {
        role: build_volume(stacks[role], specification)
        for role, specification in manifest.inputs.items()
    }
    first = next((headers[role][0] for role in manifest.inputs if headers.get(role)), Dataset())
    return Case(
        volumes=volumes,
        attributes=attributes_of(first, manifest.attributes),
        device=device,
    )


def attributes_of(header: Dataset, keywords: Sequence[str]) -> dict[str, str | float]:
    """Return the asked-for attributes that the header has.

    Patient's Age comes in years, Patient's Sex as ``F``, ``M`` or ``O``; numbers as float,
    anything else as text, several values joined by a backslash.
    """
    found = {keyword: _attribute(header, keyword) for keyword in keywords}
    return {keyword: value for keyword, value in found.items() if value is not None}


def _attribute(header: Dataset, keyword: str) -> str | float | None:
    if keyword == "PatientAge":
        return patient_age_years(header)
    value = lookup_in(header)(keyword)
    if keyword == "PatientSex":
        sex = text(value).upper()
        return sex if sex in _SEXES else None
    many = texts(value)
    if not many:
        return None
    single = number(value) if len(many) == 1 and header[keyword].VR in _NUMERIC_VRS else None
    return single if single is not None else "\\".join(many)
