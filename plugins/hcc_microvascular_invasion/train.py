"""How the networks learn: one from tumour and fat, one from the tumour alone, side by side."""

import copy
import time

import numpy as np
import torch
from network import NETWORKS, inputs_of, networks
from prepare import DRAWN_ON, FAT, PHASES, SETTINGS, TUMOR, areas_cm2, fat_in, seen_of
from torch.nn.functional import (
    affine_grid,
    avg_pool2d,
    binary_cross_entropy_with_logits,
    grid_sample,
)

from node.toolkit.auroc import auroc
from node.toolkit.diameters import longest_3d_mm
from node.toolkit.training import (
    EarlyStopping,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
    seed_everything,
    tensors_of,
)

LABELS = {"mvi": ["no", "yes"]}
IMAGES = (*PHASES, "outline", "fat")

#: Our choices; the paper states none of them. A look: at the tuning cases.
STEPS, LOOK_EVERY, PATIENCE = 2000, 100, 10
BATCH, RATE, WEIGHT_DECAY = 32, 2e-3, 1e-3
#: Smoothing of the weights over steps: what is kept is their running mean.
AVERAGING = 0.98
#: Of an image: turned by so many degrees, moved and stretched by so much of its side.
#: Stretched little: how large tumour and fat are says something.
TURN_DEG, MOVE, STRETCH = 15.0, 0.06, 0.02
#: Share of the grey scale.
GAIN, SHIFT, NOISE = 0.1, 0.04, 0.05


def examples(case, labels):
    """Return what the networks see of a patient in bytes (0..255), and the outcome."""
    images = seen_of(case).images
    return {
        **{name: np.rint(images[name] * 255).astype(np.uint8) for name in IMAGES},
        "outcome": np.array(labels.values["mvi"] == "yes", np.uint8),
    }


def score(case):
    """Return what simple rules say: how large tumour and fat are, how bright the tumour is."""
    volume, (tumor,), (region,) = case.volumes[DRAWN_ON], case.rois[TUMOR], case.rois[FAT]
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
    learners = {name: Learner(nets[name], name, run.device) for name in NETWORKS}
    best = {name: EarlyStopping(patience=PATIENCE) for name in NETWORKS}
    kept, step, chance = {}, 0, np.random.default_rng(seed)
    if (state := load_checkpoint(run.folder)) is not None:
        for name in NETWORKS:
            learners[name].load(state["learners"][name])
            best[name] = EarlyStopping(**state["best"][name])
        kept, step = state["kept"], state["step"]
        chance.bit_generator.state = state["chance"]
        restore_random_state(state["random"])
    train, tuning = Cases(examples.train), Cases(examples.tuning)
    begun, looked_at = step / STEPS, step
    while step < STEPS and not run.out_of_time and not all(one.over for one in best.values()):
        rate, chosen = one_cycle(progress_of(run, step, begun)), train.batch(chance)
        for name, learner in learners.items():
            if not best[name].over:
                learner.step(train.tensors(chosen, run.device), train.outcome[chosen], rate=rate)
        step += 1
        if step % 10 == 0:
            run.progress(step, STEPS, **figures_of(learners, best))
        if step % LOOK_EVERY == 0:
            looked(learners, tuning, best, kept)
            looked_at = step
            save_checkpoint(
                run.folder,
                {
                    "learners": {name: one.state() for name, one in learners.items()},
                    "best": {name: one.state() for name, one in best.items()},
                    "kept": kept,
                    "step": step,
                    "chance": chance.bit_generator.state,
                    "random": random_state(),
                },
            )
    if looked_at < step or not kept:
        looked(learners, tuning, best, kept)
    # Fewer steps than planned are said as such: by early stopping, or for want of time.
    run.progress(step, STEPS, **figures_of(learners, best))
    return {
        "weights.safetensors": {
            f"{name}.{key}": array for name in NETWORKS for key, array in kept[name].items()
        }
    }


def figures_of(learners, best):
    """Return what is shown beside the bar."""
    losses = {f"loss_{name}": learner.loss for name, learner in learners.items()}
    found = {f"auroc_{name}": one.best for name, one in best.items() if one.best is not None}
    return {**losses, **found}


def looked(learners, tuning, best, kept):
    """Keep the weights of each network that tell the tuning patients apart best."""
    for name, learner in learners.items():
        if best[name].over:
            continue
        said, there = learner.said(tuning), tuning.outcome > 0.5
        figure = auroc(said[there], said[~there]) if 0 < there.sum() < len(there) else 0.5
        if best[name].improved(figure) or name not in kept:
            kept[name] = tensors_of(learner.averaged(), half=True)


def progress_of(run, step, begun):
    """Return how far the plan of rates is, 0..1: by steps, or by time where that is short."""
    by_steps = step / STEPS
    if run.max_seconds is None:
        return by_steps
    by_time = begun + (1 - begun) * (time.monotonic() - run.started) / run.max_seconds
    return min(1.0, max(by_steps, by_time))


def one_cycle(done):
    """Return the rate: up in the first tenth, then down like a cosine."""
    share = 0.1 + 9 * done if done < 0.1 else 0.5 * (1 + np.cos(np.pi * (done - 0.1) / 0.9))
    return RATE * (share + 1e-3)


