"""The data folder: paths, permissions, and the order of what makes a file durable."""

import os
import stat
from pathlib import Path

import pytest

from node.errors import InstanceRejected, StorageUnavailable
from node.storage.files import Files, check_uid, open_private

SHA = "ab" * 32


@pytest.fixture
def files(tmp_path):
    files = Files(tmp_path / "data")
    files.prepare()
    return files


def incoming(files, content=b"bytes"):
    path = files.new_incoming()
    with open_private(path) as stream:
        stream.write(content)
    return path


def test_layout(files):
    first = files.instance_path("1.2", "3.4", "5.6")
    assert files.relative(first) == "studies/1.2/3.4/5.6.dcm"
    second = files.instance_path("1.2", "3.4", "5.6", SHA)
    assert files.relative(second) == "studies/1.2/3.4/5.6.abababab.dcm"
    assert files.relative(files.quarantine_path(SHA)) == f"quarantine/{SHA}.dcm"
    assert files.relative(files.evidence_folder("0" * 32)) == f"evidence/{'0' * 32}"
    assert files.absolute("studies/1.2/3.4/5.6.dcm") == first


@pytest.mark.parametrize("bad", ["", "..", "1/2", "../1", "1.2\n", "/etc", "1" * 65])
def test_s11_no_uid_that_is_none_becomes_a_path(files, bad):
    with pytest.raises(InstanceRejected) as raised:
        check_uid(bad)
    assert raised.value.dicom_status == 0xC000
    for uids in ((bad, "1", "1"), ("1", bad, "1"), ("1", "1", bad)):
        with pytest.raises(InstanceRejected):
            files.instance_path(*uids)


@pytest.mark.parametrize("bad", ["..", "A" * 32, "0" * 31, "../" + "0" * 29])
def test_job_folders_have_job_ids_only(files, bad):
    with pytest.raises(ValueError, match="job id"):
        files.job_folder(bad)


@pytest.mark.parametrize("bad", ["/etc/passwd", "../x", "studies/../../x"])
def test_stored_paths_stay_inside(files, bad):
    with pytest.raises(ValueError, match="leaves"):
        files.absolute(bad)


def test_s28_files_and_folders_are_closed_to_others_whatever_the_umask(files):
    before = os.umask(0)
    try:
        final = files.instance_path("1.2", "3.4", "5.6")
        files.publish(incoming(files), final)
    finally:
        os.umask(before)
    assert stat.S_IMODE(final.stat().st_mode) == 0o600
    for folder in (final.parent, final.parent.parent, files.incoming, files.data_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_s12_publish_never_overwrites(files):
    final = files.instance_path("1.2", "3.4", "5.6")
    files.publish(incoming(files, b"first"), final)
    second = incoming(files, b"second")
    with pytest.raises(FileExistsError):
        files.publish(second, final)
    assert final.read_bytes() == b"first"
    assert second.exists()


class Recorder:
    """Records system calls at the border: what happened to which path, in order."""

    def __init__(self, monkeypatch, root):
        self.calls = []
        self._root = root
        for name in ("fsync", "link", "mkdir", "unlink"):
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, real):
        def call(*args, **kwargs):
            if name == "fsync":
                target = str(Path(f"/proc/self/fd/{args[0]}").readlink())
            else:
                target = str(args[-1] if name == "link" else args[0])
            result = real(*args, **kwargs)
            self.calls.append((name, os.path.relpath(target, self._root)))
            return result

        return call


def test_s12_file_then_link_then_folders(files, monkeypatch):
    recorder = Recorder(monkeypatch, files.data_dir)
    final = files.instance_path("1.2", "3.4", "5.6")
    temporary = incoming(files)
    files.publish(temporary, final)
    linked = recorder.calls.index(("link", "studies/1.2/3.4/5.6.dcm"))
    before, after = recorder.calls[:linked], recorder.calls[linked:]
    assert ("fsync", f"incoming/{temporary.name}") in before
    # Each new folder is made, then what names it is synced; only then the other name goes.
    assert ("mkdir", "studies/1.2/3.4") in before
    folders = ["studies", "studies/1.2", "studies/1.2/3.4"]
    assert [path for name, path in after if name == "fsync"][-3:] == folders
    assert after[-1] == ("unlink", f"incoming/{temporary.name}")


def test_s12_a_link_is_durable_with_its_folder_and_the_folders_above(files, monkeypatch):
    final = files.instance_path("1.2", "3.4", "5.6")
    temporary = incoming(files)
    recorder = Recorder(monkeypatch, files.data_dir)
    files.link(temporary, final)
    assert "fsync" not in [name for name, _ in recorder.calls]
    assert stat.S_IMODE(final.parent.parent.stat().st_mode) == 0o700
    files.sync_folder(final.parent)
    synced = [path for name, path in recorder.calls if name == "fsync"]
    assert synced[-3:] == ["studies", "studies/1.2", "studies/1.2/3.4"]
    assert temporary.exists()


def test_s12_second_file_of_a_series_costs_two_syncs(files, monkeypatch):
    files.publish(incoming(files), files.instance_path("1.2", "3.4", "5.6"))
    recorder = Recorder(monkeypatch, files.data_dir)
    files.publish(incoming(files), files.instance_path("1.2", "3.4", "5.7"))
    assert [name for name, _ in recorder.calls].count("fsync") == 2


def test_a_folder_cleared_behind_our_back_is_made_again(files):
    final = files.instance_path("1.2", "3.4", "5.6")
    files.publish(incoming(files), final)
    final.unlink()
    final.parent.rmdir()
    files.publish(incoming(files), final)
    assert final.exists()


def test_write_publishes_and_leaves_nothing(files):
    final = files.evidence_folder("0" * 32) / "seg.dcm"
    files.write(final, b"evidence")
    assert final.read_bytes() == b"evidence"
    with pytest.raises(FileExistsError):
        files.write(final, b"other")
    assert not list(files.incoming.iterdir())


def test_only_old_half_received_files_are_cleared(files):
    old, new = incoming(files), incoming(files)
    os.utime(old, (1000, 1000))
    os.utime(new, (3000, 3000))
    assert files.clear_incoming(older_than=2000) == 1
    assert not old.exists()
    assert new.exists()


def test_job_folder_is_dropped_and_comes_back(files):
    folder = files.job_folder("0" * 32)
    (folder / "volume.npy").write_bytes(b"x")
    files.drop_job_folder("0" * 32)
    assert not folder.exists()
    assert files.job_folder("0" * 32).is_dir()


def test_s11_a_lost_data_folder_is_said(tmp_path):
    files = Files(tmp_path / "gone")
    with pytest.raises(StorageUnavailable) as raised:
        files.free_bytes()
    assert raised.value.dicom_status == 0xA700
