"""kill -9 of receiver, engine and child while studies flow: nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest

from node.dicom.network import RemoteAE
from node.dicom.send import Sent, send_files
from node.errors import NodeError
from node.inference.registry import builtin_plugin_folder
from node.model import WITHDRAWN
from node.phantom.archive import DemoArchive
from node.phantom.study import make_ct_study
from tests.chaos.rows import Row, Rows, read_rows
from tests.site import Site, running_site

pytestmark = pytest.mark.peer

KILLS = int(os.environ.get("SENTINEL_KILLS", "5"))
SEED = int(os.environ.get("SENTINEL_SEED", "1"))
#: Each kill of a child needs a job that runs: a study is sent for each, after the first three.
AT_ONCE = 3
SLICES = 24
STUDIES = AT_ONCE + KILLS
#: Seconds until all is through; five kills of each take a quarter of it.
PATIENCE_S = 240 + 24 * KILLS
ENDED = frozenset({"COMPLETED", "CANCELED"})
ROLES = ("receiver", "engine", "child")


def slow_plugin(folder: Path) -> Path:
    """The commissioning plugin under another name, two seconds slower: long enough to be hit."""
    target = folder / "slow_commissioning"
    shutil.copytree(builtin_plugin_folder() / "commissioning", target)
    manifest = (target / "plugin.toml").read_text()
    assert 'name = "commissioning"' in manifest
    (target / "plugin.toml").write_text(
        manifest.replace('name = "commissioning"', 'name = "slow_commissioning"')
    )
    code = (target / "plugin.py").read_text()
    (target / "plugin.py").write_text(
        code
        + "\n\n_run = Plugin.run\n\n\ndef _slow(self, case):\n"
        + "    import time\n\n    time.sleep(2.0)\n    return _run(self, case)\n\n\n"
        + "Plugin.run = _slow\n"
    )
    return folder


def settings(archive: DemoArchive, plugins: Path) -> str:
    return f"""
[[destinations]]
name = "archive"
kind = "dicom"
grade = "test"
profile = "standard"
ae_title = "{archive.ae_title}"
host = "127.0.0.1"
port = {archive.port}

