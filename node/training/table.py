"""The one table of labels: a CSV file, refused with the line that is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from node.errors import LearningError
from node.toml_file import closest
from node.training.plugin_code import Kind

TABLE_NAME = "labels.csv"
PATIENT, STUDY, SPLIT, REGIONS = "patient", "study", "split", "regions"
RESERVED = (PATIENT, STUDY, SPLIT, REGIONS)
SPLITS = ("train", "tuning", "test")
#: In the column ``regions``: somebody outlined what there is, or looked and found nothing.
OUTLINED, NONE = "outlined", "none"
_UNUSED = "unused"
_MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: one study of one patient."""

    line: int
    patient: str
    #: Study Instance UID; "" where the patient has one study only.
    study: str
    #: "" where the table does not say.
    split: str
    #: False: looked at, and there is no region.
    outlined: bool
    values: Mapping[str, str | float] = field(default_factory=dict)
    #: What it says of clinical values, as written; blank cells say nothing.
    clinical: Mapping[str, str] = field(default_factory=dict)


class Faults:
    """What is wrong with a data folder, gathered so that a person can mend it in one go."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, sentence: str, line: int | None = None) -> None:
        """Take one fault of the folder, or of a line of its table."""
        self._found.append(f"{TABLE_NAME} line {line}: {sentence}" if line else sentence)

    def refuse(self) -> None:
        """Raise `LearningError` if there is any fault."""
        if not self._found:
            return
        named = self._found[:_MOST_NAMED]
        more = len(self._found) - len(named)
        raise LearningError(
            "\n".join([*named, *([f"and {more} more"] if more else [])]), code="DATA_INVALID"
        )


def read_table(
    folder: Path, wanted: Mapping[str, Kind], clinical: Collection[str] = ()
) -> tuple[Row, ...]:
    """Return the rows of ``labels.csv`` in `folder`.

    Parameters
    ----------
    folder : Path
    wanted : mapping of column to kind
        What the plugin learns from: these columns must be there and filled.
    clinical : names
        Clinical values that the plugin can use: such a column may be there, and have blanks.

    Raises
    ------
    LearningError
        With the line of each fault: a missing or unreadable table, a column twice or named almost
        as a reserved one, a missing
        label, a bad value, a patient or a study twice, one patient in two splits.
    """
    path = folder / TABLE_NAME
    if not path.is_file():
        raise LearningError(
            f"there is no {TABLE_NAME} in {folder}; docs/train.md says what it holds",
            code="DATA_INVALID",
        )
    faults = Faults()
    lines = list(_lines(path))
    header, body = (lines[0][1], lines[1:]) if lines else ([], [])
    _check_header(header, wanted, clinical, faults)
    faults.refuse()
    cells = [(line, dict(zip(header, row, strict=False))) for line, row in body]
    for line, row in body:
        if len(row) != len(header):
            faults.add(f"{len(row)} cells, the header has {len(header)}", line)
    faults.refuse()
    if not cells:
        faults.add("there is no patient in it", 2)
    kinds = _kinds(header, cells, {**dict.fromkeys(clinical, _UNUSED), **wanted}, wanted)
    rows = [
        replace(
            _row(line, row, kinds, faults),
            clinical={name: row[name] for name in clinical if row.get(name)},
        )
        for line, row in cells
    ]
    _check_patients(rows, faults)
    faults.refuse()
    return tuple(rows)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, and its cells without outer spaces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = ";" if first.count(";") > first.count(",") else ","
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            start = 1
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield start, [cell.strip() for cell in row]
                start = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise LearningError(
            f"{TABLE_NAME} is not UTF-8 text; save it as CSV UTF-8", code="DATA_INVALID"
        ) from error
    except csv.Error as error:
        raise LearningError(
            f"{TABLE_NAME} line {reader.line_num}: not CSV: {error}", code="DATA_INVALID"
        ) from error


def _check_header(
    header: Sequence[str], wanted: Mapping[str, Kind], clinical: Collection[str], faults: Faults
) -> None:
    for name in (PATIENT, *wanted):
        if name not in header:
            near = closest(name, filter(None, header))
            faults.add(f"no column `{name}`" + (f"; rename `{near}` if that is it" * bool(near)), 1)
    for name in dict.fromkeys(header):
        if not name:
            faults.add("a column has no name", 1)
        elif header.count(name) > 1:
            faults.add(f"column `{name}` is there {header.count(name)} times", 1)
        elif name in wanted:
            continue
        elif meant := _meant(name, header) or _written_else(name, clinical):
            faults.add(
                f"column `{name}`: did you mean `{meant}`? Write it so, or give the column "
                "another name if it holds something else",
                1,
            )


def _meant(name: str, header: Sequence[str]) -> str:
    """Return the reserved column that a column's name is most likely meant to be, or "".

    A `Split` that nobody reads would hand the patients kept for the test to the training.
    """
    if name in RESERVED:
        return ""
    # A header without `patient` was told already, with the nearest column.
    asked = [one for one in RESERVED if one != PATIENT or PATIENT in header]
    plain = "".join(name.split()).casefold()
    return next((one for one in asked if _one_edit_apart(plain, one)), "")


def _written_else(name: str, clinical: Collection[str]) -> str:
    """Return the clinical value whose name a column has but for case, spaces and hyphens, or ""."""
    plain = "_".join(name.replace("-", " ").casefold().split())
    return plain if plain != name and plain in clinical else ""


def _one_edit_apart(word: str, other: str) -> bool:
    """Return whether a letter more, less or another one, or two swapped, tell words apart.

    Examples
    --------
    >>> [_one_edit_apart(word, "split") for word in ("split", "splits", "slit", "spilt", "spot")]
    [True, True, True, True, False]
    """
    first = next((n for n, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), None)
    start = min(len(word), len(other)) if first is None else first
    a, b = word[start:], other[start:]
    swapped = a[:2] == b[:2][::-1] and a[2:] == b[2:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or swapped


def _kinds(
    header: Sequence[str],
    cells: Sequence[tuple[int, Mapping[str, str]]],
    known: Mapping[str, Kind],
    wanted: Mapping[str, Kind],
) -> dict[str, Kind]:
    """Return what each column of labels holds: as is known, else as its first value.

    Where the plugin names the columns it needs, the others may hold anything.
    """
    kinds: dict[str, Kind] = {}
    for name in header:
        if name not in RESERVED:
            first = next((row[name] for _, row in cells if row.get(name)), "")
            free: Kind = "text" if _number(first) is None else "number"
            kinds[name] = known.get(name, _UNUSED if wanted else free)
    return kinds


def _row(line: int, cells: Mapping[str, str], kinds: Mapping[str, Kind], faults: Faults) -> Row:
    patient = cells[PATIENT]
    if not patient:
        faults.add("no patient; write the Patient ID of the images", line)
    split = cells.get(SPLIT, "").lower()
    if SPLIT in cells and split not in SPLITS:
        faults.add(f"split = {cells[SPLIT]!r} is not one of {', '.join(SPLITS)}", line)
    regions = cells.get(REGIONS, OUTLINED).lower()
    if regions not in (OUTLINED, NONE):
        faults.add(f"regions = {cells[REGIONS]!r} is not {OUTLINED} or {NONE}", line)
    return Row(
        line=line,
        patient=patient,
        study=cells.get(STUDY, ""),
        split=split,
        outlined=regions != NONE,
        values={
            name: _value(line, name, cells[name], kind, faults) for name, kind in kinds.items()
        },
    )


def _value(line: int, name: str, text: str, kind: Kind, faults: Faults) -> str | float:
    if kind == _UNUSED:
        number = _number(text)
        return text if number is None else number
    if not text:
        faults.add(f"no `{name}` for this patient; fill it in, or leave the patient out", line)
    elif kind == "number":
        number = _number(text)
        if number is not None:
            return number
        faults.add(f"{name} = {text!r} is not a number", line)
    elif isinstance(kind, tuple) and text not in kind:
        faults.add(f"{name} = {text!r} is not one of {', '.join(kind)}", line)
    return text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _check_patients(rows: Sequence[Row], faults: Faults) -> None:
    seen: dict[str, Row] = {}
    studies: dict[str, Row] = {}
    for row in rows:
        first = seen.setdefault(row.patient, row)
        if first is not row and first.split != row.split:
            faults.add(
                f"leak: patient {row.patient!r} is in split {row.split}, and in {first.split} in "
                f"line {first.line}; a patient belongs to one split",
                row.line,
            )
        elif first is not row and not (row.study and first.study):
            faults.add(
                f"patient {row.patient!r} is there already in line {first.line}; for several "
                f"studies of a patient give each its own line with a column `{STUDY}`",
                row.line,
            )
        twin = studies.setdefault(row.study, row) if row.study else row
        if twin is not row:
            faults.add(f"study {row.study!r} is there already in line {twin.line}", row.line)
