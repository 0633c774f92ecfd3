"""Cohorts of the plugins that judge an outlined lesion: their laws, and what their images show."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from node.inference.child import load_module
from node.phantom.altered import grown
from node.phantom.institutions import TEST_ONLY_KERNEL
from node.phantom.law import by_noise
from node.toolkit.auroc import auroc

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
NODES, LIVER = "axillary_node_metastasis", "hcc_microvascular_invasion"


@cache
def cohort(name):
    return load_module(PLUGINS / name, "cohort.py")


def lesions(name, plans):
    """Risk, outcome and patient's institution of every lesion."""
    if name == LIVER:
        return [(plan.risk, plan.invasion, plan.institution) for plan in plans]
    return [(n.risk, n.metastasis, plan.institution) for plan in plans for n in plan.lesions]


both = pytest.mark.parametrize("name", [NODES, LIVER])


@both
@pytest.mark.parametrize("seed", [0, 2_000_000])
def test_the_law_separates_as_well_as_a_perfect_reader_may(name, seed):
    found = lesions(name, cohort(name).subjects("test", 2000, seed=seed))
    risks, outcomes = (np.array(part) for part in list(zip(*found, strict=True))[:2])
    assert 0.92 <= auroc(risks[outcomes], risks[~outcomes]) <= 0.97
    assert 0.4 < outcomes.mean() < 0.6


@both
@pytest.mark.parametrize(("split", "expected"), [("train", 0.7), ("test", 0.3)])
def test_institutions_go_with_outcomes_and_the_other_way_round_in_the_test(name, split, expected):
    module = cohort(name)
    noisy, _ = by_noise(module.COHORT.sites(split))
    found = lesions(name, module.subjects(split, 3000, seed=4))
    there = np.array([site in noisy for _, _, site in found])
    outcomes = np.array([outcome for _, outcome, _ in found])
    assert there[outcomes].mean() == pytest.approx(expected, abs=0.035)
    assert there[~outcomes].mean() == pytest.approx(1 - expected, abs=0.035)


@both
def test_institutions_and_a_kernel_of_the_test_are_never_trained_on(name):
    train, test = (cohort(name).COHORT.sites(split) for split in ("tuning", "test"))
    assert cohort(name).COHORT.sites("train") == train
    assert not {site.name for site in train} & {site.name for site in test}
    assert any(TEST_ONLY_KERNEL in site.kernels for site in test)
    assert not any(TEST_ONLY_KERNEL in site.kernels for site in train)


@both
def test_plans_are_drawn_once_and_for_all(name):
    module = cohort(name)
    plans = module.subjects("train", 30, seed=1)
    assert plans[:10] == module.subjects("train", 10, seed=1)
    assert plans != module.subjects("tuning", 30, seed=1)
    assert plans != module.subjects("train", 30, seed=2)
    assert len({plan.patient for plan in plans}) == 30


@both
def test_causes_of_a_cohort_know_nothing_of_each_other(name):
    plans = cohort(name).subjects("train", 1500, seed=3)
    places = [lesion.places for plan in plans for lesion in getattr(plan, "lesions", (plan,))]
    table = np.array([[value for _, value in row] for row in places])
    apart = np.corrcoef(table.T) - np.eye(table.shape[1])
    assert np.abs(apart).max() < 0.08


@both
def test_the_same_plan_gives_the_same_case(name):
    module = cohort(name)
    (plan,) = module.subjects("test", 1, seed=5)
    first = module.render(plan)
    module._drawn.cache_clear()
    again = module.render(plan)
    for role, volume in first.case.volumes.items():
        assert np.array_equal(volume.array, again.case.volumes[role].array)
        assert np.array_equal(volume.affine, again.case.volumes[role].affine)
    for role, regions in first.case.rois.items():
        for one, other in zip(regions, again.case.rois[role], strict=True):
            assert one.mask.any() and np.array_equal(one.mask, other.mask)
            assert one.mask.shape == first.case.volumes[one.role].array.shape
    assert first.facts == again.facts and first.labels.values == again.labels.values


@both
def test_neither_causes_nor_outcome_reach_the_case(name):
    module = cohort(name)
    subject = module.render(module.subjects("test", 1, seed=5)[0])
    assert not subject.labels.masks and not subject.case.attributes
    told = {word for roi in subject.case.rois.values() for r in roi for word in r.label.split()}
    assert told <= {"node", "1", "2", "3", "tumor", "lesser_omental_fat"}
    drawn = set(module.COHORT.law.causes) | set(subject.labels.values)
    assert not drawn & {word.lower() for header in subject.headers.values() for word in header}


@both
def test_variants_change_what_their_kind_says(name):
    module = cohort(name)
    for plan in module.subjects("test", 12, seed=6):
        by_kind = {}
        for variant in module.variants(plan):
            by_kind.setdefault(variant.kind, []).append(variant)
        assert {kind: len(found) for kind, found in by_kind.items()} == {
            "cause": len(module.COHORT.law.causes),
            "nuisance": 4,
            "input": 2,
            "blank": 1,
            "control": 1,
            **({"swap": 1} if name == LIVER else {}),
        }
        before = lesions(name, [plan])
        for variant in by_kind["cause"]:
            after = lesions(name, [variant.plan])
            assert all(a[0] != b[0] and a[1] == b[1] for a, b in zip(after, before, strict=True))
            assert variant.plan.institution == plan.institution
        for kind in ("nuisance", "input", "blank", "control", "swap"):
            for variant in by_kind.get(kind, []):
                after = lesions(name, [variant.plan])
                assert [a[:2] for a in after] == [b[:2] for b in before]


