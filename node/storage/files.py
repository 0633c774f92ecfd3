"""The data folder: where every file lies, and how it becomes durable before it is acknowledged.

incoming/                            half-received files, same file system as the rest
studies/<study>/<series>/<sop>.dcm   first version; others `<sop>.<sha8>.dcm` (S2)
quarantine/<sha256>.dcm              acknowledged, but unfit to be processed
evidence/<job>/                      what we made
work/<job>/                          scratch of running jobs
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import IO, Final

from node.errors import InstanceRejected, StorageUnavailable

# PS3.5 9.1, but components with leading zeros pass: old scanners write them, a sender that is
# refused for them aborts the whole study, and digits and dots are safe in a path either way.
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FOLDERS: Final = ("incoming", "studies", "quarantine", "evidence", "work")
#: How many folders one process remembers as durable before it starts anew.
_REMEMBERED_FOLDERS: Final = 10_000
_CANNOT_UNDERSTAND: Final = 0xC000


def valid_uid(value: str) -> bool:
    """Return whether `value` can stand as a UID, in rows and in paths.

    Examples
    --------
    >>> valid_uid("1.2.840.10008.1.1")
    True
    >>> [valid_uid(bad) for bad in ("../../etc/passwd", "1..2", "", "1." * 32 + "10")]
    [False, False, False, False]
    """
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def check_uid(uid: str) -> str:
    """Return `uid`, which may now become part of a path.

    Raises
    ------
    InstanceRejected
        If it is no UID (PS3.5 9.1; leading zeros pass); status C000.
    """
    if not valid_uid(uid):
        raise InstanceRejected(
            "a UID is missing or malformed", dicom_status=_CANNOT_UNDERSTAND, code="NO_USABLE_UID"
        )
    return uid


class Files:
    """Files of one node below one data folder; only their owner may read them (S28).

    Parameters
    ----------
    data_dir : Path
        Created with its folders by `prepare`.
    """

    def __init__(self, data_dir: Path):
        self.data_dir = data_dir
        self._durable: set[Path] = set()

    def prepare(self) -> None:
        """Create the folders, durable and closed to others.

        Raises
        ------
        StorageUnavailable
            If the data folder cannot be created.
        """
        try:
            for name in _FOLDERS:
                self._make_durable(self.data_dir / name)
        except OSError as error:
            raise StorageUnavailable(f"data folder: {error.strerror}") from error

    # --- where things lie -------------------------------------------------------------------

    @property
    def incoming(self) -> Path:
        """Return the folder of half-received files."""
        return self.data_dir / "incoming"

    def instance_path(self, study: str, series: str, sop: str, sha256: str = "") -> Path:
        """Return where an instance lies; with `sha256` where a second version of it lies (S2).

        Raises
        ------
        InstanceRejected
            If one of the three is no UID.
        """
        name = f"{check_uid(sop)}.{sha256[:8]}.dcm" if sha256 else f"{check_uid(sop)}.dcm"
        return self.data_dir / "studies" / check_uid(study) / check_uid(series) / name

    def quarantine_path(self, sha256: str) -> Path:
        """Return where the object with that content hash waits for a person."""
        if _SHA256.fullmatch(sha256) is None:
            raise ValueError("not a SHA-256 in lower-case hex")
        return self.data_dir / "quarantine" / f"{sha256}.dcm"

    def evidence_folder(self, job_id: str) -> Path:
        """Return the folder of what a job made; it exists afterwards, durably."""
        return self._job_folder("evidence", job_id)

    def job_folder(self, job_id: str) -> Path:
        """Return the scratch folder of a running job; it exists afterwards."""
        return self._job_folder("work", job_id)

    def drop_job_folder(self, job_id: str) -> None:
        """Remove the scratch folder of a job, if there is one."""
        folder = self.data_dir / "work" / _checked_job_id(job_id)
        self._durable.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def absolute(self, relative: str) -> Path:
        """Return the place of a path as rows hold it.

        Raises
        ------
        ValueError
            If it would leave the data folder.
        """
        path = self.data_dir / relative
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise ValueError("a stored path leaves the data folder")
        return path

    def relative(self, path: Path) -> str:
        """Return `path` as rows hold it."""
        return path.relative_to(self.data_dir).as_posix()

    def free_bytes(self) -> int:
        """Return what the file system still takes from us.

        Raises
        ------
        StorageUnavailable
            If the data folder is gone.
        """
        try:
            found = os.statvfs(self.data_dir)
        except OSError as error:
            raise StorageUnavailable(f"data folder: {error.strerror}") from error
        return found.f_bavail * found.f_frsize

    # --- how they come to lie there ----------------------------------------------------------

    def new_incoming(self) -> Path:
        """Return an unused name in `incoming/`."""
        return self.incoming / f"{secrets.token_hex(16)}.part"

    def publish(self, temporary: Path, final: Path, *, synced: bool = False) -> None:
        """Make `temporary` appear at `final`, complete and durable, or not at all (S12).

        fsync the file (unless `synced`), link, fsync the directory and new parents, unlink.
        Never overwrites: `link()` fails where a rename would replace (E2).

        Raises
        ------
        FileExistsError
            If something lies there already; `temporary` stays.
        OSError
            If the disk is full or broken; `temporary` stays, perhaps with both names.
        """
        if not synced:
            fsync_path(temporary)
        self.link(temporary, final)
        self.sync_folder(final.parent)
        temporary.unlink()

    def link(self, temporary: Path, final: Path) -> None:
        """Give `temporary` a second name, `final`, which is not durable before `sync_folder`.

        Raises
        ------
        FileExistsError
            If something lies there already.
        OSError
            If the disk is full or broken.
        """
        try:
            os.link(temporary, final)
        except FileNotFoundError:  # a new series, or its folder was cleared away
            self._make_folder(final.parent)
            os.link(temporary, final)

    def sync_folder(self, folder: Path) -> None:
        """Make durable what lies in `folder`, and that it lies where it does.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        self._make_durable(folder)
        fsync_path(folder)

    def write(self, final: Path, content: bytes) -> None:
        """Publish `content` at `final`.

        Raises
        ------
        FileExistsError
            If something lies there already.
        """
        temporary = self.new_incoming()
        with open_private(temporary) as stream:
            stream.write(content)
        try:
            self.publish(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)

    def settle(self, path: Path) -> None:
        """Make a file durable that another process linked and perhaps did not finish."""
        fsync_path(path)
        self.sync_folder(path.parent)

    def clear_incoming(self, *, older_than: float, keep: Collection[Path] = ()) -> int:
        """Remove half-received files last written before `older_than`; return how many.

        They were never acknowledged: their senders still have them. Those in `keep` are others.
        """
        removed = 0
        for path in set(self.incoming.glob("*.part")) - set(keep):
            try:
                if path.stat().st_mtime < older_than:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def _job_folder(self, kind: str, job_id: str) -> Path:
        folder = self.data_dir / kind / _checked_job_id(job_id)
        self._make_durable(folder)
        return folder

    def _make_folder(self, folder: Path) -> None:
        """Create `folder` and its parents below the data folder; nothing of it is durable."""
        self._durable.discard(folder)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            self._make_folder(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)

    def _make_durable(self, folder: Path) -> None:
        """Create `folder` and its parents below the data folder; fsync what names them.

        Once per process and folder, also when it exists: its maker may have died before its
        own fsync.
        """
        if folder in self._durable and folder.is_dir():
            return
        if folder != self.data_dir:
            self._make_durable(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fsync_path(folder.parent)
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable.clear()
        self._durable.add(folder)


def open_private(path: Path) -> IO[bytes]:
    """Create `path` for writing and reading, mode 0600 whatever the umask.

    Raises
    ------
    FileExistsError
        If it exists.
    """
    return os.fdopen(create_private(path), "w+b", 1 << 20)


def create_private(path: Path) -> int:
    """Do `open_private`, return the descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def fsync_path(path: Path) -> None:
    """Bring a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked_job_id(job_id: str) -> str:
    if _JOB_ID.fullmatch(job_id) is None:
        raise ValueError("a job id has 32 hex digits")
    return job_id
