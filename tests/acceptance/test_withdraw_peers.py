"""Withdrawals and "did not run" against Orthanc, by DICOM and by REST (S7, S8)."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from node.delivery.destination import open_destination
from node.delivery.folder import FolderDestination
from node.model import WithdrawalState
from node.storage.delivery_rows import evidence_of_job
from tests.peers import Orthanc, dciodvfy, run_tool
from tests.peers import dcmtk as dcmtk_tool
from tests.withdrawing import IOCM, NOW, PLAIN, WithdrawingSite, place

pytestmark = pytest.mark.peer

HIDDEN, VISIBLE = WithdrawalState.HIDDEN, WithdrawalState.VISIBLE


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    opened: list[WithdrawingSite] = []

    def one(settings: Any) -> WithdrawingSite:
        site = WithdrawingSite(tmp_path / "node", settings)
        site.open(open_destination(settings, "NODE"))
        opened.append(site)
        return site

    yield one
    for site in opened:
        site.db.close()


def by_dicom(server: Orthanc, **changes: Any) -> Any:
    return place(port=server.dicom_port, ae_title="ORTHANC", timeout_s=20.0, **changes)


def by_rest(server: Orthanc, **changes: Any) -> Any:
    return place(kind="orthanc", url=server.url, ae_title="", host="", timeout_s=20.0, **changes)


def kept(server: Orthanc, modality: str) -> list[Dataset]:
    return [dcmread(io.BytesIO(content)) for content in server.files_of(modality)]


def delete(server: Orthanc, sop_instance_uid: str) -> None:
    """As a person does in the PACS."""
    (stored,) = server.lookup(sop_instance_uid)
    request = urllib.request.Request(f"{server.url}/instances/{stored}", method="DELETE")
    urllib.request.urlopen(request, timeout=20).close()


def assert_no_fault_of_ours(site: WithdrawingSite, tmp_path: Path, *jobs: Any) -> None:
    """dciodvfy and DCMTK's dsrdump on every note that the node made."""
    notes = [
        one
        for job in jobs
        for one in evidence_of_job(site.db, job.id)
        if one.withdraws or one.kind == "notrun"
    ]
    assert notes
    for one in notes:
        path = site.files.absolute(one.path)
        assert dciodvfy(path) == []
        assert "WITHDRAWN" in run_tool([dcmtk_tool("dsrdump"), path]) or one.kind == "notrun"


@pytest.mark.parametrize("title", ["113001", "113037"])
def test_s08_a_rejection_lies_in_orthanc_and_it_says_that_it_hides_nothing(
    start_orthanc, make, tmp_path, title
):
    server = start_orthanc()
    kind = {"113001": "quality", "113037": "safety"}[title]
    site = make(by_dicom(server, profile=replace(IOCM, iocm=kind)))
    job = site.run()
    site.deliver()
    assert set(site.deliveries(job).values()) == {"PROVEN"}
    site.withdraw(job)
    site.settle()
    (note,) = kept(server, "KO")
    assert note.ConceptNameCodeSequence[0].CodeValue == title
    named = [i for i in note.ContentSequence if i.ValueType in ("IMAGE", "COMPOSITE")]
    ours = {e.sop_instance_uid for e in evidence_of_job(site.db, job.id) if not e.withdraws}
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in named} == ours
    states = {e for d, e in site.deliveries(job).items()}
    assert states == {"PROVEN"}, "the note itself is proven"
    # Orthanc knows no IOCM: it keeps showing both, and that is said.
    assert site.states(job) == {VISIBLE}
    assert "still found there" in site.taken(job)[0].withdrawal.sentence
    assert_no_fault_of_ours(site, tmp_path, job)


