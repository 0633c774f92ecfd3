"""The outbox over a destination in memory; time is passed in."""

from dataclasses import replace

import pytest

from node.delivery.answers import Verdict, answer_without_status
from node.delivery.deliver import EventKind, deliver_destination, deliver_next
from node.delivery.destination import MemoryDestination
from node.delivery.proof import Proof, ProofKind, ProofOutcome
from node.delivery.turn import IDENTITY_HOLD
from node.errors import RefusalCode, Refused, StorageUnavailable
from node.storage.delivery_rows import claim_due, retry_failed
from tests.delivering import PATIENT, open_outbox

HOUR, DAY = 3600.0, 24 * 3600.0


@pytest.fixture
def box(tmp_path):
    with open_outbox(tmp_path) as outbox:
        yield outbox


class Proving(MemoryDestination):
    """Stores as told, and proves what a test plans."""

    def __init__(self, proof, **kwargs):
        super().__init__(**kwargs)
        self.proof = proof

    def prove(self, item, expected):
        self._reach()
        return self.proof


def kinds(box):
    return [(event.kind, event.role) for event in box.events]


def alarms(box):
    return [event.code for event in box.events if event.kind is EventKind.ALARM]


def test_a_job_is_sent_in_order_and_proven(box):
    pair = box.add_job()
    memory = MemoryDestination()
    box.open(memory)
    assert box.deliver(10.0) == 2
    assert memory.received == [ds.SOPInstanceUID for ds in pair]
    assert box.states() == ["PROVEN", "PROVEN"]
    assert [r.status for r in box.rows()] == ["0000", "0000"]
    assert all(10.0 <= r.sent_at <= r.proven_at < 20.0 for r in box.rows())
    assert box.deliver(11.0) == 0
    assert kinds(box) == [
        (EventKind.SENT, "seg"),
        (EventKind.SENT, "sr"),
        (EventKind.PROVEN, "seg"),
        (EventKind.PROVEN, "sr"),
    ]


def test_s01_the_bytes_that_arrive_are_the_files(box):
    box.add_job()
    memory = MemoryDestination()
    box.open(memory)
    box.deliver(10.0)
    for made in box.evidence():
        assert memory.kept[made.sop_instance_uid] == box.files.absolute(made.path).read_bytes()


@pytest.mark.parametrize(
    ("damage", "code"), [("change", "EVIDENCE_CHANGED"), ("remove", "EVIDENCE_MISSING")]
)
def test_s01_a_file_that_is_not_what_was_made_is_never_sent(box, damage, code):
    box.add_job()
    memory = MemoryDestination()
    box.open(memory)
    path = box.files.absolute(box.evidence()[0].path)
    if damage == "remove":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
    box.deliver(10.0)
    assert box.states() == ["FAILED", "PROVEN"]
    assert memory.received == [box.evidence()[1].sop_instance_uid]
    assert alarms(box) == [code]


# --- S23 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0xB000, 0xB007])
def test_s23_a_warning_is_stored_once_and_goes_on_to_proof(box, status):
    box.add_job()
    memory = MemoryDestination({"seg": [status]})
    box.open(memory)
    box.deliver(10.0)
    assert box.states() == ["PROVEN", "PROVEN"]
    assert box.rows()[0].status == f"{status:04X}"
    assert len(memory.received) == 2
    assert alarms(box) == []


def test_s23_discarded_elements_alarm_and_the_proof_compares(box):
    box.add_job()
    box.open(MemoryDestination({"seg": [0xB006]}))
    box.deliver(10.0)
    assert alarms(box) == ["STORED_IN_PART"]
    assert box.states() == ["PROVEN", "PROVEN"]


@pytest.mark.parametrize("status", [0xA900, 0xC001, 0x0122, 0x0124, 0x0117, 0x0999])
def test_s23_s25_a_refusal_is_a_dead_letter_with_its_number_and_blocks_no_other(box, status):
    box.add_job()
    box.open(MemoryDestination({"seg": [status]}))
    box.deliver(10.0)
    assert box.states() == ["FAILED", "PROVEN"]
    assert box.rows()[0].reason.startswith("REFUSED_BY_DESTINATION: ")
    assert f"{status:04X}" in box.rows()[0].reason
    assert alarms(box) == ["REFUSED_BY_DESTINATION"]
    assert box.deliver(10.0 + 30 * DAY) == 0


