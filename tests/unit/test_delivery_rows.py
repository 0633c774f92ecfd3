import multiprocessing

import pytest
from sqlalchemy import update

from node.errors import LeaseLost
from node.model import DeliveryState, IllegalChange
from node.storage.database import Database
from node.storage.delivery_rows import (
    NO_ANSWER,
    Outcome,
    claim_due,
    count_deliveries,
    evidence_of_job,
    give_back,
    hasten,
    list_deliveries,
    oldest_pending,
    postpone,
    record,
    renew,
    retry_failed,
)
from node.storage.tables import delivery
from tests.delivering import open_outbox

JOB_1, JOB_2 = f"{1:032x}", f"{2:032x}"


@pytest.fixture
def box(tmp_path):
    with open_outbox(tmp_path) as outbox:
        yield outbox


def claim(box, *, now=10.0, owner="me", destination="pacs", lease_s=60.0):
    return claim_due(box.db, destination, owner, now=now, lease_s=lease_s)


def failed(reason="X: y"):
    return Outcome(state=DeliveryState.FAILED, status="A900", reason=reason, tried=True)


def test_s25_the_oldest_job_is_claimed_whole_and_in_order(box):
    box.add_job(created_at=5.0)
    box.add_job(created_at=1.0)
    claimed = claim(box)
    assert claimed.job_id == JOB_2
    assert [item.evidence.role for item in claimed.items] == ["seg", "sr"]
    assert claim(box).job_id == JOB_1
    assert claim(box) is None


def test_claims_of_destinations_are_independent(box):
    box.add_job(["pacs", "folder"])
    assert claim(box, destination="pacs") is not None
    assert claim(box, destination="folder") is not None
    assert claim(box, destination="nowhere") is None


def test_what_is_not_due_is_not_claimed(box):
    box.add_job(created_at=100.0)
    assert claim(box, now=99.0) is None
    assert claim(box, now=100.0) is not None


def test_one_association_per_job_a_part_held_elsewhere_keeps_the_rest_back(box):
    box.add_job()
    with box.db.write() as connection:
        connection.execute(
            update(delivery).where(delivery.c.id == 1).values(owner="other", lease_until=50.0)
        )
    assert claim(box, now=49.0) is None
    assert len(claim(box, now=50.0).items) == 2


def test_e01_a_dead_senders_lease_ends_and_a_kept_one_does_not(box):
    box.add_job()
    ids = [item.delivery.id for item in claim(box, now=10.0).items]
    assert claim(box, now=69.0, owner="other") is None
    renew(box.db, ids, "me", now=60.0, lease_s=60.0)
    assert claim(box, now=119.0, owner="other") is None
    assert claim(box, now=120.0, owner="other") is not None


def test_e01_a_sender_whose_lease_was_taken_changes_nothing(box):
    box.add_job()
    mine = claim(box, now=10.0).items[0].delivery
    claim(box, now=100.0, owner="other")
    with pytest.raises(LeaseLost):
        record(box.db, mine, "me", failed(), now=101.0)
    renew(box.db, [mine.id], "me", now=101.0, lease_s=1000.0)
    give_back(box.db, "pacs", "me")
    assert box.states() == ["PENDING", "PENDING"]
    assert claim(box, now=102.0, owner="third") is None


def test_s24_sent_and_proven_are_dated_facts_of_their_own(box):
    box.add_job()
    held = claim(box).items[0].delivery
    sent = record(
        box.db,
        held,
        "me",
        Outcome(state=DeliveryState.SENT, status="0000", tried=True, keep=True),
        now=11.0,
    )
    assert (sent.sent_at, sent.proven_at, sent.attempts) == (11.0, None, 1)
    again = record(
        box.db, sent, "me", Outcome(state=DeliveryState.SENT, status="0000", keep=True), now=12.0
    )
    assert (again.sent_at, again.attempts) == (11.0, 1)
    proven = record(box.db, again, "me", Outcome(state=DeliveryState.PROVEN), now=13.0)
    assert (proven.state, proven.sent_at, proven.proven_at) == (DeliveryState.PROVEN, 11.0, 13.0)


def test_an_illegal_change_is_a_defect_and_writes_nothing(box):
    box.add_job()
    held = claim(box).items[0].delivery
    with pytest.raises(IllegalChange):
        record(box.db, held, "me", Outcome(state=DeliveryState.PROVEN), now=1.0)
    assert box.states() == ["PENDING", "PENDING"]


