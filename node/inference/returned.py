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
from node.plugin import Case, Line, Measurement, Result, Segment

_MAX_DOCUMENT_BYTES = 16 << 20
_MAX_SEGMENTS = 4096
_MAX_NOTES = 50
_MAX_NOTE = 1000


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


class _Segment(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    role: str
    finding: int
    shape: list[int] = Field(max_length=3)
    mask: str
    first: int
    end: int


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    segments: list[_Segment] = Field(max_length=_MAX_SEGMENTS)
    measurements: list[_Measurement]
    notes: list[str] = Field(max_length=_MAX_NOTES)


def read_result(folder: Path, manifest: Manifest, case: Case) -> Result:
    """Return the Result that a child left in `folder`, if `manifest` and `case` allow it.

    Raises
    ------
    ResultInvalid
        With the first thing that is wrong: an undeclared name, a mask off its grid, values other
        than 0 and 1, a number that is not finite, a line outside the grid, two of one kind.
    """
    document = _read_document(folder)
    segments = tuple(_segment(entry, folder, manifest, case) for entry in document.segments)
    _refuse_twins(((s.name, s.finding) for s in segments), "segments")
    grids = {(s.name, s.finding): s.mask.shape for s in segments}
    measurements = tuple(_measurement(m, manifest, grids) for m in document.measurements)
    _refuse_twins(((m.name, m.segment, m.finding) for m in measurements), "measurements")
    notes = tuple(_note(note) for note in document.notes)
    return Result(segments=segments, measurements=measurements, notes=notes)


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
    grid = case.volumes[entry.role].array.shape
    if tuple(entry.shape) != grid:
        raise ResultInvalid(
            f"mask of segment {name!r} has shape {tuple(entry.shape)}, "
            f"the grid of input {entry.role!r} has {grid}"
        )
    mask = _read_mask(entry, folder, (grid[0], grid[1], grid[2]))
    return Segment(name=name, mask=mask, role=entry.role, finding=entry.finding)


def _read_mask(entry: _Segment, folder: Path, grid: tuple[int, int, int]) -> NDArray[np.bool_]:
    if not 0 <= entry.first <= entry.end <= grid[0] or "/" in entry.mask:
        raise ResultInvalid(f"mask of segment {entry.name!r} names slices or a file wrongly")
    part = (entry.end - entry.first, grid[1], grid[2])  # (slices, rows, columns)
    with _opened(folder / entry.mask) as file:
        values = _read_array(file, part, entry.name)
    if values.size and int(values.max()) > 1:
        raise ResultInvalid(f"mask of segment {entry.name!r} has values other than 0 and 1")
    # Untouched pages of zeros cost no memory: many small findings stay small.
    mask = np.zeros(grid, dtype=np.uint8)
    mask[entry.first : entry.end] = values
    return mask.view(np.bool_)


def _read_array(file: BinaryIO, shape: tuple[int, int, int], name: str) -> NDArray[np.uint8]:
    """Read a .npy array of a known shape; its header is compared before memory is taken."""
    try:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ResultInvalid(f"mask file of segment {name!r} has an unknown version")
        found, fortran, dtype = npy.read_array_header_1_0(file)
    except ValueError as error:
        raise ResultInvalid(f"mask file of segment {name!r} is not a .npy file") from error
    if found != shape or dtype != np.uint8 or (fortran and math.prod(shape) > 1):
        raise ResultInvalid(f"mask file of segment {name!r} is not uint8 of shape {shape}")
    count = math.prod(shape)
    values = np.fromfile(file, dtype=np.uint8, count=count)
    if values.size != count:
        raise ResultInvalid(f"mask file of segment {name!r} is too short")
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
    if entry.finding < 1:
        raise ResultInvalid(f"finding {entry.finding} of measurement {name!r} is below 1")
    grid = None if entry.segment is None else grids.get((entry.segment, entry.finding))
    if entry.segment is not None and grid is None:
        raise ResultInvalid(
            f"measurement {name!r} belongs to segment {entry.segment!r}, finding "
            f"{entry.finding}, which the result does not hold"
        )
    return Measurement(
        name=name,
        value=entry.value,
        segment=entry.segment,
        finding=entry.finding,
        line=None if entry.line is None else _line(entry.line, grid, name),
    )


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
    return f"the manifest has {table}: {', '.join(names) or 'none'}"


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
