"""Which planted cause each radiomics feature follows: prints the families.toml of a plugin.

python -m tests.benchmarks.bench_families PLUGIN_FOLDER [PHANTOMS [SEEDS [CACHE]]]

A feature belongs to the cause whose place in the law it follows most closely over training
phantoms (Spearman, at least `LEAST`), to none below that. Neither outcomes nor what any model
keeps are looked at. Phantoms that a training with the same cache has measured are not measured
again; several seeds are written as ``0,1,2``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from node.toolkit.workers import Workers
from node.training import plugin_code
from node.training.cases import phantom_tasks
from node.training.examples import make_examples
from node.training.splits import TRAIN_SPLIT
from node.training.store import Store, default_store

LEAST = 0.3
WIDTH = 100


def measured(
    folder: Path, count: int, seed: int, cache: Path
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
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


def followed(values: np.ndarray, places: list[dict[str, float]]) -> list[str]:
    """Return the cause that each feature follows, "" for none; `values` is (case, feature)."""
    causes = list(places[0])
    said = np.array([[place[cause] for cause in causes] for place in places])
    rho = np.abs(np.nan_to_num(spearmanr(values, said).statistic))
    rho = rho[: values.shape[1], values.shape[1] :]
    return [causes[one.argmax()] if one.max() >= LEAST else "" for one in rho]


def table_of(block: str, names: list[str], of: list[str]) -> str:
    """Return a block's families as a table of TOML."""
    lines = [f"[{block}]"]
    for cause in sorted(set(of) - {""}):
        mine = [f'"{name}"' for name, one in zip(names, of, strict=True) if one == cause]
        lines += [f"{cause} = [", *_wrapped(mine), "]"]
    return "\n".join(lines)


def _wrapped(words: list[str]) -> list[str]:
    lines = [" "]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word},"
    return lines


def main(folder: Path, count: int, seeds: list[int], cache: Path) -> None:
    """Print the families of each radiomics block."""
    examples, places = [], []
    for seed in seeds:
        more, where = measured(folder, count, seed, cache)
        examples += more
        places += where
    train = plugin_code._module(folder, "train.py")
    blocks = [name for name in examples[0] if name.endswith("radiomic")]
    for block in sorted(blocks):
        values = np.stack([one[block] for one in examples])
        print(table_of(block, list(train.names_of(block)), followed(values, places)), end="\n\n")


if __name__ == "__main__":
    plugin, *rest = sys.argv[1:]
    phantoms, drawn_with = (*rest[:2], *("400", "0")[len(rest[:2]) :])
    main(
        Path(plugin),
        int(phantoms),
        [int(word) for word in drawn_with.split(",")],
        Path(rest[2]) if len(rest) > 2 else default_store(),
    )
