"""Complete studies meet the rules: jobs, refusals, waiting, and what a revision changes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from node.errors import NodeError
from node.manifest import InputRole, Limits, Range
from node.model import (
    Addressee,
    DeliveryState,
    DestinationGrade,
    Grade,
    InstanceState,
    JobState,
    NewEvidence,
    Origin,
    StudyState,
)
from node.routing.dispatch import backfill
from node.routing.explain import explain_document, explain_text
from node.settings import Condition
from node.storage.completion_rows import reopen_study
from node.storage.decision_rows import latest_decisions
from node.storage.delivery_rows import list_deliveries
from node.storage.intake_rows import change_instances, instances_of_study
from node.storage.job_rows import (
    claim_job,
    end_job,
    finish_job,
    get_job,
    get_report,
    set_plugin_switch,
)
from node.storage.retry_rows import retry_job
from tests.make import ct_series, enhanced_ct, made, mr_series, with_identity_of
from tests.routing_site import RULE, RoutingSite, manifest

SHAPE = (4, 8, 8)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RoutingSite]:
    found = RoutingSite(tmp_path)
    yield found
    found.db.close()


def ct(**overrides: object) -> list[Dataset]:
    return ct_series(SHAPE, **overrides)  # type: ignore[arg-type]


def outcomes(site: RoutingSite) -> list[tuple[str, str]]:
    return [(one.outcome, one.code) for one in site.decisions(site.study.revision)]


def test_a_matching_rule_makes_a_job_with_its_inputs_in_stack_order(site: RoutingSite):
    images = ct()

    (decision,) = site.route(list(reversed(images)))

    (job,) = site.jobs
    assert decision.outcome == "scheduled"
    assert decision.job_id == job.id
    assert (job.state, job.rule, job.destinations) == (JobState.SCHEDULED, "check", ("archive",))
    assert job.plugin_name_version == "check@1.0.0"
    assert job.plugin_digest == manifest().digest
    assert job.inputs[0].sop_instance_uids == tuple(ds.SOPInstanceUID for ds in images)
    assert job.inputs[0].frame_numbers == (0, 0, 0, 0)
    assert len(job.inputs[0].pixel_sha256) == 4
    assert site.study.state is StudyState.ROUTED


def test_frames_of_a_multiframe_image_are_named_by_number(site: RoutingSite):
    image = enhanced_ct((5, 8, 8))

    site.route([image])

    (job,) = site.jobs
    assert job.inputs[0].sop_instance_uids == (image.SOPInstanceUID,) * 5
    assert job.inputs[0].frame_numbers == (1, 2, 3, 4, 5)
    assert len(job.inputs[0].pixel_sha256) == 1


def test_a_rule_that_does_not_match_makes_no_job_and_says_why(site: RoutingSite):
    (decision,) = site.route(mr_series(SHAPE))

    assert decision.outcome == "not matched"
    assert site.jobs == ()
    (series,) = decision.document["series"]
    assert series["matched"] is False
    assert series["predicates"][1]["said"] == "Modality = CT"
    assert series["predicates"][1]["found"] == "MR"
    assert site.study.state is StudyState.ROUTED


def test_every_matching_rule_makes_a_job_in_the_order_of_the_file(site: RoutingSite):
    site.with_rules(replace(RULE, name="b"), replace(RULE, name="a", shadow=True))

    site.route(ct())

    assert {(job.rule, job.shadow) for job in site.jobs} == {("b", False), ("a", True)}
    assert [one.rule for one in site.decisions()] == ["b", "a"]


def test_rules_see_called_title_and_peer(site: RoutingSite):
    when = Condition(
        operator="all",
        children=(
            Condition(operator="equals", name="called_ae", value="TEST"),
            Condition(operator="equals", name="peer", value="ct1"),
        ),
    )
    site.with_rules(replace(RULE, when=when))
    first = ct()
    site.store(first, called="OTHER")
    site.store(with_identity_of(first[0], ct()), called="TEST")

    (decision,) = site.route()

    assert [one["matched"] for one in decision.document["series"]] == [False, True]


def test_no_rule_no_decision(site: RoutingSite):
    site.with_rules()

    assert site.route(ct()) == ()
    assert site.study.state is StudyState.ROUTED


def test_objects_that_are_no_images_are_not_asked(site: RoutingSite):
    images = ct()
    report = made(Modality="CT", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4")
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.file_meta = images[0].file_meta
    with_identity_of(images[0], [report])

    (decision,) = site.route([*images, report])

    assert len(decision.document["series"]) == 1
    assert decision.outcome == "scheduled"


# --- refusals --------------------------------------------------------------------------------


def test_a_refusal_is_a_job_with_code_and_sentence(site: RoutingSite):
    site.with_plugin(
        manifest(inputs={"ct": InputRole(name="ct", modality=("CT",), slices=Range(9))})
    )

    (decision,) = site.route(ct())

    (job,) = site.jobs
    assert (job.state, job.reason_code) == (JobState.REFUSED, "TOO_FEW_SLICES")
    assert "4 slices, at least 9" in job.reason
    assert (decision.outcome, decision.code, decision.job_id) == (
        "refused",
        "TOO_FEW_SLICES",
        job.id,
    )
    assert claim_job(site.db, "w", now=site.now, lease_s=30) is None


def test_s03_two_patients_in_one_study_are_refused(site: RoutingSite):
    first = ct()
    other = with_identity_of(first[0], mr_series(SHAPE))
    for ds in other:
        ds.PatientName = "Another^Person"

    site.route([*first, *other])

    assert outcomes(site) == [("refused", "IDENTITY_MIXED")]


def test_s03_no_job_runs_for_a_study_without_patient_id(site: RoutingSite):
    site.route(ct(PatientID=""))

    assert outcomes(site) == [("refused", "IDENTITY_MISSING")]
    assert site.jobs[0].state is JobState.REFUSED


def test_s03_two_patients_in_one_series_are_refused(site: RoutingSite):
    images = ct()
    images[2].PatientID = "SOMEBODY"

    site.route(images)

    assert outcomes(site) == [("refused", "IDENTITY_MIXED")]


def test_s04_a_plugin_that_is_not_released_is_refused_at_dispatch_too(site: RoutingSite):
    clinical = replace(site.settings.destinations[0], grade=DestinationGrade.CLINICAL)
    site.settings = replace(site.settings, destinations=(clinical,))
    site.with_plugin(manifest(grade=Grade.PHANTOM))

    site.route(ct())

    assert outcomes(site) == [("refused", "GRADE_NOT_RELEASED")]


def test_s22_limits_of_the_manifest_are_asked_before_any_job(site: RoutingSite):
    site.with_plugin(manifest(limits=Limits(age_years=Range(0, 17))))

    site.route(ct())

    assert outcomes(site) == [("refused", "AGE_OUT_OF_RANGE")]


def test_s22_a_plugin_that_is_switched_off_gets_no_job(site: RoutingSite):
    set_plugin_switch(site.db, "check", off=True, reason="wrong side", now=site.now)

    (decision,) = site.route(ct())

    assert decision.code == "PLUGIN_DISABLED"
    assert "wrong side" in decision.sentence


def test_s22_a_retried_refusal_goes_through_the_guards_again(site: RoutingSite):
    set_plugin_switch(site.db, "check", off=True, now=site.now)
    site.route(ct())
    (refused,) = site.jobs

    retry_job(site.db, refused.id, now=site.now)
    site.dispatch()
    assert [job.state for job in site.jobs] == [JobState.REFUSED]

    set_plugin_switch(site.db, "check", off=False, now=site.now)
    retry_job(site.db, refused.id, now=site.now)
    site.dispatch()
    assert [job.state for job in site.jobs] == [JobState.REFUSED, JobState.SCHEDULED]


def test_an_unknown_plugin_is_refused_without_a_job(site: RoutingSite):
    site.manifests = {}

    (decision,) = site.route(ct())

    assert (decision.outcome, decision.code, decision.job_id) == ("refused", "PLUGIN_INVALID", None)


def test_a_file_that_is_gone_is_a_refusal_not_a_crash(site: RoutingSite):
    site.store(ct())
    for one in instances_of_study(site.db, site.study_uid)[1:]:
        site.files.absolute(one.path).unlink()

    site.route()

    (decision,) = site.decisions()
    assert decision.outcome == "refused"
    assert "INPUT_CHANGED" in decision.document["left_out"][0]


def test_an_unreadable_series_is_named_and_does_not_match(site: RoutingSite):
    site.store(ct())
    for one in instances_of_study(site.db, site.study_uid):
        site.files.absolute(one.path).write_bytes(b"nothing")

    (decision,) = site.route()

    assert decision.outcome == "not matched"
    assert len(decision.document["unreadable"]) == 1


# --- versions, origins -----------------------------------------------------------------------


def set_state(site: RoutingSite, index: int, state: InstanceState) -> None:
    rows = instances_of_study(site.db, site.study_uid)
    change_instances(site.db, {rows[index].id: state})


def test_s02_unresolved_versions_are_waited_for(site: RoutingSite):
    site.store(ct())
    set_state(site, 0, InstanceState.UNRESOLVED)

    assert site.route() == ()
    assert site.study.state is StudyState.COMPLETE

    set_state(site, 0, InstanceState.STORED)
    site.dispatch()
    assert outcomes(site) == [("scheduled", "")]


def test_s02_a_conflict_in_the_chosen_images_is_refused(site: RoutingSite):
    site.store(ct())
    set_state(site, 0, InstanceState.CONFLICT)

    site.route()

    assert outcomes(site) == [("refused", "UID_CONFLICT")]
    assert "1 of the 4 chosen images" in site.jobs[0].reason
    uid = site.jobs[0].inputs[0].sop_instance_uids
    (conflict,) = explain_document(site.db, site.study_uid)["conflicts"]
    assert conflict in uid
    assert f"in conflict: `sentinel-node choose {conflict}`" in explain_text(
        site.db, site.study_uid
    )


def test_s02_a_job_waits_while_a_version_of_its_images_is_not_compared(site: RoutingSite):
    site.route(ct())
    set_state(site, 0, InstanceState.UNRESOLVED)
    assert claim_job(site.db, "worker", now=site.now, lease_s=30) is None

    set_state(site, 0, InstanceState.STORED)
    assert claim_job(site.db, "worker", now=site.now, lease_s=30) is not None


@pytest.mark.parametrize("code", ["UID_CONFLICT", "INPUT_CHANGED"])
def test_s02_work_that_its_files_stopped_begins_again_when_they_are_well(
    site: RoutingSite, code: str
):
    # A second version came after the rules had looked; then one was chosen, or it was the same.
    site.route(ct())
    refuse_when_it_runs(site, code)
    look_again(site)

    assert [one.outcome for one in site.decisions()] == ["scheduled", "scheduled"]
    (job,) = site.jobs
    assert (job.state, job.reason_code) == (JobState.SCHEDULED, "")
    assert site.decisions()[-1].job_id == job.id


def test_s01_work_that_a_plugin_refused_is_not_done_again(site: RoutingSite):
    site.route(ct())
    refuse_when_it_runs(site, "CASE_UNSUITABLE")
    look_again(site)

    assert [one.outcome for one in site.decisions()] == ["scheduled", "same work"]
    assert [one.state for one in site.jobs] == [JobState.REFUSED]


def look_again(site: RoutingSite) -> None:
    with site.db.write() as rows:
        reopen_study(rows, site.study_uid, site.now)
    site.complete()
    site.dispatch()


def refuse_when_it_runs(site: RoutingSite, code: str) -> None:
    job = claim_job(site.db, "worker", now=site.now, lease_s=30)
    why = {"code": code, "reason": "as it ran", "now": site.now}
    end_job(site.db, job, "worker", state=JobState.REFUSED, **why)


def test_s02_a_conflict_elsewhere_is_no_hindrance(site: RoutingSite):
    first = mr_series(SHAPE)
    site.store(first)
    set_state(site, 0, InstanceState.CONFLICT)

    site.route(with_identity_of(first[0], ct()))

    assert outcomes(site) == [("scheduled", "")]


@pytest.mark.parametrize("origin", [Origin.OWN, Origin.RETRIEVED])
def test_s15_s17_what_we_made_or_fetched_is_not_routed(site: RoutingSite, origin: Origin):
    first = mr_series(SHAPE)
    site.store(first)
    site.store(with_identity_of(first[0], ct()), origin=origin)

    (decision,) = site.route()

    assert decision.outcome == "not matched"
    assert len(decision.document["series"]) == 1


# --- S15 -------------------------------------------------------------------------------------


def old(**overrides: object) -> list[Dataset]:
    return ct(StudyDate="20200101", **overrides)


def test_s15_an_old_study_is_held_until_it_is_back_filled(site: RoutingSite):
    site.route(old())
    assert outcomes(site) == [("held", "STUDY_TOO_OLD")]
    assert site.study.state is StudyState.HELD
    assert site.jobs == ()

    backfill(site.db, site.study_uid, now=site.now)
    site.dispatch()

    assert [one.outcome for one in site.decisions()] == ["held", "released", "scheduled"]
    latest = latest_decisions(site.db, site.study_uid)
    assert [(one.rule, one.outcome) for one in latest] == [("", "released"), ("check", "scheduled")]
    assert site.study.state is StudyState.ROUTED
    assert len(site.jobs) == 1


def test_s15_a_late_image_of_a_back_filled_study_is_not_held_again(site: RoutingSite):
    images = old()
    site.route(images[:3])
    backfill(site.db, site.study_uid, now=site.now)
    site.dispatch()

    site.route(images[3:])

    assert outcomes(site) == [("scheduled", "")]


def test_only_a_held_study_can_be_back_filled(site: RoutingSite):
    site.route(ct())

    with pytest.raises(NodeError, match="ROUTED, not HELD"):
        backfill(site.db, site.study_uid, now=site.now)
    with pytest.raises(NodeError, match="no such study"):
        backfill(site.db, "1.2.3.9", now=site.now)


def test_s15_a_rule_without_age_limit_goes_on_beside_one_that_waits(site: RoutingSite):
    site.with_rules(RULE, replace(RULE, name="archive", max_age_days=float("inf")))

    site.route(old())

    assert [one.outcome for one in site.decisions()] == ["held", "scheduled"]
    backfill(site.db, site.study_uid, now=site.now)
    site.dispatch()
    assert [one.outcome for one in site.decisions()][3:] == ["scheduled", "same work"]
    assert len(site.jobs) == 2


# --- S1, S14 ---------------------------------------------------------------------------------


def run(site: RoutingSite) -> str:
    """Claim and finish the oldest job with one object."""
    job = claim_job(site.db, "worker", now=site.now, lease_s=30)
    assert job is not None
    uid = f"2.25.{int(job.id, 16)}"
    evidence = NewEvidence(
        role="seg",
        study_instance_uid=site.study_uid,
        series_instance_uid=f"{uid}.1",
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=f"evidence/{job.id}/seg.dcm",
        sha256="0" * 64,
        size_bytes=1,
        position=0,
    )
    finish_job(
        site.db,
        job,
        evidence=[evidence],
        destinations=[Addressee(destination=name) for name in job.destinations],
        report={"seconds": 1},
        now=site.now,
    )
    return job.id


def test_s01_equal_work_is_made_once(site: RoutingSite):
    images = ct()
    site.route(images)
    done = run(site)

    # A series that no rule matches re-opens the study, and changes nothing.
    (decision,) = site.route(with_identity_of(images[0], mr_series(SHAPE)))

    assert (decision.outcome, decision.job_id) == ("same work", done)
    assert get_job(site.db, done).state is JobState.COMPLETED
    assert len(site.jobs) == 1


def test_s14_a_late_image_makes_a_new_job_and_cancels_the_waiting_one(site: RoutingSite):
    images = ct()
    site.route(images[:3])
    site.route(images[3:])

    first, second = site.jobs
    assert (first.state, first.reason_code) == (JobState.CANCELED, "SUPERSEDED")
    assert (second.state, second.study_revision) == (JobState.SCHEDULED, 2)
    assert first.fingerprint != second.fingerprint


def test_s14_a_running_job_of_the_old_revision_finishes_undelivered(site: RoutingSite):
    images = ct()
    site.route(images[:3])
    running = claim_job(site.db, "worker", now=site.now, lease_s=30)
    assert running is not None
    site.route(images[3:])

    finish_job(
        site.db,
        running,
        evidence=[],
        destinations=[Addressee(destination="archive")],
        report={},
        now=site.now,
    )

    found = get_job(site.db, running.id)
    assert (found.state, found.reason_code) == (JobState.COMPLETED, "SUPERSEDED")
    assert list_deliveries(site.db) == ()


def test_s14_a_finished_job_that_nobody_has_seen_is_not_sent_any_more(site: RoutingSite):
    images = ct()
    site.route(images[:3])
    run(site)

    site.route(images[3:])

    ((delivery, _),) = list_deliveries(site.db)
    assert delivery.state is DeliveryState.CANCELED
    assert delivery.reason.startswith("SUPERSEDED: ")


def test_s14_the_first_input_set_again_is_a_new_run(site: RoutingSite):
    images = ct()
    site.route(images[:3])
    site.route(images[3:])
    late = instances_of_study(site.db, site.study_uid)[3]
    change_instances(site.db, {late.id: InstanceState.REPLACED})
    site.route(with_identity_of(images[0], mr_series(SHAPE)))

    runs = [(job.run_number, job.state) for job in site.jobs]

    assert runs == [
        (1, JobState.CANCELED),
        (1, JobState.CANCELED),
        (2, JobState.SCHEDULED),
    ]
    assert site.jobs[0].fingerprint == site.jobs[2].fingerprint


def test_s14_reports_and_our_own_objects_do_not_reopen(site: RoutingSite):
    images = ct()
    site.route(images)
    report = made(Modality="SR", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4")
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.file_meta = images[0].file_meta

    site.store(with_identity_of(images[0], [report]))

    assert site.study.state is StudyState.ROUTED


def test_s03_a_corrected_identity_is_new_work(site: RoutingSite):
    images = ct()
    site.route(images)
    run(site)
    rows = instances_of_study(site.db, site.study_uid)
    for ds in images:
        ds.PatientID = "CORRECTED"
    site.store(images)
    new = instances_of_study(site.db, site.study_uid)[len(rows) :]
    change_instances(
        site.db,
        {
            **{one.id: InstanceState.REPLACED for one in rows},
            **{one.id: InstanceState.STORED for one in new},
        },
    )

    (decision,) = site.route()

    assert decision.outcome == "scheduled"
    assert len({job.fingerprint for job in site.jobs}) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda site: site.with_plugin(manifest(digest="f" * 64)),
        lambda site: site.with_rules(replace(RULE, shadow=True)),
    ],
    ids=["another plugin digest", "another configuration of the rule"],
)
def test_s01_other_plugin_or_configuration_is_other_work(site: RoutingSite, change):
    images = ct()
    site.route(images)
    change(site)

    site.route(with_identity_of(images[0], mr_series(SHAPE)))

    assert len({job.fingerprint for job in site.jobs}) == 2


def test_the_same_refusal_is_not_made_twice(site: RoutingSite):
    site.with_plugin(manifest(limits=Limits(body_parts=("HEAD",))))
    images = ct(BodyPartExamined="CHEST")
    site.route(images)

    (decision,) = site.route(with_identity_of(images[0], mr_series(SHAPE)))

    assert len(site.jobs) == 1
    assert (decision.outcome, decision.job_id) == ("refused", site.jobs[0].id)


def test_a_study_that_changed_while_it_was_looked_at_is_decided_again(site: RoutingSite):
    from node.routing.dispatch import dispatch_study

    images = ct()
    site.store(images[:3])
    site.complete()
    seen = site.study
    site.store(images[3:])  # back to RECEIVING

    made_of_it = dispatch_study(
        seen,
        db=site.db,
        files=site.files,
        settings=site.settings,
        manifests=site.manifests,
        now=site.now,
    )

    assert made_of_it is None
    assert site.jobs == ()
    assert site.decisions() == ()


def test_a_study_that_breaks_routing_is_held_and_others_go_on(site: RoutingSite):
    class Broken(dict):
        def values(self):
            raise RuntimeError("a defect")

    first = ct()
    site.store(first)
    site.complete()
    site.manifests = Broken()

    site.dispatch()

    assert site.study.state is StudyState.HELD


# --- explain ---------------------------------------------------------------------------------


def test_explain_says_rule_predicate_value_candidate_and_score(site: RoutingSite):
    images = ct(SeriesNumber=4)
    scout = with_identity_of(
        images[0],
        ct_series((2, 8, 8), SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    site.route([*scout, *images])

    text = explain_text(site.db, site.study_uid)

    assert f"study {site.study_uid}" in text
    assert "ROUTED, revision 1, from ct1" in text
    assert "rule “check” → check@1.0.0: scheduled" in text
    assert "+ Modality = CT (found: CT)" in text
    assert "series 4 (CT, 4 instances) matches" in text
    assert "candidate for ct: series 4, 4 slices: CHOSEN [original 1, thin_slices -5" in text
    assert "series 1, 2 slices: no, IMAGE_KIND_UNSUITABLE: it is a localizer" in text
    assert "graded evaluated, delivers to: research" in text
    assert f"job {site.jobs[0].id}: SCHEDULED" in text


def test_explain_of_a_study_without_images_names_what_it_holds(site: RoutingSite):
    report = made(Modality="SR", SeriesNumber=7, SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2")
    report.SOPInstanceUID, report.SOPClassUID = "1.2.3.4", "1.2.840.10008.5.1.4.1.1.88.11"
    report.file_meta = ct()[0].file_meta

    (decision,) = site.route([report])
    text = explain_text(site.db, site.study_uid)

    assert decision.sentence == "no image series that can be read (others: SR)"
    assert decision.sentence in text
    assert "series 7 (SR, 1 instance) holds no images that rules look at" in text


def test_explain_of_series_that_do_not_match_says_the_values_found(site: RoutingSite):
    site.route(mr_series(SHAPE, SeriesNumber=3))

    text = explain_text(site.db, site.study_uid)

    assert "series 3 (MR, 4 instances) does not match" in text
    assert "- Modality = CT (found: MR)" in text


def test_explain_as_a_document_is_json_with_everything(site: RoutingSite):
    import json

    site.with_plugin(manifest(limits=Limits(body_parts=("HEAD",))))
    site.route(ct(BodyPartExamined="CHEST"))

    document = json.loads(json.dumps(explain_document(site.db, site.study_uid)))

    assert document["study"]["state"] == "ROUTED"
    (decision,) = document["decisions"]
    assert decision["code"] == "BODY_PART_OUT_OF_SCOPE"
    assert decision["document"]["candidates"][0]["chosen"] is True
    assert document["jobs"][0]["state"] == "REFUSED"
    assert document["jobs"][0]["inputs"][0]["planes"] == 4


def test_explain_of_a_study_without_decisions_and_of_none(site: RoutingSite):
    site.store(ct())

    assert "no rule has looked at it yet" in explain_text(site.db, site.study_uid)
    with pytest.raises(NodeError, match="no such study"):
        explain_text(site.db, "1.2.9")
    with pytest.raises(NodeError, match="no such study"):
        explain_document(site.db, "1.2.9")


def test_a_report_is_kept_with_the_job(site: RoutingSite):
    site.route(ct())
    assert get_report(site.db, site.jobs[0].id) == {}

    done = run(site)

    assert get_report(site.db, done) == {"seconds": 1}
