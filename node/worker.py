"""Claims jobs, computes them, and ends each in a state: one worker per device slot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from node.errors import (
    NO_STORAGE,
    AttemptFailed,
    LeaseLost,
    NodeError,
    Refused,
    StorageUnavailable,
)
from node.inference.runner import Runner
from node.logs import get_logger
from node.model import Job, JobState
from node.parts import Node
from node.pipeline import process
from node.storage.lease_rows import DRAINED, claim_job, end_job, ended_here, heartbeat

log = get_logger(__name__)

LEASE_S = 30.0
_HEARTBEAT_S = 5.0
_IDLE_S = 0.25
#: So long we wait before the next job where the disk takes nothing.
_NO_STORAGE_S = 5.0

Compute = Callable[[Job, Node, Runner], object]


class Worker:
    """One thread with one warm child process on one device."""

    def __init__(
        self,
        node: Node,
        *,
        device: str,
        owner: str,
        compute: Compute = process,
        heartbeat_s: float = _HEARTBEAT_S,
    ):
        self._node = node
        self._heartbeat_s = heartbeat_s
        self._process = compute
        self._owner = f"{owner}/{device}"
        self._runner = Runner(device)
        #: The end of a job that could not be written when it came: nobody else can tell it.
        self._unsaid: Callable[[], None] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"worker {device}")

    def start(self) -> None:
        """Start claiming jobs."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Claim no other job."""
        self._stopping.set()

    def stop(self, *, timeout_s: float) -> None:
        """Finish the running job if it ends in time, else hand it back."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        self.close()
        self._thread.join(5.0)

    def close(self) -> None:
        """End the warm child."""
        self._runner.close()

    def work_once(self) -> Job | None:
        """Claim and compute one job; return it as it was claimed, or None if there is none.

        Raises
        ------
        StorageUnavailable
            If rows cannot be read or written; the next call writes what this one could not.
        """
        if self._unsaid is not None:
            self._unsaid()
        job = claim_job(self._node.db, self._owner, now=time.time(), lease_s=LEASE_S)
        if job is None:
            return None
        log.info("job claimed", job=job.id, plugin=job.plugin_name_version, attempt=job.attempt)
        with self._kept_alive(job):
            self._compute(job)
        return job

    def _loop(self) -> None:
        while not self._stopping.is_set():
            pause_s = _IDLE_S
            job = None
            try:
                job = self.work_once()
            except NodeError as error:
                # Words of storage hold no statement, so nothing of a patient; others may.
                reason = str(error) if isinstance(error, StorageUnavailable) else ""
                log.exception("alarm: worker cannot reach its jobs", code=error.code, reason=reason)
                pause_s = _NO_STORAGE_S
            # Not above: an error that is held for so long holds what it happened to, too.
            if job is None:
                self._stopping.wait(pause_s)

    def _compute(self, job: Job) -> None:
        try:
            self._process(job, self._node, self._runner)
        except LeaseLost:
            log.error("lease lost, result dropped", job=job.id)
        except Refused as refusal:
            self._end(job, JobState.REFUSED, refusal)
        except AttemptFailed as error:
            self._end(job, JobState.SCHEDULED if error.retry else JobState.FAILED, error)
        except StorageUnavailable as error:
            self._hand_back(job, error)
        except NodeError as error:
            self._end(job, JobState.SCHEDULED if error.retry else JobState.FAILED, error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_STORAGE:
                self._hand_back(job, StorageUnavailable(f"disk: {error.strerror}"))
                return
            log.exception("alarm: job failed by a defect", job=job.id)
            defect = NodeError(f"{type(error).__name__} in the node; see the log at this time")
            self._end(job, JobState.FAILED, defect)

    def _hand_back(self, job: Job, error: StorageUnavailable) -> None:
        """Let the job wait for room; the plugin did nothing wrong."""
        log.error("alarm: no storage for a job", job=job.id, reason=str(error))
        self._end(job, JobState.SCHEDULED, error)
        self._stopping.wait(_NO_STORAGE_S)

    def _end(self, job: Job, state: JobState, error: NodeError) -> None:
        drained = self._stopping.is_set() and state is JobState.SCHEDULED
        code = DRAINED if drained else str(error.code)
        now = time.time()
        self._unsaid = partial(self._end, job, state, error)
        try:
            became = end_job(
                self._node.db, job, self._owner, state=state, code=code, reason=str(error), now=now
            )
            self._unsaid = None
        except LeaseLost:
            self._unsaid = None
            log.error("lease lost, end not recorded", job=job.id)
            return
        log.warning("job ended", job=job.id, state=str(became), code=code)

    @contextmanager
    def _kept_alive(self, job: Job) -> Iterator[None]:
        """Renew the lease while the job is computed; a lost lease kills the child."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._heartbeat_s):
                try:
                    if not self._renew(job):
                        return
                except NodeError:
                    log.exception("heartbeat failed", job=job.id)

        thread = threading.Thread(target=renew, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _renew(self, job: Job) -> bool:
        """Renew the lease; return False, and kill the child if it was lost, where there is none."""
        try:
            heartbeat(self._node.db, job, self._owner, now=time.time(), lease_s=LEASE_S)
        except LeaseLost:
            # The job's end is in its row a moment before this thread is told.
            if not ended_here(self._node.db, job):
                log.error("lease lost", job=job.id)
                self._runner.kill()
            return False
        return True
