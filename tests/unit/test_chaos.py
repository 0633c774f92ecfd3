"""The judge is judged: a checker of storms that finds nothing would prove nothing."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from node.phantom.archive import dataset_sha256
from node.phantom.study import make_ct_study
from tests.chaos.checker import Checker, silent
from tests.chaos.plan import Image, draw
from tests.chaos.rows import Rows
from tests.chaos.senders import Material

IMAGE = Image(study=0, number=0)


@pytest.fixture
def storm(tmp_path: Path):
    """A run of one study of two images that went well, as rows, files and an archive."""
    study = make_ct_study(tmp_path / "in", shape=(2, 8, 8), now=0.0)
    images = [Image(study=0, number=n) for n in range(2)]
    paths = dict(zip(images, study.paths, strict=True))
    shas = {image: dataset_sha256(path) for image, path in paths.items()}
    uids = dict(zip(images, study.sop_instance_uids, strict=True))
    data = tmp_path / "data"
    for folder in ("studies/1/2", "evidence"):
        (data / folder).mkdir(parents=True)
    sqlite3.connect(data / "node.db").close()
    rows = []
    for number, image in enumerate(images):
        relative = f"studies/1/2/{number}.dcm"
        (data / relative).write_bytes(paths[image].read_bytes())
        key = {"sop_instance_uid": uids[image], "content_sha256": shas[image]}
        rows.append({"id": number, "state": "STORED", "path": relative, **key})
    result = data / "evidence" / "seg.dcm"
    result.write_bytes(paths[images[0]].read_bytes())
    archived = SimpleNamespace(sop_instance_uid="9.9", sha256=shas[images[0]], path="x")
    site = SimpleNamespace(data=data)
    archive = SimpleNamespace(received=[archived], hashes=lambda: {"9.9": {archived.sha256}})
    material = Material(
        paths=paths, sha256=shas, study_uids=(study.study_instance_uid,), sop_uids=uids
    )
    job = {"id": "j", "study_id": 1, "rule": "r", "uids": frozenset(uids.values())}
    job |= {"fingerprint": "f", "state": "COMPLETED", "reason_code": "", "reason": ""}
    sha256 = hashlib.sha256(result.read_bytes()).hexdigest()
    evidence = {"id": 1, "job_id": "j", "role": "seg", "sop_instance_uid": "9.9"}
    delivery = {"id": 1, "job_id": "j", "evidence_id": 1, "state": "PROVEN", "reason": ""}
    found = Rows(
        study=(
            {
                "id": 1,
                "study_instance_uid": study.study_instance_uid,
                "state": "ROUTED",
                "completed_reason": "",
            },
        ),
        instance=tuple(rows),
        decision=(),
        job=(job,),
        evidence=({**evidence, "path": "evidence/seg.dcm", "sha256": sha256},),
        delivery=(delivery,),
        withdrawal=(),
        leader=(),
        association=(),
    )
    checker = Checker(draw(1), material, site, archive)  # type: ignore[arg-type]
    return SimpleNamespace(
        rows=found, checker=checker, data=data, archive=archive, acknowledged=set(images)
    )


def complaints(storm) -> str:
    return "\n".join(
        storm.checker.pending(storm.rows, storm.acknowledged)
        + storm.checker.broken(storm.rows, storm.acknowledged)
    )


def test_a_run_that_went_well_has_no_complaint(storm):
    assert complaints(storm) == ""


def lose_a_file(storm):
    (storm.data / storm.rows.instance[0]["path"]).unlink()


def change_a_byte(storm):
    path = storm.data / storm.rows.instance[0]["path"]
    path.write_bytes(path.read_bytes()[:-1] + b"\7")


def forget_a_row(storm):
    storm.rows.instance[0]["content_sha256"] = "0" * 64


def two_contents(storm):
    storm.archive.hashes = lambda: {"9.9": {"a", "b"}}


def lose_a_result(storm):
    storm.archive.received.clear()


def send_what_nobody_made(storm):
    storm.archive.hashes = lambda: {"9.8": {"a"}}


def forget_a_job(storm):
    storm.rows.job[0]["uids"] = frozenset()


def leave_a_delivery(storm):
    storm.rows.delivery[0]["state"] = "PENDING"


def leave_a_study(storm):
    storm.rows.study[0]["state"] = "RECEIVING"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose_a_file, "has a row and no file"),
        (change_a_byte, "holds other bytes"),
        (forget_a_row, "was acknowledged and has no row"),
        (two_contents, "2 different contents"),
        (lose_a_result, "the archive has it not"),
        (send_what_nobody_made, "nobody made it"),
        (forget_a_job, "no COMPLETED job"),
        (leave_a_delivery, "delivery 1 is PENDING"),
        (leave_a_study, "study 0 is RECEIVING"),
    ],
)
def test_the_checker_finds(storm, harm, words):
    harm(storm)

    assert words in complaints(storm)


@pytest.mark.parametrize(
    ("state", "ended"), [("REQUESTED", False), ("PREPARED", False), ("VISIBLE", True)]
)
def test_an_answer_lost_before_a_newer_result_ends_with_its_withdrawal(storm, state, ended):
    lost = {**storm.rows.delivery[0], "state": "CANCELED", "status": "NO ANSWER"}
    lost["reason"] = "WITHDRAWN: a newer result replaces it"
    rows = replace(
        storm.rows, delivery=(lost,), withdrawal=({"delivery_id": lost["id"], "state": state},)
    )

    pending = storm.checker.pending(rows, storm.acknowledged)

    assert (pending == []) == ended


def test_a_dead_letter_without_an_alarm_is_a_problem(storm):
    storm.rows.delivery[0]["state"] = "FAILED"

    assert silent(storm.rows, "all quiet") == ["1 dead letters without an alarm"]
    assert silent(storm.rows, '"event": "alarm: delivery needs a person"') == []


def test_the_same_seed_gives_the_same_plan():
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert all(draw(seed).faults for seed in range(50))
