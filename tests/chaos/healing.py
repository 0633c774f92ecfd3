"""After the storm: wait until the node has come to rest, letting its clock run where it waits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from tests.chaos.checker import Checker, silent
from tests.chaos.plan import Image
from tests.chaos.rows import Row, Rows, read_rows
from tests.chaos.site import ChaosSite

#: Real seconds until a node that is well must have come to rest, with and without a clock to step.
PATIENCE_S = 120.0
_PATIENCE_WITHOUT_CLOCK_S = 300.0
#: Back-offs and leases are skipped by stepping the node's clock, after so long without change.
_STILL_S = 0.8
_LONGEST_STEP_S = 3600.0


@dataclass
class Rest:
    """How the node came to rest."""

    pending: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    #: Seconds that its clock was stepped forward.
    skipped_s: float = 0.0
    #: Jobs and deliveries that a person would have restarted.
    restarted: int = 0


def come_to_rest(site: ChaosSite, checker: Checker, acknowledged: set[Image]) -> Rest:
    """Wait for everything to end, restart what asks for a person, and step the clock."""
    rest = Rest()
    patience = PATIENCE_S if site.can_step else _PATIENCE_WITHOUT_CLOCK_S
    deadline = time.monotonic() + patience
    last, since = "", time.monotonic()
    while True:
        rows = read_rows(site.data)
        rest.pending = checker.pending(rows, acknowledged)
        if not rest.pending or time.monotonic() > deadline:
            return rest
        if _restart_dead(site, rows, rest):
            continue
        seen = _state(rows)
        if seen != last:
            last, since = seen, time.monotonic()
        elif site.can_step and time.monotonic() - since > _STILL_S:
            rest.skipped_s += _skip(site, rows)
            since = time.monotonic()
        time.sleep(0.15)


def _state(rows: Rows) -> str:
    """Everything that changes when there is progress, without heartbeats."""
    parts = [(r["id"], r["state"], r.get("attempt")) for r in (*rows.study, *rows.job)]
    parts += [(d["id"], d["state"], d["attempts"]) for d in rows.delivery]
    return repr((parts, len(rows.instance), len(rows.decision), [o["owner"] for o in rows.leader]))


def _restart_dead(site: ChaosSite, rows: Rows, rest: Rest) -> bool:
    """Do what docs/operate.md asks of a person; note if nobody would have been called."""
    jobs = [job for job in rows.job if job["state"] == "FAILED"]
    letters = [one for one in rows.delivery if one["state"] == "FAILED"]
    if not jobs and not letters:
        return False
    rest.broken += silent(rows, site.log.read_text(errors="replace"))
    for job in jobs:
        site.run("jobs", "--retry", job["id"])
    if letters:
        site.run("deliveries", "--retry")
    rest.restarted += len(jobs) + len(letters)
    return True


def _skip(site: ChaosSite, rows: Rows) -> float:
    """Step to the next time that a row waits for, unless somebody works; return how far."""
    now = site.now()
    if any(_is_held(row, now) for row in (*rows.job, *rows.delivery)):
        return 0.0
    due = [at for at in _times(rows) if at > now]
    if not due:
        return 0.0
    step = min(min(due) - now + 0.2, _LONGEST_STEP_S)
    site.step_clock(step)
    return step


def _times(rows: Rows) -> Iterator[float]:
    for row in (*rows.job, *rows.delivery, *rows.leader):
        if row["lease_until"] is not None and not _lives(row["owner"]):
            yield row["lease_until"]
    for row in rows.delivery:
        if row["state"] in {"PENDING", "SENT"}:
            yield row["next_attempt_at"]


def _is_held(row: Row, now: float) -> bool:
    """Return whether a living process works on it."""
    lease = row["lease_until"]
    return lease is not None and lease > now and _lives(row["owner"])


def _lives(owner: str) -> bool:
    """Owners are `host:pid:token/...`."""
    pid = int(owner.split(":")[1]) if owner.count(":") >= 2 else 0
    return pid > 0 and pid != os.getpid() and psutil.pid_exists(pid)
