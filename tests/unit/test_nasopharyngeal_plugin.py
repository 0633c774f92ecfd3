"""The nasopharyngeal plugin on a made-up tumour, with signatures of made-up numbers."""

import re
import shutil
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from node.clinical_check import checked
from node.errors import ClinicalValueRefused, LearningError, ManifestError, RefusalCode
from node.inference.child import load_module
from node.manifest_file import parse_manifest
from node.plugin import Case, Labels, Roi, Volume
from node.routing.selection import select
from node.toolkit.radiomics.extract import NoFeatures
from tests.make import mr_series, with_identity_of
from tests.unit.reading import series

pytest.importorskip("torch")
pytest.importorskip("radiomics")
pytest.importorskip("sklearn")

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "nasopharyngeal_recurrence"
#: Modules of the plugin that import each other by name; each folder needs its own.
OWN = ("prepare", "train", "plugin", "cohort")
MANIFEST = (PLUGIN / "plugin.toml").read_text(encoding="utf-8")
ROLES = ("t2", "t1_contrast")
WEIGHTS = "weights.safetensors"
#: What the made-up signatures keep.
KEPT = {
    "t2_radiomic": ("original_shape_Sphericity", "original_firstorder_Skewness"),
    "t2_deep": ("efficientnet_lite0.output.0007",),
}
IMAGES = tuple(f"{role}_{kind}" for role in ROLES for kind in ("radiomic", "deep"))
CLINICAL = ("sex", "age", "t_category", "n_category", "stage", "log10_ebv_dna")
VALUES = {
    **{"sex": "m", "age": 50.0, "t_category": "t3", "n_category": "n2"},
    **{"stage": "iii", "ebv_dna": 1000.0},
}


@cache
def case_of(*, ball_mm=16.0, flat=False, step_mm=2.0, values=()):
    """A ball of varying signal in a larger one, steps of 3, 2 and 2 mm, in both sequences."""
    chance, shape = np.random.default_rng(3), (12, 32, 32)
    steps = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    away = (steps - np.reshape([6, 16, 16], (3, 1, 1, 1))) * np.reshape(
        [3.0, step_mm, step_mm], (3, 1, 1, 1)
    )
    far = np.sqrt((away**2).sum(axis=0))
    mask = far <= ball_mm / 2
    affine = np.diag([step_mm, step_mm, 3.0, 1.0])[:, [2, 1, 0, 3]]
    volumes, rois = {}, {}
    for number, role in enumerate(ROLES):
        array = np.where(far < 28, 400, 10) + chance.normal(0, 8, shape)
        array[mask] += 150 + chance.normal(0, 40, np.count_nonzero(mask))
        if flat and number == 0:
            array[mask] = 500
        array = np.clip(np.rint(array), 0, 4095).astype(np.int16)
        volumes[role] = Volume(array=array, affine=affine, unit="1", modality="MR")
        rois[f"tumor_{role}"] = (Roi(mask=mask, role=role, label="tumor", source="tests"),)
    return Case(volumes=volumes, rois=rois, values=dict(values))


def manifest(**changed):
    """The manifest with few features and without N4, and other values in [parameters]."""
    text = MANIFEST.split("[weights]")[0]
    for old, new in (
        ('image_types = ["original", "wavelet", "log"]', 'image_types = ["original"]'),
        ("log_sigma_mm = [2, 3, 4, 5]", ""),
    ):
        assert old in text
        text = text.replace(old, new)
    start, parameters = text.split("[parameters]")
    for name, value in {"n4": False, **changed}.items():
        shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
        pattern = re.compile(rf"^{name} = .*$", flags=re.MULTILINE)
        assert pattern.search(parameters), name
        parameters = pattern.sub(f"{name} = {shown}", parameters, count=1)
    return f"{start}[parameters]{parameters}"


