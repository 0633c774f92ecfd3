"""Judges an outlined carcinoma of the liver, and the fat of the lesser omentum, on two phases."""

import numpy as np
import torch
from checks import Unsuitable
from network import BOTH, NETWORKS, by_file, heat_layers, inputs_of, networks
from prepare import DRAWN_ON, FAT, FOLDER, SETTINGS, TUMOR, seen_of

from node.errors import ResultInvalid
from node.plugin import Map, Measurement, Quality, Result, Segment
from node.toolkit.diameters import longest_in_plane
from node.toolkit.gradcam import grad_cam
from node.toolkit.logistic import sigmoid
from node.toolkit.networks import load_weights

#: Weights of the logistic model of measured numbers; "": not configured.
LOGISTIC = ("logistic_intercept", "logistic_per_mm", "logistic_per_cm2")


class Plugin:
    def load(self, device):
        """Read the weights and get the networks ready for `device`."""
        self.device, self.logistic = device, logistic_weights()
        self.networks = networks()
        for file, part in by_file(self.networks).items():
            load_weights(torch.nn.ModuleDict(part), FOLDER / file)
        self.networks.to(device).eval()
        self.risk_from = risk_threshold(self.networks[BOTH])

    def run(self, case):
        try:
            seen = seen_of(case)
        except Unsuitable as why:
            return Result(refusal=str(why))
        return self._judged(case, seen)

    def _judged(self, case, seen):
        said, notes = self._said(seen), []
        (tumor,) = case.rois[TUMOR]
        segments = [Segment(name=TUMOR, mask=tumor.mask, role=DRAWN_ON)]
        measurements = [
            Measurement(name=name, value=100 * value, segment=TUMOR) for name, value in said.items()
        ]
        if seen.fat.any():
            segments.append(Segment(name=FAT, mask=seen.fat, role=DRAWN_ON))
        else:
            low, high = SETTINGS["fat_low_hu"], SETTINGS["fat_high_hu"]
            notes.append(f"No fat ({low:g} to {high:g} HU) in the drawn omentum: its area is 0.")
        area = float(seen.areas_cm2.max())
        place = FAT if seen.fat.any() else None
        measurements.append(Measurement(name="loat_area", value=area, segment=place))
        diameter_mm, line = longest_in_plane(tumor.mask, case.volumes[DRAWN_ON].spacing_mm[1:])
        measurements.append(
            Measurement(name="diameter", value=diameter_mm, segment=TUMOR, line=line)
        )
        measurements += self._by_numbers(diameter_mm, area)
        return Result(
            segments=tuple(segments),
            measurements=tuple(measurements),
            maps=self._maps(seen, notes),
            qualities=qualities_of(said[f"p_{BOTH}"], self.risk_from),
            notes=tuple(notes),
        )

    def _said(self, seen):
        """Return the probability of each network by the name of its measurement."""
        images, said = self._tensors(seen), {}
        with torch.no_grad():
            for name in NETWORKS:
                logit = self.networks[name](*inputs_of(images, name))
                said[f"p_{name}"] = float(torch.sigmoid(logit.float())[0, 0])
        return said

    def _tensors(self, seen):
        return {n: torch.from_numpy(x)[None].to(self.device) for n, x in seen.images.items()}

    def _maps(self, seen, notes):
        """Return where the network with fat looked; a place that speaks for nothing has none."""
        network, inputs, maps = self.networks[BOTH], inputs_of(self._tensors(seen), BOTH), []
        layers = heat_layers()
        for region, layer in layers.items():
            try:
                heat = grad_cam(network, *inputs, layer=layer, toward=None)
            except ResultInvalid:
                if len(layers) == 1:
                    raise
                notes.append(f"Nothing in the {region.replace('_', ' ')} spoke for the result.")
                continue
            array = seen.places[region].to_source(heat)
            maps.append(Map(name=f"cam_{region}", array=array, role=DRAWN_ON))
        if not maps:
            raise ResultInvalid("the Grad-CAM is 0 everywhere, of the tumour and of the fat")
        return tuple(maps)

    def _by_numbers(self, diameter_mm, area_cm2):
        if self.logistic is None:
            return []
        log_odds = float(np.dot(self.logistic, [1.0, diameter_mm, area_cm2]))
        return [Measurement(name="p_logistic", value=100 * float(sigmoid(log_odds)), segment=TUMOR)]


def logistic_weights():
    """Return intercept, weight of a mm and of a cm2; None where they are not configured."""
    weights = [SETTINGS[name] for name in LOGISTIC]
    if all(weight == "" for weight in weights):
        return None
    if any(isinstance(weight, str | bool) for weight in weights):
        raise ValueError(f"{', '.join(LOGISTIC)}: all three must be numbers, or all three empty")
    return weights


def risk_threshold(network):
    """Return from which probability on the risk is high: a setting, or what training found."""
    chosen = SETTINGS["risk_threshold"]
    if chosen == "":
        return float(network.cut)
    if isinstance(chosen, str | bool) or not 0 < chosen < 1:
        raise ValueError(f"risk_threshold is {chosen!r}; a number between 0 and 1, or empty")
    return chosen


def qualities_of(probability, risk_from):
    """Return the class, more likely than not, and the group that outcomes are best parted by."""
    there = "present" if probability >= SETTINGS["threshold"] else "absent"
    risk = "high" if probability >= risk_from else "low"
    return (
        Quality(name="mvi_class", choice=there, segment=TUMOR),
        Quality(name="risk_group", choice=risk),
    )
