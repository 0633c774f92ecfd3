"""Makes a tiny classifier: logistic regression on the mean HU inside a drawn region. No torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

_LAW = """
slope = 0.12         # log-odds for each HU above the middle
middle_hu = 40
spread_hu = 30       # of the lesions
"""

_MANIFEST = """
name = "judge"
version = "0.1.0"
title = "Judge"
intended_use = "Tests classifiers."
source = "tests"
grade = "phantom"

[inputs.ct]
modality = ["CT"]

[rois.lesion]
input = "ct"
codes = [["4147007", "SCT", "Mass"]]

[measurements.malignant]
code = ["111047", "DCM", "Probability of cancer"]
unit = ["%", "UCUM", "%"]

[measurements.mean_hu]
code = ["112031", "DCM", "Attenuation Coefficient"]
unit = ["[hnsf'U]", "UCUM", "Hounsfield unit"]

[limits]
memory_mb = 1024

[parameters]
threshold = 0.5

[cohort]
file = "cohort.toml"
sha256 = "{sha256}"

[evaluation]
probability = "malignant"
outcome = "cancer"
threshold = "threshold"
factors = ["mean_hu"]
time = "months"
event = "death"
"""

_PLUGIN = """
from pathlib import Path
from judge_features import mean_hu
from node.plugin import Measurement, Result
from node.toolkit.logistic import sigmoid
from node.toolkit.training import read_weights

class Plugin:
    def load(self, device):
        weights = read_weights(Path(__file__).with_name("weights.safetensors"))
        self.slope, self.intercept = (float(v) for v in weights["line"])

    def run(self, case):
        hu = mean_hu(case)
        p = float(sigmoid(self.slope * hu + self.intercept))
        return Result(measurements=(
            Measurement(name="malignant", value=100 * p),
            Measurement(name="mean_hu", value=hu),
        ))
"""

_FEATURES = """
import numpy as np

def mean_hu(case):
    (lesion,) = case.rois["lesion"]
    return float(np.mean(case.volumes["ct"].array[lesion.mask]))
"""

_TRAIN = """
import numpy as np
from judge_features import mean_hu
from node.toolkit.logistic import fit_logistic

LABELS = {"cancer": ["no", "yes"]}

def examples(case, labels):
    return {"x": np.array([mean_hu(case)]), "y": np.array([labels.values["cancer"] == "yes"])}

def fit(examples, *, seed, run):
    x = np.array([one["x"] for one in examples.train])
    y = np.array([one["y"][0] for one in examples.train])
    line = fit_logistic(x, y, ridge=0.01)
    run.progress(1, 1)
    return {"weights.safetensors": {"line": LINE}}

def score(case):
    (lesion,) = case.rois["lesion"]
    return {"size alone": float(lesion.mask.sum())}
"""

_COHORT = """
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
import numpy as np
from node.phantom.subject import Subject, Variant
from node.plugin import Case, Labels, Roi, Volume

LAW = tomllib.loads(Path(__file__).with_name("cohort.toml").read_text())

@dataclass(frozen=True)
class Plan:
    seed: int
    index: int
    sign: float = 1.0
    noise: int = 0
    shift: int = 0
    blank: bool = False

def subjects(split, count, *, seed):
    return [Plan(seed, index) for index in range(count)]

def variants(plan):
    return (
        Variant(name="density mirrored", kind="cause", plan=replace(plan, sign=-1.0)),
        Variant(name="noise", kind="nuisance", plan=replace(plan, noise=1)),
        Variant(name="contour shifted", kind="input", plan=replace(plan, shift=1)),
        Variant(name="covered", kind="blank", plan=replace(plan, blank=True)),
        Variant(name="institution apart", kind="control", plan=plan),
    )

def render(plan):
    streams = np.random.SeedSequence([plan.seed, plan.index]).spawn(3)
    outcome, lesion, scanner = (np.random.default_rng(one) for one in streams)
    above = lesion.normal(0, LAW["spread_hu"])
    risk = 1 / (1 + np.exp(-LAW["slope"] * above))
    sick = bool(outcome.random() < risk)
    above *= plan.sign
    risk = 1 / (1 + np.exp(-LAW["slope"] * above))
    mask = np.zeros((4, 16, 16), bool)
    row = int(lesion.integers(2, 7))
    mask[1:3, row : row + 5, 4:10] = True
    for _ in range(1 + plan.noise):
        noise = scanner.normal(0, 5, mask.shape)
    hu = np.where(mask, 0 if plan.blank else LAW["middle_hu"] + above, -20) + noise
    affine = np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]
    ct = Volume(array=hu.astype(np.float32), affine=affine, unit="[hnsf'U]", modality="CT")
    drawn = np.roll(mask, plan.shift, axis=2)
    months = float(outcome.exponential(30 / (3 if sick else 1)))
    return Subject(
        patient=f"P{plan.seed}-{plan.index}",
        institution=f"inst-{plan.index % 3}",
        case=Case(volumes={"ct": ct}, rois={"lesion": (Roi(mask=drawn, role="ct"),)}),
        labels=Labels(values={
            "cancer": "yes" if sick else "no",
            "months": min(months, 40.0),
            "death": float(months < 40),
        }),
        facts={"oracle": float(risk), "density": "high" if above > 0 else "low"},
        headers={"ct": {"ConvolutionKernel": f"K{plan.index % 2}", "KVP": 120}},
    )
"""


def make_judge(
    folder: Path, *, line: str = "np.append(line.weights, line.intercept)", name: str = "judge"
) -> Path:
    """Write the plugin; `line` is what `fit` takes for its weights."""
    place = folder / name
    place.mkdir(parents=True)
    sha256 = hashlib.sha256(_LAW.encode()).hexdigest()
    (place / "cohort.toml").write_text(_LAW)
    (place / "plugin.toml").write_text(_MANIFEST.format(sha256=sha256))
    (place / "plugin.py").write_text(_PLUGIN)
    (place / "judge_features.py").write_text(_FEATURES)
    (place / "train.py").write_text(_TRAIN.replace("LINE", line))
    (place / "cohort.py").write_text(_COHORT)
    return place
