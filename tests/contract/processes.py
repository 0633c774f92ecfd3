"""Row work in processes of its own: `python -m tests.contract.processes WHAT URL …` (E1)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from sqlalchemy import insert, select, update

from node.storage.database import Database
from node.storage.tables import plugin_switch

#: A row that only this test writes: its time is the counter.
COUNTER = "counter"


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start this module in a new process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.processes", *map(str, arguments)],
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


if __name__ == "__main__":
    {"increment": increment}[sys.argv[1]](*sys.argv[2:])
