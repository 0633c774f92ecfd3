"""Where the axillary node plugin looks (E12): heat inside the node, and what blanking it does.

python -m tests.benchmarks.bench_attention [plugin folder [layer …]]

Fixed size crop, test phantoms of a seed that nothing was trained or tried on; heat is what speaks
for metastasis. Heat share / area share inside the outline: at least 2, with random weights at most
1.2 (mean over `RANDOM` draws of them). Of a network that learned nothing, the class that it
happens to call says where its features are large, which is where the image is bright: explained
by that, the heat of every draw lies in the node (`random_called`). Of nodes with metastasis, the
hottest fifth of the crop painted over must lower the probability more than the same shape
elsewhere, in at least 80 %.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from node.errors import ResultInvalid
from node.inference.child import load_module
from node.toolkit.gradcam import concentration, explained, hottest
from node.toolkit.operating import wilson

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "axillary_node_metastasis"
SEED, PATIENTS, RANDOM = 7_311, 60, 20
SHARE, CALLED = 0.2, 5


def nodes_of(folder: Path, module: Any) -> list[tuple[Any, np.ndarray, bool]]:
    """Return (image, outline in the crop, outcome) of each test node with room around it."""
    cohort, found = load_module(folder, "cohort.py"), []
    for plan in cohort.subjects("test", PATIENTS, seed=SEED):
        subject = cohort.render(plan)
        volume = subject.case.volumes[module.IMAGE]
        for number, node in enumerate(subject.case.rois[module.REGION], 1):
            crop = module.crops_of(volume, node.mask)["fsc"]
            image = torch.from_numpy(module.image_of(crop))[None]
            outcome = subject.labels.values[f"metastasis_{number}"] == "yes"
            found.append((image, crop.mask, outcome))
    return found


def looked_at(
    network: Any, nodes: list[Any], layer: str, mirrored: Any, *, toward: int | None = 1
) -> dict[str, float]:
    """Return how concentrated the heat is in nodes, and how many maps were 0 everywhere.

    A network whose maps are all 0 has no heat in any node.
    """
    ratios: dict[bool, list[float]] = {True: [], False: []}
    empty = 0
    for image, mask, outcome in nodes:
        try:
            heat, _ = explained(network, image, layer=layer, toward=toward, mirrored=mirrored)
        except ResultInvalid:
            empty += 1
            continue
        ratios[outcome].append(concentration(heat, mask))
    return {
        "ratio": statistics.fmean([*ratios[True], *ratios[False]] or [0.0]),
        "with_metastasis": statistics.fmean(ratios[True] or [0.0]),
        "zero_maps": empty,
    }


def blanked(network: Any, nodes: list[Any], layer: str, mirrored: Any) -> dict[str, Any]:
    """Return in how many nodes with metastasis the hottest places matter more than others."""
    chance, more, called = np.random.default_rng(0), [], []
    for image, _, outcome in nodes:
        if not outcome:
            continue
        heat, logit = explained(network, image, layer=layer, toward=1, mirrored=mirrored)
        hot = hottest(heat, SHARE)
        away = tuple(int(n) for n in chance.integers(heat.shape))
        fallen = [_without(network, image, np.roll(hot, by, (0, 1))) for by in ((0, 0), away)]
        more.append(fallen[0] < fallen[1])
        called.append(logit >= 0)
    share = wilson(sum(more), len(more))
    sure = [m for m, yes in zip(more, called, strict=True) if yes]
    return {
        "positives": len(more),
        "share": share.estimate,
        "low": share.low,
        "share_of_those_called_positive": sum(sure) / max(1, len(sure)),
    }


def _without(network: Any, image: Any, places: np.ndarray) -> float:
    """Return what is said of an image whose places have the grey value of its surroundings."""
    covered = image.clone()
    covered[0, 0, torch.from_numpy(places)] = image.median()
    with torch.no_grad():
        return float(network(covered)[0, 0])


def main(folder: Path = PLUGIN, layers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measure and return figures by layer."""
    module = load_module(folder, "plugin.py")
    plugin = module.Plugin()
    plugin.load("cpu")
    nodes, trained = nodes_of(folder, module), plugin.networks["fsc"]
    strangers = []
    for seed in range(RANDOM):
        torch.manual_seed(seed)
        strangers.append(load_module(folder, "prepare.py").networks()["fsc"].eval())
    figures = {}
    for layer in layers or (module.SETTINGS["cam_layer"],):
        random = [looked_at(network, nodes, layer, module.MIRRORED) for network in strangers]
        called = [
            looked_at(network, nodes, layer, module.MIRRORED, toward=None)
            for network in strangers[:CALLED]
        ]
        figures[layer] = {
            "nodes": len(nodes),
            "trained": looked_at(trained, nodes, layer, module.MIRRORED),
            "random": statistics.fmean(one["ratio"] for one in random),
            "random_each": [round(one["ratio"], 2) for one in random],
            "random_called": statistics.fmean(one["ratio"] for one in called),
            "random_zero_maps": sum(one["zero_maps"] for one in random),
            "blanked": blanked(trained, nodes, layer, module.MIRRORED),
        }
    return figures


def test_heat_lies_in_the_node_and_what_is_hot_matters():
    """The figures of E12."""
    (figures,) = main().values()
    print(json.dumps(figures))
    assert figures["trained"]["ratio"] >= 2 and figures["trained"]["zero_maps"] == 0
    assert figures["random"] <= 1.2
    assert figures["blanked"]["share"] >= 0.8


if __name__ == "__main__":
    given = sys.argv[1:]
    folder = Path(given[0]) if given else PLUGIN
    print(json.dumps(main(folder, tuple(given[1:])), indent=2))
