"""How fast the cohorts of the lesion classifiers draw: core-seconds of one case (issue 6).

python -m tests.benchmarks.bench_cohorts

500 training cases in 5 minutes on 2 cores are 1.2 core-seconds a case.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

from node.inference.child import load_module

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
COHORTS = (
    *("axillary_node_metastasis", "hcc_microvascular_invasion"),
    "nasopharyngeal_recurrence",
)
BUDGET_CORE_S = 1.2
CASES = 8


def one_cohort(name: str) -> dict[str, float]:
    """Draw cases of one cohort; return its core-seconds."""
    module = load_module(PLUGINS / name, "cohort.py")
    start = time.process_time()
    plans = module.subjects("train", 1000, seed=0)
    planned = time.process_time() - start
    seconds = []
    for plan in plans[: CASES + 1]:
        start = time.process_time()
        module.render(plan)
        seconds.append(time.process_time() - start)
    return {
        "core_s_per_1000_plans": round(planned, 3),
        # The first one loads what the others find loaded.
        "core_s_per_case": round(statistics.median(seconds[1:]), 3),
        "core_s_worst": round(max(seconds[1:]), 3),
    }


def main() -> dict[str, Any]:
    """Measure and return figures by name."""
    return {name: one_cohort(name) for name in COHORTS}


def test_500_cases_fit_into_five_minutes_on_two_cores():
    report = main()
    print(json.dumps(report))
    assert all(figures["core_s_per_case"] <= BUDGET_CORE_S for figures in report.values())


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
