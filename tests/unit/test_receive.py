"""One C-STORE's bytes: what is answered, what is kept, and in which order it becomes durable."""

import errno
import hashlib
import json
import os
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import Sequence
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy import event

from node.dicom.part10 import content_sha256, pixel_sha256, read_part10, scan_file
from node.intake.policy import Admission
from node.intake.receive import Intake, StoreCommand, new_instance
from node.model import InstanceState
from node.settings import ReceiveSettings
from node.storage import tables
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import get_study, instances_of_study, list_quarantine, versions_of
from tests.make import ct_series
from tests.unit.test_scan import nested_by_hand

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
PEER = Admission(
    calling_ae="SCANNER", called_ae="NODE", peer="ct", may_store=True, max_associations=8
)


class Site:
    """Rows and files of one node, and a sender's side of the conversation."""

    def __init__(self, folder):
        self.db = Database(f"sqlite:///{folder}/node.db")
        tables.metadata.create_all(self.db.engine)
        self.files = Files(folder / "data")
        self.files.prepare()
        self.now = 1000.25
        self.intake = None
        self.limits(min_free_mb=0)

    def limits(self, **limits):
        if self.intake is not None:
            self.intake.close()
        self.intake = Intake(self.db, self.files, ReceiveSettings(**limits), clock=lambda: self.now)

    def store(self, content, *, sop="", sop_class=CT, syntax=EXPLICIT, admission=PEER, chunk=1000):
        command = StoreCommand(
            sop_class_uid=sop_class, sop_instance_uid=sop, transfer_syntax_uid=syntax
        )
        upload = self.intake.begin(command, admission)
        for start in range(0, len(content), chunk):
            upload.write(content[start : start + chunk])
        return upload.finish()

    def send(self, ds, **options):
        return self.store(encoded(ds), **{"sop": ds.SOPInstanceUID, **options})

    def left_over(self):
        return list(self.files.incoming.iterdir())


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.intake.close()
    assert not site.left_over()
    site.db.close()


def encoded(ds):
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    bare = pydicom.Dataset({e.tag: e for e in ds if e.tag.group > 2})
    write_dataset(buffer, bare)
    return buffer.getvalue()


def image(**changes):
    (ds, *_) = ct_series((2, 8, 8))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def only_instance(site, ds):
    (instance,) = instances_of_study(site.db, ds.StudyInstanceUID)
    return instance


def test_s11_a_good_object_is_stored_as_received(site):
    ds = image()
    answer = site.send(ds)
    assert (answer.status, answer.code) == (0x0000, "NEW")
    instance = only_instance(site, ds)
    stored = site.files.absolute(instance.path)
    assert stored.read_bytes().endswith(encoded(ds))
    assert stored.stat().st_size == instance.size_bytes
    assert instance.content_sha256 == hashlib.sha256(encoded(ds)).hexdigest()
    assert instance.pixel_sha256 == hashlib.sha256(ds.PixelData).hexdigest()
    assert pydicom.dcmread(stored).pixel_array.shape == (8, 8)


def test_e02_the_file_says_what_the_row_says(site):
    ds = image()
    site.send(ds)
    instance = only_instance(site, ds)
    path = site.files.absolute(instance.path)
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    assert meta.SourceApplicationEntityTitle == "SCANNER"
    assert meta.SendingApplicationEntityTitle == "SCANNER"
    assert meta.ReceivingApplicationEntityTitle == "NODE"
    assert json.loads(meta.PrivateInformation)["received_at"] == "1000.25"
    part10, header = scan_file(path)
    with path.open("rb") as stream:
        pixels = pixel_sha256(stream, part10, header)
    again = new_instance(
        part10.transfer_syntax_uid,
        header,
        content=content_sha256(path, part10),
        pixels=pixels,
        size_bytes=path.stat().st_size,
        stamp=part10.stamp,
        path=instance.path,
    )
    for name in type(again).__dataclass_fields__:
        if name != "peer":
            assert getattr(again, name) == getattr(instance, name), name
    assert again.peer == get_study(site.db, ds.StudyInstanceUID).peer == "ct"


