"""How fast the phantom draws: core-seconds of one chest as a training cohort uses it (issue 4).

python -m tests.benchmarks.bench_phantom

500 training cases in 5 minutes on 2 cores are 1.2 core-seconds a case.
"""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from node.phantom.acquisition import Acquisition, acquire, institutions
from node.phantom.distractors import DISTRACTORS
from node.phantom.masses import TRAIN_FAMILIES, Inside, mass, mass_paints
from node.phantom.subject import Streams
from node.phantom.thorax import ChestAnatomy, thorax

BUDGET_CORE_S = 1.2
CASES, MATRIX, SLICE_MM = 20, 192, 4.0


def one_case(seed: int) -> tuple[float, int]:
    """Draw one case as plugin 003's cohort does; return its core-seconds and its slices."""
    start = time.process_time()
    streams = Streams.of(11, seed)
    site = institutions(15, seed=1)[int(streams.acquisition.integers(15))]
    scan = Acquisition.drawn(site, streams.acquisition).with_slices(SLICE_MM)
    chest = thorax(
        ChestAnatomy.drawn(streams.anatomy),
        phase=scan.phase,
        rng=streams.acquisition,
        pose=scan.pose,
    )
    family = TRAIN_FAMILIES[seed % len(TRAIN_FAMILIES)]
    shape = mass(family, chest.landmarks["anterior_mediastinum"], 50.0, streams.lesion)
    names = sorted(DISTRACTORS)
    chest = chest.with_paints(
        mass_paints(shape, 60.0, Inside(necrosis=0.3, calcifications=2), streams.lesion),
        DISTRACTORS["nodes"](chest, streams.lesion),
        DISTRACTORS[names[seed % len(names)]](chest, streams.lesion),
    )
    tall = chest.anatomy.wall.size[2]
    grid = scan.grid(MATRIX, body_mm=chest.width_mm, z_mm=(-175 * tall, 128 * tall))
    chest.scene.mask(grid, "mass")
    acquire(chest.scene.render(grid), scan, streams.noise, grid=grid)
    return time.process_time() - start, grid.shape[0]


def main() -> dict[str, Any]:
    """Measure and return figures by name."""
    one_case(0)
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(one_case, range(1, CASES + 1)))
    wall = time.perf_counter() - start
    seconds = [core for core, _ in done]
    return {
        "matrix": MATRIX,
        "slices": [min(count for _, count in done), max(count for _, count in done)],
        "core_s_per_case": round(statistics.median(seconds), 3),
        "core_s_worst": round(max(seconds), 3),
        "cases_500_on_2_cores_s": round(wall / CASES * 500, 1),
        "budget_core_s": BUDGET_CORE_S,
    }


def test_500_chests_fit_into_five_minutes_on_two_cores():
    report = main()
    print(json.dumps(report))
    assert report["core_s_per_case"] <= BUDGET_CORE_S


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
