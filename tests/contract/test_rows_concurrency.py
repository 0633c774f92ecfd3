"""E1: several processes at one database lose nothing and do nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.model import Job, JobState
from node.storage.database import Database
from node.storage.intake_rows import NewInstance, record_instance
from node.storage.job_rows import get_job, insert_job_in
from node.storage.lease_rows import claim_job, finish_job, release_expired
from node.storage.migrate import migrate
from node.storage.presence_rows import acquire_leadership
from tests.contract.processes import count_in_processes, outputs, start


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path / 'node.db'}"
    migrate(made, tmp_path)
    return made


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def test_three_processes_increment_a_row_and_nothing_is_lost(url: str, db: Database) -> None:
    assert count_in_processes(url, db, processes=3, times=500) == 1500


def test_one_engine_sweeps_until_its_lease_is_over(db: Database) -> None:
    assert acquire_leadership(db, "engine", "a", now=1000.0, lease_s=30.0)
    assert not acquire_leadership(db, "engine", "b", now=1029.0, lease_s=30.0)
    assert acquire_leadership(db, "engine", "a", now=1029.0, lease_s=30.0)
    assert not acquire_leadership(db, "engine", "b", now=1031.0, lease_s=30.0)
    assert acquire_leadership(db, "engine", "b", now=1060.0, lease_s=30.0)
    assert not acquire_leadership(db, "engine", "a", now=1061.0, lease_s=30.0)


def a_job(number: int) -> Job:
    return Job(
        id=f"{number:032x}",
        study_instance_uid="1.2.3",
        study_revision=1,
        rule="r",
        plugin="p",
        plugin_version="1",
        plugin_digest="0" * 64,
        state=JobState.SCHEDULED,
        reason_code="",
        reason="",
        fingerprint=f"{number:064x}",
        run_number=1,
        inputs=(),
        destinations=(),
        attempt=0,
        created_at=1000.0,
        started_at=None,
        ended_at=None,
    )


def fill(db: Database, jobs: int) -> None:
    record_instance(
        db,
        NewInstance(
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.1",
            sop_instance_uid="1.2.3.1.1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            modality="CT",
            content_sha256="0" * 64,
            pixel_sha256="",
            path="x",
            size_bytes=1,
            received_at=1000.0,
            calling_ae="CT1",
            called_ae="SENTINEL",
            peer="",
        ),
    )
    with db.write() as connection:
        for number in range(jobs):
            insert_job_in(connection, a_job(number))


def test_four_processes_claim_a_thousand_jobs_each_once(url: str, db: Database) -> None:
    fill(db, 1000)
    texts = outputs([start("claim", url, f"worker-{n}") for n in range(4)], timeout_s=120)
    claimed = [line for text in texts for line in text.split()]
    assert len(claimed) == 1000
    assert len(set(claimed)) == 1000


@contextmanager
def a_sleeping_worker(url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a worker that claimed a job and was stopped, and the job's id."""
    with start("late", url, "sleeper") as sleeper:
        try:
            assert sleeper.stdout is not None
            job_id = sleeper.stdout.readline().strip()
            os.kill(sleeper.pid, signal.SIGSTOP)
            yield sleeper, job_id
        finally:
            if sleeper.poll() is None:
                sleeper.kill()


def wake(sleeper: subprocess.Popen[str]) -> list[str]:
    """Let the worker go on with its job; return what it says."""
    os.kill(sleeper.pid, signal.SIGCONT)
    text, _ = sleeper.communicate("go\n", timeout=60)
    assert sleeper.returncode == 0
    return text.splitlines()


def test_a_worker_that_slept_past_its_lease_changes_nothing(url: str, db: Database) -> None:
    fill(db, 1)
    with a_sleeping_worker(url) as (sleeper, job_id):
        later = time.time() + 3600.0
        release_expired(db, now=later)
        taken = claim_job(db, "other", now=later, lease_s=600.0)
        assert taken is not None
        finish_job(db, taken, evidence=(), destinations=(), report={}, now=later)
        assert wake(sleeper) == ["heartbeat refused", "finish refused"]
    found = get_job(db, job_id)
    assert (found.state, found.attempt) == (JobState.COMPLETED, taken.attempt)
    assert found.ended_at == later


def test_a_worker_that_slept_cannot_end_what_another_runs_now(url: str, db: Database) -> None:
    fill(db, 1)
    with a_sleeping_worker(url) as (sleeper, job_id):
        later = time.time() + 3600.0
        release_expired(db, now=later)
        taken = claim_job(db, "other", now=later, lease_s=600.0)
        assert wake(sleeper) == ["heartbeat refused", "finish refused"]
    assert taken is not None
    assert get_job(db, job_id).state is JobState.IN_PROGRESS
    finish_job(db, taken, evidence=(), destinations=(), report={}, now=later + 1.0)
    assert get_job(db, job_id).state is JobState.COMPLETED
