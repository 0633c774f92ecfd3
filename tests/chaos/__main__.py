"""`python -m tests.chaos --seed 1 --runs 5`: storms, one after another; see docs/chaos.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.plan import draw
from tests.chaos.run import run_seed

_LIMIT_S = 240


def main() -> int:
    """Return 0 if every seed kept every promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, one after another")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="so many at once")
    parser.add_argument("--folder", type=Path, help="where failed runs are kept")
    parser.add_argument("--plan", action="store_true", help="print the plans, run nothing")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help="keep the folders of good runs too")
    asked = parser.parse_args()
    seeds = range(asked.seed, asked.seed + asked.runs)
    if asked.plan:
        say("\n".join(str(draw(seed)) for seed in seeds))
        return 0
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    if asked.one:
        return one(asked.seed, folder, keep=asked.keep)
    with ThreadPoolExecutor(asked.jobs) as pool:
        ended = pool.map(lambda seed: in_process(seed, folder, keep=asked.keep), seeds)
        failed = [seed for seed, ok in ended if not ok]
    say(f"{asked.runs} seeds, {len(failed)} failed{': ' if failed else ''}{failed or ''}")
    return 1 if failed else 0


def one(seed: int, folder: Path, *, keep: bool) -> int:
    """Run a seed here and print its verdict."""
    start = time.monotonic()
    plan, verdict = run_seed(seed, folder / f"seed-{seed}", keep=keep)
    word = "FAILED" if verdict.problems else "ok"
    say(f"seed {seed}: {word} in {time.monotonic() - start:.1f} s {json.dumps(verdict.facts)}")
    if verdict.problems:
        say(f"plan of {plan}")
        say("\n".join(f"  PROBLEM {problem}" for problem in verdict.problems))
        say(f"  kept in {folder / f'seed-{seed}'}; again: make chaos SEED={seed} RUNS=1")
    return 1 if verdict.problems else 0


def in_process(seed: int, folder: Path, *, keep: bool) -> tuple[int, bool]:
    """Run a seed in a process of its own, so that none inherits threads of another."""
    command = [sys.executable, "-m", "tests.chaos", "--one", "--seed", str(seed)]
    command += ["--keep"] if keep else []
    try:
        done = subprocess.run(
            [*command, "--folder", str(folder)], timeout=_LIMIT_S, stdout=subprocess.PIPE, text=True
        )
    except subprocess.TimeoutExpired as late:
        say(f"seed {seed}: FAILED, no end within {_LIMIT_S} s {late.stdout or ''}")
        return seed, False
    say(done.stdout.rstrip())
    return seed, done.returncode == 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
