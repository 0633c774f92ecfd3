"""Judges outlined axillary nodes on CT: two crops of each, a network for each crop, their mean.

A network sees a node in its largest slice and the slices beside it, and each of them mirrored: what
it says is the mean, which hangs less on the one slice and on how the patient lay.
"""

import numpy as np
import torch
from prepare import (
    CROPS,
    FOLDER,
    IMAGE,
    REGION,
    SETTINGS,
    crops_of,
    heat_layer,
    image_of,
    networks,
    not_a_node,
    slice_beside,
)

from node.plugin import Map, Measurement, Quality, Result, Segment
from node.toolkit.gradcam import grad_cam
from node.toolkit.networks import load_weights

#: Along which axes of (images, channels, rows, columns) an image is mirrored.
MIRRORED = ((), (2,), (3,), (2, 3)) if SETTINGS["mirrored"] else ((),)


class Plugin:
    def load(self, device):
        """Read the weights and get both networks ready for `device`."""
        self.device = device
        self.networks = networks()
        load_weights(self.networks, FOLDER / "weights.safetensors")
        self.networks.to(device).eval()
        self.heat_layers = {crop: heat_layer(crop, self.networks[crop]) for crop in CROPS}

    def run(self, case):
        volume, nodes = case.volumes[IMAGE], case.rois[REGION]
        for number, node in enumerate(nodes, start=1):
            if why := not_a_node(volume, node.mask):
                return Result(refusal=f"node {number}: {why}")
        heat = {crop: np.zeros(volume.array.shape, np.float32) for crop in CROPS}
        found = [self._judged(volume, node, heat) for node in nodes]
        segments, measurements, qualities = [], [], []
        for number, (node, said) in enumerate(zip(nodes, found, strict=True), start=1):
            place = {"segment": REGION, "finding": number}
            segments.append(Segment(name=REGION, mask=node.mask, role=IMAGE, finding=number))
            measurements += [
                Measurement(name=name, value=100 * value, **place) for name, value in said.items()
            ]
            qualities.append(
                Quality(name="node_class", choice=choice_of(said["p_metastasis"]), **place)
            )
        # One node is enough: the patient is judged by the most suspicious one.
        greatest = max(said["p_metastasis"] for said in found)
        measurements.append(Measurement(name="p_axilla", value=100 * greatest))
        qualities.append(Quality(name="axilla_class", choice=choice_of(greatest)))
        return Result(
            segments=tuple(segments),
            measurements=tuple(measurements),
            maps=tuple(Map(name=f"cam_{c}", array=array, role=IMAGE) for c, array in heat.items()),
            qualities=tuple(qualities),
        )

    def _judged(self, volume, node, heat):
        """Return probabilities of one node by name; adds its heat to the maps."""
        said = {}
        for name, crops in seen(volume, node.mask).items():
            said[f"p_{name}"] = self._mean(name, crops)
            cam = self.heat(name, crops[0], said[f"p_{name}"])
            np.maximum(heat[name], crops[0].place.to_source(cam), out=heat[name])
        share = SETTINGS["fsc_share"]
        return {"p_metastasis": share * said["p_fsc"] + (1 - share) * said["p_asc"], **said}

    def _mean(self, name, crops):
        """Return the mean probability of crops and of their mirror images."""
        images = self._tensor(crops)
        images = torch.cat([images.flip(axes) for axes in MIRRORED])
        with torch.inference_mode():
            return float(self.networks[name](images)[:, 0].double().sigmoid().mean())

    def heat(self, name, crop, probability):
        """Return what speaks for the class that a probability stands for, shape of the crop."""
        return grad_cam(
            self.networks[name],
            self._tensor([crop]),
            layer=self.heat_layers[name],
            toward=1 if probability >= SETTINGS["threshold"] else -1,
            mirrored=MIRRORED,
        )

    def _tensor(self, crops):
        return torch.from_numpy(np.stack([image_of(crop) for crop in crops])).to(self.device)


def seen(volume, mask):
    """Return by name the crops of a node: of its largest slice, then of those beside it."""
    away = SETTINGS["slices_beside"]
    order = sorted(range(-away, away + 1), key=abs)
    made = [crops_of(volume, mask, slice_index=slice_beside(mask, one)) for one in order]
    return {name: [crops[name] for crops in made] for name in CROPS}


def choice_of(probability):
    """Return the name of the class."""
    return "metastatic" if probability >= SETTINGS["threshold"] else "normal"