def test_s23_a_dead_letter_starts_again_by_command(box):
    box.add_job()
    memory = MemoryDestination({"seg": [0xA900]})
    box.open(memory)
    box.deliver(10.0)
    assert retry_failed(box.db, now=20.0) == 1
    box.deliver(20.0)
    assert box.states() == ["PROVEN", "PROVEN"]
    assert len(memory.received) == 3


def test_s23_s25_a_full_destination_gets_the_job_again_in_order(box):
    pair = box.add_job()
    memory = MemoryDestination({"seg": [0xA700, 0xA702]})
    box.open(memory)
    box.deliver(10.0)
    assert box.states() == ["PENDING", "PENDING"]
    assert len({r.next_attempt_at for r in box.rows()}) == 1
    assert box.rows()[0].next_attempt_at >= 10.0 + 48.0
    assert box.deliver(50.0) == 0
    box.deliver(90.0)
    box.deliver(400.0)
    seg, sr = (ds.SOPInstanceUID for ds in pair)
    assert memory.received == [seg, seg, seg, sr]
    assert box.states() == ["PROVEN", "PROVEN"]


def test_s25_an_object_that_cannot_be_processed_now_does_not_hold_up_the_other(box):
    box.add_job()
    box.open(MemoryDestination({"seg": [0x0110] * 5}))
    box.deliver(10.0)
    assert box.states() == ["PENDING", "PROVEN"]
    assert (box.rows()[0].status, box.rows()[0].attempts) == ("0110", 1)
    for later in range(1, 6):
        box.deliver(10.0 + later * 2 * HOUR)
    assert box.states() == ["PROVEN", "PROVEN"]


def test_s23_a_duplicate_is_proven_by_content_only(box):
    box.add_job()
    memory = MemoryDestination({"seg": [0x0111], "sr": [0x0111]})
    seg, sr = box.evidence()
    memory.kept[seg.sop_instance_uid] = box.files.absolute(seg.path).read_bytes()
    memory.kept[sr.sop_instance_uid] = box.files.absolute(seg.path).read_bytes()
    box.open(memory)
    box.deliver(10.0)
    assert box.states() == ["PROVEN", "FAILED"]
    assert alarms(box) == ["CONTENT_DIFFERS"]


@pytest.mark.parametrize(
    ("proof", "states"),
    [
        (Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.ATTRIBUTES), ["FAILED", "ACCEPTED"]),
        (Proof(outcome=ProofOutcome.UNAVAILABLE), ["FAILED", "ACCEPTED"]),
        (Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT), ["PROVEN", "PROVEN"]),
    ],
)
def test_s23_without_content_a_duplicate_is_a_dead_letter_and_a_part_is_not_proven(
    box, proof, states
):
    box.add_job()
    box.open(Proving(proof, statuses={"seg": [0x0111], "sr": [0xB006]}))
    box.deliver(10.0)
    assert box.states() == states


# --- down -------------------------------------------------------------------------------------


@pytest.mark.parametrize("down_s", [60.0, HOUR, 3 * DAY])
def test_s23_a_destination_that_was_down_has_everything_afterwards(box, down_s):
    memory = MemoryDestination()
    memory.reachable = False
    box.open(memory)
    now = 0.0
    while now < down_s:
        if now < 300.0:
            box.add_job(created_at=now)
        box.deliver(now)
        now += max(30.0, down_s / 200)
    assert set(box.states()) == {"PENDING"}
    memory.reachable = True
    box.deliver(now)
    box.deliver(now + 721.0)  # the longest back-off of the first job
    assert set(box.states()) == {"PROVEN"}
    expected = [made.sop_instance_uid for made in box.evidence()]
    assert sorted(memory.received) == sorted(expected)  # each object once
    assert memory.received == expected  # oldest job first, SEG before SR
    assert {event.kind for event in box.events} == {
        EventKind.RETRY,
        EventKind.SENT,
        EventKind.PROVEN,
    }


def test_s23_one_attempt_at_a_dead_destination_serves_all_jobs(box):
    for _ in range(20):
        box.add_job()
    attempts = []

    class Dead(MemoryDestination):
        def identities_of_study(self, study_instance_uid):
            attempts.append(study_instance_uid)
            return super().identities_of_study(study_instance_uid)

    dead = Dead()
    dead.reachable = False
    box.open(dead)
    box.deliver(10.0)
    assert len(attempts) == 1
    assert min(r.next_attempt_at for r in box.rows()) >= 14.0


