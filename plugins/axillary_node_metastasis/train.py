"""How the two networks learn: each from its own crop of every node, apart from the other."""

import copy
import time

import numpy as np
import torch
from prepare import CROPS, IMAGE, REGION, crops_of, image_of, networks
from torch.nn.functional import (
    affine_grid,
    avg_pool2d,
    binary_cross_entropy_with_logits,
    grid_sample,
)

from node.toolkit.auroc import auroc
from node.toolkit.crops import largest_slice
from node.toolkit.training import (
    EarlyStopping,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
    seed_everything,
    tensors_of,
)

#: Our choices; the paper states none of them.
STEPS, LOOK_EVERY = 1500, 150
BATCH, RATE, WEIGHT_DECAY = 32, 2e-3, 1e-3
#: Smoothing of the weights over steps: what is kept is their running mean.
AVERAGING = 0.98
#: Of an image: turned by so many degrees, moved and stretched by so much of its side.
TURN_DEG, MOVE, STRETCH = 15.0, 0.06, 0.05
#: Share of the grey scale.
GAIN, SHIFT, NOISE = 0.1, 0.04, 0.05


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
    learners = {crop: Learner(nets[crop], run.device) for crop in CROPS}
    best = {crop: EarlyStopping(patience=STEPS) for crop in CROPS}
    kept, step, chance = {}, 0, np.random.default_rng(seed)
    if (state := load_checkpoint(run.folder)) is not None:
        for crop in CROPS:
            learners[crop].load(state["learners"][crop])
            best[crop] = EarlyStopping(**state["best"][crop])
        kept, step = state["kept"], state["step"]
        chance.bit_generator.state = state["chance"]
        restore_random_state(state["random"])
    train, tuning = Nodes(examples.train), Nodes(examples.tuning)
    begun = step / STEPS
    while step < STEPS and not run.out_of_time:
        done = progress_of(run, step, begun)
        chosen = train.batch(chance)
        for crop, learner in learners.items():
            learner.step(train.images[crop][chosen], train.outcome[chosen], rate=one_cycle(done))
        step += 1
        if step % 10 == 0:
            figures = {f"auroc_{crop}": best[crop].best or 0.5 for crop in CROPS}
            run.progress(done, 1.0, loss=learners["fsc"].loss, steps=step, **figures)
        if step % LOOK_EVERY == 0:
            looked(learners, tuning, best, kept)
            save_checkpoint(
                run.folder,
                {
                    "learners": {crop: one.state() for crop, one in learners.items()},
                    "best": {crop: one.state() for crop, one in best.items()},
                    "kept": kept,
                    "step": step,
                    "chance": chance.bit_generator.state,
                    "random": random_state(),
                },
            )
    looked(learners, tuning, best, kept)
    figures = {f"auroc_{crop}": best[crop].best or 0.5 for crop in CROPS}
    run.progress(1.0, 1.0, loss=learners["fsc"].loss, steps=step, **figures)
    return {
        "weights.safetensors": {f"{crop}.{n}": a for crop in CROPS for n, a in kept[crop].items()}
    }


def looked(learners, tuning, best, kept):
    """Keep the weights of each crop that tell the tuning nodes apart best."""
    for crop, learner in learners.items():
        said = learner.said(tuning.images[crop])
        there = tuning.outcome > 0.5
        figure = auroc(said[there], said[~there]) if 0 < there.sum() < len(there) else 0.5
        if best[crop].improved(figure) or crop not in kept:
            kept[crop] = tensors_of(learner.averaged(), half=True)


def progress_of(run, step, begun):
    """Return how far the training is, 0..1: by steps, or by time where that is short."""
    by_steps = step / STEPS
    if run.max_seconds is None:
        return by_steps
    by_time = begun + (1 - begun) * (time.monotonic() - run.started) / run.max_seconds
    return min(1.0, max(by_steps, by_time))


def one_cycle(done):
    """Return the rate: up in the first tenth, then down like a cosine."""
    share = 0.1 + 9 * done if done < 0.1 else 0.5 * (1 + np.cos(np.pi * (done - 0.1) / 0.9))
    return RATE * (share + 1e-3)


class Nodes:
    """All nodes of all cases, in memory as bytes."""

    def __init__(self, examples):
        cases = [one for one in examples if len(one["outcome"])]
        self.images = {crop: np.concatenate([one[crop] for one in cases]) for crop in CROPS}
        self.outcome = np.concatenate([one["outcome"] for one in cases]).astype(np.float32)
        self._of = [np.flatnonzero(self.outcome == value) for value in (0, 1)]

    def batch(self, chance):
        """Return the numbers of nodes for one step, half with metastasis where there are such."""
        halves = [of for of in self._of if len(of)]
        return np.concatenate([chance.choice(of, BATCH // len(halves)) for of in halves])


class Learner:
    """One network, its optimiser, and the running mean of its weights."""

    def __init__(self, net, device):
        self.net, self.device, self.loss, self.steps = net, device, 0.7, 0
        self.optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        self.mean = {name: value.detach().clone() for name, value in net.state_dict().items()}

    def step(self, images, outcomes, *, rate):
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images = torch.from_numpy(images).to(self.device)[:, None].float() / 255
        wanted = torch.from_numpy(outcomes).to(self.device)
        self.net.train()
        logits = self.net(altered(images))[:, 0].float()
        loss = binary_cross_entropy_with_logits(logits, wanted)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(AVERAGING, self.steps / (self.steps + 10))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                if value.is_floating_point():
                    self.mean[name].lerp_(value, 1 - keep)
                else:
                    self.mean[name].copy_(value)
        self.loss += 0.05 * (float(loss.detach()) - self.loss)

    def said(self, images):
        """Return what the averaged network says of images in bytes."""
        net = self.averaged()
        with torch.no_grad():
            parts = torch.from_numpy(images).split(128)
            logits = [net(part.to(self.device)[:, None].float() / 255) for part in parts]
        return torch.cat(logits)[:, 0].float().cpu().numpy()

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
        self.mean = {name: value.to(self.device) for name, value in state["mean"].items()}
        self.loss, self.steps = state["loss"], state["steps"]


def altered(images):
    """Return images of another scanner and hand: turned, moved, brighter, sharper, noisier.

    Noise goes with institutions, and those with outcomes (cohort.toml): it must say nothing.
    """
    count = len(images)
    images = grid_sample(
        images, affine_grid(ways(count), list(images.shape), align_corners=False),
        padding_mode="border", align_corners=False,
    )  # fmt: skip
    smooth = avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = images + torch.empty(count, 1, 1, 1).uniform_(-0.6, 0.6) * (images - smooth)
    grain = torch.randn_like(images)
    coarse = avg_pool2d(grain, 3, stride=1, padding=1) * 2.5
    grain = torch.where(torch.rand(count, 1, 1, 1) < 0.6, coarse, grain)
    images = images + grain * torch.empty(count, 1, 1, 1).uniform_(0, NOISE)
    gain = 1 + GAIN * torch.randn(count, 1, 1, 1)
    return ((images - 0.5) * gain + 0.5 + SHIFT * torch.randn(count, 1, 1, 1)).clamp(0, 1)


def ways(count):
    """Return random maps of the plane, shape (count, 2, 3): turn, mirror, stretch, move."""
    turn = torch.deg2rad(torch.empty(count).uniform_(-TURN_DEG, TURN_DEG))
    size = torch.empty(count).uniform_(1 - STRETCH, 1 + STRETCH)
    flip = torch.randint(0, 2, (2, count)).float() * 2 - 1
    move = torch.empty(count, 2).uniform_(-2 * MOVE, 2 * MOVE)
    rows = torch.stack([torch.cos(turn) * flip[0], -torch.sin(turn) * flip[1], move[:, 0] / size])
    columns = torch.stack([torch.sin(turn) * flip[0], torch.cos(turn) * flip[1], move[:, 1] / size])
    return torch.stack([rows, columns], dim=0).permute(2, 0, 1) * size[:, None, None]
