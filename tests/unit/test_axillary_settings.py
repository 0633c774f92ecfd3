"""Settings of the axillary plugin that its code cannot work with: told when it is loaded."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.inference.child import load_module

torch = pytest.importorskip("torch")

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "axillary_node_metastasis"
OWN = ("prepare", "train", "plugin", "cohort")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    copied = shutil.copytree(PLUGIN, tmp_path / "axillary")
    for name in OWN:
        sys.modules.pop(name, None)
    yield copied
    for name in OWN:
        sys.modules.pop(name, None)


def say(folder: Path, **said: object) -> None:
    manifest = folder / "plugin.toml"
    before, mark, text = manifest.read_text(encoding="utf-8").partition("[parameters]")
    for name, value in said.items():
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {shown}", text)
        assert count == 1, name
    manifest.write_text(before + mark + text, encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"slices_beside": -1}, "slices_beside is -1 in the manifest; set a whole number from 0"),
        ({"slices_beside": 1.5}, "slices_beside is 1.5 in the manifest; set a whole number"),
        ({"fsc_share": 2}, "fsc_share is 2 in the manifest; set a number from 0 to 1"),
        ({"fsc_share": "nan"}, "fsc_share is 'nan' in the manifest"),
        ({"input_px": 16}, "input_px is 16 in the manifest; set a whole number from 32"),
        ({"window_high_hu": -160}, "window_low_hu to window_high_hu is -160 to -160 in the"),
        ({"least_hu": "-inf"}, "least_hu to most_hu is '-inf' to 300 in the manifest"),
    ],
)
def test_a_number_that_the_code_cannot_work_with_is_told(
    folder: Path, said: dict[str, object], sentence: str
) -> None:
    say(folder, **said)

    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_module(folder, "plugin.py")


def test_a_layer_that_one_of_the_networks_lacks_is_told_before_a_case_runs(folder: Path) -> None:
    say(folder, fsc_network="resnet18")
    prepare = load_module(folder, "prepare.py")
    networks = prepare.networks()

    assert prepare.heat_layer("asc", networks["asc"]) == "features.transition1.conv"
    with pytest.raises(ValueError, match=r"which resnet18 does not have; set it to \"\""):
        prepare.heat_layer("fsc", networks["fsc"])
    prepare.SETTINGS["cam_layer"] = ""
    assert prepare.heat_layer("fsc", networks["fsc"]) == "layer4"
    assert prepare.heat_layer("asc", networks["asc"]) == "features.norm5"
