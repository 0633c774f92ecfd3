"""What the writers get and give, and how a Result becomes numbered findings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.frames import Stack
from node.dicom.uids import derived_uid
from node.errors import ResultInvalid
from node.manifest import Manifest, SegmentSpec
from node.model import Job
from node.plugin import Map, Measurement, Quality, Result, Segment, Volume
from node.profiles import STANDARD, ViewerProfile
from node.results.follow_up import NONE, FollowUp, names_of
from node.results.regions import SourceRegion
from node.results.writing import device_uid, moment_of


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """Everything that decides the bytes of the evidence; nothing else does (S1).

    Attributes
    ----------
    stacks : mapping of input role to Stack
        The images as chosen, planes sorted along the normal.
    headers : mapping of input role to data sets
        Source headers without pixel data, one per distinct instance in stack order, decoded.
    charset : str
        Specific Character Set of the evidence, several values joined by a backslash; what it
        cannot hold is written as ISO_IR 192 instead (S6).
    content_qualification : ``RESEARCH`` or ``PRODUCT``
        PRODUCT only where this site released the plugin (S4).
    profile : ViewerProfile
        Which objects are made, and of which kind.
    volumes : mapping of input role to Volume
        What the plugin saw; pictures show it, so a profile with pictures needs it.
    follow_up : FollowUp
        What earlier results say to this one (S10).
    regions : tuple of SourceRegion
        What the plugin got beside the images (S21).
    """

    job: Job
    manifest: Manifest
    result: Result
    stacks: Mapping[str, Stack]
    headers: Mapping[str, tuple[Dataset, ...]]
    charset: str = "ISO_IR 192"
    content_qualification: str = "RESEARCH"
    device_serial_number: str = "1"
    institution: str = ""
    station_name: str = ""
    profile: ViewerProfile = STANDARD
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    follow_up: FollowUp = NONE
    regions: tuple[SourceRegion, ...] = ()

    def __post_init__(self) -> None:
        if self.content_qualification not in ("RESEARCH", "PRODUCT"):
            raise ValueError("content qualification is RESEARCH or PRODUCT")
        if not self.stacks or set(self.stacks) != set(self.headers):
            raise ValueError("stacks and headers need the same input roles")
        if self.profile.secondary_capture and not set(self.stacks) <= set(self.volumes):
            raise ValueError("pictures need the volume of every input role")

    @property
    def released(self) -> bool:
        """Return whether the evidence may go without the word RESEARCH."""
        return self.content_qualification == "PRODUCT"

    @property
    def sr_shape(self) -> str:
        """Return the profile's shape of the SR; text instead of outlines that would be misplaced.

        OHIF 3.13.2 takes the spacing of rows for that of columns: an outline on pixels that are
        not square lies beside the finding (docs/viewers.md).
        """
        spacings = (stack.geometry.spacing_mm for stack in self.stacks.values())
        square = all(abs(rows - columns) <= 1e-3 * rows for _, rows, columns in spacings)
        return "text" if self.profile.sr == "outline" and not square else self.profile.sr

    @property
    def sr_class(self) -> str:
        """Return the SOP class of its reports, as the profile says it."""
        return self.profile.sr_class

    @property
    def time(self) -> datetime:
        """Return the one time that every date and time of the evidence says (S1).

        From the job row, in the source's Timezone Offset From UTC, else in this host's zone,
        as DICOM reads times without an offset.
        """
        seconds = self.job.started_at
        return moment_of(self.job.created_at if seconds is None else seconds, self.source)

    @property
    def source(self) -> Dataset:
        """Return the header that patient and study come from: the findings' series (S3)."""
        return self.headers[self.main_role][0]

    @cached_property
    def main_role(self) -> str:
        """Return the role whose series carries the findings (S3); else the manifest's first."""
        for segment in self.result.segments:
            if segment.role in self.stacks and np.any(segment.mask):
                return segment.role
        return next(role for role in (*self.manifest.inputs, *self.stacks) if role in self.stacks)

    def uid(self, *parts: str) -> str:
        """Return the UID of one thing in this job's evidence: f(job, run, role, profile) (S1)."""
        profile = f"{self.charset}|{self.content_qualification}|{self.profile.encoding}"
        return derived_uid(self.job.id, str(self.job.run_number), profile, *parts)

    def tracking_uid(self, *parts: str) -> str:
        """Return a new Tracking UID for one finding: in every profile alike (S10)."""
        return derived_uid(self.job.id, str(self.job.run_number), "tracking", *parts)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Return the segments that hold a voxel, as `findings_of`."""
        return findings_of(self)

    @property
    def device_uid(self) -> str:
        """Return the Device UID of the plugin: another digest is another device (AIR-7)."""
        return device_uid(self.manifest)


@dataclass(frozen=True, kw_only=True)
class EncodedObject:
    """One finished object, exactly as it will lie on disk and be sent."""

    #: ``seg``, ``seg2``… (one per grid), ``pm``…, ``sr``, ``sr2``, ``sc``…, ``kos``.
    role: str
    #: The whole Part-10 file.
    content: bytes
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    #: Order of delivery (S25).
    position: int
    #: Input role whose series is the object's source.
    source_role: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One segment of the Result with its number, name and place in the SEG."""

    segment: Segment
    spec: SegmentSpec
    #: Segment Number, from 1 in each SEG.
    number: int
    #: First and last slice with a voxel; the SEG holds all slices between them (E17).
    first: int
    last: int
    #: As people, SEG and SR name it, also over time: the label, numbered where there are several.
    label: str
    #: New in each run unless it is an earlier result's finding (S10); the same in SEG and SR.
    tracking_uid: str

    @cached_property
    def largest(self) -> int:
        """Return the slice where the finding's area is largest."""
        part = self.segment.mask[self.first : self.last + 1]
        return self.first + int(np.argmax(np.count_nonzero(part, axis=(1, 2))))

    @property
    def key(self) -> tuple[str, int]:
        """Return the segment name and finding number, by which measurements refer to it."""
        return (self.segment.name, self.segment.finding)


