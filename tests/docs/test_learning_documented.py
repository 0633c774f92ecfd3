"""The learning plugin of the page learns, and its law can be pinned as the page says."""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from node.cli import app
from node.manifest_file import parse_manifest
from node.toolkit import training
from node.toolkit.training import Examples, TrainingRun
from node.training import plugin_code
from node.training.table import RESERVED

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_PAGE = (_DOCS / "write-a-plugin.md").read_text(encoding="utf-8")
_SECTION = _PAGE.split("\n## A plugin that learns", 1)[1]
_TRAIN = (_DOCS / "train.md").read_text(encoding="utf-8")


def block(text: str, language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)[number]


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    folder = tmp_path / "bright_mass"
    folder.mkdir()
    law = block(_SECTION, "toml")
    pinned = block(_SECTION, "toml", 1).replace("…", hashlib.sha256(law.encode()).hexdigest())
    (folder / "plugin.toml").write_text(f"{block(_PAGE, 'toml')}\n{pinned}")
    (folder / "plugin.py").write_text(block(_PAGE, "python"))
    (folder / "train.py").write_text(block(_SECTION, "python"))
    (folder / "cohort.py").write_text(block(_SECTION, "python", 1))
    (folder / "cohort.toml").write_text(law)
    return folder


def test_the_plugin_of_the_page_learns(plugin, tmp_path):
    assert parse_manifest(plugin).cohort is not None
    assert plugin_code.abilities(plugin).train == {"examples", "fit", "score"}
    subjects = [
        plugin_code.render(plugin, plan) for plan in plugin_code.subjects(plugin, "train", 6, 0)
    ]
    learned = [plugin_code.examples(plugin, s.case, s.labels) for s in subjects]
    run = TrainingRun(device="cpu", folder=tmp_path)

    weights = plugin_code.fit(plugin, Examples(train=learned, tuning=learned), seed=0, run=run)

    slope, offset = weights["weights.safetensors"]["w"]
    for subject in subjects:
        hu = subject.case.volumes["ct"].array / 100
        mask = slope * hu + offset > 0
        assert np.mean(mask != subject.labels.masks["mass"]) < 0.02
        assert plugin_code.score(plugin, subject.case)["above 60 HU"].shape == mask.shape


def test_names_of_the_pages_exist():
    named = set(re.findall(r"`(\w+)\(", _SECTION)) - {"run"}
    known = {name for name in dir(training) if not name.startswith("_")}
    assert named <= known | {"improved", "state", "progress", "subjects", "render"}
    assert set(re.findall(r"^\| `(\w+)` \|", _TRAIN, flags=re.MULTILINE)) == set(RESERVED)
    commands = {c.callback.__name__ for c in app.registered_commands if c.callback}
    assert set(re.findall(r"^sentinel-node (\w+)", _TRAIN, flags=re.MULTILINE)) <= commands


def test_the_table_of_the_page_is_read(tmp_path):
    from node.training.table import read_table

    lines = block(_TRAIN, "", 2)
    assert lines.startswith("patient,")
    (tmp_path / "labels.csv").write_text(lines)

    rows = read_table(tmp_path, {"recurrence": ("yes", "no")})

    assert [row.outlined for row in rows] == [True, False, True]
    assert tomllib.loads(block(_SECTION, "toml"))["mass_free"] == 0.25
