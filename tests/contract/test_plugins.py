"""Every built-in plugin keeps the contract that a third party's must keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from node.errors import RefusalCode, Refused
from node.inference.check import check_plugin
from node.inference.registry import builtin_plugin_folder, discover
from node.inference.runner import Runner
from node.manifest import InputRole, Manifest
from node.plugin import Case, Result, Roi, Volume

PLUGINS = discover((builtin_plugin_folder(),), points=())


@pytest.fixture(params=list(PLUGINS))
def manifest(request: pytest.FixtureRequest) -> Manifest:
    return PLUGINS[request.param]


def volume(role: InputRole, value: int) -> Volume:
    slices = int(max(role.slices.low, 6))
    affine = np.diag([0.7, 0.8, 5.0, 1.0])[:, [2, 1, 0, 3]]
    array = np.full((slices, 48, 40), value, dtype=np.int16)
    array[:, 10:20, 10:24] += 500
    unit = "[hnsf'U]" if role.values == "HU" else "1"
    padding = np.zeros(array.shape, dtype=bool)
    return Volume(array=array, affine=affine, unit=unit, modality=role.modality[0], padding=padding)


def case(manifest: Manifest, value: int) -> Case:
    volumes = {name: volume(role, value) for name, role in manifest.inputs.items()}
    rois = {
        name: (region(volumes[role.input], role.input),) for name, role in manifest.rois.items()
    }
    return Case(volumes=volumes, rois=rois)


def region(image: Volume, role: str) -> Roi:
    mask = np.zeros(image.array.shape, dtype=bool)
    mask[2:5, 24:34, 8:18] = True  # beside what is bright
    return Roi(mask=mask, role=role)


def test_the_plugin_loads_in_its_child_and_says_how_it_is_held(manifest: Manifest) -> None:
    report = check_plugin(manifest)

    assert report.ok, report.text
    assert manifest.digest[:12] in report.text


def answer(runner: Runner, manifest: Manifest, value: int, folder: Path) -> Result:
    """Return what the plugin says; what it cannot judge it refuses with a sentence."""
    try:
        return runner.run(manifest, case(manifest, value), job_folder=folder).result
    except Refused as refusal:
        assert refusal.code == RefusalCode.CASE_UNSUITABLE
        return Result(refusal=str(refusal))


def test_the_plugin_answers_a_plain_case_and_says_the_same_again(
    manifest: Manifest, tmp_path: Path
) -> None:
    runner = Runner("cpu", threads=1)
    try:
        first, again = (answer(runner, manifest, 0, tmp_path) for _ in range(2))
        empty = answer(runner, manifest, -2000, tmp_path)
    finally:
        runner.close()

    assert first.refusal == again.refusal
    assert first.measurements == again.measurements
    for one, other in zip(first.segments, again.segments, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    # A region that somebody outlined may be given back as it was.
    assert manifest.rois or not any(segment.mask.any() for segment in empty.segments)


def test_the_plugin_declares_what_a_report_needs(manifest: Manifest) -> None:
    assert manifest.segments
    assert manifest.finding_name != "finding"
    assert manifest.training or not manifest.weights
