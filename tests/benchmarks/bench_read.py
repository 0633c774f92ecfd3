"""Series → volume against highdicom, pydicom and one core: medians of interleaved runs (E18).

`make bench` runs it; `python -m tests.benchmarks.bench_read` prints highdicom and the codecs.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from node.dicom.decoding import each_stored
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.inference.volume import build_volume
from node.manifest import InputRole
from tests.make import ct_series, write_series

SLICES, ROWS, COLUMNS = 300, 512, 512
ROUNDS = 5
CODECS = {
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "JPEG-LS lossless": "1.2.840.10008.1.2.4.80",
    "RLE lossless": "1.2.840.10008.1.2.5",
}
#: So many images are really compressed; the others of a series repeat them.
COMPRESSED = 12
ROLE = InputRole(name="ct", modality=("CT",))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of an uncompressed CT of 300 slices."""
    return write_study(tmp_path_factory.mktemp("ct"))


def test_a_volume_is_ready_long_before_highdicoms(paths: list[Path]) -> None:
    report = against_highdicom(paths)
    print(f"\n{report}")
    assert report["times_faster"] >= report["required"]


def test_a_volume_costs_little_more_than_reading_and_stacking(paths: list[Path]) -> None:
    ours, theirs = interleaved(lambda: by_us(paths)["total"], lambda: seconds(by_pydicom, paths))
    print(f"\nuncompressed: ours {ours:.3f} s, pydicom {theirs:.3f} s, {ours / theirs:.2f} times")
    assert ours <= 1.2 * theirs


def test_j2k_is_decoded_on_all_cores(paths: list[Path], tmp_path: Path) -> None:
    encoded = compressed(paths, CODECS["JPEG 2000 lossless"], tmp_path)
    ours, one = interleaved(lambda: by_us(encoded)["total"], lambda: seconds(by_one_core, encoded))
    print(f"\nJPEG 2000: {ours:.2f} s, one thread {one:.2f} s, {one / ours:.2f} times faster")
    assert one >= 1.6 * ours


def interleaved(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Return the medians of both, measured by turns after one run to warm up."""
    first(), second()
    runs = [(first(), second()) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in runs), statistics.median(b for _, b in runs)


def seconds(work: Callable[[Sequence[Path]], Any], paths: Sequence[Path]) -> float:
    """Return how long `work` takes with these files."""
    return timed(lambda: work(paths))[0]


def by_pydicom(paths: Sequence[Path]) -> Any:
    """Return the stored values of the files, stacked along the patient."""
    read = sorted((dcmread(path) for path in paths), key=_along)
    return np.stack([ds.pixel_array for ds in read])


def _along(ds: Dataset) -> float:
    return float(ds.ImagePositionPatient[2])


def by_one_core(paths: Sequence[Path]) -> None:
    """Do what `by_us` does, but for rescaling, in one thread."""
    stack = split_series(read_series(paths)[0])[0]
    each_stored(stack.frames, lambda index, stored: None, worth_workers_s=float("inf"))


def compressed(paths: Sequence[Path], syntax: str, folder: Path) -> list[Path]:
    """Write the series again, its images compressed."""
    values = []
    for path in paths[:COMPRESSED]:
        ds = dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        values.append(ds.PixelData)
    written = []
    for index, path in enumerate(paths):
        ds = dcmread(path)
        ds.PixelData = values[index % COMPRESSED]
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = syntax
        written.append(folder / path.name)
        dcmwrite(written[-1], ds, enforce_file_format=True)
    return written


def main() -> dict[str, Any]:
    """Measure and return seconds by name."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_study(Path(folder))
        report = against_highdicom(paths)
        report["decode_s"] = {
            name: round(decode(paths[:100], syntax, Path(folder)), 3)
            for name, syntax in CODECS.items()
        }
    return report


def against_highdicom(paths: Sequence[Path]) -> dict[str, Any]:
    """Return medians of interleaved runs of both, from files to volume."""
    ours: list[dict[str, float]] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        theirs.append(timed(lambda: by_highdicom(paths))[0])
        ours.append(by_us(paths))
    stages = {key: round(statistics.median(run[key] for run in ours), 3) for key in ours[0]}
    highdicom_s = round(statistics.median(theirs), 3)
    return {
        "slices": len(paths),
        "ours_s": stages,
        "highdicom_s": highdicom_s,
        "times_faster": round(highdicom_s / stages["total"], 2),
        "required": 2.5,
    }


def by_us(paths: Sequence[Path]) -> dict[str, float]:
    """Return the seconds of each stage, from files to volume."""
    headers_s, series = timed(lambda: read_series(paths))
    geometry_s, stacks = timed(lambda: split_series(series[0]))
    pixels_s, _ = timed(lambda: build_volume(stacks[0], ROLE))
    return {
        "headers": headers_s,
        "geometry": geometry_s,
        "pixels": pixels_s,
        "total": headers_s + geometry_s + pixels_s,
    }


def by_highdicom(paths: Sequence[Path]) -> Any:
    """Return highdicom's volume of the same files."""
    import highdicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return highdicom.get_volume_from_series([dcmread(path) for path in paths])


def decode(paths: Sequence[Path], syntax: str, folder: Path) -> float:
    """Return seconds to decode these images after compression by `syntax`."""
    recoded = []
    for index, path in enumerate(paths):
        ds = dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        recoded.append(folder / f"{syntax}-{index}.dcm")
        dcmwrite(recoded[-1], ds, enforce_file_format=True)
    frames = read_series(recoded)[0].frames
    return timed(lambda: each_stored(frames, lambda index, stored: None))[0]


def write_study(folder: Path) -> list[Path]:
    """Write a CT of noise on a cylinder, as large and as hard to compress as a real one."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((ROWS, COLUMNS)) - 256
    body = np.where(rows**2 + columns**2 < 200**2, 40, -1000)
    values = np.empty((SLICES, ROWS, COLUMNS), np.int16)
    for plane in values:
        plane[...] = body + random.normal(0, 12, body.shape)
    return write_series(folder, ct_series(values.shape, values=values, spacing=(1.0, 0.7, 0.7)))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that `work` took, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    print(json.dumps(main()))
