"""The display check is exact: the voxels, their volume, and the longest line in a slice."""

from __future__ import annotations

import importlib.util
from itertools import combinations
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from node.inference.registry import builtin_plugin_folder
from node.manifest_file import parse_manifest
from node.plugin import Case, Measurement, Result, Volume

#: (slice, row, column) steps, all different, along a rotated set of axes.
SPACING = (5.0, 0.8, 0.7)


def load() -> ModuleType:
    path = builtin_plugin_folder() / "commissioning" / "plugin.py"
    spec = importlib.util.spec_from_file_location("commissioning_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plugin = load()


def volume(array: np.ndarray, padding: np.ndarray | None = None) -> Volume:
    turn = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING)
    return Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT", padding=padding)


def run(array: np.ndarray, padding: np.ndarray | None = None) -> Result:
    ran: Result = plugin.Plugin().run(Case(volumes={"ct": volume(array, padding)}))
    return ran


def measured(result: Result, name: str) -> Measurement:
    return next(m for m in result.measurements if m.name == name)


def test_the_threshold_of_the_report_is_the_one_that_is_used() -> None:
    manifest = parse_manifest(builtin_plugin_folder() / "commissioning")

    assert manifest.parameters == {"threshold_hu": plugin.THRESHOLD_HU}


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_voxels_at_300_hu_are_in_and_below_are_out(dtype: type) -> None:
    array = np.full((2, 3, 4), -1000, dtype=dtype)
    array[0, 1, 1:4] = (299, 300, 301)
    if dtype is np.float32:
        array[1, 1, 1:3] = (299.99997, 300.0)

    (segment,) = run(array).segments

    np.testing.assert_array_equal(segment.mask, array >= 300)
    assert not segment.mask[0, 1, 1]


def test_padding_is_out_whatever_its_value() -> None:
    array = np.full((2, 3, 4), 3000, dtype=np.int16)
    padding = np.zeros(array.shape, dtype=bool)
    padding[:, :, 0] = True

    result = run(array, padding)

    np.testing.assert_array_equal(result.segments[0].mask, ~padding)
    np.testing.assert_array_equal(padding[:, :, 1:], False)


def test_volume_is_the_number_of_voxels_times_theirs_in_cubic_centimetres() -> None:
    array = np.zeros((4, 3, 4), dtype=np.int16)
    array[1:3, :2] = 400

    assert measured(run(array), "volume").value == pytest.approx(16 * 5.0 * 0.8 * 0.7 / 1000)


def test_no_voxel_means_found_nothing() -> None:
    assert run(np.full((2, 3, 4), 299, dtype=np.int16)) == Result()


def test_voxels_that_share_no_slice_have_a_volume_and_no_diameter() -> None:
    array = np.zeros((3, 3, 4), dtype=np.int16)
    array[0, 0, 0] = array[2, 2, 3] = 500

    result = run(array)

    assert [m.name for m in result.measurements] == ["volume"]
    assert result.notes


def test_the_diameter_uses_row_and_column_steps_of_their_own() -> None:
    array = np.zeros((2, 20, 20), dtype=np.int16)
    array[0, 2, 3] = array[0, 2, 13] = 500  # 10 columns: 7.0 mm
    array[1, 4, 5] = array[1, 13, 5] = 500  # 9 rows: 7.2 mm

    found = measured(run(array), "longest_diameter")

    assert found.value == pytest.approx(7.2)
    assert found.line is not None
    assert (found.line.slice_index, found.line.start, found.line.end) == (1, (4, 5), (13, 5))


def by_every_pair(mask: np.ndarray, spacing: tuple[float, float]) -> float:
    longest = 0.0
    for plane in mask:
        for one, other in combinations(np.argwhere(plane) * spacing, 2):
            longest = max(longest, float(np.linalg.norm(one - other)))
    return longest


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))),
    st.sampled_from([(1.0, 1.0), (0.8, 0.7), (0.5, 3.0), (4.0, 0.4)]),
)
def test_the_diameter_is_the_longest_of_every_pair(
    mask: np.ndarray, spacing: tuple[float, float]
) -> None:
    found = plugin.longest_in_plane(mask, spacing)

    expected = by_every_pair(mask, spacing)
    if expected == 0:
        assert found is None
        return
    length, line = found
    assert length == pytest.approx(expected, rel=1e-12)
    ends = np.array([line.start, line.end])
    assert float(np.linalg.norm((ends[0] - ends[1]) * spacing)) == pytest.approx(length)
    for row, column in ends.astype(int):
        assert mask[line.slice_index, row, column]


def test_a_disc_of_512_rows_has_its_exact_diameter() -> None:
    rows, columns = np.ogrid[:512, :512]
    disc = (rows - 250) ** 2 + (columns - 255) ** 2 <= 240**2
    mask = np.repeat(disc[None], 3, axis=0)

    length, line = plugin.longest_in_plane(mask, (1.0, 1.0))

    assert length == 480.0
    assert (line.slice_index, line.start, line.end) == (0, (10, 255), (490, 255))
