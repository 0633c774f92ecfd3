"""Every kind of destination keeps the contract; what each adds of its own."""

from __future__ import annotations

import os
import shutil

import pytest
from pydicom import dcmread

from node.delivery.answers import Verdict
from node.delivery.destination import MemoryDestination, open_destination
from node.delivery.folder import FolderDestination
from node.delivery.proof import ProofKind, ProofOutcome
from node.errors import DeliveryFailed, SettingsError
from node.phantom.archive import DemoArchive, dataset_sha256
from tests.contract.destinations import DestinationContract, Place, pair
from tests.delivering import PATIENT, SEG, SR, Peer, settings_for
from tests.make import free_port


class TestMemory(DestinationContract):
    @pytest.fixture
    def place(self):
        memory = MemoryDestination()

        def close():
            memory.reachable = False

        return Place(memory, close)


class TestFolder(DestinationContract):
    @pytest.fixture
    def place(self, tmp_path):
        base = tmp_path / "share"
        destination = open_destination(settings_for(kind="folder", path=base), "NODE")
        return Place(destination, lambda: shutil.rmtree(base), knows_patients=False)


class TestDicom(DestinationContract):
    @pytest.fixture
    def place(self, archive: DemoArchive):
        settings = settings_for(port=archive.port)
        return Place(open_destination(settings, "NODE"), archive.stop)


# --- folder -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return FolderDestination(settings_for(kind="folder", path=tmp_path / "share"))


def files_in(tmp_path):
    return [path for path in (tmp_path / "share").rglob("*") if path.is_file()]


def test_s01_a_folder_gets_the_very_bytes_and_nothing_else(folder, tmp_path):
    items = pair(tmp_path)
    list(folder.send(items))
    list(folder.send(items))
    found = {path.name: path.read_bytes() for path in files_in(tmp_path)}
    assert found == {
        f"{i.evidence.role}_{i.evidence.sop_instance_uid}.dcm": i.path.read_bytes() for i in items
    }


def test_s28_files_in_a_folder_are_for_their_owner_only(folder, tmp_path):
    list(folder.send(pair(tmp_path)))
    assert {path.stat().st_mode & 0o777 for path in files_in(tmp_path)} == {0o600}


def test_a_folder_clears_away_what_a_killed_sender_left(folder, tmp_path):
    item = pair(tmp_path)[0]
    left = tmp_path / "share" / item.evidence.study_instance_uid / ".dead.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    list(folder.send([item]))
    assert len(files_in(tmp_path)) == 1


def test_a_file_damaged_later_is_not_proven(folder, tmp_path):
    item = pair(tmp_path)[0]
    list(folder.send([item]))
    files_in(tmp_path)[0].write_bytes(b"damaged")
    assert folder.prove(item, PATIENT).outcome is ProofOutcome.DIFFERS


def test_s12_a_folder_syncs_the_file_before_its_name_and_the_name_before_the_answer(
    folder, tmp_path, monkeypatch
):
    """Traces the system calls: the page cache hides a missing fsync from every kill -9."""
    calls = []
    for name in ("fsync", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, _n=name, _r=real: (calls.append(_n), _r(*args))[1]
        )
    (answer,) = folder.send(pair(tmp_path)[:1])
    assert answer.verdict is Verdict.STORED
    assert calls == ["fsync", "fsync", "link", "fsync"]  # new folder, file, its name


def test_a_share_that_is_not_mounted_is_unreachable_not_empty(tmp_path):
    destination = FolderDestination(settings_for(kind="folder", path=tmp_path / "a" / "share"))
    (answer,) = destination.send(pair(tmp_path)[:1])
    assert answer.verdict is Verdict.UNREACHABLE
    with pytest.raises(DeliveryFailed):
        destination.prove(pair(tmp_path)[0], PATIENT)


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "carrier pigeon"},
        {"kind": "folder"},
        {"kind": "orthanc"},
        {"kind": "orthanc", "url": "http://x", "password_env": "SURELY_NOT_SET_12"},
        {"kind": "dicom", "host": ""},
        {"kind": "dicom", "ae_title": ""},
    ],
)
def test_settings_that_lack_something_are_refused_with_the_destinations_name(wrong):
    with pytest.raises(SettingsError, match="pacs"):
        open_destination(settings_for(**wrong), "NODE")


