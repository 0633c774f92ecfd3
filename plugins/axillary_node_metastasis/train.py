"""How a network learns: each of the two from its own crop of every node, apart from the other."""

import numpy as np
import torch
from prepare import CROPS, IMAGE, REGION, crops_of, image_of, networks, slice_beside
from torch.nn.functional import binary_cross_entropy_with_logits

from node.toolkit.altering import Alteration, erased, moved, scanned
from node.toolkit.crops import largest_slice
from node.toolkit.learning import (
    Learner,
    Schedule,
    balanced,
    learn,
    named,
    one_cycle,
    said,
    told_apart,
)
from node.toolkit.training import INSTITUTION, seed_everything

#: Each network learns in a process of its own.
PARTS = CROPS
#: Our choices; the paper states none of them.
STEPS, LOOK_EVERY = 3000, 300
BATCH, RATE, WEIGHT_DECAY = 32, 2e-3, 1e-3
#: Smoothing of the weights over steps: what is kept is their running mean.
AVERAGING = 0.98
SCHEDULE = Schedule(
    steps=STEPS, look_every=LOOK_EVERY, rate=lambda done: RATE * (one_cycle(done) + 1e-3)
)
#: What is learned of a node beside its largest slice: other slices, boxes of other contours.
VIEWS = ((0, 1.0), (0, 1.25), (0, 0.85), (-1, 1.1), (1, 1.1), (0, 1.1))
#: Noise goes with institutions, and those with outcomes (cohort.toml): it must say nothing.
#: The adjustable crop follows the contour, and contours differ: it is moved and stretched more.
HOW = {
    "fsc": Alteration(turn_deg=20.0, move=0.06, stretch=0.05, gain=0.1, shift=0.04, noise=0.05),
    "asc": Alteration(turn_deg=20.0, move=0.08, stretch=0.10, gain=0.1, shift=0.04, noise=0.05),
}
#: Share of the images that have a hole, and its greatest share of the image: no single place
#: decides, and a place that is covered speaks for nothing.
HOLES, HOLE = 0.3, 0.3


def examples(case, labels):
    """Return both crops of each node in bytes (0..255), and which nodes have metastasis.

    Crops have the shape (nodes, views, rows, columns); the first view is what `run` sees.
    """
    volume, views, outcome = case.volumes[IMAGE], [], []
    for number, node in enumerate(case.rois[REGION], start=1):
        said_of = str(labels.values.get(f"metastasis_{number}", ""))
        if said_of in ("yes", "no"):
            views.append(views_of(volume, node.mask))
            outcome.append(said_of == "yes")
    arrays = {crop: np.array([view[crop] for view in views], np.uint8) for crop in CROPS}
    return {**arrays, "outcome": np.array(outcome, np.uint8)}


def views_of(volume, mask):
    """Return images of both crops of a node in bytes: the largest slice, and others like it."""
    found = {crop: [] for crop in CROPS}
    for away, wider in VIEWS:
        crops = crops_of(volume, mask, slice_index=slice_beside(mask, away), wider=wider)
        for crop in CROPS:
            found[crop].append(np.rint(image_of(crops[crop])[0] * 255))
    return found


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
    """Return the weights of one network; goes on from the checkpoint of an interrupted training."""
    crop = run.part
    seed_everything(seed)
    net = networks()[crop].to(run.device, memory_format=torch.channels_last)
    train, tuning = (Nodes(part, crop, run.device) for part in (examples.train, examples.tuning))

    def loss(net, chosen):
        nodes, views = chosen
        images = scanned(moved(train.tensor(nodes, views), HOW[crop]), HOW[crop])
        images = erased(images, chance=HOLES, share=HOLE)
        with torch.autocast(torch.device(run.device).type, torch.bfloat16):
            logits = net(images.contiguous(memory_format=torch.channels_last))
        wanted = torch.from_numpy(train.outcome[nodes]).to(run.device)
        return binary_cross_entropy_with_logits(logits[:, 0].float(), wanted)

    def look(net):
        parts = np.split(np.arange(len(tuning.outcome)), range(128, len(tuning.outcome), 128))
        numbers = said(net, ([tuning.tensor(part)] for part in parts))
        return told_apart(numbers, tuning.outcome, within=tuning.institution)

    kept = learn(
        Learner(net, weight_decay=WEIGHT_DECAY, averaging=AVERAGING),
        SCHEDULE,
        run=run,
        seed=seed,
        batch=train.batch,
        loss=loss,
        look=look,
    )
    return {"weights.safetensors": named(kept, crop)}


class Nodes:
    """One crop of all nodes of all cases, in memory as bytes."""

    def __init__(self, examples, crop, device):
        cases = [one for one in examples if len(one["outcome"])]
        self.images = np.concatenate([one[crop] for one in cases])
        self.outcome = np.concatenate([one["outcome"] for one in cases]).astype(np.float32)
        self.institution = np.repeat(
            [str(one[INSTITUTION]) for one in cases], [len(one["outcome"]) for one in cases]
        )
        self.device = device

    def batch(self, chance):
        """Return the nodes of one step, half of them with metastasis, and a view of each."""
        nodes = balanced(self.outcome, BATCH, chance, within=self.institution)
        return nodes, chance.integers(len(VIEWS), size=len(nodes))

    def tensor(self, nodes, views=0):
        """Return the crops of nodes in [0, 1], shape (nodes, 1, rows, columns)."""
        images = torch.from_numpy(self.images[nodes, views])
        return images.to(self.device)[:, None].float() / 255
