"""Which libraries a process loads (E8): the receiver answers while models are loaded elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "monai", "highdicom")

# Names every attempt, also one that a missing library turns into nothing.
PROGRAM = """
import importlib, json, sys

class Watch:
    attempts = set()
    def find_spec(self, name, path=None, target=None):
        self.attempts.add(name.partition(".")[0])

sys.meta_path.insert(0, Watch())
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(Watch.attempts & set(sys.argv[2:]))))
"""


def attempted(module, names):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *names],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "module",
    [
        *("node.intake.scp", "node.supervisor", "node.storage.intake_rows", "node.phantom"),
        "node.web.server",
    ],
)
def test_receiver_supervisor_and_web_load_no_heavy_library(module):
    assert attempted(module, HEAVY) == []


def test_the_receiver_loads_no_web_framework():
    assert attempted("node.intake.scp", ["fastapi", "starlette", "uvicorn"]) == []


def test_the_watch_sees_an_import():
    assert attempted("node.phantom.study", ["pydicom", *HEAVY]) == ["pydicom"]


def test_the_plugin_contract_needs_numpy_only():
    libraries = ["numpy", "pydicom", "sqlalchemy", "pynetdicom", "pydantic", *HEAVY]
    assert attempted("node.plugin", libraries) == ["numpy"]
