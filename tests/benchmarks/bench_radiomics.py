"""Features of a cohort: ours against pyradiomics' own batch with two jobs, and read again (E18).

`make bench` runs it; alone: ``python -m tests.benchmarks.bench_radiomics``. ``SENTINEL_RUNS``
lowers the number of runs, ``SENTINEL_CASES`` that of cases. Both sides read the same NRRD files,
take the same 975 features with two processes, and are timed as whole processes, in turns; ours
writes its cache as well. What is read again is timed in one process, by the call alone.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from node.plugin import Volume
from node.radiomics_settings import features_of
from node.toolkit.radiomics import extract_many, feature_names, radiomics_settings
from node.toolkit.radiomics.many import Region, Source

RUNS = int(os.environ.get("SENTINEL_RUNS", "5"))
CASES = int(os.environ.get("SENTINEL_CASES", "24"))
JOBS = 2
SHAPE = (24, 256, 256)
SPACING_MM = (5.0, 0.7, 0.7)
REQUIRED = {"times_faster": 1.0, "cached_times_faster": 20.0}
SETTINGS = radiomics_settings(
    {
        "image_types": ["original", "wavelet", "log"],
        "log_sigma_mm": [2, 3, 4, 5],
        "classes": ["shape", "firstorder", "glcm", "glrlm", "glszm"],
        "drop": ["shape_VoxelVolume"],
        "bin_width": 5,
        "pre_crop": True,
    }
)


def main() -> dict[str, Any]:
    """Measure and return seconds of each run, medians and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder)
        seconds: dict[str, list[float]] = {"ours": [], "pyradiomics": []}
        for run in range(RUNS):
            for side in ("ours", "pyradiomics") if run % 2 else ("pyradiomics", "ours"):
                seconds[side].append(timed(side, folder, run))
        cached = [again(folder, run) for run in range(RUNS)]
        difference = worst_difference(folder)
    medians = {side: statistics.median(several) for side, several in seconds.items()}
    return {
        "cases": CASES,
        "features": len(feature_names(SETTINGS)),
        "seconds": seconds,
        "times_faster": round(medians["pyradiomics"] / medians["ours"], 2),
        "seconds_first_and_again": cached,
        "cached_times_faster": round(statistics.median(a / b for a, b in cached), 1),
        "largest_relative_difference": difference,
    }


def write_cohort(folder: Path) -> None:
    """Write images of noise with a smooth lesion of about 4,000 voxels, and pyradiomics' files."""
    rows = ["Image,Mask"]
    for case in range(CASES):
        rng = np.random.default_rng(case)
        at = np.indices(SHAPE) - rng.uniform(0.4, 0.6, 3).reshape(3, 1, 1, 1) * np.reshape(
            SHAPE, (3, 1, 1, 1)
        )
        inside = (at / np.array([5.0, 13.0, 15.0]).reshape(3, 1, 1, 1)) ** 2
        mask = inside.sum(axis=0) < 1
        array = (rng.normal(300, 60, SHAPE) + 80 * mask).astype(np.int16)
        paths = [folder / f"{case}_{kind}.nrrd" for kind in ("image", "mask")]
        for path, values in zip(paths, (array, mask.astype(np.uint8)), strict=True):
            image = SimpleITK.GetImageFromArray(values)
            image.SetSpacing(SPACING_MM[::-1])
            SimpleITK.WriteImage(image, str(path))
        rows.append(f"{paths[0]},{paths[1]}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    asked = {name: list(several) for name, several in features_of(SETTINGS).items()}
    sigma = list(SETTINGS.log_sigma_mm)
    parameters = {
        "setting": {"binWidth": SETTINGS.bin_width, "preCrop": True, "label": 1},
        "imageType": {"Original": {}, "Wavelet": {}, "LoG": {"sigma": sigma}},
        "featureClass": asked,
    }
    (folder / "parameters.yaml").write_text(json.dumps(parameters))


def timed(side: str, folder: Path, run: int) -> float:
    """Return the seconds that a whole process takes over the cohort."""
    theirs = "from radiomics.scripts import parse_args; parse_args()"
    commands = {
        "ours": ["-m", "tests.benchmarks.bench_radiomics", str(folder), f"cache-{run}"],
        "pyradiomics": [
            *("-c", theirs, str(folder / "cohort.csv"), "--jobs", str(JOBS), "--format", "csv"),
            *("--param", str(folder / "parameters.yaml"), "--out", str(folder / f"{run}.csv")),
        ],
    }
    start = time.perf_counter()
    subprocess.run([sys.executable, *commands[side]], check=True, capture_output=True)
    return round(time.perf_counter() - start, 3)


def again(folder: Path, run: int) -> tuple[float, float]:
    """Return the seconds of a first extraction and of one that finds everything in the cache."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        ours(folder, f"again-{run}")
        seconds.append(time.perf_counter() - start)
    return round(seconds[0], 3), round(seconds[1], 4)


def ours(folder: Path, cache: str) -> np.ndarray:
    """Return the features of the cohort in the folder."""
    sources: list[Source] = [Reader(folder, case) for case in range(CASES)]
    return extract_many(sources, SETTINGS, workers=JOBS, cache=folder / cache).values


class Reader:
    """Reads a case when its turn comes."""

    def __init__(self, folder: Path, case: int):
        self.folder, self.case = folder, case

    def __call__(self) -> Region:
        image, mask = (
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
            for path in (self.folder / f"{self.case}_{kind}.nrrd" for kind in ("image", "mask"))
        )
        affine = np.diag([*SPACING_MM, 1.0])[[2, 1, 0, 3]]
        return Volume(array=image, affine=affine, unit="1", modality="MR"), mask == 1


def worst_difference(folder: Path) -> float:
    """Return the largest difference of any feature of both sides, as a part of its value."""
    mine = ours(folder, "cache-0")
    names = feature_names(SETTINGS)
    with (folder / "0.csv").open() as file:
        rows = sorted(
            csv.DictReader(file), key=lambda row: int(Path(row["Image"]).name.split("_")[0])
        )
    theirs = np.array([[float(row[name]) for name in names] for row in rows])
    return float((np.abs(mine - theirs) / np.maximum(np.abs(theirs), 1e-9)).max())


def test_radiomics() -> None:
    report = main()
    print(json.dumps(report, indent=2))
    assert report["largest_relative_difference"] < 1e-3
    for name, required in REQUIRED.items():
        assert report[name] >= required, name


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ours(Path(sys.argv[1]), sys.argv[2])
    else:
        print(json.dumps(main(), indent=2))
