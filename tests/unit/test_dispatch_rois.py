"""Regions meet the rules: found, refused with a code, waited for; never guessed (S21)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from node.manifest import Code, InputRole, Range, RoiRole
from node.model import InstanceState, JobState, Origin, StudyState
from node.routing.explain import explain_document, explain_text
from node.routing.waiting import look_at_waiting
from node.settings import RoiSettings
from node.storage.intake_rows import change_instances, change_study, instances_of_study
from node.storage.lease_rows import claim_job
from node.storage.refusal_rows import is_latest_word, silences
from node.storage.retry_rows import retry_job
from tests.make import ct_series, rtstruct
from tests.regions_case import TUMOUR, binary, blob, group, outline, report, segment, segmentation
from tests.regions_case import segment_reference as pointing_at
from tests.routing_site import RULE, RoutingSite, manifest

SHAPE = (4, 8, 8)
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
TUMOR = RoiRole(name="tumor", input="ct", codes=(NEOPLASM,))
LIVER = {"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"}


@pytest.fixture
def images() -> list[Dataset]:
    return ct_series(SHAPE)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RoutingSite]:
    found = RoutingSite(tmp_path)
    needs(found, TUMOR)
    yield found
    found.db.close()


def needs(site: RoutingSite, *roles: RoiRole, **settings: RoiSettings) -> None:
    site.with_plugin(manifest(rois={role.name: role for role in roles}))
    site.with_rules(replace(RULE, rois=settings))


def seg(images: list[Dataset], **changes: object) -> Dataset:
    return binary(images, blob(SHAPE), **changes)


def structures(images: list[Dataset], name: str = "GTV", **changes: object) -> Dataset:
    corners = np.array([[1.0, 1.0], [1.0, 5.0], [5.0, 5.0], [5.0, 1.0]])
    contours = []
    for index in (1, 2):
        at = np.array(images[index].ImagePositionPatient, float)
        row, column = np.reshape(np.array(images[index].ImageOrientationPatient, float), (2, 3))
        down, right = map(float, images[index].PixelSpacing)
        points = at + corners[:, :1] * down * column + corners[:, 1:] * right * row
        contours.append((index, points))
    return rtstruct(images, {name: contours}, **changes)


def last(site: RoutingSite) -> tuple[str, str]:
    (one,) = site.decisions(site.study.revision)
    return one.outcome, one.code


def sentence(site: RoutingSite) -> str:
    (one,) = site.decisions(site.study.revision)
    return one.sentence


def test_s21_a_region_is_found_by_its_code(site: RoutingSite, images: list[Dataset]):
    drawn = seg(images, SeriesNumber=7)

    site.route([*images, drawn])

    assert last(site) == ("scheduled", "")
    (job,) = site.jobs
    (roi,) = job.rois
    assert (roi.role, roi.source_kind, roi.number) == ("tumor", "SEG", 1)
    assert roi.sop_instance_uid == drawn.SOPInstanceUID
    text = explain_text(site.db, site.study_uid)
    assert "region for tumor: segment 1 of the SEG of 20260301 10:15 in series 7" in text
    assert "fits by its code: CHOSEN" in text
    (document,) = explain_document(site.db, site.study_uid)["jobs"]
    assert document["rois"] == [{"role": "tumor", "object": "SEG", "number": 1}]


def test_old_snomed_codes_mean_the_same(site: RoutingSite, images: list[Dataset]):
    old = {"CodeValue": "M-8FFFF", "CodingSchemeDesignator": "SRT", "CodeMeaning": "Neoplasm"}

    site.route([*images, seg(images, SegmentSequence=[segment(1, kind=old)])])

    assert last(site) == ("scheduled", "")


@pytest.mark.parametrize("site_code", [None, LIVER, TUMOUR])
def test_a_region_elsewhere_does_not_fit(
    site: RoutingSite, images: list[Dataset], site_code: dict[str, str] | None
):
    needs(site, replace(TUMOR, sites=(Code("10200004", "SCT", "Liver"),), when_missing="refuse"))
    one = segment(1)
    if site_code is not None:
        one.AnatomicRegionSequence = [Dataset()]
        for keyword, value in site_code.items():
            setattr(one.AnatomicRegionSequence[0], keyword, value)

    site.route([*images, seg(images, SegmentSequence=[one])])

    fits = site_code in (None, LIVER)
    assert last(site) == (("scheduled", "") if fits else ("refused", "ROI_MISSING"))


def test_s21_a_name_counts_only_where_the_rule_maps_it(site: RoutingSite, images: list[Dataset]):
    named = seg(images, SegmentSequence=[segment(1, "Tumor li.", LIVER)])
    site.route([*images, named])
    assert last(site) == ("waiting", "ROI_MISSING")

    needs(site, TUMOR, tumor=RoiSettings(labels=("tumor*",)))
    site.route([seg(images, SegmentSequence=[segment(1, "spleen", LIVER)])])

    assert last(site) == ("scheduled", "")
    (roi,) = site.jobs[-1].rois
    assert roi.sop_instance_uid == named.SOPInstanceUID


def test_a_structure_set_and_a_report_serve_as_well(site: RoutingSite, images: list[Dataset]):
    needs(site, TUMOR, tumor=RoiSettings(labels=("gtv",), unapproved=True))

    site.route([*images, structures(images)])

    assert [roi.source_kind for roi in site.jobs[-1].rois] == ["RTSTRUCT"]


def test_a_report_with_an_outline_serves(site: RoutingSite, images: list[Dataset]):
    box = outline(images[1], "POLYLINE", [2, 2, 6, 2, 6, 6, 2, 6, 2, 2])

    site.route([*images, report(images, group(box))])

    (roi,) = site.jobs[-1].rois
    assert (roi.source_kind, roi.number) == ("SR", 1)


def test_a_report_on_a_segment_that_is_there_is_no_second_region(
    site: RoutingSite, images: list[Dataset]
):
    drawn = seg(images)

    site.route([*images, drawn, report(images, group(pointing_at(drawn, 1)))])

    (roi,) = site.jobs[-1].rois
    assert roi.source_kind == "SEG"
    assert "a report on a segment that is listed itself" in explain_text(site.db, site.study_uid)


def test_a_report_on_a_segment_pins_what_it_points_at(site: RoutingSite, images: list[Dataset]):
    drawn = seg(images, SegmentSequence=[segment(1, "region", LIVER)])

    site.route([*images, drawn, report(images, group(pointing_at(drawn, 1)))])

    (roi,) = site.jobs[-1].rois
    assert roi.source_kind == "SR"
    assert len(roi.points_at_sha256) == 64


def test_s21_two_tumours_where_one_is_expected_are_refused_with_the_list(
    site: RoutingSite, images: list[Dataset]
):
    mask = blob(SHAPE)
    frames = [(number, index, mask[index]) for number in (1, 2) for index in (1, 2)]

    site.route([*images, segmentation(images, frames, SeriesNumber=5)])

    assert last(site) == ("refused", "ROI_SEVERAL")
    assert "segment 1 of the SEG of 20260301 10:15 in series 5; segment 2 of" in sentence(site)
    assert sentence(site).endswith("; leave one")


def test_many_takes_all(site: RoutingSite, images: list[Dataset]):
    needs(site, replace(TUMOR, many=True))
    mask = blob(SHAPE)
    frames = [(number, index, mask[index]) for number in (1, 2) for index in (1, 2)]

    site.route([*images, segmentation(images, frames)])

    assert [roi.number for roi in site.jobs[-1].rois] == [1, 2]


def test_s21_contours_of_two_readers_are_refused(site: RoutingSite, images: list[Dataset]):
    second = seg(images, ContentCreatorName="Reader^Two", ContentTime="120000")

    site.route([*images, seg(images), second])

    assert last(site) == ("refused", "ROI_SEVERAL")
    assert sentence(site).endswith("; leave one, or say rois.tumor.latest = true in the rule")


def test_s21_an_edit_by_the_same_author_replaces_the_older_contour(
    site: RoutingSite, images: list[Dataset]
):
    edited = seg(images, ContentTime="120000")

    site.route([*images, edited, seg(images)])

    (roi,) = site.jobs[-1].rois
    assert roi.sop_instance_uid == edited.SOPInstanceUID
    assert roi.edit_of == (), "its Tracking UID says so"
    assert "no, edited since" in explain_text(site.db, site.study_uid)


def test_s21_an_edit_that_its_name_alone_tells_keeps_what_it_is_in_place_of(
    site: RoutingSite, images: list[Dataset]
):
    """Where voxels are read, the two are compared; a row keeps it over a restart."""
    first, second = seg(images), seg(images, ContentTime="120000")
    for one in (first, second):
        one.SeriesInstanceUID = "1.2.77"
        del one.SegmentSequence[0].TrackingUID

    site.route([*images, first])
    site.route([second])

    (roi,) = site.jobs[-1].rois
    (earlier,) = roi.edit_of
    assert roi.sop_instance_uid == second.SOPInstanceUID
    assert (earlier.sop_instance_uid, earlier.number) == (first.SOPInstanceUID, 1)


@pytest.mark.parametrize("many", [False, True])
def test_s21_two_regions_of_one_name_and_two_tracking_uids_are_no_edit(
    site: RoutingSite, images: list[Dataset], many: bool
):
    needs(site, replace(TUMOR, many=many))
    first = seg(images)
    second = seg(images, ContentTime="120000", SeriesInstanceUID=first.SeriesInstanceUID)
    second.SegmentSequence[0].TrackingUID = "1.2.99"

    site.route([*images, first, second])

    assert last(site) == (("scheduled", "") if many else ("refused", "ROI_SEVERAL"))
    assert len(site.jobs[-1].rois) == (2 if many else 0)


def test_a_site_may_say_that_the_latest_counts(site: RoutingSite, images: list[Dataset]):
    needs(site, TUMOR, tumor=RoiSettings(latest=True))
    second = seg(images, ContentCreatorName="Reader^Two", ContentTime="120000")

    site.route([*images, second, seg(images)])

    (roi,) = site.jobs[-1].rois
    assert roi.sop_instance_uid == second.SOPInstanceUID


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"ApprovalStatus": "REJECTED"}, "ROI_REJECTED", "REJECTED by its reviewer"),
        ({"ApprovalStatus": "UNAPPROVED"}, "ROI_UNAPPROVED", "nobody approved"),
    ],
)
def test_s21_approval_is_asked_for(
    site: RoutingSite, images: list[Dataset], changes: dict[str, str], code: str, words: str
):
    needs(site, TUMOR, tumor=RoiSettings(labels=("GTV",), unapproved="REJ" in code))

    site.route([*images, structures(images, **changes)])

    assert last(site) == ("refused", code)
    assert words in sentence(site)
    assert "tumor: ROI 1 of the RTSTRUCT" in sentence(site)


def test_a_region_in_another_frame_of_reference_is_refused(
    site: RoutingSite, images: list[Dataset]
):
    site.route([*images, seg(images, FrameOfReferenceUID="1.2.3.4")])

    assert last(site) == ("refused", "ROI_FRAME_OF_REFERENCE")


def test_of_two_only_the_one_in_the_images_frame_of_reference_is_meant(
    site: RoutingSite, images: list[Dataset]
):
    here = seg(images)

    site.route([*images, seg(images, FrameOfReferenceUID="1.2.3.4"), here])

    assert last(site)[0] == "scheduled"
    assert site.jobs[-1].rois[0].sop_instance_uid == here.SOPInstanceUID


@pytest.fixture
def sequences(site: RoutingSite, images: list[Dataset]) -> tuple[list[Dataset], list[Dataset]]:
    """Two series that one plugin takes as two inputs, each with a region of the same code."""
    first, second = images, ct_series(SHAPE, SeriesNumber=9, KVP=80)
    for number, ds in enumerate(first):
        ds.KVP = 120
        second[number].StudyInstanceUID = ds.StudyInstanceUID
        second[number].FrameOfReferenceUID = ds.FrameOfReferenceUID
    names = {"t1": Range(100), "t2": Range(high=100)}
    inputs = {n: InputRole(name=n, modality=("CT",), header={"KVP": r}) for n, r in names.items()}
    rois = {n: RoiRole(name=n, input=n, codes=(NEOPLASM,)) for n in names}
    site.with_plugin(manifest(inputs=inputs, rois=rois))
    return first, second


def test_an_outline_on_each_of_two_inputs_serves_its_own(
    site: RoutingSite, sequences: tuple[list[Dataset], list[Dataset]]
):
    drawn = [seg(one) for one in sequences]

    site.route([*sequences[0], *sequences[1], *drawn])

    chosen = {roi.role: roi.sop_instance_uid for roi in site.jobs[-1].rois}
    assert chosen == {"t1": drawn[0].SOPInstanceUID, "t2": drawn[1].SOPInstanceUID}


def test_an_outline_on_one_of_two_inputs_serves_both(
    site: RoutingSite, sequences: tuple[list[Dataset], list[Dataset]]
):
    drawn = seg(sequences[1])

    site.route([*sequences[0], *sequences[1], drawn])

    assert {roi.sop_instance_uid for roi in site.jobs[-1].rois} == {drawn.SOPInstanceUID}
    assert {roi.role for roi in site.jobs[-1].rois} == {"t1", "t2"}


def test_s21_two_outlines_on_one_of_two_inputs_are_refused(
    site: RoutingSite, sequences: tuple[list[Dataset], list[Dataset]]
):
    second = seg(sequences[1], ContentCreatorName="Reader^Two", ContentTime="120000")

    site.route([*sequences[0], *sequences[1], seg(sequences[1]), second])

    assert last(site) == ("refused", "ROI_SEVERAL")


def test_a_contour_of_another_patient_makes_the_study_mixed(
    site: RoutingSite, images: list[Dataset]
):
    site.route([*images, seg(images, PatientID="OTHER")])

    assert last(site) == ("refused", "IDENTITY_MIXED")


def test_a_foreign_contour_behind_a_right_one_in_its_series_is_no_region_of_ours(
    site: RoutingSite, images: list[Dataset]
):
    first = seg(images, SegmentSequence=[segment(1, "liver", LIVER)])
    foreign = seg(images, PatientID="OTHER", SeriesInstanceUID=first.SeriesInstanceUID)

    site.route([*images, first, foreign])

    assert last(site) == ("refused", "ROI_OTHER_PATIENT")


def test_s21_a_contour_drawn_on_images_of_another_study_is_refused(
    site: RoutingSite, images: list[Dataset]
):
    others = ct_series(SHAPE, FrameOfReferenceUID=images[0].FrameOfReferenceUID)
    site.store(others)
    drawn = seg(others)
    drawn.StudyInstanceUID = images[0].StudyInstanceUID

    site.route([*images, drawn])

    assert last(site) == ("refused", "ROI_OTHER_STUDY")
    assert "tumor: segment 1 of the SEG" in sentence(site)
    assert sentence(site).endswith("it was drawn on images of another study")


def test_s21_a_series_of_another_study_is_enough(site: RoutingSite, images: list[Dataset]):
    others = ct_series(SHAPE, FrameOfReferenceUID=images[0].FrameOfReferenceUID)
    site.store(others)
    drawn = seg(images)
    drawn.ReferencedSeriesSequence[0].SeriesInstanceUID = others[0].SeriesInstanceUID
    del drawn.ReferencedSeriesSequence[0].ReferencedInstanceSequence

    site.route([*images, drawn])

    assert last(site) == ("refused", "ROI_OTHER_STUDY")


def test_a_contour_drawn_on_another_series_of_the_study_or_on_unknown_images_serves(
    site: RoutingSite, images: list[Dataset]
):
    other = ct_series(SHAPE, SeriesNumber=9, FrameOfReferenceUID=images[0].FrameOfReferenceUID)
    drawn = seg(other)
    for ds in (*other, drawn):
        ds.StudyInstanceUID = images[0].StudyInstanceUID
    site.route([*images, drawn])
    assert last(site) == ("scheduled", "")

    # The same images are here twice: in this study, and in another one as well.
    copies = ct_series(SHAPE)
    for copy, ds in zip(copies, images, strict=True):
        copy.SOPInstanceUID = ds.SOPInstanceUID
    site.store(copies)
    site.route([seg(images, ContentTime="120000")])

    assert last(site) == ("scheduled", "")


def test_s21_a_contour_filed_in_another_study_is_told_to_the_job_that_waits(
    site: RoutingSite, images: list[Dataset]
):
    site.route(images)
    (waits,) = site.jobs
    for _ in range(2):
        site.route([seg(images, StudyInstanceUID="1.2.3.99")])
    assert site.jobs == ()
    site.study_uid = images[0].StudyInstanceUID

    (job,) = site.jobs
    assert (job.state, job.reason_code) == (JobState.WAITING, "ROI_MISSING")
    assert job.reason == (
        f"{waits.reason}; ROI_OTHER_STUDY: a contour names these images but is filed in another "
        "study, so it was not used; store it in the study of the images"
    )
    assert "filed in another study" in explain_text(site.db, site.study_uid)

    look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 1e6)
    assert "filed in another study" in site.jobs[0].reason


def test_a_contour_of_a_foreign_study_is_not_looked_at(site: RoutingSite, images: list[Dataset]):
    site.store([seg(images, StudyInstanceUID="1.2.3.99")])

    site.route(images)

    assert last(site) == ("waiting", "ROI_MISSING")


def test_s17_what_we_made_is_no_contour_but_an_edit_of_it_is(
    site: RoutingSite, images: list[Dataset]
):
    site.store([seg(images)], origin=Origin.OWN)
    site.route(images)
    assert last(site) == ("waiting", "ROI_MISSING")

    site.route([seg(images)])

    assert last(site) == ("scheduled", "")


def test_a_diameter_beside_the_tumour_is_no_contour(site: RoutingSite, images: list[Dataset]):
    line = outline(images[1], "POLYLINE", [2, 2, 6, 6])

    site.route([*images, report(images, group(line))])

    assert last(site) == ("waiting", "ROI_MISSING")
    assert "1 enclose no area" in sentence(site)


def test_refuse_is_refused_at_once(site: RoutingSite, images: list[Dataset]):
    needs(site, replace(TUMOR, when_missing="refuse"))

    site.route(images)

    assert last(site) == ("refused", "ROI_MISSING")
    assert 'SEG, RTSTRUCT, SR with "Neoplasm"; 0 other regions are here' in sentence(site)


def test_s14_the_arrival_of_the_contour_starts_the_job_that_waits(
    site: RoutingSite, images: list[Dataset]
):
    site.route(images)
    (waits,) = site.jobs
    assert (waits.state, waits.reason_code) == (JobState.WAITING, "ROI_MISSING")
    assert claim_job(site.db, "w", now=site.now, lease_s=9) is None

    site.route([seg(images)])

    (job,) = site.jobs
    assert (job.id, job.state, job.reason_code) == (waits.id, JobState.SCHEDULED, "")
    assert len(job.rois) == 1
    assert job.study_revision == 2
    (decision,) = site.decisions(2)
    assert (decision.outcome, decision.job_id) == ("scheduled", job.id)
    assert claim_job(site.db, "w", now=site.now, lease_s=9) is not None


def test_a_job_goes_on_waiting_while_other_objects_come(site: RoutingSite, images: list[Dataset]):
    site.route(images)
    (waits,) = site.jobs

    site.route([seg(images, SegmentSequence=[segment(1, "liver", LIVER)])])

    (job,) = site.jobs
    assert (job.id, job.state) == (waits.id, JobState.WAITING)
    assert last(site) == ("waiting", "ROI_MISSING")


def test_s14_an_edited_contour_is_a_new_run_and_the_same_one_is_not(
    site: RoutingSite, images: list[Dataset]
):
    site.route([*images, seg(images)])
    (first,) = site.jobs
    site.route([seg(images, SegmentSequence=[segment(1, "liver", LIVER)])])
    assert last(site) == ("same work", "")

    site.route([seg(images, ContentTime="120000")])

    old, new = site.jobs
    assert old.id == first.id
    assert (old.state, new.state) == (JobState.CANCELED, JobState.SCHEDULED)
    assert old.fingerprint != new.fingerprint


def test_s14_a_job_that_needs_no_region_has_the_fingerprint_it_always_had(
    site: RoutingSite, images: list[Dataset]
):
    site.with_plugin(manifest())
    site.route(images)
    site.route([seg(images)])

    assert last(site) == ("same work", "")
    assert len(site.jobs) == 1


def test_two_versions_of_a_contour_wait_for_a_choice(site: RoutingSite, images: list[Dataset]):
    drawn = seg(images)
    site.route([*images, drawn])
    one = next(o for o in instances_of_study(site.db, site.study_uid) if o.modality == "SEG")
    change_instances(site.db, {one.id: InstanceState.CONFLICT})
    for old, new in (
        (StudyState.ROUTED, StudyState.RECEIVING),
        (StudyState.RECEIVING, StudyState.COMPLETE),
    ):
        change_study(site.db, site.study_uid, old, new, now=site.now)
    site.dispatch()

    assert last(site) == ("refused", "UID_CONFLICT")


def test_s21_a_job_waits_only_so_long(site: RoutingSite, images: list[Dataset]):
    site.with_rules(replace(RULE, roi_wait_s=3600.0))
    site.route(images)
    (waits,) = site.jobs

    assert look_at_waiting(site.db, site.settings, site.manifests, now=waits.created_at + 3599) == 0
    assert look_at_waiting(site.db, site.settings, site.manifests, now=waits.created_at + 3600) == 1

    (job,) = site.jobs
    assert (job.state, job.reason_code) == (JobState.REFUSED, "ROI_MISSING")
    assert job.reason == f"{waits.reason}; waited 1 h"
    assert job.ended_at == waits.created_at + 3600


def test_a_job_without_its_rule_does_not_wait(site: RoutingSite, images: list[Dataset]):
    site.route(images)
    site.with_rules()

    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now) == 1

    assert site.jobs[0].reason.endswith("its rule is gone")


def test_a_contour_after_the_end_of_the_wait_makes_a_job(site: RoutingSite, images: list[Dataset]):
    site.route(images)
    look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 1e6)

    site.route([seg(images)])

    ended, job = site.jobs
    assert (ended.state, job.state) == (JobState.REFUSED, JobState.SCHEDULED)


def test_s14_a_report_starts_the_job_that_waits_and_reopens_no_study(
    site: RoutingSite, images: list[Dataset]
):
    site.route(images)
    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 9) == 0
    site.now += 100
    box = outline(images[1], "POLYLINE", [2, 2, 6, 2, 6, 6, 2, 6, 2, 2])
    site.store([report(images, group(box))])
    assert site.study.state is StudyState.ROUTED

    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 4.9) == 0
    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 5) == 1
    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 5) == 0
    site.dispatch()

    (job,) = site.jobs
    assert (job.state, job.rois[0].source_kind) == (JobState.SCHEDULED, "SR")
    site.now += 100
    site.store([report(images, group(box))])
    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 50) == 0


def test_s14_a_report_after_the_end_of_the_wait_starts_nothing_until_somebody_asks(
    site: RoutingSite, images: list[Dataset]
):
    site.route(images)
    look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 1e6)
    site.now += 100
    box = outline(images[1], "POLYLINE", [2, 2, 6, 2, 6, 6, 2, 6, 2, 2])
    site.store([report(images, group(box))])
    assert look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 50) == 0
    assert site.dispatch() == 0

    retry_job(site.db, site.jobs[0].id, now=site.now)
    site.dispatch()

    ended, job = site.jobs
    assert (ended.state, job.state) == (JobState.REFUSED, JobState.SCHEDULED)
    assert [roi.source_kind for roi in job.rois] == ["SR"]


def test_s07_waiting_in_vain_is_told_as_a_job_that_did_not_run(
    site: RoutingSite, images: list[Dataset]
):
    site.route(images)
    look_at_waiting(site.db, site.settings, site.manifests, now=site.now + 1e6)

    (silent,) = silences(site.db, since=0.0, now=site.now + 1e6)

    assert silent.job.reason_code == "ROI_MISSING"
    assert is_latest_word(site.db, silent)


def test_a_bad_contour_refuses_the_job_that_waits_and_a_good_one_makes_another(
    site: RoutingSite, images: list[Dataset]
):
    site.route(images)
    (waits,) = site.jobs
    bad = seg(images, FrameOfReferenceUID="1.2.3.4")
    site.route([bad])
    (refused,) = site.jobs
    assert (refused.id, refused.state) == (waits.id, JobState.REFUSED)
    assert refused.reason_code == "ROI_FRAME_OF_REFERENCE"
    assert refused.ended_at is not None

    site.route([seg(images)])

    assert [job.state for job in site.jobs] == [JobState.REFUSED, JobState.SCHEDULED]
