"""A whole node as a hospital runs it: a folder, a settings file, processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from tests.make import free_port


@dataclass
class Site:
    folder: Path
    port: int
    settings: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    def start(self, *, timeout_s: float = 240.0) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "serve", "--settings", str(self.settings)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        self.wait(lambda: self.state().get("ready") is True, "the node to be ready", timeout_s)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def state(self) -> dict[str, Any]:
        try:
            return json.loads((self.data / "run" / "state.json").read_text())
        except (OSError, ValueError):
            return {}

    def pid(self, role: str) -> int:
        return int(self.state()["roles"][role]["pid"])

    def kill(self, role: str) -> None:
        """kill -9 of a role, and wait until the supervisor has a new one that is ready.

        After many kills the supervisor waits 30 s, and a busy machine needs its time to start one.
        """
        old = self.pid(role)
        os.kill(old, signal.SIGKILL)
        self.wait(
            lambda: self.state()["roles"][role]["pid"] not in (None, old) and self.state()["ready"],
            f"a new {role}",
            180,
        )

    def child_pids(self) -> list[int]:
        """The plugin processes of the engine."""
        import psutil

        try:
            children = psutil.Process(self.pid("engine")).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [p.pid for p in children if "node.inference.child" in " ".join(_command(p))]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of ours on this site's settings."""
        done = subprocess.run(
            [sys.executable, "-m", "node", *arguments, "--settings", str(self.settings)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def rows(self, listing: str, *options: str) -> list[dict[str, Any]]:
        return json.loads(self.run(listing, "--json", *options).stdout)

    def wait(self, ready: Callable[[], object], what: str, timeout_s: float = 60.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = ready()
            if found:
                return found
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        raise AssertionError(f"waited {timeout_s:.0f} s for {what}; log ends:\n{tail}")

    def wait_for_jobs(self, count: int, state: str = "COMPLETED", timeout_s: float = 90.0) -> list:
        def found() -> list:
            jobs = [job for job in self.rows("jobs") if job["state"] == state]
            return jobs if len(jobs) >= count else []

        return self.wait(found, f"{count} jobs {state}", timeout_s)

    def wait_for_deliveries(
        self, count: int, state: str = "PROVEN", timeout_s: float = 90.0
    ) -> list:
        def found() -> list:
            rows = [row for row in self.rows("deliveries") if row["state"] == state]
            return rows if len(rows) >= count else []

        return self.wait(found, f"{count} deliveries {state}", timeout_s)


def _command(process: Any) -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []


def write_settings(folder: Path, port: int, more: str, *, node: str = "") -> Path:
    path = folder / "sentinel.toml"
    path.write_text(
        f"""
[node]
ae_titles = ["SENTINEL"]
bind = "127.0.0.1"
port = {port}
data_dir = "data"
quiet_s = 2
devices = ["cpu"]
log_level = "DEBUG"
{node}
{more}
"""
    )
    return path


_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)


def identifying_values(data: Path) -> set[str]:
    """Every value of S28 in the files that a node kept."""
    values: set[str] = set()
    for path in data.glob("*/**/*.dcm"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, force=True, specific_tags=list(_IDENTIFYING))
            values |= {str(ds.get(keyword, "")) for keyword in _IDENTIFYING}
            values |= set(str(ds.get("PatientName", "")).split("^"))
    return {value for value in values if len(value) >= 4}


def assert_log_without_patient_data(site: Site) -> None:
    """S28: the log at DEBUG holds no name, id, birth date, accession, UID or path below them."""
    log = site.log.read_text(errors="replace")
    found = [value for value in identifying_values(site.data) if value in log]
    assert not found, f"the log of the node holds {len(found)} identifying values: {found[:3]}"
    assert f"{site.data}/studies/" not in log


@contextmanager
def running_site(folder: Path, more: str, *, node: str = "", port: int = 0):
    """A started node in `folder` with the settings `more` appended; stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    site = Site(folder=folder, port=port, settings=write_settings(folder, port, more, node=node))
    try:
        site.start()
        yield site
    finally:
        if site.process is not None and site.process.poll() is None:
            site.stop()
    assert_log_without_patient_data(site)
