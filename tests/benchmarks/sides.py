"""What the benchmarks of sending and receiving compare: our receiver, Orthanc, DCMTK's sender."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from node import app
from node.settings_file import load_settings
from node.supervisor import LISTEN_FD
from tests.make import ct_series, part10
from tests.peers import ENVIRONMENT, dcmtk, orthanc, require_peer

SHIM_SOURCE = Path(__file__).with_name("slow_fsync.c")
IMAGES = 300


# --- what is sent ------------------------------------------------------------------------------


def make_images(folder: Path, count: int = IMAGES) -> list[Path]:
    """Write a CT series of 512x512x16 bit with noise, one file an image."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(7).integers(0, 4096, 512 * 512 + count, dtype=np.int16)
    paths = []
    for number, ds in enumerate(ct_series((count, 2, 2))):
        ds.Rows = ds.Columns = 512
        ds.PixelData = noise[number : number + 512 * 512].tobytes()
        paths.append(folder / f"{number:04d}.dcm")
        paths[-1].write_bytes(part10(ds))
    return paths


def storescu(
    folder: Path, port: int, called: str, *, no_delay: bool = True, options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start DCMTK's sender on all files of a folder."""
    environment = {**ENVIRONMENT}
    if not no_delay:
        environment.pop("TCP_NODELAY", None)
    command = [dcmtk("storescu"), "-aec", called, "-aet", "BENCH", "+sd", *options]
    return subprocess.Popen(
        [*command, "127.0.0.1", str(port), str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def send_all(
    folders: Sequence[Path],
    port: int,
    called: str,
    *,
    no_delay: bool = True,
    options: Sequence[str] = (),
) -> float:
    """Send each folder by a sender of its own, at the same time; return the seconds."""
    start = time.perf_counter()
    senders = [
        storescu(folder, port, called, no_delay=no_delay, options=options) for folder in folders
    ]
    outputs = [sender.communicate(timeout=300)[0] for sender in senders]
    seconds = time.perf_counter() - start
    for sender, output in zip(senders, outputs, strict=True):
        assert sender.returncode == 0, output.decode(errors="replace")[-2000:]
    return seconds


# --- to whom -----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Running:
    """A server under measurement."""

    port: int
    called: str
    processes: list[psutil.Process] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """Return what its processes have used so far."""
        times = [process.cpu_times() for process in self.processes]
        return float(sum(used.user + used.system for used in times))

    def peak_rss(self) -> int:
        """Return the most memory that its largest process ever had, bytes."""
        return max(_peak_rss(process.pid) for process in self.processes)


def _peak_rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not say how much memory there was")


def _settings(folder: Path, port: int) -> Path:
    path = folder / "sentinel.toml"
    path.write_text(
        f'[node]\nae_titles = ["NODE"]\nbind = "127.0.0.1"\nport = {port}\ndata_dir = "data"\n'
        'log_level = "INFO"\n[[peers]]\nname = "bench"\nae_title = "BENCH"\n'
        "max_associations = 16\n"
    )
    return path


@contextmanager
def our_receiver(
    folder: Path, *, environment: Mapping[str, str] | None = None, processes: int = 1
) -> Iterator[Running]:
    """Run `python -m node serve --role receiver` as the supervisor would."""
    folder.mkdir(parents=True)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = int(listener.getsockname()[1])
    path = _settings(folder, port)
    settings = load_settings(path)
    app.prepare_data(settings)
    command = [sys.executable, "-m", "node", "serve", "--role", "receiver", "--settings", str(path)]
    variables = {**os.environ, **(environment or {}), LISTEN_FD: str(listener.fileno())}
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "node.log").open("wb") as log:
        for _ in range(processes):
            started.append(
                subprocess.Popen(
                    command,
                    env=variables,
                    pass_fds=(listener.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
    listener.close()
    try:
        _wait_for(lambda: (folder / "node.log").read_text().count("ready") >= processes)
        children = [psutil.Process(process.pid) for process in started]
        yield Running(port=port, called="NODE", processes=children)
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(40)


@contextmanager
def orthanc_receiver(
    folder: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run Orthanc with its defaults: it syncs what it stores (`SyncStorageArea`)."""
    before = dict(ENVIRONMENT)
    ENVIRONMENT.update(environment or {})
    try:
        with orthanc(folder) as server:
            assert server.process is not None
            ENVIRONMENT.clear()
            ENVIRONMENT.update(before)
            yield Running(
                port=server.dicom_port,
                called=server.ae_title,
                processes=[psutil.Process(server.process.pid)],
            )
    finally:
        ENVIRONMENT.clear()
        ENVIRONMENT.update(before)


def _wait_for(condition: Any, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the receiver did not start"
        time.sleep(0.02)


# --- how slow its disk is ----------------------------------------------------------------------


def build_shim(folder: Path) -> Path:
    """Compile the library that makes fsync slow."""
    require_peer("gcc", found=shutil.which("gcc") is not None)
    library = folder / "slow_fsync.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SHIM_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def shim_environment(library: Path, *, delay_us: int, log: Path | None = None) -> dict[str, str]:
    """Return the variables that load it into a server."""
    variables = {"LD_PRELOAD": str(library), "SLOW_FSYNC_US": str(delay_us)}
    return variables if log is None else {**variables, "SLOW_FSYNC_LOG": str(log)}


def counted(log: Path) -> Counter[str]:
    """Return how many calls there were by kind: f(ile), d(irectory), j(ournal)."""
    return Counter(log.read_text())


def fsync_latency_ms(folder: Path) -> float:
    """Return the median time of an fsync behind 0.5 MB of new data."""
    content, taken = os.urandom(1 << 19), []
    for number in range(30):
        with (folder / f"probe-{number}").open("wb") as stream:
            stream.write(content)
            stream.flush()
            start = time.perf_counter()
            os.fsync(stream.fileno())
            taken.append(time.perf_counter() - start)
        (folder / f"probe-{number}").unlink()
    return 1000 * statistics.median(taken)


def where(folder: Path) -> str:
    """Return machine, file system and its fsync latency as one line."""
    mounts = [p for p in psutil.disk_partitions(all=True) if _is_below(folder, p.mountpoint)]
    kind = max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "?"
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {kind}, fsync {fsync_latency_ms(folder):.2f} ms"
    )


def _is_below(folder: Path, mountpoint: str) -> bool:
    return folder.resolve().is_relative_to(mountpoint)
