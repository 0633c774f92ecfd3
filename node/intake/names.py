"""Names in `incoming/` that are durable before anything is written under them (decision 0002).

Made by the batch, the folder synced once for all of them, by a thread of its own: who stores an
object finds one ready. They belong to the process that made them as long as it holds its lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections import deque
from pathlib import Path
from typing import Final

from node.logs import get_logger
from node.storage.files import Files, create_private, fsync_path

log = get_logger(__name__)

#: Names in one batch, and how few may be left before the next is made.
_BATCH: Final = 128
_FEW: Final = 48
#: After a disk that took none.
_PAUSE_S: Final = 1.0


class Names:
    """The names of one process; nothing is made before the first is asked for.

    Parameters
    ----------
    files : Files
        Whose `incoming/` they lie in.
    """

    def __init__(self, files: Files):
        self._files = files
        self._ready: deque[Path] = deque()
        self._made = 0
        self._lock_path: Path | None = None
        self._lock = -1
        self._starting = threading.Lock()
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> tuple[Path, int]:
        """Return an empty file that has a durable name, and its descriptor.

        Raises
        ------
        OSError
            If the disk does not take one.
        """
        while True:
            path = self._take()
            try:
                return path, os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # somebody emptied the folder

    def prepare(self) -> None:
        """Make the first names now, so that the first object need not wait."""
        with self._starting:
            if self._thread is None and not self._closed.is_set():
                self._own()
                self._thread = threading.Thread(target=self._refill, name="names", daemon=True)
                self._thread.start()
                self._wanted.set()

    def close(self) -> None:
        """Remove what was not used; names that still hold something stay, without owner."""
        self._closed.set()
        self._wanted.set()
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        while self._ready:
            self._ready.popleft().unlink(missing_ok=True)
        if self._lock_path is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock_path = None

    def _take(self) -> Path:
        if self._thread is None:
            self.prepare()
        try:
            path = self._ready.popleft()
        except IndexError:
            (path,) = self._make(1)
        if len(self._ready) < _FEW:
            self._wanted.set()
        return path

    def _own(self) -> None:
        while self._lock_path is None:
            path = self._files.incoming / f"{secrets.token_hex(8)}.lock"
            descriptor = create_private(path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():  # nobody took it for the lock of a dead process meanwhile
                self._lock_path, self._lock = path, descriptor
            else:
                os.close(descriptor)

    def _refill(self) -> None:
        while not self._closed.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if self._closed.is_set() or len(self._ready) >= _BATCH:
                continue
            try:
                self._ready.extend(self._make(_BATCH))
            except OSError as error:
                log.warning("no names in advance", reason=error.strerror)
                self._closed.wait(_PAUSE_S)

    def _make(self, count: int) -> list[Path]:
        """Create empty files; when this returns their names are durable."""
        if self._lock_path is None:
            raise OSError("the names of this process were given back")
        with self._starting:
            first, self._made = self._made, self._made + count
        paths = [
            self._lock_path.with_name(f"{self._lock_path.stem}-{number}.part")
            for number in range(first, first + count)
        ]
        made = []
        try:
            for path in paths:
                os.close(create_private(path))
                made.append(path)
            fsync_path(self._files.incoming)
        except OSError:
            for path in made:
                path.unlink(missing_ok=True)
            raise
        return paths


def living_owners(files: Files) -> frozenset[str]:
    """Return the owners whose processes live; the locks of dead ones are removed."""
    return frozenset(
        lock.stem for lock in files.incoming.glob("*.lock") if not _removed_if_dead(lock)
    )


def owner_of(path: Path) -> str:
    """Return whose name it is, "" if nobody's in particular."""
    return path.stem.partition("-")[0] if "-" in path.stem else ""


def _removed_if_dead(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
