"""Runs plugins on Cases: one warm child process for one device slot."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.errors import PluginCrashed, RefusalCode, Refused
from node.inference.process import ChildProcess, ChildSettings
from node.inference.registry import verify
from node.inference.returned import read_result
from node.inference.transport import write_case
from node.logs import get_logger
from node.manifest import Manifest
from node.plugin import Case, Result

log = get_logger(__name__)

_HEARTBEAT_S = 5.0
#: Loading may take so long, whatever the limit of a run.
LOAD_LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """One finished run of a plugin."""

    result: Result
    #: Largest resident memory of the plugin's processes during the run, in MB (2^20 bytes).
    peak_memory_mb: float
    #: ``cpu`` or ``cuda:N``, where it ran.
    device: str
    #: Of numeric libraries in the plugin's process; 0: not said.
    threads: int = 0
    #: Of `Plugin.run` with reading and writing of arrays.
    seconds: float
    #: Of `Plugin.load`; 0.0 where the child was warm.
    load_seconds: float


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a child said after loading its plugin."""

    seconds: float
    peak_memory_mb: float
    #: Whether the kernel keeps it off every network.
    no_network: bool
    #: Whether the kernel itself holds the memory limit.
    memory_held: bool


class Runner:
    """One warm child on one device; another plugin (by digest) replaces it.

    `run` is for one thread at a time; `kill` and `close` may be called from any.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda:N``.
    threads : int or None
        Threads that numeric libraries may use; None: as many as this process has cores.
    """

    def __init__(self, device: str, *, threads: int | None = None):
        self._device = device
        self._threads = threads or len(os.sched_getaffinity(0))
        self._running = threading.Lock()
        self._child: ChildProcess | None = None
        self._key = ("", "")
        self._loaded: Loaded | None = None
        self._closed = False

    @property
    def device(self) -> str:
        """Return the device of this slot."""
        return self._device

    @property
    def pid(self) -> int | None:
        """Return the process id of the warm child, if there is one."""
        child = self._child
        return child.pid if child is not None and child.alive else None

    def run(
        self,
        manifest: Manifest,
        case: Case,
        *,
        job_folder: Path,
        heartbeat: Callable[[], None] | None = None,
    ) -> RunOutcome:
        """Return what the plugin finds in `case`.

        Parameters
        ----------
        manifest : Manifest
            The plugin.
        case : Case
            With a volume for each input role.
        job_folder : Path
            An existing folder; what is exchanged lies there during the run and is removed.
        heartbeat : callable
            Called every few seconds while waiting; what it raises (`LeaseLost`) kills the run.

        Raises
        ------
        Refused
            If the plugin needs a device that this slot is not, or refuses the case itself.
        ManifestError
            If the plugin's files are no longer those that its digest names.
        PluginCrashed, PluginTimedOut, PluginOutOfMemory, ResultInvalid
            With the reason; the next run starts a fresh child.
        StorageUnavailable
            If the disk did not take the result.
        """
        beat = _every(_HEARTBEAT_S, heartbeat)
        with self._running, _Exchange(job_folder) as exchange:
            warm = self._is_warm(manifest)
            loaded = self._load(manifest, beat)
            child = self._child
            assert child is not None
            device = self._device_for(manifest)
            write_case(case, exchange.case, device=device)
            request = {"op": "run", "case": str(exchange.case), "result": str(exchange.result)}
            try:
                answer = child.ask(request, limit_s=manifest.limits.time_s, tick=beat)
                result = read_result(exchange.result, manifest, case)
                verify(manifest)  # a plugin that wrote into its own folder is not that digest
            except BaseException:
                self._drop()  # what is left of it after an error is not known
                raise
        if result.refusal:
            raise Refused(RefusalCode.CASE_UNSUITABLE, f"{manifest.name}: {result.refusal}")
        return RunOutcome(
            result=result,
            peak_memory_mb=round(child.peak_mb, 1),
            device=device,
            threads=int(answer["threads"]),
            seconds=float(answer["seconds"]),
            load_seconds=0.0 if warm else loaded.seconds,
        )

    def load(self, manifest: Manifest) -> Loaded:
        """Have a warm child with this plugin; raises as `run` does."""
        with self._running:
            return self._load(manifest, None)

    def kill(self, because: str = "the node stops it") -> None:
        """Kill what runs now; the run ends with `PluginCrashed`."""
        child = self._child
        if child is not None:
            child.kill(because)

    def close(self) -> None:
        """Kill the child and start no other one."""
        self._closed = True
        self.kill()
        with self._running:
            self._drop()

    def _is_warm(self, manifest: Manifest) -> bool:
        key = (manifest.digest, self._device_for(manifest))
        return self._child is not None and self._key == key and self._child.alive

    def _load(self, manifest: Manifest, tick: Callable[[], None] | None) -> Loaded:
        if self._closed:
            raise PluginCrashed("not started: the node stops")
        if self._is_warm(manifest) and self._loaded is not None:
            return self._loaded
        self._drop()
        verify(manifest)
        device = self._device_for(manifest)
        child = ChildProcess(
            ChildSettings(
                plugin=manifest.folder,
                python=manifest.python,
                device=device,
                memory_mb=manifest.limits.memory_mb,
                threads=self._threads,
            )
        )
        self._child, self._key = child, (manifest.digest, device)
        if self._closed:  # between the first look and now
            child.kill("the node stops")
        try:
            answer = child.ask({"op": "load"}, limit_s=LOAD_LIMIT_S, tick=tick)
        except BaseException:
            self._drop()
            raise
        self._loaded = Loaded(
            seconds=float(answer["seconds"]),
            peak_memory_mb=round(child.peak_mb, 1),
            no_network=bool(answer.get("network")),
            memory_held=bool(answer.get("memory")),
        )
        log.info("plugin loaded", plugin=manifest.name_version, device=device)
        return self._loaded

    def _device_for(self, manifest: Manifest) -> str:
        wanted = manifest.limits.device
        if wanted == "cuda" and not self._device.startswith("cuda"):
            raise Refused(
                RefusalCode.DEVICE_UNAVAILABLE,
                f"{manifest.name_version} needs a CUDA device; this slot is {self._device}",
            )
        return "cpu" if wanted == "cpu" else self._device

    def _drop(self) -> None:
        child, self._child, self._loaded = self._child, None, None
        if child is not None:
            child.close()


class _Exchange:
    """Folders for one run inside the job's folder, gone afterwards: they hold pixels."""

    def __init__(self, job_folder: Path):
        self._root = job_folder.absolute() / "exchange"
        self.case = self._root / "case"
        self.result = self._root / "result"

    def __enter__(self) -> _Exchange:
        shutil.rmtree(self._root, ignore_errors=True)  # of an attempt that was killed
        for folder in (self._root, self.case, self.result):
            folder.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


def _every(seconds: float, call: Callable[[], None] | None) -> Callable[[], None] | None:
    """Return a function that calls `call` at most once in `seconds`."""
    if call is None:
        return None
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            call()

    return tick
