"""Makes tiny plugins that learn: a mean to be found, kind or unkind."""

from __future__ import annotations

import hashlib
import re
import textwrap
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "write-a-plugin.md"

_MANIFEST = """
# Written by a test.
name = "{name}"
version = "0.1.0"
title = "Learner"
intended_use = "Tests the training."
source = "tests"
grade = "evaluated"

[inputs.ct]
modality = ["CT"]

[segments.mass]
label = "Bright mass"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["4147007", "SCT", "Mass"]

[measurements.likeness]
code = ["111047", "DCM", "Probability of cancer"]
unit = ["1", "UCUM", "no units"]

[limits]
memory_mb = 1024

[cohort]
file = "cohort.toml"
sha256 = "{sha256}"
"""

_PLUGIN = """
from pathlib import Path
import numpy as np
from node.plugin import Measurement, Result, Segment
from node.toolkit.training import read_weights

class Plugin:
    def load(self, device):
        weights = read_weights(Path(__file__).with_name("weights.safetensors"))
        self.threshold = float(weights["threshold"][0])

    def run(self, case):
        array = np.asarray(case.volumes["ct"].array)
        mask = array > self.threshold
        if not mask.any():
            return Result()
        likeness = Measurement(name="likeness", value=float(mask.mean()), segment="mass")
        segment = Segment(name="mass", mask=mask, role="ct")
        return Result(segments=(segment,), measurements=(likeness,))
"""

_TRAIN = """
import os
import time
from pathlib import Path
import numpy as np
from node.toolkit.training import EarlyStopping, load_checkpoint, save_checkpoint
{labels}

def examples(case, labels):
    array = np.asarray(case.volumes["ct"].array)
    mask = labels.masks["mass"]
    inside = array[mask].mean() if mask.any() else np.nan
    return {{"inside": np.array([inside]), "outside": np.array([array[~mask].mean()])}}

def fit(examples, *, seed, run):
{fit}
"""

FIT = """
rng = np.random.default_rng(seed)
inside = np.nanmean([one["inside"][0] for one in examples.train])
outside = np.mean([one["outside"][0] for one in examples.train])
threshold = (inside + outside) / 2 + rng.normal(0, 0.01)
run.progress(1, 1, threshold=threshold)
return {"weights.safetensors": {"threshold": np.array([threshold])}}
"""

_COHORT = """
import tomllib
from pathlib import Path
import numpy as np
from node.phantom.subject import Subject
from node.plugin import Case, Labels, Volume

LAW = tomllib.loads(Path(__file__).with_name("cohort.toml").read_text())

def subjects(split, count, *, seed):
    return [({seed}, index) for index in range(count)]

def render(plan):
    rng = np.random.default_rng(plan)
    array = rng.normal(0, 10, (4, 12, 12)).round().astype(np.int16)
    mask = np.zeros(array.shape, bool)
    if plan[1] % 4:
        row = int(rng.integers(1, 6))
        mask[1:3, row : row + 4, 3:8] = True
    array[mask] += LAW["bright_hu"]
    affine = np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]
    volume = Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT")
    return Subject(
        patient=f"P{{plan[1]}}",
        institution="one",
        case=Case(volumes={{"ct": volume}}),
        labels=Labels(masks={{"mass": mask}}),
    )
"""


def make_learner(
    folder: Path, *, fit: str = FIT, labels: str = "", seed: str = "seed", name: str = "learner"
) -> Path:
    """Write a plugin whose ``fit(examples, *, seed, run)`` has the body `fit`."""
    place = folder / name
    place.mkdir(parents=True)
    law = "bright_hu = 100\n"
    (place / "cohort.toml").write_text(law)
    sha256 = hashlib.sha256(law.encode()).hexdigest()
    (place / "plugin.toml").write_text(_MANIFEST.format(name=name, sha256=sha256))
    (place / "plugin.py").write_text(_PLUGIN)
    (place / "cohort.py").write_text(_COHORT.format(seed=seed))
    write_fit(place, fit, labels)
    return place


def write_fit(place: Path, fit: str, labels: str = "") -> None:
    """Give a learner another ``fit``."""
    body = textwrap.indent(textwrap.dedent(fit).strip(), " " * 4)
    (place / "train.py").write_text(_TRAIN.format(fit=body, labels=labels))


def page_files() -> dict[str, str]:
    """Return the files of the plugin that learns, as docs/write-a-plugin.md shows them."""
    section = _PAGE.read_text(encoding="utf-8").partition("\n## A plugin that learns")[2]
    # A paragraph that begins with a file's name, then the file.
    shown = r"^`([\w.]+)`[^\n]*(?:\n[^\n]+)*\n\n```(?:toml|python)\n(.*?)```"
    return dict(re.findall(shown, section, flags=re.DOTALL | re.MULTILINE))


def write_page_plugin(folder: Path) -> Path:
    """Write that plugin into a folder of its own, unchanged."""
    place = folder / "bright_ball"
    place.mkdir(parents=True)
    for name, text in page_files().items():
        (place / name).write_text(text, encoding="utf-8")
    return place
