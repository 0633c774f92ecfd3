"""Plugins that need regions: one returns their volumes, one what two phases measure inside."""

from __future__ import annotations

from pathlib import Path

NEOPLASM = '["108369006", "SCT", "Neoplasm"]'

_MANIFEST = """
name = "{name}"
version = "1.0.0"
title = "Contour volume"
intended_use = "Tests regions."
source = "tests"
grade = "phantom"
{more}

[inputs.ct]
modality = ["CT"]

[rois.tumor]
input = "ct"
codes = [{code}]
{roi}

[segments.copy]
label = "Copy"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["4147007", "SCT", "Mass"]

[measurements.volume]
code = ["118565006", "SCT", "Volume"]
unit = ["mm3", "UCUM", "cubic millimeter"]
digits = 3
"""

_CODE = """
import numpy as np

from node.plugin import Measurement, Result, Segment


class Plugin:
    def load(self, device):
        pass

    def run(self, case):
        voxel = case.volumes["ct"].voxel_volume_mm3
        return Result(
            segments=tuple(
                Segment(name="copy", mask=roi.mask, role=roi.role, finding=number)
                for number, roi in enumerate(case.rois["tumor"], start=1)
            ),
            measurements=tuple(
                Measurement(
                    name="volume",
                    value=float(np.count_nonzero(roi.mask) * voxel),
                    segment="copy",
                    finding=number,
                )
                for number, roi in enumerate(case.rois["tumor"], start=1)
            ),
            notes=tuple(roi.source for roi in case.rois["tumor"]),
        )
"""


def write_roi_plugin(
    folder: Path, *, name: str = "contour_volume", roi: str = "", code: str = NEOPLASM
) -> Path:
    """Write the plugin below `folder`, which is a folder of plugin folders."""
    place = folder / name
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(_MANIFEST.format(name=name, roi=roi, code=code, more=""))
    (place / "plugin.py").write_text(_CODE)
    return folder


_FINDER = """
name = "finder"
version = "1.0.0"
title = "Finder"
intended_use = "Tests chains."
source = "tests"
grade = "phantom"

[inputs.ct]
modality = ["CT"]

[segments.tumour]
label = "Tumour"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["108369006", "SCT", "Neoplasm"]
"""

_FINDER_CODE = """
import numpy as np

from node.plugin import Result, Segment


class Plugin:
    def load(self, device):
        pass

    def run(self, case):
        mask = np.zeros(case.volumes["ct"].array.shape, bool)
        mask[2:4, 5:9, 6:10] = {found}
        return Result(segments=(Segment(name="tumour", mask=mask, role="ct"),))
"""


def write_finder(folder: Path, *, found: bool = True) -> Path:
    """Write a plugin that finds one block of 2 x 4 x 4 voxels, or nothing."""
    place = folder / "finder"
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(_FINDER)
    (place / "plugin.py").write_text(_FINDER_CODE.replace("{found}", str(found)))
    return folder


_PHASES = """
name = "two_phases"
version = "1.0.0"
title = "Two phases"
intended_use = "Tests contrast phases."
source = "tests"
grade = "phantom"

[inputs.arterial]
modality = ["CT"]
phase = "arterial"

[inputs.portal_venous]
modality = ["CT"]
phase = "portal_venous"

[rois.tumor]
input = "portal_venous"
one_piece = true
codes = [{code}]

[segments.copy]
label = "Copy"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["4147007", "SCT", "Mass"]

[measurements.arterial]
code = ["ARTERIAL", "99SENTINEL", "Mean of the arterial phase"]
unit = ["[hnsf'U]", "UCUM", "Hounsfield unit"]

[measurements.portal_venous]
code = ["PORTAL-VENOUS", "99SENTINEL", "Mean of the portal venous phase"]
unit = ["[hnsf'U]", "UCUM", "Hounsfield unit"]
"""

_PHASES_CODE = """
from node.plugin import Measurement, Result, Segment


class Plugin:
    def load(self, device):
        pass

    def run(self, case):
        (tumor,) = case.rois["tumor"]
        return Result(
            segments=(Segment(name="copy", mask=tumor.mask, role=tumor.role),),
            measurements=tuple(
                Measurement(name=name, value=float(volume.array[tumor.mask].mean()), segment="copy")
                for name, volume in case.volumes.items()
            ),
        )
"""


def write_phase_plugin(folder: Path) -> Path:
    """Write a plugin that returns the mean of each phase inside a region on the later one."""
    place = folder / "two_phases"
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(_PHASES.format(code=NEOPLASM))
    (place / "plugin.py").write_text(_PHASES_CODE)
    return folder
