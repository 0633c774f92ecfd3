"""Bytes in memory or in a file: the same file in the end."""

import hashlib

import pytest

from node.dicom.part10 import Part10
from node.dicom.scan import ScanLimits
from node.intake import spool as module
from node.intake.names import Names
from node.intake.spool import Spool, Workbench
from node.storage.files import Files
from tests.make import ct_series
from tests.unit.test_receive import CT, EXPLICIT, encoded

META = b"\0" * 128 + b"DICM" + b"meta"
PART10 = Part10(
    sop_class_uid=CT,
    sop_instance_uid="1.2",
    transfer_syntax_uid=EXPLICIT,
    dataset_offset=len(META),
    stamp=None,
)


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
    assert not list(files.incoming.iterdir())


def landed(spool, content, chunk):
    for start in range(0, len(content), chunk):
        spool.append(memoryview(content)[start : start + chunk])
    header = spool.scan(META, PART10, ScanLimits())
    return spool.land(META, PART10, header), header


@pytest.mark.parametrize("side", [8, 256, 1000, 1700])
def test_e02_small_and_large_objects_land_the_same(names, side):
    bench = Workbench()
    (ds, _) = ct_series((2, side, side))
    content = encoded(ds)
    spool = Spool(names, bench, lambda: bytes(len(META)))
    path, header = landed(spool, content, 131_000)
    assert path.read_bytes() == META + content
    assert path.stat().st_mode & 0o777 == 0o600
    assert spool.content_sha256 == hashlib.sha256(content).hexdigest()
    assert spool.pixel_sha256 == hashlib.sha256(ds.PixelData).hexdigest()
    assert header.uid("SOPInstanceUID") == ds.SOPInstanceUID
    spool.recycle()
    assert not path.exists()


def test_memory_is_used_again_and_shows_nothing_of_the_object_before(names):
    bench = Workbench()
    (large, small) = ct_series((2, 600, 600))[0], ct_series((2, 8, 8))[1]
    for ds in (large, small, large):
        spool = Spool(names, bench, lambda: META)
        path, _ = landed(spool, encoded(ds), 70_000)
        assert path.read_bytes() == META + encoded(ds)
        spool.recycle()
    assert len(bench._buffers) == 1


def test_an_aborted_object_gives_no_memory_to_others(names):
    bench = Workbench()
    spool = Spool(names, bench, lambda: META)
    spool.append(b"abc")
    spool.discard()
    assert not bench._buffers
    with pytest.raises(Exception, match="discarded"):
        spool.append(b"d")


def test_a_large_object_does_not_stay_in_memory(files, names):
    spool = Spool(names, Workbench(), lambda: META)
    for _ in range(5):
        spool.append(bytes(1 << 20))
    assert spool._buffer is None
    (path,) = (p for p in files.incoming.glob("*.part") if p.stat().st_size)
    assert path.stat().st_size > module._IN_MEMORY_BYTES
    spool.discard()
    assert not path.exists()
