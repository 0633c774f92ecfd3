import errno
from types import SimpleNamespace

import pytest

from node.model import JobState
from node.storage.job_rows import get_job, insert_job
from node.worker import Worker
from tests.unit.test_job_rows import a_job, db  # noqa: F401 (fixture)


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
