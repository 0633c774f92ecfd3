import dataclasses

import numpy as np
import pytest

from node.phantom.acquisition import Acquisition, acquire, institutions
from node.phantom.distractors import DISTRACTORS
from node.phantom.institutions import KERNELS, TEST_ONLY_KERNEL
from node.phantom.scene import Pose, axial_grid
from node.phantom.subject import Streams
from node.phantom.thorax import ChestAnatomy, thorax
from node.phantom.tissue import contrast
from tests.unit.phantom.subjects import chest_subject

GRID = axial_grid((38, 96, 96), (8.0, 4.0, 4.0), (0, 4, -22))


def chest(seed=1, **options):
    return thorax(ChestAnatomy.drawn(np.random.default_rng(seed)), **options)


def value_at(scene, point):
    grid = axial_grid((1, 3, 3), (1.0, 1.0, 1.0), point)
    return float(scene.render(grid)[0, 1, 1])


@pytest.mark.parametrize("seed", range(4))
def test_a_chest_has_air_fat_soft_tissue_and_bone_in_plausible_shares(seed):
    hu = chest(seed).scene.render(GRID)
    litres = {
        "lungs": ((hu > -950) & (hu < -700)).sum() * 0.128e-3,
        "fat": ((hu > -150) & (hu < -50)).sum() * 0.128e-3,
        "soft": ((hu > 0) & (hu < 250)).sum() * 0.128e-3,
        "bone": (hu > 300).sum() * 0.128e-3,
    }
    assert 2.0 < litres["lungs"] < 9.0, litres
    assert 0.5 < litres["fat"] < 14.0, litres
    assert 5.0 < litres["soft"] < 20.0, litres
    assert 0.2 < litres["bone"] < 3.0, litres


def test_vessels_follow_the_phase():
    rng = np.random.default_rng
    at = {phase: contrast(phase, rng(3)) for phase in ("none", "early", "portal")}
    assert at["none"].aorta < 60 < at["portal"].aorta < at["early"].aorta
    assert at["early"].portal < at["portal"].portal
    assert at["none"].wash == 0 < at["early"].wash < at["portal"].wash
    for phase, blood in at.items():
        body = chest(2, phase=phase, blood=blood)
        place = body.landmarks["descending_aorta"]
        assert value_at(body.scene, place) == pytest.approx(blood.aorta, abs=3), phase


def test_vessels_may_stay_without_contrast_medium():
    blood = dataclasses.replace(contrast("early", np.random.default_rng(1)), aorta=42.0)
    body = chest(2, phase="early", blood=blood)
    assert value_at(body.scene, body.landmarks["descending_aorta"]) == pytest.approx(42, abs=3)


def test_fat_lies_before_the_great_vessels_and_lung_beside_them():
    for seed in range(5):
        body = chest(seed)
        assert -130 < value_at(body.scene, body.landmarks["anterior_mediastinum"]) < 60
        for side in ("left", "right"):
            values = body.scene.mask(GRID, "lung")
            assert values.any(), side


