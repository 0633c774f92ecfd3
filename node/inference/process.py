"""One child process: started isolated, asked by lines, watched, and killed with all it started."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import node
from node.errors import (
    PluginCrashed,
    PluginOutOfMemory,
    PluginTimedOut,
    ResultInvalid,
    StorageUnavailable,
)

#: Loads our package from its folder and nothing else from beside it: the plugin's interpreter
#: must not see libraries that were built for ours.
_BOOT = """
import importlib.util, sys
if sys.version_info < (3, 11):
    sys.exit("this interpreter is Python %d.%d, a plugin needs 3.11" % sys.version_info[:2])
sys.path[:] = [entry for entry in sys.path if entry]
spec = importlib.util.spec_from_file_location(
    "node", sys.argv[2] + "/__init__.py", submodule_search_locations=[sys.argv[2]])
sys.modules["node"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["node"])
from node.inference.child import main
main(sys.argv[3:])
"""

_TICK_S = 0.25
_MAX_ANSWER_BYTES = 1 << 20
_MAX_STDERR_BYTES = 16_384
_TOKEN = "SENTINEL_CHILD"
#: What a plugin may see of our environment: no password, no address.
_ENVIRONMENT = re.compile(
    r"PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|CUDA_\w+|NVIDIA_\w+|HIP_\w+|ROCR_\w+|SYSTEMROOT"
)
_PATHS = re.compile(r"(?:/[^\s/'\":,;]+)+/")


@dataclass(frozen=True, kw_only=True)
class ChildSettings:
    """What makes one child different from another."""

    plugin: Path
    #: Interpreter; "" = ours.
    python: str
    device: str
    memory_mb: int
    threads: int


class ChildProcess:
    """A running child. One thread asks; any thread may kill."""

    def __init__(self, settings: ChildSettings):
        self._settings = settings
        self._killed_because = ""
        self._request = 0
        self._token = os.urandom(16).hex()
        self._home = Path(tempfile.mkdtemp(prefix="sentinel-plugin-"))
        #: Largest resident memory of the child and all it started, in MB.
        self.peak_mb = 0.0
        self._process, self._lifeline = self._start()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._buffer = b""
        self._stderr = bytearray()
        self._reader = threading.Thread(target=self._read_stderr, name="stderr", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether the child still runs."""
        return self._process.poll() is None

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        settings = self._settings
        package = Path(node.__file__).resolve().parent
        lifeline, ours = os.pipe()
        command = [settings.python or sys.executable, "-c", _BOOT, "node.inference.child"]
        command += [str(package), "--plugin", str(settings.plugin), "--device", settings.device]
        # A CUDA driver maps address space far beyond what it uses: there the engine only watches.
        limit = settings.memory_mb if settings.device == "cpu" else 0
        command += ["--memory-mb", str(limit), "--lifeline", str(lifeline)]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._home,
                env=self._environment(),
                pass_fds=(lifeline,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            shutil.rmtree(self._home, ignore_errors=True)
            raise PluginCrashed(f"cannot start its interpreter: {error.strerror}") from error
        finally:
            os.close(lifeline)
        return process, ours

    def _environment(self) -> dict[str, str]:
        threads = str(self._settings.threads)
        kept = {name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name)}
        return kept | {
            _TOKEN: self._token,
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONNOUSERSITE": "1",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": threads,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }

    def ask(
        self, request: dict[str, Any], *, limit_s: float, tick: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Send one request and return its answer; the child is dead after any error.

        Parameters
        ----------
        request : dict
            JSON-able, with ``op``.
        limit_s : float
            Seconds until the child is killed.
        tick : callable
            Called a few times a second while waiting; what it raises kills the child.

        Raises
        ------
        PluginCrashed, PluginTimedOut, PluginOutOfMemory, ResultInvalid
            With the reason.
        StorageUnavailable
            If the disk did not take the result, through no fault of the plugin.
        """
        self._request += 1
        try:
            self._send({**request, "id": self._request})
            answer = self._await_answer(limit_s, tick)
            if answer.get("id") != self._request:
                raise PluginCrashed("the plugin's process answered out of turn")
            self.peak_mb = max(self.peak_mb, float(answer.get("peak_mb", 0.0)))
            _raise_error(answer)
        except BaseException:
            self.kill()
            raise
        return answer

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self.peak_mb = 0.0
        with suppress(BrokenPipeError):  # its death is told by `_await_answer`
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def _await_answer(self, limit_s: float, tick: Callable[[], None] | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        events = select.poll()
        events.register(output, select.POLLIN)
        events.register(self._pidfd, select.POLLIN)
        deadline = time.monotonic() + limit_s
        while True:
            left = deadline - time.monotonic()
            ready = {descriptor for descriptor, _ in events.poll(1000 * min(_TICK_S, max(left, 0)))}
            if output in ready:
                more = self._read(output)
                if (answer := self._next_answer()) is not None:
                    return answer
                if not more:  # closed: dead, or soon out of time
                    events.unregister(output)
                    continue
            if self._pidfd in ready:
                raise self._death()
            if left <= 0:
                raise PluginTimedOut(f"no answer within {limit_s:g} s; killed")
            self._watch_memory()
            if tick is not None:
                tick()

    def _read(self, output: int) -> bool:
        chunk = os.read(output, 65_536)
        self._buffer += chunk
        if len(self._buffer) > _MAX_ANSWER_BYTES:
            raise PluginCrashed("the plugin's process sent an answer without end")
        return bool(chunk)

    def _next_answer(self) -> dict[str, Any] | None:
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            return None
        self._buffer = rest
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise PluginCrashed("the plugin's process answered something that is not ours")
        return answer

    def _watch_memory(self) -> None:
        used = sum(_resident_mb(pid) for pid in _tree(self.pid))
        self.peak_mb = max(self.peak_mb, used)
        if used > self._settings.memory_mb:
            raise PluginOutOfMemory(
                f"used {used:.0f} MB, its limit is {self._settings.memory_mb} MB; killed"
            )

    def _death(self) -> PluginCrashed:
        self._kill_group()  # while the dead child still holds its number
        code = self._process.wait()
        self._reader.join(0.5)
        if self._killed_because:
            return PluginCrashed(f"killed: {self._killed_because}")
        if code < 0:
            how = f"died by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (by a person, or by the system when memory was short)"
        else:
            how = f"ended by itself with status {code}"
        said = self.last_words()
        return PluginCrashed(f"the plugin's process {how}{': ' if said else ''}{said}")

    def last_words(self) -> str:
        """Return the last line on standard error, short and without paths; may be ""."""
        text = bytes(self._stderr).decode("utf-8", "replace").strip()
        line = _PATHS.sub("", text.splitlines()[-1]) if text else ""
        return "".join(letter for letter in line if letter.isprintable())[:300]

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):
            while chunk := os.read(self._process.stderr.fileno(), 65_536):
                self._stderr += chunk
                del self._stderr[:-_MAX_STDERR_BYTES]

    def kill(self, because: str = "") -> None:
        """Kill the child and everything it started; the first reason stays."""
        self._killed_because = self._killed_because or because
        self._kill_group()
        for pid in _marked(f"{_TOKEN}={self._token}"):  # those that left the group
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _kill_group(self) -> None:
        if self._process.returncode is None:  # afterwards the number may be another's
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child and give everything back."""
        self.kill("the node stops it")
        self._process.wait()
        self._reader.join(1.0)
        for descriptor in (self._lifeline, self._pidfd):
            os.close(descriptor)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        shutil.rmtree(self._home, ignore_errors=True)


def _raise_error(answer: dict[str, Any]) -> None:
    kind = answer.get("error")
    if kind is None:
        return
    message = "".join(c for c in str(answer.get("message", "")) if c.isprintable())
    if kind == "result":
        raise ResultInvalid(message)
    if kind == "disk":
        raise StorageUnavailable(f"disk: {message}")
    sentence = f"{answer.get('type')}: {message} (at {answer.get('at') or 'an unknown place'})"
    raise (PluginOutOfMemory if kind == "memory" else PluginCrashed)(sentence)


def _tree(pid: int) -> Iterator[int]:
    """Yield `pid` and its descendants; the child adopts orphans, so none is missed."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield from _tree(int(child))


def _resident_mb(pid: int) -> float:
    """Return memory of `pid` that is its own; mapped files of the case do not count."""
    kilobytes = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                kilobytes += int(line.split()[1])
    return kilobytes / 1024


def _marked(entry: str) -> list[int]:
    """Return the processes that carry `entry` in their environment."""
    wanted = entry.encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found
