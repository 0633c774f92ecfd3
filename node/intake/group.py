"""One commit for all instances that wait for one (E2): each is answered after it, none before."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from node.errors import StorageUnavailable
from node.storage.database import Database
from node.storage.intake_rows import NewInstance, Recorded, record_instances


@dataclass(eq=False)
class _Entry:
    new: NewInstance
    recorded: Recorded | None = None


class GroupCommit:
    """Records instances of several associations together.

    While one commit waits for the disk, others gather behind it and go together in the next.
    An instance that comes alone is committed at once.
    """

    def __init__(self, db: Database):
        self._db = db
        self._turn = threading.Lock()
        self._gathering = threading.Lock()
        self._waiting: list[_Entry] = []

    def record(self, new: NewInstance) -> Recorded:
        """Record an instance; it is durable when this returns.

        Raises
        ------
        StorageUnavailable
            If the database does not take it; nothing of it is recorded.
        """
        entry = _Entry(new)
        with self._gathering:
            self._waiting.append(entry)
        with self._turn:
            if entry.recorded is None:
                with self._gathering:
                    together, self._waiting = self._waiting, []
                if entry not in together:  # its group failed
                    together.append(entry)
                self._commit(together, entry)
        if entry.recorded is None:
            raise StorageUnavailable("database: the row was not written")
        return entry.recorded

    def _commit(self, together: list[_Entry], leader: _Entry) -> None:
        try:
            outcomes = record_instances(self._db, [entry.new for entry in together])
        except Exception:
            if len(together) == 1:
                raise
            # Whose fault it was shows when each goes alone: the others do so in their turns.
            outcomes = record_instances(self._db, [leader.new])
            together = [leader]
        for entry, recorded in zip(together, outcomes, strict=True):
            entry.recorded = recorded
