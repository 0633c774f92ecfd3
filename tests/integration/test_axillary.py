"""The axillary node plugin with its shipped weights: what it says, and what it refuses."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from node.inference.child import load_module
from node.inference.runner import Runner
from node.manifest_file import parse_manifest

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "axillary_node_metastasis"
SHARE = tomllib.loads((PLUGIN / "plugin.toml").read_text())["parameters"]["fsc_share"]
#: Far from the seeds of any training or evaluation.
SEED = 900_002


@pytest.fixture(scope="module")
def subject():
    cohort = load_module(PLUGIN, "cohort.py")
    plan = next(p for p in cohort.subjects("test", 20, seed=SEED) if len(p.lesions) == 2)
    return cohort.render(plan)


@pytest.fixture(scope="module")
def plugin():
    made = load_module(PLUGIN, "plugin.py").Plugin()
    made.load("cpu")
    return made


def values(result, name):
    return {m.finding: m.value for m in result.measurements if m.name == name}


def test_each_node_gets_the_mean_of_its_crops_and_the_armpit_the_greatest(plugin, subject):
    result = plugin.run(subject.case)

    p, fixed, square = (values(result, name) for name in ("p_metastasis", "p_fsc", "p_asc"))
    assert set(p) == {1, 2}
    for number in p:
        weighed = SHARE * fixed[number] + (1 - SHARE) * square[number]
        assert p[number] == pytest.approx(weighed)
        assert 0 <= p[number] <= 100
    (axilla,) = values(result, "p_axilla").values()
    assert axilla == max(p.values())
    said = {(q.name, q.segment, q.finding): q.choice for q in result.qualities}
    assert said["node_class", "axillary_node", 1] == ("metastatic" if p[1] >= 50 else "normal")
    assert said["axilla_class", None, 1] == ("metastatic" if axilla >= 50 else "normal")


def test_heat_lies_in_the_slice_and_crop_of_a_node_and_nowhere_else(plugin, subject):
    node = subject.case.rois["axillary_node"][0]
    alone = replace(subject.case, rois={"axillary_node": (node,)})
    maps = {one.name: one.array for one in plugin.run(alone).maps}

    volume, largest = subject.case.volumes["ct"], node.mask.sum(axis=(1, 2)).argmax()
    rows, columns = (np.flatnonzero(node.mask[largest].any(axis=axis)) for axis in (1, 0))
    for name, side_mm in (("cam_fsc", 42.0), ("cam_asc", None)):
        heat = maps[name]
        assert heat.shape == volume.array.shape and 0 < heat.max() <= 1 and heat.min() >= 0
        assert np.flatnonzero(heat.any(axis=(1, 2))).tolist() == [largest]
        longest = max(np.ptp(rows) + 1, np.ptp(columns) + 1)
        side = side_mm / volume.spacing_mm[1] if side_mm else 1.6 * longest
        hot = np.flatnonzero(heat[largest].any(axis=1))
        assert np.ptp(hot) <= side + 1


def test_the_same_case_gets_the_same_answer_and_order_does_not_matter(plugin, subject):
    first, second = subject.case.rois["axillary_node"]
    turned = replace(subject.case, rois={"axillary_node": (second, first)})
    p, other = (values(plugin.run(case), "p_metastasis") for case in (subject.case, turned))

    assert p == values(plugin.run(subject.case), "p_metastasis")
    assert [p[1], p[2]] == pytest.approx([other[2], other[1]], abs=1e-4)


@pytest.mark.parametrize(("shift_hu", "middle"), [(1024, "10"), (-900, "-8")])
def test_an_outline_of_what_is_no_node_is_refused_by_its_number(plugin, subject, shift_hu, middle):
    volume = subject.case.volumes["ct"]
    wrong = replace(volume, array=(volume.array + shift_hu).astype(np.int16))

    result = plugin.run(replace(subject.case, volumes={"ct": wrong}))

    assert result.refusal.startswith("node 1: this does not look like a lymph node")
    assert "between -120 and 300 HU" in result.refusal and middle in result.refusal
    assert not result.measurements and not result.segments


def test_an_outline_that_is_too_small_or_too_large_for_a_node_is_refused(plugin, subject):
    node = subject.case.rois["axillary_node"][0]
    click, all_of_it = np.zeros_like(node.mask), np.ones_like(node.mask)
    click[tuple(np.argwhere(node.mask)[0])] = True

    for mask, found in ((click, "0."), (all_of_it, "1")):
        drawn = replace(node, mask=mask)
        result = plugin.run(replace(subject.case, rois={"axillary_node": (drawn,)}))
        assert result.refusal.startswith(f"node 1: its outline is {found}")
        assert "expected to be 3 to 80 mm" in result.refusal and not result.measurements


def test_a_node_that_the_field_of_view_cut_off_is_refused(plugin, subject):
    """Padding counts as air in a crop, and half a node would be judged as another one."""
    node, volume = subject.case.rois["axillary_node"][0], subject.case.volumes["ct"]
    cut = np.zeros(volume.array.shape, bool)
    cut[tuple(np.argwhere(node.mask)[-1])] = True
    case = replace(subject.case, volumes={"ct": replace(volume, padding=cut)})

    result = plugin.run(case)

    assert result.refusal.startswith("node 1: the images hold no values in a part of its outline")
    assert not result.measurements


def test_what_is_said_is_the_mean_over_slices_and_mirror_images(plugin, subject):
    """Not of the one slice alone: a slice's own noise counts for a third."""
    volume, node = subject.case.volumes["ct"], subject.case.rois["axillary_node"][0]
    prepare = load_module(PLUGIN, "prepare.py")
    found = []
    for away in (-1, 0, 1):
        at = prepare.slice_beside(node.mask, away)
        crop = prepare.crops_of(volume, node.mask, slice_index=at)["fsc"]
        image = torch.from_numpy(prepare.image_of(crop))[None]
        for axes in ((), (2,), (3,), (2, 3)):
            with torch.no_grad():
                found.append(float(plugin.networks["fsc"](image.flip(axes)).sigmoid()))

    said = values(plugin.run(subject.case), "p_fsc")[1]
    assert said == pytest.approx(100 * np.mean(found), abs=0.01)
    assert abs(said - 100 * found[4]) > 0.01


def test_a_node_at_the_edge_of_the_image_is_padded_with_air_and_judged(plugin, subject):
    node, volume = subject.case.rois["axillary_node"][0], subject.case.volumes["ct"]
    largest = node.mask.sum(axis=(1, 2)).argmax()
    first = int(np.flatnonzero(node.mask[largest].any(axis=1))[0])
    cut = replace(volume, array=volume.array[:, first:])
    small = replace(node, mask=node.mask[:, first:])

    result = plugin.run(
        replace(subject.case, volumes={"ct": cut}, rois={"axillary_node": (small,)})
    )

    assert set(values(result, "p_metastasis")) == {1}


def test_a_case_takes_at_most_three_seconds_after_loading_and_its_result_is_valid(
    subject, tmp_path
):
    manifest = parse_manifest(PLUGIN)
    runner = Runner("cpu", threads=1)
    try:
        runner.run(manifest, subject.case, job_folder=tmp_path)
        answer = runner.run(manifest, subject.case, job_folder=tmp_path)
    finally:
        runner.close()

    assert {one.name for one in answer.result.maps} == {"cam_fsc", "cam_asc"}
    assert sum(path.stat().st_size for path in PLUGIN.glob("*.safetensors")) <= 6_000_000
