"""A data folder: DICOM files in any layout and one table; every fault is told with its line."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.dicom.headers import identity_of, read_header
from node.dicom.send import dicom_files
from node.dicom.values import lookup_in, number, text
from node.errors import LearningError, MalformedDataset, Refused
from node.manifest_file import parse_manifest
from node.toolkit.workers import Failure, Workers, raised
from node.training.cases import StudyTask, Task, content_of, load
from node.training.clinical import check_columns
from node.training.splits import Content, check_leaks, split_of
from node.training.store import Store
from node.training.table import TABLE_NAME, Faults, Row, read_table

_CHUNK = 64
#: Objects with pixels that are labels, not images.
_NO_IMAGES = frozenset({"SEG", "RTDOSE"})

#: Called with what is done and how much there is.
Advance = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class FileFact:
    """What the index keeps of one DICOM file, without an identity."""

    #: Salted hashes of Patient ID and Study Instance UID.
    patient: str
    study: str
    is_image: bool
    path: Path = Path()


def studies_of(
    folder: Path,
    plugin: Path,
    labels: Mapping[str, object],
    *,
    workers: Workers,
    store: Store,
    advance: Advance,
) -> tuple[StudyTask, ...]:
    """Return a task for each line of the table, every one of them looked at.

    Parameters
    ----------
    folder : Path
        The data folder.
    plugin : Path
        Whose inputs and segments are asked for.
    labels : mapping of column to kind
        What the plugin learns from.
    workers, store, advance
        Where it is done, what is remembered of it, who is told.

    Raises
    ------
    LearningError
        With each line that is wrong: a patient whom the folder does not have, a study without
        line, images that do not serve, a leak between splits.
    """
    if not folder.is_dir():
        raise LearningError(f"there is no folder {folder}; name one with DICOM files and a table")
    manifest = parse_manifest(plugin)
    check_columns(manifest.clinical, labels)
    rows = read_table(folder, labels, manifest.clinical)  # type: ignore[arg-type]
    if manifest.evaluation and manifest.evaluation.time:
        check_times(rows, manifest.evaluation.time)
    files = _index(folder, workers, store)
    desk = _Desk(folder, plugin, rows, files, store.salt())
    tasks = desk.matched()
    _look_at(tasks, workers, store, advance)
    return tasks


def check_times(rows: Sequence[Row], column: str) -> None:
    """Refuse times to an event that are none; a blank cell says nothing."""
    faults = Faults()
    for row in rows:
        time = row.values.get(column, "")
        if time != "" and (isinstance(time, str) or time < 0):
            faults.add(
                f"{column} = {time} is no time; write a number from 0 on, or leave it blank",
                row.line,
            )
    faults.refuse()


def _index(folder: Path, workers: Workers, store: Store) -> list[FileFact]:
    paths = dicom_files(folder)
    if not paths:
        raise LearningError(f"no DICOM file (Part 10) in {folder}", code="DATA_INVALID")
    stats = [f"{path} {(s := path.stat()).st_size} {s.st_mtime_ns}" for path in paths]
    salt = store.salt()
    key = store.key("index", salt, *stats)
    known = store.read(key)
    if known is None:
        chunks = [(paths[i : i + _CHUNK], salt) for i in range(0, len(paths), _CHUNK)]
        facts = [fact for found in raised(workers.each(file_facts, chunks)) for fact in found]
        known = {"files": [[fact.patient, fact.study, fact.is_image] for fact in facts]}
        store.write(key, known)
    return [
        FileFact(patient=patient, study=study, is_image=is_image, path=path)
        for (patient, study, is_image), path in zip(known["files"], paths, strict=True)
    ]


def file_facts(paths: Sequence[Path], salt: str) -> list[FileFact]:
    """Return whose each file is; raises `LearningError` with the file that cannot be read."""
    return [_fact(path, salt) for path in paths]


def _hashed(value: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{value}".encode()).hexdigest()[:24] if value else ""


def _fact(path: Path, salt: str) -> FileFact:
    try:
        ds = read_header(path)
        patient = identity_of(ds).patient_id
    except (MalformedDataset, Refused) as error:
        raise LearningError(
            f"{path}: {error}; mend it or take it out", code="DATA_INVALID"
        ) from error
    look = lookup_in(ds)
    has_pixels = text(look("Modality")) not in _NO_IMAGES and bool(number(look("Rows")))
    return FileFact(
        patient=_hashed(patient, salt),
        study=_hashed(text(look("StudyInstanceUID")), salt),
        is_image=has_pixels,
    )


class _Desk:
    """Lines of the table and files of the folder on their way to each other."""

    def __init__(
        self,
        folder: Path,
        plugin: Path,
        rows: Sequence[Row],
        files: Sequence[FileFact],
        salt: str,
    ):
        self._folder, self._plugin, self._rows, self._salt = folder, plugin, rows, salt
        self._faults = Faults()
        #: Patient → study → files, where there is an image among them.
        self._studies: dict[str, dict[str, list[FileFact]]] = defaultdict(dict)
        for fact in files:
            self._studies[fact.patient].setdefault(fact.study, []).append(fact)
        for studies in self._studies.values():
            for study in [uid for uid, own in studies.items() if not any(f.is_image for f in own)]:
                del studies[study]

    def matched(self) -> tuple[StudyTask, ...]:
        """Return a task for each row; every image of the folder belongs to one."""
        tasks = [task for row in self._rows if (task := self._task(row)) is not None]
        self._check_without_line({path for task in tasks for path in task.images})
        self._faults.refuse()
        return tuple(tasks)

    def _task(self, row: Row) -> StudyTask | None:
        own = self._studies.get(_hashed(row.patient, self._salt), {})
        study = _hashed(row.study, self._salt) or next(iter(own), "")
        objection = self._objection(row, own, study)
        if objection:
            self._faults.add(objection, row.line)
            return None
        return StudyTask(
            plugin=self._plugin,
            row=row,
            patient_line=next(one.line for one in self._rows if one.patient == row.patient),
            split=row.split or split_of(row.patient),
            images=tuple(fact.path for fact in own[study] if fact.is_image),
            others=tuple(fact.path for fact in own[study] if not fact.is_image),
        )

    def _objection(self, row: Row, own: Mapping[str, object], study: str) -> str:
        if not own:
            return (
                f"no image of patient {row.patient!r} in the folder; correct the Patient ID or "
                "take the line out"
            )
        if study not in own:
            return f"patient {row.patient!r} has no study {row.study!r} in the folder"
        if not row.study and len(own) > 1:
            return (
                f"patient {row.patient!r} has {len(own)} studies; give each its own line with its "
                "Study Instance UID in a column `study`"
            )
        holders = sum(study in studies for studies in self._studies.values())
        return f"leak: its study lies under {holders} Patient IDs" if holders > 1 else ""

    def _check_without_line(self, taken: set[Path]) -> None:
        named = {_hashed(row.patient, self._salt): row for row in self._rows}
        for patient, studies in self._studies.items():
            row = named.get(patient)
            for files in studies.values():
                images = [fact.path for fact in files if fact.is_image]
                if images[0] in taken or (row is not None and not row.study):
                    continue  # a line without study has spoken of it already
                where = os.path.relpath(images[0].parent, self._folder)
                self._faults.add(
                    f"{TABLE_NAME} has no line for {'a study of ' if row else ''}patient "
                    f"{identity_of(read_header(images[0])).patient_id!r} ({len(images)} images "
                    f"in {where}); add one or take the images out"
                )


def _look_at(tasks: Sequence[StudyTask], workers: Workers, store: Store, advance: Advance) -> None:
    """Read every study once, so that no fault comes up in mid-training; look for leaks."""
    faults = Faults()
    known = [store.key("study", task.name, _asked(task)) for task in tasks]
    unread = [(task, key) for task, key in zip(tasks, known, strict=True) if not store.read(key)]
    results = workers.each(look_at, [(task,) for task, _ in unread])
    for done, ((_, key), found) in enumerate(zip(unread, results, strict=True), start=1):
        advance(done, len(unread))
        if isinstance(found, Failure):
            faults.add(found.sentence)
        else:
            store.write(key, {"sha256": found.sha256, "slices": sorted(found.slices)})
    faults.refuse()
    contents = [_content(store.read(key)) for key in known]
    check_leaks(
        [(t.row, t.split, content) for t, content in zip(tasks, contents, strict=True)], faults
    )
    faults.refuse()


def _asked(task: StudyTask) -> str:
    """Return what the plugin's manifest asks of a study."""
    manifest = parse_manifest(task.plugin)
    return f"{manifest.inputs} {sorted(manifest.segments)} {manifest.limits} {manifest.clinical}"


def look_at(task: Task) -> Content:
    """Return what a case holds; raises what is wrong with it, with its line."""
    return content_of(load(task).case)


def _content(known: Mapping[str, object] | None) -> Content:
    found = known or {}
    slices = found.get("slices", [])
    assert isinstance(slices, list)
    return Content(sha256=str(found.get("sha256")), slices=frozenset(slices))
