"""The learning plugin of the page learns, and its law can be pinned as the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from node.cli import app
from node.manifest_file import parse_manifest
from node.toolkit import training
from node.toolkit.training import Examples, TrainingRun
from node.training import plugin_code
from node.training.table import RESERVED
from tests.learners import write_page_plugin

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
    return write_page_plugin(tmp_path)


def test_the_page_shows_every_file_of_the_plugin(plugin):
    files = {"plugin.toml", "plugin.py", "features.py", "train.py", "cohort.py", "cohort.toml"}
    assert {path.name for path in plugin.iterdir()} == files
    manifest = parse_manifest(plugin)  # its [cohort] has the hash of the cohort.toml shown
    assert manifest.cohort is not None
    assert plugin_code.abilities(plugin).train == {"examples", "fit", "score"}


def test_the_plugin_of_the_page_stops_when_it_learns_no_more(plugin, tmp_path):
    subjects = [
        plugin_code.render(plugin, plan) for plan in plugin_code.subjects(plugin, "train", 2, 0)
    ]
    learned = [plugin_code.examples(plugin, s.case, s.labels) for s in subjects]
    told: list[float] = []
    run = TrainingRun(
        device="cpu", folder=tmp_path, progress=lambda done, total, **_: told.append(done / total)
    )
    nothing = [{**one, "ball": ~one["ball"]} for one in learned]  # the better, the worse

    plugin_code.fit(plugin, Examples(train=learned, tuning=nothing), seed=0, run=run)

    assert 0 < told[-1] < 0.5


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
