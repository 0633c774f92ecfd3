"""The outbox and a DICOM peer on loopback: down, killed, aborting, slow."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from io import StringIO

import pytest
from pydicom import Dataset

from node import logs
from node.delivery.association import associated
from node.delivery.deliver import deliver_destination
from node.delivery.destination import MemoryDestination, open_destination
from node.dicom.network import RemoteAE
from node.phantom.archive import DemoArchive, dataset_sha256
from tests.delivering import Peer, open_outbox, settings_for
from tests.make import REPOSITORY, free_port


@pytest.fixture
def box(tmp_path):
    with open_outbox(tmp_path / "data") as outbox:
        yield outbox


def open_peer(box, peer, **overrides):
    settings = settings_for(port=peer.port, **overrides)
    return box.open(open_destination(settings, "NODE"), port=peer.port, **overrides)


def hashes(box):
    return {
        made.sop_instance_uid: {dataset_sha256(box.files.absolute(made.path))}
        for made in box.evidence()
    }


def test_s24_s25_jobs_arrive_in_order_and_are_proven_by_c_get(box, archive):
    expected = []
    for number in range(3):
        expected += [ds.SOPInstanceUID for ds in box.add_job(created_at=float(number))]
    open_peer(box, archive)
    box.deliver(10.0)
    assert set(box.states()) == {"PROVEN"}
    assert {row.reason for row in box.rows()} == {""}
    assert [stored.sop_instance_uid for stored in archive.received] == expected
    assert archive.hashes() == hashes(box)


def test_s23_an_archive_that_was_down_for_an_hour_has_everything_afterwards(box, tmp_path):
    archive = DemoArchive(tmp_path / "archive", free_port())
    open_peer(box, archive)
    for minute in range(0, 60, 6):
        box.add_job(created_at=minute * 60.0)
        box.deliver(minute * 60.0)
    assert set(box.states()) == {"PENDING"}
    with archive:
        box.deliver(3600.0)
        box.deliver(3600.0 + 721.0)
    assert set(box.states()) == {"PROVEN"}
    assert archive.hashes() == hashes(box)
    assert len(archive.received) == 20


def test_s03_a_study_that_the_archive_files_under_another_patient_is_not_sent(box):
    study = box.add_job()[0].StudyInstanceUID
    other = box.add_job()[0]
    other.StudyInstanceUID, other.PatientID = study, "MERGED-7"
    with Peer(kept={other.SOPInstanceUID: other}) as peer:
        open_peer(box, peer)
        box.deliver(10.0)
        sent = {uid for uid, _ in peer.received}
    assert box.states()[:2] == ["PENDING", "PENDING"]
    assert box.rows()[0].reason == (
        "IDENTITY_DIFFERS: PatientID of the study differ at the destination; not sent"
    )
    assert not sent & {made.sop_instance_uid for made in box.evidence()[:2]}


def test_s25_an_object_that_kills_every_association_does_not_keep_the_other_from_going(box):
    seg, sr = (ds.SOPInstanceUID for ds in box.add_job())
    with Peer(answer=lambda _n, uid: None if uid == seg else 0x0000) as peer:
        open_peer(box, peer)
        now = 10.0
        for _ in range(4):
            box.deliver(now)
            now += 800.0
        assert [uid for uid, _ in peer.received] == [seg, seg, seg, sr, seg]
    assert box.states() == ["PENDING", "PROVEN"]


def test_a_slow_destination_delays_no_other(box):
    """The engine runs a thread per destination: here one of them hangs."""
    box.add_job(["slow", "quick"])
    release = threading.Event()

    class Slow(MemoryDestination):
        def send(self, items):
            release.wait(20)
            return super().send(items)

    slow, quick = box.open(Slow(), "slow"), box.open(MemoryDestination(), "quick")

    def deliver(outlet):
        name = outlet.settings.name
        deliver_destination(
            box.db,
            box.files,
            outlet,
            now=10.0,
            owner=name,
            allowed=box.allowed,
            on_event=box.events.append,
        )

    hanging = threading.Thread(target=deliver, args=(slow,))
    hanging.start()
    try:
        deliver(quick)
        assert set(box.states(destination="quick")) == {"PROVEN"}
        assert set(box.states(destination="slow")) == {"PENDING"}
    finally:
        release.set()
        hanging.join()
    assert set(box.states(destination="slow")) == {"PROVEN"}


SENDER = """
import sys
from pathlib import Path
from node.delivery.destination import open_destination
from node.storage.database import process_token
from tests.delivering import open_outbox, settings_for

