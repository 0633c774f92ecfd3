import errno
import threading
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from node.errors import LeaseLost, StorageUnavailable
from node.model import JobState
from node.storage.job_rows import get_job, insert_job
from node.storage.lease_rows import finish_job, release_expired
from node.worker import Worker
from tests.unit.test_job_rows import NOW, a_job, db  # noqa: F401 (fixture)


def work(database, error) -> tuple[JobState, str]:
    def compute(job, node, runner):
        raise error

    insert_job(database, a_job())
    worker = Worker(SimpleNamespace(db=database), device="cpu", owner="w", compute=compute)
    worker.ask_to_stop()  # so that nothing waits
    job = worker.work_once()
    worker.close()
    assert job is not None
    found = get_job(database, job.id)
    assert found is not None
    return found.state, found.reason


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_job_waits_for_room_on_the_disk(db, number):  # noqa: F811
    state, _ = work(db, OSError(number, "the disk takes nothing"))

    assert state is JobState.SCHEDULED


def test_a_file_that_is_gone_is_a_defect_and_fails_the_job(db):  # noqa: F811
    state, reason = work(db, FileNotFoundError(errno.ENOENT, "gone"))

    assert state is JobState.FAILED
    assert "FileNotFoundError" in reason


def test_s12_a_worker_that_could_not_write_an_end_writes_it_before_the_next_job(db):  # noqa: F811
    asked = []

    def compute(job, node, runner):
        asked.append(job.attempt)
        if len(asked) == 1:
            rename(db, "job", "away")  # a full disk: no row can be written
        raise StorageUnavailable("disk: No space left on device")

    insert_job(db, a_job())
    worker = Worker(SimpleNamespace(db=db), device="cpu", owner="w", compute=compute)
    worker.ask_to_stop()  # so that nothing waits
    with pytest.raises(StorageUnavailable):
        worker.work_once()
    with pytest.raises(StorageUnavailable):
        worker.work_once()
    rename(db, "away", "job")
    job = worker.work_once()
    worker.close()

    assert job is not None and asked == [1, 2]
    assert get_job(db, job.id).state is JobState.SCHEDULED
    assert worker.work_once() is not None  # nothing is left to say of it


def rename(database, old, new) -> None:
    with database.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def beat(database, compute) -> list[dict[str, object]]:
    """What is logged while `compute` runs; it may wait for the end of the heartbeat's thread."""
    insert_job(database, a_job())
    worker = Worker(
        SimpleNamespace(db=database), device="cpu", owner="w", compute=compute, heartbeat_s=0.01
    )
    with capture_logs() as said:
        worker.work_once()
    worker.close()
    return [line for line in said if line["log_level"] == "error"]


def until_the_heart_stops() -> None:
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(10)


def test_a_job_that_ended_has_lost_no_lease(db):  # noqa: F811
    def compute(job, node, runner):
        finish_job(node.db, job, evidence=(), destinations=(), report={}, now=NOW)
        until_the_heart_stops()  # as while the job's folder is removed

    assert beat(db, compute) == []


def test_a_job_that_was_taken_away_is_an_error(db):  # noqa: F811
    def compute(job, node, runner):
        release_expired(node.db, now=time.time() + 3600)
        until_the_heart_stops()
        raise LeaseLost("gone")

    assert [line["event"] for line in beat(db, compute)] == [
        "lease lost",
        "lease lost, result dropped",
    ]
