"""The liver plugin on a phantom, with random weights: what it measures, says, and refuses."""

import re
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from node.inference.child import load_module
from node.manifest_file import parse_manifest
from node.plugin import Case, Roi, Volume

torch = pytest.importorskip("torch")

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "hcc_microvascular_invasion"
#: Modules of the plugin that import each other by name; each folder needs its own.
OWN = ("checks", "prepare", "network", "train", "plugin", "cohort")
#: Without the shipped weights: the tests write their own.
MANIFEST = (PLUGIN / "plugin.toml").read_text(encoding="utf-8").split("[weights]")[0]
#: Quick, and enough to see that everything fits together.
SMALL = {"width": 0.0625, "input_px": 64}


@cache
def drawn():
    """One test patient, as the cohort draws it."""
    module = load_module(PLUGIN, "cohort.py")
    return module.render(module.subjects("test", 1, seed=900_004)[0])


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make the plugin with other parameters and random weights; return it and its modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))

    def forget():
        for name in OWN:
            sys.modules.pop(name, None)

    def make(file="plugin.py", **parameters):
        folder = tmp_path / "hcc"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "plugin.toml").write_text(with_parameters({**SMALL, **parameters}))
        forget()
        module = load_module(folder, file)
        if file == "plugin.py":
            write_random_weights(folder, module)
        return module

    yield make
    forget()


def with_parameters(changed):
    """The manifest with other values in [parameters]."""
    before, mark, text = MANIFEST.partition("[parameters]")
    for name, value in changed.items():
        shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {shown}", text, flags=re.MULTILINE)
        assert count == 1, name
    return before + mark + text


def write_random_weights(folder, module):
    from node.toolkit.training import tensors_of, write_weights

    torch.manual_seed(7)
    networks = module.networks()
    for tower in (tower for net in networks.values() for tower in net.towers):
        torch.nn.init.normal_(tower.conv1.weight, std=0.1)  # fat begins with weights of 0
    for file, part in module.by_file(networks).items():
        write_weights(folder / file, tensors_of(torch.nn.ModuleDict(part), half=True))


def loaded(module):
    plugin = module.Plugin()
    plugin.load("cpu")
    return plugin


def values_of(result):
    return {m.name: m.value for m in result.measurements}


def case_of(*, tumor_mm=30.0, fat_mm=(24.0, 36.0), spacing_mm=(5.0, 0.8, 0.8), tumor_hu=80):
    """A ball of a tumour in a liver, a block of fat beside it; two phases on one grid."""
    shape = (16, 160, 176)
    steps = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")) * np.reshape(
        spacing_mm, (3, 1, 1, 1)
    )
    away = steps - np.reshape([40.0, 64.0, 40.0], (3, 1, 1, 1))
    tumor = (away**2).sum(axis=0) <= (tumor_mm / 2) ** 2
    region, fat = np.zeros((2, *shape), bool)
    region[7:10, 40:100, 112:172] = True
    rows, columns = (round(mm / step) for mm, step in zip(fat_mm, spacing_mm[1:], strict=True))
    fat[8, 50 : 50 + rows, 115 : 115 + columns] = True
    arrays = {}
    for number, role in enumerate(("arterial", "portal_venous")):
        rng = np.random.default_rng(number)
        array = rng.normal(100 + 10 * number, 5, shape)
        array[tumor] = tumor_hu
        array[region] = 40
        array[fat] = -100
        arrays[role] = array.astype(np.int16)
    affine = np.diag([*spacing_mm[::-1], 1.0])[:, [2, 1, 0, 3]]
    return Case(
        volumes={
            role: Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT")
            for role, array in arrays.items()
        },
        rois={
            "tumor": (Roi(mask=tumor, role="portal_venous"),),
            "lesser_omental_fat": (Roi(mask=region, role="portal_venous"),),
        },
    )


def with_volume(case, role, **changed):
    return replace(case, volumes={**case.volumes, role: replace(case.volumes[role], **changed)})


