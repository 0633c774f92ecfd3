import dataclasses

import numpy as np
import pytest
from pydicom import dcmread

from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.phantom.abdomen import Omentum, abdomen
from node.phantom.acquisition import institutions
from node.phantom.breast import Node, armpit, breast_tumour, female_anatomy, lymph_node, place
from node.phantom.dicom_study import write_subject
from node.phantom.head_neck import HeadAnatomy, head_neck
from node.phantom.masses import Inside, mass, mass_paints
from node.phantom.mri import SEQUENCES, MrScan, acquire_mr, bias_field
from node.phantom.scene import Scene, axial_grid
from node.phantom.subject import Subject
from node.phantom.thorax import ChestAnatomy, thorax
from node.plugin import Case, Labels, Volume

BELLY = axial_grid((30, 80, 80), (8.0, 4.5, 4.5), (0, 4, -210))
HEAD = axial_grid((20, 80, 80), (6.0, 3.0, 3.0), (0, 4, 0))
PLAIN = Node(
    short_mm=9.0, long_mm=15.0, cortex_mm=2.0, hilum=0.9, eccentric=0.1, roughness=0.0,
    stranding=0.0, hu=85.0,
)  # fmt: skip


def belly(seed=1, **options):
    return abdomen(ChestAnatomy.drawn(np.random.default_rng(seed)), **options)


def head(seed=1, **options):
    return head_neck(HeadAnatomy.drawn(np.random.default_rng(seed)), **options)


def mean_in(scene, grid, name):
    return float(np.median(scene.render(grid)[scene.mask(grid, name)]))


def test_the_abdomen_has_its_organs_in_both_phases():
    early, portal = belly(phase="early"), belly(phase="portal")
    parts = ("liver", "stomach", "pancreas", "spleen", "kidney", "portal vein", "lesser omentum")
    for name in parts:
        masks = [body.scene.mask(BELLY, name) for body in (early, portal)]
        assert masks[0].any() and np.array_equal(*masks), name
    assert mean_in(portal.scene, BELLY, "liver") > mean_in(early.scene, BELLY, "liver")
    assert early.blood.aorta > portal.blood.aorta > early.blood.portal
    millilitres = portal.scene.mask(BELLY, "liver").sum() * 8 * 4.5**2 / 1000
    assert 700 < millilitres < 2600


def test_the_lesser_omentum_is_fat_as_wide_as_drawn():
    slim, wide = belly(omentum=Omentum(size=0.7)), belly(omentum=Omentum(size=1.2, fat_hu=-80))
    small, large = (body.scene.mask(BELLY, "lesser omentum").sum() for body in (slim, wide))
    assert 0 < 1.5 * small < large
    assert mean_in(wide.scene, BELLY, "lesser omentum") == pytest.approx(-80, abs=8)


def test_a_tumour_in_an_organ_is_painted_over_it():
    body = belly()
    rng = np.random.default_rng(1)
    shape = mass("irregular", body.landmarks["liver_right"], 40.0, rng)
    body = body.with_paints(mass_paints(shape, 70.0, Inside(), rng, stage="top"))
    assert body.scene.mask(BELLY, "mass").sum() * 0.162 > 10
    assert mean_in(body.scene, BELLY, "mass") == pytest.approx(70, abs=6)


def test_a_node_has_cortex_and_fatty_hilum():
    grid = axial_grid((40, 40, 40), (0.7, 0.7, 0.7))
    scene = Scene(background=-105.0)
    plain = scene.with_paints(lymph_node((0, 0, 0), PLAIN, np.random.default_rng(1)))
    full = dataclasses.replace(PLAIN, cortex_mm=4.5, hilum=0.0)
    solid = scene.with_paints(lymph_node((0, 0, 0), full, np.random.default_rng(1)))
    values = [s.render(grid)[s.mask(grid, "lymph node")] for s in (plain, solid)]
    assert values[0].min() < -40 and values[0].max() > 70
    assert np.median(values[1]) > 80
    expected = 4 / 3 * np.pi * 4.5 * 6 * 7.5
    assert len(values[0]) * 0.343 == pytest.approx(expected, rel=0.05)


def test_streaks_and_spicules_are_no_part_of_the_node():
    rough = dataclasses.replace(PLAIN, roughness=0.8, stranding=0.8)
    paints = lymph_node((0, 0, 0), rough, np.random.default_rng(1))
    assert {paint.name for paint in paints} == {"lymph node", "lymph node streaks"}