class Cases:
    """All cases, in memory as bytes."""

    def __init__(self, examples):
        cases = list(examples)
        self.images = {name: np.stack([one[name] for one in cases]) for name in IMAGES}
        if SETTINGS["fat_in_training"] == "other":
            # Each patient with the fat of another: what is learned then is not in the fat.
            self.images["fat"] = np.roll(self.images["fat"], 1, axis=0)
        elif SETTINGS["fat_in_training"] != "own":
            raise ValueError(f'fat_in_training is {SETTINGS["fat_in_training"]!r}: "own", "other"')
        self.outcome = np.array([float(one["outcome"]) for one in cases], np.float32)
        self._of = [np.flatnonzero(self.outcome == value) for value in (0, 1)]

    def batch(self, chance):
        """Return the numbers of cases for one step, half of them with invasion if there are."""
        halves = [of for of in self._of if len(of)]
        return np.concatenate([chance.choice(of, BATCH // len(halves)) for of in halves])

    def tensors(self, chosen, device):
        """Return the images of cases in [0, 1] by name."""
        return {
            name: torch.from_numpy(array[chosen]).to(device).float() / 255
            for name, array in self.images.items()
        }


class Learner:
    """One network, its optimiser, and the running mean of its weights."""

    def __init__(self, net, name, device):
        self.net, self.name, self.device, self.loss, self.steps = net, name, device, 0.7, 0
        self.optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        self.mean = {key: value.detach().clone() for key, value in net.state_dict().items()}

    def step(self, images, outcomes, *, rate):
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        wanted = torch.from_numpy(outcomes).to(self.device)
        self.net.train()
        logits = self.net(*inputs_of(altered(images), self.name))[:, 0].float()
        loss = binary_cross_entropy_with_logits(logits, wanted)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(AVERAGING, self.steps / (self.steps + 10))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                if value.is_floating_point():
                    self.mean[key].lerp_(value, 1 - keep)
                else:
                    self.mean[key].copy_(value)
        self.loss += 0.05 * (float(loss.detach()) - self.loss)

    def said(self, cases):
        """Return what the averaged network says of cases."""
        net, found, count = self.averaged(), [], len(cases.outcome)
        with torch.no_grad():
            for chosen in np.split(np.arange(count), range(64, count, 64)):
                images = cases.tensors(chosen, self.device)
                found.append(net(*inputs_of(images, self.name))[:, 0].float().cpu().numpy())
        return np.concatenate(found)

    def averaged(self):
        """Return the network with the running mean of its weights; the other stays as it is."""
        other = copy.deepcopy(self.net)
        other.load_state_dict(self.mean)
        return other.eval()

    def state(self):
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "mean": self.mean,
            "loss": self.loss,
            "steps": self.steps,
        }

    def load(self, state):
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.mean = {key: value.to(self.device) for key, value in state["mean"].items()}
        self.loss, self.steps = state["loss"], state["steps"]


def altered(images):
    """Return images of another scanner and hand: turned, moved, brighter, sharper, noisier.

    Noise goes with institutions, and those with outcomes (cohort.toml): it must say nothing.
    Phases and outline move together, the fat by itself; around the fat stays nothing.
    """
    tumor = torch.cat([images[name] for name in (*PHASES, "outline")], dim=1)
    tumor, fat = moved(tumor), moved(images["fat"])
    *phases, outline = tumor.split([images[name].shape[1] for name in (*PHASES, "outline")], dim=1)
    grey = {role: scanned(image) for role, image in zip(PHASES, phases, strict=True)}
    return {**grey, "outline": outline, "fat": torch.where(fat > 0, scanned(fat), fat)}


def moved(images):
    """Return images turned, mirrored, stretched and moved, all channels of one alike."""
    grid = affine_grid(ways(len(images), images.device), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def scanned(images):
    """Return images with another sharpness, noise and grey scale."""
    like, count = {"device": images.device}, len(images)
    smooth = avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = images + torch.empty(count, 1, 1, 1, **like).uniform_(-0.6, 0.6) * (images - smooth)
    grain = torch.randn_like(images)
    coarse = avg_pool2d(grain, 3, stride=1, padding=1) * 2.5
    grain = torch.where(torch.rand(count, 1, 1, 1, **like) < 0.6, coarse, grain)
    images = images + grain * torch.empty(count, 1, 1, 1, **like).uniform_(0, NOISE)
    gain = 1 + GAIN * torch.randn(count, 1, 1, 1, **like)
    shift = SHIFT * torch.randn(count, 1, 1, 1, **like)
    return ((images - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def ways(count, device):
    """Return random maps of the plane, shape (count, 2, 3): turn, mirror, stretch, move."""
    turn = torch.deg2rad(torch.empty(count).uniform_(-TURN_DEG, TURN_DEG))
    size = torch.empty(count).uniform_(1 - STRETCH, 1 + STRETCH)
    flip = torch.randint(0, 2, (2, count)).float() * 2 - 1
    move = torch.empty(count, 2).uniform_(-2 * MOVE, 2 * MOVE)
    rows = torch.stack([torch.cos(turn) * flip[0], -torch.sin(turn) * flip[1], move[:, 0] / size])
    columns = torch.stack([torch.sin(turn) * flip[0], torch.cos(turn) * flip[1], move[:, 1] / size])
    found = torch.stack([rows, columns], dim=0).permute(2, 0, 1) * size[:, None, None]
    return found.to(device)