[[rules]]
name = "kills"
plugin = "slow_commissioning"
when = {{ Modality = "CT" }}
destinations = ["archive"]
quiet_s = 3
"""


class Sender:
    """A PACS that sends studies, and sends again what was not acknowledged, like a real one."""

    def __init__(self, site: Site, studies: list[tuple[Path, ...]]):
        self._site = site
        self._studies = studies
        #: What the node answered 0000 for, by path.
        self.acknowledged: set[Path] = set()
        self.broken = 0
        self._allowed = threading.Semaphore(AT_ONCE)
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def send_another(self) -> None:
        self._allowed.release()

    def wait(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the sender did not get its studies through"

    def _note(self, sent: Sent) -> None:
        if sent.status == 0:
            self.acknowledged.add(sent.path)

    def _run(self) -> None:
        remote = RemoteAE(
            host="127.0.0.1", port=self._site.port, ae_title="SENTINEL", calling_ae="PACS"
        )
        for paths in self._studies:
            self._allowed.acquire()
            while left := [path for path in paths if path not in self.acknowledged]:
                try:
                    send_files(left, remote, on_sent=self._note)
                except NodeError:
                    self.broken += 1
                    threading.Event().wait(0.3)


def kill_all_over(site: Site, sender: Sender, random_: random.Random) -> dict[str, int]:
    """Kill each role KILLS times, in a random order, at random moments of the flow."""
    kills: dict[str, int] = defaultdict(int)
    order = [role for role in ROLES for _ in range(KILLS)]
    random_.shuffle(order)
    for role in order:
        threading.Event().wait(random_.uniform(0.1, 1.5))
        if role == "child":
            sender.send_another()
            victims = site.wait(lambda: site.child_pids(), "a child process", 120)
            with suppress(ProcessLookupError):
                os.kill(victims[0], signal.SIGKILL)
        else:
            site.kill(role)
        kills[role] += 1
    return dict(kills)


def test_s12_kill_9_of_receiver_engine_and_child_loses_nothing_and_doubles_nothing(tmp_path):
    random_ = random.Random(SEED)
    studies = [
        make_ct_study(tmp_path / "in" / str(n), seed=n, shape=(SLICES, 256, 256))
        for n in range(STUDIES)
    ]
    plugins = slow_plugin(tmp_path / "plugins")
    with DemoArchive(tmp_path / "archive") as archive:
        more = settings(archive, plugins)
        node = f'promiscuous = true\nplugin_dirs = ["{plugins}"]'
        with running_site(tmp_path / "site", more, node=node) as site:
            sender = Sender(site, [study.paths for study in studies])
            sender.start()
            kills = kill_all_over(site, sender, random_)
            sender.wait()
            jobs = restart_failed(site, len(studies))
            proven = wait_for_deliveries(site)
            rows = read_rows(site.data)
        hashes = archive.hashes()

    assert kills == dict.fromkeys(ROLES, KILLS)
    assert sender.acknowledged == {path for study in studies for path in study.paths}
    kept = {p.stem for p in (tmp_path / "site" / "data" / "studies").glob("*/*/*.dcm")}
    assert {
        pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in sender.acknowledged
    } <= kept
    check_results(rows, {job["id"] for job in jobs}, set(hashes))
    assert {row["evidence_id"] for row in proven} <= {row["id"] for row in rows.evidence}
    assert all(len(versions) == 1 for versions in hashes.values()), "one UID with two hashes"


def check_results(rows: Rows, jobs: set[str], archived: set[str]) -> None:
    """Check that each job made one segmentation and one report, and the archive has no other.

    A study that paused long enough was judged before its last images came: its newer result
    replaces the older one, and notes say so, one of each time that something of it was proven.
    """
    made = Counter((row["job_id"], row["role"]) for row in rows.evidence)
    assert set(made.values()) == {1}, "the same evidence twice"
    results = {key for key in made if not key[1].startswith(WITHDRAWN)}
    assert results == {(job, role) for job in jobs for role in ("seg", "sr")}
    assert archived <= {row["sop_instance_uid"] for row in rows.evidence}
    current = newest_jobs(rows)
    noted = {row["job_id"] for row in rows.evidence if row["role"].startswith(WITHDRAWN)}
    assert noted <= jobs - current, "a result that nothing replaced was taken back"
    of_current = {row["sop_instance_uid"] for row in rows.evidence if row["job_id"] in current}
    assert of_current <= archived


def newest_jobs(rows: Rows) -> set[str]:
    """Return the job of the whole of each study."""
    return {row["id"] for row in rows.job if len(row["uids"]) == SLICES}


def restart_failed(site: Site, studies: int) -> list[Row]:
    """Wait for a job of the whole of each study; return the jobs that were completed.

    A job whose child was killed twice is FAILED by rule, and restarted. A receiver that is killed
    often is away for longer than the quiet time: a study may be completed by half, and again.
    """

    def ended() -> list[Row]:
        for job in site.rows("jobs", "--limit", "1000"):
            if job["state"] == "FAILED":
                assert job["code"] == "PLUGIN_CRASHED", job
                site.run("jobs", "--retry", job["job"])
        rows = read_rows(site.data)
        whole = [job["study_id"] for job in rows.job if len(job["uids"]) == SLICES]
        assert len(whole) == len(set(whole)), "the same work twice"
        at_rest = all(job["state"] in ENDED for job in rows.job)
        done = [job for job in rows.job if job["state"] == "COMPLETED"]
        return done if at_rest and len(whole) == studies else []

    return site.wait(ended, f"jobs of {studies} whole studies", PATIENCE_S)


def wait_for_deliveries(site: Site) -> list[Row]:
    """Wait until no delivery is open; return those that are proven."""

    def settled() -> list[Row]:
        rows = read_rows(site.data).delivery
        proven = [row for row in rows if row["state"] == "PROVEN"]
        return proven if all(row["state"] in ("PROVEN", "CANCELED") for row in rows) else []

    return site.wait(settled, "all deliveries", PATIENCE_S)
