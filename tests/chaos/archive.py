"""The archive of a run: keeps and hashes every C-STORE, and misbehaves on command."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from node.phantom.archive import DemoArchive

#: A peer of ours gives up after 3 s (`timeout_s` of the destination).
_MUTE_S = 4.0


class ChaosArchive(DemoArchive):
    """A DICOM archive with a mood."""

    def __init__(self, folder: Path):
        self.mode = ""
        self.moods: dict[str, int] = {}
        self._armed: deque[str] = deque()
        self._local = threading.local()
        self._turn = threading.Lock()
        super().__init__(folder, answer=self._status)

    def arm(self, mode: str, times: int) -> None:
        """Behave so at the next `times` objects, whenever they come."""
        self._armed.extend([mode] * times)

    def behave(self, mode: str) -> None:
        """Be ``down`` from now on; "" heals."""
        with self._turn:
            if self.mode == "down" and mode != "down":
                self.start()
            if mode == "down" and self.mode != "down":
                self.stop()
            self.mode = mode

    def stop(self) -> None:
        """Stop listening, and break every connection as a crash would."""
        server = self._server
        super().stop()
        for association in server.active_associations if server else ():
            association.abort()

    def _status(self, _uid: str) -> int:
        mode = self._local.mode
        return int(mode, 16) if len(mode) == 4 and mode[0] in "ABC0" else 0

    def _on_store(self, event: Any) -> int:
        mode = self._local.mode = self._armed.popleft() if self._armed else ""
        if mode:
            self.moods[mode] = self.moods.get(mode, 0) + 1
        if mode == "abort":
            event.assoc.abort()
            return 0xA700
        if mode == "slow":
            time.sleep(0.7)
        status = super()._on_store(event)
        if mode == "lost answer":
            event.assoc.abort()
        if mode == "mute":
            time.sleep(_MUTE_S)
        return status
