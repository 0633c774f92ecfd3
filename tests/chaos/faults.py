"""Throws the faults of a plan, each in its time, and takes all of them back."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from tests.chaos.archive import ChaosArchive
from tests.chaos.plan import Fault
from tests.chaos.site import ChaosSite

_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


class Storm:
    """The faults of one run."""

    def __init__(self, site: ChaosSite, archive: ChaosArchive):
        self._site = site
        self._archive = archive
        self._stopped: set[int] = set()
        self._threads: list[threading.Thread] = []
        #: What hit something, and what did not, for the report.
        self.hits: list[str] = []
        self.misses: list[str] = []

    def throw(self, faults: tuple[Fault, ...]) -> None:
        """Throw all of them at their times."""
        start = time.monotonic()
        for fault in faults:
            time.sleep(max(0.0, start + fault.at_s - time.monotonic()))
            word = f"{fault.kind} {fault.target}".strip()
            if fault.kind in self._site.impossible:
                self.misses.append(f"{word} ({self._site.impossible[fault.kind]})")
                continue
            if fault.kind in {"disk full", "read-only", "locked", "archive"}:
                self._last(fault)
                self.hits.append(word)
            elif fault.kind == "clock":
                self._site.step_clock(fault.amount)
                self.hits.append(word)
            else:
                (self.hits if self._signal(fault) else self.misses).append(word)

    def end(self) -> None:
        """Take everything back: the machine is well again."""
        for thread in self._threads:
            thread.join()
        for pid in self._stopped:
            _send(pid, signal.SIGCONT)
        self._archive.behave("")

    def _signal(self, fault: Fault) -> bool:
        hit = False
        for pid in self._site.pids_of(fault.target)[-1:]:
            hit = _send(pid, _SIGNALS[fault.kind])
            if hit and fault.kind == "stop":
                self._stopped.add(pid)
                timer = threading.Timer(fault.for_s, _send, (pid, signal.SIGCONT))
                timer.start()
                self._threads.append(timer)
        return hit

    def _last(self, fault: Fault) -> None:
        """Start a fault that lasts."""
        work = {
            "disk full": self._fill,
            "read-only": self._write_protect,
            "locked": self._lock,
            "archive": self._spoil,
        }[fault.kind]
        thread = threading.Thread(target=work, args=(fault,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _fill(self, fault: Fault) -> None:
        filler = self._site.data / f"filler-{threading.get_ident()}"
        try:
            _fill_up(filler, leave=int(fault.amount) << 10)
            time.sleep(fault.for_s)
        finally:
            filler.unlink(missing_ok=True)

    def _write_protect(self, fault: Fault) -> None:
        self._site.read_only(True)
        time.sleep(fault.for_s)
        self._site.read_only(False)

    def _lock(self, fault: Fault) -> None:
        with suppress(sqlite3.Error):
            rows = sqlite3.connect(self._site.data / "node.db", timeout=5, isolation_level=None)
            with closing(rows):
                rows.execute("BEGIN IMMEDIATE")
                time.sleep(fault.for_s)
                rows.execute("ROLLBACK")

    def _spoil(self, fault: Fault) -> None:
        if fault.target != "down":
            self._archive.arm(fault.target, int(fault.amount))
            return
        self._archive.behave(fault.target)
        time.sleep(fault.for_s)
        self._archive.behave("")


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _fill_up(filler: Path, *, leave: int) -> None:
    """Write until nothing but `leave` bytes fits any more."""
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(filler.parent)
        left = free.f_bavail * free.f_frsize - leave
        with suppress(OSError):
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))
