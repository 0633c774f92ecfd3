"""The cohort of nasopharyngeal tumours: its law, what clinics know, and what its images show."""

import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from node.inference.child import load_module
from node.phantom.altered import grown
from node.phantom.institutions import TEST_ONLY_KERNEL
from node.phantom.law import by_noise
from node.radiomics_settings import RadiomicsSettings, feature_names
from node.toolkit.auroc import auroc
from node.toolkit.outlines import incomplete

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "nasopharyngeal_recurrence"
PAPER = RadiomicsSettings(
    image_types=("original", "wavelet", "log"),
    classes=("shape", "firstorder", "glcm", "glrlm", "glszm"),
    log_sigma_mm=(2.0, 3.0, 4.0, 5.0),
    drop=("shape_VoxelVolume",),
    pre_crop=True,
    bin_width=5.0,
)


@cache
def module():
    return load_module(PLUGIN, "cohort.py")


@cache
def plans(count=2000, seed=0, split="test"):
    return module().subjects(split, count, seed=seed)


@cache
def drawn(index=0):
    """A test subject as drawn."""
    plan = module().subjects("test", 6, seed=5)[index]
    return module().render(plan)


def separates(values, outcomes):
    return auroc(values[outcomes], values[~outcomes])


@pytest.mark.parametrize("seed", [0, 2_000_000])
def test_the_law_separates_as_well_as_a_perfect_reader_may(seed):
    risks = np.array([plan.risk for plan in plans(seed=seed)])
    outcomes = np.array([plan.recurrence for plan in plans(seed=seed)])
    assert 0.93 <= separates(risks, outcomes) <= 0.965
    assert 0.45 < outcomes.mean() < 0.55


def test_clinical_values_say_little_and_sex_age_and_extent_nothing():
    outcomes = np.array([plan.recurrence for plan in plans()])
    figures = {
        "ebv": [plan.ebv_dna for plan in plans()],
        "n": [int(plan.n_category[1]) for plan in plans()],
        "extent": [plan.diameter_mm for plan in plans()],
    }
    found = {name: separates(np.array(v, float), outcomes) for name, v in figures.items()}
    assert 0.55 < found["ebv"] < 0.65 and 0.55 < found["n"] < 0.65
    assert found["extent"] == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("t", "n", "stage"),
    [("t2", "n1", "ii"), ("t2", "n2", "iii"), ("t3", "n0", "iii"), ("t4", "n0", "iva"),
     ("t2", "n3", "iva")],
)  # fmt: skip
def test_stages_follow_from_t_and_n(t, n, stage):
    assert module().stage_of(t, n) == stage


@pytest.mark.parametrize(("split", "expected"), [("train", 0.7), ("test", 0.3)])
def test_institutions_go_with_outcomes_and_the_other_way_round_in_the_test(split, expected):
    noisy, _ = by_noise(module().COHORT.sites(split))
    found = plans(3000, 4, split)
    there = np.array([plan.institution in noisy for plan in found])
    outcomes = np.array([plan.recurrence for plan in found])
    assert there[outcomes].mean() == pytest.approx(expected, abs=0.035)
    assert there[~outcomes].mean() == pytest.approx(1 - expected, abs=0.035)


def test_noisier_institutions_have_noisier_mr_scanners():
    sites = module().COHORT.sites("test")
    noisy, quiet = by_noise(sites)
    plan = plans()[0]
    noise = {
        index: module()._scans(replace(plan, institution=index))["t2"].noise
        for index in range(len(sites))
    }
    apart = np.mean([noise[n] for n in noisy]) / np.mean([noise[n] for n in quiet])
    assert apart > 1.2


def test_institutions_a_kernel_and_lobes_of_the_test_are_never_trained_on():
    train, test = (module().COHORT.sites(split) for split in ("tuning", "test"))
    assert module().COHORT.sites("train") == train
    assert not {site.name for site in train} & {site.name for site in test}
    assert any(TEST_ONLY_KERNEL in site.kernels for site in test)
    assert not any(TEST_ONLY_KERNEL in site.kernels for site in train)
    lobes = {
        split: [module()._has_lobe(plan, np.random.default_rng(n)) for n in range(60)]
        for split in ("train", "test")
        for plan in [plans(10, 0, split)[0]]
    }
    assert 0.1 < np.mean(lobes["test"]) < 0.5 and not any(lobes["train"])