def test_when_the_first_job_is_through_the_others_go_at_once(box):
    for _ in range(5):
        box.add_job()
    memory = MemoryDestination()
    memory.reachable = False
    box.open(memory)
    for now in range(0, 3000, 50):
        box.deliver(float(now))
    box.add_job(created_at=3000.0)  # a new result finds the destination open
    memory.reachable = True
    box.deliver(3000.0)
    assert set(box.states()) == {"PROVEN"}


def test_a_dead_destination_does_not_touch_another(box):
    box.add_job(["dead", "pacs"])
    dead = MemoryDestination()
    dead.reachable = False
    box.open(dead, "dead")
    box.open(MemoryDestination(), "pacs")
    box.deliver(10.0)
    assert set(box.states(destination="pacs")) == {"PROVEN"}
    assert set(box.states(destination="dead")) == {"PENDING"}


def test_what_was_acknowledged_before_the_connection_broke_stays_sent(box):
    box.add_job()

    class Breaking(MemoryDestination):
        def send(self, items):
            yield self._take(items[0])
            self.reachable = False
            yield answer_without_status(Verdict.NO_ANSWER, "broke")

    memory = Breaking()
    box.open(memory)
    box.deliver(10.0)
    assert box.states() == ["SENT", "PENDING"]
    assert box.rows()[0].reason == "proof waits: unreachable"
    assert (box.rows()[1].status, box.rows()[1].attempts) == ("NO ANSWER", 1)


def test_a_rejected_association_alarms_once_and_is_tried_on(box):
    box.add_job()

    class Rejecting(MemoryDestination):
        def send(self, items):
            return iter([answer_without_status(Verdict.NOT_ADMITTED, "rejects")] * len(items))

    box.open(Rejecting())
    for now in (10.0, 5000.0, 10000.0):
        box.deliver(now)
    assert box.states() == ["PENDING", "PENDING"]
    assert len(alarms(box)) == 2  # one an object, not one an attempt


# --- proof ------------------------------------------------------------------------------------


def test_s24_what_is_indexed_late_is_proven_late_and_not_sent_again(box):
    box.add_job()
    late = Proving(Proof(outcome=ProofOutcome.NOT_FOUND))
    box.open(late)
    box.deliver(0.0)
    box.deliver(600.0)
    assert box.states() == ["SENT", "SENT"]
    late.proof = Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT)
    box.deliver(4 * HOUR)
    assert box.states() == ["PROVEN", "PROVEN"]
    assert len(late.received) == 2


def test_s24_what_is_not_found_for_a_day_is_a_dead_letter(box):
    box.add_job()
    box.open(Proving(Proof(outcome=ProofOutcome.NOT_FOUND)))
    for hour in range(24):
        box.deliver(hour * HOUR)
    assert box.states() == ["SENT", "SENT"]
    box.deliver(26 * HOUR)
    assert box.states() == ["FAILED", "FAILED"]
    assert alarms(box) == ["NOT_FOUND_AFTER_STORE"] * 2
    assert box.rows()[0].sent_at is not None


def test_s24_a_day_of_silence_is_not_a_day_of_not_found(box):
    box.add_job()
    place = Proving(Proof(outcome=ProofOutcome.NOT_FOUND))
    box.open(place)
    box.deliver(0.0)
    place.reachable = False
    for hour in range(2, 60, 2):
        box.deliver(hour * HOUR)
    assert box.states() == ["SENT", "SENT"]


def test_s24_other_content_or_another_patient_is_a_dead_letter_with_its_reason(box):
    box.add_job()
    proof = Proof(outcome=ProofOutcome.DIFFERS, code="PATIENT_DIFFERS", sentence="PatientID")
    box.open(Proving(proof))
    box.deliver(10.0)
    assert box.states() == ["FAILED", "FAILED"]
    assert box.rows()[0].reason == "PATIENT_DIFFERS: PatientID"


def test_s24_a_coerced_attribute_is_shown_in_the_reason(box):
    box.add_job()
    sentence = "the destination changed PatientName"
    box.open(Proving(Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT, sentence=sentence)))
    box.deliver(10.0)
    assert {(str(r.state), r.reason) for r in box.rows()} == {("PROVEN", sentence)}


def test_s24_the_weaker_proof_says_so(box):
    box.add_job()
    box.open(Proving(Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.ATTRIBUTES, sentence="x")))
    box.deliver(10.0)
    assert {r.reason for r in box.rows()} == {"by attributes: x"}


def test_s24_a_destination_that_can_prove_nothing_has_accepted(box):
    box.add_job()
    box.open(Proving(Proof(outcome=ProofOutcome.UNAVAILABLE, sentence="it refuses C-FIND")))
    box.deliver(10.0)
    assert box.states() == ["ACCEPTED", "ACCEPTED"]
    assert "it refuses C-FIND" in box.rows()[0].reason