def test_one_seed_gives_one_chest_and_another_another():
    first, again, other = (chest(seed).scene.render(GRID) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_what_the_scanner_does_leaves_the_truth_as_it_is():
    one, other = chest_subject(3, scan_seed=1), chest_subject(3, scan_seed=2)
    same = one.case.volumes["ct"].array.shape == other.case.volumes["ct"].array.shape
    if same and np.allclose(one.case.volumes["ct"].affine, other.case.volumes["ct"].affine):
        assert np.array_equal(one.labels.masks["tumor"], other.labels.masks["tumor"])
    volumes = [
        subject.labels.masks["tumor"].sum() * subject.case.volumes["ct"].voxel_volume_mm3
        for subject in (one, other)
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.08)
    assert one.case.attributes == other.case.attributes


def test_noise_and_phase_leave_the_mask_voxel_for_voxel():
    grid, truths = GRID, []
    for phase in ("none", "early"):
        body = chest(4, phase=phase)
        paints = DISTRACTORS["pericardial_cyst"](body, np.random.default_rng(1))
        truths.append(body.with_paints(paints).scene.mask(grid, "cyst"))
    assert np.array_equal(*truths)


def test_streams_do_not_know_each_other():
    used, fresh = Streams.of(1, 2, 3), Streams.of(1, 2, 3)
    used.noise.random(1000)
    used.outcome.random(7)
    for name in ("anatomy", "lesion", "acquisition"):
        assert getattr(used, name).random() == getattr(fresh, name).random()
    assert Streams.of(1, 2, 4).anatomy.random() != Streams.of(1, 2, 3).anatomy.random()


@pytest.mark.parametrize("name", sorted(DISTRACTORS))
def test_a_distractor_is_seen_where_it_is_put(name):
    body = chest(7)
    paints = DISTRACTORS[name](body, np.random.default_rng(2))
    seen = body.with_paints(paints).scene.mask(GRID, *{paint.name for paint in paints})
    assert seen.any()
    same = DISTRACTORS[name](body, np.random.default_rng(2))
    again = body.with_paints(same).scene.mask(GRID, *{paint.name for paint in same})
    assert np.array_equal(seen, again)


def test_families_of_institutions_share_nothing():
    train, test = institutions(15, seed=3), institutions(121, seed=3, family="test")
    assert len({site.name for site in (*train, *test)}) == 136
    assert not {site.noise_hu for site in train} & {site.noise_hu for site in test}
    assert not any(TEST_ONLY_KERNEL in site.kernels for site in train)
    assert any(TEST_ONLY_KERNEL in site.kernels for site in test)
    assert {KERNELS[k][2] for site in train for k in site.kernels} <= {"soft", "medium", "fine"}
    assert institutions(15, seed=3) == train
    with pytest.raises(ValueError, match="train or test"):
        institutions(1, seed=1, family="other")


def test_an_institution_keeps_its_habits():
    (site,) = institutions(1, seed=9)
    scans = [Acquisition.drawn(site, np.random.default_rng(seed)) for seed in range(30)]
    assert {scan.kernel for scan in scans} <= set(site.kernels)
    assert {scan.slice_mm for scan in scans} <= set(site.slice_mm)
    assert len({scan.headers()["StationName"] for scan in scans}) == 1
    assert len({scan.pose for scan in scans}) == 30


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_noise_has_the_level_and_grain_of_its_kernel(kernel):
    (site,) = institutions(1, seed=2)
    site = dataclasses.replace(site, kernels={kernel: kernel}, kernel_weights=(1.0,), table="none")
    scan = dataclasses.replace(
        Acquisition.drawn(site, np.random.default_rng(1)), noise_hu=10.0, circle=False
    )
    grid = axial_grid((8, 64, 64), (3.0, 1.5, 1.5))
    flat = np.full(grid.shape, 40.0, np.float32)
    noise = acquire(flat, scan, np.random.default_rng(2), grid=grid).astype(float) - 40
    assert 10 < noise.std() < 25
    beside = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    low, high = {"fine": (-0.05, 0.05), "medium": (0.3, 0.7), "soft": (0.5, 0.9),
                 "patchy": (0.5, 0.9)}[KERNELS[kernel][2]]  # fmt: skip
    assert low < beside < high


def test_values_stay_within_what_a_scanner_stores():
    subject = chest_subject(2, family="test")
    hu = subject.case.volumes["ct"].array
    assert hu.dtype == np.int16 and hu.min() >= -1024 and hu.max() <= 3071


def test_a_tilted_chest_is_the_same_chest():
    upright, tilted = chest(8), chest(8, pose=Pose(turn_deg=(2, 1, 8), shift_mm=(5, -6, 0)))
    counts = [(body.scene.render(GRID) > 300).sum() for body in (upright, tilted)]
    assert counts[0] == pytest.approx(counts[1], rel=0.1)
