"""A few seeds of the storms in tests/chaos, others with each commit; `make soak` runs 500."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.peer

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS = int(os.environ.get("SENTINEL_CHAOS_RUNS", "6"))


def first_seed() -> int:
    """A number that changes with the commit, so that CI meets other storms each time."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return int(done.stdout[:6], 16) if done.returncode == 0 else 1


def test_s12_storms_of_faults_lose_nothing_and_double_nothing(tmp_path):
    seed = int(os.environ.get("SENTINEL_SEED", "0")) or first_seed()
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), "--runs", str(RUNS)]
    done = subprocess.run(
        [*command, "--jobs", "2", "--folder", str(tmp_path / "chaos")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout
