"""How the network learns: patches around masses and elsewhere, Dice and cross-entropy."""

import numpy as np
import torch
from prepare import PATCH, SETTINGS, SPACING_MM, image_of, mask_on, network
from scipy.ndimage import gaussian_filter
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from node.toolkit.components import components
from node.toolkit.learning import Learner, Schedule, learn, one_cycle
from node.toolkit.training import seed_everything
from node.toolkit.windows import SlidingWindow, predict

ROLE, SEGMENT = "ct", "mass"
#: Our choices; the paper states none of them.
STEPS, LOOK_EVERY, PATIENCE = 3600, 600, 4
BATCH, RATE, WEIGHT_DECAY = 3, 2e-3, 1e-4
FIRST_BIAS = -4.0
#: Share of patches around a mass, where the case has one.
ABOUT_MASS = 0.7
ABOUT_MM = 42.0
#: Share of patches that are stretched, and by how much along each axis.
STRETCHED, STRETCH = 0.5, (0.8, 1.25)
#: Smoothing of the weights over steps: what is kept is their running mean.
AVERAGING = 0.99
SCHEDULE = Schedule(
    steps=STEPS,
    look_every=LOOK_EVERY,
    patience=PATIENCE,
    least=0.002,
    # The shipped weights learned so: nothing is added to the rate on its way up.
    rate=lambda done: RATE * (one_cycle(done) + (1e-3 if done >= 0.1 else 0.0)),
    figure="dice",
    say_every=20,
)
TUNING_CASES = 12
BASELINE_HU = (20, 120)


def examples(case, labels):
    """Return the image and the mask on the network's grid, in bytes (0..255)."""
    volume = case.volumes[ROLE]
    image, grid = image_of(volume)
    mask = mask_on(labels.masks[SEGMENT], volume, grid)
    return {
        "image": np.rint(image * 255).astype(np.uint8),
        "mask": np.rint(mask * 255).astype(np.uint8),
    }


def score(case):
    """Return what a threshold says: the largest piece of soft tissue before the great vessels.

    Voxels of soft tissue in the middle third of the chest's width and its front half, the
    largest 26-connected piece of them: what one could do without learning.
    """
    volume = case.volumes[ROLE]
    tissue = (volume.array >= BASELINE_HU[0]) & (volume.array <= BASELINE_HU[1])
    body = volume.array > -500
    if not body.any():
        return {"threshold": np.zeros_like(tissue)}
    rows, columns = body.any(axis=(0, 2)).nonzero()[0], body.any(axis=(0, 1)).nonzero()[0]
    front = np.zeros_like(tissue)
    height, width = rows[-1] - rows[0], columns[-1] - columns[0]
    front[
        :,
        rows[0] + height // 5 : rows[0] + height // 2,
        columns[0] + width // 3 : columns[-1] - width // 3,
    ] = True
    found = components(tissue & front, volume.grid, min_ml=0.5)
    return {"threshold": found[0].mask if found else np.zeros_like(tissue)}


def fit(examples, *, seed, run):
    """Return the weights; goes on from the checkpoint of an interrupted training."""
    seed_everything(seed)
    net = expecting_nothing(network()).to(run.device)
    cases = Patches(examples.train)
    tuning = [examples.tuning[i] for i in range(min(TUNING_CASES, len(examples.tuning)))]

    def loss(net, patches):
        images, masks = (torch.from_numpy(array).to(run.device) for array in patches)
        with torch.autocast(torch.device(run.device).type, torch.bfloat16):
            logits = net(images)
        return dice_and_entropy(logits.float(), masks)

    kept = learn(
        Learner(net, weight_decay=WEIGHT_DECAY, averaging=AVERAGING),
        SCHEDULE,
        run=run,
        seed=seed,
        batch=cases.batch,
        loss=loss,
        look=lambda net: tuning_dice(net, tuning, run.device),
    )
    return {"weights.safetensors": kept}


def expecting_nothing(net):
    """Return the network with a last bias that says "no mass": so rare is one.

    Without it the first steps only learn that, and the network may stay with an empty mask.
    """
    last = [m for m in net.modules() if isinstance(m, torch.nn.Conv3d | torch.nn.ConvTranspose3d)][
        -1
    ]
    with torch.no_grad():
        last.bias.fill_(FIRST_BIAS)
    return net


