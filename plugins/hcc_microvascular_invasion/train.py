"""How a network learns: from tumour and fat, or from the tumour alone; each apart."""

import numpy as np
import torch
from network import BOTH, FILES, NETWORKS, OTHERS, inputs_of, networks
from prepare import DRAWN_ON, FAT, PHASES, TUMOR, areas_cm2, fat_in, seen_of
from torch.nn.functional import binary_cross_entropy_with_logits

from node.toolkit.altering import Alteration, moved, scanned
from node.toolkit.diameters import longest_3d_mm
from node.toolkit.learning import (
    Learner,
    Schedule,
    balanced,
    learn,
    named,
    one_cycle,
    said,
)
from node.toolkit.logistic import sigmoid
from node.toolkit.operating import youden
from node.toolkit.training import seed_everything

LABELS = {"mvi": ["no", "yes"]}
IMAGES = (*PHASES, "outline", "fat")
#: Each network learns in a process of its own, all from the same batches.
PARTS = NETWORKS

#: Our choices; the paper states none of them. A look: at the tuning cases.
STEPS, LOOK_EVERY, PATIENCE = 1500, 100, 8
BATCH, RATE, WEIGHT_DECAY = 32, 2e-3, 1e-3
#: Smoothing of the weights over steps: what is kept is their running mean.
AVERAGING = 0.98
SCHEDULE = Schedule(
    steps=STEPS,
    look_every=LOOK_EVERY,
    patience=PATIENCE,
    figure="minus_log_loss",
    rate=lambda done: RATE * (one_cycle(done) + 1e-3),
)
#: Noise goes with institutions, and those with outcomes (cohort.toml): it must say nothing.
#: Stretched little: how large tumour and fat are says something.
HOW = Alteration(turn_deg=15.0, move=0.06, stretch=0.02, gain=0.1, shift=0.04, noise=0.05)


def examples(case, labels):
    """Return what the networks see of a patient in bytes (0..255), and the outcome."""
    images = seen_of(case).images
    return {
        **{name: np.rint(images[name] * 255).astype(np.uint8) for name in IMAGES},
        "outcome": np.array(labels.values["mvi"] == "yes", np.uint8),
    }


def score(case):
    """Return what simple rules say: how large tumour and fat are, how bright the tumour is."""
    volume, (tumor,), (region,) = (
        case.volumes[DRAWN_ON],
        case.rois[TUMOR],
        case.rois[FAT],
    )
    found = {
        "volume": float(np.count_nonzero(tumor.mask) * volume.voxel_volume_mm3 / 1000),
        "diameter": longest_3d_mm(tumor.mask, volume.affine),
        "mean HU, portal venous": float(volume.array[tumor.mask].mean()),
        "fat area": float(areas_cm2(volume, fat_in(volume, region.mask)).max()),
    }
    arterial = case.volumes["arterial"]
    if arterial.array.shape == volume.array.shape and np.allclose(arterial.affine, volume.affine):
        found["mean HU, arterial"] = float(arterial.array[tumor.mask].mean())
    return found


def fit(examples, *, seed, run):
    """Return the weights of one network; goes on from the checkpoint of an interrupted training."""
    name = run.part
    seed_everything(seed)
    net = networks((name,))[name].to(run.device)
    seed_everything(seed)  # as many networks as there are: the same chance for each of them
    train, tuning = (
        Cases(examples.train, run.device),
        Cases(examples.tuning, run.device),
    )

    def batch(chance):
        chosen = balanced(train.outcome, BATCH, chance)
        step = int(chance.integers(1, len(train.outcome)))
        images = altered(train.tensors(chosen, fat_from=step if name == OTHERS else 0))
        return images, torch.from_numpy(train.outcome[chosen]).to(run.device)

    def loss(net, given):
        images, wanted = given
        logits = net(*inputs_of(images, name))[:, 0].float()
        return binary_cross_entropy_with_logits(logits, wanted)

    def look(net):
        return -log_loss(said_of(net, name, tuning), tuning.outcome)

    kept = learn(
        Learner(net, weight_decay=WEIGHT_DECAY, averaging=AVERAGING),
        SCHEDULE,
        run=run,
        seed=seed,
        batch=batch,
        loss=loss,
        look=look,
    )
    if name == BOTH:
        kept["cut"] = cut_of(net, kept, tuning)
    (file,) = (file for file, names in FILES.items() if name in names)
    return {file: named(kept, name)}


def said_of(net, name, cases):
    """Return what a network says of cases, as log-odds."""
    parts = np.split(np.arange(len(cases.outcome)), range(64, len(cases.outcome), 64))
    step = 1 if name == OTHERS else 0
    return said(net, (inputs_of(cases.tensors(part, fat_from=step), name) for part in parts))


def log_loss(log_odds, outcome):
    """Return the mean surprise at outcomes; steadier on few cases than an AUROC."""
    return float(np.logaddexp(0.0, np.where(outcome > 0.5, -log_odds, log_odds)).mean())


def cut_of(net, weights, tuning):
    """Return the probability that parts the tuning patients best; 0.5 where all are alike."""
    if len(set(tuning.outcome.tolist())) < 2:
        return np.float32(0.5)
    net.load_state_dict({key: torch.from_numpy(np.array(a)) for key, a in weights.items()})
    return np.float32(youden(sigmoid(said_of(net.eval(), BOTH, tuning)), tuning.outcome))


class Cases:
    """All cases, in memory as bytes."""

    def __init__(self, examples, device):
        cases = list(examples)
        self.images = {name: np.stack([one[name] for one in cases]) for name in IMAGES}
        self.outcome = np.array([float(one["outcome"]) for one in cases], np.float32)
        self.device = device

    def tensors(self, chosen, *, fat_from=0):
        """Return the images of cases in [0, 1] by name; the fat of the case so many places on."""
        images = {name: self._tensor(name, chosen) for name in IMAGES if name != "fat"}
        return {**images, "fat": self._tensor("fat", (chosen + fat_from) % len(self.outcome))}

    def _tensor(self, name, chosen):
        return torch.from_numpy(self.images[name][chosen]).to(self.device).float() / 255


def altered(images):
    """Return images of another scanner and hand: phases and outline move together.

    The fat moves by itself; around the fat stays nothing.
    """
    tumor = torch.cat([images[name] for name in (*PHASES, "outline")], dim=1)
    *phases, outline = moved(tumor, HOW).split(
        [images[name].shape[1] for name in (*PHASES, "outline")], dim=1
    )
    grey = {role: scanned(image, HOW) for role, image in zip(PHASES, phases, strict=True)}
    fat = moved(images["fat"], HOW)
    return {**grey, "outline": outline, "fat": torch.where(fat > 0, scanned(fat, HOW), fat)}
