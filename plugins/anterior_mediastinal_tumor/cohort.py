"""Synthetic chests with and without a mass before the great vessels; law: `cohort.toml`."""

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from node.phantom.acquisition import Acquisition, acquire
from node.phantom.chest_wall import cavity_bounds
from node.phantom.distractors import DISTRACTORS
from node.phantom.institutions import institutions
from node.phantom.masses import FAMILIES, TRAIN_FAMILIES, Inside, mass, mass_paints
from node.phantom.shapes import Both, Region
from node.phantom.subject import Streams, Subject
from node.phantom.thorax import ChestAnatomy, thorax
from node.phantom.tissue import contrast
from node.plugin import Case, Labels, Volume
from node.toolkit.components import components

#: Splits draw from streams of their own: no subject of one is ever in another.
SPLITS = {"train": 0, "tuning": 1, "test": 2}
SEGMENT, ROLE = "mass", "ct"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One subject before it is drawn; the same plan gives the same voxels."""

    split: str
    seed: int
    index: int
    institution: int

    @property
    def patient(self):
        return f"{self.split}-{self.seed}-{self.index:04d}"


@cache
def law():
    """Return what `cohort.toml` says."""
    return tomllib.loads(Path(__file__).with_name("cohort.toml").read_text(encoding="utf-8"))


@cache
def sites(split):
    """Return the institutions of a split; those of the test are never seen in training."""
    family = "test" if split == "test" else "train"
    return institutions(law()["institutions"][family], seed=law()["seed"], family=family)


def subjects(split, count, *, seed):
    """Return the plans of a split; institutions take turns, so that all of them are there."""
    chance = np.random.default_rng([law()["seed"], SPLITS[split], seed])
    turns = np.concatenate(
        [chance.permutation(len(sites(split))) for _ in range(1 + count // len(sites(split)))]
    )
    return [
        Plan(split=split, seed=seed, index=index, institution=int(turns[index]))
        for index in range(count)
    ]


def render(plan):
    """Draw one subject."""
    streams = Streams.of(law()["seed"], SPLITS[plan.split], plan.seed, plan.index)
    scan = _scan(plan, streams)
    anatomy = ChestAnatomy.drawn(streams.anatomy)
    chest = thorax(anatomy, blood=_blood(scan.phase, streams.acquisition), pose=scan.pose)
    has_tumor = bool(streams.outcome.random() < law()["tumor"]["share"])
    chest, names = _with_distractors(chest, streams.lesion)
    # Drawn for all, so that a patient with and one without differ in the tumour alone.
    paints, facts = _tumor(chest, plan, streams.lesion)
    if has_tumor:
        chest = chest.with_paints(paints)
    images = law()["images"]
    tall = anatomy.wall.size[2]
    low, high = (tall * end for end in images["z_mm"])
    grid = scan.grid(images["matrix"], body_mm=chest.width_mm, z_mm=(low, high))
    hu = acquire(chest.scene.render(grid), scan, streams.noise, grid=grid)
    volume = Volume(array=hu, affine=grid.affine, unit="[hnsf'U]", modality="CT")
    truth = _visible(chest.scene.mask(grid, SEGMENT), volume)
    return Subject(
        patient=plan.patient,
        institution=scan.institution.name,
        case=Case(volumes={ROLE: volume}),
        labels=Labels(masks={SEGMENT: truth}),
        facts={
            "tumor": bool(truth.any()),
            **(facts if truth.any() else {"family": "none", "place": "none"}),
            "phase": scan.phase,
            "kernel": scan.kernel,
            "slice_mm": scan.slice_mm,
            "sex": anatomy.sex,
            "distractors": " ".join(names) or "none",
        },
        headers={ROLE: {**scan.headers(), "PatientSex": anatomy.sex}},
    )


def _scan(plan, streams):
    scan = Acquisition.drawn(sites(plan.split)[plan.institution], streams.acquisition)
    return scan.with_slices(max(scan.slice_mm, law()["images"]["least_slice_mm"]))


def _blood(phase, chance):
    """Return what blood measures; in some early scans the medium has not reached the veins."""
    blood = contrast(phase, chance)
    late = chance.random() < law()["images"]["unopacified_veins"]
    return replace(blood, veins=42.0, cava=44.0) if phase == "early" and late else blood


def _with_distractors(chest, chance):
    names = [name for name, share in law()["distractors"].items() if chance.random() < share]
    for name in names:
        chest = chest.with_paints(DISTRACTORS[name](chest, chance))
    return chest, names


def _tumor(chest, plan, chance):
    """Return (paints of a tumour, facts about it)."""
    tumor = law()["tumor"]
    families = FAMILIES if plan.split == "test" else TRAIN_FAMILIES
    family = str(chance.choice(families))
    place = str(chance.choice(list(tumor["places"]), p=list(tumor["places"].values())))
    diameter_mm = float(np.exp(chance.uniform(*np.log(tumor["diameter_mm"]))))
    centre = np.array(chest.landmarks[place]) + chance.normal(0, tumor["spread_mm"], 3)
    wall = chest.anatomy.wall
    shape = Both(
        (
            mass(family, tuple(float(v) for v in centre), diameter_mm, chance),
            # It pushes lung and fat away, but stays inside the ribs.
            Region(cavity_bounds(wall), wall.cavity),
        )
    )
    inside = Inside(
        necrosis=float(chance.uniform(0.3, 0.6)) * float(chance.random() < tumor["necrosis"]),
        cyst=float(chance.uniform(0.3, 0.5)) * float(chance.random() < tumor["cyst"]),
        calcifications=int(chance.integers(1, 5)) * int(chance.random() < tumor["calcified"]),
        unrest_hu=float(chance.uniform(3, 12)),
    )
    hu = float(
        chance.uniform(*tumor["hu"]) + chest.blood.wash * chance.uniform(*tumor["uptake_hu"])
    )
    paints = mass_paints(shape, hu, inside, chance, name=SEGMENT)
    return paints, {"family": family, "place": place, "drawn_diameter_mm": round(diameter_mm, 1)}


def _visible(mask, volume):
    """Return the parts of the mass that are large enough to be called a lesion."""
    whole = np.zeros_like(mask)
    for component in components(mask, volume, min_ml=law()["tumor"]["least_ml"]):
        whole |= component.mask
    return whole
