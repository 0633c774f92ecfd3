"""A folder as destination: each object a file, durable, never over other bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from node.delivery.answers import (
    NOT_TRIED,
    SendAnswer,
    Verdict,
    answer_of_failure,
    answer_without_status,
    failure,
)
from node.delivery.destination import OutgoingObject
from node.delivery.proof import Proof, ProofKind, ProofOutcome
from node.errors import DeliveryFailed, SettingsError
from node.model import Identity
from node.settings import DestinationSettings
from node.storage.files import check_uid, fsync_path, open_private

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


class FolderDestination:
    """Writes ``<path>/<study UID>/<role>_<SOP UID>.dcm``.

    Parameters
    ----------
    settings : DestinationSettings
        With `path`; created now if its parent exists. Later it must be there: a share that
        is not mounted is "unreachable", not an empty folder to write into.

    Raises
    ------
    SettingsError
        If there is no `path`.
    """

    def __init__(self, settings: DestinationSettings):
        if settings.path is None:
            raise SettingsError(f"destination {settings.name}: kind = 'folder' needs path")
        self._base = settings.path
        if self._base.parent.is_dir():
            self._base.mkdir(mode=0o700, exist_ok=True)

    def send(self, items: Sequence[OutgoingObject]) -> Iterator[SendAnswer]:
        """Write the objects in order; see `Destination.send`."""
        ended = False
        for item in items:
            answer = NOT_TRIED if ended else self._write(item)
            ended = ended or answer.verdict.ends_association
            yield answer

    def prove(self, item: OutgoingObject, expected: Identity) -> Proof:
        """Read the file again and compare its SHA-256: equal bytes hold the equal patient."""
        self._reach()
        try:
            found = _sha256(self._final(item))
        except FileNotFoundError:
            return Proof(outcome=ProofOutcome.NOT_FOUND)
        except OSError as error:
            raise failure(
                Verdict.UNREACHABLE, f"the folder cannot be read ({_why(error)})"
            ) from None
        if found == item.evidence.sha256:
            return Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT)
        return Proof(
            outcome=ProofOutcome.DIFFERS,
            code="CONTENT_DIFFERS",
            sentence="the file there holds other bytes",
        )

    def identities_of_study(self, study_instance_uid: str) -> tuple[Identity, ...]:
        """Return (): a folder has no opinion about patients."""
        return ()

    def holds(self, item: OutgoingObject) -> bool | None:
        """Return whether the file is there."""
        self._reach()
        return self._final(item).exists()

    def take_back(self, item: OutgoingObject, sentence: str) -> str:
        """Write a note beside the file, which stays: nothing of a folder is deleted."""
        self._reach()
        final = self._final(item)
        note = final.with_suffix(".withdrawn.txt")
        if not final.exists():
            return "the file is not there"
        try:
            with open_private(note) as target:
                target.write(f"{final.name}: {sentence}\n".encode())
                target.flush()
                os.fsync(target.fileno())
            fsync_path(note.parent)
        except FileExistsError:
            pass
        except OSError as error:
            raise failure(
                Verdict.UNREACHABLE, f"the folder cannot be written ({_why(error)})"
            ) from None
        return "a note lies beside the file"

    def _write(self, item: OutgoingObject) -> SendAnswer:
        try:
            self._reach()
            if self._publish(item):
                return SendAnswer(verdict=Verdict.STORED, sentence="written")
            return self._answer_of_present(item)
        except DeliveryFailed as error:
            return answer_of_failure(error)
        except OSError as error:
            room = error.errno in _NO_ROOM
            return answer_without_status(
                Verdict.NO_RESOURCES if room else Verdict.UNREACHABLE,
                f"the folder cannot be written ({_why(error)})",
            )

    def _answer_of_present(self, item: OutgoingObject) -> SendAnswer:
        if _sha256(self._final(item)) == item.evidence.sha256:
            return SendAnswer(verdict=Verdict.STORED, sentence="was written before")
        return SendAnswer(
            verdict=Verdict.REFUSED,
            code="CONTENT_DIFFERS",
            sentence="a file of that name holds other bytes; it was not touched",
        )

    def _publish(self, item: OutgoingObject) -> bool:
        """Make the file appear whole and durable; return False if there is one already."""
        final = self._final(item)
        self._make_folder(final.parent)
        temporary = final.parent / f".{secrets.token_hex(8)}.part"
        for left in final.parent.glob(".*.part"):
            left.unlink(missing_ok=True)  # of a sender that was killed; one thread writes here
        try:
            with open_private(temporary) as target, item.path.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            _appear(temporary, final)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        fsync_path(final.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            fsync_path(folder.parent)

    def _final(self, item: OutgoingObject) -> Path:
        evidence = item.evidence
        name = f"{evidence.role}_{check_uid(evidence.sop_instance_uid)}.dcm"
        return self._base / check_uid(evidence.study_instance_uid) / name

    def _reach(self) -> None:
        if not self._base.is_dir():
            raise failure(Verdict.UNREACHABLE, "the folder is not there")


def _appear(temporary: Path, final: Path) -> None:
    """Give `temporary` its name unless the name is taken; raise FileExistsError then."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A share without hard links (SMB, FAT): one sender writes here, so looking is enough.
        if final.exists():
            raise FileExistsError(errno.EEXIST, "exists") from None
        temporary.rename(final)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why(error: OSError) -> str:
    """Return the system's words without the path."""
    return error.strerror or type(error).__name__
