"""Names in advance: durable before they are given out, and whose they are."""

import errno
import os
from pathlib import Path

import pytest

from node.intake.names import Names, living_owners, owner_of
from node.storage.files import Files


@pytest.fixture
def files(tmp_path):
    files = Files(tmp_path)
    files.prepare()
    return files


@pytest.fixture
def names(files):
    names = Names(files)
    yield names
    names.close()


def test_s12_a_name_is_durable_before_it_is_given_out(names, files, monkeypatch):
    created, durable = set(), set()
    real_open, real_fsync = os.open, os.fsync

    def opened(path, flags, *rest, **options):
        descriptor = real_open(path, flags, *rest, **options)
        if flags & os.O_EXCL:
            created.add(str(path))
        return descriptor

    def fsync(descriptor):
        seen = set(created)
        real_fsync(descriptor)
        if Path(f"/proc/self/fd/{descriptor}").readlink() == files.incoming:
            durable.update(seen)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(400):  # faster than they can be made in advance
        path, descriptor = names.open()
        os.close(descriptor)
        assert str(path) in durable
        assert path.stat().st_size == 0


def test_every_name_is_given_out_once_and_unused_ones_go(names, files):
    given = []
    for _ in range(300):
        path, descriptor = names.open()
        os.close(descriptor)
        given.append(path)
    assert len(set(given)) == 300
    names.close()
    assert set(files.incoming.iterdir()) == set(given)


def test_names_that_somebody_removed_are_made_again(names, files):
    path, descriptor = names.open()
    os.close(descriptor)
    for left in files.incoming.glob("*.part"):
        left.unlink()
    again, descriptor = names.open()
    os.close(descriptor)
    assert again != path
    assert again.exists()


def test_names_have_an_owner_as_long_as_its_process_lives(names, files):
    path, descriptor = names.open()
    os.close(descriptor)
    assert living_owners(files) == {owner_of(path)}
    names.close()
    assert not living_owners(files)
    assert owner_of(files.new_incoming()) == ""


def test_the_lock_of_a_dead_process_is_removed(names, files):
    (files.incoming / "0123456789abcdef.lock").touch()
    assert not living_owners(files)
    assert not list(files.incoming.glob("*.lock"))


def test_s11_a_disk_that_takes_no_names_is_said(names, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            names.open()
    _, descriptor = names.open()
    os.close(descriptor)
