"""The engine process: sweeps over rows by the clock, workers for jobs, a sender a destination."""

from __future__ import annotations

import threading
import time

from node.delivery.deliver import Allowed, Outlet, deliver_next
from node.delivery.destination import open_destination
from node.delivery.events import DeliveryEvent, EventKind
from node.delivery.withdraw import withdraw_due
from node.errors import NodeError, RefusalCode, Refused
from node.inference.devices import resolve_devices
from node.intake.completion import sweep as complete_studies
from node.intake.versions import resolve_versions
from node.logs import get_logger
from node.model import DestinationGrade, Job
from node.parts import Node
from node.refusals import tell_refusals
from node.routing.dispatch import dispatch_complete
from node.routing.waiting import look_at_waiting
from node.schedule import Clock
from node.settings import DestinationSettings
from node.settings_check import grade_refusal
from node.storage.database import process_token
from node.storage.job_rows import plugins_off
from node.storage.lease_rows import release_expired
from node.storage.presence_rows import acquire_leadership
from node.withdrawals import LATELY_S, prepare_withdrawals, withdraw_replaced
from node.worker import Worker

log = get_logger(__name__)

_SWEEP_S = 1.0
_NOTES_S = 2.0
_ANSWERS_S = 10.0
_HOUR_S = 3600.0
_FULL_EVERY = 360
_LEADER_LEASE_S = 15.0
_SEND_S = 0.5


class Engine:
    """Everything that happens to a study after it was received, on this machine."""

    def __init__(self, node: Node):
        self._node = node
        self._owner = process_token()
        self._clock = Clock()
        self._answers = 0
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
        self._clock.every(_NOTES_S, self.sweep_withdrawals, name="withdrawals")
        self._clock.every(_ANSWERS_S, self.sweep_answers, name="refusals and newer results")
        self._clock.start()
        for worker in self._workers:
            worker.start()
        for sender in self._senders:
            sender.start()
        log.info("engine started", workers=len(self._workers), destinations=len(self._senders))

    def stop(self, *, drain_s: float) -> None:
        """Finish or hand back what runs, within `drain_s` seconds."""
        self._clock.stop()
        deadline = time.monotonic() + drain_s
        parts: tuple[Sender | Worker, ...] = (*self._senders, *self._workers)
        for part in parts:
            part.ask_to_stop()
        for part in parts:
            part.stop(timeout_s=max(0.0, deadline - time.monotonic()))
        log.info("engine stopped")

    def sweep(self) -> None:
        """Move every study and job on by what became true since the last call."""
        node, now = self._node, time.time()
        if not self._leads():
            return
        resolve_versions(node.db, node.files, now=now, audit=node.audit)
        complete_studies(node.db, node.settings, now=now)
        look_at_waiting(node.db, node.settings, node.manifests, now=now)
        dispatch_complete(node.db, node.files, node.settings, node.manifests, now=now)
        release_expired(node.db, now=now)

    def sweep_withdrawals(self) -> None:
        """Write the notes of what is to be taken back (S8)."""
        if self._leads():
            prepare_withdrawals(self._node, now=time.time())

    def sweep_answers(self) -> None:
        """Tell of jobs that did not run (S7), and take back what newer results replace (S8)."""
        if self._leads():
            tell_refusals(self._node, now=time.time())
            # What was proven before is looked at again once an hour, and at the start.
            full = self._answers % _FULL_EVERY == 0
            since_s = LATELY_S if full else _HOUR_S
            withdraw_replaced(self._node, now=time.time(), since_s=since_s)
            self._answers += 1

    def _leads(self) -> bool:
        lease = {"now": time.time(), "lease_s": _LEADER_LEASE_S}
        return acquire_leadership(self._node.db, "engine", self._owner, **lease)


class Sender:
    """One thread that empties the outbox of one destination; a slow one delays no other."""

    def __init__(self, node: Node, settings: DestinationSettings, *, owner: str):
        self._node = node
        destination = open_destination(settings, node.settings.ae_titles[0])
        self._outlet = Outlet(settings=settings, destination=destination)
        self._owner = f"{owner}/{settings.name}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"sender {settings.name}")

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Open no other association."""
        self._stopping.set()

    def stop(self, *, timeout_s: float) -> None:
        """Wait for the association that is open."""
        self.ask_to_stop()
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            if not self._deliver_next():
                self._stopping.wait(_SEND_S)

    def _deliver_next(self) -> int:
        try:
            return deliver_next(
                self._node.db,
                self._node.files,
                self._outlet,
                now=time.time(),
                owner=self._owner,
                allowed=may_leave(self._node),
                on_event=self._note,
            ) or withdraw_due(
                self._node.db, self._node.files, self._outlet, now=time.time(), on_event=self._note
            )
        except NodeError:
            log.exception("alarm: sender stopped short", to=self._name)
            return 0

    @property
    def _name(self) -> str:
        return self._outlet.settings.name

    def _note(self, event: DeliveryEvent) -> None:
        if event.kind is EventKind.ALARM:
            self._node.audit.record("delivery alarm", event.job_id, code=event.code, to=self._name)
        if event.kind is EventKind.HIDDEN:
            self._node.audit.record("withdrawn", event.job_id, object=event.role, to=self._name)


def may_leave(node: Node) -> Allowed:
    """Return what is asked before anything of a job is sent: kill switch and grade (S22, S4)."""

    def allowed(job: Job, destination: DestinationSettings) -> Refused | None:
        off = plugins_off(node.db)
        if job.plugin in off:
            return Refused(RefusalCode.PLUGIN_DISABLED, f"switched off here: {off[job.plugin]}")
        sentence = _grade_refusal(node, job, destination)
        return Refused(RefusalCode.GRADE_NOT_RELEASED, sentence) if sentence else None

    return allowed


def _grade_refusal(node: Node, job: Job, destination: DestinationSettings) -> str:
    """Return why this plugin may not write there, "" if it may (S4)."""
    manifest = node.manifests.get(job.plugin_name_version)
    if manifest is not None and manifest.digest == job.plugin_digest:
        return grade_refusal(manifest, job.rule, [destination], node.settings.releases)
    if destination.grade is not DestinationGrade.CLINICAL:
        return ""
    return f"the plugin that made it, {job.plugin_name_version}, is not installed any more"
