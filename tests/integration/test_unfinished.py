"""What a start makes of the names that a loss of power or a kill left in `incoming/`."""

import os
import shutil
import time

import pytest

from node.intake.names import Names
from node.intake.reindex import recover
from node.model import InstanceState
from node.storage.tables import instance
from tests.integration.test_reindex import Site
from tests.make import ct_series

NOW = time.time()
DEAD = "0123456789abcdef"


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.db.close()


def stored(site, count=1):
    """Store images; return rows and, for each, the name in incoming/ that a kill had left."""
    for ds in ct_series((count, 8, 8)):
        assert site.receive(ds) == 0
    rows = site.listing()
    names = []
    for number, row in enumerate(rows):
        names.append(site.files.incoming / f"{DEAD}-{number}.part")
        os.link(site.files.absolute(row.path), names[-1])
    return rows, names


def lose_names(site):
    """Undo links and folders whose sync was still to come."""
    shutil.rmtree(site.files.data_dir / "studies")
    (site.files.data_dir / "studies").mkdir()


def test_s12_links_that_a_loss_of_power_undid_are_made_again(site):
    rows, names = stored(site, 3)
    contents = [name.read_bytes() for name in names]
    lose_names(site)
    counts = recover(site.db, site.files, now=NOW)
    assert (counts["restored"], counts["instances"], counts["unfit"]) == (3, 0, 0)
    assert [site.files.absolute(row.path).read_bytes() for row in rows] == contents
    assert site.listing() == rows
    assert not list(site.files.incoming.iterdir())
    assert not any(recover(site.db, site.files, now=NOW).values())


def test_s12_a_kill_before_the_sync_of_the_folder_leaves_one_name(site):
    rows, names = stored(site)
    counts = recover(site.db, site.files, now=NOW)
    assert counts["restored"] == 0
    assert not names[0].exists()
    assert site.files.absolute(rows[0].path).exists()


def test_s12_the_folder_is_synced_before_the_other_name_goes(site, monkeypatch):
    rows, names = stored(site)
    lose_names(site)

    def broken(_folder):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(site.files, "sync_folder", broken)
    recover(site.db, site.files, now=NOW + 7200)
    assert names[0].exists()
    assert site.files.absolute(rows[0].path).exists()


def test_s12_a_full_disk_at_the_start_loses_nothing(site, monkeypatch):
    _, names = stored(site)
    lose_names(site)

    def full(_temporary, _final):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(site.files, "link", full)
    assert recover(site.db, site.files, now=NOW + 7200)["leftovers"] == 0
    assert names[0].exists()


def test_what_was_never_acknowledged_goes_after_an_hour(site):
    _, names = stored(site)
    lose_names(site)
    with site.db.write() as connection:
        connection.execute(instance.delete())
    assert recover(site.db, site.files, now=NOW)["leftovers"] == 0
    assert names[0].exists()
    assert recover(site.db, site.files, now=NOW + 7200)["leftovers"] == 1
    assert not list(site.files.data_dir.glob("studies/*/*/*.dcm"))


def test_a_file_that_is_not_the_bytes_of_its_row_is_no_instance_and_stays(site, capsys):
    _, names = stored(site)
    lose_names(site)
    content = names[0].read_bytes()
    names[0].write_bytes(content[:-10] + bytes(10)[:-1] + b"x")
    recover(site.db, site.files, now=NOW + 7200)
    assert names[0].exists()
    assert not list(site.files.data_dir.glob("studies/*/*/*.dcm"))
    assert "alarm" in capsys.readouterr().out


def test_another_file_in_its_place_is_an_alarm_and_both_stay(site, capsys):
    rows, names = stored(site)
    final = site.files.absolute(rows[0].path)
    final.unlink()
    final.write_bytes(b"other")
    recover(site.db, site.files, now=NOW + 7200)
    assert names[0].exists()
    assert final.read_bytes() == b"other"
    assert "alarm" in capsys.readouterr().out


def test_a_copy_with_the_same_bytes_in_its_place_is_enough(site):
    rows, names = stored(site)
    final = site.files.absolute(rows[0].path)
    content = final.read_bytes()
    final.unlink()
    final.write_bytes(content)
    recover(site.db, site.files, now=NOW)
    assert not names[0].exists()
    assert final.read_bytes() == content


def test_s02_the_file_of_a_dropped_version_does_not_come_back(site):
    rows, names = stored(site)
    final = site.files.absolute(rows[0].path)
    final.unlink()
    with site.db.write() as connection:
        connection.execute(instance.update().values(state=InstanceState.DUPLICATE.value))
    recover(site.db, site.files, now=NOW + 7200)
    assert not final.exists()
    assert not names[0].exists()


def test_names_of_a_living_process_are_left_alone(site):
    names = Names(site.files)
    path, descriptor = names.open()
    os.close(descriptor)
    recover(site.db, site.files, now=NOW + 7200)
    assert path.exists()
    names.close()
    assert recover(site.db, site.files, now=NOW)["leftovers"] == 0
    assert not list(site.files.incoming.iterdir())  # empty: a name that was never used


def test_evidence_on_its_way_is_nobody_elses(site):
    rows, _ = stored(site)
    temporary = site.files.new_incoming()
    temporary.write_bytes(site.files.absolute(rows[0].path).read_bytes())
    recover(site.db, site.files, now=NOW)
    assert temporary.exists()
