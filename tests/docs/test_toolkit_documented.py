"""docs/toolkit.md names every module of the toolkit and only what exists; its examples run."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from node.plugin import Case, Roi, Volume

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "toolkit.md").read_text(encoding="utf-8")
EVALUATION = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")


def modules() -> set[str]:
    return {path.stem for path in (REPOSITORY / "node" / "toolkit").glob("[a-z]*.py")}


def test_every_module_has_its_line():
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert modules() <= named


def test_functions_of_the_page_exist():
    torch_free = modules() - {"networks", "windows", "layers", "gradcam", "learning", "altering"}
    known = {n for m in torch_free for n in dir(importlib.import_module(f"node.toolkit.{m}"))}
    for package in ("radiomics", "signature"):
        known |= set(dir(importlib.import_module(f"node.toolkit.{package}")))
    known |= {
        "concentration",
        "hottest",
        "grad_cam",
        "cam_layer",
        "classifier",
        "load_weights",
        "without_head",
        "cut",
        "moved",
        "named",
    }

    called = set(re.findall(r"`(?:crop\.place\.)?(\w+)\(", PAGE))

    assert called <= known | {"to_source"}


def test_the_examples_run():
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, space)
    array = np.random.default_rng(0).normal(0, 50, (4, 40, 40)).astype(np.float32)
    mask = np.zeros(array.shape, bool)
    mask[2, 10:20, 12:20] = True
    ct = Volume(array=array, affine=np.eye(4), unit="[hnsf'U]", modality="CT")
    case = Case(volumes={"ct": ct}, rois={"node": (Roi(mask=mask, role="ct"),)})

    for crop, image in space["crops_of"](case):
        assert image.shape == (96, 96) and 0 <= image.min() <= image.max() <= 1
        assert crop.mask.any()
    p, outcome = np.array([0.1, 0.4, 0.3, 0.9]), [0, 1, 0, 1]
    assert np.diff(space["said"](space["calibrated"](p, outcome), np.sort(p))).min() > 0


@pytest.mark.parametrize(
    "keys",
    [
        ("auroc", "oracle_auroc", "best_baseline_auroc", "brier", "ece", "calibration_slope"),
        ("least_cause_share", "greatest_nuisance_change", "greatest_input_loss", "header_auroc"),
        ("cause", "nuisance", "input", "swap", "blank", "control"),
        ("roc.png", "calibration.png", "decision-curve.png", "survival.png", "worst-missed.png"),
    ],
)
def test_what_a_classifiers_report_holds_is_on_its_page(keys):
    assert [key for key in keys if f"`{key}`" not in EVALUATION] == []
