"""Evidence on disk: the bytes that were checked, once, under a name nobody else takes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from node.results.encode import EncodeRequest, encode
from node.results.request import EncodedObject
from node.results.write import write_evidence
from node.storage.files import Files
from tests.results_case import JOB_ID, ball_result, job, request_of, synthetic_headers


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.prepare()
    return files


def objects() -> tuple[EncodedObject, ...]:
    return encode(request_of(synthetic_headers(), ball_result()))


CHECKS = {"seg": {"identity": "passed"}, "sr": {}}


def test_s01_what_lies_on_disk_is_what_was_encoded_with_its_hash(files: Files) -> None:
    made = objects()

    seg, report = write_evidence(made, CHECKS, files=files, job_id=JOB_ID)

    assert files.absolute(seg.path).read_bytes() == made[0].content
    assert seg.sha256 == hashlib.sha256(made[0].content).hexdigest()
    assert (seg.size_bytes, seg.checks) == (len(made[0].content), {"identity": "passed"})
    assert (seg.role, seg.position, report.role, report.position) == ("seg", 1, "sr", 2)
    assert not list(files.incoming.iterdir())


def test_an_attempt_that_died_before_its_row_is_written_again(files: Files) -> None:
    first = write_evidence(objects(), CHECKS, files=files, job_id=JOB_ID)

    second = write_evidence(objects(), CHECKS, files=files, job_id=JOB_ID)

    assert second == first


def test_s01_a_late_worker_with_other_bytes_changes_no_file_that_a_row_names(
    files: Files,
) -> None:
    (seg, _) = write_evidence(objects(), CHECKS, files=files, job_id=JOB_ID)
    late: EncodeRequest = request_of(
        synthetic_headers(), ball_result(), job=job(started_at=1_790_000_999.0)
    )

    (other, _) = write_evidence(encode(late), CHECKS, files=files, job_id=JOB_ID)

    assert other.sop_instance_uid == seg.sop_instance_uid and other.path != seg.path
    assert hashlib.sha256(files.absolute(seg.path).read_bytes()).hexdigest() == seg.sha256


def test_other_bytes_under_the_same_name_are_an_error(files: Files) -> None:
    made = objects()
    (seg, _) = write_evidence(made, CHECKS, files=files, job_id=JOB_ID)
    path = files.absolute(seg.path)
    path.unlink()
    path.write_bytes(b"something else")

    with pytest.raises(FileExistsError):
        write_evidence([replace(made[0])], CHECKS, files=files, job_id=JOB_ID)
