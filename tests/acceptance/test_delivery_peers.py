"""The same contract, kept by archives that we did not write: Orthanc and DCMTK's dcmqrscp."""

from __future__ import annotations

import hashlib
import socket
import subprocess

import httpx
import pytest
from pydicom import dcmread

from node.delivery.answers import Verdict
from node.delivery.destination import OutgoingObject, open_destination
from node.delivery.echo import echo_destination
from node.delivery.proof import ProofOutcome, identity_differences, letters_are_missing
from node.dicom.headers import identity_of, read_header
from node.model import Evidence
from tests.contract.destinations import DestinationContract, Place, pair, same_uid_other_content
from tests.delivering import PATIENT, evidence_pair, open_outbox, settings_for
from tests.make import part10, shared_data
from tests.peers import ENVIRONMENT, ORTHANC, Orthanc, dcmqrscp, orthanc, wait_until

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

pytestmark = pytest.mark.peer


def rest(server: Orthanc, **overrides):
    return settings_for(kind="orthanc", url=server.url, timeout_s=20.0, **overrides)


def dicom(port: int, ae_title: str = "ORTHANC"):
    return settings_for(port=port, ae_title=ae_title, timeout_s=20.0)


class TestOrthancByRest(DestinationContract):
    @pytest.fixture
    def place(self, start_orthanc):
        server = start_orthanc()
        return Place(open_destination(rest(server), "NODE"), server.kill)


class TestOrthancByDicom(DestinationContract):
    @pytest.fixture
    def place(self, start_orthanc):
        server = start_orthanc()
        return Place(open_destination(dicom(server.dicom_port), "NODE"), server.kill)


class TestDcmqrscp(DestinationContract):
    """It sends everything back in implicit VR little endian."""

    @pytest.fixture
    def place(self, tmp_path):
        with dcmqrscp(tmp_path / "dcmqrscp") as port:
            yield Place(open_destination(dicom(port, "DCMTK"), "NODE"), None)

    # The peer ends with its fixture: no test may close it before.
    test_unreachable_is_an_answer_for_each_object_and_an_error_for_questions = None


@pytest.mark.parametrize(("encoding", "lost"), [("Latin1", True), ("Utf8", False)])
def test_s03_orthanc_that_answers_in_latin_1_loses_letters(tmp_path, encoding, lost):
    seg, _ = evidence_pair()
    seg.SpecificCharacterSet, seg.PatientName = "ISO_IR 192", "Ivanov^Иван"
    with orthanc(tmp_path, DefaultEncoding=encoding) as server:
        httpx.post(f"{server.url}/instances", content=part10(seg)).raise_for_status()
        place = open_destination(dicom(server.dicom_port), "NODE")
        (filed,) = place.identities_of_study(seg.StudyInstanceUID)
    ours = identity_of(seg)
    assert bool(identity_differences(ours, filed)) is lost
    assert letters_are_missing(ours, filed) is lost


def test_s23_orthanc_that_was_down_has_everything_afterwards(start_orthanc, tmp_path):
    server = start_orthanc()
    server.stop()
    with open_outbox(tmp_path / "data") as box:
        settings = rest(server)
        box.open(open_destination(settings, "NODE"), kind="orthanc", url=server.url)
        for hour in range(3):
            box.add_job(created_at=hour * 3600.0)
            box.deliver(hour * 3600.0)
        assert set(box.states()) == {"PENDING"}
        server.start()
        box.deliver(4 * 3600.0)
        assert set(box.states()) == {"PROVEN"}
        kept = [i["MainDicomTags"]["SOPInstanceUID"] for i in server.instances()]
        assert sorted(kept) == sorted(made.sop_instance_uid for made in box.evidence())


