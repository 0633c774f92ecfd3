"""Which region a job was made for, as its row keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EarlierRegion:
    """A part of an object that was left out as edited since."""

    sop_instance_uid: str
    number: int
    content_sha256: str


@dataclass(frozen=True, kw_only=True)
class JobRoi:
    """One region chosen for a ROI role: which part of which object (S21)."""

    role: str
    #: ``SEG``, ``RTSTRUCT`` or ``SR``.
    source_kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    #: Segment Number, ROI Number, or place of the measurement group in its report.
    number: int
    #: SHA-256 of the object's content: part of the job's fingerprint (S1).
    content_sha256: str
    #: Content of the segmentation that a report's region is, "" if it is none.
    points_at_sha256: str = ""
    #: Our job that made the object; "": somebody else did.
    from_job: str = ""
    #: Regions that it was taken for an edit of by name alone: they must share a voxel with it.
    edit_of: tuple[EarlierRegion, ...] = ()