def test_s24_where_sent_is_enough_no_proof_is_asked_but_a_duplicates(box):
    box.add_job()
    never = Proving(Proof(outcome=ProofOutcome.DIFFERS, code="X"), statuses={"sr": [0x0111]})
    box.open(never, required="sent")
    box.deliver(10.0)
    assert box.states() == ["ACCEPTED", "FAILED"]


# --- what may leave ---------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["patient_id", "accession_number", "patient_name"])
def test_s03_a_study_of_another_patient_at_the_destination_holds_the_job(box, attribute):
    study = box.add_job()[0].StudyInstanceUID
    memory = MemoryDestination()
    memory.studies[study] = replace(PATIENT, **{attribute: "SOMEBODY^ELSE"})
    box.open(memory)
    box.deliver(10.0)
    assert memory.received == []
    assert box.states() == ["PENDING", "PENDING"]
    row = box.rows()[0]
    assert row.status == IDENTITY_HOLD
    assert row.reason.startswith("IDENTITY_DIFFERS: ")
    assert "SOMEBODY" not in row.reason
    assert alarms(box) == ["IDENTITY_DIFFERS"]


@pytest.mark.parametrize("theirs", ["M?ller^J?rgen", "Mller^Jrgen", "MLLER^J?RGEN^^"])
def test_s03_letters_that_the_archives_answer_lacks_are_named_as_such(box, theirs):
    study = box.add_job()[0].StudyInstanceUID
    memory = MemoryDestination()
    memory.studies[study] = replace(PATIENT, patient_name=theirs)
    box.open(memory)
    box.deliver(10.0)
    assert box.states() == ["PENDING", "PENDING"]
    reason = box.rows()[0].reason
    assert reason.startswith("IDENTITY_DIFFERS: PatientName")
    assert "let it answer in Unicode" in reason and "DefaultEncoding" in reason
    assert "ller" not in reason


@pytest.mark.parametrize(
    "changes",
    [
        {"patient_name": "Muller^Jurgen"},
        {"patient_name": "M?ller^Jürgen^X"},
        {"patient_name": "Mller^Jrgen", "patient_id": "TEST-2"},
    ],
)
def test_s03_another_name_is_no_matter_of_letters(box, changes):
    study = box.add_job()[0].StudyInstanceUID
    memory = MemoryDestination()
    memory.studies[study] = replace(PATIENT, **changes)
    box.open(memory)
    box.deliver(10.0)
    assert "Unicode" not in box.rows()[0].reason
    assert box.rows()[0].reason.startswith("IDENTITY_DIFFERS: ")


def test_s03_a_held_job_goes_when_the_identity_is_corrected_and_alarms_once(box):
    study = box.add_job()[0].StudyInstanceUID
    memory = MemoryDestination()
    memory.studies[study] = replace(PATIENT, patient_id="OTHER")
    box.open(memory)
    for hour in range(0, 20, 2):
        box.deliver(hour * HOUR)
    assert len(alarms(box)) == 1
    memory.studies[study] = PATIENT
    box.deliver(30 * HOUR)
    assert box.states() == ["PROVEN", "PROVEN"]


def test_s03_a_held_job_is_not_hastened_by_others(box):
    study = box.add_job()[0].StudyInstanceUID
    memory = MemoryDestination()
    memory.studies[study] = replace(PATIENT, patient_id="OTHER")
    box.open(memory)
    box.deliver(10.0)
    box.add_job(created_at=11.0)
    box.deliver(11.0)
    assert box.states() == ["PENDING", "PENDING", "PROVEN", "PROVEN"]
    assert box.rows()[0].next_attempt_at > 200.0


def test_s03_a_study_unknown_there_is_sent(box):
    box.add_job()
    box.open(MemoryDestination())
    box.deliver(10.0)
    assert box.states() == ["PROVEN", "PROVEN"]


@pytest.mark.parametrize("code", [RefusalCode.PLUGIN_DISABLED, RefusalCode.GRADE_NOT_RELEASED])
def test_s04_s22_what_may_not_leave_is_canceled_with_the_reason(box, code):
    box.add_job()
    memory = MemoryDestination()
    box.open(memory)
    box.refusal = Refused(code, "switched off by an administrator")
    box.deliver(10.0)
    assert memory.received == []
    assert box.states() == ["CANCELED", "CANCELED"]
    assert box.rows()[0].reason == f"{code}: switched off by an administrator"


