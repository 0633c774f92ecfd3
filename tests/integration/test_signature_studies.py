"""Papers 000 and 002 on whole studies: images and an outline in, a report out."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from node.cli import app
from node.inference.child import load_module
from node.phantom.dicom_study import write_subject

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
#: Far from the seeds of any training or evaluation.
SEED = 900_005
LESION = (("49755003", "SCT", "Morphologically Abnormal Structure"), ("108369006", "SCT", "Tumor"))


def study_of(name: str, folder: Path) -> Path:
    """Write one test patient with one outline, in the space that all series share."""
    cohort = load_module(PLUGINS / name, "cohort.py")
    subject = cohort.render(cohort.subjects("test", 2, seed=SEED)[1])
    (roi, *_) = next(iter(subject.case.rois.values()))
    drawn = replace(subject, labels=replace(subject.labels, masks={"tumor": roi.mask}))
    write_subject(drawn, folder, truth="seg", codes={"tumor": LESION})
    return folder


@pytest.mark.parametrize(
    ("name", "probability", "says"),
    [
        ("pancreatic_net_nodal_metastasis", "p_rdp", "nodal metastasis"),
        ("nasopharyngeal_recurrence", "p_recurrence", "recurrence"),
    ],
)
def test_a_study_with_an_outline_is_judged_and_every_kept_feature_is_said(
    tmp_path, name, probability, says
):
    study = study_of(name, tmp_path / "study")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["run", str(study), "--plugin", name, "--out", str(out)])
    assert done.exit_code == 0, done.output

    told = json.loads((out / "result.json").read_text())
    found = {one["name"]: one["value"] for one in told["measurements"]}
    manifest = tomllib.loads((PLUGINS / name / "plugin.toml").read_text())
    assert told["state"] == "COMPLETED" and 0 <= found[probability] <= 100
    assert found["threshold"] == pytest.approx(100 * manifest["parameters"]["threshold"])
    assert any(one.startswith("original_shape_") for one in found)
    report = dcmread(next(out.glob("sr*.dcm"))).to_json()
    assert says in report.lower() and "no clinical validity" in report
    assert '"IBSI"' in report  # the coding scheme of the features that have a code there