def test_s01_orthanc_keeps_the_first_of_two_encodings_and_we_notice(start_orthanc, tmp_path):
    """It answers 0000 to the second: proof by UID alone would lie."""
    server = start_orthanc()
    first = pair(tmp_path)[0]
    second = same_uid_other_content(first, tmp_path)
    place = open_destination(dicom(server.dicom_port), "NODE")
    assert [a.verdict for a in place.send([first])] == [Verdict.STORED]
    assert [a.verdict for a in place.send([second])] == [Verdict.STORED]
    proof = place.prove(second, PATIENT)
    assert (proof.outcome, proof.code) == (ProofOutcome.DIFFERS, "CONTENT_DIFFERS")
    assert "SeriesDescription" in proof.sentence


def test_s03_orthanc_files_the_study_under_another_patient(start_orthanc, tmp_path):
    server = start_orthanc()
    with open_outbox(tmp_path / "data") as box:
        box.add_job()
        ds = dcmread(box.files.absolute(box.evidence()[0].path))
        ds.PatientID, ds.SOPInstanceUID = "MERGED-7", "1.2.3.4"
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        ds.save_as(tmp_path / "other.dcm")
        server.upload([tmp_path / "other.dcm"])
        box.open(open_destination(dicom(server.dicom_port), "NODE"), "pacs")
        box.deliver(10.0)
        assert box.states() == ["PENDING", "PENDING"]
        assert "IDENTITY_DIFFERS: PatientID" in box.rows()[0].reason
        assert len(server.instances()) == 1


def start_silently(server):
    """Start an Orthanc whose REST interface answers 401."""
    with (server.folder / "orthanc.log").open("ab") as log:
        server.process = subprocess.Popen(
            [ORTHANC, str(server.folder / "orthanc.json")], stdout=log, stderr=log, env=ENVIRONMENT
        )

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", server.http_port)) == 0

    wait_until(listens, timeout_s=20, what="Orthanc to listen")


def test_orthanc_asks_for_a_password(start_orthanc, tmp_path, monkeypatch):
    server = start_orthanc()
    server.kill()
    configuration = server.folder / "orthanc.json"
    text = configuration.read_text().replace(
        '"AuthenticationEnabled": false',
        '"AuthenticationEnabled": true, "RegisteredUsers": {"node": "secret"}',
    )
    configuration.write_text(text)
    start_silently(server)
    item = pair(tmp_path)[0]
    (answer,) = open_destination(rest(server), "NODE").send([item])
    assert answer.verdict is Verdict.NOT_ADMITTED
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    known = rest(server, username="node", password_env="PACS_PASSWORD")
    (answer,) = open_destination(known, "NODE").send([item])
    assert answer.verdict is Verdict.STORED
    assert echo_destination(known, "NODE").startswith("Orthanc 1.")


def test_s24_real_segmentations_and_reports_are_proven_by_content(start_orthanc, tmp_path):
    """Made by others, many with private elements; dcmqrscp returns them in implicit VR."""
    paths = sorted(shared_data("seg-sr-objects").rglob("*.dcm"))
    items = [as_evidence(path) for path in paths]
    orthanc = start_orthanc()
    with dcmqrscp(tmp_path / "dcmqrscp") as port:
        places = [
            open_destination(dicom(orthanc.dicom_port), "NODE"),
            open_destination(rest(start_orthanc()), "NODE"),
            open_destination(dicom(port, "DCMTK"), "NODE"),
        ]
        for place in places:
            taken = [
                item
                for item, answer in zip(items, place.send(items), strict=True)
                if answer.verdict is Verdict.STORED
            ]
            assert len(taken) > len(items) / 2
            for item in taken:
                proof = place.prove(item, identity_of(read_header(item.path)))
                assert proof.outcome is ProofOutcome.PROVEN, (item.path, proof)
                # Orthanc 1.10 takes label maps but gives none by C-GET: the weaker proof.
                label_map = item.evidence.sop_class_uid == LABEL_MAP
                assert proof.kind == "content" or label_map, (item.path, proof)


def as_evidence(path):
    ds = read_header(path)
    content = path.read_bytes()
    return OutgoingObject(
        path=path,
        evidence=Evidence(
            id=1,
            job_id="0" * 32,
            role="seg",
            study_instance_uid=str(ds.StudyInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            path=path.name,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            position=0,
        ),
    )
