"""Training as a command: refusals, seeds, a kill in the middle, collapse, what is written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from node.cli import app, learning
from node.manifest_file import parse_manifest
from node.model import Grade
from node.toolkit.training import read_weights, write_weights
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

#: Its figure never gets better than at first.
IDLE_FIT = FIT.replace(
    "run.progress(1, 1, threshold=threshold)",
    """stopping = EarlyStopping(patience=3)
for epoch in range(50):
    stopping.improved(0.5)
    run.progress(epoch + 1, 50, threshold=threshold)
    if stopping.over:
        break""",
)


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
    assert provenance["threads"] == 1  # OMP_NUM_THREADS, whatever the cores
    assert provenance["train"] == 8 and provenance["tuning"] == 4 and provenance["seed"] == 3
    assert provenance["figures"]["threshold"] == pytest.approx(50, abs=5)
    assert provenance["cohort_sha256"] == manifest.cohort.sha256
    assert provenance["trained_from_digest"] == parse_manifest(learner).digest
    assert len(provenance["cases"].split()) == 12
    assert provenance["slices"] == ""  # only of studies
    assert str(tmp_path) not in json.dumps(provenance)
    assert {path.name: path.read_bytes() for path in learner.iterdir()} == before


def test_the_same_seed_gives_the_same_weights(cli, tmp_path):
    learner = make_learner(tmp_path)

    for out, more in (("a", []), ("b", ["--fresh"])):
        done = cli("train", learner, "--phantom", 4, "--seed", 1, "--out", out, *more)
        assert done.exit_code == 0, done.output

    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_trainings_that_are_judged_together_share_the_threads(cli, tmp_path, monkeypatch):
    """Three networks of two threads each on two cores took several times as long as of one."""
    learner = make_learner(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    few = ("--phantom-train", 8, "--phantom-test", 4)

    done = cli("study", learner, "--seeds", 2, *few, "--report", "seeds")

    assert done.exit_code == 0, done.output
    for seed in (0, 1):
        report = json.loads((tmp_path / f"seeds/seed-{seed}/report/report.json").read_text())
        assert report["machine"]["threads"] == "2"


#: Two parts; the second looks whether the first is at work, and each learns a number.
PARTS_FIT = """
here = Path(os.environ["LEARNER_LOG"])
(here / run.part).write_text(f"{run.workers} {run.max_seconds:.0f}")
deadline = time.monotonic() + float(os.environ["LEARNER_SLEEP"])
while len(list(here.iterdir())) < 2 and time.monotonic() < deadline:
    time.sleep(0.02)