# --- dicom ------------------------------------------------------------------------------------


def dicom(peer_or_port, **overrides):
    port = peer_or_port if isinstance(peer_or_port, int) else peer_or_port.port
    return open_destination(settings_for(port=port, **overrides), "NODE")


def test_s01_a_dicom_peer_gets_the_very_bytes_over_one_association(archive, tmp_path):
    items = pair(tmp_path)
    list(dicom(archive).send(items))
    assert [stored.sha256 for stored in archive.received] == [
        dataset_sha256(item.path) for item in items
    ]
    assert {stored.calling_ae for stored in archive.received} == {"NODE"}


def test_s25_objects_of_a_job_go_in_order_over_one_association(tmp_path):
    with Peer() as peer:
        items = pair(tmp_path)
        list(dicom(peer).send(items))
        assert [uid for uid, _ in peer.received] == [i.evidence.sop_instance_uid for i in items]
        assert peer.associations == 1


def test_s25_a_class_that_the_peer_does_not_take_blocks_no_other(tmp_path):
    with Peer(classes=[SR]) as peer:
        seg, sr = dicom(peer).send(pair(tmp_path))
    assert (seg.verdict, seg.code) == (Verdict.REFUSED, "CONTEXT_REFUSED")
    assert "Segmentation Storage in Explicit VR Little Endian" in seg.sentence
    assert sr.verdict is Verdict.STORED


def test_a_peer_that_takes_nothing_at_all_refuses_each_object(tmp_path):
    with Peer(classes=["1.2.840.10008.5.1.4.1.1.7"]) as peer:
        verdicts = [answer.verdict for answer in dicom(peer).send(pair(tmp_path))]
    assert verdicts == [Verdict.REFUSED, Verdict.REFUSED]


def test_s25_a_refused_object_blocks_no_other(tmp_path):
    with Peer(answer=lambda n, _uid: 0xA900 if n == 0 else 0x0000) as peer:
        verdicts = [answer.verdict for answer in dicom(peer).send(pair(tmp_path))]
    assert verdicts == [Verdict.REFUSED, Verdict.STORED]


def test_s25_a_full_peer_is_not_offered_the_rest(tmp_path):
    with Peer(answer=lambda _n, _uid: 0xA700) as peer:
        answers = list(dicom(peer).send(pair(tmp_path)))
        assert len(peer.received) == 1
    assert [a.verdict for a in answers] == [Verdict.NO_RESOURCES, Verdict.NOT_TRIED]
    assert answers[0].status == "A700"


def test_an_abort_in_mid_job_keeps_what_was_answered(tmp_path):
    with Peer(answer=lambda n, _uid: 0x0000 if n == 0 else None) as peer:
        answers = list(dicom(peer).send(pair(tmp_path)))
    assert [a.verdict for a in answers] == [Verdict.STORED, Verdict.NO_ANSWER]


def test_an_abort_at_the_first_object_leaves_the_others_untried(tmp_path):
    with Peer(answer=lambda _n, _uid: None) as peer:
        answers = list(dicom(peer).send(pair(tmp_path)))
    assert [a.verdict for a in answers] == [Verdict.NO_ANSWER, Verdict.NOT_TRIED]


def test_a_rejected_calling_title_is_told_from_an_absent_peer(tmp_path):
    with Peer(known_calling="SOMEBODY") as peer:
        answers = list(dicom(peer).send(pair(tmp_path)))
    assert answers[0].verdict is Verdict.NOT_ADMITTED
    assert "Calling AE title not recognised" in answers[0].sentence
    absent = list(dicom(free_port()).send(pair(tmp_path)))
    assert absent[0].verdict is Verdict.UNREACHABLE


