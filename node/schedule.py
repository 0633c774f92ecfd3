"""APScheduler as a clock only: what is to do stands in rows, never in its job store."""

from __future__ import annotations

from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler

from node.logs import get_logger

log = get_logger(__name__)


class Clock:
    """Calls sweeps at intervals, each never twice at once."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def every(self, seconds: float, sweep: Callable[[], object], *, name: str) -> None:
        """Call `sweep` every so many seconds, from now on."""
        self._scheduler.add_job(_guarded(sweep, name), "interval", seconds=seconds, id=name)

    def start(self) -> None:
        """Start ticking, in a thread of its own."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop ticking and wait for a running sweep."""
        self._scheduler.shutdown(wait=True)


def _guarded(sweep: Callable[[], object], name: str) -> Callable[[], None]:
    def tick() -> None:
        try:
            sweep()
        except Exception:
            log.exception("alarm: sweep failed", sweep=name)

    return tick