met = len(list(here.iterdir())) == 2
run.progress(2, 2, met=met)
inside = np.nanmean([one["inside"][0] for one in examples.train])
found = {"threshold": np.array([inside / 2])} if run.part == "first" else {"size": np.ones(2)}
return {"weights.safetensors": found, f"{run.part}.safetensors": {"seed": np.array([seed])}}
"""


@pytest.mark.parametrize("cores", [1, 2])
def test_parts_learn_in_processes_of_their_own_side_by_side(cli, tmp_path, monkeypatch, cores):
    learner = make_learner(tmp_path, fit=PARTS_FIT, labels='PARTS = ("first", "second")')
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setenv("LEARNER_LOG", str(log))
    monkeypatch.setenv("LEARNER_SLEEP", "60" if cores == 2 else "0")
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))

    done = cli("train", learner, "--phantom", 8, "--seed", 3, "--minutes", 10, "--out", "out")

    assert done.exit_code == 0, done.output
    # One after the other they share the time: the second has all that the first left.
    given = {path.name: path.read_text().split() for path in log.iterdir()}
    assert given["first"] == ["1", "600" if cores == 2 else "300"]
    assert given["second"] == ["1", "600" if cores == 2 else "300"]
    provenance = json.loads((tmp_path / "out" / "training.json").read_text())
    assert provenance["figures"] == {"met_first": cores == 2, "met_second": True}
    assert provenance["progress"] == {"done": 4, "total": 4} and provenance["threads"] == cores
    found = read_weights(tmp_path / "out" / "weights.safetensors")
    assert set(found) == {"threshold", "size"} and found["threshold"] == pytest.approx(50, abs=5)
    manifest = parse_manifest(tmp_path / "out")
    files = {"weights.safetensors", "first.safetensors", "second.safetensors"}
    assert set(manifest.weights) == files


def test_a_part_that_failed_is_learned_again_and_no_other(cli, tmp_path, monkeypatch):
    fit = PARTS_FIT.replace("{run.max_seconds:.0f}", "")
    learner = make_learner(tmp_path, fit=fit, labels='PARTS = ("first", "second")')
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setenv("LEARNER_LOG", str(log))
    monkeypatch.setenv("LEARNER_SLEEP", "0")
    (log / "second").mkdir()  # where it wants to write

    failed = cli("train", learner, "--phantom", 4, "--out", "out")
    assert failed.exit_code == 1 and "Is a directory" in failed.output, failed.output
    (log / "second").rmdir()
    (log / "first").unlink()
    done = cli("train", learner, "--phantom", 4, "--out", "out")

    assert done.exit_code == 0, done.output
    assert [path.name for path in log.iterdir()] == ["second"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ('("one", "one")', "a tuple of different words"),
        ('("../one",)', "a tuple of different words"),
        ('"one"', "a tuple of different words"),
        ("{1: 2}", "a tuple of different words"),
        ('("one", "two")', "`fit` returned threshold of weights.safetensors for part two and"),
    ],
)
def test_parts_that_cannot_be_are_said(cli, tmp_path, parts, said):
    learner = make_learner(tmp_path, labels=f"PARTS = {parts}")

    done = cli("train", learner, "--phantom", 4, "--out", "out")

    assert done.exit_code == 1 and said in done.output, done.output
    assert not (tmp_path / "out").exists()


def _break(folder: Path, how: str) -> None:
    """Damage the first example of a cache as disks and hands do."""
    first, second = sorted(folder.glob("kept/*/*.npz"))[:2]
    words = first.with_suffix(".json")
    if how == "cut":
        first.write_bytes(first.read_bytes()[:-100])
    elif how == "another's":
        first.write_bytes(second.read_bytes())
    else:
        words.write_text(how)


@pytest.mark.parametrize(
    "how", ["cut", "another's", "{}", '{"content": "5", "slices": 3, "sha256": "5"}']
)
def test_a_damaged_example_is_made_again(cli, tmp_path, how):
    learner = make_learner(tmp_path)
    assert cli("train", learner, "--phantom", 8, "--out", "whole").exit_code == 0
    _break(tmp_path / "cache", how)

    done = cli("train", learner, "--phantom", 8, "--out", "again")

    assert done.exit_code == 0, done.output
    assert "1 of 1" in done.output.replace("\n", " ")  # that one alone
    assert weights(tmp_path / "again") == weights(tmp_path / "whole")


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


def test_in_place_into_a_folder_that_cannot_be_written_is_said_before_any_work(
    cli, tmp_path, monkeypatch
):
    learner = make_learner(tmp_path)

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("node.training.store.TemporaryFile", refuse)
    done = cli("train", learner, "--phantom", 4, "--in-place")

    assert done.exit_code == 1, done.output
    assert "learner cannot be written: Read-only file system; give --out" in done.output
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("fit", "code", "said"),
    [
        (FIT.replace("(inside + outside) / 2", "1e6"), "MODEL_COLLAPSED", "masks are empty"),
        ("os._exit(3)", "WORKER_DIED", "the training's process ended with status 3"),
        ("os.kill(os.getpid(), 9)", "WORKER_DIED", "most likely because memory was short"),
    ],
)
def test_what_is_no_result_is_refused_and_nothing_is_written(cli, tmp_path, fit, code, said):
    learner = make_learner(tmp_path, fit=fit)
    before = {path.name: path.read_bytes() for path in learner.iterdir()}

    done = cli("train", learner, "--phantom", 4, "--in-place")

    assert done.exit_code == 1
    assert code in done.output and said in done.output, done.output
    assert {path.name: path.read_bytes() for path in learner.iterdir()} == before


def test_a_mask_that_is_the_same_everywhere_is_refused_by_training_and_evaluation(cli, tmp_path):
    learner = make_learner(tmp_path)
    right = (learner / "plugin.py").read_text()
    same = right.replace("array > self.threshold", "np.zeros(array.shape, bool)")
    same = same.replace("if not mask.any():", "mask[:1] = True\n        if not mask.any():")
    same = same.replace("float(mask.mean())", "float(abs(array.mean()) % 1)")
    (learner / "plugin.py").write_text(same)

    done = cli("train", learner, "--phantom", 4, "--out", "out")

    why = "its mask `mass` is the same in all 4 cases"
    assert done.exit_code == 1 and "MODEL_COLLAPSED" in done.output, done.output
    assert f"collapsed on the tuning cases: {why}; nothing was written" in done.output
    assert not (tmp_path / "out").exists()

    (learner / "plugin.py").write_text(right)
    assert cli("train", learner, "--phantom", 4, "--out", "out").exit_code == 0
    (tmp_path / "out" / "plugin.py").write_text(same)
    done = cli("evaluate", "./out", "--phantom", 4, "--report", "report")
    assert done.exit_code == 1, done.output
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["collapsed"] and report["collapsed_reason"] == f"Collapsed: {why}."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "out"], "give either --data DIR or --phantom N"),
        (["--phantom", 4, "--data", "x"], "give either --data DIR or --phantom N"),
        (["--phantom", 1], "--phantom 1 is too few; give at least 2"),
        (["--phantom", 0], "--phantom 0 is too few"),
        (["--phantom", -5], "--phantom -5 is too few"),
        (["--phantom", 10_001], "--phantom 10001 is too many; give at most 10000: each takes"),
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


def test_a_plugin_without_weights_is_to_be_trained_before_it_is_evaluated(cli, tmp_path):
    make_learner(tmp_path)
    done = cli("evaluate", "./learner", "--phantom", 4, "--report", "report")
    assert done.exit_code == 1
    assert "learner has no weights yet; train it first: sentinel-node train " in done.output
    assert not (tmp_path / "report").exists()


def test_too_many_or_too_few_phantoms_and_no_seeds_are_said_before_any_work(cli, tmp_path):
    make_learner(tmp_path)
    for arguments, said in (
        (["evaluate", "./learner", "--phantom", 0], "--phantom 0 is too few; give at least 1"),
        (["evaluate", "./learner", "--phantom", 10**9], "--phantom 1000000000 is too many"),
        (["study", "./learner", "--phantom-train", 1], "--phantom-train 1 is too few"),
        (["study", "./learner", "--phantom-test", 0], "--phantom-test 0 is too few"),
        (["study", "./learner", "--phantom-test", 10**6], "--phantom-test 1000000 is too many"),
        (["evaluate", "./learner", "--phantom", 4, "--seed", -1], "--seed -1 is not from 0 to "),
        (["study", "./learner", "--test-seed", -1], "--test-seed -1 is not from 0 to "),
    ):
        done = cli(*arguments, "--report", "report")
        assert done.exit_code == 1 and said in done.output, done.output
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("train.py", "import nowhere", "ModuleNotFoundError: No module named 'nowhere' (train.py:"),
        ("cohort.py", "def render(plan: ...", "SyntaxError: '(' was never closed (cohort.py"),
        ("cohort.py", "raise SystemExit(2)", "SystemExit: 2 (cohort.py:"),
        ("train.py", "import os\nos._exit(4)", "a worker process ended with status 4"),
    ],
)
def test_code_that_cannot_be_imported_is_named_and_memory_is_not_blamed(
    cli, tmp_path, file, text, said
):
    learner = make_learner(tmp_path)
    (learner / file).write_text(f"{text}\n{(learner / file).read_text()}")

    done = cli("train", learner, "--phantom", 4)

    assert done.exit_code == 1 and said in done.output, done.output
    assert "memory" not in done.output


def test_what_nobody_foresaw_in_a_worker_is_named_with_its_place(cli, tmp_path):
    learner = make_learner(tmp_path)
    cohort = learner / "cohort.py"
    cohort.write_text(
        cohort.read_text().replace("case=Case(", "facts={'x': {1: 2}}, case=Case(")
        + "\nclass Odd:\n    def __getattr__(self, name):\n        raise ValueError('odd')\n"
    )
    cohort.write_text(cohort.read_text().replace("Labels(masks={", "Odd() or Labels(masks={"))

    done = cli("train", learner, "--phantom", 4)

    assert done.exit_code == 1
    assert "WORKER_FAILED: ValueError: odd (cohort.py:" in done.output, done.output


def test_a_fit_that_gets_no_better_stops_early_and_says_so(cli, tmp_path):
    learner = make_learner(tmp_path, fit=IDLE_FIT)

    done = cli("train", learner, "--phantom", 4, "--out", "out")

    assert done.exit_code == 0, done.output
    assert ", ended early at 4 of 50; it is in" in done.output
    provenance = json.loads((tmp_path / "out" / "training.json").read_text())
    assert provenance["progress"] == {"done": 4.0, "total": 50.0}


def test_what_was_learned_is_kept_when_the_plugin_then_fails_on_a_case(cli, tmp_path):
    broken, log = tmp_path / "broken", tmp_path / "log"
    learner = make_learner(
        tmp_path,
        fit=f"""
        with open({str(log)!r}, "a") as file:
            file.write("learned\\n")
        """
        + textwrap.indent(FIT, " " * 8),
    )
    code = (learner / "plugin.py").read_text()
    there = f"        if Path({str(broken)!r}).exists():\n            raise OSError('no GPU')\n"
    (learner / "plugin.py").write_text(
        code.replace("    def run(self, case):\n", "    def run(self, case):\n" + there)
    )
    broken.touch()

    failed = cli("train", learner, "--phantom", 4, "--out", "out")
    broken.unlink()
    done = cli("train", learner, "--phantom", 4, "--out", "out")

    assert failed.exit_code == 1 and "fails on a tuning case" in failed.output, failed.output
    assert done.exit_code == 0, done.output
    assert log.read_text() == "learned\n"


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
    assert float(whole) == pytest.approx(600, abs=0.5) and float(left) < 599.0
    steps = np.random.default_rng(0).normal(50, 1, 20)
    found = read_weights(tmp_path / "out" / "weights.safetensors")["threshold"]
    assert found == pytest.approx(steps.mean(), rel=1e-6)
    assert list(runs.iterdir()) == []


#: The command as in a terminal: a test that runs in the background ignores Ctrl-C.
_IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from node.cli import main
main()
"""


