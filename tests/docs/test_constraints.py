"""constraints.txt pins what pyproject.toml asks for, and nothing of the machine it was made on."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]


def pins():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_pin_is_one_exact_public_version():
    assert [pin for pin in pins() if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


def test_every_dependency_is_pinned_within_its_range():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        asked += extra
    pinned = {normal(pin.split("==")[0]): pin.split("==")[1] for pin in pins()}
    for text in asked:
        requirement = Requirement(text)
        version = pinned.get(normal(requirement.name), "missing")
        assert requirement.specifier.contains(version), f"{text}: {version}"


def test_torch_is_no_part_of_the_core():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    core = {normal(Requirement(text).name) for text in project["dependencies"]}
    assert core.isdisjoint({"torch", "monai", "safetensors"})
    assert "torch==2.13.0" in pins()
