"""How long SEG and SR take for a CT of 300 slices: encode, check, picture. `python -m …`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from node.plugin import Volume
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from node.results.picture import picture_of_finding
from node.results.request import findings_of
from node.results.write import write_evidence
from node.storage.files import Files
from tests.results_case import (
    JOB_ID,
    one_segment,
    request_of,
    stack_and_headers,
    synthetic_headers,
    synthetic_series,
)

SLICES, ROWS, COLUMNS = 300, 512, 512
RUNS = 5


def a_request() -> EncodeRequest:
    """A segment that touches every slice, rough as a thresholded bone is."""
    noise = np.random.default_rng(1).random((SLICES, ROWS, COLUMNS), np.float32)
    mask = noise > 0.7
    mask[:, :100] = mask[:, 400:] = False
    series = synthetic_series(synthetic_headers(SLICES, Rows=ROWS, Columns=COLUMNS))
    stack, _ = stack_and_headers(series)
    return request_of(series, one_segment(mask, stack))


def timed(work: Callable[[], object]) -> float:
    """Return the median of `RUNS` runs in seconds, after one to warm up."""
    work()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return round(median(seconds), 4)


def write_new(objects: tuple[object, ...], folder: Path) -> None:
    """Write into a new data folder, fsync included."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        files = Files(Path(place))
        files.prepare()
        write_evidence(objects, {"seg": {}, "sr": {}}, files=files, job_id=JOB_ID)  # type: ignore[arg-type]


def main() -> dict[str, float]:
    """Return seconds for each step of the results stage."""
    request = a_request()
    objects = encode(request)
    (finding,) = findings_of(request)
    values = np.zeros((SLICES, ROWS, COLUMNS), np.int16)
    volume = Volume(array=values, affine=np.eye(4), unit="1", modality="CT")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "finding.png"
        seconds = {
            "results_encode_s": timed(lambda: encode(request)),
            "results_check_s": timed(lambda: check_objects(objects, request)),
            "results_write_s": timed(lambda: write_new(objects, Path(folder))),
            "results_picture_s": timed(
                lambda: picture_of_finding(request, finding, volume=volume, out_path=picture)
            ),
        }
    seconds["results_total_s"] = round(sum(seconds.values()), 4)
    return {**seconds, "results_seg_mb": round(len(objects[0].content) / 1e6, 2)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(), indent=2) + "\n")
