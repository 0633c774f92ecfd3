"""Regions of interest of SEG, RTSTRUCT and SR: listed cheaply, then put on an image (S21)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.contours import STRUCTURE_SET, roi_mask, rois_of
from node.dicom.frames import Stack
from node.dicom.headers import read_header
from node.dicom.outlines import check_alike
from node.dicom.region_grid import on_grid
from node.dicom.region_values import Fault, GridMask, Region, RegionRules, value_of
from node.dicom.report_regions import REPORT_CLASSES, frames_of_segment, group_mask, groups_of
from node.dicom.segmentation import SEGMENTATION_CLASSES, segment_mask, segments_of
from node.dicom.values import lookup_in, text
from node.errors import RefusalCode, Refused

__all__ = ["REGION_CLASSES", "Region", "RegionRules", "mask_on", "refusal_of", "regions_of"]

#: SOP classes that may hold regions.
REGION_CLASSES = SEGMENTATION_CLASSES | {STRUCTURE_SET} | REPORT_CLASSES

_DEFAULT = RegionRules()


def regions_of(path: Path, *, assumed_charset: str = "") -> tuple[Region, ...]:
    """Return the regions that an object describes; no pixel is decoded.

    Parameters
    ----------
    path : Path
        Any DICOM file.
    assumed_charset : str
        Character set of undeclared 8-bit text (S6).

    Returns
    -------
    tuple of Region
        One per segment of a SEG, per ROI of an RT Structure Set, per measurement group with a
        region of a report; () for every other object. Regions that cannot be used are listed
        too: `refusal_of` says why.

    Raises
    ------
    MalformedDataset
        If the file cannot be parsed.
    OSError
        If it cannot be read.
    """
    ds = read_header(path, assumed_charset=assumed_charset)
    sop_class_uid = value_of(ds, "SOPClassUID")
    if sop_class_uid in SEGMENTATION_CLASSES:
        return segments_of(ds, path)
    if sop_class_uid == STRUCTURE_SET:
        return rois_of(ds, path)
    if sop_class_uid in REPORT_CLASSES:
        return groups_of(ds, path)
    return ()


def refusal_of(region: Region, rules: RegionRules = _DEFAULT) -> Fault | None:
    """Return why a region may not be used, as far as its header tells; None if it may.

    Examples
    --------
    >>> region = Region(
    ...     name="GTV", number=1, source_kind="RTSTRUCT", approval="UNAPPROVED", creator="",
    ...     sop_class_uid="1.2", sop_instance_uid="1.3", series_instance_uid="1.4",
    ...     study_instance_uid="1.5", patient_id="P", issuer_of_patient_id="", path=Path("x"),
    ... )
    >>> refusal_of(region)[0].value, refusal_of(region, RegionRules(unapproved=True))
    ('ROI_UNAPPROVED', None)
    """
    if region.approval == "REJECTED":
        return RefusalCode.ROI_REJECTED, "the structure set was REJECTED by its reviewer"
    if region.source_kind == "RTSTRUCT" and region.approval != "APPROVED" and not rules.unapproved:
        return RefusalCode.ROI_UNAPPROVED, "nobody approved the structure set"
    return region.fault


def mask_on(
    region: Region,
    stack: Stack,
    *,
    rules: RegionRules = _DEFAULT,
    regions: Sequence[Region] = (),
    stacks: Sequence[Stack] = (),
    assumed_charset: str = "",
) -> NDArray[np.bool_]:
    """Return a region as a mask on the grid of an image.

    A segment on the image's own planes is copied, any other one of the same frame of reference
    is resampled by nearest voxel. Outlines are filled where they were drawn: a pixel belongs to
    a region if its centre lies inside; then as a segment.

    Parameters
    ----------
    region : Region
        From `regions_of`.
    stack : Stack
        The image; its first file must be readable, for patient and study.
    rules : RegionRules
    regions : sequence of Region
        Others of the study, among them the segment that a report points at.
    stacks : sequence of Stack
        Others of the study, among them the one that outlines were drawn on.
    assumed_charset : str
        As `regions_of` was given it.

    Returns
    -------
    bool, shape (slices, rows, columns)
        On the grid of `stack`; at least one voxel.

    Raises
    ------
    Refused
        A ROI_… code, or what is wrong with the pixels of a segment.
    MalformedDataset, OSError
        If a file cannot be read.
    """
    refusal = refusal_of(region, rules)
    if refusal is not None:
        raise Refused(*refusal)
    owner = read_header(stack.frames[0].path, assumed_charset=assumed_charset)
    _check_owner(region, owner, rules)
    if region.segment_of is not None:
        segment = _referenced(region, regions)
        _check_owner(segment, owner, rules)
        return _mask_of_referenced(region, segment, stack, rules)
    if region.source_kind == "SEG":
        _check_frame(region, stack)
        own = segment_mask(region, stack, rules)
    else:
        own = _outlined(region, stack, stacks)
    return on_grid(own, stack.geometry, inside=rules.inside)


def _outlined(region: Region, stack: Stack, stacks: Sequence[Stack]) -> GridMask:
    candidates = (stack, *(other for other in stacks if other is not stack))
    if region.frame_of_reference_uid:
        _check_frame(region, stack)
    if region.source_kind == "RTSTRUCT":
        return roi_mask(region, candidates)
    own, home = group_mask(region, candidates)
    check_alike(home, stack)
    return own


def _referenced(region: Region, regions: Sequence[Region]) -> Region:
    """Return the (first) segment that a report's region is."""
    assert region.segment_of is not None
    uid, numbers = region.segment_of
    found = {r.number: r for r in regions if r.source_kind == "SEG" and r.sop_instance_uid == uid}
    missing = [number for number in numbers if number not in found]
    if missing:
        raise Refused(
            RefusalCode.ROI_SEGMENT_MISSING,
            "the report points at a segment whose segmentation is not at hand"
            if not found
            else f"the segmentation has no segment {missing[0]} that the report points at",
        )
    segment = found[numbers[0]]
    if segment.fault is not None:
        raise Refused(*segment.fault)
    return segment


