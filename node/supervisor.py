"""Starts receivers and engine, restarts them with back-off, and stops them cleanly."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from node import app
from node.errors import SettingsError, StorageUnavailable
from node.logs import get_logger
from node.settings import Settings

log = get_logger(__name__)

#: Environment of a role: its inherited listening socket, and a pipe that closes with us.
LISTEN_FD = "SENTINEL_LISTEN_FD"
LIFELINE_FD = "SENTINEL_LIFELINE_FD"

_WEB = "web"
_FIRST_DELAY_S = 0.5
_LAST_DELAY_S = 30.0
#: Alive for so long means: the next exit is not part of a crash loop.
_HEALTHY_S = 60.0
#: So many exits in a row without being healthy raise the alarm.
_CRASH_LOOP = 5
_DRAIN_S = 30.0


@dataclass
class Role:
    """One child process and its history."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    next_start_at: float = 0.0
    #: Exits in a row without a healthy time between them.
    failures: int = 0
    restarts: int = 0

    def exited(self, now: float) -> None:
        """Note an exit and when to start again: twice as late each time."""
        healthy = now - self.started_at >= _HEALTHY_S
        self.failures = 1 if healthy else self.failures + 1
        self.restarts += 1
        self.process = None
        delay = min(_LAST_DELAY_S, _FIRST_DELAY_S * 2.0 ** (self.failures - 1))
        self.next_start_at = now + delay

    @property
    def in_crash_loop(self) -> bool:
        """Return whether a person must look at this role."""
        return self.failures >= _CRASH_LOOP


