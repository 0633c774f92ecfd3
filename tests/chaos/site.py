"""The node of a run: on a small file system of its own, under a service manager of our own."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from node.inference.registry import builtin_plugin_folder
from node.phantom.archive import DemoArchive
from tests.make import free_port
from tests.site import Site, write_settings

SIZE_MB = 64
#: What systemd's RestartSec would be.
_RESTART_S = 0.5


@dataclass
class ChaosSite(Site):
    """A node that a service manager keeps running, with a clock and a disk that we hold."""

    mounted: bool = False
    #: Why kinds of faults are not possible here, by kind.
    impossible: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    _keeping: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None
    _control: mmap.mmap | None = None

    # --- the machine --------------------------------------------------------------------------

    def prepare(self) -> None:
        """Mount the data folder and load the shim, or note why that cannot be."""
        self.data.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "chaos", str(self.data)],
            capture_output=True,
            text=True,
        )
        self.mounted = done.returncode == 0
        if not self.mounted:
            self.impossible["disk full"] = f"no mount here: {done.stderr.strip()}"
        self._preload()

    def _preload(self) -> None:
        library = self.folder / "shim.so"
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            self.impossible |= dict.fromkeys(("clock", "read-only"), "no C compiler here")
            return
        source = Path(__file__).with_name("shim.c")
        options = ["-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run([compiler, *options], check=True)
        control = self.folder / "control"
        control.write_bytes(bytes(16))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 16)
        self.environment |= {
            "LD_PRELOAD": str(library),
            "SENTINEL_CHAOS_CONTROL": str(control),
            "SENTINEL_CHAOS_DATA": str(self.data),
        }

    @property
    def can_step(self) -> bool:
        return self._control is not None

    def _word(self, number: int) -> int:
        assert self._control is not None
        return int(struct.unpack_from("=q", self._control, 8 * number)[0])

    def now(self) -> float:
        """The wall clock as the node sees it."""
        return time.time() + (self._word(0) / 1e9 if self._control else 0.0)

    def step_clock(self, seconds: float) -> None:
        assert self._control is not None
        struct.pack_into("=q", self._control, 0, self._word(0) + int(seconds * 1e9))

    def read_only(self, on: bool) -> None:
        assert self._control is not None
        struct.pack_into("=q", self._control, 8, int(on))

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.data)], check=False)

    # --- the service manager ------------------------------------------------------------------

    def keep_running(self) -> None:
        """Start, and restart whenever it ends, until `stop_keeping`."""
        self.spawn()
        self._keeping.set()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def spawn(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "serve", "--settings", str(self.settings)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def _keep(self) -> None:
        while self._keeping.is_set():
            if self.process is not None and (status := self.process.poll()) is not None:
                self.statuses.append(status)
                time.sleep(_RESTART_S)
                if self._keeping.is_set():
                    self.spawn()
            time.sleep(0.05)

    def wait_quietly(self, ready: Callable[[], object], timeout_s: float) -> bool:
        """Like `wait`, while the service manager restarts; return whether it came true."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if ready():
                return True
            time.sleep(0.1)
        return False

    def stop_keeping(self) -> None:
        self._keeping.clear()
        if self._keeper is not None:
            self._keeper.join()

    # --- its processes ------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every process of this node, by the folder in its command line."""
        mine = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if any(str(self.folder) in word for word in words) and _is_node(words):
                    mine.append(process)
            except psutil.Error:
                continue
        return mine

    def pids_of(self, role: str) -> list[int]:
        """Process ids of a role, the oldest first; old ones may still drain."""
        if role == "supervisor":
            alive = self.process is not None and self.process.poll() is None
            return [self.process.pid] if alive and self.process is not None else []
        found = []
        for process in self.processes():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if "node.inference.child" in words if role == "child" else words[-3:-2] == [role]:
                found.append(process.pid)
        return found


def _is_node(words: list[str]) -> bool:
    return "node.inference.child" in words or ("node" in words and "serve" in words)


def make_site(
    folder: Path, archive: DemoArchive, *, plugin_s: float, min_free_mb: int
) -> ChaosSite:
    """Write plugin and settings; nothing is started."""
    folder.mkdir(parents=True)
    plugins = folder / "plugins"
    _slow_plugin(plugins, plugin_s)
    port = free_port()
    more = f"""
[receive]
min_free_mb = {min_free_mb}

[[destinations]]
name = "archive"
kind = "dicom"
grade = "test"
profile = "standard"
ae_title = "{archive.ae_title}"
host = "127.0.0.1"
port = {archive.port}
timeout_s = 3

[[rules]]
name = "chaos"
plugin = "slow_commissioning"
when = {{ Modality = "CT" }}
destinations = ["archive"]
quiet_s = 1
"""
    node = f'promiscuous = true\nplugin_dirs = ["{plugins}"]'
    settings = write_settings(folder, port, more, node=node)
    return ChaosSite(folder=folder, port=port, settings=settings)


def _slow_plugin(folder: Path, seconds: float) -> None:
    """The commissioning plugin, slower by so many seconds: long enough to be hit."""
    target = folder / "slow_commissioning"
    shutil.copytree(builtin_plugin_folder() / "commissioning", target)
    manifest = (target / "plugin.toml").read_text()
    manifest = manifest.replace('name = "commissioning"', 'name = "slow_commissioning"')
    (target / "plugin.toml").write_text(manifest)
    code = (target / "plugin.py").read_text()
    slow = f"""

_run = Plugin.run


def _slow(self, case):
    import time

    time.sleep({seconds})
    return _run(self, case)


Plugin.run = _slow
"""
    (target / "plugin.py").write_text(code + slow)
