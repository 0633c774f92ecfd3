"""A running node tells that it did not run, and takes a result back, by its own clock (S7, S8)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from node.cli.withdrawal import NOT_ALL_GONE
from node.dicom.network import RemoteAE
from node.dicom.send import send_files
from node.phantom.study import make_ct_study
from tests.site import Site, running_site

pytestmark = pytest.mark.peer

MORE = """
[[peers]]
name = "ct"
ae_title = "CT"
[[destinations]]
name = "out"
kind = "folder"
grade = "test"
path = "out"
not_run = true
[[rules]]
name = "all"
plugin = "commissioning"
when = { Modality = "CT" }
destinations = ["out"]
grace_s = 1
"""


def send(site: Site, paths: list[Path]) -> None:
    remote = RemoteAE(host="127.0.0.1", port=site.port, ae_title="SENTINEL", calling_ae="CT")
    assert all(one.stored for one in send_files(paths, remote, on_sent=lambda _: None))


def test_s07_s08_a_running_node_tells_and_takes_back(tmp_path: Path):
    gap = make_ct_study(tmp_path / "gap", shape=(20, 64, 64))
    whole = make_ct_study(tmp_path / "whole", shape=(20, 64, 64), seed=2)
    with running_site(tmp_path / "site", MORE) as site:
        paths = sorted(gap.paths)
        send(site, [*paths[:8], *paths[9:]])
        site.wait_for_jobs(1, "REFUSED")
        site.wait_for_deliveries(1)
        (report,) = (site.folder / "out").rglob("notrun_*.dcm")
        assert str(dcmread(report).SeriesDescription).startswith("RESEARCH AI did not run")
        send(site, list(whole.paths))
        (job,) = site.wait_for_jobs(1)
        site.wait_for_deliveries(3)
        done = site.run("withdraw", job["job"], "--yes", "--reason", "wrong side", check=False)
        assert done.returncode == NOT_ALL_GONE, done.stdout + done.stderr
        rows = site.rows("withdrawals", "--tasks")
        assert {row["state"] for row in rows} == {"VISIBLE"}
        assert all("a note lies beside the file" in row["found"] for row in rows)
        assert len(list((site.folder / "out").rglob("*.withdrawn.txt"))) == len(rows) >= 2