def _mask_of_referenced(
    region: Region, segment: Region, stack: Stack, rules: RegionRules
) -> NDArray[np.bool_]:
    """Return the mask of the segments that a report's region is."""
    assert region.segment_of is not None
    _check_frame(segment, stack)
    own = segment_mask(
        segment,
        stack,
        rules,
        numbers_wanted=region.segment_of[1],
        frames_wanted=frames_of_segment(region),
    )
    return on_grid(own, stack.geometry, inside=rules.inside)


def _check_frame(region: Region, stack: Stack) -> None:
    if not region.frame_of_reference_uid:
        raise Refused(RefusalCode.ROI_FRAME_OF_REFERENCE, "the region names no frame of reference")
    if region.frame_of_reference_uid != stack.geometry.frame_of_reference_uid:
        raise Refused(
            RefusalCode.ROI_FRAME_OF_REFERENCE,
            "the region lies in another frame of reference than the image",
        )


def _check_owner(region: Region, image: Dataset, rules: RegionRules) -> None:
    """Refuse another patient's region, and one of another study unless the rules allow it."""
    look = lookup_in(image)
    issuers = {region.issuer_of_patient_id, text(look("IssuerOfPatientID"))} - {""}
    if region.patient_id != text(look("PatientID")) or len(issuers) > 1:
        raise Refused(RefusalCode.ROI_OTHER_PATIENT, "the region belongs to another patient")
    other = region.study_instance_uid != value_of(image, "StudyInstanceUID")
    if other and not rules.other_study:
        raise Refused(RefusalCode.ROI_OTHER_STUDY, "the region belongs to another study")
    if other and not region.patient_id:
        raise Refused(
            RefusalCode.ROI_OTHER_PATIENT,
            "the region lies in another study, and neither names its patient",
        )
