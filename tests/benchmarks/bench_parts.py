"""What a second core brings a small network: as a second thread, and as a place for another one.

python -m tests.benchmarks.bench_parts

Steps of one network of `axillary_node_metastasis`, forward and back, as its training makes them.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

from node.inference.child import load_module
from node.toolkit.workers import numeric_environment

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "axillary_node_metastasis"
BATCH, STEPS, WARM, RUNS = 32, 8, 2, 5


def steps(start: Any, answers: Any) -> None:
    """Make steps, in a process of its own; send how long they took."""
    import torch

    prepare = load_module(PLUGIN, "prepare.py")
    network = prepare.networks()["fsc"].train().to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 1, *prepare.SIZE).contiguous(memory_format=torch.channels_last)
    for number in range(WARM + STEPS):
        if number == WARM:
            start.wait()
            begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            said = network(images)
        said.float().square().mean().backward()
        network.zero_grad()
    answers.put(time.perf_counter() - begun)


def steps_a_second(networks: int, threads: int) -> float:
    """Return how many steps all networks make together, each on so many threads."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(networks), context.Queue()
    with numeric_environment(threads=threads):
        several = [context.Process(target=steps, args=(start, answers)) for _ in range(networks)]
        for process in several:
            process.start()
    longest = max(answers.get(timeout=300) for _ in several)
    for process in several:
        process.join()
    return networks * STEPS / longest


def main() -> dict[str, Any]:
    """Measure and return figures by name."""
    ways = {"one on one thread": (1, 1), "one on two threads": (1, 2), "two on one each": (2, 1)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, (networks, threads) in ways.items():
            found[name].append(steps_a_second(networks, threads))
    medians = {name: round(statistics.median(values), 2) for name, values in found.items()}
    pairs = zip(found["two on one each"], found["one on two threads"], strict=True)
    ratio = statistics.median(side / threaded for side, threaded in pairs)
    return {"steps_a_second": medians, "two_networks_to_two_threads": round(ratio, 2)}


def test_two_networks_side_by_side_are_faster_than_one_on_two_threads():
    report = main()
    print(json.dumps(report))
    assert report["two_networks_to_two_threads"] > 1.2


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
