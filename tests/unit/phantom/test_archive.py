import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from node.phantom.archive import DemoArchive, dataset_sha256
from tests.make import ct_series, free_port, made, write_series

PRIVATE_CLASS = "1.3.46.670589.11.0.0.12.1"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def send(port, datasets):
    ae = AE(ae_title="SENDER")
    for uid in {ds.SOPClassUID for ds in datasets}:
        ae.add_requested_context(uid, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="ARCHIVE")
    assert association.is_established
    statuses = [association.send_c_store(ds).Status for ds in datasets]
    association.release()
    return statuses


def find(port, identifier):
    ae = AE()
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = ae.associate("127.0.0.1", port)
    answers = [
        answer
        for _, answer in association.send_c_find(
            identifier, StudyRootQueryRetrieveInformationModelFind
        )
        if answer is not None
    ]
    association.release()
    return answers


@pytest.fixture
def archive(tmp_path):
    with DemoArchive(tmp_path / "archive") as archive:
        yield archive


def test_every_store_is_counted_and_hashed_doubles_included(archive):
    series = ct_series((2, 8, 8))
    assert send(archive.port, series) == [0, 0]
    assert send(archive.port, series) == [0, 0]
    assert len(archive.received) == 4
    assert all(len(versions) == 1 for versions in archive.hashes().values())
    assert len(archive.kept()) == 2
    assert archive.received[0].calling_ae == "SENDER"
    assert archive.received[0].called_ae == "ARCHIVE"


def test_the_hash_is_that_of_the_file_that_was_sent(archive, tmp_path):
    path = write_series(tmp_path / "source", ct_series((1, 8, 8)))[0]
    send(archive.port, [dcmread(path)])
    assert archive.received[0].sha256 == dataset_sha256(path)
    assert dataset_sha256(archive.kept()[0]) == dataset_sha256(path)


def test_other_bytes_under_a_known_uid_are_kept_beside_the_first(archive):
    series = ct_series((1, 8, 8))
    send(archive.port, series)
    series[0].StudyDescription = "OTHER"
    send(archive.port, series)
    assert [len(versions) for versions in archive.hashes().values()] == [2]
    assert len(archive.kept()) == 2


def test_private_and_label_map_objects_are_taken(archive):
    objects = [
        *ct_series((1, 8, 8), SOPClassUID=PRIVATE_CLASS),
        *ct_series((1, 8, 8), SOPClassUID=LABEL_MAP),
    ]
    assert send(archive.port, objects) == [0, 0]


def test_answers_can_be_chosen(tmp_path):
    with DemoArchive(tmp_path, answer=lambda _uid: 0xA700) as archive:
        assert send(archive.port, ct_series((1, 8, 8))) == [0xA700]
        assert archive.kept() == ()
        assert archive.received[0].status == 0xA700


def test_finds_by_level_with_counts(archive):
    ours = ct_series((3, 8, 8), PatientID="A-1")
    send(archive.port, ours + ct_series((2, 8, 8), PatientID="B-1"))
    query = made(QueryRetrieveLevel="SERIES", StudyInstanceUID=ours[0].StudyInstanceUID)
    query.update(made(SeriesInstanceUID="", NumberOfSeriesRelatedInstances="", PatientID=""))
    (series,) = find(archive.port, query)
    assert series.SeriesInstanceUID == ours[0].SeriesInstanceUID
    assert series.NumberOfSeriesRelatedInstances == 3
    assert series.PatientID == "A-1"
    by_name = made(QueryRetrieveLevel="STUDY", PatientID="*-1", StudyInstanceUID="")
    assert len(find(archive.port, by_name)) == 2
    images = made(QueryRetrieveLevel="IMAGE", SOPInstanceUID=ours[1].SOPInstanceUID)
    assert len(find(archive.port, images)) == 1
    assert find(archive.port, made(QueryRetrieveLevel="STUDY", PatientID="C")) == []


def test_gets_what_it_kept(archive):
    series = ct_series((2, 8, 8))
    send(archive.port, series)
    got: list[Dataset] = []
    ae = AE()
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_requested_context(CTImageStorage)
    association = ae.associate(
        "127.0.0.1",
        archive.port,
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, lambda event: got.append(event.dataset) or 0)],
    )
    query = made(QueryRetrieveLevel="STUDY", StudyInstanceUID=series[0].StudyInstanceUID)
    model = StudyRootQueryRetrieveInformationModelGet
    statuses = [status.Status for status, _ in association.send_c_get(query, model)]
    association.release()
    assert statuses[-1] == 0
    assert {ds.SOPInstanceUID for ds in got} == {ds.SOPInstanceUID for ds in series}
    assert got[0].PixelData == series[0].PixelData


def test_a_restarted_archive_still_knows_what_it_had(tmp_path):
    series = ct_series((2, 8, 8))
    with DemoArchive(tmp_path) as archive:
        send(archive.port, series)
    with DemoArchive(tmp_path) as archive:
        assert len(archive.received) == 2
        assert len(find(archive.port, made(QueryRetrieveLevel="IMAGE", SOPInstanceUID=""))) == 2


def test_runs_as_a_process_and_ends_on_sigterm(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "node.phantom.archive", "--folder", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on 127.0.0.1:{port}\n"
        ae = AE()
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", port)
        assert association.send_c_echo().Status == 0
        association.release()
        assert send(port, ct_series((1, 8, 8))) == [0]
        assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 1
    finally:
        process.terminate()
        started = time.monotonic()
        assert process.wait(10) == 0
        process.stdout.close()
    assert time.monotonic() - started < 5
