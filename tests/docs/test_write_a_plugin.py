"""The page for plugin authors is complete, and what it shows works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from node import manifest_tables
from node.inference.runner import Runner
from node.manifest_file import parse_manifest
from node.plugin import Case, Volume

_PAGE = (Path(__file__).resolve().parents[2] / "docs" / "write-a-plugin.md").read_text()

#: Heading of the page → the table that it describes.
_TABLES = {
    "### The plugin": manifest_tables.PluginTable,
    "### `[inputs.ROLE]`": manifest_tables.InputTable,
    "### `[rois.NAME]`": manifest_tables.RoiTable,
    "### `[segments.NAME]`": manifest_tables.SegmentTable,
    "### `[measurements.NAME]`": manifest_tables.MeasurementTable,
    "### `[maps.NAME]`": manifest_tables.MapTable,
    "### `[qualities.NAME]`": manifest_tables.QualityTable,
    "### `[clinical.NAME]`": manifest_tables.ClinicalTable,
    "### `[limits]`": manifest_tables.LimitsTable,
    "### `[evaluation]`": manifest_tables.EvaluationTable,
    "### `[evaluation.goals]`": manifest_tables.GoalsTable,
    "### `[radiomics]`": manifest_tables.RadiomicsTable,
}


@pytest.mark.parametrize("heading", list(_TABLES))
def test_every_key_of_the_manifest_is_described_and_no_other(heading: str) -> None:
    section = _PAGE.split(f"\n{heading}", 1)[1].split("\n##", 1)[0]

    described = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)

    assert described == list(dict.fromkeys(described))
    fields = _TABLES[heading].model_fields.items()
    assert set(described) == {field.alias or name for name, field in fields}


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", _PAGE, flags=re.DOTALL)[number]


def test_the_tables_of_regions_maps_and_qualities_are_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text("".join(block("toml", number) for number in range(4)))
    (tmp_path / "plugin.py").write_text(block("python"))

    manifest = parse_manifest(tmp_path)

    assert manifest.rois["tumor"].input == "ct"
    assert manifest.clinical["grade"].choices["g1"].value == "GRADE-1"
    assert manifest.maps["attention"].quantity.value == "130403"
    assert list(manifest.qualities["risk"].choices) == ["high", "low"]
    assert manifest.measurements["malignant"].interval == "95 % bootstrap interval"


def test_the_plugin_of_the_page_runs(tmp_path: Path) -> None:
    folder = tmp_path / "bright_mass"
    folder.mkdir()
    (folder / "plugin.toml").write_text(block("toml"))
    (folder / "plugin.py").write_text(block("python"))
    affine = np.diag([0.7, 0.8, 5.0, 1.0])[:, [2, 1, 0, 3]]
    array = np.full((3, 8, 9), -100, dtype=np.int16)
    array[1, 2:4, 3:8] = 100
    volume = Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT")

    runner = Runner("cpu", threads=1)
    try:
        outcome = runner.run(
            parse_manifest(folder), Case(volumes={"ct": volume}), job_folder=tmp_path
        )
    finally:
        runner.close()

    values = {m.name: m.value for m in outcome.result.measurements}
    assert values == pytest.approx({"volume": 10 * 5.0 * 0.8 * 0.7 / 1000, "long_axis": 4 * 0.7})
    np.testing.assert_array_equal(outcome.result.segments[0].mask, array == 100)


def test_the_case_of_the_page_is_one() -> None:
    names: dict[str, Case] = {}

    exec(block("python", 1), names)  # type: ignore[arg-type]

    assert names["case"].volumes["ct"].spacing_mm == (5.0, 0.8, 0.7)
