from pathlib import Path

import numpy as np
from features import features

from node.plugin import Measurement, Result, Segment
from node.toolkit.training import read_weights


class Plugin:
    def load(self, device):
        weights = read_weights(Path(__file__).with_name("weights.safetensors"))
        self.slope, self.offset = weights["slope"], weights["offset"]

    def run(self, case):
        ct = case.volumes["ct"]
        mask = features(ct) @ self.slope + self.offset > 0
        if np.count_nonzero(mask) < 20:
            return Result()
        volume = np.count_nonzero(mask) * ct.voxel_volume_mm3
        return Result(
            segments=(Segment(name="ball", mask=mask, role="ct"),),
            measurements=(Measurement(name="volume", value=volume, segment="ball"),),
        )
