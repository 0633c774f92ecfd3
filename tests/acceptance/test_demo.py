"""The demo as a service manager or a closed terminal ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.peer

PATIENCE_S = 120


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_no_server_behind(tmp_path: Path, number: signal.Signals):
    said = tmp_path / "said"
    with said.open("w") as file:
        command = [sys.executable, "-m", "node", "demo", "--folder", str(tmp_path / "demo")]
        demo = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "Ctrl-C stops it" not in said.read_text():
            assert demo.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) >= 3  # the archive, the supervisor, its processes
        demo.send_signal(number)
        assert demo.wait(60) == 0
        _, left = psutil.wait_procs(started, timeout=10)
        assert not left
    finally:
        demo.kill()
    assert "stopping" in said.read_text()
