"""The wheel works where there is no checkout (E9): plugins, migrations and data are inside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# A peer test, because it needs a package index; `make test` needs none once it has installed.
pytestmark = [pytest.mark.peer, pytest.mark.slow]


def run(*command, cwd, timeout_s=600):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "SENTINEL"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from the tracked files only, so that a forgotten one is missed here too."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    run("git", "clone", "--quiet", REPOSITORY, source, cwd=folder)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, source, cwd=folder)
    (path,) = folder.glob("sentinel_node-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the `bin` of a new environment with the wheel, and an empty folder to work in."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    constraints = REPOSITORY / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel, cwd=folder)
    (folder / "work").mkdir()
    return folder / "venv" / "bin", folder / "work"


def test_the_wheel_carries_plugins_and_migrations_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert [n for n in names if n.endswith("commissioning/plugin.toml")]
    assert [n for n in names if n.endswith("commissioning/plugin.py")]
    assert [n for n in names if n.startswith("node/storage/migrations/versions/")]
    assert not [n for n in names if n.startswith("tests/")]
    assert [n for n in names if n.endswith("licenses/LICENSE")]


def test_the_installed_package_is_not_the_checkout(installed):
    binaries, work = installed
    where = run(binaries / "python", "-c", "import node; print(node.__file__)", cwd=work)
    assert not Path(where.strip()).is_relative_to(REPOSITORY)


def test_plugins_check_passes_outside_the_checkout(installed):
    binaries, work = installed
    assert "commissioning" in run(binaries / "sentinel-node", "plugins", "check", cwd=work)


def test_demo_runs_to_its_end_outside_the_checkout(installed):
    binaries, work = installed
    output = run(binaries / "sentinel-node", "demo", "--exit", cwd=work)
    assert "commissioning" in output
