"""Rows of jobs: leases, retries, runs, the kill switch; four processes are in tests/contract."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from node.errors import LeaseLost, NodeError
from node.model import Addressee, DeliveryState, Job, JobInput, JobState, NewEvidence
from node.storage.database import Database
from node.storage.delivery_rows import evidence_of_job, list_deliveries
from node.storage.job_rows import (
    DRAINED,
    MOST_LOST_LEASES,
    claim_job,
    end_job,
    finish_job,
    get_job,
    heartbeat,
    insert_job,
    is_plugin_off,
    list_jobs,
    new_job_id,
    plugins_off,
    release_expired,
    rerun,
    set_plugin_switch,
    supersede,
)
from node.storage.retry_rows import retry_job
from node.storage.tables import attempt, metadata, own_uid, study

NOW = 1000.0
STUDY = "1.2.3"
INPUT = JobInput(
    role="ct",
    series_instance_uid="1.2.3.1",
    sop_instance_uids=("1.2.3.1.2", "1.2.3.1.1"),
    frame_numbers=(0, 0),
    stack="AcquisitionNumber=2",
    pixel_sha256=("a", "b"),
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'node.db'}")
    metadata.create_all(database.engine)
    with database.write() as connection:
        connection.execute(
            study.insert().values(
                study_instance_uid=STUDY,
                state="ROUTED",
                revision=1,
                first_received_at=NOW,
                last_received_at=NOW,
                last_image_at=NOW,
            )
        )
    yield database
    database.close()


def a_job(fingerprint: str = "f", **changes: object) -> Job:
    job = Job(
        id=new_job_id(),
        study_instance_uid=STUDY,
        study_revision=1,
        rule="r",
        plugin="p",
        plugin_version="1.0.0",
        plugin_digest="d" * 64,
        state=JobState.SCHEDULED,
        reason_code="",
        reason="",
        fingerprint=fingerprint,
        run_number=1,
        inputs=(INPUT,),
        destinations=("a", "b"),
        attempt=0,
        created_at=NOW,
        started_at=None,
        ended_at=None,
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def claim(db: Database, owner: str = "w", now: float = NOW) -> Job:
    found = claim_job(db, owner, now=now, lease_s=30)
    assert found is not None
    return found


def fail(db: Database, job: Job, code: str = "PLUGIN_CRASHED") -> JobState:
    return end_job(
        db, job, job.owner, state=JobState.SCHEDULED, code=code, reason="it died", now=NOW + 1
    )


def outcomes(db: Database, job: Job) -> list[str]:
    query = select(attempt.c.outcome).where(attempt.c.job_id == job.id).order_by(attempt.c.attempt)
    with db.read() as connection:
        return list(connection.execute(query).scalars())


def evidence(number: int = 0) -> NewEvidence:
    return NewEvidence(
        role=f"seg{number}",
        study_instance_uid=STUDY,
        series_instance_uid="2.25.1",
        sop_instance_uid=f"2.25.1.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=f"evidence/x/{number}.dcm",
        sha256="0" * 64,
        size_bytes=10,
        position=number,
        checks={"own": []},
    )


def finish(db: Database, job: Job, **changes: object) -> None:
    said = {
        "evidence": [evidence(0), evidence(1)],
        "destinations": [Addressee(destination=name) for name in job.destinations],
        "report": {"seconds": 1.5},
        "now": NOW + 2,
        **changes,
    }
    finish_job(db, job, **said)  # type: ignore[arg-type]


# --- made once -------------------------------------------------------------------------------


def test_a_job_comes_back_as_it_was_inserted(db: Database):
    job = insert_job(db, a_job())

    assert get_job(db, job.id) == job
    assert job.inputs == (INPUT,)


def test_s01_equal_work_gives_the_job_that_is_here(db: Database):
    first = insert_job(db, a_job())

    assert insert_job(db, a_job()).id == first.id
    assert insert_job(db, a_job("g")).id != first.id
    assert len(list_jobs(db)) == 2


def test_s01_canceled_work_that_is_wanted_again_is_a_new_run(db: Database):
    insert_job(db, a_job(state=JobState.CANCELED))

    again = insert_job(db, a_job())

    assert again.run_number == 2
    assert insert_job(db, a_job()).id == again.id


def test_s01_a_rerun_has_a_new_run_number_and_id(db: Database):
    job = insert_job(db, a_job())
    with pytest.raises(NodeError, match="not ended"):
        rerun(db, job.id, now=NOW)
    finish(db, claim(db))

    again = rerun(db, job.id, now=NOW + 9)

    assert (again.run_number, again.fingerprint, again.state) == (2, "f", JobState.SCHEDULED)
    assert again.id != job.id
    assert get_job(db, again.id) == again
    assert insert_job(db, a_job()).id == again.id


def test_an_unknown_job_is_said(db: Database):
    for look in (get_job, lambda d, j: rerun(d, j, now=NOW), lambda d, j: retry_job(d, j, now=NOW)):
        with pytest.raises(NodeError, match="there is no job abc"):
            look(db, "abc")


def test_jobs_are_listed_newest_first_and_by_state(db: Database):
    insert_job(db, a_job("f", rule="first"))
    insert_job(db, a_job("g", rule="second", created_at=NOW + 1, state=JobState.REFUSED))

    assert [job.rule for job in list_jobs(db)] == ["second", "first"]
    assert [job.rule for job in list_jobs(db, states=[JobState.SCHEDULED])] == ["first"]
    assert [job.rule for job in list_jobs(db, limit=1, offset=1)] == ["first"]


# --- leases ----------------------------------------------------------------------------------


def test_the_oldest_job_is_claimed_first_and_only_once(db: Database):
    insert_job(db, a_job("late", created_at=NOW + 1))
    insert_job(db, a_job("early"))

    job = claim(db, "one")

    assert (job.fingerprint, job.state, job.owner) == ("early", JobState.IN_PROGRESS, "one")
    assert (job.attempt, job.started_at, job.lease_until) == (1, NOW, NOW + 30)
    assert claim(db, "two").fingerprint == "late"
    assert claim_job(db, "three", now=NOW, lease_s=30) is None


def test_a_heartbeat_extends_the_lease(db: Database):
    insert_job(db, a_job())
    job = claim(db)

    heartbeat(db, job, "w", now=NOW + 20, lease_s=30)

    assert release_expired(db, now=NOW + 49) == ()
    assert release_expired(db, now=NOW + 51) == (job.id,)


def test_a_lost_lease_changes_nothing_any_more(db: Database):
    insert_job(db, a_job())
    lost = claim(db, "slow")
    release_expired(db, now=NOW + 31)
    taken = claim(db, "quick", NOW + 31)

    for late in (
        lambda: heartbeat(db, lost, "slow", now=NOW, lease_s=30),
        lambda: finish(db, lost),
        lambda: fail(db, lost),
    ):
        with pytest.raises(LeaseLost):
            late()

    assert get_job(db, taken.id) == taken
    assert list_deliveries(db) == ()
    assert outcomes(db, taken) == ["lease lost", ""]


def test_the_same_owner_with_an_older_attempt_has_lost_it_too(db: Database):
    insert_job(db, a_job())
    first = claim(db)
    release_expired(db, now=NOW + 31)
    claim(db, now=NOW + 31)

    with pytest.raises(LeaseLost):
        finish(db, first)


def test_a_finished_job_leaves_evidence_outbox_and_its_uids_at_once(db: Database):
    insert_job(db, a_job())
    job = claim(db)

    finish(db, job)

    found = get_job(db, job.id)
    assert (found.state, found.ended_at, found.owner) == (JobState.COMPLETED, NOW + 2, "")
    assert [one.role for one in evidence_of_job(db, job.id)] == ["seg0", "seg1"]
    rows = [(d.destination, d.position, d.state) for d, _ in list_deliveries(db)]
    assert sorted(rows) == [
        (name, place, DeliveryState.PENDING) for name in ("a", "b") for place in (0, 1)
    ]
    with db.read() as connection:
        assert set(connection.execute(select(own_uid.c.sop_instance_uid)).scalars()) == {
            "2.25.1.0",
            "2.25.1.1",
        }
    assert outcomes(db, job) == ["completed"]


def test_a_finish_that_fails_leaves_nothing(db: Database):
    insert_job(db, a_job())
    job = claim(db)

    with pytest.raises(Exception, match="UNIQUE"):
        finish(db, job, evidence=[evidence(0), evidence(0)])

    assert get_job(db, job.id) == job
    assert evidence_of_job(db, job.id) == ()
    assert outcomes(db, job) == [""]


# --- ends without a result -------------------------------------------------------------------


def test_a_failed_attempt_is_retried_once(db: Database):
    insert_job(db, a_job())

    assert fail(db, claim(db)) is JobState.SCHEDULED
    assert fail(db, claim(db)) is JobState.FAILED

    (job,) = list_jobs(db)
    assert (job.attempt, job.reason_code, job.reason) == (2, "PLUGIN_CRASHED", "it died")
    assert outcomes(db, job) == ["failed", "failed"]


def test_a_failure_without_retry_ends_the_job(db: Database):
    insert_job(db, a_job())
    job = claim(db)

    state = end_job(
        db, job, "w", state=JobState.FAILED, code="RESULT_INVALID", reason="no", now=NOW
    )

    assert (state, get_job(db, job.id).state) == (JobState.FAILED, JobState.FAILED)


def test_a_refusal_by_the_worker_ends_the_job(db: Database):
    insert_job(db, a_job())
    job = claim(db)

    end_job(db, job, "w", state=JobState.REFUSED, code="VALUES_NOT_HU", reason="no", now=NOW + 1)

    found = get_job(db, job.id)
    assert (found.state, found.reason_code, found.ended_at) == (
        JobState.REFUSED,
        "VALUES_NOT_HU",
        NOW + 1,
    )
    assert insert_job(db, a_job()).id == job.id


def test_lost_leases_and_drains_are_no_failures_of_the_plugin(db: Database):
    insert_job(db, a_job())
    now = NOW
    for _ in range(3):
        claim(db, now=now)
        now += 31
        release_expired(db, now=now)
    assert fail(db, claim(db, now=now), DRAINED) is JobState.SCHEDULED
    for _ in range(3):
        assert fail(db, claim(db, now=now), "STORAGE_UNAVAILABLE") is JobState.SCHEDULED
    assert fail(db, claim(db, now=now)) is JobState.SCHEDULED
    assert fail(db, claim(db, now=now)) is JobState.FAILED


def test_a_job_that_takes_every_worker_down_ends(db: Database):
    insert_job(db, a_job())
    now = NOW
    for _ in range(MOST_LOST_LEASES):
        claim(db, now=now)
        now += 31
        release_expired(db, now=now)

    (job,) = list_jobs(db)
    assert (job.state, job.reason_code) == (JobState.FAILED, "LEASE_LOST")
    assert job.reason == f"the worker fell silent {MOST_LOST_LEASES} times"


def test_a_failed_job_that_a_person_retries_has_all_its_attempts(db: Database):
    insert_job(db, a_job())
    fail(db, claim(db))
    fail(db, claim(db))
    (failed,) = list_jobs(db)

    retry_job(db, failed.id, now=NOW)

    assert fail(db, claim(db)) is JobState.SCHEDULED
    assert claim(db).attempt == 4
    with pytest.raises(NodeError, match="IN PROGRESS; only FAILED and REFUSED"):
        retry_job(db, failed.id, now=NOW)


# --- S14 -------------------------------------------------------------------------------------


def newer(db: Database, keep: str = "") -> int:
    with db.write() as connection:
        return supersede(connection, 1, "r", revision=2, keep=keep, now=NOW)


def test_s14_other_rules_and_equal_work_are_left_alone(db: Database):
    insert_job(db, a_job("keep"))
    insert_job(db, a_job("other rule", rule="q"))
    insert_job(db, a_job("newer", study_revision=2))
    stale = insert_job(db, a_job("stale"))

    assert newer(db, "keep") == 1
    assert [job.id for job in list_jobs(db, states=[JobState.CANCELED])] == [stale.id]


@pytest.mark.parametrize("how", ["fail", "silence"])
def test_s14_a_superseded_run_is_not_tried_again(db: Database, how: str):
    insert_job(db, a_job())
    job = claim(db)
    newer(db)

    if how == "fail":
        assert fail(db, job) is JobState.CANCELED
    else:
        release_expired(db, now=NOW + 31)

    found = get_job(db, job.id)
    assert (found.state, found.reason_code) == (JobState.CANCELED, "SUPERSEDED")


def test_s14_what_a_destination_has_seen_something_of_is_finished(db: Database):
    from node.storage.delivery_rows import claim_due

    insert_job(db, a_job())
    finish(db, claim(db))
    claim_due(db, "a", "sender", now=NOW + 3, lease_s=30)

    assert newer(db) == 0
    assert {d.state for d, _ in list_deliveries(db)} == {DeliveryState.PENDING}


# --- S22 -------------------------------------------------------------------------------------


def test_s22_switched_off_waiting_jobs_wait_and_go_on_afterwards(db: Database):
    insert_job(db, a_job("mine"))
    insert_job(db, a_job("other", plugin="q", created_at=NOW + 1))

    set_plugin_switch(db, "p", off=True, reason="wrong side", now=NOW)

    assert is_plugin_off(db, "p")
    assert plugins_off(db) == {"p": "wrong side"}
    (waiting,) = list_jobs(db, states=[JobState.WAITING])
    assert (waiting.reason_code, "wrong side" in waiting.reason) == ("PLUGIN_DISABLED", True)
    assert claim(db).plugin == "q"
    assert claim_job(db, "w", now=NOW, lease_s=30) is None

    set_plugin_switch(db, "p", off=False, now=NOW)

    assert plugins_off(db) == {}
    assert claim(db).plugin == "p"


def test_s22_the_switch_holds_for_a_job_scheduled_a_moment_later(db: Database):
    set_plugin_switch(db, "p", off=True, now=NOW)
    insert_job(db, a_job())

    assert claim_job(db, "w", now=NOW, lease_s=30) is None


def test_s22_the_switch_stops_evidence_that_has_not_left(db: Database):
    insert_job(db, a_job())
    finish(db, claim(db))

    set_plugin_switch(db, "p", off=True, reason="wrong side", now=NOW)
    stopped = [d for d, _ in list_deliveries(db)]
    set_plugin_switch(db, "p", off=False, now=NOW + 5)
    again = [d for d, _ in list_deliveries(db)]

    assert {d.state for d in stopped} == {DeliveryState.CANCELED}
    assert stopped[0].reason == "PLUGIN_DISABLED: the plugin is switched off (wrong side)"
    assert {(d.state, d.next_attempt_at) for d in again} == {(DeliveryState.PENDING, NOW + 5)}


def test_s22_a_run_that_ends_after_the_switch_is_not_sent(db: Database):
    insert_job(db, a_job())
    job = claim(db)
    set_plugin_switch(db, "p", off=True, now=NOW)

    finish(db, job)

    assert get_job(db, job.id).state is JobState.COMPLETED
    assert {d.state for d, _ in list_deliveries(db)} == {DeliveryState.CANCELED}