@pytest.fixture
def module_of(tmp_path, monkeypatch):
    """Load a module of the plugin from a folder that may be written to."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    folder = tmp_path / "nasopharynx"

    def forget():
        for name in OWN:
            sys.modules.pop(name, None)

    def load(file, **parameters):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "plugin.toml").write_text(manifest(**parameters), encoding="utf-8")
        forget()
        return load_module(folder, file)

    yield load
    forget()


@cache
def signature(blocks=("t2_radiomic", "t2_deep")):
    """A signature learned from numbers that were drawn."""
    from node.toolkit.signature import Block, Cases, SignatureSettings, Table, fit_signature

    chance = np.random.default_rng(5)
    outcome = chance.random(60) < 0.5
    named = {**KEPT, "clinical": CLINICAL}
    made = {
        name: Block(
            names=named[name], values=chance.normal(outcome[:, None], 1.0, (60, len(named[name])))
        )
        for name in blocks
    }
    how = SignatureSettings(univariate_p=1.0, whole=("clinical",), inner_folds=3, lasso_folds=3)
    return fit_signature(Cases(Table(blocks=made), outcome), how)


def plugin_of(module_of, blocks=("t2_radiomic", "t2_deep"), **parameters):
    """The plugin, ready to run."""
    from node.toolkit.signature import settings_array
    from node.toolkit.training import write_weights

    module = module_of("plugin.py", **parameters)
    arrays = signature(blocks).arrays("model.") | settings_array(module.LEARNED_WITH)
    arrays |= signature(("t2_radiomic",)).arrays("radiomic.")
    write_weights(module.FOLDER / "weights.safetensors", arrays)
    plugin = module.Plugin()
    plugin.load("cpu")
    return plugin


def by_name(result):
    return {one.name: one for one in result.measurements}


def test_the_paper_s_counts_are_met(module_of):
    text = MANIFEST.split("[weights]")[0]
    module = module_of("prepare.py")
    (module.FOLDER / "plugin.toml").write_text(text, encoding="utf-8")
    sys.modules.pop("prepare", None)
    module = load_module(module.FOLDER, "prepare.py")
    assert (
        len(module.names_of("t2_radiomic")) == len(module.names_of("t1_contrast_radiomic")) == 975
    )
    assert len(module.names_of("t2_deep")) == 1000
    assert module.CLINICAL == CLINICAL == module.names_of("clinical")


def test_there_are_thirty_models_and_the_paper_s_best_comes_first(module_of):
    train = module_of("train.py")
    assert len(set(train.MODELS)) == 30
    assert train.MODELS[0] == "t2-II-random_forest" == train.SETTINGS["model"]


@pytest.mark.parametrize("name", ["t2-II", "t3-II-knn", "t2-IV-knn", "t2-II-mlp"])
def test_a_model_that_there_is_not_is_refused_with_all_that_there_are(module_of, name):
    with pytest.raises(ValueError, match="t2, t1_contrast; I, II, III; random_forest"):
        module_of("prepare.py").model_named(name)


def test_a_run_says_probability_interval_score_threshold_and_features(module_of, tmp_path):
    plugin = plugin_of(module_of)
    result = plugin.run(case_of())
    found = by_name(result)
    low, high = found["p_recurrence"].interval
    assert 0 <= low <= found["p_recurrence"].value <= high <= 100
    assert 0 <= found["score"].value <= 1 and found["threshold"].value == pytest.approx(
        100 * tomllib.loads(MANIFEST)["parameters"]["threshold"]
    )
    assert {"original_shape_sphericity", "original_firstorder_skewness", "deep_7"} <= set(found)
    assert found["original_shape_sphericity"].segment == "tumor_t2"
    assert 0.5 < found["original_shape_sphericity"].value <= 1.0
    (risk,), (segment,) = result.qualities, result.segments
    assert (risk.choice == "high") == (found["p_recurrence"].value >= 50)
    assert np.array_equal(segment.mask, case_of().rois["tumor_t2"][0].mask)
    spec = parse_manifest(tmp_path / "nasopharynx").measurements
    assert set(found) <= set(spec)
    assert spec["original_shape_sphericity"].code.scheme == "IBSI"


def test_weights_that_learned_with_other_settings_are_refused_by_name(module_of, tmp_path):
    from node.toolkit.training import read_weights, write_weights

    plugin_of(module_of)
    weights = read_weights(tmp_path / "nasopharynx" / WEIGHTS)
    other = module_of("plugin.py", model="t2-II-logistic", crop_px=112)
    write_weights(other.FOLDER / WEIGHTS, weights)
    with pytest.raises(ManifestError) as raised:
        other.Plugin().load("cpu")
    assert "crop_px = 112, they 224" in str(raised.value)
    assert 'model = "t2-II-logistic", they "t2-II-random_forest"' in str(raised.value)
    write_weights(other.FOLDER / WEIGHTS, {k: v for k, v in weights.items() if "." in k})
    with pytest.raises(ManifestError, match="do not say with which settings"):
        other.Plugin().load("cpu")


def test_what_nothing_like_was_learned_from_is_said(module_of):
    plugin = plugin_of(module_of)
    model = plugin.models["p_recurrence"]
    far = tuple(replace(one, mean=one.mean + 100 * one.deviation) for one in model.kept)
    plugin.models["p_recurrence"] = replace(model, kept=far)
    said, *_ = plugin.run(case_of()).notes
    assert said.startswith("Nothing like this was learned from, so do not rely on the probability")
    assert "3 of 3 kept features lie more than 6 standard deviations" in said


def test_the_threshold_of_the_manifest_decides(module_of):
    said = by_name(plugin_of(module_of).run(case_of()))["p_recurrence"].value / 100
    for threshold, expected in ((said / 2, "high"), ((1 + said) / 2, "low")):
        result = plugin_of(module_of, threshold=threshold).run(case_of())
        assert result.qualities[0].choice == expected


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [({"ball_mm": 6.0}, "at least 64"), ({"flat": True}, "have the value")],
    ids=["small", "constant"],
)
def test_a_region_without_features_is_refused_with_a_sentence(module_of, changed, sentence):
    result = plugin_of(module_of).run(case_of(**changed))
    assert sentence in result.refusal and not result.measurements


def test_a_refusal_says_on_which_sequence(module_of):
    assert "on T2: " in plugin_of(module_of).run(case_of(flat=True)).refusal


def test_outlines_of_two_tumours_are_refused(module_of):
    case = case_of(ball_mm=14.0)
    (roi,) = case.rois["tumor_t1_contrast"]
    columns = np.flatnonzero(roi.mask.any(axis=(0, 1)))
    aside = replace(roi, mask=np.roll(roi.mask, 2 - columns[0] - 1, axis=2))
    other = replace(case, rois={**case.rois, "tumor_t1_contrast": (aside,)})
    assert "they are not of one tumour" in plugin_of(module_of).run(other).refusal


def test_an_outline_in_one_slice_is_refused(module_of):
    case = case_of(ball_mm=32.0)
    for role in ROLES:
        (roi,) = case.rois[f"tumor_{role}"]
        one = np.zeros_like(roi.mask)
        largest = roi.mask.sum(axis=(1, 2)).argmax()
        one[largest] = roi.mask[largest]
        case = replace(case, rois={**case.rois, f"tumor_{role}": (replace(roi, mask=one),)})
    assert "on T2: it is in one slice only" in plugin_of(module_of).run(case).refusal


def test_a_site_s_backbone_lies_beside_the_manifest(module_of, monkeypatch, tmp_path):
    module, asked = module_of("prepare.py", backbone="resnet50", backbone_file="net.pth"), {}
    monkeypatch.setattr(module, "backbone", lambda name, **more: asked.update(more, name=name))
    module.network()
    assert asked["name"] == "resnet50"
    assert asked["weights"] == tmp_path / "nasopharynx" / "net.pth"


def test_a_deep_feature_is_not_named_after_a_backbone_that_may_be_another(module_of, tmp_path):
    result = plugin_of(module_of).run(case_of())
    meaning = parse_manifest(tmp_path / "nasopharynx").measurements["deep_7"].code.meaning
    assert meaning == "Deep feature, output 7"
    assert "Deep features are outputs of efficientnet_lite0." in result.notes


def test_both_regions_are_looked_at_whichever_sequence_the_model_takes(module_of):
    case = case_of()
    small = case_of(ball_mm=6.0).rois["tumor_t1_contrast"]
    mixed = replace(case, rois={**case.rois, "tumor_t1_contrast": small})
    assert "at least 64" in plugin_of(module_of).run(mixed).refusal


def test_clinical_values_that_are_not_known_are_named(module_of):
    blocks = ("t2_radiomic", "t2_deep", "clinical")
    plugin = plugin_of(module_of, blocks, model="t2-III-random_forest")
    known = plugin.run(case_of(values=tuple(VALUES.items())))
    assert not any("Not known" in note for note in known.notes)
    less = {name: value for name, value in VALUES.items() if name not in ("age", "ebv_dna")}
    unknown = plugin.run(case_of(values=tuple(less.items())))
    assert unknown.notes[-1].endswith("the cases learned from: age, log10_ebv_dna.")
    assert not {"age", "sex"} & set(by_name(known))


def test_the_report_says_which_of_the_listed_clinical_values_were_used(module_of):
    known = {"sex": "m", "age": 50.0}
    images = plugin_of(module_of).run(case_of(values=tuple(known.items())))
    assert images.notes[-1] == "Model t2-II-random_forest used no clinical value."
    assert not any("clinical" in note for note in plugin_of(module_of).run(case_of()).notes)
    blocks = ("t2_radiomic", "t2_deep", "clinical")
    plugin = plugin_of(module_of, blocks, model="t2-III-random_forest")
    used = plugin.run(case_of(values=tuple(known.items())))
    assert "Clinical values used: sex, age." in used.notes


def test_clinical_values_become_numbers_in_order(module_of):
    module = module_of("prepare.py")
    assert module.clinical(VALUES).tolist() == [1.0, 50.0, 2.0, 2.0, 2.0, 3.0]
    assert np.isnan(module.clinical({})).all()


def test_examples_hold_every_block_and_what_is_run_is_the_same(module_of):
    train = module_of("train.py")
    made = train.examples(case_of(), Labels(values={"recurrence": "yes"}))
    twice = {f"{block}_again" for block in IMAGES}
    assert set(made) == {*train.BLOCKS, *twice, "outcome"} and bool(made["outcome"])
    assert all(made[block].shape == (len(train.names_of(block)),) for block in train.BLOCKS)
    again = train.measured(case_of(), train.names_in(("t2_radiomic", "t2_deep")))
    assert all(np.array_equal(again[block], made[block]) for block in again)
    assert not np.array_equal(made["t2_radiomic"], made["t1_contrast_radiomic"])


def test_rules_are_numbers(module_of):
    found = module_of("train.py").score(case_of(values=tuple(VALUES.items())))
    assert found["n_category"] == 2.0 and found["ebv_dna"] == 1000.0
    assert all(np.isfinite(list(found.values()))) and found["volume"] > 100


def test_some_cases_are_read_twice_and_both_readings_agree_about_the_shape(module_of):
    train = module_of("train.py")
    train.TWICE = 1
    made = train.examples(case_of(), Labels(values={"recurrence": "no"}))
    for block in IMAGES:
        first, second = made[block], made[f"{block}_again"]
        assert np.isfinite(second).all() and not np.array_equal(first, second)
    at = train.names_of("t2_radiomic").index("original_shape_Sphericity")
    assert made["t2_radiomic_again"][at] == pytest.approx(made["t2_radiomic"][at], rel=0.2)


def test_what_a_second_reader_outlined_goes_before_a_simulated_reading(module_of):
    train, case = module_of("train.py"), case_of()
    second = {
        name: (replace(roi, mask=np.roll(roi.mask, 1, axis=2)),)
        for name, (roi,) in case.rois.items()
    }
    labels = Labels(values={"recurrence": "no"}, second_rois=second)

    made = train.examples(case, labels)

    expected = train.examples(replace(case, rois=second), Labels(values={"recurrence": "no"}))
    for block in ("t2_radiomic", "t1_contrast_deep"):
        np.testing.assert_array_equal(made[f"{block}_again"], expected[block])
        assert not np.array_equal(made[f"{block}_again"], made[block])


def test_a_second_outline_without_features_is_no_second_reading(module_of, monkeypatch):
    train = module_of("train.py")
    train.TWICE = 1
    read = train.measured
    answers = iter([read, refused])
    monkeypatch.setattr(train, "measured", lambda *given: next(answers)(*given))
    made = train.examples(case_of(), Labels(values={"recurrence": "no"}))
    assert np.isfinite(made["t2_radiomic"]).all() and np.isnan(made["t2_radiomic_again"]).all()


def refused(*given):
    raise NoFeatures("too small")


class Cases:
    """Cases whose T2 features differ by outcome."""

    def __init__(self, train, count=40):
        chance = np.random.default_rng(1)
        self.made = []
        for number in range(count):
            outcome = number % 2 == 0
            one = {
                block: chance.normal(0.0, 1.0, len(train.names_of(block))) for block in train.BLOCKS
            }
            for block in ("t2_radiomic", "t2_deep"):
                one[block][:3] += 2.0 * outcome
            for block in IMAGES:
                one[f"{block}_again"] = one[block] + chance.normal(0.0, 0.1, one[block].shape)
            whose = {"patient": np.array(f"line {number}"), "institution": np.array("")}
            self.made.append({**one, **whose, "outcome": np.array(outcome)})


class Run:
    model, workers = "t2-II-logistic", 1

    @staticmethod
    def progress(done, total, **figures):
        assert 0 <= done <= total


def test_what_is_fitted_is_what_the_plugin_loads(module_of):
    from types import SimpleNamespace

    from node.toolkit.training import write_weights

    train = module_of("train.py", model="t2-II-logistic")
    cases = Cases(train).made
    made = train.fit(SimpleNamespace(train=cases[:30], tuning=cases[30:]), seed=1, run=Run)
    assert made["parameters"]["model"] == "t2-II-logistic"
    assert 0 < made["parameters"]["threshold"] < 1
    write_weights(train.FOLDER / "weights.safetensors", made["weights.safetensors"])
    plugin = load_module(train.FOLDER, "plugin.py").Plugin()
    plugin.load("cpu")
    assert plugin.models["p_recurrence"].classifier == "logistic"
    assert {one.block for one in plugin.models["p_radiomic"].kept} == {"t2_radiomic"}
    assert 0 <= by_name(plugin.run(case_of()))["p_radiomic"].value <= 100
    # Studies of one patient stay together: forty of two patients are too few for any fold.
    few = [{**one, "patient": np.array(str(n % 2))} for n, one in enumerate(cases)]
    with pytest.raises(LearningError, match="1 patients with the outcome and 1 without"):
        train.fit(SimpleNamespace(train=few, tuning=[]), seed=1, run=Run)


def test_kept_features_are_counted_by_the_causes_they_show(module_of):
    (prepare := module_of("prepare.py")).FOLDER.joinpath("plugin.toml").write_text(
        MANIFEST.split("[weights]")[0], encoding="utf-8"
    )
    for name in OWN:
        sys.modules.pop(name, None)
    train = load_module(prepare.FOLDER, "train.py")
    kept = ["original_shape_Sphericity", "wavelet-LLL_firstorder_Mean", "original_glcm_Idm"]
    assert train.causes_kept("t2_deep", ["efficientnet_lite0.output.0001"]) is None
    found = train.causes_kept("t2_radiomic", kept)
    assert (found.families_kept, found.families) == (3, 4)
    assert found.share_null == 0.0 and found.enrichment == float("inf")


@pytest.mark.parametrize(
    ("name", "value", "unit", "sentence"),
    [
        ("ebv_dna", -1.0, "{copies}/mL", "0"),
        ("ebv_dna", 500.0, "ng/mL", "copies"),
        ("age", 400.0, "a", "110"),
        ("t_category", "t7", "", "t4"),
    ],
)
def test_a_clinical_value_out_of_range_or_in_the_wrong_unit_is_refused(
    module_of, tmp_path, name, value, unit, sentence
):
    module_of("prepare.py")
    spec = parse_manifest(tmp_path / "nasopharynx").clinical[name]
    with pytest.raises(ClinicalValueRefused, match=sentence):
        checked(spec, value, unit)


T1 = {
    **{"SeriesNumber": 3, "EchoTime": 11.0, "RepetitionTime": 600.0, "ScanningSequence": "SE"},
    "SeriesDescription": "t1_tse_tra",
}
T1_CONTRAST = {**T1, "SeriesNumber": 4, "ContrastBolusAgent": "Gadobutrol"}
T2 = {
    **T1,
    **{"SeriesNumber": 2, "EchoTime": 95.0, "RepetitionTime": 4200.0},
    "SeriesDescription": "t2_tse_tra 512",
}
#: More and thinner slices than those of T2: were it T2, it would be taken.
FINER = {**T2, "SeriesNumber": 7, "shape": (12, 16, 16), "spacing": (3.0, 0.8, 0.7)}
NOT_T2 = {
    "DWI of Siemens": (
        {
            **{"EchoTime": 75.0, "ScanningSequence": "EP", "SequenceName": "*ep_b1000t"},
            "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
        },
        "Image Type says DIFFUSION",
    ),
    "DWI of GE": ({"ScanningSequence": ["EP", "SE"]}, "Scanning Sequence says EP"),
    "DWI by its name": ({"SequenceName": "*ep_b1000t"}, "Sequence Name says EP"),
    "DWI of Philips": ({"DiffusionBValue": 1000.0}, "DiffusionBValue 1000 is said"),
    "ADC": ({"SeriesDescription": "Ax dADC Map"}, "Series Description says DADC"),
    "FLAIR": (
        {"EchoTime": 120.0, "RepetitionTime": 9000.0, "InversionTime": 2500.0},
        "InversionTime 2500 is said",
    ),
    "FLAIR in words": ({"SeriesDescription": "T2 dark-fluid"}, "Description says DARK FLUID"),
    "STIR": ({"InversionTime": 160.0}, "InversionTime 160 is said"),
    "STIR without its time": ({"ScanningSequence": ["SE", "IR"]}, "Scanning Sequence says IR"),
    "STIR in words": ({"SeriesDescription": "t2_tirm_tra"}, "Series Description says TIRM"),
    "localiser": ({"SeriesDescription": "HASTE_LOC"}, "Series Description says LOC"),
    "proton density": ({"EchoTime": 30.0}, "EchoTime 30 is not 60 to 300"),
    "short TR": ({"RepetitionTime": 700.0}, "RepetitionTime 700 is not 1500 to 20000"),
    "no TR": ({"RepetitionTime": None}, "RepetitionTime is absent"),
    "no TE": ({"EchoTime": None}, "EchoTime is absent"),
    "no sequence": ({"ScanningSequence": None}, "Scanning Sequence is absent"),
    "opposed phase": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "OPP_PHASE"]},
        "Image Type says OPP_PHASE",
    ),
}
DENIED = "a contrast agent is named, and the Series Description says without one"
NOT_T1 = {
    "proton density": (
        {"EchoTime": 30.0, "RepetitionTime": 4000.0},
        "RepetitionTime 4000 is not 1 to 1200",
    ),
    "no TR": ({"RepetitionTime": None}, "RepetitionTime is absent"),
    "no sequence": ({"ScanningSequence": None}, "Scanning Sequence is absent"),
    "perfusion": ({"ScanningSequence": "EP", "EchoTime": 30.0}, "Scanning Sequence says EP"),
    "T2*": ({"SeriesDescription": "t2_fl2d_tra", "EchoTime": 20.0}, "Description says T2"),
    "SWI": ({"SeriesDescription": "SWI_Images", "EchoTime": 20.0}, "Description says SWI"),
    # Scanners copy the agent into the series before the injection too.
    "before the agent": ({"SeriesDescription": "T1W TSE tra pre KM"}, DENIED),
    "before": ({"SeriesDescription": "T1W TSE tra pre"}, "Series Description says PRE"),
    "native": ({"SeriesDescription": "t1_tse_tra nativ"}, DENIED),
    "minus C": ({"SeriesDescription": "T1W TSE tra -C"}, DENIED),
    "without, in Spanish": ({"SeriesDescription": "T1 TSE sin contraste"}, DENIED),
    "without, shortened": ({"SeriesDescription": "T1 TSE tra s/c"}, DENIED),
    "without": ({"SeriesDescription": "T1 w/o Gd"}, DENIED),
    "fat of Siemens": ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "FAT"]}, "Image Type says FAT"),
    "fat of Philips": ({"ImageType": ["ORIGINAL", "PRIMARY", "F"]}, "Image Type says F"),
    "not given": ({"ContrastBolusVolume": 0}, "the amount given is 0"),
}


def chosen_of(tmp_path, *headers):
    """What the node chooses of MR series with these headers."""
    several = [mr_series(**{"BodyPartExamined": "HEADNECK", **header}) for header in headers]
    for one in several[1:]:
        with_identity_of(several[0][0], one)
    return select(parse_manifest(tmp_path / "nasopharynx"), [series(one) for one in several])


def test_sequences_are_told_by_contrast_agent_and_echo_time(module_of, tmp_path):
    module_of("prepare.py")
    selection = chosen_of(tmp_path, T2, T1, T1_CONTRAST)
    found = {role: one.header.SeriesNumber for role, one in selection.inputs.items()}
    assert found == {"t2": 2, "t1_contrast": 4} and selection.refusal is None


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ((T2, T1), "contrast agent is not named: required"),
        ((T2,), "t1_contrast"),
        ((T1, T1_CONTRAST), "EchoTime 11 is not 60 to 300"),
    ],
    ids=["T1 without contrast", "T2 alone", "no T2"],
)
def test_a_sequence_that_is_missing_is_refused(module_of, tmp_path, headers, sentence):
    module_of("prepare.py")
    refusal = chosen_of(tmp_path, *headers).refusal
    assert refusal.code is RefusalCode.NO_SUITABLE_SERIES
    assert sentence in refusal.sentence


@pytest.mark.parametrize(("header", "sentence"), NOT_T2.values(), ids=NOT_T2)
def test_what_is_no_t2_never_serves_as_t2(module_of, tmp_path, header, sentence):
    module_of("prepare.py")
    refusal = chosen_of(tmp_path, T1_CONTRAST, {**FINER, **header}).refusal
    assert refusal is not None and sentence in refusal.sentence
    beside = chosen_of(tmp_path, T2, T1_CONTRAST, {**FINER, **header})
    assert beside.inputs["t2"].header.SeriesNumber == 2


def test_a_finer_t2_and_one_that_says_an_inversion_of_0_are_taken(module_of, tmp_path):
    module_of("prepare.py")
    selection = chosen_of(tmp_path, T2, T1_CONTRAST, {**FINER, "InversionTime": "0"})
    assert selection.inputs["t2"].header.SeriesNumber == 7


@pytest.mark.parametrize(("header", "sentence"), NOT_T1.values(), ids=NOT_T1)
def test_what_is_no_t1_after_contrast_never_serves_as_it(module_of, tmp_path, header, sentence):
    module_of("prepare.py")
    refusal = chosen_of(tmp_path, T2, {**T1_CONTRAST, **header}).refusal
    assert refusal is not None and sentence in refusal.sentence


@pytest.mark.parametrize("numbers", [(5, 6), (6, 5)])
def test_of_two_t1_with_an_agent_the_one_that_says_contrast_is_taken(module_of, tmp_path, numbers):
    module_of("prepare.py")
    plain, after = (
        {**T1_CONTRAST, "SeriesNumber": number, "SeriesDescription": said}
        for number, said in zip(numbers, ("T1W TSE tra", "T1W TSE tra +C"), strict=True)
    )
    selection = chosen_of(tmp_path, T2, plain, after)
    assert selection.inputs["t1_contrast"].header.SeriesDescription == "T1W TSE tra +C"


def test_of_two_t1_with_an_agent_that_say_the_same_none_is_guessed(module_of, tmp_path):
    module_of("prepare.py")
    several = [
        {**T1_CONTRAST, "SeriesNumber": number, "SeriesDescription": "T1W TSE tra"}
        for number in (5, 6)
    ]
    refusal = chosen_of(tmp_path, T2, *several).refusal
    assert refusal.code is RefusalCode.PHASES_MIXED
    assert refusal.sentence.startswith("series 5, 6 name a contrast agent") and "+C" in str(refusal)


def test_all_models_are_compared_sequence_by_sequence(module_of, monkeypatch):
    from types import SimpleNamespace

    train = module_of("train.py")
    few = dict.fromkeys(train.BLOCKS, ("a", "b", "c")) | {"clinical": CLINICAL}
    chance = np.random.default_rng(2)
    cases = [
        {block: chance.normal(number % 2, 1.0, len(few[block])) for block in few}
        | {f"{block}_again": np.full(3, np.nan) for block in IMAGES}
        | {"outcome": np.array(number % 2 == 1), "patient": np.array(f"line {number}")}
        | {"institution": np.array("")}
        for number in range(40)
    ]
    monkeypatch.setattr(train, "CLASSIFIERS", ("logistic",))
    monkeypatch.setattr(sys.modules["prepare"], "names_of", few.__getitem__)
    monkeypatch.setattr(
        train, "HOW", replace(train.HOW, inner_folds=2, outer_folds=2, lasso_folds=2)
    )
    rows = train.compare(SimpleNamespace(train=cases[:30], tuning=cases[30:]), seed=0, run=Run)
    assert [row.model for row in rows] == [f"{s} {m}" for s in ROLES for m in ("I", "II", "III")]
    assert all(row.held_out.outcome.size == 10 for row in rows)
