"""The engine process: sweeps over rows by the clock, workers for jobs, a sender a destination."""

from __future__ import annotations

import threading
import time

from node.delivery.deliver import deliver_destination
from node.delivery.destination import open_destination
from node.errors import NodeError, Refused
from node.inference.devices import resolve_devices
from node.intake.completion import sweep as complete_studies
from node.intake.versions import resolve_versions
from node.logs import get_logger
from node.model import Job
from node.parts import Node
from node.routing.dispatch import dispatch_complete
from node.schedule import Clock
from node.settings import DestinationSettings
from node.storage.database import process_token
from node.storage.intake_rows import acquire_leadership
from node.storage.job_rows import release_expired
from node.worker import Worker

log = get_logger(__name__)

_SWEEP_S = 1.0
_LEADER_LEASE_S = 15.0
_SEND_S = 0.5


class Engine:
    """Everything that happens to a study after it was received, on this machine."""

    def __init__(self, node: Node):
        self._node = node
        self._owner = process_token()
        self._clock = Clock()
        self._workers = tuple(
            Worker(node, device=device, owner=self._owner)
            for device in resolve_devices(node.settings.devices)
        )
        self._senders = tuple(
            Sender(node, settings, owner=self._owner) for settings in node.settings.destinations
        )

    def start(self) -> None:
        """Start clock, workers and senders."""
        self._clock.every(_SWEEP_S, self.sweep, name="intake and routing")
        self._clock.start()
        for part in (*self._workers, *self._senders):
            part.start()
        log.info("engine started", workers=len(self._workers), destinations=len(self._senders))

    def stop(self, *, drain_s: float) -> None:
        """Finish or hand back what runs, within `drain_s` seconds."""
        self._clock.stop()
        deadline = time.monotonic() + drain_s
        for part in (*self._senders, *self._workers):
            part.stop(timeout_s=max(0.0, deadline - time.monotonic()))
        log.info("engine stopped")

    def sweep(self) -> None:
        """Move every study and job on by what became true since the last call."""
        node, now = self._node, time.time()
        if not acquire_leadership(node.db, "engine", self._owner, now=now, lease_s=_LEADER_LEASE_S):
            return
        resolve_versions(node.db, node.files, now=now)
        complete_studies(node.db, node.settings, now=now)
        dispatch_complete(node.db, node.files, node.settings, node.manifests, now=now)
        release_expired(node.db, now=now)


class Sender:
    """One thread that empties the outbox of one destination; a slow one delays no other."""

    def __init__(self, node: Node, settings: DestinationSettings, *, owner: str):
        self._node = node
        self._settings = settings
        self._owner = f"{owner}/{settings.name}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"sender {settings.name}")

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> None:
        """Stop after the association that is open."""
        self._stopping.set()
        self._thread.join(timeout_s)
