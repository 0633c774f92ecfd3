"""Makes plugin folders for tests: kind ones and hostile ones."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from node.manifest import Manifest
from node.manifest_file import parse_manifest
from node.plugin import Case, Volume

_MANIFEST = """
name = "{name}"
version = "{version}"
title = "Test"
intended_use = "Tests the runner."
source = "tests"
grade = "phantom"
{python}

[inputs.ct]
modality = ["CT"]

[segments.mass]
label = "Mass"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["4147007", "SCT", "Mass"]

[measurements.volume]
code = ["118565006", "SCT", "Volume"]
unit = ["mm3", "UCUM", "cubic millimeter"]

[measurements.diameter]
code = ["103339001", "SCT", "Long axis"]
unit = ["mm", "UCUM", "mm"]

[limits]
time_s = {time_s}
memory_mb = {memory_mb}
"""

_CODE = """
import os
import numpy as np
from node.plugin import Line, Measurement, Result, Segment

def mask_of(case):
    return np.asarray(case.volumes["ct"].array) > 0

class Plugin:
    def load(self, device):
        self.device = device

    def run(self, case):
{run}
"""


def make_plugin(
    folder: Path,
    run: str = "return Result()",
    *,
    name: str = "tester",
    version: str = "1.0.0",
    time_s: float = 20,
    memory_mb: int = 1024,
    python: str = "",
) -> Manifest:
    """Write a plugin whose ``run(self, case)`` has the body `run`, and read its manifest."""
    place = folder / f"{name}-{version}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "plugin.toml").write_text(
        _MANIFEST.format(
            name=name,
            version=version,
            time_s=time_s,
            memory_mb=memory_mb,
            python=f'python = "{python}"' if python else "",
        )
    )
    body = textwrap.indent(textwrap.dedent(run).strip(), " " * 8)
    (place / "plugin.py").write_text(_CODE.format(run=body))
    return parse_manifest(place)


def make_case(shape: tuple[int, int, int] = (3, 4, 5)) -> Case:
    """Return a Case with one volume ``ct`` of unequal spacing, counting up from -10."""
    affine = np.array(
        [[0.0, 0.0, 0.7, -10.0], [0.0, 0.8, 0.0, -20.0], [5.0, 0.0, 0.0, 30.0], [0, 0, 0, 1]]
    )
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 10
    padding = np.zeros(shape, dtype=bool)
    padding[0, 0, 0] = True
    volume = Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT", padding=padding)
    return Case(volumes={"ct": volume}, attributes={"PatientAge": 61.5, "PatientSex": "F"})
