"""What a process of one role does from start to SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import Protocol

from node import app
from node.logs import get_logger
from node.settings import Settings
from node.supervisor import LIFELINE_FD, LISTEN_FD, bind, say_ready

log = get_logger(__name__)

_DRAIN_S = 25.0
_AGAIN_S = 1.0


class Part(Protocol):
    """What a role runs."""

    def start(self) -> None:
        """Start, in threads of its own."""

    def stop(self, *, drain_s: float) -> None:
        """Stop cleanly within that time."""


def run_receiver(settings: Settings) -> None:
    """Receive until told to stop. Imports no model library (E8)."""
    from node.intake.scp import Receiver

    node = app.open_node(settings, with_plugins=False)
    inherited = os.environ.get(LISTEN_FD)
    listener = socket.socket(fileno=int(inherited)) if inherited else bind(settings)
    _serve(settings, "receiver", Receiver(settings, node.db, node.files, listener))
    node.close()


def run_engine(settings: Settings) -> None:
    """Complete, route, compute and deliver until told to stop."""
    from node.engine import Engine

    node = app.open_node(settings)
    _serve(settings, "engine", Engine(node))
    node.close()


def run_web(settings: Settings) -> None:
    """Answer HTTP until told to stop. Imports no model library (E8)."""
    from node.web.server import WebServer
    from node.web_access import web_access

    access = web_access(settings)
    node = app.open_node(settings)
    _serve(settings, "web", WebServer(node, access))
    node.close()


def _serve(settings: Settings, role: str, part: Part) -> None:
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    _watch_lifeline(stop)
    part.start()
    announce(settings.data_dir, role, stop)
    stop.wait()
    log.info("draining", role=role)
    part.stop(drain_s=_DRAIN_S)


def announce(data_dir: Path, role: str, stop: threading.Event) -> None:
    """Say that this process does its work, as soon as the disk takes it.

    On a full disk a receiver must go on answering A700; ending would leave its callers waiting.
    """
    while not stop.is_set():
        try:
            say_ready(data_dir, role)
        except OSError as error:
            log.error("alarm: state cannot be written", role=role, reason=error.strerror)
            stop.wait(_AGAIN_S)
        else:
            log.info("ready", role=role)
            return


def _watch_lifeline(stop: threading.Event) -> None:
    """Stop when the supervisor is gone: its end of the pipe closes even by kill -9."""
    descriptor = os.environ.get(LIFELINE_FD)
    if descriptor is None:
        return

    def wait_for_end() -> None:
        while os.read(int(descriptor), 1):
            pass
        log.error("supervisor is gone")
        stop.set()

    threading.Thread(target=wait_for_end, name="lifeline", daemon=True).start()