def with_region(case, name, mask):
    (roi,) = case.rois[name]
    return replace(case, rois={**case.rois, name: (replace(roi, mask=mask),)})


def test_a_phantom_gets_everything_that_the_manifest_promises(made):
    module = made()
    case = drawn().case

    result = loaded(module).run(case)

    manifest = parse_manifest(Path(module.FOLDER))
    said = values_of(result)
    assert result.refusal == ""
    assert set(said) == {"p_mvi", "p_tumor_only", "diameter", "loat_area"}
    assert set(said) <= set(manifest.measurements)
    assert 0 < said["p_mvi"] < 100 and 0 < said["p_tumor_only"] < 100
    assert {s.name for s in result.segments} == set(manifest.segments)
    assert {q.name for q in result.qualities} == set(manifest.qualities)
    (heat,) = result.maps
    assert heat.array.shape == case.volumes["portal_venous"].array.shape
    assert 0 < heat.array.max() <= 1 and np.isfinite(heat.array).all()


def test_diameter_and_fat_follow_the_causes_that_were_drawn(made):
    plugin, facts = loaded(made()), drawn().facts

    said = values_of(plugin.run(drawn().case))

    # Of one slice, of a tumour that need not lie in the plane; and fat ends where liver begins.
    assert 0.6 * facts["diameter"] < said["diameter"] < 1.1 * facts["diameter"]
    assert 0.6 * facts["loat"] < said["loat_area"] < 1.15 * facts["loat"]


@pytest.mark.parametrize(("tumor_mm", "fat_mm"), [(30.0, (24.0, 36.0)), (44.0, (32.0, 16.0))])
def test_a_known_ball_and_a_known_block_of_fat_are_measured(made, tumor_mm, fat_mm):
    result = loaded(made()).run(case_of(tumor_mm=tumor_mm, fat_mm=fat_mm))

    said = values_of(result)
    assert said["diameter"] == pytest.approx(tumor_mm, abs=0.9)  # a pixel
    assert said["loat_area"] == pytest.approx(fat_mm[0] * fat_mm[1] / 100, rel=1e-6)
    line = next(m.line for m in result.measurements if m.name == "diameter")
    assert line.slice_index == 8


def test_only_fat_by_its_hu_counts_and_none_is_said(made):
    case = case_of()
    array = case.volumes["portal_venous"].array.copy()
    array[array == -100] = -20
    bare = with_volume(case, "portal_venous", array=array)

    result = loaded(made()).run(bare)

    assert values_of(result)["loat_area"] == 0
    assert [s.name for s in result.segments] == ["tumor"]
    assert any("No fat (-190 to -30 HU)" in note for note in result.notes)


def test_fat_adds_nothing_to_what_the_tumour_alone_says(made):
    case = case_of()
    array = case.volumes["portal_venous"].array.copy()
    array[array == -100] = -60
    other = with_volume(case, "portal_venous", array=array)
    plugin = loaded(made())

    first, second = (values_of(plugin.run(one)) for one in (case, other))

    assert first["p_tumor_only"] == second["p_tumor_only"]
    assert first["p_mvi"] != second["p_mvi"]


def test_phases_on_unlike_grids_are_seen_alike(made):
    case, thick = case_of(), case_of()
    arterial = thick.volumes["arterial"]
    shift = arterial.affine.copy()
    # The same values, on a grid that begins 16 mm further in, in the plane.
    shift[:3, 3] += 20 * arterial.affine[:3, 2]
    cut = with_volume(case, "arterial", array=arterial.array[:, :, 20:], affine=shift)
    plugin = loaded(made())

    whole, part = (values_of(plugin.run(one)) for one in (case, cut))

    assert whole["p_mvi"] == pytest.approx(part["p_mvi"], abs=6)
    assert whole["diameter"] == part["diameter"]


