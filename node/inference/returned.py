"""What the engine believes of a plugin's answer: everything that came back is checked here.

The child is not trusted. Files are read, not mapped: a plugin could still change or cut a mapped
file after the check, and a cut one would kill the engine.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.errors import ResultInvalid
from node.inference.transport import RESULT_FILE
from node.manifest import Manifest
from node.plugin import Case, Line, Map, Measurement, Quality, Result, Segment

_MAX_DOCUMENT_BYTES = 16 << 20
_MAX_SEGMENTS = 4096
_MAX_MAPS = 16
_MAX_NOTES = 50
_MAX_NOTE = 1000
#: Names of a manifest that a sentence lists.
_MOST_NAMED = 20


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    slice_index: int
    start: list[float] = Field(min_length=2, max_length=2)
    end: list[float] = Field(min_length=2, max_length=2)


class _Measurement(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    value: float
    segment: str | None
    finding: int
    line: _Line | None
    interval: list[float] | None = Field(min_length=2, max_length=2)


class _Quality(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    choice: str
    segment: str | None
    finding: int


class _Map(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    role: str
    shape: list[int] = Field(max_length=3)
    file: str


class _Probability(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    file: str
    first: int
    end: int


class _Segment(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    role: str
    finding: int
    shape: list[int] = Field(max_length=3)
    mask: str
    first: int
    end: int
    probability: _Probability | None


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    segments: list[_Segment] = Field(max_length=_MAX_SEGMENTS)
    measurements: list[_Measurement]
    maps: list[_Map] = Field(max_length=_MAX_MAPS)
    qualities: list[_Quality] = Field(max_length=_MAX_SEGMENTS)
    notes: list[str] = Field(max_length=_MAX_NOTES)
    refusal: str = ""


def read_result(folder: Path, manifest: Manifest, case: Case) -> Result:
    """Return the Result that a child left in `folder`, if `manifest` and `case` allow it.

    Raises
    ------
    ResultInvalid
        With the first thing that is wrong: an undeclared name, an array off its grid, values
        other than 0 and 1, a number that is not finite, a line outside the grid, an interval
        without its value, two of one kind, findings in a case that the plugin refuses.
    """
    document = _read_document(folder)
    if document.refusal and (document.segments or document.measurements or document.maps):
        raise ResultInvalid("the plugin refuses the case and returns findings of it")
    segments = tuple(_segment(entry, folder, manifest, case) for entry in document.segments)
    _refuse_twins(((s.name, s.finding) for s in segments), "segments")
    grids = {(s.name, s.finding): s.mask.shape for s in segments}
    measurements = tuple(_measurement(m, manifest, grids) for m in document.measurements)
    _refuse_twins(((m.name, m.segment, m.finding) for m in measurements), "measurements")
    maps = tuple(_map(entry, folder, manifest, case) for entry in document.maps)
    _refuse_twins(((m.name, m.role) for m in maps), "maps")
    qualities = tuple(_quality(entry, manifest, grids) for entry in document.qualities)
    _refuse_twins(((q.name, q.segment, q.finding) for q in qualities), "qualities")
    return Result(
        segments=segments,
        measurements=measurements,
        maps=maps,
        qualities=qualities,
        notes=tuple(_note(note) for note in document.notes),
        refusal=_note(document.refusal),
    )


def _read_document(folder: Path) -> _Document:
    with _opened(folder / RESULT_FILE) as file:
        text = file.read(_MAX_DOCUMENT_BYTES + 1)
    if len(text) > _MAX_DOCUMENT_BYTES:
        raise ResultInvalid(f"the result's document is larger than {_MAX_DOCUMENT_BYTES} bytes")
    try:
        return _Document.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultInvalid(f"the result's document is wrong at {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise ResultInvalid("the result's document is not JSON") from error


def _segment(entry: _Segment, folder: Path, manifest: Manifest, case: Case) -> Segment:
    name = entry.name
    if name not in manifest.segments:
        raise ResultInvalid(
            f"segment {name!r} is not declared; {_declared('segments', manifest.segments)}"
        )
    if entry.role not in case.volumes:
        raise ResultInvalid(f"segment {name!r} lies on input {entry.role!r}, which there is not")
    if entry.finding < 1:
        raise ResultInvalid(f"finding {entry.finding} of segment {name!r} is below 1")
    grid = _grid(entry.shape, entry.role, case, f"mask of segment {name!r}")
    return Segment(
        name=name,
        mask=_read_mask(entry, folder, grid),
        role=entry.role,
        finding=entry.finding,
        probability=_read_probability(entry, folder, grid),
    )


def _grid(shape: list[int], role: str, case: Case, what: str) -> tuple[int, int, int]:
    grid = case.volumes[role].array.shape
    if tuple(shape) != grid:
        raise ResultInvalid(
            f"{what} has shape {tuple(shape)}, the grid of input {role!r} has {grid}"
        )
    return (grid[0], grid[1], grid[2])


def _read_probability(
    entry: _Segment, folder: Path, grid: tuple[int, int, int]
) -> NDArray[np.float32] | None:
    found = entry.probability
    if found is None:
        return None
    what = f"probability of segment {entry.name!r}"
    if not 0 <= found.first <= found.end <= grid[0] or "/" in found.file:
        raise ResultInvalid(f"{what} names slices or a file wrongly")
    part = (found.end - found.first, grid[1], grid[2])  # (slices, rows, columns)
    with _opened(folder / found.file) as file:
        values = _read_array(file, part, np.dtype(np.float32), what)
    if values.size and not (float(values.min()) >= 0 and float(values.max()) <= 1):  # NaN too
        raise ResultInvalid(f"{what} has values outside 0 to 1")
    whole = np.zeros(grid, dtype=np.float32)
    whole[found.first : found.end] = values
    return whole


def _map(entry: _Map, folder: Path, manifest: Manifest, case: Case) -> Map:
    name = entry.name
    if name not in manifest.maps:
        raise ResultInvalid(f"map {name!r} is not declared; {_declared('maps', manifest.maps)}")
    if entry.role not in case.volumes:
        raise ResultInvalid(f"map {name!r} lies on input {entry.role!r}, which there is not")
    what = f"array of map {name!r}"
    grid = _grid(entry.shape, entry.role, case, what)
    if "/" in entry.file:
        raise ResultInvalid(f"{what} names a file wrongly")
    with _opened(folder / entry.file) as file:
        values = _read_array(file, grid, np.dtype(np.float32), what)
    if not np.isfinite(values).all():
        raise ResultInvalid(f"{what} has values that are not finite")
    return Map(name=name, array=values, role=entry.role)


def _quality(
    entry: _Quality, manifest: Manifest, grids: Mapping[tuple[str, int], tuple[int, ...]]
) -> Quality:
    name = entry.name
    if name not in manifest.qualities:
        raise ResultInvalid(
            f"quality {name!r} is not declared; {_declared('qualities', manifest.qualities)}"
        )
    choices = manifest.qualities[name].choices
    if entry.choice not in choices:
        raise ResultInvalid(
            f"quality {name!r} has no choice {entry.choice!r}; {', '.join(choices)} are declared"
        )
    _refuse_foreign(f"quality {name!r}", entry.segment, entry.finding, grids)
    return Quality(name=name, choice=entry.choice, segment=entry.segment, finding=entry.finding)


def _refuse_foreign(
    what: str, segment: str | None, finding: int, grids: Mapping[tuple[str, int], tuple[int, ...]]
) -> None:
    if finding < 1:
        raise ResultInvalid(f"finding {finding} of {what} is below 1")
    if segment is not None and (segment, finding) not in grids:
        raise ResultInvalid(
            f"{what} belongs to segment {segment!r}, finding {finding}, which the result does "
            "not hold"
        )


def _read_mask(entry: _Segment, folder: Path, grid: tuple[int, int, int]) -> NDArray[np.bool_]:
    if not 0 <= entry.first <= entry.end <= grid[0] or "/" in entry.mask:
        raise ResultInvalid(f"mask of segment {entry.name!r} names slices or a file wrongly")
    part = (entry.end - entry.first, grid[1], grid[2])  # (slices, rows, columns)
    with _opened(folder / entry.mask) as file:
        values = _read_array(file, part, np.dtype(np.uint8), f"mask file of segment {entry.name!r}")
    if values.size and int(values.max()) > 1:
        raise ResultInvalid(f"mask of segment {entry.name!r} has values other than 0 and 1")
    # Untouched pages of zeros cost no memory: many small findings stay small.
    mask = np.zeros(grid, dtype=np.uint8)
    mask[entry.first : entry.end] = values
    return mask.view(np.bool_)


def _read_array(
    file: BinaryIO, shape: tuple[int, int, int], kind: np.dtype[Any], what: str
) -> NDArray[Any]:
    """Read a .npy array of a known shape; its header is compared before memory is taken."""
    try:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ResultInvalid(f"{what} has an unknown version")
        found, fortran, dtype = npy.read_array_header_1_0(file)
    except ValueError as error:
        raise ResultInvalid(f"{what} is not a .npy file") from error
    if found != shape or dtype != kind or (fortran and math.prod(shape) > 1):
        raise ResultInvalid(f"{what} is not {kind} of shape {shape}")
    count = math.prod(shape)
    values = np.fromfile(file, dtype=kind, count=count)
    if values.size != count:
        raise ResultInvalid(f"{what} is too short")
    return values.reshape(shape)


def _measurement(
    entry: _Measurement, manifest: Manifest, grids: Mapping[tuple[str, int], tuple[int, ...]]
) -> Measurement:
    name = entry.name
    if name not in manifest.measurements:
        raise ResultInvalid(
            f"measurement {name!r} is not declared; "
            f"{_declared('measurements', manifest.measurements)}"
        )
    if not math.isfinite(entry.value):
        raise ResultInvalid(f"value of measurement {name!r} is {entry.value}, not finite")
    _refuse_foreign(f"measurement {name!r}", entry.segment, entry.finding, grids)
    grid = None if entry.segment is None else grids.get((entry.segment, entry.finding))
    return Measurement(
        name=name,
        value=entry.value,
        segment=entry.segment,
        finding=entry.finding,
        line=None if entry.line is None else _line(entry.line, grid, name),
        interval=_interval(entry, name),
    )


def _interval(entry: _Measurement, name: str) -> tuple[float, float] | None:
    if entry.interval is None:
        return None
    low, high = entry.interval
    if not (math.isfinite(low) and math.isfinite(high) and low <= entry.value <= high):
        raise ResultInvalid(
            f"interval of measurement {name!r} from {low} to {high} does not hold its value "
            f"{entry.value}"
        )
    return low, high


def _line(entry: _Line, grid: tuple[int, ...] | None, name: str) -> Line:
    if grid is None:
        raise ResultInvalid(f"measurement {name!r} has a line but no segment")
    ends = (*entry.start, *entry.end)
    # A voxel reaches half a step to each side of its centre.
    inside = all(
        -0.5 <= end <= size - 0.5 for end, size in zip(ends, (*grid[1:], *grid[1:]), strict=True)
    )  # a NaN is not inside either
    if not inside or not 0 <= entry.slice_index < grid[0]:
        raise ResultInvalid(
            f"line of measurement {name!r} from {tuple(entry.start)} to {tuple(entry.end)} in "
            f"slice {entry.slice_index} leaves the grid {grid}"
        )
    return Line(
        slice_index=entry.slice_index,
        start=(entry.start[0], entry.start[1]),
        end=(entry.end[0], entry.end[1]),
    )


def _note(note: str) -> str:
    if len(note) > _MAX_NOTE or not note.isprintable():
        raise ResultInvalid(f"a note is longer than {_MAX_NOTE} characters or not one plain line")
    return note


def _refuse_twins(keys: Iterable[Hashable], what: str) -> None:
    key, count = max(Counter(keys).items(), key=lambda item: item[1], default=("", 1))
    if count > 1:
        raise ResultInvalid(f"{count} {what} have the same name and finding: {key}")


def _declared(table: str, names: Mapping[str, Any]) -> str:
    shown, more = list(names)[:_MOST_NAMED], max(len(names) - _MOST_NAMED, 0)
    rest = f" and {more} more" if more else ""
    return f"the manifest has {table}: {', '.join(shown) or 'none'}{rest}"


def _opened(path: Path) -> BinaryIO:
    """Open a plain file that the child wrote: no link, no pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ResultInvalid(f"the plugin left no file {path.name}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ResultInvalid(f"{path.name} is not a plain file")
    return os.fdopen(descriptor, "rb")
