"""Outlines masses of the anterior mediastinum on chest CT with a 3D U-Net and measures them."""

import tomllib

from prepare import FOLDER, PATCH, image_of, network, not_a_chest

from node.plugin import Measurement, Result, Segment
from node.toolkit.components import components
from node.toolkit.grids import probability_to
from node.toolkit.networks import load_weights
from node.toolkit.windows import Predictor, SlidingWindow

ROLE, SEGMENT = "ct", "mass"


class Plugin:
    def load(self, device):
        """Read the weights and get the network ready for `device`."""
        self.settings = tomllib.loads((FOLDER / "plugin.toml").read_text())["parameters"]
        net = network()
        load_weights(net, FOLDER / "weights.safetensors")
        # Of windows this small a rough pass on the CPU costs more than it saves.
        precision = "exact" if device == "cpu" else "auto"
        windows = SlidingWindow(size=PATCH, overlap=0.5, activation="sigmoid", precision=precision)
        self.predictor = Predictor(net.eval(), windows, device=device)

    def run(self, case):
        volume = case.volumes[ROLE]
        if why := not_a_chest(volume):
            return Result(refusal=why)
        notes = []
        image, grid = image_of(volume)
        even = self.predictor.predict(image[None], notes=notes)[0]
        probability = probability_to(even, grid, volume.grid)
        found = components(
            probability >= self.settings["threshold"], volume, min_ml=self.settings["smallest_ml"]
        )
        segments, measurements = [], []
        for number, one in enumerate(found, start=1):
            segments.append(Segment(name=SEGMENT, mask=one.mask, role=ROLE, finding=number))
            measurements += measured(one, probability, volume, number)
        return Result(
            segments=tuple(segments), measurements=tuple(measurements), notes=tuple(notes)
        )


def measured(component, probability, volume, number):
    """Return the numbers of one finding."""
    values = {
        "volume": component.volume_ml,
        "max_diameter_3d": component.longest_3d_mm(),
        "mean_hu": component.mean(volume),
        "detection_score": 100 * component.score(probability),
    }
    found = [
        Measurement(name=name, value=value, segment=SEGMENT, finding=number)
        for name, value in values.items()
    ]
    if (axial := component.longest_axial()) is not None:
        length_mm, line = axial
        found.append(
            Measurement(
                name="long_axis", value=length_mm, segment=SEGMENT, finding=number, line=line
            )
        )
    return found
