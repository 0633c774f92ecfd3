"""What a shipped plugin says of its training is what its training wrote down (S4)."""

import json
import tomllib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
TRAINED = sorted(path.parent.name for path in PLUGINS.glob("*/training.json"))


def test_every_plugin_with_weights_has_a_record_of_its_training():
    weighted = {path.parent.name for path in PLUGINS.glob("*/*.safetensors")}

    assert weighted and weighted <= set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_s04_a_plugin_says_how_many_phantoms_of_which_seed_it_learned_from(name):
    record = json.loads((PLUGINS / name / "training.json").read_text(encoding="utf-8"))
    manifest = tomllib.loads((PLUGINS / name / "plugin.toml").read_text(encoding="utf-8"))

    assert record["data"] == "phantoms"
    said = f"trained on {record['train']} synthetic phantoms (seed {record['seed']})"
    assert manifest["training"] == f"{said}, no clinical validity"


@pytest.mark.parametrize("name", TRAINED)
def test_the_weights_of_a_plugin_are_those_of_its_record(name):
    record = json.loads((PLUGINS / name / "training.json").read_text(encoding="utf-8"))
    manifest = tomllib.loads((PLUGINS / name / "plugin.toml").read_text(encoding="utf-8"))

    assert {file: one["sha256"] for file, one in record["weights"].items()} == manifest["weights"]
