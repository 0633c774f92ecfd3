"""Cases there, Results back: what is written is what is read, and nothing else is believed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.errors import ResultInvalid
from node.inference.returned import read_result
from node.inference.transport import read_case, write_case, write_result
from node.manifest import Code, Manifest, MapSpec, QualitySpec
from node.plugin import Case, Line, Map, Measurement, Quality, Result, Roi, Segment
from tests.plugins import make_case, make_plugin


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_plugin(tmp_path / "plugins")


def mask(case: Case) -> np.ndarray:
    return case.volumes["ct"].array > 20


def result(case: Case, **changes: Any) -> Result:
    segment = Segment(name="mass", mask=mask(case), role="ct")
    line = Line(slice_index=2, start=(-0.5, 0.0), end=(3.5, 4.5))
    whole = Result(
        segments=(segment, replace(segment, finding=2)),
        measurements=(
            Measurement(name="volume", value=0.1, segment="mass", finding=2),
            Measurement(name="volume", value=0.2),
            Measurement(name="diameter", value=3.5, segment="mass", line=line),
        ),
        notes=("Größe ≥ 3",),
    )
    return replace(whole, **changes)


def returned(folder: Path, manifest: Manifest, case: Case, value: Result) -> Result:
    write_result(value, folder)
    return read_result(folder, manifest, case)


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = {"size": 21.0, "nodes": 3, "invasion": True, "grade": "g2"}
    case = replace(make_case(), values=values)

    write_case(case, tmp_path, device="cuda:1")
    read = read_case(tmp_path)

    assert {name: (type(v), v) for name, v in read.values.items()} == {
        name: (type(v), v) for name, v in values.items()
    }

    volume, expected = read.volumes["ct"], case.volumes["ct"]
    np.testing.assert_array_equal(volume.array, expected.array)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.affine, expected.affine)
    np.testing.assert_array_equal(volume.padding, expected.padding)
    assert (volume.unit, volume.modality) == ("[hnsf'U]", "CT")
    assert read.attributes == {"PatientAge": 61.5, "PatientSex": "F"}
    assert read.device == "cuda:1"


def test_regions_are_read_as_they_were_written(tmp_path: Path) -> None:
    case = make_case()
    first = Roi(mask=mask(case), role="ct", label="Größe", source="segment 1, drawn by hand")
    second = Roi(mask=mask(case)[::-1], role="ct")
    case = replace(case, rois={"tumor": (first,), "node": (first, second), "none": ()})

    write_case(case, tmp_path, device="cpu")
    read = read_case(tmp_path).rois

    assert [(name, len(rois)) for name, rois in read.items()] == [
        *(("tumor", 1), ("node", 2), ("none", 0))
    ]
    for name, rois in case.rois.items():
        for expected, found in zip(rois, read[name], strict=True):
            np.testing.assert_array_equal(found.mask, expected.mask)
            assert found.mask.dtype == np.bool_
            assert (found.role, found.label, found.source) == (
                *(expected.role, expected.label, expected.source),
            )


def test_writing_into_a_read_case_changes_no_file(tmp_path: Path) -> None:
    write_case(make_case(), tmp_path, device="cpu")

    read_case(tmp_path).volumes["ct"].array[:] = 0

    assert read_case(tmp_path).volumes["ct"].array.any()


def test_a_result_is_read_as_it_was_written(tmp_path: Path, manifest: Manifest) -> None:
    case = make_case()
    expected = result(case)

    found = returned(tmp_path, manifest, case, expected)

    assert found.measurements == expected.measurements
    assert found.notes == expected.notes
    for one, other in zip(found.segments, expected.segments, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.mask.dtype == np.bool_
        assert (one.name, one.role, one.finding) == (other.name, other.role, other.finding)


def test_masks_of_any_layout_keep_their_voxels(tmp_path: Path, manifest: Manifest) -> None:
    case = make_case()
    grid = mask(case)
    layouts = (np.asfortranarray(grid), grid[:, ::-1][:, ::-1], grid.astype(np.uint8))

    for number, layout in enumerate(layouts):
        folder = tmp_path / str(number)
        folder.mkdir()
        segments = (Segment(name="mass", mask=layout, role="ct"),)
        found = returned(folder, manifest, case, Result(segments=segments))
        np.testing.assert_array_equal(found.segments[0].mask, grid)


@pytest.mark.parametrize("slices", [(), (0,), (2,), (0, 2), (0, 1, 2)])
def test_empty_slices_come_back_empty(
    tmp_path: Path, manifest: Manifest, slices: tuple[int, ...]
) -> None:
    case = make_case()
    grid = np.zeros((3, 4, 5), dtype=bool)
    for index in slices:
        grid[index, 1, 2] = True

    segments = (Segment(name="mass", mask=grid, role="ct"),)
    found = returned(tmp_path, manifest, case, Result(segments=segments))

    np.testing.assert_array_equal(found.segments[0].mask, grid)


SEGMENT = Segment(name="mass", mask=np.ones((3, 4, 5), dtype=bool), role="ct")


def diameter(**line: Any) -> Result:
    place = {"slice_index": 0, "start": (0.0, 0.0), "end": (1.0, 1.0), **line}
    measured = Measurement(name="diameter", value=1.0, segment="mass", line=Line(**place))
    return Result(segments=(SEGMENT,), measurements=(measured,))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Result(segments=(replace(SEGMENT, name="bone"),)), "'bone' is not declared"),
        (Result(segments=(replace(SEGMENT, role="mr"),)), "input 'mr', which there is not"),
        (Result(segments=(replace(SEGMENT, finding=0),)), "finding 0"),
        (Result(segments=(replace(SEGMENT, finding=1.5),)), "float, not a whole number"),
        (Result(segments=(SEGMENT, SEGMENT)), "2 segments have the same name and finding"),
        (Result(segments=(replace(SEGMENT, mask=SEGMENT.mask[:, :3]),)), "has shape (3, 3, 5)"),
        (Result(segments=(replace(SEGMENT, mask=SEGMENT.mask[0]),)), "has 2 axes"),
        (Result(segments=(replace(SEGMENT, mask=SEGMENT.mask.astype(np.float32)),)), "is float32"),
        (Result(segments=(replace(SEGMENT, mask=[[[1]]]),)), "is list"),
        (
            Result(segments=(replace(SEGMENT, mask=SEGMENT.mask.astype(np.uint8) * 255),)),
            "values other than 0 and 1",
        ),
        (Result(segments=("mass",)), "segments of the Result hold str"),
        (Result(measurements=(Measurement(name="area", value=1.0),)), "'area' is not declared"),
        (
            Result(measurements=(Measurement(name="volume", value=1.0, segment="mass"),)),
            "which the result does not hold",
        ),
        (Result(measurements=(Measurement(name="volume", value=float("inf")),)), "inf, not finite"),
        (Result(measurements=(Measurement(name="volume", value=float("nan")),)), "nan, not finite"),
        (Result(measurements=(Measurement(name="volume", value="1"),)), "str, not a number"),
        (Result(measurements=(Measurement(name="volume", value=True),)), "bool, not a number"),
        (
            Result(measurements=(Measurement(name="volume", value=1.0),) * 2),
            "2 measurements have the same name",
        ),
        (diameter(slice_index=3), "leaves the grid (3, 4, 5)"),
        (diameter(slice_index=-1), "leaves the grid"),
        (diameter(end=(3.6, 0.0)), "leaves the grid"),
        (diameter(start=(0.0, -0.6)), "leaves the grid"),
        (diameter(end=(float("nan"), 0.0)), "leaves the grid"),
        (diameter(end=(1.0, 2.0, 3.0)), "not a Line"),
        (replace(diameter(), segments=()), "which the result does not hold"),
        (Result(notes=("x" * 1001,)), "a note is longer"),
        (Result(notes=("a\nb",)), "a note is longer"),
    ],
)
def test_what_the_manifest_or_the_grid_does_not_allow_is_refused(
    tmp_path: Path, manifest: Manifest, value: Result, said: str
) -> None:
    with pytest.raises(ResultInvalid) as raised:
        returned(tmp_path, manifest, make_case(), value)

    assert said in str(raised.value)


def test_a_line_without_a_segment_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    line = Line(slice_index=0, start=(0.0, 0.0), end=(1.0, 1.0))
    value = Result(measurements=(Measurement(name="diameter", value=1.0, line=line),))

    with pytest.raises(ResultInvalid, match="has a line but no segment"):
        returned(tmp_path, manifest, make_case(), value)


def write_honestly(folder: Path) -> dict[str, Any]:
    write_result(result(make_case()), folder)
    document: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return document


def pickled(folder: Path) -> None:
    np.save(folder / "mask-0.npy", np.array([object()], dtype=object), allow_pickle=True)


def shortened(folder: Path) -> None:
    with (folder / "mask-0.npy").open("r+b") as file:
        file.truncate(130)


def huge(folder: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 50, 4, 5)}
    with (folder / "mask-0.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)


def linked(folder: Path) -> None:
    (folder / "mask-0.npy").rename(folder / "elsewhere.npy")
    (folder / "mask-0.npy").symlink_to(folder / "elsewhere.npy")


def pipe(folder: Path) -> None:
    (folder / "mask-0.npy").unlink()
    os.mkfifo(folder / "mask-0.npy")


def missing(folder: Path) -> None:
    (folder / "mask-0.npy").unlink()


def no_array(folder: Path) -> None:
    (folder / "mask-0.npy").write_bytes(b"GIF89a")


@pytest.mark.parametrize("spoil", [pickled, shortened, huge, linked, pipe, missing, no_array])
def test_a_mask_file_that_is_not_ours_is_refused(
    tmp_path: Path, manifest: Manifest, spoil: Any
) -> None:
    write_honestly(tmp_path)
    spoil(tmp_path)

    with pytest.raises(ResultInvalid):
        read_result(tmp_path, manifest, make_case())


@pytest.mark.parametrize(
    "changes",
    [
        {"mask": "../mask-0.npy"},
        {"first": -1},
        {"first": 3, "end": 2},
        {"end": 4},
        {"shape": [3, 4, 5, 1]},
        {"finding": "1"},
        {"more": 1},
    ],
)
def test_a_document_that_a_plugin_changed_is_refused(
    tmp_path: Path, manifest: Manifest, changes: dict[str, Any]
) -> None:
    document = write_honestly(tmp_path)
    document["segments"][0] |= changes
    (tmp_path / "result.json").write_text(json.dumps(document))

    with pytest.raises(ResultInvalid):
        read_result(tmp_path, manifest, make_case())


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"segments": []}', "x" * (17 << 20)])
def test_a_document_that_is_none_is_refused(tmp_path: Path, manifest: Manifest, text: str) -> None:
    (tmp_path / "result.json").write_text(text)

    with pytest.raises(ResultInvalid):
        read_result(tmp_path, manifest, make_case())


# --- maps, probabilities, qualities, intervals -----------------------------------------------


@pytest.fixture
def full(manifest: Manifest) -> Manifest:
    heat = MapSpec(
        name="heat",
        label="Heat",
        quantity=Code("130403", "DCM", "Gradient-weighted class activation"),
        unit=Code("1", "UCUM", "no units"),
    )
    risk = QualitySpec(
        name="risk",
        code=Code("AIP-RISK", "99SENTINEL", "Predicted risk group"),
        choices={"high": Code("15508007", "SCT", "High risk")},
    )
    return replace(manifest, maps={"heat": heat}, qualities={"risk": risk})


def ramp() -> np.ndarray:
    return np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)


def test_maps_probabilities_qualities_and_intervals_come_back(
    tmp_path: Path, full: Manifest
) -> None:
    cut = ramp()
    cut[0] = 0  # only slices with a value travel
    expected = Result(
        segments=(replace(SEGMENT, probability=cut),),
        measurements=(Measurement(name="volume", value=0.5, interval=(0.25, 0.75)),),
        maps=(Map(name="heat", array=ramp() - 5, role="ct"),),
        qualities=(Quality(name="risk", choice="high", segment="mass"),),
    )

    found = returned(tmp_path, full, make_case(), expected)

    assert found.measurements == expected.measurements
    assert found.qualities == expected.qualities
    np.testing.assert_array_equal(found.maps[0].array, ramp() - 5)
    np.testing.assert_array_equal(found.segments[0].probability, cut)
    assert found.maps[0].array.dtype == found.segments[0].probability.dtype == np.float32


def with_nan() -> np.ndarray:
    values = ramp()
    values[1, 2, 3] = np.nan
    return values


def heat(array: Any, **changes: Any) -> Result:
    return Result(maps=(Map(**{"name": "heat", "array": array, "role": "ct", **changes}),))


def likely(probability: Any) -> Result:
    return Result(segments=(replace(SEGMENT, probability=probability),))


def ranged(interval: Any) -> Result:
    return Result(measurements=(Measurement(name="volume", value=0.5, interval=interval),))


def rated(**changes: Any) -> Result:
    return Result(qualities=(Quality(**{"name": "risk", "choice": "high", **changes}),))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (heat(ramp().astype(np.float64)), "float64, not float32"),
        (heat([1.0]), "list, not float32"),
        (heat(ramp()[0]), "has 2 axes"),
        (heat(ramp()[:2]), "the grid of input 'ct'"),
        (heat(with_nan()), "not finite"),
        (heat(ramp(), name="cold"), "map 'cold' is not declared; the manifest has maps: heat"),
        (heat(ramp(), role="mr"), "input 'mr'"),
        (replace(heat(ramp()), maps=heat(ramp()).maps * 2), "2 maps have the same name"),
        (likely(ramp() * 2), "outside 0 to 1"),
        (likely(with_nan()), "outside 0 to 1"),
        (likely(ramp()[:, :2]), "its mask"),
        (likely(ramp().astype(np.float16)), "float16, not float32"),
        (ranged((0.6, 0.7)), "does not hold its value 0.5"),
        (ranged((0.1, float("inf"))), "does not hold"),
        (ranged((0.1, 0.5, 0.9)), "not a pair"),
        (ranged(("a", "b")), "not a number"),
        (rated(name="mood"), "quality 'mood' is not declared"),
        (rated(choice="low"), "no choice 'low'; high are declared"),
        (rated(segment="mass"), "which the result does not hold"),
        (rated(finding=0), "finding 0 of quality 'risk'"),
        (Result(maps=("heat",)), "maps of the Result hold str"),  # type: ignore[arg-type]
    ],
)
def test_further_values_that_do_not_fit_are_refused(
    tmp_path: Path, full: Manifest, value: Result, sentence: str
) -> None:
    with pytest.raises(ResultInvalid, match=sentence):
        returned(tmp_path, full, make_case(), value)


@pytest.mark.parametrize("name", ["map-0.npy", "probability-0.npy"])
def test_an_array_file_that_is_not_ours_is_refused(
    tmp_path: Path, full: Manifest, name: str
) -> None:
    value = replace(heat(ramp()), segments=(replace(SEGMENT, probability=ramp()),))
    write_result(value, tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-4])

    with pytest.raises(ResultInvalid, match="too short"):
        read_result(tmp_path, full, make_case())
