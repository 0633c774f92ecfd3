"""Display check: every voxel at or above 300 HU, their volume and longest in-plane diameter.

Exact and without a model, so that an overlay in a viewer can be compared with the image itself:
the edge of the overlay is the edge of what the viewer shows white at window level 300, width 1.
"""

import numpy as np

from node.plugin import Measurement, Result, Segment
from node.toolkit.diameters import longest_in_plane

THRESHOLD_HU = 300


class Plugin:
    def load(self, device):
        """Nothing to load."""

    def run(self, case):
        volume = case.volumes["ct"]
        mask = volume.array >= THRESHOLD_HU  # (slices, rows, columns)
        if volume.padding is not None:
            mask &= ~volume.padding
        count = int(np.count_nonzero(mask))
        if count == 0:
            return Result()
        cubic_cm = count * volume.voxel_volume_mm3 / 1000
        measurements = [Measurement(name="volume", value=cubic_cm, segment="dense")]
        notes = []
        found = longest_in_plane(mask, volume.spacing_mm[1:])
        if found is None:
            notes.append("No slice holds two of the voxels, so there is no diameter.")
        else:
            length, line = found
            measurements.append(
                Measurement(name="longest_diameter", value=length, segment="dense", line=line)
            )
        return Result(
            segments=(Segment(name="dense", mask=mask, role="ct"),),
            measurements=tuple(measurements),
            notes=tuple(notes),
        )