@both
def test_the_control_has_institutions_that_outcomes_have_no_say_in(name):
    module = cohort(name)
    noisy, _ = by_noise(module.COHORT.sites("test"))
    plans = module.subjects("test", 1500, seed=7)
    apart = [v.plan for plan in plans for v in module.variants(plan) if v.kind == "control"]
    found = lesions(name, apart)
    there = np.array([site in noisy for _, _, site in found])
    outcomes = np.array([outcome for _, outcome, _ in found])
    assert there[outcomes].mean() == pytest.approx(there[~outcomes].mean(), abs=0.06)


@both
def test_altered_cases_differ_in_what_was_altered_alone(name):
    module = cohort(name)
    (plan,) = module.subjects("test", 1, seed=5)
    role, region = ("ct", "axillary_node") if name == NODES else ("portal_venous", module.TUMOR)
    before = module.render(plan)
    image, contour = before.case.volumes[role].array, before.case.rois[region][0].mask
    changed = {
        v.name: module.render(v.plan).case
        for v in module.variants(plan)
        if v.kind in {"input", "blank"} and "fat of another" not in v.name
    }
    for what in (module.SHIFTED, module.GROWN):
        assert np.array_equal(changed[what].volumes[role].array, image)
        assert not np.array_equal(changed[what].rois[region][0].mask, contour)
    assert changed[module.SHIFTED].rois[region][0].mask.sum() == contour.sum()
    assert changed[module.GROWN].rois[region][0].mask.sum() > 1.1 * contour.sum()
    hidden = changed[module.COVERED]
    inside = hidden.volumes[role].array[hidden.rois[region][0].mask]
    assert (inside == module.COHORT.table["altered"]["disc_hu"]).all()


def with_places(module, plan, **places):
    """The same patient with causes put where the test wants them; one lesion."""
    if hasattr(plan, "lesions"):
        lesion = plan.lesions[0]
        changed = tuple({**dict(lesion.places), **places}.items())
        return module.replace(plan, lesions=(module.replace(lesion, places=changed),))
    return module.replace(plan, places=tuple({**dict(plan.places), **places}.items()))


def largest(mask):
    """The mask in its largest slice only."""
    index = int(mask.sum(axis=(1, 2)).argmax())
    alone = np.zeros_like(mask)
    alone[index] = mask[index]
    return alone


def unlike_an_oval(plane):
    """Share of a region that it does not have in common with the ellipse of its moments."""
    points = np.argwhere(plane)
    middle, spread = points.mean(axis=0), np.cov(points.T)
    away = np.moveaxis(np.indices(plane.shape), 0, -1) - middle
    inside = np.einsum("rci,ij,rcj->rc", away, np.linalg.inv(spread), away) <= 4.0
    return np.count_nonzero(inside ^ plane) / np.count_nonzero(plane)


def seen_of_node(subject):
    """What one measures of a node in its largest slice, by cause."""
    volume, (region, *_) = subject.case.volumes["ct"], subject.case.rois["axillary_node"]
    mask, spacing = largest(region.mask), volume.spacing_mm
    hu = volume.array.astype(np.float32)
    rim = mask & ~grown(mask, spacing, -1.5)
    core = np.percentile(hu[mask], 10)
    around = grown(mask, spacing, 4.5) & ~grown(mask, spacing, 1.0)
    return {
        "size": np.count_nonzero(mask) * spacing[1] * spacing[2],
        "cortex": hu[mask].mean(),
        "hilum": np.median(hu[rim]) - core,
        "margin": unlike_an_oval(mask.any(axis=0)),
        "stranding": hu[around].mean(),
    }


def seen_of_liver(subject):
    """What one measures of a tumour and of the fat, by cause."""
    arterial = subject.case.volumes["arterial"].array.astype(np.float32)
    portal = subject.case.volumes["portal_venous"]
    spacing = portal.spacing_mm
    (tumor,), (fat,) = (subject.case.rois[n] for n in ("tumor", "lesser_omental_fat"))
    mask = largest(tumor.mask)
    plane = mask.any(axis=0)
    points = np.argwhere(plane) * spacing[1:]
    near = grown(mask, spacing, 7.0) & ~grown(mask, spacing, 2.0)
    far = grown(mask, spacing, 24.0) & ~grown(mask, spacing, 14.0)
    fatty = fat.mask & (portal.array >= -190) & (portal.array <= -30)
    return {
        "margin": unlike_an_oval(plane),
        "corona": np.median(arterial[near]) - np.median(arterial[far]),
        "diameter": max(np.hypot(*(points - point).T).max() for point in points),
        "loat": fatty.sum(axis=(1, 2)).max() * spacing[1] * spacing[2] / 100,
    }


@pytest.mark.parametrize(
    ("name", "measure", "index"),
    [(NODES, seen_of_node, 0), (NODES, seen_of_node, 1), (LIVER, seen_of_liver, 0)],
)
def test_every_cause_is_seen_in_the_image(name, measure, index):
    module = cohort(name)
    plan = module.subjects("test", 2, seed=8)[index]
    # A node with a hilum to look into; all else in the lower half.
    usual = {"cortex": 0.1, "hilum": 0.9, "size": 0.7} if name == NODES else {"diameter": 0.6}
    usual = {**dict.fromkeys(module.COHORT.law.causes, 0.3), **usual}
    for cause in module.COHORT.law.causes:
        low, high = (
            measure(module.render(with_places(module, plan, **{**usual, cause: place})))[cause]
            for place in (0.0, 1.0)
        )
        assert high > low + max(5.0 if cause in {"cortex", "corona"} else 0.0, 0.2 * abs(low))
