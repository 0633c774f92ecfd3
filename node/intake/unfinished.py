"""What an unclean stop left in `incoming/`: finished if it was acknowledged, else removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from node.dicom.part10 import content_sha256, read_part10
from node.errors import MalformedDataset
from node.intake.names import living_owners, owner_of
from node.intake.settling import Link, settle_links
from node.logs import get_logger, hashed
from node.model import Instance, InstanceState
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import versions_of

#: Half-received files that nobody wrote to for so long belong to no living receiver.
_ABANDONED_S = 3600.0

log = get_logger(__name__)


@dataclass
class _Found:
    links: list[Link] = field(default_factory=list)
    keep: set[Path] = field(default_factory=set)
    restored: int = 0


def tidy_incoming(db: Database, files: Files, *, now: float) -> tuple[int, int]:
    """Finish the links of acknowledged files, then remove what never was acknowledged.

    A loss of power may undo links whose folder was not synced yet. The name in `incoming/` is
    durable, the row says where the file belongs, and its content hash says that it is this file.
    Names of living processes are left alone.

    Returns
    -------
    (int, int)
        Files that have their name again; half-received files that were removed.

    Raises
    ------
    StorageUnavailable
        If the rows cannot be read; nothing is removed then.
    """
    living = living_owners(files)
    found = _Found()
    for path in sorted(files.incoming.glob("*.part")):
        if owner_of(path) in living:
            found.keep.add(path)
            continue
        try:
            _finish(db, files, path, found)
        except FileNotFoundError:
            continue
        except OSError as error:
            _alarm("alarm: a file in incoming/ cannot be given its name", path, error)
            found.keep.add(path)
    for link, failure in settle_links(files, found.links).items():
        _alarm("alarm: a name is not durable, incoming/ keeps the file", link.final, failure)
        found.keep.add(link.temporary)
    return found.restored, files.clear_incoming(older_than=now - _ABANDONED_S, keep=found.keep)


def _finish(db: Database, files: Files, path: Path, found: _Found) -> None:
    if not owner_of(path):
        return  # of evidence: published in one go, not acknowledged before
    status = path.stat()
    if not status.st_size:
        path.unlink(missing_ok=True)  # a name in advance that was not used
        return
    try:
        part10 = read_part10(path)
    except MalformedDataset:
        return  # half received
    versions = [
        version
        for version in versions_of(db, part10.sop_instance_uid)
        if version.state is not InstanceState.DUPLICATE
    ]
    final = _named(files, path, versions) if status.st_nlink > 1 else None
    if final is None and versions:
        final = _restored(files, path, versions, content_sha256(path, part10), found)
    if final is not None:
        found.links.append(Link(path, final))


def _named(files: Files, path: Path, versions: list[Instance]) -> Path | None:
    """Return the name that the file has already, None if it is none of a row."""
    finals = (files.absolute(version.path) for version in versions)
    return next((f for f in finals if f.exists() and f.samefile(path)), None)


def _restored(
    files: Files, path: Path, versions: list[Instance], digest: str, found: _Found
) -> Path | None:
    """Give the file the name that the row of its bytes says; None if there is none."""
    version = next((v for v in versions if v.content_sha256 == digest), None)
    if version is None:
        if not all(files.absolute(v.path).exists() for v in versions):
            _alarm("alarm: a row has no file, and incoming/ one with other bytes", path)
            found.keep.add(path)
        return None
    final = files.absolute(version.path)
    try:
        files.link(path, final)
    except FileExistsError:
        if _digest(final) == digest:
            return final
        _alarm("alarm: another file has the place of an acknowledged one", path)
        found.keep.add(path)
        return None
    found.restored += 1
    return final


def _digest(path: Path) -> str:
    try:
        return content_sha256(path, read_part10(path))
    except MalformedDataset:
        return ""


def _alarm(what: str, path: Path, error: OSError | None = None) -> None:
    reason = (error.strerror or type(error).__name__) if error is not None else ""
    log.error(what, file=hashed(path.name), reason=reason)
