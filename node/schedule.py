"""A clock only: what is to do stands in rows. It follows no wall clock, which may be set back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from node.errors import StorageUnavailable
from node.logs import get_logger

log = get_logger(__name__)


class Clock:
    """Calls sweeps at intervals, each never twice at once."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def every(self, seconds: float, sweep: Callable[[], object], *, name: str) -> None:
        """Call `sweep` so many seconds after the start and after each of its ends."""

        def loop() -> None:
            # `wait` counts monotonic seconds: a clock that steps back an hour stops nothing.
            while not self._stopping.wait(seconds):
                _guarded(sweep, name)

        self._threads.append(threading.Thread(target=loop, name=name))

    def start(self) -> None:
        """Start ticking, in threads of its own."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop ticking and wait for running sweeps."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def _guarded(sweep: Callable[[], object], name: str) -> None:
    try:
        sweep()
    except StorageUnavailable as error:
        # Its words are the driver's or the disk's, without a statement: nothing of a patient.
        log.exception("alarm: sweep failed", sweep=name, reason=str(error))
    except Exception:
        log.exception("alarm: sweep failed", sweep=name)
