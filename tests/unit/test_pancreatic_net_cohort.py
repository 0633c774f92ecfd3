"""The cohort of pancreatic tumours: its law, its pathology, and what its images show."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from node.inference.child import load_module
from node.phantom.altered import grown
from node.phantom.institutions import TEST_ONLY_KERNEL
from node.phantom.law import by_noise
from node.toolkit.auroc import auroc
from node.toolkit.diameters import longest_3d_mm
from node.toolkit.outlines import incomplete

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "pancreatic_net_nodal_metastasis"


@cache
def module():
    return load_module(PLUGIN, "cohort.py")


@cache
def plans(count=2500, seed=0, split="test"):
    return module().subjects(split, count, seed=seed)


def drawn(*names, **of):
    """What the plans say, an array for each name."""
    return [np.array([getattr(plan, name) for plan in plans(**of)]) for name in names]


def separates(risks, outcomes):
    return auroc(risks[outcomes], risks[~outcomes])


@pytest.mark.parametrize("seed", [0, 2_000_000])
def test_what_images_show_separates_as_well_as_a_perfect_reader_may(seed):
    risk, full_risk, outcome = drawn("risk", "full_risk", "metastasis", seed=seed)
    assert 0.92 <= separates(risk, outcome) <= 0.95
    assert 0.955 <= separates(full_risk, outcome) <= 0.98
    assert 0.45 < outcome.mean() < 0.55


def test_small_and_large_tumors_are_told_apart_by_the_law_nearly_as_well():
    risk, outcome = drawn("risk", "metastasis")
    place = np.array([dict(plan.places)["diameter"] for plan in plans()])
    small = module().COHORT.law.causes["diameter"].value(place) <= module().SMALL_MM
    assert 0.3 < small.mean() < 0.5
    for group in (small, ~small):
        assert separates(risk[group], outcome[group]) > 0.9
        assert 0.3 < outcome[group].mean() < 0.65


def test_risks_by_images_alone_are_the_mean_over_what_pathology_may_find():
    risk, full_risk, outcome = drawn("risk", "full_risk", "metastasis")
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        there = (risk >= low) & (risk < high)
        for known in (risk, full_risk):
            assert known[there].mean() == pytest.approx(outcome[there].mean(), abs=0.04)


@pytest.mark.parametrize(
    ("name", "worse"),
    [("vascular_invasion", "yes"), ("perineural_invasion", "yes"), ("grade", "g3")],
)
def test_pathology_adds_to_the_risk_and_knows_nothing_of_the_causes(name, worse):
    has = np.array([dict(plan.pathology)[name] == worse for plan in plans()])
    risk, outcome = drawn("risk", "metastasis")
    assert has.mean() == pytest.approx(
        module().COHORT.table["pathology"][name]["shares"][worse], abs=0.03
    )
    assert outcome[has].mean() > outcome[~has].mean() + 0.1
    assert risk[has].mean() == pytest.approx(risk[~has].mean(), abs=0.05)


def test_causes_know_nothing_of_each_other():
    table = np.array([[value for _, value in plan.places] for plan in plans()])
    assert np.abs(np.corrcoef(table.T) - np.eye(table.shape[1])).max() < 0.06


def test_the_tumor_comes_back_earlier_with_metastasis():
    months, came_back, outcome = drawn("months", "came_back", "metastasis")
    assert came_back[outcome].mean() > came_back[~outcome].mean() + 0.2
    assert months[outcome].mean() < months[~outcome].mean()


@pytest.mark.parametrize(("split", "expected"), [("train", 0.7), ("test", 0.3)])
def test_institutions_go_with_outcomes_and_the_other_way_round_in_the_test(split, expected):
    noisy, _ = by_noise(module().COHORT.sites(split))
    site, outcome = drawn("institution", "metastasis", split=split)
    there = np.isin(site, noisy)
    assert there[outcome].mean() == pytest.approx(expected, abs=0.035)
    assert there[~outcome].mean() == pytest.approx(1 - expected, abs=0.035)


def test_institutions_and_a_kernel_of_the_test_are_never_trained_on():
    train, test = (module().COHORT.sites(split) for split in ("tuning", "test"))
    assert not {site.name for site in train} & {site.name for site in test}
    assert any(TEST_ONLY_KERNEL in site.kernels for site in test)
    assert not any(TEST_ONLY_KERNEL in site.kernels for site in train)


def test_plans_are_drawn_once_and_for_all():
    first = plans(count=30, seed=1, split="train")
    assert first[:10] == module().subjects("train", 10, seed=1)
    assert first != module().subjects("tuning", 30, seed=1)
    assert first != module().subjects("train", 30, seed=2)


def test_the_same_plan_gives_the_same_case():
    plan = plans(count=1, seed=5)[0]
    first = module().render(plan)
    module()._drawn.cache_clear()
    again = module().render(plan)
    for one, other in ((first, again), (again, first)):
        assert np.array_equal(one.case.volumes["ct"].array, other.case.volumes["ct"].array)
        assert np.array_equal(one.case.rois["tumor"][0].mask, other.case.rois["tumor"][0].mask)
    assert first.facts == again.facts and first.labels.values == again.labels.values


def test_a_case_has_pathology_and_nothing_of_the_law():
    subject = module().render(plans(count=1, seed=5)[0])
    assert set(subject.case.values) == {"vascular_invasion", "perineural_invasion", "grade"}
    assert isinstance(subject.case.values["vascular_invasion"], bool)
    assert subject.case.values["grade"] in {"g1", "g2", "g3"}
    assert not subject.labels.masks and not subject.case.attributes
    assert subject.case.rois["tumor"][0].label == "tumor"
    told = set(module().COHORT.law.causes) | set(subject.labels.values)
    assert not told & {word.lower() for header in subject.headers.values() for word in header}


def test_variants_change_what_their_kind_says():
    for plan in plans(count=12, seed=6):
        by_kind = {}
        for variant in module().variants(plan):
            by_kind.setdefault(variant.kind, []).append(variant.plan)
        counts = {"cause": 4, "nuisance": 4, "input": 2, "blank": 1, "control": 1}
        assert {kind: len(found) for kind, found in by_kind.items()} == counts
        assert all(p.risk != plan.risk and p.pathology == plan.pathology for p in by_kind["cause"])
        others = [p for kind, found in by_kind.items() if kind != "cause" for p in found]
        assert all((p.risk, p.full_risk) == (plan.risk, plan.full_risk) for p in others)


def test_altered_cases_differ_in_what_was_altered_alone():
    plan = plans(count=1, seed=5)[0]
    before = module().render(plan).case
    image, contour = before.volumes["ct"].array, before.rois["tumor"][0].mask
    changed = {
        v.name: module().render(v.plan).case
        for v in module().variants(plan)
        if v.kind in {"input", "blank"}
    }
    for what in (module().SHIFTED, module().GROWN):
        assert np.array_equal(changed[what].volumes["ct"].array, image)
        assert not np.array_equal(changed[what].rois["tumor"][0].mask, contour)
    assert changed[module().GROWN].rois["tumor"][0].mask.sum() > 1.05 * contour.sum()
    hidden = changed[module().COVERED]
    inside = hidden.volumes["ct"].array[hidden.rois["tumor"][0].mask]
    altered = module().COHORT.table["altered"]
    assert inside.mean() == pytest.approx(altered["disc_hu"], abs=2)
    assert inside.std() == pytest.approx(altered["disc_noise_hu"], rel=0.15)
    # A control that the plugin refuses would show nothing.
    assert incomplete(hidden.rois["tumor"][0].mask, hidden.volumes["ct"].spacing_mm) == ""


def smoothed(array):
    """The mean of each voxel and its neighbours in the slice: less of the scanner's noise."""
    padded = np.pad(array.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    parts = [padded[:, r : r + array.shape[1], c : c + array.shape[2]]
             for r in range(3) for c in range(3)]  # fmt: skip
    return np.mean(parts, axis=0)


def seen(subject):
    """What one measures of a tumour, by cause."""
    volume, mask = subject.case.volumes["ct"], subject.case.rois["tumor"][0].mask
    spacing = volume.spacing_mm
    deep = grown(mask, spacing, -2.0)
    diameter = longest_3d_mm(mask, volume.affine)
    return {
        "heterogeneity": smoothed(volume.array)[deep].std(),
        "irregularity": -np.count_nonzero(mask) * volume.voxel_volume_mm3 / diameter**3,
        "enhancement": -float(np.median(volume.array[mask])),
        "diameter": diameter,
    }


def test_every_cause_is_seen_in_the_image():
    (plan,) = plans(count=1, seed=8)
    usual = dict.fromkeys(module().COHORT.law.causes, 0.4)
    for cause in usual:
        low, high = (
            seen(module().render(replace(plan, places=tuple({**usual, cause: at}.items()))))[cause]
            for at in (0.0, 1.0)
        )
        assert high > low + (30.0 if cause == "enhancement" else 0.25 * abs(low))


def test_every_family_of_features_belongs_to_a_cause():
    assert set(module().COHORT.table["families"]) == set(module().COHORT.law.causes)
