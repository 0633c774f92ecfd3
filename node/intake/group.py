"""One commit for all instances that wait for one (E2): each is answered after it, none before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from node.errors import StorageUnavailable
from node.storage.database import Database
from node.storage.intake_rows import NewInstance, Recorded, record_instances

#: Those that are coming are waited for so long: about as long as a commit takes.
_PATIENCE_S: Final = 0.003


@dataclass(eq=False)
class _Entry:
    new: NewInstance
    recorded: Recorded | None = None


class GroupCommit:
    """Records instances of several associations together.

    While one commit waits for the disk, others gather behind it and go together in the next.
    Those that are said to be coming are waited for, for a moment: a commit costs as much for one
    as for all of them. An instance that comes alone is committed at once.
    """

    def __init__(self, db: Database, *, patience_s: float = _PATIENCE_S):
        self._db = db
        self._patience_s = patience_s
        self._turn = threading.Lock()
        self._gathering = threading.Condition()
        self._waiting: list[_Entry] = []
        #: Threads whose instances are on their way.
        self._coming: set[int] = set()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Say that this thread is about to record an instance."""
        with self._gathering:
            self._coming.add(threading.get_ident())
        try:
            yield
        finally:
            with self._gathering:
                self._arrive()

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
            self._arrive()
        with self._turn:
            if entry.recorded is None:
                with self._gathering:
                    self._gathering.wait_for(self._all_are_here, self._patience_s)
                    together, self._waiting = self._waiting, []
                if entry not in together:  # its group failed
                    together.append(entry)
                self._commit(together, entry)
        if entry.recorded is None:
            raise StorageUnavailable("database: the row was not written")
        return entry.recorded

    def _arrive(self) -> None:
        self._coming.discard(threading.get_ident())
        if not self._coming:
            self._gathering.notify_all()

    def _all_are_here(self) -> bool:
        return not self._coming

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