def half(mask):
    cut = mask.copy()
    cut[: len(mask) // 2] = False
    return cut


def dot(case):
    mask = np.zeros_like(case.rois["tumor"][0].mask)
    mask[8, 80, 50:53] = True
    return with_region(case, "tumor", mask)


def short(case):
    arterial = case.volumes["arterial"]
    return with_volume(case, "arterial", array=arterial.array[:8])


def elsewhere(case):
    arterial = case.volumes["arterial"]
    affine = arterial.affine.copy()
    affine[:3, 3] += [0, 200, 0]
    return with_volume(case, "arterial", affine=affine)


def padded(case):
    arterial = case.volumes["arterial"]
    padding = np.zeros(arterial.array.shape, bool)
    padding[:, :, :55] = True
    return with_volume(case, "arterial", padding=padding)


def padded_beside(case):
    """Values are missing in one slice that is seen, not in the tumour's largest one."""
    tumor = case.rois["tumor"][0].mask
    padding = tumor.copy()
    padding[int(tumor.sum(axis=(1, 2)).argmax())] = False
    return with_volume(case, "arterial", padding=padding)


def arterial(change):
    def spoil(case):
        array = change(case.volumes["arterial"].array, case.volumes["portal_venous"].array)
        return with_volume(case, "arterial", array=array)

    return spoil


def outlined(name, part):
    def spoil(case):
        mask = np.zeros_like(case.rois[name][0].mask)
        mask[part] = True
        return with_region(case, name, mask)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (short, "arterial images do not cover the whole tumour"),
        (elsewhere, "arterial images do not cover the whole tumour"),
        (padded, "arterial images hold no values in a part of the tumour"),
        (padded_beside, "arterial images hold no values in a part of the tumour"),
        (arterial(lambda own, _: own + 1024), "HU on the arterial images"),
        (arterial(lambda own, _: np.full_like(own, 40)), "hold the value 40 and no other"),
        (arterial(lambda _, portal: portal + 1), "differ by one number everywhere"),
        (outlined("tumor", np.s_[4:12, 80, 30:80]), "nowhere 3 pixels wide"),
        (outlined("tumor", np.s_[8, 60:90, 40:70]), "in one slice only"),
        (outlined("lesser_omental_fat", np.s_[8, 50:51, 120:121]), "omental fat is 0.0 mm long"),
        (
            lambda case: with_volume(
                case, "arterial", array=case.volumes["portal_venous"].array.copy()
            ),
            "arterial and the portal venous images are the same",
        ),
        (dot, "1.6 mm long in its longest slice"),
        (
            lambda case: with_region(case, "lesser_omental_fat", case.rois["tumor"][0].mask),
            "100% of the smaller one in common",
        ),
        (lambda _: case_of(tumor_hu=-100), "median of -100 HU"),
        (lambda _: case_of(tumor_hu=900), "median of 900 HU"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_a_sentence(made, spoil, sentence):
    result = loaded(made()).run(spoil(case_of()))

    assert sentence in result.refusal
    assert not (result.measurements or result.segments or result.maps or result.qualities)


def test_a_tumour_at_the_edge_of_what_the_arterial_phase_shows_is_judged(made):
    case = case_of()
    tumor = case.rois["tumor"][0].mask
    last = int(np.flatnonzero(tumor.any(axis=(1, 2))).max())
    arterial = case.volumes["arterial"]

    result = loaded(made()).run(with_volume(case, "arterial", array=arterial.array[: last + 1]))

    assert result.refusal == "" and values_of(result)["p_mvi"] > 0


@pytest.mark.parametrize("branches", ["phases", "regions"])
@pytest.mark.parametrize("fusion", ["sum", "concat", "cross_attention"])
def test_all_branches_and_fusions_run_and_show_where_they_looked(made, branches, fusion):
    result = loaded(made(branches=branches, fusion=fusion)).run(case_of())

    assert 0 < values_of(result)["p_mvi"] < 100
    assert {m.name for m in result.maps} <= {"cam_tumor", "cam_lesser_omental_fat"}
    assert result.maps and all(m.array.any() for m in result.maps)


@pytest.mark.parametrize("key", ["fusion", "branches"])
def test_an_unknown_way_to_join_is_said(made, key):
    with pytest.raises(ValueError, match=f"{key} is 'product'; take one of"):
        made(**{key: "product"})


def test_both_phases_repeat_the_slice_where_one_of_them_ends(made):
    """Air in one phase beside tissue in the other would say what no tumour says."""
    case = case_of(spacing_mm=(4.0, 0.8, 0.8))
    tumor = case.rois["tumor"][0].mask.copy()
    largest = int(tumor.sum(axis=(1, 2)).argmax())
    tumor[largest + 1 :] = False
    case = with_region(case, "tumor", tumor)
    arterial = case.volumes["arterial"]
    ends = with_volume(case, "arterial", array=arterial.array[: largest + 1])

    images = load_prepare(made).seen_of(ends).images

    for role in ("arterial", "portal_venous"):
        assert np.median(images[role][2]) > 0.2, "no slice of air"
        assert np.array_equal(images[role][2], images[role][1])


def load_prepare(made):
    made()
    return sys.modules["prepare"]


def test_the_logistic_model_speaks_where_a_site_gives_its_coefficients(made):
    weights = {"logistic_intercept": -4.0, "logistic_per_mm": 0.05, "logistic_per_cm2": 0.2}

    said = values_of(loaded(made(**weights)).run(case_of()))

    odds = -4.0 + 0.05 * said["diameter"] + 0.2 * said["loat_area"]
    assert said["p_logistic"] == pytest.approx(100 / (1 + np.exp(-odds)))


def test_half_a_logistic_model_is_none(made):
    module = made(logistic_per_mm=0.05)

    with pytest.raises(ValueError, match="all three must be numbers, or all three empty"):
        loaded(module)


def test_class_and_risk_group_have_cuts_of_their_own(made):
    module = made()

    def words(probability, risk_from):
        return [q.choice for q in module.qualities_of(probability, risk_from)]

    assert words(0.45, 0.4) == ["absent", "high"]
    assert words(0.55, 0.6) == ["present", "low"]
    assert words(0.5, 0.5) == ["present", "high"]


def test_the_risk_group_begins_where_the_weights_say_or_the_site(made):
    module = made()
    plugin = loaded(module)
    network = plugin.networks["mvi"]
    network.cut.fill_(0.37)

    assert module.risk_threshold(network) == pytest.approx(0.37)
    assert made(risk_threshold=0.7).risk_threshold(network) == 0.7
    with pytest.raises(ValueError, match="risk_threshold is 70"):
        made(risk_threshold=70).risk_threshold(network)


def test_a_network_for_the_control_speaks_only_where_it_is_asked_for(made):
    said = values_of(loaded(made(other_fat=True)).run(case_of()))

    assert 0 < said["p_other_fat"] < 100


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"network": "efficientnet-b0"}, "network is 'efficientnet-b0'; take one of resnet18"),
        ({"slices": 4}, "slices is 4; set an odd number"),
        ({"slices": 0}, "slices is 0 in the manifest; set a whole number from 1 to 31"),
        ({"attention_from_stage": 0}, "attention_from_stage is 0 in the manifest"),
        ({"branches": "regions", "cam_layer": "towers.0.layer3"}, 'with branches = "regions"'),
        ({"cam_layer": "towers.0.layer9"}, "cam_layer is 'towers.0.layer9', which the network"),
        ({"cam_layer": "towers"}, "cam_layer is 'towers', which the network has no map of"),
        # A margin that hides what enhances around.
        ({"margin_mm": 6.0}, "margin_mm is 6.0 in the manifest; set a number from 10 to 500"),
        ({"window_low_hu": 300}, "window_low_hu to window_high_hu is 300 to 215"),
        ({"fat_high_hu": -190}, "set two numbers, the lower first"),
    ],
)
def test_settings_that_no_network_can_be_made_by_are_told(made, changed, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        made(**changed)


# --- learning --------------------------------------------------------------------------------


def learned(module, folder, *, seed=3, count=10):
    """Weights after three steps on a few patients of noise; half of them have the outcome."""
    from node.toolkit.training import Examples, TrainingRun

    module.SCHEDULE = replace(module.SCHEDULE, steps=3, look_every=2)
    rng = np.random.default_rng(0)
    shapes = {"arterial": 3, "portal_venous": 3, "outline": 3, "fat": 1}
    cases = [
        {
            **{k: rng.integers(0, 256, (n, 64, 64)).astype(np.uint8) for k, n in shapes.items()},
            "outcome": np.array(number % 2, np.uint8),
        }
        for number in range(count)
    ]
    folder.mkdir(exist_ok=True)
    files = {}
    for part in module.PARTS:
        run = TrainingRun(device="cpu", folder=folder / part, part=part)
        run.folder.mkdir(parents=True)
        found = module.fit(Examples(train=cases, tuning=cases[:6]), seed=seed, run=run)
        for file, weights in found.items():
            files.setdefault(file, {}).update(weights)
    return files


def test_learning_gives_the_same_weights_again_with_the_control_and_without(made, tmp_path):
    module = made("train.py", other_fat=True)
    wanted = set(module.networks().state_dict())
    both = learned(module, tmp_path / "both")
    alone = learned(made("train.py"), tmp_path / "alone")

    assert set(both) == {"weights.safetensors", "control.safetensors"} > set(alone)
    assert {key for part in both.values() for key in part} == wanted
    assert {key.partition(".")[0] for key in wanted} == {"mvi", "tumor_only", "other_fat"}
    first, again = both["weights.safetensors"], alone["weights.safetensors"]
    assert set(first) == set(again)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert 0 < float(first["mvi.cut"]) < 1 and float(first["mvi.cut"]) != 0.5


@pytest.mark.parametrize("outline", [True, False])
def test_all_networks_begin_as_the_one_that_sees_no_fat(made, outline):
    module = made("network.py", other_fat=True, outline=outline)
    shapes = {"arterial": 3, "portal_venous": 3, "outline": 3, "fat": 1}
    images = {name: torch.rand(2, count, 64, 64) for name, count in shapes.items()}
    said = {}
    for name in module.NETWORKS:
        torch.manual_seed(5)
        net = module.networks((name,))[name].eval()
        said[name] = net(*module.inputs_of(images, name))

    assert set(said) == {"mvi", "tumor_only", "other_fat"}
    assert all(torch.equal(one, said["tumor_only"]) for one in said.values())


def test_an_example_is_what_the_plugin_sees_and_the_outcome(made):
    module = made("train.py")

    example = module.examples(drawn().case, drawn().labels)

    seen = module.seen_of(drawn().case).images
    for name in ("arterial", "portal_venous", "outline", "fat"):
        assert example[name].dtype == np.uint8
        assert np.abs(example[name] / 255 - seen[name]).max() <= 0.5 / 255 + 1e-6
    assert example["outcome"] == (drawn().labels.values["mvi"] == "yes")
    assert seen["fat"].any() and seen["outline"].max() == 1


def test_simple_rules_measure_what_they_say(made):
    module = made("train.py")

    found = module.score(case_of(tumor_mm=30))

    assert found["diameter"] == pytest.approx(30, abs=2.5)
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.1)
    assert found["fat area"] == pytest.approx(8.64, rel=1e-6)
    assert found["mean HU, arterial"] == found["mean HU, portal venous"] == 80


def test_only_the_control_sees_the_fat_of_others(made):
    module = made("train.py", other_fat=True, branches="regions")
    cases = [
        dict.fromkeys(module.IMAGES, np.full((1, 8, 8), n, np.uint8)) | {"outcome": np.uint8(n % 2)}
        for n in range(4)
    ]
    known, shown = module.Cases(cases, "cpu"), []

    def net(tumor, fat):
        shown.append([(one[:, 0, 0, 0] * 255).round().int().tolist() for one in (tumor, fat)])
        return torch.zeros(len(tumor), 1)

    for name in ("mvi", "other_fat"):
        module.said_of(net, name, known)

    assert shown == [[[0, 1, 2, 3], [0, 1, 2, 3]], [[0, 1, 2, 3], [1, 2, 3, 0]]]