@pytest.mark.parametrize("door", [by_dicom, by_rest], ids=["dicom", "rest"])
def test_s08_without_iocm_a_report_says_withdrawn(start_orthanc, make, tmp_path, door):
    server = start_orthanc()
    site = make(door(server, profile=PLAIN))
    job = site.run()
    site.deliver()
    site.withdraw(job)
    site.settle()
    assert not kept(server, "KO")
    words = [str(ds.SeriesDescription) for ds in kept(server, "SR")]
    assert sum("WITHDRAWN" in word for word in words) == 1
    assert site.states(job) == {VISIBLE}
    assert_no_fault_of_ours(site, tmp_path, job)


def test_s08_orthanc_deletes_by_rest_where_the_settings_allow_it(start_orthanc, make):
    server = start_orthanc()
    site = make(by_rest(server, withdraw="delete"))
    job, other = site.run(), site.run(rule="other")
    site.deliver()
    before = len(server.instances())
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {HIDDEN}
    assert len(server.instances()) == before - 2
    left = {i["MainDicomTags"]["SOPInstanceUID"] for i in server.instances()}
    assert left == {e.sop_instance_uid for e in evidence_of_job(site.db, other.id)}


def test_s08_orthanc_keeps_what_is_not_what_we_sent(start_orthanc, make, tmp_path):
    server = start_orthanc()
    site = make(by_rest(server, withdraw="delete"))
    job = site.run()
    site.deliver()
    report = next(e for e in evidence_of_job(site.db, job.id) if e.role == "sr")
    delete(server, report.sop_instance_uid)
    ds = dcmread(site.files.absolute(report.path))
    ds.SeriesDescription = "EDITED BY A PERSON"
    ds.save_as(tmp_path / "edited.dcm")
    server.upload([tmp_path / "edited.dcm"])
    site.withdraw(job)
    site.settle()
    states = {one.evidence.role: one.withdrawal for one in site.taken(job)}
    assert states["seg"].state is HIDDEN
    assert states["sr"].state is VISIBLE
    assert "not what we sent" in states["sr"].sentence
    assert server.lookup(report.sop_instance_uid)


@pytest.mark.parametrize("door", [by_dicom, by_rest], ids=["dicom", "rest"])
def test_s08_what_a_person_deleted_in_the_pacs_is_proven_gone(start_orthanc, make, door):
    server = start_orthanc()
    site = make(door(server))
    job = site.run()
    site.deliver()
    site.withdraw(job)
    site.settle()
    assert site.states(job) == {VISIBLE}
    for one in evidence_of_job(site.db, job.id):
        if not one.withdraws:
            delete(server, one.sop_instance_uid)
    site.look(NOW + 4000)
    assert site.states(job) == {HIDDEN}


@pytest.mark.parametrize("door", [by_dicom, by_rest], ids=["dicom", "rest"])
def test_s07_did_not_run_arrives_and_goes_when_a_later_run_is_proven(
    start_orthanc, make, tmp_path, door
):
    server = start_orthanc()
    site = make(door(server))
    refused = site.refuse()
    site.settle()
    (report,) = kept(server, "SR")
    assert "AI did not run" in str(report.SeriesDescription)
    assert site.deliveries(refused) == {("pacs", "notrun"): "PROVEN"}
    site.run()
    site.settle(NOW + 60)
    assert site.states(refused) == {VISIBLE}  # no IOCM, so the report says it
    words = [str(ds.SeriesDescription) for ds in kept(server, "SR")]
    assert sum("WITHDRAWN" in word for word in words) == 1
    assert_no_fault_of_ours(site, tmp_path, refused)


def test_s08_a_folder_gets_a_note_beside_each_file(make, tmp_path):
    settings = place(kind="folder", ae_title="", host="", path=tmp_path / "out")
    site = make(settings)
    assert isinstance(site.pacs(), FolderDestination)
    job = site.run()
    site.deliver()
    site.withdraw(job)
    site.settle()
    notes = sorted((tmp_path / "out").rglob("*.withdrawn.txt"))
    assert [note.name.split("_")[0] for note in notes] == ["seg", "sr"]
    assert "left and right swapped" in notes[0].read_text()
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2
    assert site.states(job) == {VISIBLE}
