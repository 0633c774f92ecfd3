"""E2: the file is the truth; rows that are lost come back equal."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import delete, update

from node.dicom.part10 import read_part10
from node.intake.policy import Admission
from node.intake.receive import Intake, StoreCommand
from node.intake.reindex import recover, reindex
from node.intake.versions import choose_version, resolve_versions
from node.model import Instance, InstanceState, Origin, StudyState
from node.settings import ReceiveSettings
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import get_study, instances_of_study, list_studies
from node.storage.migrate import migrate
from node.storage.quarantine_rows import list_quarantine
from node.storage.tables import instance, metadata, series, study
from tests.make import ct_series, part10

#: File times are real, so our clock is too.
NOW = time.time()
ADMISSION = Admission(
    calling_ae="CT1", called_ae="SENTINEL", peer="scanner", may_store=True, max_associations=8
)


class Site:
    def __init__(self, folder: Path):
        self.files = Files(folder)
        self.files.prepare()
        url = f"sqlite:///{folder / 'node.db'}"
        migrate(url, folder)
        self.db = Database(url)
        self.clock = NOW - 5000.0

    def receive(self, ds: Dataset | bytes, sop: tuple[str, str] | None = None) -> int:
        """Store an object through the real intake, each a second after the one before."""
        self.clock += 1.0
        intake = Intake(self.db, self.files, ReceiveSettings(min_free_mb=1), clock=self.read_clock)
        content = part10(ds) if isinstance(ds, Dataset) else ds
        if isinstance(ds, Dataset):
            temporary = self.files.data_dir / "sent.dcm"
            temporary.write_bytes(content)
            meta = read_part10(temporary)
            content = content[meta.dataset_offset :]
            sop = (meta.sop_class_uid, meta.sop_instance_uid)
        assert sop is not None
        command = StoreCommand(
            sop_class_uid=sop[0],
            sop_instance_uid=sop[1],
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        upload = intake.begin(command, ADMISSION)
        upload.write(content)
        status = upload.finish().status
        intake.close()
        return status

    def read_clock(self) -> float:
        return self.clock

    def lose_all_rows(self) -> None:
        with self.db.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))

    def listing(self) -> list[Instance]:
        """Return all instances, without what a row only has as a row."""
        return [
            replace(found, id=0)
            for each in sorted(list_studies(self.db), key=lambda s: s.study_instance_uid)
            for found in instances_of_study(self.db, each.study_instance_uid)
        ]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.db.close()


def studies(site: Site) -> list[object]:
    return [
        (s.study_instance_uid, s.first_received_at, s.last_received_at, s.calling_ae, s.peer)
        for s in list_studies(site.db)
    ]


def test_lost_rows_come_back_equal(site: Site) -> None:
    for ds in (*ct_series((3, 8, 8)), *ct_series((2, 8, 8))):
        assert site.receive(ds) == 0
    before, studies_before = site.listing(), studies(site)
    site.lose_all_rows()
    assert site.listing() == []
    counts = reindex(site.db, site.files, now=NOW)
    assert counts["instances"] == 5
    assert counts["unfit"] == counts["gone"] == 0
    assert site.listing() == before
    assert studies(site) == studies_before
    assert before[0].calling_ae == "CT1"
    assert before[0].called_ae == "SENTINEL"


def test_a_second_reindex_changes_nothing(site: Site) -> None:
    for ds in ct_series((3, 8, 8)):
        site.receive(ds)
    before = site.listing()
    assert not any(reindex(site.db, site.files, now=NOW).values())
    assert site.listing() == before


def test_only_the_rows_that_are_missing_are_added(site: Site) -> None:
    for ds in ct_series((3, 8, 8)):
        site.receive(ds)
    before = site.listing()
    with site.db.write() as connection:
        last = connection.execute(delete(instance).where(instance.c.id == 3))
        assert last.rowcount == 1
    assert reindex(site.db, site.files, now=NOW)["instances"] == 1
    assert site.listing() == before


def test_versions_come_back_in_the_order_they_arrived(site: Site) -> None:
    first = ct_series((1, 8, 8))[0]
    corrected = copy.deepcopy(first)
    corrected.PatientName = "Right^Name"
    conflicting = copy.deepcopy(first)
    conflicting.ImagePositionPatient = [9, 9, 9]
    for ds in (first, corrected):
        site.receive(ds)
    resolve_versions(site.db, site.files, now=NOW)
    before = site.listing()
    assert [v.state for v in before] == [InstanceState.REPLACED, InstanceState.STORED]
    site.lose_all_rows()
    reindex(site.db, site.files, now=NOW)
    resolve_versions(site.db, site.files, now=NOW)
    assert site.listing() == before
    site.receive(conflicting)
    resolve_versions(site.db, site.files, now=NOW)
    assert [v.state for v in site.listing()][1:] == [InstanceState.CONFLICT] * 2


def test_quarantine_comes_back(site: Site) -> None:
    image = ct_series((1, 8, 8))[0]
    whole = site.files.data_dir / "whole.dcm"
    whole.write_bytes(part10(image))
    content = whole.read_bytes()[read_part10(whole).dataset_offset :]
    content = content[: content.index(b"\xe0\x7f\x10\x00")]
    broken = content + b"\x10\x00\x20\x40LT\xff\x7fcut"
    uids = (str(image.SOPClassUID), str(image.SOPInstanceUID))
    assert site.receive(broken, uids) == 0
    before = list_quarantine(site.db)
    assert len(before) == 1
    site.lose_all_rows()
    assert reindex(site.db, site.files, now=NOW)["quarantined"] == 1
    assert list_quarantine(site.db) == before


def test_s17_our_own_results_are_known_as_ours_again(site: Site) -> None:
    ours = ct_series((1, 8, 8))[0]
    evidence = site.files.evidence_folder("0" * 32) / "seg.dcm"
    evidence.write_bytes(part10(ours))
    counts = reindex(site.db, site.files, now=NOW)
    assert counts["own"] == 1
    site.receive(ours)
    assert [v.origin for v in site.listing()] == [Origin.OWN]


def test_a_study_with_results_waits_for_a_person_and_one_without_runs(site: Site) -> None:
    worked_on, fresh = ct_series((1, 8, 8))[0], ct_series((1, 8, 8))[0]
    result = copy.deepcopy(worked_on)
    result.SOPInstanceUID = "2.25.77"
    site.receive(worked_on)
    site.receive(fresh)
    (site.files.evidence_folder("0" * 32) / "seg.dcm").write_bytes(part10(result))
    site.lose_all_rows()
    assert reindex(site.db, site.files, now=NOW)["held"] == 1
    states = {s.study_instance_uid: s.state for s in list_studies(site.db)}
    assert states == {
        worked_on.StudyInstanceUID: StudyState.HELD,
        fresh.StudyInstanceUID: StudyState.RECEIVING,
    }


def state_of(site: Site) -> StudyState:
    (found,) = list_studies(site.db)
    return found.state


@pytest.mark.parametrize(
    "change", [{"PatientName": "Right^Name"}, {"ImagePositionPatient": [9, 9, 9]}]
)
def test_s02_versions_settled_again_do_not_open_a_study_held_by_reindex(
    site: Site, change: dict[str, object]
) -> None:
    first = ct_series((1, 8, 8))[0]
    second, result = copy.deepcopy(first), copy.deepcopy(first)
    for keyword, value in change.items():
        setattr(second, keyword, value)
    result.SOPInstanceUID = "2.25.77"
    site.receive(first)
    site.receive(second)
    (site.files.evidence_folder("0" * 32) / "seg.dcm").write_bytes(part10(result))
    site.lose_all_rows()
    reindex(site.db, site.files, now=NOW)
    assert sum(resolve_versions(site.db, site.files, now=NOW).values()) == 1
    assert state_of(site) is StudyState.HELD
    for version in site.listing():
        if version.state is InstanceState.CONFLICT:
            sop, sha256 = version.sop_instance_uid, version.content_sha256
    if "ImagePositionPatient" in change:
        choose_version(site.db, sop, sha256, now=NOW)
    assert state_of(site) is StudyState.HELD
    other = copy.deepcopy(first)
    other.SOPInstanceUID = "2.25.78"
    site.receive(other)
    assert state_of(site) is StudyState.RECEIVING


def test_a_study_whose_row_stayed_is_not_held(site: Site) -> None:
    first, second = ct_series((2, 8, 8))
    result = copy.deepcopy(first)
    result.SOPInstanceUID = "2.25.77"
    (site.files.evidence_folder("0" * 32) / "seg.dcm").write_bytes(part10(result))
    site.receive(first)
    site.receive(second)
    with site.db.write() as connection:
        connection.execute(delete(instance).where(instance.c.id == 2))
        connection.execute(update(study).values(state=StudyState.ROUTED.value))
    assert reindex(site.db, site.files, now=NOW)["held"] == 0
    found = get_study(site.db, str(first.StudyInstanceUID))
    assert found is not None
    assert found.state is StudyState.RECEIVING  # a late image: a new revision (S14)


def test_rows_without_a_file_are_reported_and_stay(site: Site) -> None:
    for ds in ct_series((2, 8, 8)):
        site.receive(ds)
    site.files.absolute(site.listing()[0].path).unlink()
    assert reindex(site.db, site.files, now=NOW)["gone"] == 1
    assert len(site.listing()) == 2


def test_a_file_in_a_foreign_place_gets_no_row_and_stays(site: Site) -> None:
    site.receive(ct_series((1, 8, 8))[0])
    kept = site.files.absolute(site.listing()[0].path)
    foreign = kept.with_name("1.2.3.dcm")
    foreign.write_bytes(kept.read_bytes())
    kept.with_name("1.2.4.dcm").write_bytes(b"no DICOM")
    assert reindex(site.db, site.files, now=NOW)["unfit"] == 2
    assert foreign.exists()
    assert len(site.listing()) == 1


# --- after a crash -----------------------------------------------------------------------------


def test_a_file_that_was_linked_and_not_recorded_is_adopted(site: Site) -> None:
    for ds in ct_series((2, 8, 8)):
        site.receive(ds)
    before = site.listing()
    with site.db.write() as connection:
        connection.execute(delete(instance).where(instance.c.id == 2))
    assert recover(site.db, site.files, now=NOW)["instances"] == 1
    assert site.listing() == before


def test_recovery_finds_everything_when_all_rows_are_lost(site: Site) -> None:
    for ds in ct_series((2, 8, 8)):
        site.receive(ds)
    before = site.listing()
    with site.db.write() as connection:
        for table in (instance, series, study):
            connection.execute(delete(table))
    assert recover(site.db, site.files, now=NOW)["instances"] == 2
    assert site.listing() == before


def test_recovery_does_not_look_into_folders_that_are_older_than_the_last_row(site: Site) -> None:
    for ds in (*ct_series((1, 8, 8)), *ct_series((1, 8, 8))):
        site.receive(ds)
    old = site.files.absolute(site.listing()[0].path)
    unknown = old.with_name("1.2.3.dcm")
    unknown.write_bytes(b"no DICOM")
    os.utime(old.parent, (1.0, 1.0))
    for folder in site.files.data_dir.glob("studies/*/*"):
        if folder != old.parent:
            os.utime(folder, (NOW, NOW))
    assert recover(site.db, site.files, now=NOW)["unfit"] == 0
    assert reindex(site.db, site.files, now=NOW)["unfit"] == 1


def test_half_received_files_are_removed_when_nobody_writes_them(site: Site) -> None:
    old, young = site.files.new_incoming(), site.files.new_incoming()
    for path, age in ((old, 7200.0), (young, 60.0)):
        path.write_bytes(b"half")
        os.utime(path, (NOW - age, NOW - age))
    assert recover(site.db, site.files, now=NOW)["leftovers"] == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_the_file_of_a_duplicate_is_removed_if_a_crash_kept_it(site: Site) -> None:
    image = ct_series((1, 8, 8))[0]
    other = copy.deepcopy(image)
    other.SpecificCharacterSet = "ISO_IR 100"
    site.receive(image)
    site.receive(other)
    extra = site.files.absolute(site.listing()[1].path)
    content = extra.read_bytes()
    resolve_versions(site.db, site.files, now=NOW)
    assert not extra.exists()
    extra.write_bytes(content)
    recover(site.db, site.files, now=NOW)
    assert not extra.exists()
    assert [v.state for v in site.listing()] == [InstanceState.STORED, InstanceState.DUPLICATE]