with open_outbox(Path(sys.argv[1])) as box:
    settings = settings_for(port=int(sys.argv[2]))
    box.open(open_destination(settings, "NODE"), port=settings.port)
    box.deliver(float(sys.argv[3]), owner=process_token())
"""


def sender(box, port, now):
    return subprocess.Popen(
        [sys.executable, "-c", SENDER, str(box.folder), str(port), str(now)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def test_s25_a_sender_killed_in_mid_job_leaves_one_object_per_uid_with_one_hash(box, tmp_path):
    """The archive has the object; the row does not know it yet. At least once, same bytes."""
    for number in range(2):
        box.add_job(created_at=float(number))
    arrived = threading.Event()

    def answer(_uid):
        arrived.set()
        time.sleep(0.4)  # kept, and not answered yet when the sender dies
        return 0x0000

    with DemoArchive(tmp_path / "archive", answer=answer) as archive:
        for kill in range(3):
            process = sender(box, archive.port, 10.0 + kill * 100.0)
            assert arrived.wait(20)
            process.send_signal(signal.SIGKILL)
            process.wait()
            arrived.clear()
        last = sender(box, archive.port, 1000.0)
        assert last.wait(60) == 0
        time.sleep(0.5)
        assert archive.hashes() == hashes(box)
        assert len(archive.received) > 4
        assert len(archive.kept()) == 4
    assert set(box.states()) == {"PROVEN"}


def test_e01_two_senders_at_once_send_each_object_once(box, archive):
    for number in range(6):
        box.add_job(created_at=float(number))
    processes = [sender(box, archive.port, 10.0) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert set(box.states()) == {"PROVEN"}
    assert len(archive.received) == 12


def test_s28_logs_of_a_delivery_that_fails_hold_no_patient_and_no_uid(box):
    made = [ds for _ in range(2) for ds in box.add_job()]
    stream = StringIO()
    logs.configure("DEBUG", stream=stream)
    try:
        with Peer(answer=lambda n, _uid: 0xC001 if n == 0 else None) as peer:
            open_peer(box, peer)
            box.deliver(10.0)
        box.deliver(5000.0)
    finally:
        logs.configure("WARNING", stream=sys.stderr)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert any(line["event"] == "alarm: delivery needs a person" for line in lines)
    assert any(line.get("destination") == "pacs" for line in lines)
    text = stream.getvalue() + json.dumps(lines, ensure_ascii=False)
    for ds in made:
        for secret in (ds.PatientID, ds.PatientName, ds.AccessionNumber, ds.SOPInstanceUID):
            assert str(secret) not in text
    assert str(box.folder) not in text


def test_a_peer_that_takes_connections_and_says_nothing_costs_its_timeout_only():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        destination = open_destination(settings_for(port=port, timeout_s=0.5), "NODE")
        began = time.monotonic()
        with pytest.raises(Exception, match="cannot be reached") as error:
            destination.identities_of_study("1.2.3")
        assert time.monotonic() - began < 5.0
    assert error.value.retry


def test_a_link_closed_by_the_peer_says_so_at_the_next_question(tmp_path):
    with Peer() as peer:
        remote = RemoteAE(
            host="127.0.0.1", port=peer.port, ae_title="ARCHIVE", calling_ae="N", timeout_s=2.0
        )
        with associated(remote, []) as link:
            assert not link.accepts("1.2.840.10008.5.1.4.1.1.66.4")
            assert link.find(Dataset()) is None
