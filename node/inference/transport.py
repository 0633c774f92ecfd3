"""A Case on its way to the child and a Result on its way back: JSON and .npy, never pickle (E7)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import ResultInvalid
from node.plugin import Case, Line, Map, Measurement, Quality, Result, Roi, Segment, Volume

CASE_FILE = "case.json"
RESULT_FILE = "result.json"


def write_case(case: Case, folder: Path, *, device: str) -> None:
    """Write `case` into an existing empty folder, to run on `device`."""
    volumes = {
        role: _write_volume(volume, folder, number)
        for number, (role, volume) in enumerate(case.volumes.items())
    }
    document = {
        "volumes": volumes,
        "attributes": dict(case.attributes),
        "values": dict(case.values),
        "device": device,
        "rois": {
            name: [
                _write_roi(roi, folder, f"roi-{place}-{number}") for number, roi in enumerate(rois)
            ]
            for place, (name, rois) in enumerate(case.rois.items())
        },
    }
    (folder / CASE_FILE).write_text(json.dumps(document), encoding="utf-8")


def read_case(folder: Path) -> Case:
    """Return the Case in `folder`; arrays are mapped, writing to them changes no file."""
    document = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
    return Case(
        volumes={role: _read_volume(entry, folder) for role, entry in document["volumes"].items()},
        attributes=document["attributes"],
        values=document["values"],
        device=document["device"],
        rois={
            name: tuple(_read_roi(entry, folder) for entry in entries)
            for name, entries in document["rois"].items()
        },
    )


def _write_volume(volume: Volume, folder: Path, number: int) -> dict[str, Any]:
    array = f"volume-{number}.npy"
    _save(folder / array, volume.array)
    padding = None
    if volume.padding is not None:
        padding = f"padding-{number}.npy"
        _save(folder / padding, volume.padding)
    return {
        "array": array,
        "padding": padding,
        "affine": volume.affine.tolist(),
        "unit": volume.unit,
        "modality": volume.modality,
    }


def _write_roi(roi: Roi, folder: Path, name: str) -> dict[str, Any]:
    _save(folder / f"{name}.npy", np.ascontiguousarray(roi.mask, dtype=np.bool_))
    return {"mask": f"{name}.npy", "role": roi.role, "label": roi.label, "source": roi.source}


def _read_roi(entry: Mapping[str, Any], folder: Path) -> Roi:
    return Roi(
        mask=_mapped(folder / entry["mask"]),
        role=entry["role"],
        label=entry["label"],
        source=entry["source"],
    )


def _save(path: Path, array: NDArray[Any]) -> None:
    try:
        np.save(path, array, allow_pickle=False)
    except OSError as error:
        if error.errno is None:  # numpy's words for a disk that took only a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def _read_volume(entry: Mapping[str, Any], folder: Path) -> Volume:
    padding = entry["padding"]
    return Volume(
        array=_mapped(folder / entry["array"]),
        affine=np.array(entry["affine"], dtype=np.float64),
        unit=entry["unit"],
        modality=entry["modality"],
        padding=None if padding is None else _mapped(folder / padding),
    )


def _mapped(path: Path) -> NDArray[Any]:
    # Copy on write: a plugin that works in place does no harm and needs no copy of its own.
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def write_result(result: Result, folder: Path) -> None:
    """Write what a plugin returned; the engine checks it with `returned.read_result`.

    Raises
    ------
    ResultInvalid
        If it is not a Result of plain arrays, numbers and text.
    """
    if not isinstance(result, Result):
        raise ResultInvalid(f"run returned {_kind(result)}, not a Result")
    document = {
        "segments": [
            _write_segment(segment, folder, number)
            for number, segment in enumerate(_tuple_of(Segment, result.segments, "segments"))
        ],
        "measurements": [
            _measurement(measurement)
            for measurement in _tuple_of(Measurement, result.measurements, "measurements")
        ],
        "maps": [
            _write_map(one, folder, number)
            for number, one in enumerate(_tuple_of(Map, result.maps, "maps"))
        ],
        "qualities": [
            _quality(quality) for quality in _tuple_of(Quality, result.qualities, "qualities")
        ],
        "notes": [str(note) for note in result.notes],
        "refusal": str(result.refusal),
    }
    (folder / RESULT_FILE).write_text(json.dumps(document), encoding="utf-8")


def _write_segment(segment: Segment, folder: Path, number: int) -> dict[str, Any]:
    mask = segment.mask
    if not isinstance(mask, np.ndarray) or mask.dtype not in (np.bool_, np.uint8):
        kind = mask.dtype if isinstance(mask, np.ndarray) else _kind(mask)
        raise ResultInvalid(f"mask of segment {segment.name!r} is {kind}, not bool or uint8")
    if mask.ndim != 3:
        raise ResultInvalid(f"mask of segment {segment.name!r} has {mask.ndim} axes, not 3")
    used = np.flatnonzero(mask.any(axis=(1, 2)))  # (slices,)
    first, end = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
    name = f"mask-{number}.npy"
    # Only the slices between the first and the last voxel travel; the rest is known to be empty.
    _save(folder / name, np.ascontiguousarray(mask[first:end]).view(np.uint8))
    return {
        "name": str(segment.name),
        "role": str(segment.role),
        "finding": _whole(segment.finding, f"finding of segment {segment.name!r}"),
        "shape": list(mask.shape),
        "mask": name,
        "first": first,
        "end": end,
        "probability": _write_probability(segment, folder, number),
    }


def _write_probability(segment: Segment, folder: Path, number: int) -> dict[str, Any] | None:
    values = segment.probability
    if values is None:
        return None
    what = f"probability of segment {segment.name!r}"
    _refuse_unless_float32(values, what)
    if values.shape != segment.mask.shape:
        raise ResultInvalid(f"{what} has shape {values.shape}, its mask {segment.mask.shape}")
    used = np.flatnonzero(values.any(axis=(1, 2)))  # (slices,)
    first, end = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
    name = f"probability-{number}.npy"
    _save(folder / name, np.ascontiguousarray(values[first:end]))
    return {"file": name, "first": first, "end": end}


def _write_map(one: Map, folder: Path, number: int) -> dict[str, Any]:
    _refuse_unless_float32(one.array, f"array of map {one.name!r}")
    name = f"map-{number}.npy"
    _save(folder / name, np.ascontiguousarray(one.array))
    return {
        "name": str(one.name),
        "role": str(one.role),
        "shape": list(one.array.shape),
        "file": name,
    }


def _refuse_unless_float32(values: Any, what: str) -> None:
    if not isinstance(values, np.ndarray) or values.dtype != np.float32:
        kind = values.dtype if isinstance(values, np.ndarray) else _kind(values)
        raise ResultInvalid(f"{what} is {kind}, not float32")
    if values.ndim != 3:
        raise ResultInvalid(f"{what} has {values.ndim} axes, not 3")


def _quality(quality: Quality) -> dict[str, Any]:
    return {
        "name": str(quality.name),
        "choice": str(quality.choice),
        "segment": None if quality.segment is None else str(quality.segment),
        "finding": _whole(quality.finding, f"finding of quality {quality.name!r}"),
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    of = f"of measurement {measurement.name!r}"
    return {
        "name": str(measurement.name),
        "value": _number(measurement.value, f"value {of}"),
        "segment": None if measurement.segment is None else str(measurement.segment),
        "finding": _whole(measurement.finding, f"finding {of}"),
        "line": None if measurement.line is None else _line(measurement.line, f"line {of}"),
        "interval": _interval(measurement.interval, f"interval {of}"),
    }


def _interval(interval: Any, what: str) -> list[float] | None:
    if interval is None:
        return None
    if not isinstance(interval, tuple | list) or len(interval) != 2:
        raise ResultInvalid(f"{what} is not a pair of numbers")
    return [_number(end, what) for end in interval]


def _line(line: Line, what: str) -> dict[str, Any]:
    if not isinstance(line, Line) or len(line.start) != 2 or len(line.end) != 2:
        raise ResultInvalid(f"{what} is not a Line between two (row, column) pairs")
    return {
        "slice_index": _whole(line.slice_index, f"slice_index of {what}"),
        "start": [_number(x, what) for x in line.start],
        "end": [_number(x, what) for x in line.end],
    }


def _tuple_of(kind: type[Any], values: Any, name: str) -> tuple[Any, ...]:
    found = tuple(values) if isinstance(values, tuple | list) else (values,)
    for value in found:
        if not isinstance(value, kind):
            raise ResultInvalid(f"{name} of the Result hold {_kind(value)}, not {kind.__name__}")
    return found


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool | np.bool_ | str | bytes) or value is None:
        raise ResultInvalid(f"{what} is {_kind(value)}, not a number")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ResultInvalid(f"{what} is {_kind(value)}, not a number") from error


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise ResultInvalid(f"{what} is {_kind(value)}, not a whole number")
    return int(value)


def _kind(value: object) -> str:
    return type(value).__name__
