"""Regions that come late, and regions that are taken back (S15, S21)."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    SecondaryCaptureImageStorage,
    generate_uid,
)

from node.dicom.rejection_notes import rejected_by
from node.errors import MalformedDataset, NodeError
from node.manifest import Code, RoiRole
from node.model import Job, JobState, StudyState
from node.routing.waiting import look_at_waiting
from node.storage.intake_rows import change_study
from node.storage.job_rows import claim_job, end_job, rerun
from node.storage.retry_rows import retry_job
from tests.make import ct_series, part10
from tests.regions_case import binary, blob, group, note_on, report, segment_reference
from tests.routing_site import RULE, RoutingSite, manifest

SHAPE = (4, 8, 8)
DAY_S = 86400.0
TUMOR = RoiRole(name="tumor", input="ct", codes=(Code("108369006", "SCT", "Neoplasm"),))
NODES = replace(TUMOR, many=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RoutingSite]:
    found = RoutingSite(tmp_path)
    found.with_plugin(manifest(rois={"tumor": TUMOR}))
    yield found
    found.db.close()


def images_of(site: RoutingSite, *, days_old: int = 0) -> list[Dataset]:
    day = datetime.fromtimestamp(site.now - days_old * DAY_S, UTC)
    return ct_series(SHAPE, StudyDate=day.strftime("%Y%m%d"))


def seg(images: Sequence[Dataset], *, place: int = 0, **changes: object) -> Dataset:
    mask = np.roll(blob(SHAPE), place, axis=2)
    return binary(images, mask, StudyDate=images[0].StudyDate, **changes)


# --- a contour on a study that is old by now -------------------------------------------------


def test_s15_a_contour_starts_the_job_that_waits_however_old_the_study_is_by_now(
    site: RoutingSite,
):
    images = images_of(site, days_old=6)
    site.route(images)
    (waits,) = site.jobs

    site.now += 3 * DAY_S
    site.route([seg(images)])

    (job,) = site.jobs
    assert (job.id, job.state) == (waits.id, JobState.SCHEDULED)
    assert site.study.state is StudyState.ROUTED


def test_s15_an_edit_of_a_contour_is_a_new_run_however_old_the_study_is_by_now(site: RoutingSite):
    images = images_of(site, days_old=6)
    site.route([*images, seg(images)])

    site.now += 3 * DAY_S
    site.route([seg(images, ContentTime="120000")])

    assert [job.state for job in site.jobs] == [JobState.CANCELED, JobState.SCHEDULED]


def test_s15_a_late_image_of_an_old_study_is_held_with_its_contour(site: RoutingSite):
    images = images_of(site, days_old=6)
    site.route(images[:3])

    site.now += 3 * DAY_S
    (decision,) = site.route([images[3], seg(images)])

    assert (decision.outcome, decision.code) == ("held", "STUDY_TOO_OLD")
    assert site.study.state is StudyState.HELD


def test_s15_a_study_that_came_too_old_stays_held_when_a_contour_comes(site: RoutingSite):
    images = images_of(site, days_old=30)
    site.route(images)

    site.route([seg(images)])

    assert site.study.state is StudyState.HELD
    assert not site.jobs


def test_s15_a_rule_that_is_new_holds_a_study_that_is_old_by_now(site: RoutingSite):
    images = images_of(site, days_old=6)
    site.route(images)
    site.with_rules(RULE, replace(RULE, name="new"))

    site.now += 3 * DAY_S
    known, new = site.route([seg(images)])

    assert (known.outcome, new.outcome) == ("scheduled", "held")


def test_s15_a_screenshot_stored_with_a_contour_makes_no_study_late(site: RoutingSite):
    images = images_of(site, days_old=6)
    site.route(images)

    site.now += 3 * DAY_S
    (decision,) = site.route([screenshot(images), seg(images)])

    assert decision.outcome == "scheduled"


def screenshot(images: Sequence[Dataset]) -> Dataset:
    """A secondary capture, as viewers store it beside a contour."""
    ds = copy.deepcopy(images[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality = "OT"
    return ds


def test_s15_a_rule_that_has_another_plugin_now_holds_a_study_that_is_old(site: RoutingSite):
    images = images_of(site, days_old=6)
    site.route(images)
    site.with_plugin(manifest("other", rois={"tumor": TUMOR}))
    site.with_rules(replace(RULE, plugin="other"))

    site.now += 3 * DAY_S
    (decision,) = site.route([seg(images)])

    assert (decision.outcome, decision.code) == ("held", "STUDY_TOO_OLD")


# --- retried -----------------------------------------------------------------------------------


def test_a_job_that_waited_in_vain_waits_anew_when_it_is_retried(site: RoutingSite):
    images = images_of(site)
    site.route(images)
    site.now += 30 * DAY_S
    look_at_waiting(site.db, site.settings, site.manifests, now=site.now)
    (ended,) = site.jobs
    assert (ended.state, ended.reason_code) == (JobState.REFUSED, "ROI_MISSING")

    retry_job(site.db, ended.id, now=site.now)
    site.dispatch()

    old, waits = site.jobs
    assert (old.state, waits.state) == (JobState.REFUSED, JobState.WAITING)
    assert not look_at_waiting(site.db, site.settings, site.manifests, now=site.now)
    site.route([seg(images)])
    assert (site.jobs[-1].id, site.jobs[-1].state) == (waits.id, JobState.SCHEDULED)


@pytest.mark.parametrize("when", ["while images come", "before the rules look", "before more"])
def test_a_retried_wait_begins_anew_whatever_happens_until_the_rules_look(
    site: RoutingSite, when: str
):
    images = images_of(site)
    site.route(images)
    site.now += 30 * DAY_S
    look_at_waiting(site.db, site.settings, site.manifests, now=site.now)
    (ended,) = site.jobs

    if when == "before more":
        retry_job(site.db, ended.id, now=site.now)
    site.store([of_another_kind(images)])
    if when == "while images come":
        retry_job(site.db, ended.id, now=site.now)
    site.complete()
    if when == "before the rules look":
        retry_job(site.db, ended.id, now=site.now)
    site.dispatch()

    assert [job.state for job in site.jobs] == [JobState.REFUSED, JobState.WAITING]
    assert site.jobs[0].reason.endswith("; retried")


def test_of_several_runs_the_last_one_is_retried(site: RoutingSite):
    images = images_of(site)
    site.route([*images, seg(images)])
    first = fails(site)
    last = rerun(site.db, first.id, now=site.now)
    fails(site)

    with pytest.raises(NodeError, match=f"run 2 of the same work, {last.id}, is newer and FAILED"):
        retry_job(site.db, first.id, now=site.now)
    retry_job(site.db, last.id, now=site.now)
    site.dispatch()

    assert [job.state for job in site.jobs] == [JobState.FAILED, JobState.SCHEDULED]


def fails(site: RoutingSite) -> Job:
    """Let the job that is scheduled fail for good."""
    for _ in range(2):
        site.now += 1.0
        held = claim_job(site.db, "worker", now=site.now, lease_s=60.0)
        assert held is not None
        said = {"code": "NODE_ERROR", "reason": "its device is gone", "now": site.now}
        end_job(site.db, held, "worker", state=JobState.SCHEDULED, **said)
    return held


def test_a_late_report_alone_begins_no_wait_that_is_over(site: RoutingSite):
    images = images_of(site)
    site.route(images)
    site.now += 30 * DAY_S
    look_at_waiting(site.db, site.settings, site.manifests, now=site.now)

    site.route([report(images)])

    assert [job.state for job in site.jobs] == [JobState.REFUSED]


def test_a_study_that_another_rule_holds_is_looked_at_when_a_job_of_it_is_retried(
    site: RoutingSite,
):
    images = images_of(site, days_old=6)
    site.route(images)
    site.with_rules(RULE, replace(RULE, name="new"))
    site.now += 3 * DAY_S
    first, second = seg(images), seg(images, ContentCreatorName="Two^Reader", ContentTime="110000")
    site.route([first, second])
    (refused,) = site.jobs
    assert (refused.reason_code, site.study.state) == ("ROI_SEVERAL", StudyState.HELD)

    site.store([note_on(images, first)])
    retry_job(site.db, refused.id, now=site.now)
    site.dispatch()

    job = site.jobs[-1]
    assert job.state is JobState.SCHEDULED
    assert [roi.sop_instance_uid for roi in job.rois] == [second.SOPInstanceUID]
    assert site.study.state is StudyState.HELD


def test_a_study_that_no_rule_holds_waits_for_a_person_when_a_job_of_it_is_retried(
    site: RoutingSite,
):
    images = images_of(site)
    first, second = seg(images), seg(images, ContentCreatorName="Two^Reader", ContentTime="110000")
    site.route([*images, first, second])
    (refused,) = site.jobs
    change_study(site.db, site.study_uid, StudyState.ROUTED, StudyState.COMPLETE, now=site.now)
    change_study(
        site.db, site.study_uid, StudyState.COMPLETE, StudyState.HELD, now=site.now
    )  # a defect of ours, say

    retry_job(site.db, refused.id, now=site.now)

    assert site.study.state is StudyState.HELD


# --- rejection notes ---------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_s21_a_contour_that_a_rejection_note_takes_back_is_never_used(
    site: RoutingSite, title: str
):
    images = images_of(site)
    contour = seg(images)

    (decision,) = site.route([*images, contour, note_on(images, contour, title=title)])

    assert (decision.outcome, decision.code) == ("refused", "ROI_REJECTED")
    assert decision.sentence.endswith(": a rejection note (KOS) takes its object back")


def test_a_selection_of_objects_of_interest_takes_nothing_back(site: RoutingSite):
    images = images_of(site)
    contour = seg(images)

    (decision,) = site.route([*images, contour, note_on(images, contour, title="113000")])

    assert decision.outcome == "scheduled"


def test_s21_of_two_readers_contours_a_rejection_note_leaves_one(site: RoutingSite):
    images = images_of(site)
    first, second = seg(images), seg(images, ContentCreatorName="Two^Reader", ContentTime="110000")
    site.route([*images, first, second])
    (refused,) = site.jobs
    assert refused.reason_code == "ROI_SEVERAL"

    site.store([note_on(images, first)])
    assert site.study.state is StudyState.ROUTED  # no KOS re-opens a study (S14)
    retry_job(site.db, refused.id, now=site.now)
    site.dispatch()

    job = site.jobs[-1]
    assert job.state is JobState.SCHEDULED
    assert [roi.sop_instance_uid for roi in job.rois] == [second.SOPInstanceUID]


def test_s21_of_many_regions_those_taken_back_are_left_out(site: RoutingSite):
    site.with_plugin(manifest(rois={"tumor": NODES}))
    images = images_of(site)
    first, second = seg(images), seg(images, place=3, ContentCreatorName="Two^Reader")

    site.route([*images, first, second, note_on(images, first, title="113037")])

    (job,) = site.jobs
    assert [roi.sop_instance_uid for roi in job.rois] == [second.SOPInstanceUID]


def test_s21_the_older_contour_is_not_meant_again_where_its_edit_is_taken_back(site: RoutingSite):
    images = images_of(site)
    first, edit = seg(images), seg(images, ContentTime="120000")

    (decision,) = site.route([*images, first, edit, note_on(images, edit)])

    assert decision.code == "ROI_REJECTED"


def of_another_kind(images: Sequence[Dataset]) -> Dataset:
    """A segmentation that is no tumour by itself; a report may say that it is."""
    drawn = seg(images)
    (kind,) = drawn.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    kind.CodeValue, kind.CodeMeaning = "85756007", "Tissue"
    return drawn


def pointing_at(images: Sequence[Dataset], drawn: Dataset, time: str = "090000") -> Dataset:
    ds = report(images, group(segment_reference(drawn, 1)))
    ds.ContentTime, ds.StudyDate = time, images[0].StudyDate
    return ds


def test_s21_a_segmentation_that_was_taken_back_is_not_used_by_a_report_on_it(site: RoutingSite):
    images = images_of(site)
    drawn = of_another_kind(images)

    (decision,) = site.route([*images, drawn, pointing_at(images, drawn), note_on(images, drawn)])

    assert decision.code == "ROI_REJECTED"


def test_s21_a_report_that_was_taken_back_does_not_hide_one_that_serves(site: RoutingSite):
    images = images_of(site)
    drawn = of_another_kind(images)
    bad = pointing_at(images, drawn)
    good = pointing_at(images, drawn, "100000")

    (decision,) = site.route([*images, drawn, bad, good, note_on(images, bad)])

    assert decision.outcome == "scheduled"
    (job,) = site.jobs
    assert [roi.sop_instance_uid for roi in job.rois] == [good.SOPInstanceUID]


@pytest.mark.parametrize("is_rejected", [False, True])
def test_s21_nothing_is_in_doubt_beside_a_contour_that_was_taken_back(
    site: RoutingSite, is_rejected: bool
):
    """Without Tracking UID only a name says that a contour is an edit; voxels would decide."""
    images = images_of(site)
    wrong, right = untracked(images, "100000"), untracked(images, "110000")

    site.route([*images, wrong, right, *([note_on(images, wrong)] if is_rejected else [])])

    (job,) = site.jobs
    (roi,) = job.rois
    assert roi.sop_instance_uid == right.SOPInstanceUID
    assert len(roi.edit_of) == (0 if is_rejected else 1)


def untracked(images: Sequence[Dataset], time: str) -> Dataset:
    """A SEG as many viewers store it, always in one series."""
    drawn = seg(images, SeriesInstanceUID="1.2.77", ContentTime=time)
    (one,) = drawn.SegmentSequence
    del one.TrackingUID, one.TrackingID
    return drawn


def test_a_note_names_objects_in_its_evidence_or_its_content(tmp_path: Path):
    images = ct_series(SHAPE)
    contour = binary(images, blob(SHAPE))
    note = note_on(images, contour)
    item = Dataset()
    item.ReferencedSOPSequence = [Dataset()]
    item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    note.ContentSequence = [item]
    path = tmp_path / "note.dcm"
    path.write_bytes(part10(note))

    assert rejected_by(path) == {contour.SOPInstanceUID, "1.2.3"}
    path.write_bytes(part10(contour))
    assert rejected_by(path) == frozenset()
    path.write_bytes(b"no DICOM")
    with pytest.raises(MalformedDataset):
        rejected_by(path)