def dice_and_entropy(logits, masks):
    """Return the sum of soft Dice loss (over the batch, and patch by patch) and cross-entropy."""
    found = torch.sigmoid(logits)
    both, sizes = (one.flatten(1).sum(dim=1) for one in (found * masks, found + masks))
    loss = 1 - (2 * both.sum() + 1) / (sizes.sum() + 1)
    # Over the batch a large mass outvotes a small one; patch by patch each counts the same.
    held = masks.flatten(1).amax(dim=1) >= 0.5
    if held.any():
        alone = 1 - (2 * both[held] + 1) / (sizes[held] + 1)
        loss = (loss + alone.mean()) / 2
    return loss + binary_cross_entropy_with_logits(logits, masks)


class Patches:
    """Draws patches from all cases; everything is kept in memory, as bytes."""

    def __init__(self, examples):
        self.cases = [(one["image"], one["mask"]) for one in examples]
        self.places = [np.argwhere(mask >= 128)[::7] for _, mask in self.cases]

    def batch(self, chance):
        """Return float32 images and masks, shape (BATCH, 1, slices, rows, columns)."""
        pairs = [self.patch(int(chance.integers(len(self.cases))), chance) for _ in range(BATCH)]
        images, masks = (np.stack(part)[:, None] for part in zip(*pairs, strict=True))
        return images, masks

    def patch(self, index, chance):
        image, mask = self.cases[index]
        places = self.places[index]
        if len(places) and chance.random() < ABOUT_MASS:
            away = chance.uniform(-ABOUT_MM, ABOUT_MM, 3) / SPACING_MM
            middle = places[int(chance.integers(len(places)))] + away
        else:
            # The middle of the chest is where one may be wrong.
            middle = chance.normal(0.5, (0.3, 0.18, 0.18)) * image.shape
        size = PATCH
        if chance.random() < STRETCHED:
            size = tuple(int(n) for n in np.rint(PATCH / chance.uniform(*STRETCH, 3)))
        image, mask = (stretched(cut_out(array, middle, size)) for array in (image, mask))
        return altered(image, chance), mask


def cut_out(array, middle, sizes):
    """Return the patch of `sizes` around `middle`; outside of the image it is 0."""
    whole = np.zeros(sizes, array.dtype)
    take, put = [], []
    for centre, size, length in zip(middle, sizes, array.shape, strict=True):
        spare = max(length - size, 0)
        start = int(np.clip(round(float(centre)) - size // 2, 0, spare))
        stop = min(start + size, length)
        shift = (size - (stop - start)) // 2
        take.append(slice(start, stop))
        put.append(slice(shift, shift + stop - start))
    whole[tuple(put)] = array[tuple(take)]
    return whole


def stretched(patch):
    """Return bytes of any shape as float32 in [0, 1] of the shape PATCH."""
    patch = patch.astype(np.float32) / 255
    if patch.shape == PATCH:
        return patch
    return interpolate(torch.from_numpy(patch)[None, None], size=PATCH, mode="trilinear")[
        0, 0
    ].numpy()


def altered(image, chance):
    """Return an image of another scanner: contrast, sharpness, noise. Left stays left."""
    gain, shift = chance.normal(1, 0.1), chance.normal(0, 0.04)
    inside = image > 0
    image = np.clip((image - 0.5) * gain + 0.5 + shift, 0, 1)
    if chance.random() < 0.4:
        smooth = gaussian_filter(image, (0, *(2 * [chance.uniform(0.4, 0.9)])), truncate=3)
        # Half of them become sharper, by what the smoothing took away.
        image = smooth if chance.random() < 0.5 else np.clip(2 * image - smooth, 0, 1)
    if chance.random() < 0.5:
        noise = chance.standard_normal(image.shape, dtype=np.float32)
        image += noise * np.float32(chance.uniform(0, 0.06))
        np.clip(image, 0, 1, out=image)
    return np.where(inside, image, 0).astype(np.float32)


def tuning_dice(net, cases, device):
    """Return the mean Dice over tuning cases with a mass; a free one counts as all or nothing."""
    found = []
    settings = SlidingWindow(size=PATCH, overlap=0.25)
    for one in cases:
        image = one["image"].astype(np.float32)[None] / 255
        mask = predict(net, image, settings, device=device, notes=[])[0] >= 0.5
        truth = one["mask"] >= 128
        total = int(mask.sum()) + int(truth.sum())
        enough = mask.sum() * np.prod(SPACING_MM) >= 1000 * SETTINGS["smallest_ml"]
        if truth.any():
            found.append(2 * int((mask & truth).sum()) / total)
        else:
            found.append(0.0 if enough else 1.0)
    return float(np.mean(found)) if found else 0.0
