"""Rows from files: the file is the truth, the row an index that can be made again (E2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from node.dicom.part10 import (
    Part10,
    Stamp,
    content_sha256,
    pixel_sha256,
    read_part10,
    scan_file,
    scan_stream,
)
from node.dicom.scan import Header, ScanLimits
from node.errors import MalformedDataset
from node.intake.receive import new_instance
from node.intake.unfinished import tidy_incoming
from node.logs import get_logger, hashed
from node.storage.database import Database
from node.storage.files import Files
from node.storage.index_rows import (
    adopt_instances,
    dropped_paths,
    hold_new_studies,
    known_paths,
    known_studies,
    latest_arrival,
    note_own,
)
from node.storage.intake_rows import NewInstance
from node.storage.quarantine_rows import NewQuarantine, record_quarantine

#: Rows are at most so much behind their files when a machine loses power.
_BEHIND_S = 900.0
#: Instances in one transaction; their files are read before it begins.
_BATCH = 200

Progress = Callable[[int, int], None]

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a walk over the files did."""

    #: Instances that had no row and have one now.
    instances: int = 0
    quarantined: int = 0
    #: Results of ours, whose SOP UIDs are known as ours again.
    own: int = 0
    #: Files that are no instance of the place they lie in; they stay, without a row.
    unfit: int = 0
    #: Rows whose file is gone; they stay, an administrator must look.
    gone: int = 0
    #: Half-received files that were removed; they had not been acknowledged.
    leftovers: int = 0
    #: Acknowledged files that lost their name with the power and have it again (0002).
    restored: int = 0
    #: New studies that results already exist for; they wait for a person.
    held: int = 0


def reindex(
    db: Database, files: Files, *, now: float, progress: Progress | None = None
) -> dict[str, int]:
    """Add every row that the files say and the database lacks; remove none.

    States of versions are found again by comparing them (S2); an administrator's choice
    between versions in conflict, jobs, deliveries and priors are not in the files (a prior that
    was withdrawn must stay so, and only rows know). A study whose row
    was lost and that has results waits for a person (HELD): whether they were delivered
    nobody knows.

    Parameters
    ----------
    progress : callable, optional
        Is told (files done, files in all).

    Returns
    -------
    dict
        The fields of `Counts`.
    """
    known = known_paths(db)
    own, worked_on = _own_results(files)
    note_own(db, own, now)
    found = [
        path
        for path in sorted(files.data_dir.glob("studies/*/*/*.dcm"))
        if files.relative(path) not in known
    ]
    before = known_studies(db)
    adopted, unfit = _adopt(db, files, found, progress)
    held = hold_new_studies(db, worked_on - before, now=now) if adopted else 0
    restored, leftovers = _tidy(db, files, now)
    return _report(
        Counts(
            instances=adopted,
            unfit=unfit,
            own=len(own),
            quarantined=_index_quarantine(db, files, known),
            gone=_count_gone(files, known),
            leftovers=leftovers,
            restored=restored,
            held=held,
        )
    )


def recover(db: Database, files: Files, *, now: float) -> dict[str, int]:
    """Do what an unclean stop left undone, before anything is received: milliseconds usually.

    Looks only into series folders that changed about when the last row was written or later:
    a file without a row is newer than that. Older losses are for `reindex`.
    """
    since = latest_arrival(db) - _BEHIND_S
    known: frozenset[str] | None = None
    found = []
    for folder in _changed_folders(files, since):
        known = known_paths(db) if known is None else known
        found += [path for path in folder.glob("*.dcm") if files.relative(path) not in known]
    adopted, unfit = _adopt(db, files, found, None)
    restored, leftovers = _tidy(db, files, now)
    return _report(Counts(instances=adopted, unfit=unfit, leftovers=leftovers, restored=restored))


def _report(counts: Counts) -> dict[str, int]:
    changed = {name: value for name, value in vars(counts).items() if value}
    if changed:
        log.warning("files and rows compared", **changed)
    return dict(vars(counts))


def _changed_folders(files: Files, since: float) -> Iterator[Path]:
    for folder in files.data_dir.glob("studies/*/*"):
        if folder.is_dir() and folder.stat().st_mtime >= since:
            yield folder


