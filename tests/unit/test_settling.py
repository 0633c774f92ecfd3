"""Final names synced together, later; what the disk does not take keeps its durable name."""

import errno
import os
import time
from pathlib import Path

import pytest

from node.intake.settling import Link, Settling
from node.storage.files import Files


@pytest.fixture
def files(tmp_path):
    files = Files(tmp_path)
    files.prepare()
    return files


def linked(files, number, series="3.4"):
    link = Link(files.new_incoming(), files.instance_path("1.2", series, f"5.{number}"))
    link.temporary.write_bytes(b"bytes")
    files.link(*link)
    return link


class Disk:
    """Counts syncs of folders, and refuses them while told to."""

    def __init__(self, monkeypatch):
        self.synced = []
        self.broken = False
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor):
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self._real(descriptor)
        self.synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())


def test_s12_many_links_share_the_sync_of_their_folder(files, monkeypatch):
    settling = Settling(files, linger_s=60)
    links = [linked(files, number) for number in range(50)]
    disk = Disk(monkeypatch)
    for link in links:
        settling.add(link)
    assert not disk.synced
    assert all(link.temporary.exists() for link in links)
    settling.close()
    assert disk.synced.count(links[0].final.parent) == 1
    assert not list(files.incoming.iterdir())
    assert all(link.final.exists() for link in links)


def test_s12_what_the_disk_does_not_take_keeps_its_name_and_is_tried_again(
    files, monkeypatch, capsys
):
    disk = Disk(monkeypatch)
    disk.broken = True
    settling = Settling(files, linger_s=0.01)
    link = linked(files, 1)
    settling.add(link)
    deadline = time.monotonic() + 5
    said = ""
    while "alarm" not in said:
        said += capsys.readouterr().out
        assert time.monotonic() < deadline
    assert link.temporary.exists()
    disk.broken = False
    settling.close()
    assert not link.temporary.exists()


def test_s12_a_disk_that_stays_broken_keeps_the_name_over_the_end(files, monkeypatch):
    disk = Disk(monkeypatch)
    disk.broken = True
    settling = Settling(files, linger_s=60)
    link = linked(files, 1)
    settling.add(link)
    settling.close()
    assert link.temporary.exists()


def test_s12_one_folder_that_fails_does_not_keep_the_others(files, monkeypatch):
    settling = Settling(files, linger_s=60)
    good, bad = linked(files, 1, "3.4"), linked(files, 1, "3.5")
    settling.add(good)
    settling.add(bad)
    real = files.sync_folder

    def sync_folder(folder):
        if folder == bad.final.parent:
            raise OSError(errno.EIO, "Input/output error")
        real(folder)

    files.sync_folder = sync_folder
    settling.close()
    assert not good.temporary.exists()
    assert bad.temporary.exists()


def test_s11_too_many_that_wait_are_synced_in_line_or_refused(files, monkeypatch):
    settling = Settling(files, linger_s=60, most_waiting=2)
    disk = Disk(monkeypatch)
    disk.broken = True
    waiting = [linked(files, number) for number in range(2)]
    for link in waiting:
        settling.add(link)
    third = linked(files, 3)
    with pytest.raises(OSError, match="Input/output"):
        settling.add(third)
    assert not third.temporary.exists()  # nobody was told that it is here
    assert all(link.temporary.exists() for link in waiting)
    disk.broken = False
    fourth = linked(files, 4)
    settling.add(fourth)
    assert not fourth.temporary.exists()
    settling.close()