def test_without_a_terminal_progress_is_lines_and_few(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "LINE_EVERY_S", 0.0)
    done = cli("train", make_learner(tmp_path), "--phantom", 4, "--out", "out")
    each = [line for line in done.output.splitlines() if " of " in line]
    monkeypatch.setattr(learning, "LINE_EVERY_S", 60.0)
    done = cli("train", tmp_path / "learner", "--phantom", 4, "--out", "again", "--fresh")
    few = [line for line in done.output.splitlines() if " of " in line]

    assert any(line.startswith("fit 1 of 1 threshold ") for line in few), few
    assert len(few) < len(each) and "[" not in "".join(few)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
@pytest.mark.parametrize(
    ("arguments", "begun", "said"),
    [
        (["train", "--phantom", "9000", "--out", "out"], "kept/*/*.npz", "goes on where it was"),
        (["train", "--phantom", "4", "--out", "out"], "runs/*/spent.json", "goes on where it was"),
        (["evaluate", "--phantom", "9000", "--report", "out"], "work/*/*/truth.npz", "starts over"),
    ],
    ids=["examples", "fit", "evaluate"],
)
def test_an_end_is_one_sentence_and_leaves_nobody_behind(tmp_path, number, arguments, begun, said):
    learner = make_learner(tmp_path, fit=SLOW_FIT)
    write_weights(learner / "weights.safetensors", {"threshold": np.array([50.0])})
    sha256 = hashlib.sha256((learner / "weights.safetensors").read_bytes()).hexdigest()
    with (learner / "plugin.toml").open("a") as file:
        file.write(f'[weights]\n"weights.safetensors" = "{sha256}"\n')
    environment = {"LEARNER_LOG": str(tmp_path / "log"), "LEARNER_SLEEP": "0.5"}
    command, *options = arguments
    options += ["--cache", "cache", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_A_TERMINAL, command, str(learner), *options],
        cwd=tmp_path,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1", "COLUMNS": "250"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cache").glob(begun)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)

    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to all of them
    else:
        process.terminate()
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert errors.startswith("INTERRUPTED: stopped") and errors.count("\n") == 1, errors
    assert said in errors and "Traceback" not in output
    assert not (tmp_path / "out").exists()
    while _alive(learner):
        assert time.monotonic() < deadline
        time.sleep(0.05)


_HALF_AN_OBJECT = """
import os, signal, sys
import typer
from node.cli.common import interruptible

signal.signal(signal.SIGINT, signal.default_int_handler)
class Half:
    def __init__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        self.whole = True
    def __del__(self):
        assert self.whole
try:
    with interruptible("the same command goes on"):
        Half()
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_end_while_an_object_is_made_is_one_sentence_too(number):
    done = subprocess.run(
        [sys.executable, "-c", _HALF_AN_OBJECT, str(int(number))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 130
    assert done.stderr == "INTERRUPTED: the same command goes on\n"


def _alive(learner: Path) -> list[str]:
    """Return processes of ours that outlived their parent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            started = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{learner.parent}/".encode() in started:
            found.append(process.name)
    return found