def test_s12_sync_under_a_durable_name_link_commit_answer_and_only_then_the_rest(site, monkeypatch):
    second = image()
    site.send(second)  # the folders of the series exist now, and names in advance
    deadline = time.monotonic() + 5
    while not site.intake.names._ready:
        assert time.monotonic() < deadline
    calls, later = [], []
    handler = threading.get_ident()
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor):
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        mine = calls if threading.get_ident() == handler else later
        mine.append(("fsync", "file" if target.suffix == ".part" else target.name))
        real_fsync(descriptor)

    def link(source, target):
        complete = Path(source).stat().st_size
        calls.append(("link", "file"))
        assert complete == len(content) + read_part10(source).dataset_offset
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    event.listen(site.db.engine, "commit", lambda _: calls.append(("commit", "rows")))
    second.SOPInstanceUID = "1.2.3.99"
    content = encoded(second)
    answer = site.store(content, sop="1.2.3.99")
    calls.append(("answer", f"{answer.status:04X}"))
    assert calls == [
        ("fsync", "file"),
        ("link", "file"),
        ("commit", "rows"),
        ("answer", "0000"),
    ]
    site.intake.close()
    assert ("fsync", second.SeriesInstanceUID) in [*later, *calls[4:]]


def test_s12_sqlite_syncs_every_commit(site):
    with site.db.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_s02_the_same_bytes_again_are_stored_once(site):
    ds = image()
    site.send(ds)
    site.now = 1010.0
    assert site.send(ds).code == "SAME"
    assert len(instances_of_study(site.db, ds.StudyInstanceUID)) == 1


def test_s02_a_second_version_lies_beside_the_first(site):
    ds = image()
    site.send(ds)
    corrected = image(PatientName="Other^Name")
    corrected.SOPInstanceUID = ds.SOPInstanceUID
    corrected.StudyInstanceUID, corrected.SeriesInstanceUID = (
        ds.StudyInstanceUID,
        ds.SeriesInstanceUID,
    )
    answer = site.send(corrected)
    assert (answer.status, answer.code) == (0x0000, "VERSION")
    first, second = versions_of(site.db, ds.SOPInstanceUID)
    assert second.state is InstanceState.UNRESOLVED
    sha8 = second.content_sha256[:8]
    assert second.path == first.path.replace(".dcm", f".{sha8}.dcm")
    assert site.files.absolute(first.path).read_bytes().endswith(encoded(ds))
    assert site.files.absolute(second.path).read_bytes().endswith(encoded(corrected))


def test_s12_a_file_that_a_crash_left_without_row_is_adopted(site):
    ds = image()
    site.send(ds)
    instance = only_instance(site, ds)
    with site.db.write() as connection:
        connection.execute(tables.instance.delete())
        connection.execute(tables.series.delete())
        connection.execute(tables.study.delete())
    site.now = 2000.0
    assert site.send(ds).code == "NEW"
    again = only_instance(site, ds)
    assert again == replace(instance, id=again.id)  # its time is that of the file


def test_a_file_that_somebody_removed_is_put_back(site):
    ds = image()
    site.send(ds)
    path = site.files.absolute(only_instance(site, ds).path)
    path.unlink()
    assert site.send(ds).status == 0x0000
    assert path.exists()


def test_s11_deep_nesting_goes_to_quarantine_acknowledged(site):
    content = nested_by_hand(200, True)
    answer = site.store(class_first(content), sop="1.2.3")
    assert (answer.status, answer.code) == (0x0000, "TOO_DEEP")
    (held,) = list_quarantine(site.db)
    assert (held.code, held.study_instance_uid) == ("TOO_DEEP", "1.2.3.4")
    assert site.files.absolute(held.path).read_bytes().endswith(content)
    assert get_study(site.db, "1.2.3.4") is None
    assert site.store(class_first(content), sop="1.2.3").status == 0x0000
    assert len(list_quarantine(site.db)) == 1


