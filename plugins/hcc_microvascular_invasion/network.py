"""The network: a ResNet for each branch, joined at its end, or by attention on the way too."""

import torch
from prepare import FAT, PHASES, SETTINGS, TUMOR
from torch import nn

from node.toolkit.networks import CLASSIFIERS, classifier, without_head

#: Tumour and fat; the tumour alone, to see what the fat adds; and tumour and fat of patients who
#: learned with the fat of others: it must add nothing there (docs/decisions).
BOTH, ALONE, OTHERS = "mvi", "tumor_only", "other_fat"
NETWORKS = (BOTH, *(name for name in (ALONE, OTHERS) if SETTINGS[name]))
#: The control has a file of its own: a plugin is used without it.
FILES = {"weights.safetensors": (BOTH, ALONE), "control.safetensors": (OTHERS,)}
#: What a setting may say. The towers are ResNets: they are joined by their four stages.
CHOICES = {
    "fusion": ("sum", "concat", "cross_attention"),
    "branches": ("phases", "regions"),
    "network": tuple(name for name in CLASSIFIERS if name.startswith("resnet")),
}


def networks(names=NETWORKS):
    """Return untrained networks by name.

    With branches = "phases", whichever is made first after a seed begins as the same network:
    what one comes to know more than another it has from what it saw.
    """
    check_settings()
    made = nn.ModuleDict({name: Fusion(branches_of(name)) for name in names})
    if BOTH in made:
        check_heat_layers(made[BOTH])
    return made


def check_settings():
    """Raise `ValueError` of a setting that no network can be made by."""
    for key, choices in CHOICES.items():
        if SETTINGS[key] not in choices:
            raise ValueError(f"{key} is {SETTINGS[key]!r}; take one of {', '.join(choices)}")
    if SETTINGS["slices"] % 2 == 0:
        raise ValueError(
            f"slices is {SETTINGS['slices']}; set an odd number, the middle one counts"
        )
    if SETTINGS["branches"] == "regions" and SETTINGS["cam_layer"]:
        raise ValueError(
            f'cam_layer is {SETTINGS["cam_layer"]!r}; with branches = "regions" set it to ""'
        )


def check_heat_layers(network):
    """Raise `ValueError` where a layer is named for Grad-CAM that the network has no map of."""
    known = {name: layer for name, layer in network.named_modules() if name}
    for layer in heat_layers().values():
        if isinstance(known.get(layer), (nn.ModuleList, nn.ModuleDict, nn.Dropout, type(None))):
            raise ValueError(
                f'cam_layer is {layer!r}, which the network has no map of; set it to ""'
            )


def by_file(found):
    """Return what is known of each network by the file that its weights are in."""
    kept = {file: {n: found[n] for n in names if n in found} for file, names in FILES.items()}
    return {file: part for file, part in kept.items() if part}


def branches_of(name):
    """Return of each branch the images that are its channels, and how many those are."""
    outline = ["outline"] if SETTINGS["outline"] else []
    fat = [] if name == ALONE else ["fat"]
    if SETTINGS["branches"] == "phases":
        branches = [[role, *outline, *fat] for role in PHASES]
    else:
        branches = [[*PHASES, *outline], *([fat] if fat else [])]
    count = SETTINGS["slices"]
    return [(parts, sum(1 if part == "fat" else count for part in parts)) for parts in branches]


def inputs_of(images, name):
    """Return what a network is called with: a tensor of each branch, from tensors by name."""
    return [torch.cat([images[p] for p in parts], dim=1) for parts, _ in branches_of(name)]


def heat_layers():
    """Return which layer's heat lies where: both phases share a place, tumour and fat do not."""
    if SETTINGS["branches"] == "phases":
        return {TUMOR: SETTINGS["cam_layer"] or "fused"}
    return {TUMOR: "ends.0", FAT: "ends.1"}