def _adopt(
    db: Database, files: Files, paths: Iterable[Path], progress: Progress | None
) -> tuple[int, int]:
    """Record files without a row in the order they came; return (recorded, unfit)."""
    stamped = []
    unfit = 0
    for path in paths:
        part10 = _part10(path)
        if part10 is None:
            unfit += 1
        else:
            stamped.append((_stamp(part10, path).received_at, path))
    ordered = [path for _, path in sorted(stamped)]
    recorded = 0
    for start in range(0, len(ordered), _BATCH):
        batch = [_instance(files, path) for path in ordered[start : start + _BATCH]]
        fit = [new for new in batch if new is not None]
        unfit += len(batch) - len(fit)
        recorded += adopt_instances(db, fit)
        if progress is not None:
            progress(min(start + _BATCH, len(ordered)), len(ordered))
    return recorded, unfit


def _instance(files: Files, path: Path) -> NewInstance | None:
    """Return the row of a stored file; None if it is not what its place says."""
    part10 = _part10(path)
    if part10 is None:
        return None
    with path.open("rb") as stream:
        header = scan_stream(stream, part10)
        pixels = pixel_sha256(stream, part10, header)
    if not _fits(path, header):
        log.error("alarm: a stored file is not what its place says", file=hashed(path.name))
        return None
    files.settle(path)  # its maker may have died before its own fsync
    return new_instance(
        part10.transfer_syntax_uid,
        header,
        content=content_sha256(path, part10),
        pixels=pixels,
        size_bytes=path.stat().st_size,
        stamp=_stamp(part10, path),
        path=files.relative(path),
    )


def _fits(path: Path, header: Header) -> bool:
    sop = header.uid("SOPInstanceUID")
    return (
        header.fault is None
        and path.parent.parent.name == header.uid("StudyInstanceUID")
        and path.parent.name == header.uid("SeriesInstanceUID")
        and (path.name == f"{sop}.dcm" or path.name.startswith(f"{sop}."))
    )


def _part10(path: Path) -> Part10 | None:
    try:
        return read_part10(path)
    except MalformedDataset:
        return None


def _stamp(part10: Part10, path: Path) -> Stamp:
    """Return how a file came; one that others put there has only its time."""
    return part10.stamp or Stamp(
        calling_ae="", called_ae="", peer="", received_at=path.stat().st_mtime
    )


def _own_results(files: Files) -> tuple[list[str], frozenset[str]]:
    """Return the SOP UIDs of our results, and the studies that have some."""
    sops, studies = [], set()
    for path in sorted(files.data_dir.glob("evidence/*/*.dcm")):
        try:
            part10, header = scan_file(path)
        except MalformedDataset:
            continue
        sops.append(part10.sop_instance_uid)
        studies.add(header.uid("StudyInstanceUID"))
    return sops, frozenset(studies)


def _index_quarantine(db: Database, files: Files, known: frozenset[str]) -> int:
    added = 0
    for path in sorted(files.data_dir.glob("quarantine/*.dcm")):
        if files.relative(path) in known:
            continue
        part10 = _part10(path)
        if part10 is None:
            continue
        record_quarantine(db, _quarantined(files, path, part10))
        added += 1
    return added


def _quarantined(files: Files, path: Path, part10: Part10) -> NewQuarantine:
    with path.open("rb") as stream:
        header = scan_stream(stream, part10, limits=ScanLimits())
        fault = header.fault
    stamp = _stamp(part10, path)
    return NewQuarantine(
        received_at=stamp.received_at,
        code=fault.code if fault else "UNKNOWN",
        sentence=fault.sentence if fault else "the reason was lost with the rows",
        path=files.relative(path),
        sha256=path.stem,
        size_bytes=path.stat().st_size,
        sop_instance_uid=part10.sop_instance_uid,
        sop_class_uid=part10.sop_class_uid,
        study_instance_uid=header.uid("StudyInstanceUID"),
        calling_ae=stamp.calling_ae,
        called_ae=stamp.called_ae,
    )


def _count_gone(files: Files, known: frozenset[str]) -> int:
    gone = [path for path in known if not files.absolute(path).exists()]
    if gone:
        log.error("alarm: files of rows are gone", rows=len(gone), first=hashed(gone[0]))
    return len(gone)


def _tidy(db: Database, files: Files, now: float) -> tuple[int, int]:
    """Finish or remove what a crash left in `incoming/`, and files of versions dropped."""
    for path in dropped_paths(db):
        files.absolute(path).unlink(missing_ok=True)
    return tidy_incoming(db, files, now=now)
