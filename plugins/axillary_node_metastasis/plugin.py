"""Judges outlined axillary nodes on CT: two crops of each, a network for each crop, their mean."""

import numpy as np
import torch
from prepare import CROPS, FOLDER, IMAGE, REGION, SETTINGS, crops_of, image_of, networks, not_a_node

from node.plugin import Map, Measurement, Quality, Result, Segment
from node.toolkit.gradcam import explained
from node.toolkit.logistic import sigmoid
from node.toolkit.networks import cam_layer, load_weights


class Plugin:
    def load(self, device):
        """Read the weights and get both networks ready for `device`."""
        self.device = device
        self.networks = networks()
        load_weights(self.networks, FOLDER / "weights.safetensors")
        self.networks.to(device).eval()

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
        for name, crop in crops_of(volume, node.mask).items():
            image = torch.from_numpy(image_of(crop))[None].to(self.device)
            layer = SETTINGS["cam_layer"] or cam_layer(SETTINGS[f"{name}_network"])
            cam, logit = explained(self.networks[name], image, layer=layer, toward=None)
            said[f"p_{name}"] = float(sigmoid(logit))
            np.maximum(heat[name], crop.place.to_source(cam), out=heat[name])
        share = SETTINGS["fsc_share"]
        return {"p_metastasis": share * said["p_fsc"] + (1 - share) * said["p_asc"], **said}


def choice_of(probability):
    """Return the name of the class."""
    return "metastatic" if probability >= SETTINGS["threshold"] else "normal"