def test_plans_are_drawn_once_and_for_all():
    found = module().subjects("train", 30, seed=1)
    assert found[:10] == module().subjects("train", 10, seed=1)
    assert found != module().subjects("tuning", 30, seed=1)
    assert found != module().subjects("train", 30, seed=2)
    assert len({plan.patient for plan in found}) == 30


def test_causes_know_nothing_of_each_other():
    table = np.array([[value for _, value in plan.places] for plan in plans()])
    assert np.abs(np.corrcoef(table.T) - np.eye(table.shape[1])).max() < 0.08


def test_the_same_plan_gives_the_same_case():
    first = drawn()
    module()._drawn.cache_clear()
    again = module().render(module().subjects("test", 6, seed=5)[0])
    for role, volume in first.case.volumes.items():
        assert np.array_equal(volume.array, again.case.volumes[role].array)
        (roi,) = again.case.rois[module().TUMOR[role]]
        assert roi.role == role and roi.mask.any() and roi.mask.shape == volume.array.shape
        assert np.array_equal(roi.mask, first.case.rois[module().TUMOR[role]][0].mask)
    assert first.facts == again.facts and first.case.values == again.case.values


def test_neither_causes_nor_outcome_reach_the_case():
    subject = drawn()
    assert not subject.labels.masks and not subject.case.attributes
    assert {roi.label for several in subject.case.rois.values() for roi in several} == {"tumor"}
    names = {"sex", "age", "t_category", "n_category", "stage", "ebv_dna"}
    assert set(subject.case.values) == names
    told = {word.lower() for header in subject.headers.values() for word in header}
    assert not told & ({"recurrence"} | set(module().COHORT.law.causes))


def test_only_t1_names_a_contrast_agent():
    headers = drawn().headers
    assert "ContrastBolusAgent" in headers["t1_contrast"]
    assert "ContrastBolusAgent" not in headers["t2"]


def test_variants_change_what_their_kind_says():
    for plan in module().subjects("test", 8, seed=6):
        by_kind = {}
        for variant in module().variants(plan):
            by_kind.setdefault(variant.kind, []).append(variant.plan)
        assert {kind: len(found) for kind, found in by_kind.items()} == {
            "cause": 4,
            "nuisance": 4,
            "input": 2,
            "blank": 1,
            "control": 1,
        }
        for changed in by_kind.pop("cause"):
            assert changed.risk != plan.risk and changed.recurrence == plan.recurrence
            assert changed.institution == plan.institution
        for changed in [one for several in by_kind.values() for one in several]:
            assert (changed.risk, changed.recurrence) == (plan.risk, plan.recurrence)


def test_the_control_has_institutions_that_outcomes_have_no_say_in():
    noisy, _ = by_noise(module().COHORT.sites("test"))
    found = plans(1500, 7)
    apart = [v.plan for plan in found for v in module().variants(plan) if v.kind == "control"]
    there = np.array([plan.institution in noisy for plan in apart])
    outcomes = np.array([plan.recurrence for plan in apart])
    assert there[outcomes].mean() == pytest.approx(there[~outcomes].mean(), abs=0.06)


@pytest.mark.parametrize("what", ["noise", "bias", "pose", "institution"])
def test_a_nuisance_changes_both_images_and_no_cause(what):
    plan = module().subjects("test", 6, seed=5)[0]
    changed = module().render(module().COHORT.nuisance(plan, what))
    for role, volume in drawn().case.volumes.items():
        other = changed.case.volumes[role].array
        assert volume.array.shape != other.shape or not np.array_equal(volume.array, other)
    assert changed.facts["oracle"] == drawn().facts["oracle"]
    if what in ("noise", "bias"):
        for name, (roi,) in drawn().case.rois.items():
            assert np.array_equal(roi.mask, changed.case.rois[name][0].mask)


