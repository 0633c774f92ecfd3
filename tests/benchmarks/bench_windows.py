"""The U-Net over a volume against MONAI's sliding window: medians of interleaved runs (E18).

`make bench` runs it; alone: ``OMP_NUM_THREADS=2 python -m tests.benchmarks.bench_windows``.
``SENTINEL_RUNS`` lowers the number of runs. On a machine with CUDA it measures there too.

The images are test phantoms as the plugin prepares them, stretched to 200 x 256 x 256. MONAI runs
in eager float32, in batches of 4, which suit it best.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from scipy.ndimage import zoom
from torch import nn

from node.inference.child import load_module
from node.inference.registry import builtin_plugin_folder
from node.toolkit import tiling
from node.toolkit.networks import load_weights, unet
from node.toolkit.windows import Predictor, SlidingWindow

SHAPE = (200, 256, 256)
WINDOWS = {"48 x 72 x 80, as shipped": (48, 72, 80), "96 x 96 x 96": (96, 96, 96)}
#: What the shipped plugin runs on the CPU; elsewhere "auto".
EXACT_ON_CPU = (48, 72, 80)
RUNS = int(os.environ.get("SENTINEL_RUNS", "5"))
#: Numbers of test phantoms: what a window costs depends on what is seen in it.
PHANTOMS = (0, 1)
#: One window at a time is two to three times slower with PyTorch 2.13: not measured again.
MONAI_BATCHES = (4,)
PEAKS = ("ours auto", "ours exact", "MONAI 4")
REQUIRED = {"cpu": 1.8, "cuda:0": 4.0}
REQUIRED_DICE = 0.999


def main() -> dict[str, Any]:
    """Measure and return figures by device, image and window."""
    network, weights = trained()
    report: dict[str, Any] = {"runs": RUNS, "threads": torch.get_num_threads(), "weights": weights}
    for device in ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]:
        report[device] = {
            f"{name}; phantom {index}": compare(network, chest(index), size, device)
            for name, size in WINDOWS.items()
            for index in PHANTOMS
        }
    report["peak_memory_mb"] = {side: peak(side) for side in PEAKS}
    return report


def trained() -> tuple[nn.Module, str]:
    """Return the shipped network; without its weights, one that answers to brightness."""
    network = unet().eval()
    path = builtin_plugin_folder() / "anterior_mediastinal_tumor" / "weights.safetensors"
    given = os.environ.get("SENTINEL_WEIGHTS")
    if given or path.is_file():
        load_weights(network, Path(given) if given else path)
        return network, "given" if given else "shipped"
    torch.manual_seed(0)
    return network, "none: random"


@cache
def chest(index: int) -> np.ndarray:
    """Return a test phantom as the plugin's network sees it, float32, (1, slices, rows, columns).

    It fills the volume: cut to the patient by the plugin, then stretched to `SHAPE`.
    """
    folder = builtin_plugin_folder() / "anterior_mediastinal_tumor"
    cohort, prepare = (load_module(folder, name) for name in ("cohort.py", "prepare.py"))
    plan = cohort.subjects("test", index + 1, seed=0)[index]
    image, _ = prepare.image_of(cohort.render(plan).case.volumes["ct"])
    stretched = zoom(image, np.divide(SHAPE, image.shape), order=1, grid_mode=True, mode="nearest")
    return np.clip(stretched, 0, 1).astype(np.float32)[None]


def compare(
    network: nn.Module, image: np.ndarray, size: tuple[int, int, int], device: str
) -> dict[str, Any]:
    """Return medians of both sides, their ratio, and how far their masks agree."""
    ours = {
        precision: Predictor(network, SlidingWindow(size=size, precision=precision), device=device)
        for precision in ("auto", "exact")
    }
    sides: dict[str, Callable[[], np.ndarray]] = {
        f"ours {name}": lambda p=p: p.predict(image, notes=[]) for name, p in ours.items()
    }
    for batch in MONAI_BATCHES:
        sides[f"MONAI {batch}"] = lambda b=batch: by_monai(network, image, size, b, device)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, np.ndarray] = {}
    for _ in range(RUNS):
        for name, side in sides.items():
            started = time.perf_counter()
            results[name] = side()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: round(statistics.median(times), 2) for name, times in seconds.items()}
    monai = min(medians[f"MONAI {batch}"] for batch in MONAI_BATCHES)
    indices = tiling.windows(SHAPE, size, 0.5)
    counts = "ours exact" if device == "cpu" and size == EXACT_ON_CPU else "ours auto"
    return {
        "windows": len(indices),
        "computed": len(tiling.occupied(image, indices, 0.0)),
        "median_s": medians,
        "fastest_s": {name: round(min(times), 2) for name, times in seconds.items()},
        "times_faster": round(monai / medians[counts], 2),
        "times_faster_auto": round(monai / medians["ours auto"], 2),
        "required": REQUIRED[device],
        **agreement(results, image, size),
    }


def agreement(
    results: dict[str, np.ndarray], image: np.ndarray, size: tuple[int, int, int]
) -> dict[str, Any]:
    """Return Dice to MONAI where a window was computed, and what MONAI marks elsewhere."""
    computed = np.zeros(SHAPE, dtype=bool)
    for index in tiling.occupied(image, tiling.windows(SHAPE, size, 0.5), 0.0):
        computed[index] = True
    monai = results["MONAI 4"]
    return {
        "dice": {
            name: dice(made[:, computed], monai[:, computed]) for name, made in results.items()
        },
        "dice_with_air": {name: dice(made, monai) for name, made in results.items()},
        "voxels_marked_by_monai_in_air": int((monai[:, ~computed] >= 0.5).sum()),
    }


def by_monai(
    network: nn.Module, image: np.ndarray, size: tuple[int, int, int], batch: int, device: str
) -> np.ndarray:
    """Return MONAI's probabilities in eager float32."""
    with torch.inference_mode():
        made = sliding_window_inference(
            torch.from_numpy(image)[None].to(device),
            size,
            batch,
            network.to(device),
            overlap=0.5,
            mode="gaussian",
        )
        probabilities: np.ndarray = made.sigmoid()[0].cpu().numpy()
    network.to("cpu")
    return probabilities


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of both masks at 0.5; 1 if both are empty."""
    a, b = one >= 0.5, other >= 0.5
    total = int(a.sum() + b.sum())
    return round(2 * int((a & b).sum()) / total, 6) if total else 1.0


def peak(side: str) -> int:
    """Return what one prediction adds to the memory of a process of its own, in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bench_windows", side],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def peak_here(side: str) -> int:
    """Return by how many MB the peak of this process grows with one prediction."""
    network, _ = trained()
    image, size = chest(PHANTOMS[0]), WINDOWS["48 x 72 x 80, as shipped"]
    gc.collect()
    # Linux: the peak begins anew, so that making the image does not count.
    Path("/proc/self/clear_refs").write_text("5")
    before = status_mb("VmRSS")
    who, how = side.split()
    if who == "MONAI":
        by_monai(network, image, size, int(how), "cpu")
    else:
        Predictor(network, SlidingWindow(size=size, precision=how)).predict(image, notes=[])
    return status_mb("VmHWM") - before


def status_mb(key: str) -> int:
    """Return a figure of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(key))


def test_windows() -> None:
    report = main()
    print(json.dumps(report, indent=2))
    for device in ("cpu", "cuda:0"):
        for name, figures in report.get(device, {}).items():
            assert min(figures["dice"].values()) >= REQUIRED_DICE, name
            assert figures["times_faster"] >= figures["required"], name


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(peak_here(sys.argv[1]))
    else:
        print(json.dumps(main(), indent=2))
