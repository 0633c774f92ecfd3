"""Row work in processes of its own: `python -m tests.contract.processes WHAT URL …` (E1)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from sqlalchemy import insert, select, update

from node.errors import LeaseLost
from node.storage.database import Database
from node.storage.tables import plugin_switch

#: A row that only this test writes: its time is the counter.
COUNTER = "counter"


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start this module in a new process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.processes", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def outputs(children: Sequence[subprocess.Popen[str]], *, timeout_s: float = 60) -> list[str]:
    """Wait for all, and return what each wrote; all must end well."""
    texts = []
    for child in children:
        text, _ = child.communicate(timeout=timeout_s)
        assert child.returncode == 0
        texts.append(text)
    return texts


def count_in_processes(url: str, db: Database, *, processes: int, times: int) -> int:
    """Let processes increment one row at the same time; return where it ends."""
    with db.write() as connection:
        connection.execute(insert(plugin_switch).values(plugin=COUNTER, off=False, reason="", at=0))
    outputs([start("increment", url, times) for _ in range(processes)])
    with db.read() as connection:
        return int(connection.execute(select(plugin_switch.c.at)).scalar_one())


def increment(url: str, times: str) -> None:
    db = Database(url)
    row = plugin_switch.c.plugin == COUNTER
    for _ in range(int(times)):
        with db.write() as connection:
            # Read, then write what was read: what a lost update would break.
            query = select(plugin_switch.c.at).where(row).with_for_update()
            value = connection.execute(query).scalar_one()
            connection.execute(update(plugin_switch).where(row).values(at=value + 1))
    db.close()


def claim(url: str, owner: str) -> None:
    """Claim until nothing is left; say which jobs."""
    from node.storage.lease_rows import claim_job

    db = Database(url)
    while (job := claim_job(db, owner, now=time.time(), lease_s=600.0)) is not None:
        say(job.id)
    db.close()


def claim_and_finish_late(url: str, owner: str) -> None:
    """Claim one job, say which, and finish it when told: perhaps much too late."""
    from node.storage.lease_rows import claim_job, finish_job, heartbeat

    db = Database(url)
    job = claim_job(db, owner, now=time.time(), lease_s=60.0)
    assert job is not None
    say(job.id)
    sys.stdin.readline()
    now = time.time()
    try:
        heartbeat(db, job, owner, now=now, lease_s=60.0)
    except LeaseLost:
        say("heartbeat refused")
    try:
        finish_job(db, job, evidence=(), destinations=(), report={"late": True}, now=now)
    except LeaseLost:
        say("finish refused")
    db.close()


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what = {"increment": increment, "claim": claim, "late": claim_and_finish_late}
    what[sys.argv[1]](*sys.argv[2:])
