"""What a training remembers between two calls of the same command; private, safe to delete."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.toolkit.training import write_whole

_SALT = re.compile(rb"[0-9a-f]{32}")


def default_store() -> Path:
    """Return ``$XDG_CACHE_HOME/sentinel-node/training``."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sentinel-node" / "training"


class Store:
    """Documents and examples by key. Each is there whole or not at all."""

    def __init__(self, folder: Path):
        self.folder = folder

    @staticmethod
    def key(*parts: str) -> str:
        """Return one key for what depends on all of `parts`."""
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]

    def read(self, key: str) -> dict[str, Any] | None:
        """Return a document, None where there is none as it was written."""
        try:
            seal, _, text = self._path(key, ".json").read_text("utf-8").partition("\n")
        except (OSError, ValueError):
            return None
        if seal != _seal(key, text):
            return None
        document: dict[str, Any] = json.loads(text)
        return document

    def write(self, key: str, document: Mapping[str, object]) -> None:
        """Keep a document."""
        text = json.dumps(document)
        write_whole(self._path(key, ".json"), f"{_seal(key, text)}\n{text}".encode())

    def example(self, key: str) -> Path:
        """Return where the example of a key is, or will be."""
        return self._path(key, ".npz")

    def write_example(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Keep an example; return the SHA-256 of its file."""
        path = self.example(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{os.getpid()}-{path.name}")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **dict(arrays))
        found = sha256_of(temporary)
        temporary.replace(path)
        return found

    def has_example(self, key: str, sha256: str) -> bool:
        """Return whether the example of a key is there as it was written."""
        path = self.example(key)
        return path.is_file() and sha256_of(path) == sha256

    def touch(self, key: str) -> None:
        """Note that an example is still of use."""
        with suppress(OSError):
            os.utime(self.example(key))
            os.utime(self._path(key, ".json"))

    def prune(self, now: float) -> None:
        """Remove what nobody used for two weeks, and what a killed command left a day ago."""
        tops = (("kept", "*/*", 14), ("runs", "*", 14), ("locks", "*", 14), ("work", "*", 1))
        for top, pattern, days in tops:
            for path in (self.folder / top).glob(pattern):
                with suppress(OSError):
                    if now - path.stat().st_mtime > days * 86_400:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def work_folder(self) -> Path:
        """Return the folder for what one command needs; it removes it itself."""
        folder = self.folder / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def salt(self) -> str:
        """Return a random word of this store: hashes of identities mean nothing elsewhere.

        A damaged one is made anew; the index of a data folder is kept by it, and made anew too.
        """
        path = self.folder / "salt"
        if not (path.is_file() and _SALT.fullmatch(path.read_bytes())):
            write_whole(path, os.urandom(16).hex().encode())
        return path.read_text(encoding="ascii")

    def run_folder(self, key: str) -> Path:
        """Return the folder of one training, made if need be."""
        folder = self.folder / "runs" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def alone_in(self, key: str, *, fresh: bool) -> Iterator[Path]:
        """Yield the folder of one training, which no other process has in the meantime.

        Raises
        ------
        LearningError
            If another one has it: two would write into one folder.
        """
        folder, locks = self.run_folder(key), self.folder / "locks"
        locks.mkdir(exist_ok=True)
        # The system gives the lock back with the process, however that ends.
        with (locks / key).open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LearningError(
                    "the same training runs already, with this cache; wait until it ends, or "
                    "give another --cache",
                    code="TRAINING_RUNS",
                ) from error
            if fresh:
                self.drop(folder)
            folder.mkdir(exist_ok=True)
            yield folder

    def drop(self, folder: Path) -> None:
        """Remove a folder of this store."""
        assert folder.is_relative_to(self.folder)
        shutil.rmtree(folder, ignore_errors=True)

    def _path(self, key: str, ending: str) -> Path:
        return self.folder / "kept" / key[:2] / f"{key}{ending}"


def sha256_of(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(key: str, text: str) -> str:
    """Return what tells whether a document is the one that was written under a key."""
    return hashlib.sha256(f"{key}{text}".encode()).hexdigest()


@contextmanager
def whole_folder(folder: Path, *, last: str) -> Iterator[Path]:
    """Yield a folder beside `folder`; at the end what is in it goes there, the file `last` last.

    What ends early leaves nothing behind, so that the same command may be given again.
    """
    folder = folder.resolve()
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        yield draft
        folder.mkdir(exist_ok=True)
        for path in sorted(draft.iterdir(), key=lambda path: (path.name == last, path.name)):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raise `LearningError` unless files can go into a folder that is there; leaves nothing."""
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LearningError(
            f"{folder} cannot be written: {error.strerror}; give --out DIR instead of --in-place, "
            "or make it writable"
        ) from error


def check_new_folder(folder: Path, *, outside: Path) -> None:
    """Raise `LearningError` unless results can go into `folder`, before hours are spent on them.

    Parameters
    ----------
    folder : Path
        Not there yet, or empty.
    outside : Path
        The plugin's own folder: what lay in it would change the plugin's digest.
    """
    if folder.exists() and not folder.is_dir():
        raise LearningError(f"{folder} is a file; name a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise LearningError(f"{folder} is there already and not empty; name a new folder")
    if folder.resolve().is_relative_to(outside.resolve()):
        raise LearningError(f"{folder} lies in the plugin's own folder; name one outside of it")
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LearningError(f"{folder} cannot be made: {error.strerror}") from error
    finally:
        for one in missing:
            if one.is_dir():
                one.rmdir()
