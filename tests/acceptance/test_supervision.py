"""What the supervisor promises, with real processes: back-off, alarm, draining, a state to read."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from node.phantom.archive import DemoArchive
from node.phantom.study import make_ct_study
from tests.acceptance.test_kills import settings, slow_plugin
from tests.chaos.rows import read_rows
from tests.site import running_site

pytestmark = pytest.mark.peer


@pytest.fixture
def site(tmp_path):
    plugins = slow_plugin(tmp_path / "plugins")
    with DemoArchive(tmp_path / "archive") as archive:
        node = f'promiscuous = true\nplugin_dirs = ["{plugins}"]'
        with running_site(tmp_path / "site", settings(archive, plugins), node=node) as running:
            yield running


def send(port, paths, on_answer=lambda _: None):
    ae = AE("PACS")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port, ae_title="SENTINEL")
    statuses = []
    for path in paths:
        if not assoc.is_established:
            break
        answer = assoc.send_c_store(path)
        statuses.append(answer.Status if "Status" in answer else None)
        on_answer(statuses)
    if assoc.is_established:
        assoc.release()
    return statuses


def test_a_role_that_dies_again_and_again_is_an_alarm_and_no_fork_bomb(site):
    pids = set()
    for _ in range(5):
        pid = site.wait(lambda: site.state()["roles"]["engine"]["pid"], "an engine", 30)
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
        site.wait(lambda old=pid: site.state()["roles"]["engine"]["pid"] != old, "its end", 30)
    last = time.monotonic()
    site.wait(lambda: "alarm: crash loop" in site.log.read_text(), "the alarm", 5)
    role = site.state()["roles"]["engine"]
    assert (role["crash_loop"], role["pid"], site.state()["ready"]) == (True, None, False)

    site.wait(lambda: site.state()["ready"], "the engine to be back", 30)

    assert time.monotonic() - last > 6  # the fifth restart waits 8 s
    assert len(pids) == 5
    assert site.state()["roles"]["receiver"]["restarts"] == 0


def test_sigterm_finishes_the_running_job_and_leaves_no_process(site, tmp_path):
    study = make_ct_study(tmp_path / "in", shape=(8, 64, 64))
    send(site.port, study.paths)
    site.wait(
        lambda: any(j["state"] == "IN PROGRESS" for j in read_rows(site.data).job), "a job", 30
    )
    pids = [site.pid("receiver"), site.pid("engine"), *site.child_pids()]

    status = site.stop()

    (job,) = read_rows(site.data).job
    assert status == 0
    assert (job["state"], job["attempt"]) == ("COMPLETED", 1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert site.state() == {}


def test_s12_sigterm_answers_the_running_store_and_keeps_what_it_answered(site, tmp_path):
    study = make_ct_study(tmp_path / "in", shape=(60, 256, 256))
    begun = threading.Event()
    statuses: list[int | None] = []

    def run():
        statuses.extend(send(site.port, study.paths, lambda s: len(s) == 5 and begun.set()))

    sender = threading.Thread(target=run)
    sender.start()
    assert begun.wait(30)
    started = time.monotonic()
    assert site.stop() == 0
    assert time.monotonic() - started < 30
    sender.join(30)

    stored = len(read_rows(site.data).instance)
    acknowledged = statuses.count(0)
    assert acknowledged >= 5
    # At most one object was on its way when the last answer could be given.
    assert acknowledged <= stored <= acknowledged + 1
    assert len(list(site.data.glob("studies/*/*/*.dcm"))) == stored
    assert not list((site.data / "incoming").iterdir())


def test_ready_is_said_only_while_every_role_works(site):
    assert site.state()["ready"] is True
    old = site.pid("receiver")
    os.kill(old, signal.SIGKILL)

    site.wait(lambda: site.state()["ready"] is False, "ready to be taken back", 10)
    site.wait(lambda: site.state()["ready"] is True, "ready again", 30)

    assert site.pid("receiver") != old
    assert time.time() - site.state()["at"] < 5