@dataclass
class Supervisor:
    """The parent of all processes of a node on one machine."""

    settings: Settings
    settings_path: Path
    roles: tuple[Role, ...] = ()
    _stopping: bool = False
    _heard: bool = True
    _lock: IO[str] | None = None

    def __post_init__(self) -> None:
        self.roles = self.roles or roles_of(self.settings)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status."""
        self._lock = lock_data_folder(self.settings.data_dir)
        app.prepare_data(self.settings)
        app.recover_data(self.settings)
        app.open_node(self.settings).close()  # refuse before anything listens
        listener = bind_after_predecessor(self.settings)
        lifeline_read, lifeline_write = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info("supervisor started", port=listener.getsockname()[1])
        try:
            while not self._stopping:
                self._tend(listener, lifeline_read, time.monotonic())
                time.sleep(0.1)
        finally:
            self._drain()
            os.close(lifeline_write)
            os.close(lifeline_read)
            listener.close()
            self._lock.close()
        log.info("supervisor stopped")
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _tend(self, listener: socket.socket, lifeline: int, now: float) -> None:
        for role in self.roles:
            if role.process is not None and role.process.poll() is not None:
                status = role.process.returncode
                role.exited(now)
                log.error("process ended", role=role.name, status=status, failures=role.failures)
                if role.failures == _CRASH_LOOP:
                    log.error("alarm: crash loop", role=role.name, failures=role.failures)
            if role.process is None and now >= role.next_start_at:
                role.process = self._start(role, listener, lifeline)
                role.started_at = now
        self._write_state()

    def _start(self, role: Role, listener: socket.socket, lifeline: int) -> subprocess.Popen[bytes]:
        fds = (lifeline, listener.fileno()) if role.name == "receiver" else (lifeline,)
        environment = {**os.environ, LIFELINE_FD: str(lifeline)}
        if role.name == "receiver":
            environment[LISTEN_FD] = str(listener.fileno())
        command = [sys.executable, "-m", "node", "serve", "--role", role.name]
        return subprocess.Popen(
            [*command, "--settings", str(self.settings_path)],
            pass_fds=fds,
            env=environment,
            stdin=subprocess.DEVNULL,
            # Ctrl-C reaches the supervisor alone, which then drains in order.
            start_new_session=True,
        )

    def _write_state(self) -> None:
        state = {
            "at": round(time.time(), 1),
            "pid": os.getpid(),
            # Studies go their way without the web process: it makes nothing unready.
            "ready": all(
                is_ready(self.settings.data_dir, r.name, _pid(r))
                for r in self.roles
                if r.name != _WEB
            ),
            "roles": {
                r.name: {
                    "pid": _pid(r),
                    "restarts": r.restarts,
                    "crash_loop": r.in_crash_loop,
                    "ready": is_ready(self.settings.data_dir, r.name, _pid(r)),
                }
                for r in self.roles
            },
        }
        said = say_state(self.settings.data_dir, state)
        if self._heard and not said:
            log.error("alarm: state cannot be written, the data folder is full or read-only")
        self._heard = said

    def _drain(self) -> None:
        for role in self.roles:
            if role.process is not None:
                role.process.terminate()
        deadline = time.monotonic() + _DRAIN_S
        for role in self.roles:
            if role.process is None:
                continue
            try:
                role.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("process did not drain in time", role=role.name)
                role.process.kill()
                role.process.wait()
        with suppress(OSError):
            (run_folder(self.settings.data_dir) / "state.json").unlink(missing_ok=True)


def roles_of(settings: Settings) -> tuple[Role, ...]:
    """Return the processes that a node of these settings has."""
    names = ("receiver", "engine", *((_WEB,) if settings.web.port is not None else ()))
    return tuple(Role(name) for name in names)


def bind(settings: Settings) -> socket.socket:
    """Return the listening socket; the receivers inherit it (E5)."""
    try:
        return socket.create_server((settings.bind, settings.port), backlog=128)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.bind}:{settings.port}: {error.strerror}; "
            "choose another `bind` or `port`, or stop what listens there"
        ) from error


def bind_after_predecessor(settings: Settings) -> socket.socket:
    """Return the listening socket as soon as a receiver that we inherited gives it up.

    A supervisor that was killed leaves a receiver that still drains; the lock of the data folder
    is ours by now, so nobody starts another.
    """
    deadline = time.monotonic() + _DRAIN_S
    while True:
        try:
            return bind(settings)
        except SettingsError:
            if time.monotonic() > deadline or not _lives(settings.data_dir, "receiver"):
                raise
        time.sleep(0.2)


def run_folder(data_dir: Path) -> Path:
    """Return the folder of locks and states of running processes."""
    folder = data_dir / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Replace `path` in one step, so that a reader never sees half of it."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(document, indent=1))
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def say_state(data_dir: Path, state: Mapping[str, object]) -> bool:
    """Write ``run/state.json``; return whether that was possible.

    On a full or read-only disk it is not: receivers must go on answering A700 all the same.
    """
    try:
        write_json(run_folder(data_dir) / "state.json", state)
    except OSError:
        return False
    return True


def say_ready(data_dir: Path, role: str) -> None:
    """Tell the supervisor and whoever looks that this process does its work."""
    write_json(run_folder(data_dir) / f"{role}.json", {"pid": os.getpid(), "at": time.time()})


def is_ready(data_dir: Path, role: str, pid: int | None) -> bool:
    """Return whether the process `pid` of `role` said that it is ready."""
    try:
        said = json.loads((run_folder(data_dir) / f"{role}.json").read_text())
    except (OSError, ValueError):
        return False
    return pid is not None and said.get("pid") == pid


def _lives(data_dir: Path, role: str) -> bool:
    """Return whether the process that last said it is `role` of this folder still runs."""
    try:
        pid = int(json.loads((run_folder(data_dir) / f"{role}.json").read_text())["pid"])
        return f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError, KeyError):
        return False


def _pid(role: Role) -> int | None:
    return role.process.pid if role.process is not None else None


def lock_data_folder(data_dir: Path) -> IO[str]:
    """Hold the lock of the data folder: two nodes on one folder would fight."""
    try:
        file = (run_folder(data_dir) / "node.lock").open("w")
    except OSError as error:
        raise StorageUnavailable(f"data folder {data_dir}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StorageUnavailable(
            f"another node already serves the data folder {data_dir}; stop it first"
        ) from error
    return file