def findings_of(request: EncodeRequest) -> tuple[Finding, ...]:
    """Return the segments that hold at least one voxel; the others were not found (S7).

    Raises
    ------
    ResultInvalid
        If a segment is not of the manifest, lies on no input's grid, or comes twice.
    """
    segments = request.result.segments
    keys = [(segment.name, segment.finding) for segment in segments]
    if len(set(keys)) != len(keys):
        raise ResultInvalid("two segments have the same name and finding number")
    ranges = [_slice_range(request, segment) for segment in segments]
    found = [(s, r) for s, r in zip(segments, ranges, strict=True) if r is not None]
    several = Counter(segment.name for segment, _ in found)
    return tuple(_number(request, found, several))


def _number(
    request: EncodeRequest, found: list[tuple[Segment, tuple[int, int]]], several: Counter[str]
) -> Iterator[Finding]:
    numbers: Counter[str] = Counter()
    names = names_of(request.follow_up, _own_names(request, [one for one, _ in found], several))
    for segment, (first, last) in found:
        numbers[segment.role] += 1
        key = (segment.name, segment.finding)
        tracked = request.follow_up.tracked.get(key)
        new = request.tracking_uid(segment.name, str(segment.finding))
        yield Finding(
            segment=segment,
            spec=request.manifest.segments[segment.name],
            number=numbers[segment.role],
            first=first,
            last=last,
            label=names[key],
            tracking_uid=new if tracked is None else tracked.uid,
        )


def _own_names(
    request: EncodeRequest, segments: list[Segment], several: Counter[str]
) -> dict[tuple[str, int], tuple[str, str]]:
    """Return (label of its kind, its name in this run) of each finding."""
    found = {}
    for one in segments:
        label = request.manifest.segments[one.name].label
        numbered = several[one.name] > 1 or one.finding > 1
        name = f"{label} {one.finding}" if numbered else label
        found[(one.name, one.finding)] = (label, name)
    return found