def test_altered_cases_differ_in_what_was_altered_alone():
    plan, before = module().subjects("test", 6, seed=5)[0], drawn().case
    changed = {
        v.name: module().render(v.plan).case
        for v in module().variants(plan)
        if v.kind in {"input", "blank"}
    }
    for role, name in module().TUMOR.items():
        contour = before.rois[name][0].mask
        for what in (module().SHIFTED, module().GROWN):
            assert np.array_equal(changed[what].volumes[role].array, before.volumes[role].array)
        moved, more = (changed[w].rois[name][0].mask for w in (module().SHIFTED, module().GROWN))
        assert moved.sum() == contour.sum() and not np.array_equal(moved, contour)
        assert more.sum() > 1.1 * contour.sum()


def test_the_disc_hides_all_of_the_tumour_and_is_the_same_for_all():
    values = []
    for plan in module().subjects("test", 2, seed=9):
        (blank,) = (v.plan for v in module().variants(plan) if v.kind == "blank")
        tumour = module().render(replace(blank, altered="")).case.rois["tumor_t2"][0].mask
        case = module().render(blank).case
        image, outline = case.volumes["t2"].array, case.rois["tumor_t2"][0].mask
        # A control that the plugin refuses would show nothing.
        assert incomplete(outline, case.volumes["t2"].spacing_mm) == ""
        around = grown(tumour, case.volumes["t2"].spacing_mm, 4.0)
        values.append([image[part].mean() for part in (outline, around)])
        values.append([image[outline].std()] * 2)
    assert np.allclose(np.array(values)[::2], 300, atol=4)
    assert np.allclose(np.array(values)[1::2], 30, atol=4)


def seen(subject, role):
    """What one measures of a tumour in one sequence, by cause."""
    volume, (roi,) = subject.case.volumes[role], subject.case.rois[module().TUMOR[role]]
    signal, mask = volume.array.astype(np.float32), roi.mask
    index = int(mask.sum(axis=(1, 2)).argmax())
    inside = grown(mask, volume.spacing_mm, -3.0)
    pairs = inside[:, :, 1:] & inside[:, :, :-1]
    steps = (signal[:, :, 1:] - signal[:, :, :-1])[pairs]
    return {
        "heterogeneity": signal[inside].std() / signal[inside].mean(),
        "coarseness": signal[inside].std() / steps.std(),
        "irregularity": unlike_an_oval(mask[index]),
        "signal": signal[mask].mean() / np.median(signal[signal > 0.2 * signal.max()]),
    }


def unlike_an_oval(plane):
    """Share of a region that it does not have in common with the ellipse of its moments."""
    points = np.argwhere(plane)
    middle, spread = points.mean(axis=0), np.cov(points.T)
    away = np.moveaxis(np.indices(plane.shape), 0, -1) - middle
    inside = np.einsum("rci,ij,rcj->rc", away, np.linalg.inv(spread), away) <= 4.0
    return np.count_nonzero(inside ^ plane) / np.count_nonzero(plane)


@pytest.mark.parametrize("cause", ["heterogeneity", "coarseness", "irregularity", "signal"])
def test_every_cause_is_seen_in_both_sequences(cause):
    plan = replace(module().subjects("train", 2, seed=8)[1], diameter_mm=44.0)
    usual = dict.fromkeys(module().COHORT.law.causes, 0.5) | {"irregularity": 0.2}
    ends = [
        module().render(replace(plan, places=tuple({**usual, cause: place}.items())))
        for place in (0.0, 1.0)
    ]
    for role in module().SEQUENCES:
        low, high = (seen(end, role)[cause] for end in ends)
        assert high > 1.25 * low


def test_families_of_features_are_there_and_share_none():
    names = set(feature_names(PAPER))
    assert len(names) == 975
    tables = tomllib.loads((PLUGIN / "families.toml").read_text(encoding="utf-8"))
    assert set(tables) == {f"{role}_radiomic" for role in module().SEQUENCES}
    for families in tables.values():
        assert set(families) == set(module().COHORT.law.causes)
        assert all(len(several) >= 3 for several in families.values())
        all_of_them = [name for several in families.values() for name in several]
        assert len(all_of_them) == len(set(all_of_them)) and set(all_of_them) < names
        assert "original_shape_Sphericity" in families["irregularity"]
        assert "original_firstorder_Median" in families["signal"]
