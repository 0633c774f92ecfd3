"""Rows of what came in: new, same, other version; which arrivals re-open a study."""

from dataclasses import replace

import pytest

from node.model import IllegalChange, InstanceState, Origin, StudyState
from node.storage import tables
from node.storage.database import Database
from node.storage.intake_rows import (
    NewInstance,
    NewQuarantine,
    OpenAssociation,
    Recorded,
    acquire_leadership,
    change_instances,
    change_study,
    clear_receiver,
    close_association,
    find_version,
    get_study,
    instances_of_study,
    list_quarantine,
    list_studies,
    note_own_uids,
    open_association,
    open_associations,
    record_instance,
    record_quarantine,
    resign_leadership,
    studies_in_state,
    unresolved_instances,
    versions_of,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
RECEIVING, COMPLETE = StudyState.RECEIVING, StudyState.COMPLETE
ROUTED, HELD = StudyState.ROUTED, StudyState.HELD


@pytest.fixture
def db(tmp_path):
    db = Database(f"sqlite:///{tmp_path}/node.db")
    tables.metadata.create_all(db.engine)
    yield db
    db.close()


def an_instance(sop="1.2.3", content="a", at=100.0, **changes):
    values = {
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.1",
        "sop_instance_uid": sop,
        "sop_class_uid": CT,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "CT",
        "content_sha256": content * 64,
        "pixel_sha256": "",
        "path": f"studies/1.2/1.2.1/{sop}.{content}.dcm",
        "size_bytes": 10,
        "received_at": at,
        "calling_ae": "SCANNER",
        "called_ae": "NODE",
        "peer": "ct",
    }
    return NewInstance(**{**values, **changes})


def test_first_instance_makes_study_series_and_row(db):
    assert record_instance(db, an_instance()) is Recorded.NEW
    study = get_study(db, "1.2")
    assert (study.state, study.revision, study.peer) == (RECEIVING, 0, "ct")
    (instance,) = instances_of_study(db, "1.2")
    assert instance.state is InstanceState.STORED
    assert instance.origin is Origin.ROUTED
    assert instance.modality == "CT"
    assert find_version(db, "1.2.3", "a" * 64) == instance


def test_s02_same_bytes_again_are_stored_once(db):
    record_instance(db, an_instance())
    assert record_instance(db, an_instance(at=110.0)) is Recorded.SAME
    assert len(instances_of_study(db, "1.2")) == 1
    assert get_study(db, "1.2").last_received_at == 110.0


def test_s02_other_bytes_under_one_uid_are_kept_unresolved(db):
    record_instance(db, an_instance())
    assert record_instance(db, an_instance(content="b")) is Recorded.VERSION
    states = [instance.state for instance in versions_of(db, "1.2.3")]
    assert states == [InstanceState.STORED, InstanceState.UNRESOLVED]
    (waiting,) = unresolved_instances(db)
    change_instances(db, {waiting.id: InstanceState.CONFLICT})
    assert not unresolved_instances(db)


def test_s02_other_bytes_in_another_study_are_a_version_too(db):
    record_instance(db, an_instance())
    moved = an_instance(content="b", study_instance_uid="1.9", path="elsewhere")
    assert record_instance(db, moved) is Recorded.VERSION


@pytest.mark.parametrize("state", [COMPLETE, ROUTED, HELD])
@pytest.mark.parametrize(
    ("changes", "reopens"),
    [
        ({}, True),
        ({"sop_class_uid": SEG, "modality": "SEG"}, True),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.481.3", "modality": "RTSTRUCT"}, True),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33", "modality": "SR"}, False),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.59", "modality": "KO"}, False),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.67", "modality": ""}, False),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.11.1", "modality": "PR"}, False),
        ({"origin": Origin.RETRIEVED}, False),
        ({"sop_instance_uid": "7.7.7"}, False),  # ours
    ],
)
def test_s14_what_reopens_a_study(db, state, changes, reopens):
    with db.write() as connection:
        note_own_uids(connection, ["7.7.7"], 1.0)
    record_instance(db, an_instance())
    change_study(db, "1.2", RECEIVING, COMPLETE, now=200.0, reason="quiet")
    if state is not COMPLETE:
        change_study(db, "1.2", COMPLETE, state, now=201.0)
    late = replace(an_instance(sop="1.2.4", content="c", at=300.0), **changes)
    assert record_instance(db, late) is Recorded.NEW
    assert get_study(db, "1.2").state is (RECEIVING if reopens else state)


