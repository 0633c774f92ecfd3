"""Regions that come late, and regions that are taken back (S15, S21)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage, generate_uid

from node.dicom.rejection_notes import rejected_by
from node.errors import MalformedDataset
from node.manifest import Code, RoiRole
from node.model import JobState, StudyState
from node.storage.job_rows import retry_job
from tests.make import ct_series, part10
from tests.regions_case import binary, blob, named, report
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


def note_on(images: Sequence[Dataset], *objects: Dataset, title: str = "113001") -> Dataset:
    """A rejection note of objects of the images' study, as an archive writes it."""
    ds = report(images)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality = "KO"
    ds.ConceptNameCodeSequence = named(title, "DCM", "Rejected")
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = objects[0].SeriesInstanceUID
    series.ReferencedSOPSequence = [Dataset() for _ in objects]
    for reference, one in zip(series.ReferencedSOPSequence, objects, strict=True):
        reference.ReferencedSOPClassUID = one.SOPClassUID
        reference.ReferencedSOPInstanceUID = one.SOPInstanceUID
    study.StudyInstanceUID = images[0].StudyInstanceUID
    study.ReferencedSeriesSequence = [series]
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    ds.ContentSequence = []
    return ds


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