def class_first(content):
    ds = pydicom.Dataset()
    ds.SOPClassUID = CT
    return encoded(ds) + content


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", ["", "../../1", None])
def test_s11_no_usable_uids_is_c000(site, keyword, value):
    ds = image()
    sop = ds.SOPInstanceUID
    if value is None:
        delattr(ds, keyword)
    else:
        ds[keyword].value = ""
        ds[keyword]._value = value
    answer = site.store(encoded(ds), sop=sop)
    assert (answer.status, answer.code) == (0xC000, "NO_USABLE_UID")
    assert keyword in answer.comment
    assert not list(site.files.data_dir.glob("studies/**/*.dcm"))


@pytest.mark.parametrize("content", [b"", b"\0", b"DICM", bytes(5000), b"\xff" * 5000])
def test_s11_garbage_is_c000(site, content):
    assert site.store(content, sop="1.2.3").status == 0xC000


def test_s11_other_uids_than_the_request_is_a900(site):
    ds = image()
    assert site.store(encoded(ds), sop="1.2.3.4.5").status == 0xA900
    mr = "1.2.840.10008.5.1.4.1.1.4"
    answer = site.send(ds, sop_class=mr)
    assert (answer.status, answer.code) == (0xA900, "UID_MISMATCH")
    assert not instances_of_study(site.db, ds.StudyInstanceUID)


def test_s11_a_peer_that_may_not_store_is_0124(site):
    answer = site.send(image(), admission=replace(PEER, may_store=False))
    assert answer.status == 0x0124


def test_s11_a700_before_the_disk_is_full(site):
    site.limits(min_free_mb=1 << 40)
    ds = image()
    answer = site.send(ds)
    assert (answer.status, answer.comment) == (0xA700, "disk nearly full")
    site.limits(min_free_mb=0)
    assert site.send(ds).status == 0x0000


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_s11_a_disk_that_fails_is_a700_and_nothing_is_recorded(site, monkeypatch, call):
    ds = image()

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        answer = site.send(ds)
    assert answer.status == 0xA700
    assert "No space left" in answer.comment
    assert not instances_of_study(site.db, ds.StudyInstanceUID)
    assert site.send(ds).status == 0x0000


def test_s11_a_database_that_fails_is_a700_and_the_retry_adopts_the_file(site):
    ds = image()
    with site.db.write() as connection:
        connection.exec_driver_sql("ALTER TABLE instance RENAME TO away")
    assert site.send(ds).status == 0xA700
    with site.db.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO instance")
    assert site.send(ds).code == "NEW"
    assert len(list(site.files.data_dir.glob("studies/**/*.dcm"))) == 1


def test_an_aborted_upload_leaves_nothing(site):
    ds = image()
    upload = site.intake.begin(
        StoreCommand(
            sop_class_uid=CT, sop_instance_uid=ds.SOPInstanceUID, transfer_syntax_uid=EXPLICIT
        ),
        PEER,
    )
    upload.write(encoded(ds)[:500])
    upload.discard()
    assert not site.left_over()
    assert get_study(site.db, ds.StudyInstanceUID) is None


def test_s11_truncated_pixels_are_stored_for_the_gate_to_refuse(site):
    ds = image()
    assert site.store(encoded(ds)[:-20], sop=ds.SOPInstanceUID).code == "NEW"


def test_private_elements_stay_in_the_stored_object(site):
    ds = image()
    block = ds.private_block(0x0011, "MAKER", create=True)
    block.add_new(1, "LO", "secret sauce")
    ds.RequestAttributesSequence = Sequence([])
    site.send(ds)
    stored = pydicom.dcmread(
        BytesIO(site.files.absolute(only_instance(site, ds).path).read_bytes())
    )
    assert stored.private_block(0x0011, "MAKER")[1].value == "secret sauce"


def test_s28_comments_hold_no_identifiers(site):
    ds = image(PatientName="Secret^Patient", PatientID="ID-4711")
    answer = site.store(encoded(ds), sop="1.2.3.4.5")
    for value in ("Secret", "4711", str(ds.SOPInstanceUID), "1.2.3.4.5"):
        assert value not in answer.comment
    assert len(answer.comment) <= 64
