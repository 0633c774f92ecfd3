"""Withdrawals (S8): who is told what, in which order, and whether the result is really gone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.errors import NodeError, RefusalCode, Refused
from node.model import DeliveryState, WithdrawalState
from node.storage.delivery_rows import evidence_of_job, list_deliveries, retry_failed
from node.storage.job_rows import set_plugin_switch
from node.storage.tables import delivery
from node.storage.withdrawal_rows import count_tasks, end_task, withdrawals
from node.withdrawals import withdraw_job
from tests.results_case import items_of
from tests.withdrawing import IOCM, NOW, STANDARD, WithdrawingSite, place

HIDDEN, VISIBLE = WithdrawalState.HIDDEN, WithdrawalState.VISIBLE
NOT_SENT, UNKNOWN = WithdrawalState.NOT_SENT, WithdrawalState.UNKNOWN


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    opened: list[WithdrawingSite] = []

    def one(*places: Any) -> WithdrawingSite:
        opened.append(WithdrawingSite(tmp_path / str(len(opened)), *places))
        return opened[-1]

    (tmp_path / "0").mkdir()
    yield one
    for site in opened:
        site.db.close()


def notes_at(site: WithdrawingSite, name: str = "pacs") -> list[Any]:
    """Data sets of the notes that a destination keeps."""
    kept = [dcmread(io.BytesIO(content)) for content in site.pacs(name).kept.values()]
    return [ds for ds in kept if "WITHDRAWN" in str(ds.SeriesDescription)]


def test_s08_an_archive_with_iocm_gets_a_rejection_of_every_object_and_hides_them(make):
    site = make(place(profile=IOCM))
    site.pacs().hides_rejected = True
    job = site.run()
    site.deliver()
    assert site.withdraw(job) == 2
    site.settle()
    assert site.states(job) == {HIDDEN}
    (note,) = notes_at(site)
    assert (note.Modality, note.ConceptNameCodeSequence[0].CodeValue) == ("KO", "113001")
    sent = [e.sop_instance_uid for _, e in list_deliveries(site.db) if e.kind in ("seg", "sr")]
    assert set(items_of(note, "ReferencedSOPInstanceUID")) == set(sent)
    assert count_tasks(site.db) == 0
    assert [e.kind for e in site.events][-2:] == ["hidden"] * 2


def test_s08_the_profile_says_which_title_the_rejection_has(make):
    site = make(place(profile=replace(IOCM, iocm="safety")))
    site.withdraw(_delivered(site))
    site.settle()
    assert notes_at(site)[0].ConceptNameCodeSequence[0].CodeValue == "113037"


def _delivered(site: WithdrawingSite, **changes: Any) -> Any:
    job = site.run(**changes)
    site.deliver()
    return job


def test_s08_an_archive_that_does_not_hide_what_is_rejected_is_a_task(make):
    site = make(place(profile=IOCM))
    job = _delivered(site)
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {VISIBLE}
    assert "still found there" in site.taken(job)[0].withdrawal.sentence
    assert count_tasks(site.db) == 2
    assert {e.code for e in site.events if e.kind == "alarm"} == {"WITHDRAWN_NOT_HIDDEN"}


def test_s08_an_archive_without_iocm_gets_a_report_and_never_a_rejection(make):
    site = make(place())
    job = _delivered(site)
    site.withdraw(job)
    site.settle()
    (note,) = notes_at(site)
    assert note.Modality == "SR"
    assert any(t.startswith("WITHDRAWN, see") for t in items_of(note, "TextValue"))
    assert site.states(job) == {VISIBLE}
    assert count_tasks(site.db) == 2


def test_s08_a_task_ends_when_it_is_gone_or_a_person_says_so(make):
    site = make(place())
    job = _delivered(site)
    site.withdraw(job)
    site.settle()
    first, second = site.taken(job)
    site.pacs().kept.pop(first.evidence.sop_instance_uid)
    alarms = len(site.events)
    site.look(NOW + 3700)
    assert {one.evidence.role: one.withdrawal.state for one in site.taken(job)} == {
        first.evidence.role: HIDDEN,
        second.evidence.role: VISIBLE,
    }
    assert [e.kind for e in site.events[alarms:]] == ["hidden"]  # no second alarm
    assert end_task(site.db, second.withdrawal.id, now=NOW)
    assert not end_task(site.db, second.withdrawal.id, now=NOW)
    assert count_tasks(site.db) == 0


def test_s08_each_destination_gets_its_own_note_on_what_it_holds(make):
    site = make(place(profile=IOCM), place("other"), place("research", profile=STANDARD))
    site.pacs().hides_rejected = True
    job = _delivered(site)
    site.withdraw(job)
    site.settle()
    assert [ds.Modality for ds in notes_at(site)] == ["KO"]
    assert [ds.Modality for ds in notes_at(site, "other")] == ["SR"]
    held = {e.sop_instance_uid for d, e in list_deliveries(site.db) if d.destination == "research"}
    named = set(items_of(notes_at(site, "research")[0], "ReferencedSOPInstanceUID"))
    assert {e for e in held if e in site.pacs("research").kept} - named <= {
        str(notes_at(site, "research")[0].SOPInstanceUID)
    }


def test_s08_what_has_not_left_never_leaves_and_needs_no_note(make):
    site = make(place())
    job = site.run()
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {NOT_SENT}
    assert set(site.deliveries(job).values()) == {"CANCELED"}
    assert not site.pacs().kept
    site.deliver(NOW + 5000)
    assert not site.pacs().received


def test_s08_what_is_withdrawn_is_never_sent_again(make):
    site = make(place())
    job = site.run()
    site.set(delivery, state="FAILED", reason="REFUSED_BY_DESTINATION: no")
    site.withdraw(job)
    assert retry_failed(site.db, now=NOW) == 0
    site.settle()
    assert site.states(job) == {NOT_SENT}
    ids = [d.id for d, _ in list_deliveries(site.db, job_id=job.id)]
    assert retry_failed(site.db, now=NOW, ids=ids) == 0


def test_s08_what_may_have_arrived_without_an_answer_is_withdrawn_too(make):
    site = make(place())
    job = site.run()
    site.set(delivery, status="NO ANSWER", attempts=1, next_attempt_at=NOW + 900)
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {HIDDEN}  # looked for, and not there
    assert notes_at(site)


def test_s08_what_another_wrote_under_our_uid_is_left_alone(make):
    site = make(place(profile=IOCM))
    job = site.run()
    site.set(delivery, state="FAILED", sent_at=NOW, reason="CONTENT_DIFFERS: not ours")
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {NOT_SENT}
    assert not site.pacs().received


def test_s08_a_sender_that_holds_it_just_now_is_waited_for(make):
    site = make(place())
    job = site.run()
    site.set(delivery, owner="somebody", lease_until=NOW + 60)
    site.withdraw(job)
    site.settle(NOW)
    assert site.states(job) == {WithdrawalState.REQUESTED}
    site.settle(NOW + 61)
    assert site.states(job) == {NOT_SENT}


def test_s08_the_kill_switch_does_not_stop_what_withdraws(make):
    site = make(place(profile=IOCM))
    site.pacs().hides_rejected = True
    job = _delivered(site)
    set_plugin_switch(site.db, "ball", off=True, reason="swapped sides", now=NOW)
    site.refusal = Refused(RefusalCode.PLUGIN_DISABLED, "switched off here")
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {HIDDEN}


def test_s08_a_note_in_the_outbox_survives_the_kill_switch(make):
    site = make(place(profile=IOCM))
    site.pacs().hides_rejected = True
    job = _delivered(site)
    site.withdraw(job)
    site.pacs().reachable = False
    site.settle()
    set_plugin_switch(site.db, "ball", off=True, reason="swapped sides", now=NOW)
    site.refusal = Refused(RefusalCode.PLUGIN_DISABLED, "switched off here")
    site.pacs().reachable = True
    site.settle(NOW + 7200)
    assert site.states(job) == {HIDDEN}


def test_s08_a_destination_that_is_down_is_asked_later(make):
    site = make(place(profile=IOCM))
    job = _delivered(site)
    site.withdraw(job)
    site.settle()
    site.pacs().reachable = False
    site.look(NOW + 4000)
    assert site.states(job) == {VISIBLE}
    assert "waits" in site.taken(job)[0].withdrawal.sentence


def test_s08_a_note_that_is_refused_there_is_a_task_that_says_so(make):
    site = make(place(profile=IOCM))
    job = _delivered(site)
    site.withdraw(job)
    from node.withdrawals import prepare_withdrawals

    prepare_withdrawals(site.node, now=NOW)
    with site.db.write() as connection:
        connection.execute(
            delivery.update()
            .where(delivery.c.position >= 1000)
            .values(state="FAILED", reason="CONTEXT_REFUSED: takes no Key Object Selection")
        )
    site.look(NOW + 1)
    assert site.states(job) == {VISIBLE}
    assert "takes no Key Object Selection" in site.taken(job)[0].withdrawal.sentence


def test_s08_asked_twice_it_is_withdrawn_once(make):
    site = make(place())
    job = _delivered(site)
    assert (site.withdraw(job), site.withdraw(job)) == (2, 0)
    site.settle()
    site.settle(NOW + 20)
    assert len(notes_at(site)) == 1
    assert site.withdraw(job) == 0  # nor is the note itself withdrawn


def test_s08_an_unknown_job_is_one_sentence(make):
    with pytest.raises(NodeError, match="no job"):
        withdraw_job(make(place()).node, "0" * 32, reason="", now=NOW)


def test_s08_a_destination_that_left_the_settings_is_a_task(make):
    site = make(place(), place("old"))
    job = _delivered(site)
    kept = site.node.settings.destinations[:1]
    site.node = replace(site.node, settings=replace(site.node.settings, destinations=kept))
    site.outlets = site.outlets[:1]
    site.withdraw(job)
    site.settle()
    states = {one.delivery.destination: one.withdrawal.state for one in site.taken(job)}
    assert states == {"pacs": VISIBLE, "old": UNKNOWN}


def test_s08_a_note_that_cannot_be_made_is_a_task(make):
    site = make(place())
    job = _delivered(site)
    for one in evidence_of_job(site.db, job.id):
        if one.role == "sr":
            site.files.absolute(one.path).write_bytes(b"no DICOM any more")
    site.withdraw(job)
    site.settle(NOW)
    states = {one.withdrawal.state for one in site.taken(job)}
    assert states <= {UNKNOWN, VISIBLE}
    assert count_tasks(site.db) == 2
    assert not notes_at(site)


# --- newer results ------------------------------------------------------------------------------


def test_s08_a_rerun_is_proven_first_then_the_old_result_is_withdrawn(make):
    site = make(place(profile=IOCM))
    site.pacs().hides_rejected = True
    old = _delivered(site)
    new = site.run()
    site.pacs().reachable = False
    site.settle()
    assert not site.taken(old)  # nothing of the new one has arrived
    site.pacs().reachable = True
    site.deliver(NOW + 1000)
    assert set(site.deliveries(new).values()) == {"PROVEN"}
    assert not site.taken(old)
    site.settle(NOW + 1010)
    assert site.states(old) == {HIDDEN}
    assert not site.taken(new)
    assert "newer report in series 9" in site.taken(old)[0].withdrawal.see


def test_s08_a_newer_result_that_arrived_in_part_withdraws_nothing(make):
    site = make(place(profile=IOCM))
    old = _delivered(site)
    new = site.run()
    site.pacs()._statuses["sr"] = [0xA900]
    site.settle()
    assert "FAILED" in site.deliveries(new).values()
    assert not site.taken(old)


@pytest.mark.parametrize("state", [DeliveryState.SENT, DeliveryState.ACCEPTED])
def test_s08_a_newer_result_that_is_not_proven_withdraws_nothing(make, state):
    site = make(place(profile=IOCM))
    old = _delivered(site)
    site.run()
    site.deliver()
    with site.db.write() as connection:
        connection.execute(
            delivery.update()
            .where(delivery.c.job_id != old.id)
            .values(state=state.value, next_attempt_at=NOW + 1e6)
        )
    site.settle()
    assert not site.taken(old)


def test_s08_a_new_version_of_the_plugin_never_replaces_by_itself(make):
    site = make(place(profile=IOCM))
    old = _delivered(site)
    new = site.run(plugin_version="1.3.0", plugin_digest="cd" * 32)
    site.settle()
    assert set(site.deliveries(new).values()) == {"PROVEN"}
    assert not site.taken(old)


@pytest.mark.parametrize("other", [{"rule": "another"}, {"plugin": "another"}])
def test_s08_another_question_replaces_nothing(make, other):
    site = make(place(profile=IOCM))
    old = _delivered(site)
    site.run(**other)
    site.settle()
    assert not site.taken(old)


def test_s08_only_where_the_newer_result_is_the_old_one_goes(make):
    site = make(place(profile=IOCM), place("other", profile=IOCM))
    old = _delivered(site)
    site.run(to=["pacs"])
    site.settle()
    assert {one.delivery.destination for one in site.taken(old)} == {"pacs"}


def test_s08_a_withdrawn_newer_result_replaces_nothing(make):
    site = make(place(profile=IOCM))
    old = _delivered(site)
    new = site.run()
    site.deliver()
    site.withdraw(new)
    site.settle()
    assert not site.taken(old)


# --- did not run --------------------------------------------------------------------------------


def test_s07_did_not_run_is_withdrawn_when_a_later_run_succeeds(make):
    site = make(place(profile=IOCM))
    site.pacs().hides_rejected = True
    refused = site.refuse()
    site.settle()
    assert site.deliveries(refused) == {("pacs", "notrun"): "PROVEN"}
    assert not site.taken()
    site.run(plugin_version="1.3.0", plugin_digest="cd" * 32)  # whichever version answers
    site.settle(NOW + 100)
    assert site.states(refused) == {HIDDEN}
    (note,) = notes_at(site)
    assert note.Modality == "KO"


def test_s07_did_not_run_is_withdrawn_when_the_same_job_succeeds_after_a_retry(make):
    site = make(place())
    refused = site.refuse()
    site.settle()
    site.add_result(refused)
    site.settle(NOW + 100)
    (taken,) = site.taken(refused)
    assert (taken.evidence.role, taken.withdrawal.reason) == ("notrun", "the plugin ran later")
    assert [ds.Modality for ds in notes_at(site)] == ["SR"]


def test_s07_a_later_did_not_run_replaces_the_earlier_and_no_result(make):
    site = make(place(profile=IOCM))
    result = _delivered(site)
    first = site.refuse()
    site.settle()
    second = site.refuse()
    site.settle(NOW + 100)
    assert site.taken(first)
    assert not site.taken(second)
    assert not site.taken(result)


def test_s08_listings_are_newest_first_and_by_job(make):
    site = make(place())
    first, second = _delivered(site), _delivered(site, rule="other")
    site.withdraw(first)
    site.withdraw(second)
    found = withdrawals(site.db)
    assert [one.delivery.job_id for one in found] == [second.id] * 2 + [first.id] * 2
    assert len(withdrawals(site.db, limit=1)) == 1
    assert {one.delivery.job_id for one in withdrawals(site.db, jobs=[first.id])} == {first.id}
