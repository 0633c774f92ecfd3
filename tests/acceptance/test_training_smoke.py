"""Two minutes of training on phantoms, by the commands that people use, beat a threshold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.training


def sentinel(*arguments, timeout_s=900):
    done = subprocess.run(
        [sys.executable, "-m", "node", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_two_minutes_of_training_beat_the_threshold(tmp_path):
    name, cache = "anterior_mediastinal_tumor", ["--cache", tmp_path / "cache"]
    plugin, report = tmp_path / name, tmp_path / "report"
    sentinel("train", name, "--phantom", 60, "--minutes", 2, "--out", plugin, *cache)
    sentinel("evaluate", plugin, "--phantom", 12, "--report", report, *cache)
    document = json.loads((Path(report) / "report.json").read_text(encoding="utf-8"))
    assert document["synthetic"] is True and document["collapsed"] is False
    assert document["dice"] > document["baseline_dice"]
    assert {"sensitivity", "fp_per_scan", "fp_per_tumor_free_scan"} <= set(document)
    said = (report / "report.html").read_text(encoding="utf-8")
    assert "synthetic" in said.lower()
