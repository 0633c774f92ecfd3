"""Plugins are found without running any of their code."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import node
from node.errors import ManifestError, SettingsError
from node.inference.devices import resolve_devices
from node.inference.registry import (
    builtin_plugin_folder,
    check_not_shadowed,
    discover,
    verify,
)
from tests.plugins import make_plugin


def found(*folders: Path, points: tuple[EntryPoint, ...] = ()) -> list[str]:
    return list(discover(folders, points=points))


def test_the_built_in_plugins_are_found() -> None:
    assert "commissioning@1.0.0" in found(builtin_plugin_folder())


def test_a_folder_of_plugins_or_a_plugin_folder_is_read_and_other_folders_are_not(
    tmp_path: Path,
) -> None:
    make_plugin(tmp_path, name="b", version="2.0.0")
    single = make_plugin(tmp_path / "other", name="a").folder
    (tmp_path / "notes").mkdir()

    assert found(tmp_path, single) == ["a@1.0.0", "b@2.0.0"]


def test_discovery_runs_no_code(tmp_path: Path) -> None:
    folder = make_plugin(tmp_path).folder
    (folder / "plugin.py").write_text("raise SystemExit('code ran')")
    (folder / "__init__.py").write_text("raise SystemExit('code ran')")

    assert found(tmp_path) == ["tester@1.0.0"]


def test_a_plugin_reached_twice_is_one_plugin(tmp_path: Path) -> None:
    folder = make_plugin(tmp_path).folder

    assert found(tmp_path, folder, tmp_path) == ["tester@1.0.0"]


def test_two_equal_names_and_versions_are_refused(tmp_path: Path) -> None:
    make_plugin(tmp_path / "one")
    make_plugin(tmp_path / "two")

    with pytest.raises(ManifestError, match=r"two plugins are tester@1\.0\.0: .*one.* and .*two"):
        found(tmp_path / "one", tmp_path / "two")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="there is no folder of plugins"):
        found(tmp_path / "nowhere")


def test_an_installed_plugin_is_found_without_importing_it_or_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sentinel_test_vendor" / "lung"
    make_plugin(package.parent, name="lung").folder.rename(package)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("raise SystemExit('code ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = tuple(
        EntryPoint("lung", f"sentinel_test_vendor.lung{rest}", "node.plugins")
        for rest in ("", ".plugin", ":Plugin")
    )

    assert [found(points=(point,)) for point in points] == [["lung@1.0.0"]] * 3
    assert "sentinel_test_vendor" not in sys.modules


@pytest.mark.parametrize("value", ["sentinel_test_nothing", "json.decoder", "sys"])
def test_an_entry_point_to_nothing_is_refused(value: str) -> None:
    with pytest.raises(ManifestError, match=f"entry point x = '{value}'"):
        found(points=(EntryPoint("x", value, "node.plugins"),))


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    manifest = make_plugin(tmp_path)
    verify(manifest)
    (manifest.folder / "__pycache__").mkdir()
    (manifest.folder / "__pycache__" / "plugin.pyc").write_bytes(b"not pinned, not read")
    verify(manifest)

    (manifest.folder / "plugin.py").write_text("# other\n")

    with pytest.raises(ManifestError, match=r"tester@1\.0\.0 changed since the node started"):
        verify(manifest)


def test_another_package_named_node_is_refused_with_its_place(tmp_path: Path) -> None:
    ours = str(Path(node.__file__).parents[1])
    check_not_shadowed([str(tmp_path), ours])
    (tmp_path / "node").mkdir()
    check_not_shadowed([str(tmp_path), ours])  # a folder without code hides nothing
    (tmp_path / "node" / "__init__.py").touch()

    check_not_shadowed([ours, str(tmp_path)])
    with pytest.raises(ManifestError, match="another package named `node` at"):
        check_not_shadowed([str(tmp_path), ours])


def test_the_command_says_that_another_node_shadows_ours(tmp_path: Path) -> None:
    (tmp_path / "node.py").touch()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(node.__file__).parents[1])!r}); "
        f"sys.path.insert(0, {str(tmp_path)!r}); import sentinel_node; sentinel_node.main()"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "another package named `node`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_devices_are_resolved() -> None:
    assert resolve_devices(("cpu", "cuda:1"), count_cuda=lambda: 2) == ("cpu", "cuda:1")
    assert resolve_devices(("auto",)) in (("cpu",), ("cuda:0",))


@pytest.mark.parametrize("devices", [("gpu",), ("cuda",), ("cuda:2",), ("cpu", "cpu"), ()])
def test_devices_that_are_not_here_are_refused(devices: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="devices: "):
        resolve_devices(devices, count_cuda=lambda: 2)