def test_s22_the_kill_switch_does_not_recall_what_is_already_there(box):
    box.add_job()
    late = Proving(Proof(outcome=ProofOutcome.NOT_FOUND), statuses={"sr": [0x0110]})
    box.open(late)
    box.deliver(0.0)
    box.refusal = Refused(RefusalCode.PLUGIN_DISABLED, "off")
    late.proof = Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT)
    box.deliver(HOUR)
    assert box.states() == ["PROVEN", "CANCELED"]


# --- killed and broken ------------------------------------------------------------------------


def test_a_sender_killed_between_sending_and_commit_sends_the_same_bytes_again(box):
    box.add_job()
    memory = MemoryDestination()
    box.open(memory)
    claimed = claim_due(box.db, "pacs", "killed", now=10.0, lease_s=60.0)
    memory.kept[claimed.items[0].evidence.sop_instance_uid] = box.files.absolute(
        claimed.items[0].evidence.path
    ).read_bytes()  # it arrived, and then the power went
    assert box.deliver(20.0) == 0
    box.deliver(71.0)
    assert box.states() == ["PROVEN", "PROVEN"]
    assert [r.status for r in box.rows()] == ["0111", "0000"]
    assert len(memory.kept) == 2


def test_s12_a_sender_that_could_not_write_goes_on_as_soon_as_it_can(box):
    box.add_job()
    box.add_job(["folder"])

    class FullDisk(MemoryDestination):
        def send(self, items):
            answers = super().send(items)
            rename(box, "delivery", "away")  # it has them, and no row can be written
            return answers

    full = FullDisk()
    box.open(full)
    with pytest.raises(StorageUnavailable):
        box.deliver(10.0)
    rename(box, "away", "delivery")
    box.outlets.clear()
    well = MemoryDestination()
    well.kept |= full.kept
    box.open(well)
    claim_due(box.db, "folder", "me", now=10.0, lease_s=60.0)
    assert box.deliver(11.0, owner="other") == 0
    assert box.deliver(11.0) == 2
    assert box.states(destination="pacs") == ["PROVEN", "PROVEN"]
    assert [r.status for r in box.rows(destination="pacs")] == ["0111", "0000"]
    assert claim_due(box.db, "folder", "third", now=20.0, lease_s=60.0) is None


def rename(box, old, new):
    with box.db.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_sender_whose_lease_was_taken_meanwhile_records_nothing(box):
    box.add_job()

    class Slow(MemoryDestination):
        def send(self, items):
            box.set(owner="other", lease_until=1000.0)
            return super().send(items)

    box.open(Slow())
    box.deliver(10.0)
    assert box.states() == ["PENDING", "PENDING"]
    assert claim_due(box.db, "pacs", "third", now=500.0, lease_s=1.0) is None


def test_a_defect_delays_one_job_and_not_the_outbox(box):
    first = box.add_job(created_at=0.0)[0].StudyInstanceUID
    box.add_job(created_at=1.0)

    class Defective(MemoryDestination):
        def identities_of_study(self, study_instance_uid):
            if study_instance_uid == first:
                raise ZeroDivisionError("patient Doe")
            return super().identities_of_study(study_instance_uid)

    box.open(Defective())
    box.deliver(10.0)
    assert box.states() == ["PENDING", "PENDING", "PROVEN", "PROVEN"]
    assert "ZeroDivisionError" in box.rows()[0].reason
    assert "Doe" not in box.rows()[0].reason
    assert box.rows()[0].next_attempt_at > 50.0


def test_one_call_may_be_bounded_to_one_job(box):
    box.add_job()
    box.add_job()
    outlet = box.open(MemoryDestination())
    arguments = {
        "now": 10.0,
        "owner": "me",
        "allowed": box.allowed,
        "on_event": box.events.append,
    }
    assert deliver_next(box.db, box.files, outlet, **arguments) == 2
    assert box.states() == ["PROVEN", "PROVEN", "PENDING", "PENDING"]
    assert deliver_destination(box.db, box.files, outlet, **arguments) == 2


def test_s28_events_and_reasons_name_no_patient_and_no_uid(box):
    pair = box.add_job()
    memory = MemoryDestination({"seg": [0xC001]})
    box.open(memory)
    box.deliver(10.0)
    words = " ".join(str(event) for event in box.events) + str([r.reason for r in box.rows()])
    for secret in (PATIENT.patient_id, "Müller", "ACC-1", *(ds.SOPInstanceUID for ds in pair)):
        assert str(secret) not in words
