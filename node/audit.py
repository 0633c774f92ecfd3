"""The append-only trail of who did what: one JSON line an act, without patient data."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path


class Audit:
    """Appends acts to ``audit/<year>-<month>.jsonl`` below the data folder.

    Several processes write at once; a lock keeps the lines whole. Lines are never changed.
    """

    def __init__(self, data_dir: Path):
        self._folder = data_dir / "audit"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def record(self, action: str, subject: str, **facts: str | int | float | bool) -> None:
        """Append one act.

        Parameters
        ----------
        action : str
            What was done, two or three words: ``job retried``, ``plugin switched off``.
        subject : str
            Job id, plugin, rule, destination or hashed identifier; never a UID or a name.
        facts : scalars
            What else belongs to it.
        """
        now = datetime.fromtimestamp(time.time(), tz=UTC)
        line = json.dumps(
            {
                "at": now.isoformat(timespec="milliseconds"),
                "actor": f"uid:{os.getuid()}",
                "action": action,
                "subject": subject,
                **facts,
            }
        )
        path = self._folder / f"{now:%Y-%m}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