def test_s14_the_same_bytes_again_reopen_nothing(db):
    record_instance(db, an_instance())
    change_study(db, "1.2", RECEIVING, COMPLETE, now=200.0, reason="quiet")
    record_instance(db, an_instance(at=300.0))
    assert get_study(db, "1.2").state is COMPLETE


def test_s17_ours_is_what_our_table_says(db):
    with db.write() as connection:
        note_own_uids(connection, ["1.2.3", "1.2.3"], 1.0)
        note_own_uids(connection, ["1.2.3"], 2.0)
    record_instance(db, an_instance(sop_class_uid=SEG, modality="SEG"))
    assert instances_of_study(db, "1.2")[0].origin is Origin.OWN


def test_completion_counts_revisions_and_keeps_its_reason(db):
    record_instance(db, an_instance())
    assert change_study(db, "1.2", RECEIVING, COMPLETE, now=200.0, reason="quiet for 120 s")
    study = get_study(db, "1.2")
    assert (study.revision, study.completed_at, study.completed_reason) == (
        1,
        200.0,
        "quiet for 120 s",
    )
    assert studies_in_state(db, COMPLETE) == (study,)


def test_a_change_from_a_state_that_is_gone_changes_nothing(db):
    record_instance(db, an_instance())
    assert change_study(db, "1.2", RECEIVING, COMPLETE, now=200.0)
    assert not change_study(db, "1.2", RECEIVING, COMPLETE, now=201.0)
    assert get_study(db, "1.2").revision == 1


def test_s13_an_arrival_during_the_decision_stops_completion(db):
    record_instance(db, an_instance(at=100.0))
    record_instance(db, an_instance(sop="1.2.4", content="b", at=150.0))
    assert not change_study(db, "1.2", RECEIVING, COMPLETE, now=220.0, unless_after=100.0)
    assert change_study(db, "1.2", RECEIVING, COMPLETE, now=270.0, unless_after=150.0)


def test_illegal_changes_are_defects(db):
    with pytest.raises(IllegalChange):
        change_study(db, "1.2", RECEIVING, ROUTED, now=1.0)


def test_lists_are_latest_first(db):
    record_instance(db, an_instance(at=1.0))
    record_instance(db, an_instance(sop="9", content="b", at=2.0, study_instance_uid="1.3"))
    assert [study.study_instance_uid for study in list_studies(db)] == ["1.3", "1.2"]
    assert [study.study_instance_uid for study in list_studies(db, limit=1, offset=1)] == ["1.2"]


def test_quarantine_holds_the_same_bytes_once(db):
    new = NewQuarantine(
        received_at=1.0,
        code="TOO_DEEP",
        sentence="sequences nested deeper than 32",
        path="quarantine/a.dcm",
        sha256="a" * 64,
        size_bytes=5,
        sop_instance_uid="1.2.3",
        sop_class_uid=CT,
        study_instance_uid="1.2",
        calling_ae="A",
        called_ae="B",
    )
    record_quarantine(db, new)
    record_quarantine(db, replace(new, received_at=2.0))
    assert list_quarantine(db) == (new,)


def _association(number, calling="A", receiver="host:1:x", peer="pa"):
    return OpenAssociation(
        id=str(number), peer=peer, calling_ae=calling, receiver=receiver, opened_at=float(number)
    )


def test_limits_hold_over_all_receivers(db):
    assert open_association(db, _association(1, receiver="host:1:x"), limit=2)
    assert open_association(db, _association(2, receiver="host:2:y"), limit=2)
    assert not open_association(db, _association(3), limit=2)
    assert open_association(db, _association(4, calling="B", peer="pb"), limit=2)
    close_association(db, "1")
    assert open_association(db, _association(5), limit=2)
    assert [row.id for row in open_associations(db, peer="pa")] == ["2", "5"]
    assert clear_receiver(db, "host:1:x") == 2
    assert [row.id for row in open_associations(db)] == ["2"]


def test_one_engine_leads(db):
    assert acquire_leadership(db, "engine", "a", 0.0, 10.0)
    assert not acquire_leadership(db, "engine", "b", 5.0, 10.0)
    assert acquire_leadership(db, "engine", "a", 8.0, 10.0)
    assert not acquire_leadership(db, "engine", "b", 17.0, 10.0)
    assert acquire_leadership(db, "engine", "b", 18.0, 10.0)
    assert not acquire_leadership(db, "engine", "a", 19.0, 10.0)
    resign_leadership(db, "engine", "a")
    resign_leadership(db, "engine", "b")
    assert acquire_leadership(db, "engine", "a", 19.0, 10.0)
