"""One commit for several instances, and what happens to the others when one fails."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import event

from node.errors import StorageUnavailable
from node.intake.group import GroupCommit
from node.storage import tables
from node.storage.database import Database
from node.storage.intake_rows import NewInstance, Recorded, instances_of_study

NEW = NewInstance(
    study_instance_uid="1.2",
    series_instance_uid="1.2.1",
    sop_instance_uid="1.2.1.0",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    modality="CT",
    content_sha256="0" * 64,
    pixel_sha256="",
    path="studies/x.dcm",
    size_bytes=1,
    received_at=1.0,
    calling_ae="A",
    called_ae="B",
    peer="p",
)


def instance(number, **changes):
    return replace(NEW, sop_instance_uid=f"1.2.1.{number}", **changes)


@pytest.fixture
def db(tmp_path):
    db = Database(f"sqlite:///{tmp_path}/node.db")
    tables.metadata.create_all(db.engine)
    yield db
    db.close()


def recorded_together(db, arrived):
    """Record from a thread each, all gathered behind a commit that is under way."""
    group, outcomes = GroupCommit(db), {}

    def record(new):
        try:
            outcomes[new.sop_instance_uid] = group.record(new)
        except StorageUnavailable as error:
            outcomes[new.sop_instance_uid] = error

    threads = [threading.Thread(target=record, args=(new,)) for new in arrived]
    with group._turn:
        for thread in threads:
            thread.start()
        while len(group._waiting) < len(arrived):
            threads[0].join(0.001)
    for thread in threads:
        thread.join()
    return [outcomes[new.sop_instance_uid] for new in arrived]


def test_one_alone_is_recorded_at_once(db):
    group = GroupCommit(db)
    assert group.record(NEW) is Recorded.NEW
    assert group.record(NEW) is Recorded.SAME
    assert group.record(replace(NEW, content_sha256="1" * 64)) is Recorded.VERSION


def test_e02_those_that_wait_share_one_commit(db):
    commits = []
    event.listen(db.engine, "commit", lambda _: commits.append(1))
    arrived = [instance(number, study_instance_uid=f"1.{9 - number % 3}") for number in range(8)]
    assert recorded_together(db, arrived) == [Recorded.NEW] * 8
    assert len(commits) == 1
    assert sum(len(instances_of_study(db, f"1.{study}")) for study in (7, 8, 9)) == 8


def test_s12_one_that_fails_does_not_take_the_others_with_it(db):
    arrived = [instance(1), instance(2, size_bytes=object()), instance(3)]
    first, second, third = recorded_together(db, arrived)
    assert (first, third) == (Recorded.NEW, Recorded.NEW)
    assert isinstance(second, StorageUnavailable)
    assert len(instances_of_study(db, "1.2")) == 2


def test_e02_one_that_is_coming_shares_the_commit_and_one_that_gave_up_is_not_waited_for(db):
    commits = []
    event.listen(db.engine, "commit", lambda _: commits.append(1))
    group, ready = GroupCommit(db, patience_s=60.0), threading.Barrier(3)

    def arrive(new):
        with group.coming():
            ready.wait()
            if new is not None:
                group.record(new)

    threads = [
        threading.Thread(target=arrive, args=(new,)) for new in (instance(1), instance(2), None)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(commits) == 1
    assert len(instances_of_study(db, "1.2")) == 2


def test_one_that_takes_long_is_waited_for_only_a_moment(db):
    group, gone = GroupCommit(db), threading.Event()

    def dawdle():
        with group.coming():
            gone.wait(30)

    slow = threading.Thread(target=dawdle)
    slow.start()
    while not group._coming:
        slow.join(0.001)
    assert group.record(NEW) is Recorded.NEW
    gone.set()
    slow.join()
