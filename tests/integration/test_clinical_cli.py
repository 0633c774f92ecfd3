"""`clinical set | clear | show` as a person types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset, dcmread
from sqlalchemy import text
from typer.testing import CliRunner

from node.cli import app
from node.inference.registry import discover
from node.storage.database import SCHEMA_REVISION
from tests.clinical_case import CM, G2, GRADE, SIZE, TOML, code, num, report
from tests.make import ct_series, free_port, write_series
from tests.routing_site import RULE, RoutingSite

_PLUGIN = """
name = "check"
version = "1.0.0"
title = "Check"
intended_use = "Tests."
source = "tests"
grade = "evaluated"
[inputs.ct]
modality = ["CT"]
"""

_READS_VALUES = """
from node.plugin import Result

class Plugin:
    def load(self, device):
        pass

    def run(self, case):
        grade, size = case.values["grade"], case.values["size"]
        return Result(notes=(f"values grade={grade!r} size={size} ({type(size).__name__})",))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoutingSite]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("SENTINEL_SETTINGS", raising=False)
    folder = tmp_path / "plugins" / "check"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(_PLUGIN + TOML)
    (folder / "plugin.py").write_text("class Plugin: ...")
    made = RoutingSite(tmp_path)
    made.manifests = dict(discover((tmp_path / "plugins",)))
    with made.db.write() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text(f"INSERT INTO alembic_version VALUES ('{SCHEMA_REVISION}')"))
    (tmp_path / "sentinel.toml").write_text(
        f'[node]\nport = {free_port()}\ndata_dir = "data"\nplugin_dirs = ["plugins"]\n'
        f'database_url = "{made.db.url}"\n[[rules]]\nname = "{RULE.name}"\nplugin = "check"\n'
        "when = {}\nshadow = true\n"
    )
    made.route(ct_series((4, 8, 8)))
    yield made
    made.db.close()


def cli(*arguments: str) -> Any:
    try:
        return CliRunner().invoke(app, ["clinical", *arguments])
    finally:
        structlog.reset_defaults()


def test_a_value_is_set_shown_and_cleared(site: RoutingSite) -> None:
    done = cli("set", site.study_uid, "size", "2.1", "--unit", "cm", "--by", "A. Reader")
    assert done.output == "size: 2.1 cm; the rules look at the study again\n", done.output
    site.dispatch()

    shown = cli("show", site.study_uid).output.splitlines()
    assert shown[0].endswith("size: 2.1 cm, by A. Reader (command)")
    assert shown[-1] == "  size: 21 mm (entered by A. Reader)"
    (job,) = json.loads(cli("show", site.study_uid, "--json").output)["jobs"]
    assert (job["plugin"], job["values"][0]["value"]) == ("check@1.0.0", 21.0)

    assert "size: taken back" in cli("clear", site.study_uid, "size").output
    assert "size: taken back, by " in cli("show", site.study_uid).output


def test_names_say_what_is_allowed(site: RoutingSite) -> None:
    listed = json.loads(cli("names", "--json").output)

    found = {(one["plugin"], one["name"]): one["allowed"] for one in listed}
    assert found["check@1.0.0", "size"] == "1 to 200 mm"
    assert found["check@1.0.0", "grade"] == "one of g1, g2"
    # Another plugin may allow other words of a value of that name.
    assert found["pancreatic_net_nodal_metastasis@1.0.0", "grade"] == "one of g1, g2, g3"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("size", "300", "--unit", "mm"), "size = 300 mm: it is out of range; allowed: 1 to 200"),
        (("size", "30"), "size = 30: its unit is missing, say one of mm, cm, m"),
        (("size", "30", "--unit", "kg"), "size = 30 kg: its unit must be one of mm, cm, m"),
        (("size", "big", "--unit", "mm"), "size = big mm: it is not a number"),
        (("grade", "g3"), "allowed: one of g1, g2 (check@1.0.0)"),
        (("grad", "g1"), 'did you mean "grade"'),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(site, arguments, sentence) -> None:
    done = cli("set", site.study_uid, *arguments)

    assert (done.exit_code, sentence in done.output) == (1, True), done.output
    assert done.output.startswith("CLINICAL_VALUE_REFUSED: ")
    assert "Nothing was entered" in cli("show", site.study_uid).output


def test_a_number_below_zero_is_a_value_and_no_option(site: RoutingSite) -> None:
    for value in ("-5", "-.5", "-1e3"):
        done = cli("set", site.study_uid, "size", value, "--unit", "mm")
        assert (done.exit_code, "it is out of range; allowed: 1 to 200 mm" in done.output) == (
            1,
            True,
        ), done.output

    mistyped = cli("set", site.study_uid, "size", "5", "--unti", "mm")
    assert (mistyped.exit_code, "--unti" in mistyped.output) == (2, True), mistyped.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("grade", "g1", "--by", "M\udcfcller"),
        ("gr\udcfc", "g1"),
        ("grade", "\udcfc"),
        ("size", "3", "--unit", "\udcfc"),
    ],
)
def test_words_that_are_not_utf_8_are_refused_in_one_sentence(site, arguments) -> None:
    done = cli("set", site.study_uid, *arguments)

    assert (done.exit_code, "half a character" in done.output) == (1, True), done.output
    assert done.output.startswith("CLINICAL_VALUE_REFUSED: ")


def test_a_study_that_is_not_here_is_refused(site: RoutingSite) -> None:
    for done in (cli("set", "1.2.3", "grade", "g1"), cli("show", "1.2.3"), cli("show", "x")):
        assert (done.exit_code, "NO_SUCH_STUDY" in done.output) == (1, True), done.output


def test_a_plugin_gets_what_a_report_says_and_the_result_names_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    folder = tmp_path / "plugins" / "check"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(_PLUGIN + TOML)
    (folder / "plugin.py").write_text(_READS_VALUES)
    images = ct_series((4, 16, 16))
    said = report(images[0], num(SIZE, 2.1, CM), code(GRADE, G2))
    write_series(tmp_path / "study", [*images, said])

    try:
        done = CliRunner().invoke(
            app,
            [
                *("run", str(tmp_path / "study"), "--plugin", "check", "--device", "cpu"),
                *("--out", str(tmp_path / "out"), "--plugins", str(tmp_path / "plugins")),
            ],
        )
    finally:
        structlog.reset_defaults()

    assert done.exit_code == 0, done.output
    made = dcmread(tmp_path / "out" / "sr.dcm")
    words = [item.TextValue for item in items(made) if item.ValueType == "TEXT"]
    assert "values grade='g2' size=21.0 (float)." in words
    assert "Clinical value: Size by pathology 21 mm (report of 2026-03-01 by Reader^Ann)." in words
    (sources,) = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items(made)
        if item.ValueType == "COMPOSITE"
    }
    assert sources == said.SOPInstanceUID


def items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from items(child)