def tower_of(parts, count):
    """Return a ResNet of so many channels, and how many it ends with.

    Fat that is a channel beside the tumour begins with weights of 0, as if it were not there.
    """
    unseen = 1 if "fat" in parts and len(parts) > 1 else 0
    whole = classifier(SETTINGS["network"], inputs=count - unseen, width=SETTINGS["width"])
    tower, wide = without_head(SETTINGS["network"], whole)
    weight = tower.conv1.weight.detach()
    fat = torch.zeros_like(weight[:, :unseen])
    tower.conv1.weight = nn.Parameter(torch.cat([weight, fat], dim=1))
    tower.conv1.in_channels = count
    return tower, wide


class Fusion(nn.Module):
    """One tower a branch; their last maps are added or put beside each other; one logit."""

    def __init__(self, branches):
        super().__init__()
        made = [tower_of(*branch) for branch in branches]
        self.towers = nn.ModuleList(tower for tower, _ in made)
        wide, count = made[0][1], len(made)
        self.adds = SETTINGS["fusion"] != "concat"
        crossed = SETTINGS["fusion"] == "cross_attention" and count == 2
        stages = range(SETTINGS["attention_from_stage"], 5) if crossed else ()
        self.crossings = nn.ModuleDict(
            {str(stage): Crossing(self._wide(stage)) for stage in stages}
        )
        self.ends = nn.ModuleList(nn.Identity() for _ in made)
        self.fused = nn.Identity()
        self.dropout = nn.Dropout(SETTINGS["dropout"])
        # The probability that parts the tuning patients best; training writes it at its end.
        self.register_buffer("cut", torch.tensor(0.5))
        # Without an offset the places of the last map add up to the logit: whatever it says,
        # some place speaks for it, and Grad-CAM of that map is never 0 everywhere.
        self.head = nn.Linear(wide if self.adds else wide * count, 1, bias=False)

    def forward(self, *branches):
        maps = [self._stem(t, x) for t, x in zip(self.towers, branches, strict=True)]
        for stage in range(1, 5):
            layer = f"layer{stage}"
            maps = [getattr(t, layer)(x) for t, x in zip(self.towers, maps, strict=True)]
            if str(stage) in self.crossings:
                maps = self.crossings[str(stage)](*maps)
        maps = [end(x) for end, x in zip(self.ends, maps, strict=True)]
        fused = self.fused(sum(maps[1:], maps[0]) if self.adds else torch.cat(maps, dim=1))
        return self.head(self.dropout(fused.mean(dim=(2, 3))))

    def _stem(self, tower, image):
        return tower.maxpool(tower.act(tower.bn1(tower.conv1(image))))

    def _wide(self, stage):
        """Return how many channels a stage ends with."""
        layer = getattr(self.towers[0], f"layer{stage}")
        convolutions = [part for part in layer[-1].modules() if isinstance(part, nn.Conv2d)]
        return convolutions[-1].out_channels


class Crossing(nn.Module):
    """Where one branch looks decides what is taken of the other; at first it changes nothing."""

    def __init__(self, wide):
        super().__init__()
        narrow = max(1, wide // 8)
        self.queries = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for _ in range(2))
        self.keys = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for _ in range(2))
        self.values = nn.ModuleList(nn.Conv2d(wide, wide, 1) for _ in range(2))
        self.shares = nn.Parameter(torch.zeros(2))

    def forward(self, *maps):
        looks = [self._look(branch, x) for branch, x in enumerate(maps)]
        return [
            x + self.shares[branch] * self._taken(branch, x, looks[1 - branch])
            for branch, x in enumerate(maps)
        ]

    def _look(self, branch, x):
        """Return how much each place looks at each other one, shape (cases, places, places)."""
        query, key = self.queries[branch](x).flatten(2), self.keys[branch](x).flatten(2)
        return torch.softmax(query.transpose(1, 2) @ key, dim=2)

    def _taken(self, branch, x, look):
        value = self.values[branch](x).flatten(2)
        return (value @ look.transpose(1, 2)).reshape(x.shape)
