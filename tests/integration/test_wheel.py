"""The wheel carries what a checkout has beside the code: plugins and migrations (E9)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]
_SOURCES = ("node", "plugins", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")

_LOOK = """
import json, sys
from node.inference.check import check_plugin
from node.inference.registry import builtin_plugin_folder, check_not_shadowed, discover
from node.storage.database import SCHEMA_REVISION, Database
from node.storage.migrate import migrate
from pathlib import Path

check_not_shadowed()
manifests = discover((builtin_plugin_folder(),))
checks = [check_plugin(manifest) for manifest in manifests.values()]
url = f"sqlite:///{sys.argv[1]}/node.db"
migrate(url, Path(sys.argv[1], "backup"))
Database(url).check_schema()
print(json.dumps({
    "folder": str(builtin_plugin_folder()),
    "plugins": list(manifests),
    "digests": [manifest.digest for manifest in manifests.values()],
    "ok": [check.ok for check in checks],
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, unpacked far from the checkout."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    for name in (*_SOURCES, "sentinel_node.py"):
        path = _REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(path, source)
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation]
    subprocess.run([*command, "-w", base, source], check=True)
    with zipfile.ZipFile(next(base.glob("*.whl"))) as wheel:
        wheel.extractall(base / "site")
    return base / "site"


@pytest.mark.slow
def test_plugins_and_migrations_of_the_wheel_work_outside_the_checkout(
    site: Path, tmp_path: Path
) -> None:
    from node.inference.registry import builtin_plugin_folder, discover

    ran = subprocess.run(
        [sys.executable, "-c", _LOOK, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    here = discover((builtin_plugin_folder(),), points=())
    assert said["folder"] == str(site / "node" / "_plugins")
    assert said["plugins"] == list(here)
    assert said["digests"] == [manifest.digest for manifest in here.values()]
    assert all(said["ok"])


@pytest.mark.slow
def test_the_command_of_the_wheel_starts(site: Path, tmp_path: Path) -> None:
    entry = next(site.glob("*.dist-info")) / "entry_points.txt"

    assert "sentinel-node = sentinel_node:main" in entry.read_text()
    assert (site / "sentinel_node.py").is_file()
    assert not (site / "plugins").exists()
    assert not (site / "tests").exists()