def test_a_host_name_that_does_not_resolve_is_unreachable(tmp_path):
    answers = list(dicom(104, host="no-such-host.invalid").send(pair(tmp_path)))
    assert answers[0].verdict is Verdict.UNREACHABLE


def test_closing_early_ends_the_association(tmp_path):
    with Peer() as peer:
        answers = dicom(peer).send(pair(tmp_path))
        next(answers)
        answers.close()
        assert len(peer.received) == 1


def test_s24_without_c_get_named_attributes_are_the_weaker_proof(tmp_path):
    item = pair(tmp_path)[0]
    with Peer(get=False) as peer:
        list(dicom(peer).send([item]))
        proof = dicom(peer).prove(item, PATIENT)
    assert (proof.outcome, proof.kind) == (ProofOutcome.PROVEN, ProofKind.ATTRIBUTES)
    assert "refuses C-GET" in proof.sentence


def test_s24_a_c_get_that_fails_leaves_the_weaker_proof(tmp_path):
    item = pair(tmp_path)[0]
    with Peer(get_status=0xA701) as peer:
        list(dicom(peer).send([item]))
        proof = dicom(peer).prove(item, PATIENT)
    assert (proof.outcome, proof.kind) == (ProofOutcome.PROVEN, ProofKind.ATTRIBUTES)
    assert "A701" in proof.sentence


def test_s24_without_c_find_content_alone_proves(tmp_path):
    item = pair(tmp_path)[0]
    with Peer(find=False) as peer:
        assert dicom(peer).prove(item, PATIENT).outcome is ProofOutcome.NOT_FOUND
        list(dicom(peer).send([item]))
        proof = dicom(peer).prove(item, PATIENT)
    assert (proof.outcome, proof.kind) == (ProofOutcome.PROVEN, ProofKind.CONTENT)


@pytest.mark.parametrize("silent", [{"find": False, "get": False}, {"find_status": 0xC001}])
def test_s24_a_peer_that_answers_no_question_proves_nothing(silent, tmp_path):
    item = pair(tmp_path)[0]
    with Peer(**{"get": False, **silent}) as peer:
        list(dicom(peer).send([item]))
        proof = dicom(peer).prove(item, PATIENT)
        assert dicom(peer).identities_of_study(item.evidence.study_instance_uid) == ()
    assert proof.outcome is ProofOutcome.UNAVAILABLE
    assert "refuses C-FIND" in proof.sentence and "refuses C-GET" in proof.sentence


def test_s24_a_coerced_name_is_shown_and_a_coerced_patient_is_no_proof(tmp_path):
    item = pair(tmp_path)[0]

    def rename(ds):
        ds.PatientName = "MUELLER^JUERGEN"

    def move(ds):
        ds.PatientID = "MERGED-7"

    with Peer(coerce=rename, find=False) as peer:
        list(dicom(peer).send([item]))
        named = dicom(peer).prove(item, PATIENT)
    with Peer(coerce=move, find=False) as peer:
        list(dicom(peer).send([item]))
        moved = dicom(peer).prove(item, PATIENT)
    assert named.outcome is ProofOutcome.PROVEN
    assert named.sentence == "the destination changed PatientName"
    assert (moved.outcome, moved.code) == (ProofOutcome.DIFFERS, "PATIENT_DIFFERS")
    assert "MERGED" not in moved.sentence


def test_s24_dropped_elements_are_named(tmp_path):
    item = pair(tmp_path)[1]

    def drop(ds):
        del ds.ContentSequence

    with Peer(coerce=drop, answer=lambda _n, _uid: 0xB006) as peer:
        (answer,) = dicom(peer).send([item])
        proof = dicom(peer).prove(item, PATIENT)
    assert answer.verdict is Verdict.STORED_IN_PART
    assert (proof.outcome, proof.code) == (ProofOutcome.DIFFERS, "CONTENT_DIFFERS")
    assert "ContentSequence" in proof.sentence


def test_the_class_that_is_proposed_is_the_objects_own(tmp_path):
    item = pair(tmp_path)[0]
    assert dcmread(item.path).SOPClassUID == SEG == item.evidence.sop_class_uid
