"""Which planted cause each radiomics feature follows, and which of them a signature kept.

python -m tests.benchmarks.bench_families PLUGIN_FOLDER [PHANTOMS [SEED [CACHE]]]

``[families]`` of a cohort.toml says by which features a cause can be seen: written by hand before
anything was trained. Here a feature belongs to the cause whose place in the law it follows most
closely over training phantoms (Spearman, at least `LEAST`), to none below that. Outcomes are not
looked at. Phantoms that a training with the same cache has measured are not measured again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from node.toolkit.signature import Signature, enrichment, prefixes_of
from node.toolkit.training import read_weights
from node.toolkit.workers import Workers
from node.training import plugin_code
from node.training.cases import phantom_tasks
from node.training.examples import make_examples
from node.training.splits import TRAIN_SPLIT
from node.training.store import Store, default_store

LEAST = 0.3


def measured(
    folder: Path, count: int, seed: int, cache: Path
) -> tuple[list[Any], list[dict[str, float]]]:
    """Return the examples of training phantoms, and where their causes lie."""
    tasks = phantom_tasks(folder, TRAIN_SPLIT, count, seed)
    with Workers() as workers:
        made = make_examples(
            tasks, workers=workers, store=Store(cache), fresh=False, advance=lambda done, all_: None
        )
    examples = []
    for one in made:
        with np.load(one.path) as file:
            examples.append({name: file[name] for name in file.files})
    plans = plugin_code.subjects(folder, TRAIN_SPLIT, count, tasks[0].seed)
    return examples, [dict(plan.places) for plan in plans]


def families(examples: list[Any], places: list[dict[str, float]], block: str) -> list[str]:
    """Return the cause that each feature of a block follows, "" for none."""
    causes = list(places[0])
    said = np.array([[place[cause] for cause in causes] for place in places])
    values = np.stack([one[block] for one in examples])
    rho = spearmanr(values, said).statistic[: values.shape[1], values.shape[1] :]
    best = np.nan_to_num(np.abs(rho)).argmax(axis=1)
    most = np.nan_to_num(np.abs(rho)).max(axis=1)
    return [causes[b] if m >= LEAST else "" for b, m in zip(best, most, strict=True)]


def main(folder: Path, count: int = 400, seed: int = 0, cache: Path | None = None) -> None:
    """Print, for each block of the shipped signatures, what was measured and what was kept."""
    examples, places = measured(folder, count, seed, cache or default_store())
    train = plugin_code._module(folder, "train.py")
    arrays = read_weights(folder / "weights.safetensors")
    for prefix in prefixes_of(arrays):
        kept = Signature.from_arrays(arrays, prefix).kept
        for block in {one.block for one in kept if one.block.endswith("radiomic")}:
            names = train.names_of(block)
            of = dict(zip(names, families(examples, places, block), strict=True))
            mine = [one.name for one in kept if one.block == block]
            found = {
                "signature": prefix,
                "block": block,
                "features": dict(Counter(of.values())),
                "kept": dict(Counter(of[name] for name in mine)),
                "measured": str(enrichment(mine, of, tuple(places[0]))),
                "by_hand": str(train.causes_kept(block, mine)),
            }
            print(json.dumps(found, indent=1))


if __name__ == "__main__":
    plugin, *rest = sys.argv[1:]
    phantoms, drawn_with = (int(word) for word in (*rest[:2], *("400", "0")[len(rest[:2]) :]))
    main(Path(plugin), phantoms, drawn_with, Path(rest[2]) if len(rest) > 2 else None)
