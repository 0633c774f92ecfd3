"""Training as a command: refusals, seeds, a kill in the middle, collapse, what is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from node.cli import app
from node.manifest_file import parse_manifest
from node.model import Grade
from node.toolkit.training import read_weights
from tests.learners import FIT, make_learner

SLOW_FIT = """
state = load_checkpoint(run.folder) or {"epoch": 0, "w": np.zeros(1)}
with Path(os.environ["LEARNER_LOG"]).open("a") as log:
    log.write(f"{state['epoch']} {run.max_seconds}\\n")
rng = np.random.default_rng(seed)
steps = rng.normal(50, 1, 20)
for epoch in range(state["epoch"], 20):
    state = {"epoch": epoch + 1, "w": state["w"] + steps[epoch] / 20}
    save_checkpoint(run.folder, state)
    run.progress(epoch + 1, 20, threshold=state["w"][0])
    time.sleep(float(os.environ["LEARNER_SLEEP"]))
return {"weights.safetensors": {"threshold": state["w"]}}
"""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*arguments):
        words = [str(a) for a in arguments]
        return CliRunner().invoke(app, [*words, "--cache", "cache", "--device", "cpu"])

    return call


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_a_trained_plugin_is_a_whole_plugin_with_hashes_and_provenance(cli, tmp_path):
    learner = make_learner(tmp_path)
    before = {path.name: path.read_bytes() for path in learner.iterdir()}

    done = cli("train", learner, "--phantom", 8, "--seed", 3, "--out", "out")

    assert done.exit_code == 0, done.output
    manifest = parse_manifest(tmp_path / "out")
    assert manifest.version.startswith("0.1.0+trained.")
    assert manifest.grade is Grade.PHANTOM
    assert manifest.training == "trained on 8 synthetic phantoms (seed 3), no clinical validity"
    assert list(manifest.weights) == ["weights.safetensors"]
    assert "# Written by a test." in (tmp_path / "out" / "plugin.toml").read_text()
    provenance = json.loads((tmp_path / "out" / "training.json").read_text())
    assert provenance["train"] == 8 and provenance["tuning"] == 4 and provenance["seed"] == 3
    assert provenance["figures"]["threshold"] == pytest.approx(50, abs=5)
    assert provenance["cohort_sha256"] == manifest.cohort.sha256
    assert provenance["trained_from_digest"] == parse_manifest(learner).digest
    assert len(provenance["cases"].split()) == 12
    assert str(tmp_path) not in json.dumps(provenance)
    assert {path.name: path.read_bytes() for path in learner.iterdir()} == before


def test_the_same_seed_gives_the_same_weights(cli, tmp_path):
    learner = make_learner(tmp_path)

    for out, more in (("a", []), ("b", ["--fresh"])):
        done = cli("train", learner, "--phantom", 4, "--seed", 1, "--out", out, *more)
        assert done.exit_code == 0, done.output

    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_cohort_that_ignores_its_seed_leaks_and_is_refused(cli, tmp_path):
    learner = make_learner(tmp_path, seed="0")

    done = cli("train", learner, "--phantom", 4, "--out", "out")

    assert done.exit_code == 1
    assert "leak: 4 cases of split tuning have the same images" in done.output
    assert not (tmp_path / "out").exists()


def test_in_place_writes_weights_and_keeps_the_version(cli, tmp_path):
    learner = make_learner(tmp_path)
    (learner / "plugin.toml").chmod(0o644)

    done = cli("train", learner, "--phantom", 4, "--in-place")

    assert done.exit_code == 0, done.output
    assert parse_manifest(learner).version == "0.1.0"
    assert (learner / "weights.safetensors").stat().st_mode & 0o777 == 0o644
    assert (learner / "plugin.toml").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("fit", "code", "said"),
    [
        (FIT.replace("(inside + outside) / 2", "1e6"), "MODEL_COLLAPSED", "masks are empty"),
        ("os._exit(3)", "WORKER_DIED", "the training's process died"),
    ],
)
def test_what_is_no_result_is_refused_and_nothing_is_written(cli, tmp_path, fit, code, said):
    learner = make_learner(tmp_path, fit=fit)
    before = {path.name: path.read_bytes() for path in learner.iterdir()}

    done = cli("train", learner, "--phantom", 4, "--in-place")

    assert done.exit_code == 1
    assert code in done.output and said in done.output, done.output
    assert {path.name: path.read_bytes() for path in learner.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "out"], "give either --data DIR or --phantom N"),
        (["--phantom", 4, "--data", "x"], "give either --data DIR or --phantom N"),
        (["--phantom", 1], "--phantom 1 is too few"),
        (["--phantom", 4, "--seed", -1], "--seed -1 is not from 0"),
        (["--phantom", 4, "--minutes", 0], "--minutes 0 is no time"),
        (["--phantom", 4, "--out", "learner"], "is there already and not empty"),
        (["--phantom", 4, "--out", "x", "--in-place"], "--out DIR or --in-place, not both"),
        (["--data", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_bad_arguments_are_said(cli, tmp_path, arguments, said):
    make_learner(tmp_path)

    done = cli("train", "./learner", *arguments)

    assert done.exit_code == 1 and said in done.output, done.output


def test_plugins_that_cannot_be_trained_are_said(cli, tmp_path):
    learner = make_learner(tmp_path)
    cases = [
        ("nothing", 'there is no plugin "nothing"'),
        ("./here", "no plugin.toml in ./here"),
        ("commissioning", "commissioning cannot be trained"),
    ]
    for plugin, said in cases:
        done = cli("train", plugin, "--phantom", 4)
        assert done.exit_code == 1 and said in done.output, done.output

    (learner / "cohort.py").unlink()
    assert "has no cohort.py" in cli("train", learner, "--phantom", 4).output
    (learner / "train.py").write_text("def examples(case, labels: ...")
    assert "`import` in train.py of learner failed: SyntaxError" in (
        cli("train", learner, "--phantom", 4).output
    )


def test_a_cohort_without_a_pinned_law_is_refused(cli, tmp_path):
    learner = make_learner(tmp_path)
    text = (learner / "plugin.toml").read_text()
    (learner / "plugin.toml").write_text(text.partition("[cohort]")[0])

    done = cli("train", learner, "--phantom", 4)

    assert done.exit_code == 1 and "has no [cohort]" in done.output


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(tmp_path, monkeypatch):
    learner = make_learner(tmp_path, fit=SLOW_FIT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    log, runs = tmp_path / "log", tmp_path / "cache" / "runs"

    def start(sleep: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "node", "train", str(learner), "--phantom", "4"]
        command += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
        command += ["--device", "cpu", "--minutes", "10"]
        environment = {**os.environ, "LEARNER_LOG": str(log), "LEARNER_SLEEP": str(sleep)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    killed = start(0.5)
    deadline = time.monotonic() + 60
    while not list(runs.glob("*/spent.json")):  # about two seconds into `fit`
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(10)
    while _alive(learner):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (tmp_path / "out").exists()
    assert start(0.0).wait(120) == 0

    (first, whole), (again, left) = (line.split() for line in log.read_text().splitlines())
    assert int(first) == 0 and int(again) > 0
    assert float(whole) == 600.0 and float(left) < 599.0
    steps = np.random.default_rng(0).normal(50, 1, 20)
    found = read_weights(tmp_path / "out" / "weights.safetensors")["threshold"]
    assert found == pytest.approx(steps.mean(), rel=1e-6)
    assert list(runs.iterdir()) == []


def _alive(learner: Path) -> list[str]:
    """Return processes of ours that outlived their parent."""
    found = []
    for line in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"LEARNER_LOG={learner.parent}/log".encode() in line.read_bytes():
                found.append(line.parent.name)
        except OSError:
            continue
    return found
