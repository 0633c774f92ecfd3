"""Final names made durable a moment later, for many files at once (decision 0002).

Until then the name in `incoming/`, which is durable already, keeps the bytes.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from node.logs import get_logger
from node.storage.files import Files

log = get_logger(__name__)

#: So long names gather for one sync of their folder.
_LINGER_S: Final = 1.0
#: With so many waiting the next ones are synced in line: the disk does not keep up, or fails.
_MOST_WAITING: Final = 512
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class Link(NamedTuple):
    """A file with two names: the durable one in `incoming/`, and the one it shall keep."""

    temporary: Path
    final: Path


class Settling:
    """Links of one process whose folders are still to be synced.

    Parameters
    ----------
    files : Files
        Where they lie.
    linger_s : float
        How long links gather.
    most_waiting : int
        How many may wait.
    """

    def __init__(
        self, files: Files, *, linger_s: float = _LINGER_S, most_waiting: int = _MOST_WAITING
    ):
        self._files = files
        self._linger_s = linger_s
        self._most = most_waiting
        self._changed = threading.Condition()
        self._waiting: list[Link] = []
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, link: Link) -> None:
        """Take care of a link that was just made.

        Raises
        ------
        OSError
            If too many wait and the disk does not take this one now; nobody was told that it
            is here, so its name in `incoming/` goes.
        """
        with self._changed:
            late = len(self._waiting) < self._most and not self._closed
            if late:
                self._waiting.append(link)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="settling", daemon=True)
                    self._thread.start()
                elif len(self._waiting) == 1 or 2 * len(self._waiting) == self._most:
                    self._changed.notify()
        if not late and (failed := settle_links(self._files, [link])):
            with suppress(OSError):
                link.temporary.unlink(missing_ok=True)
            raise failed[link]

    def close(self) -> None:
        """Sync what waits; what the disk does not take keeps its name in `incoming/`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._settle()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._closed:
                    self._changed.wait_for(self._is_urgent, self._linger_s)
                if self._closed:
                    return
            if self._settle():
                pause = _FIRST_PAUSE_S
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _is_urgent(self) -> bool:
        return self._closed or 2 * len(self._waiting) >= self._most

    def _settle(self) -> bool:
        """Sync what waits now; return whether the disk took all of it."""
        with self._changed:
            batch = list(self._waiting)
        failed = settle_links(self._files, batch)
        with self._changed:
            self._waiting = [*failed, *self._waiting[len(batch) :]]
        if failed:
            log.error(
                "alarm: names of acknowledged files are not durable, incoming/ keeps them",
                files=len(failed),
                reason=next(iter(failed.values())).strerror,
            )
        return not failed


def settle_links(files: Files, links: Sequence[Link]) -> dict[Link, OSError]:
    """Sync the folders of final names, then remove the names in `incoming/`; return failures.

    A name whose folder was not synced stays.
    """
    by_folder: dict[Path, list[Link]] = defaultdict(list)
    for link in links:
        by_folder[link.final.parent].append(link)
    failed: dict[Link, OSError] = {}
    for folder, together in by_folder.items():
        try:
            files.sync_folder(folder)
            for link in together:
                link.temporary.unlink(missing_ok=True)
        except OSError as error:
            failed.update(dict.fromkeys(together, error))
    return failed