def test_s25_an_object_that_breaks_every_connection_goes_last_in_the_end(box):
    box.add_job()

    def first_role(attempts, status):
        with box.db.write() as connection:
            connection.execute(
                update(delivery)
                .where(delivery.c.id == 1)
                .values(attempts=attempts, status=status, owner="", lease_until=None)
            )
        box.set(owner="", lease_until=None)
        return claim(box).items[0].evidence.role

    assert first_role(2, NO_ANSWER) == "seg"
    assert first_role(3, NO_ANSWER) == "sr"
    assert first_role(30, "A700") == "seg"
    assert first_role(30, "UNREACHABLE") == "seg"


def test_retry_restarts_dead_letters_all_or_chosen(box):
    box.add_job()
    for item in claim(box).items:
        record(box.db, item.delivery, "me", failed(), now=11.0)
    assert retry_failed(box.db, now=20.0, ids=[1]) == 1
    assert box.states() == ["PENDING", "FAILED"]
    assert retry_failed(box.db, now=21.0) == 1
    rows = box.rows()
    assert [(r.attempts, r.status, r.reason) for r in rows] == [(0, "", "")] * 2
    assert [r.next_attempt_at for r in rows] == [20.0, 21.0]


def test_retry_leaves_what_was_canceled_unless_it_is_named(box):
    box.add_job()
    box.set(state="CANCELED")
    assert retry_failed(box.db, now=1.0) == 0
    assert retry_failed(box.db, now=1.0, ids=[2]) == 1
    assert box.states() == ["CANCELED", "PENDING"]


def test_retry_touches_nothing_that_is_stored_or_proven(box):
    box.add_job()
    box.set(state="PROVEN")
    assert retry_failed(box.db, now=1.0, ids=[1, 2]) == 0


def test_a_closed_destination_makes_its_own_wait_and_no_others(box):
    box.add_job(["pacs", "folder"])
    postpone(box.db, "pacs", until=500.0)
    assert claim(box, now=499.0) is None
    assert claim(box, now=499.0, destination="folder") is not None
    hasten(box.db, "pacs", ("",), now=100.0)
    assert claim(box, now=100.0) is not None


def test_a_destination_that_is_back_hastens_only_what_waited_for_it(box):
    box.add_job()
    box.set(status="0110", next_attempt_at=900.0)
    hasten(box.db, "pacs", ("", "UNREACHABLE"), now=100.0)
    assert claim(box, now=899.0) is None


def test_lists_are_newest_first_and_filtered(box):
    box.add_job(["pacs", "folder"], created_at=1.0)
    box.add_job(["pacs"], created_at=2.0)
    listed = list_deliveries(box.db)
    assert [d.job_id for d, _ in listed] == [JOB_2] * 2 + [JOB_1] * 4
    assert [e.role for _, e in listed[:2]] == ["seg", "sr"]
    assert len(list_deliveries(box.db, limit=3)) == 3
    assert len(list_deliveries(box.db, destination="folder")) == 2
    assert len(list_deliveries(box.db, job_id=JOB_2)) == 2
    assert list_deliveries(box.db, states=[DeliveryState.FAILED]) == ()
    assert [e.role for e in evidence_of_job(box.db, JOB_1)] == ["seg", "sr"]


def test_counts_and_the_longest_wait_for_metrics(box):
    box.add_job(["pacs", "folder"], created_at=3.0)
    box.add_job(["pacs"], created_at=7.0)
    record(box.db, claim(box).items[0].delivery, "me", failed(), now=11.0)
    assert count_deliveries(box.db) == {
        ("folder", DeliveryState.PENDING): 2,
        ("pacs", DeliveryState.FAILED): 1,
        ("pacs", DeliveryState.PENDING): 3,
    }
    assert oldest_pending(box.db) == {"folder": 3.0, "pacs": 3.0}


def _claim_all(url, owner, results):
    db = Database(url)
    jobs = []
    while claimed := claim_due(db, "pacs", owner, now=10.0, lease_s=1000.0):
        jobs.append(claimed.job_id)
    results.put(jobs)
    db.close()


def test_e01_three_processes_claim_each_job_once(box):
    for _ in range(30):
        box.add_job()
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=_claim_all, args=(box.db.url, f"p{n}", results)) for n in range(3)
    ]
    for process in processes:
        process.start()
    claimed = [job for _ in processes for job in results.get(timeout=60)]
    for process in processes:
        process.join()
    assert len(claimed) == len(set(claimed)) == 30