@pytest.mark.parametrize("seed", range(3))
def test_nodes_of_the_armpit_lie_in_its_fat_outside_of_the_ribs(seed):
    rng = np.random.default_rng(seed)
    chest = thorax(female_anatomy(rng))
    chest = chest.with_paints(armpit(chest, rng), breast_tumour(chest, rng))
    for level in ("level_1", "level_2"):
        centre = place(chest, level, "left", rng)
        grid = axial_grid((3, 24, 24), (3.0, 1.5, 1.5), centre)
        with_node = chest.with_paints(lymph_node(centre, PLAIN, rng))
        seen = with_node.scene.mask(grid, "lymph node")
        covered = np.count_nonzero(seen) * 6.75
        assert covered > 300 and abs(centre[0]) > 60


@pytest.mark.parametrize(
    ("sequence", "darker", "brighter"),
    [("T1", "muscle", "orbit"), ("T2", "muscle", "canal"), ("T1C", "muscle", "mucosa")],
)
def test_tissues_differ_as_their_sequence_shows_them(sequence, darker, brighter):
    scene = head(sequence=sequence).scene
    assert mean_in(scene, HEAD, brighter) > 1.3 * mean_in(scene, HEAD, darker)


def test_all_sequences_show_the_same_head():
    scenes = [head(sequence=name).scene for name in (*SEQUENCES, "CT")]
    for part in ("airway", "clivus", "tongue", "vessel"):
        masks = [scene.mask(HEAD, part) for scene in scenes]
        assert masks[0].any() and all(np.array_equal(masks[0], mask) for mask in masks[1:])
    assert scenes[3].render(HEAD).min() == pytest.approx(-1000)


def test_a_scan_has_bias_and_noise_that_its_seed_decides():
    (site,) = institutions(1, seed=4)
    scan = MrScan.drawn(site, np.random.default_rng(1), "T2")
    factor = bias_field(scan, HEAD)
    assert factor.dtype == np.float32 and 0.02 < factor.std() < 0.5 and factor.min() > 0.2
    assert np.abs(np.diff(factor, axis=2)).max() < 0.08
    empty = [
        acquire_mr(np.zeros(HEAD.shape, np.float32), scan, np.random.default_rng(n), grid=HEAD)
        for n in (1, 1, 2)
    ]
    assert np.array_equal(empty[0], empty[1]) and not np.array_equal(empty[0], empty[2])
    # Rician noise without signal has the mean of Rayleigh's distribution.
    expected = scan.noise * scan.gain * np.sqrt(np.pi / 2)
    assert empty[0].mean() == pytest.approx(expected, rel=0.05)


def test_sequences_of_one_visit_share_scanner_and_pose():
    (site,) = institutions(1, seed=4)
    first = MrScan.drawn(site, np.random.default_rng(1), "T1")
    second = MrScan.drawn(site, np.random.default_rng(2), "T2", pose=first.pose)
    assert first.pose == second.pose and first.slice_mm == second.slice_mm
    assert first.headers()["StationName"] == second.headers()["StationName"]
    assert first.headers()["EchoTime"] < second.headers()["EchoTime"]


def head_subject():
    (site,) = institutions(1, seed=4)
    volumes, headers, masks = {}, {}, {}
    pose = None
    for role in ("T1C", "T2"):
        scan = MrScan.drawn(site, np.random.default_rng(3), role, pose=pose)
        pose = scan.pose
        body = head(sequence=role, pose=pose)
        rng = np.random.default_rng(1)
        shape = mass("irregular", body.landmarks["rosenmuller_left"], 30.0, rng)
        body = body.with_paints(mass_paints(shape, body.palette["tumour"], Inside(), rng))
        grid = scan.grid(40, z_mm=(-30.0, 30.0))
        array = acquire_mr(body.scene.render(grid), scan, rng, grid=grid)
        volumes[role] = Volume(array=array, affine=grid.affine, unit="1", modality="MR")
        headers[role] = scan.headers()
        masks[f"tumor_{role.lower()}"] = body.scene.mask(grid, "mass")
    return Subject(
        patient="MR1",
        institution=site.name,
        case=Case(volumes=volumes),
        labels=Labels(masks=masks),
        headers=headers,
    )


def test_two_sequences_become_one_study_of_two_series(tmp_path):
    subject = head_subject()
    volumes = subject.case.volumes
    drawn_on = {"tumor_t1c": "T1C", "tumor_t2": "T2"}
    study = write_subject(subject, tmp_path, now=1.7e9, truth="rtstruct", roles=drawn_on)
    assert [path.name for path in study.truth_paths] == ["truth-T1C.dcm", "truth-T2.dcm"]
    for role, written in study.series.items():
        (stack,) = split_series(read_series(written.paths)[0])
        assert np.allclose(stack.geometry.affine, volumes[role].affine, atol=1e-4)
        stored = np.stack([dcmread(frame.path).pixel_array for frame in stack.frames])
        assert np.array_equal(stored, volumes[role].array)
    first = [dcmread(written.paths[0]) for written in study.series.values()]
    assert len({ds.StudyInstanceUID for ds in first}) == 1
    assert len({ds.SeriesInstanceUID for ds in first}) == 2
