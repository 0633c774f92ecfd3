"""How the two networks learn: each from its own crop of every node, apart from the other."""

import numpy as np
import torch
from prepare import CROPS, IMAGE, REGION, crops_of, image_of, networks
from torch.nn.functional import binary_cross_entropy_with_logits

from node.toolkit.altering import Alteration, moved, scanned
from node.toolkit.crops import largest_slice
from node.toolkit.learning import (
    Learner,
    Schedule,
    balanced,
    joined,
    learn,
    one_cycle,
    said,
    told_apart,
)
from node.toolkit.training import seed_everything

#: Our choices; the paper states none of them.
STEPS, LOOK_EVERY = 1500, 150
BATCH, RATE, WEIGHT_DECAY = 32, 2e-3, 1e-3
#: Smoothing of the weights over steps: what is kept is their running mean.
AVERAGING = 0.98
SCHEDULE = Schedule(
    steps=STEPS, look_every=LOOK_EVERY, rate=lambda done: RATE * (one_cycle(done) + 1e-3)
)
#: Noise goes with institutions, and those with outcomes (cohort.toml): it must say nothing.
HOW = Alteration(turn_deg=15.0, move=0.06, stretch=0.05, gain=0.1, shift=0.04, noise=0.05)


def examples(case, labels):
    """Return both crops of each node in bytes (0..255), and which nodes have metastasis."""
    volume, pairs = case.volumes[IMAGE], []
    for number, node in enumerate(case.rois[REGION], start=1):
        said = str(labels.values.get(f"metastasis_{number}", ""))
        if said in ("yes", "no"):
            pairs.append((crops_of(volume, node.mask), said == "yes"))
    arrays = {
        name: np.stack([np.rint(image_of(crops[name])[0] * 255) for crops, _ in pairs])
        for name in CROPS
    }
    return {
        **{name: array.astype(np.uint8) for name, array in arrays.items()},
        "outcome": np.array([outcome for _, outcome in pairs], np.uint8),
    }


def score(case):
    """Return what simple rules say of each node: its area in the largest slice, its mean HU."""
    volume = case.volumes[IMAGE]
    _, row_mm, column_mm = volume.spacing_mm
    planes = [(node.mask, largest_slice(node.mask)) for node in case.rois[REGION]]
    return {
        "size alone": np.array([mask[at].sum() * row_mm * column_mm for mask, at in planes]),
        "mean HU": np.array([float(volume.array[at][mask[at]].mean()) for mask, at in planes]),
    }


def fit(examples, *, seed, run):
    """Return the weights; goes on from the checkpoint of an interrupted training."""
    seed_everything(seed)
    nets = networks().to(run.device)
    train, tuning = Nodes(examples.train, run.device), Nodes(examples.tuning, run.device)

    def loss(net, crop, chosen):
        images, wanted = train.tensor(crop, chosen), torch.from_numpy(train.outcome[chosen])
        logits = net(scanned(moved(images, HOW), HOW))[:, 0].float()
        return binary_cross_entropy_with_logits(logits, wanted.to(run.device))

    def look(net, crop):
        parts = np.split(np.arange(len(tuning.outcome)), range(128, len(tuning.outcome), 128))
        numbers = said(net, ([tuning.tensor(crop, part)] for part in parts))
        return told_apart(numbers, tuning.outcome)

    kept = learn(
        {
            crop: Learner(nets[crop], weight_decay=WEIGHT_DECAY, averaging=AVERAGING)
            for crop in CROPS
        },
        SCHEDULE,
        run=run,
        seed=seed,
        batch=lambda chance: balanced(train.outcome, BATCH, chance),
        loss=loss,
        look=look,
    )
    return {"weights.safetensors": joined(kept)}


class Nodes:
    """All nodes of all cases, in memory as bytes."""

    def __init__(self, examples, device):
        cases = [one for one in examples if len(one["outcome"])]
        self.images = {crop: np.concatenate([one[crop] for one in cases]) for crop in CROPS}
        self.outcome = np.concatenate([one["outcome"] for one in cases]).astype(np.float32)
        self.device = device

    def tensor(self, crop, chosen):
        """Return the crops of nodes in [0, 1], shape (nodes, 1, rows, columns)."""
        images = torch.from_numpy(self.images[crop][chosen])
        return images.to(self.device)[:, None].float() / 255