def _slice_range(request: EncodeRequest, segment: Segment) -> tuple[int, int] | None:
    if segment.name not in request.manifest.segments:
        raise ResultInvalid(f"segment {segment.name!r} is not in the manifest")
    stack = request.stacks.get(segment.role)
    if stack is None or segment.mask.shape != stack.geometry.shape:
        raise ResultInvalid(
            f"segment {segment.name!r} with shape {segment.mask.shape} lies on no grid of "
            f"input {segment.role!r}"
        )
    probability = segment.probability
    if probability is not None and probability.shape != segment.mask.shape:
        raise ResultInvalid(f"probability of segment {segment.name!r} is not on its mask's grid")
    used = np.flatnonzero(_slices_used(segment.mask))
    return (int(used[0]), int(used[-1])) if used.size else None


def _slices_used(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return for each slice whether it holds a voxel; eight voxels at a time where they fit."""
    flat = mask.reshape(mask.shape[0], -1)
    if flat.dtype.itemsize == 1 and flat.shape[1] % 8 == 0 and flat.flags.c_contiguous:
        flat = flat.view(np.uint64)
    return np.asarray(flat.any(axis=1))


def measurements_of(request: EncodeRequest) -> Mapping[tuple[str, int] | None, list[Measurement]]:
    """Return the measurements by the key of their finding; None: of the whole study.

    Raises
    ------
    ResultInvalid
        If one is not of the manifest, not a number, has a line but no segment, or belongs to
        a segment that the Result does not have. (Those of an empty segment go with it.)
    """
    grouped: dict[tuple[str, int] | None, list[Measurement]] = {}
    known = {(segment.name, segment.finding) for segment in request.result.segments}
    for measurement in request.result.measurements:
        if measurement.name not in request.manifest.measurements:
            raise ResultInvalid(f"measurement {measurement.name!r} is not in the manifest")
        if not math.isfinite(measurement.value):
            raise ResultInvalid(f"measurement {measurement.name!r} is not a finite number")
        if measurement.segment is None and measurement.line is not None:
            raise ResultInvalid(f"measurement {measurement.name!r} has a line but no segment")
        key = None if measurement.segment is None else (measurement.segment, measurement.finding)
        if key is not None and key not in known:
            raise ResultInvalid(f"measurement {measurement.name!r} belongs to no segment")
        grouped.setdefault(key, []).append(measurement)
    return grouped


def qualities_of(request: EncodeRequest) -> Mapping[tuple[str, int] | None, list[Quality]]:
    """Return the qualities by the key of their finding; None: of the whole study.

    Raises
    ------
    ResultInvalid
        If one is not of the manifest, or belongs to a segment that the Result does not have.
    """
    grouped: dict[tuple[str, int] | None, list[Quality]] = {}
    known = {(segment.name, segment.finding) for segment in request.result.segments}
    for quality in request.result.qualities:
        spec = request.manifest.qualities.get(quality.name)
        if spec is None or quality.choice not in spec.choices:
            raise ResultInvalid(
                f"quality {quality.name!r} = {quality.choice!r} is not in the manifest"
            )
        key = None if quality.segment is None else (quality.segment, quality.finding)
        if key is not None and key not in known:
            raise ResultInvalid(f"quality {quality.name!r} belongs to no segment")
        grouped.setdefault(key, []).append(quality)
    return grouped


def maps_of(request: EncodeRequest) -> tuple[Map, ...]:
    """Return the maps that the profile wants.

    Raises
    ------
    ResultInvalid
        If one is not of the manifest, on no input's grid, or holds what is no number.
    """
    for one in request.result.maps:
        stack = request.stacks.get(one.role)
        if one.name not in request.manifest.maps:
            raise ResultInvalid(f"map {one.name!r} is not in the manifest")
        if stack is None or one.array.shape != stack.geometry.shape:
            raise ResultInvalid(f"map {one.name!r} lies on no grid of input {one.role!r}")
        if one.array.dtype != np.float32 or not np.isfinite(one.array).all():
            raise ResultInvalid(f"map {one.name!r} is not of finite float32 values")
    return request.result.maps if request.profile.parametric_map else ()


def voxels(mask: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a mask as contiguous 0/1 bytes without a copy where it is one already."""
    plain = mask if mask.dtype in (np.bool_, np.uint8) else mask != 0
    return np.ascontiguousarray(plain).view(np.uint8)
