"""How the networks learn, side by side: from tumour and fat, from the tumour alone."""

import numpy as np
import torch
from network import BOTH, NETWORKS, OTHERS, by_file, inputs_of, networks
from prepare import DRAWN_ON, FAT, PHASES, TUMOR, areas_cm2, fat_in, seen_of
from torch.nn.functional import binary_cross_entropy_with_logits

from node.toolkit.altering import Alteration, moved, scanned
from node.toolkit.diameters import longest_3d_mm
from node.toolkit.learning import (
    Learner,
    Schedule,
    balanced,
    joined,
    learn,
    one_cycle,
    said,
)
from node.toolkit.logistic import sigmoid
from node.toolkit.operating import youden
from node.toolkit.training import seed_everything

LABELS = {"mvi": ["no", "yes"]}
IMAGES = (*PHASES, "outline", "fat")

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
    """Return the weights; goes on from the checkpoint of an interrupted training."""
    seed_everything(seed)
    nets = networks().to(run.device)
    seed_everything(seed)  # as many networks as there are: the same chance for each of them
    train, tuning = (
        Cases(examples.train, run.device),
        Cases(examples.tuning, run.device),
    )

    def batch(chance):
        chosen = balanced(train.outcome, BATCH, chance)
        step = int(chance.integers(1, len(train.outcome)))
        images = altered(train.tensors(chosen))
        with apart(OTHERS, run.device):
            if OTHERS in NETWORKS:
                images["fat of others"] = altered_fat(train.fat_of_others(chosen, step))
        return images, torch.from_numpy(train.outcome[chosen]).to(run.device)

    def loss(net, name, given):
        images, wanted = given
        with apart(name, run.device):
            logits = net(*inputs_of(shown(images, name), name))[:, 0].float()
        return binary_cross_entropy_with_logits(logits, wanted)

    def look(net, name):
        return -log_loss(said_of(net, name, tuning), tuning.outcome)

    kept = learn(
        {
            name: Learner(nets[name], weight_decay=WEIGHT_DECAY, averaging=AVERAGING)
            for name in NETWORKS
        },
        SCHEDULE,
        run=run,
        seed=seed,
        batch=batch,
        loss=loss,
        look=look,
    )
    kept[BOTH]["cut"] = cut_of(nets[BOTH], kept[BOTH], tuning)
    return {file: joined(part) for file, part in by_file(kept).items()}


def apart(name, device):
    """Give a network's chance back: the control takes none from the others."""
    return torch.random.fork_rng(
        devices=[device] if device != "cpu" else [], enabled=name == OTHERS
    )


def shown(images, name):
    """Return the images that a network learns from: one of them, with the fat of others."""
    return {**images, "fat": images["fat of others"]} if name == OTHERS else images


def said_of(net, name, cases):
    """Return what a network says of cases, as log-odds."""
    parts = np.split(np.arange(len(cases.outcome)), range(64, len(cases.outcome), 64))
    found = []
    for part in parts:
        images = cases.tensors(part)
        if name == OTHERS:
            images["fat of others"] = cases.fat_of_others(part)
        found.append(inputs_of(shown(images, name), name))
    return said(net, found)


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

    def tensors(self, chosen):
        """Return the images of cases in [0, 1] by name."""
        return {name: self._tensor(name, chosen) for name in IMAGES}

    def fat_of_others(self, chosen, step=1):
        """Return for each case the fat of another one, so many places further on."""
        return self._tensor("fat", (chosen + step) % len(self.outcome))

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
    return {**grey, "outline": outline, "fat": altered_fat(images["fat"])}


def altered_fat(fat):
    fat = moved(fat, HOW)
    return torch.where(fat > 0, scanned(fat, HOW), fat)
