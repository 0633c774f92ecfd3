"""Claims jobs, computes them, and ends each in a state: one worker per device slot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from node.errors import AttemptFailed, LeaseLost, NodeError, Refused
from node.inference.runner import Runner
from node.logs import get_logger
from node.model import Job, JobState
from node.parts import Node
from node.pipeline import process
from node.storage.job_rows import claim_job, end_job, heartbeat

log = get_logger(__name__)

LEASE_S = 30.0
_HEARTBEAT_S = 5.0
_IDLE_S = 0.25


class Worker:
    """One thread with one warm child process on one device."""

    def __init__(self, node: Node, *, device: str, owner: str):
        self._node = node
        self._owner = f"{owner}/{device}"
        self._runner = Runner(device)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"worker {device}")

    def start(self) -> None:
        """Start claiming jobs."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> None:
        """Finish the running job if it ends in time, else hand it back."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self._runner.close()
        self._thread.join(5.0)

    def work_once(self) -> Job | None:
        """Claim and compute one job; return it as it was claimed, or None if there is none."""
        job = claim_job(self._node.db, self._owner, now=time.time(), lease_s=LEASE_S)
        if job is None:
            return None
        log.info("job claimed", job=job.id, plugin=job.plugin_name_version, attempt=job.attempt)
        with self._kept_alive(job):
            self._compute(job)
        return job

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                job = self.work_once()
            except NodeError as error:
                log.error("alarm: worker cannot reach its jobs", code=error.code, exc_info=True)
                job = None
            if job is None:
                self._stopping.wait(_IDLE_S)

    def _compute(self, job: Job) -> None:
        try:
            process(job, self._node, self._runner)
        except LeaseLost:
            log.error("lease lost, result dropped", job=job.id)
        except Refused as refusal:
            self._end(job, JobState.REFUSED, refusal)
        except AttemptFailed as error:
            self._end(job, JobState.SCHEDULED if error.retry else JobState.FAILED, error)
        except NodeError as error:
            self._end(job, JobState.SCHEDULED if error.retry else JobState.FAILED, error)
        except Exception as error:  # noqa: BLE001 border: a defect of ours ends one job, not the node
            log.error("alarm: job failed by a defect", job=job.id, exc_info=True)
            defect = NodeError(f"{type(error).__name__} in the node; see the log at this time")
            self._end(job, JobState.FAILED, defect)

    def _end(self, job: Job, state: JobState, error: NodeError) -> None:
        if self._stopping.is_set() and state is JobState.SCHEDULED:
            log.info("job handed back", job=job.id)
        log.warning("job ended", job=job.id, state=str(state), code=str(error.code))
        try:
            end_job(
                self._node.db,
                job,
                self._owner,
                state=state,
                code=str(error.code),
                reason=str(error),
                now=time.time(),
            )
        except LeaseLost:
            log.error("lease lost, end not recorded", job=job.id)

    @contextmanager
    def _kept_alive(self, job: Job) -> Iterator[None]:
        """Renew the lease while the job is computed; a lost lease kills the child."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(_HEARTBEAT_S):
                try:
                    heartbeat(self._node.db, job, self._owner, now=time.time(), lease_s=LEASE_S)
                except LeaseLost:
                    log.error("lease lost", job=job.id)
                    self._runner.kill()
                    return
                except NodeError:
                    log.error("heartbeat failed", job=job.id, exc_info=True)

        thread = threading.Thread(target=renew, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
