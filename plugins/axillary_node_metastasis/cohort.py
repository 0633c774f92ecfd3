"""Synthetic armpits with one to three outlined nodes each; law: `cohort.toml`."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from node.phantom import cohort
from node.phantom.acquisition import acquire
from node.phantom.altered import covered, grown, shifted
from node.phantom.breast import Node, armpit, female_anatomy, lymph_node
from node.phantom.cohort import BODY, OTHER_SCAN, PLAN, SCAN, Cohort
from node.phantom.grid import Lattice
from node.phantom.law import mirrored
from node.phantom.scene import axial_grid
from node.phantom.subject import Subject
from node.phantom.thorax import thorax
from node.plugin import Case, Labels, Roi, Volume

COHORT = Cohort.beside(__file__)
ROLE, REGION = "ct", "axillary_node"
SHIFTED, GROWN, COVERED = "contour shifted", "contour grown", "disc over the node"
#: Nodes lie at least so far outside of the chest's inner wall: beyond the ribs.
RIBS_MM = 24.0


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One outlined node: where its causes lie in their ranges, and what the law made of it."""

    places: tuple[tuple[str, float], ...]
    risk: float
    metastasis: bool


@dataclass(frozen=True, kw_only=True)
class Plan(cohort.Plan):
    """One subject before it is drawn; the same plan gives the same voxels."""

    lesions: tuple[Lesion, ...] = ()


def subjects(split, count, *, seed):
    """Return the plans of a split."""
    return [_plan(split, seed, index) for index in range(count)]


def variants(plan):
    """Return the same patient with one thing changed, for each thing that may be."""
    kinds = {SHIFTED: "input", GROWN: "input", COVERED: "blank"}
    return COHORT.variants(plan, kinds=kinds, mirror=_mirrored)


def render(plan):
    """Draw one subject."""
    subject = _drawn(replace(plan, altered=""))
    volume, regions = subject.case.volumes[ROLE], subject.case.rois[REGION]
    hu, masks = volume.array.copy(), [region.mask.copy() for region in regions]
    altered = COHORT.table["altered"]
    if plan.altered == SHIFTED:
        turn = COHORT.streams(plan, OTHER_SCAN).lesion.uniform(0, 2 * np.pi, len(masks))
        away = altered["shift_mm"] * np.stack([np.sin(turn), np.cos(turn)], axis=1)
        masks = [shifted(m, volume.spacing_mm, by) for m, by in zip(masks, away, strict=True)]
    elif plan.altered == GROWN:
        masks = [grown(mask, volume.spacing_mm, altered["grow_mm"]) for mask in masks]
    elif plan.altered == COVERED:
        disc = {"diameter_mm": altered["disc_mm"], "value": altered["disc_hu"]}
        for mask in masks:
            hu = covered(hu, volume.spacing_mm, mask, **disc)
    drawn = tuple(replace(r, mask=mask) for r, mask in zip(regions, masks, strict=True))
    case = replace(subject.case, volumes={ROLE: replace(volume, array=hu)}, rois={REGION: drawn})
    return replace(subject, case=case)


@lru_cache(maxsize=2)
def _drawn(plan):
    """Draw one subject as it is; the cases altered afterwards use it again."""
    body, scan = COHORT.streams(plan, BODY), COHORT.scan(plan)
    side = str(body.anatomy.choice(("left", "right")))
    chest = thorax(
        female_anatomy(body.anatomy),
        phase=scan.phase,
        rng=COHORT.streams(plan, SCAN).anatomy,
        pose=scan.pose,
    )
    # The armpit's own stream: nodes do not change it.
    chest = chest.with_paints(armpit(chest, body.outcome))
    centres = _centres(chest, side, body.lesion)
    nodes = [
        _node(plan, number, chest.blood.node, stream)
        for number, stream in enumerate(body.lesion.spawn(len(plan.lesions)), 1)
    ]
    names = [f"node {number}" for number in range(1, len(nodes) + 1)]
    for name, centre, (node, stream) in zip(names, centres, nodes, strict=False):
        chest = chest.with_paints(lymph_node(centre, node, stream, name=name))
    grid = _grid(chest, scan, centres, COHORT.streams(plan, SCAN).lesion)
    noise = COHORT.streams(plan, OTHER_SCAN if plan.changed == "noise" else SCAN).noise
    hu = acquire(chest.scene.render(grid), scan, noise, grid=grid)
    volume = Volume(array=hu, affine=grid.affine, unit="[hnsf'U]", modality="CT")
    regions = tuple(
        Roi(mask=chest.scene.mask(grid, name), role=ROLE, label=name, source="a phantom's outline")
        for name in names
    )
    return Subject(
        patient=plan.patient,
        institution=scan.institution.name,
        case=Case(volumes={ROLE: volume}, rois={REGION: regions}),
        labels=_labels(plan),
        facts=_facts(plan, [node for node, _ in nodes], scan),
        headers={ROLE: {**scan.headers(), "PatientSex": "F", "BodyPartExamined": "CHEST"}},
    )


def _mirrored(plan, cause):
    """Return the same patient, scan and noise with one cause of each node mirrored."""
    lesions = []
    for lesion in plan.lesions:
        places = mirrored(dict(lesion.places), cause)
        lesions.append(replace(lesion, places=tuple(places.items()), risk=COHORT.law.risk(places)))
    return replace(plan, lesions=tuple(lesions))


def _plan(split, seed, index):
    plan = Plan(split=split, seed=seed, index=index)
    streams, counts = COHORT.streams(plan, PLAN), COHORT.table["nodes"]["counts"]
    lesions = []
    for _ in range(1 + int(streams.anatomy.choice(len(counts), p=counts))):
        places = COHORT.law.drawn(streams.lesion)
        risk = COHORT.law.risk(places)
        happened = bool(streams.outcome.random() < risk)
        lesions.append(Lesion(places=tuple(places.items()), risk=risk, metastasis=happened))
    outcomes = [one.metastasis for one in lesions]
    institution = COHORT.site_of(plan, outcomes, streams.acquisition)
    return replace(plan, institution=institution, lesions=tuple(lesions))


def _centres(chest, side, chance):
    """Return where nodes may lie, in an order that says nothing, outside of the ribs."""
    nodes, wall, sign = COHORT.table["nodes"], chest.anatomy.wall, 1 if side == "left" else -1
    centres = []
    for x, y, z in nodes["places_mm"]:
        middle = np.array(wall.at(sign * x, y, z)) + chance.normal(0, nodes["spread_mm"], 3)
        here = Lattice.of(axial_grid((1, 1, 1), (1.0, 1.0, 1.0), tuple(middle)))
        middle[0] += sign * max(0.0, RIBS_MM - float(wall.cavity(here)[0, 0, 0]))
        centres.append(tuple(float(v) for v in middle))
    return [centres[n] for n in chance.permutation(len(centres))]


def _node(plan, number, node_hu, chance):
    """Return (the node as the generator sees it, the stream of its shape)."""
    values, nodes = COHORT.law.values(dict(plan.lesions[number - 1].places)), COHORT.table["nodes"]
    short = values["size"]
    bean = plan.split == "test" and chance.random() < nodes["notch_share"]
    return Node(
        short_mm=short,
        long_mm=short * float(chance.uniform(*nodes["long_to_short"])),
        cortex_mm=values["cortex"] * short / 2,
        hilum=values["hilum"],
        eccentric=float(chance.uniform(*nodes["eccentric"])),
        roughness=values["margin"],
        stranding=values["stranding"],
        hu=float(node_hu + chance.normal(0, nodes["hu_spread"])),
        notch=float(chance.uniform(*nodes["notch"])) if bean else 0.0,
    ), chance


def _grid(chest, scan, centres, chance):
    """Return the grid around one armpit, whatever lies in it."""
    images = COHORT.table["images"]
    low, high = np.min(centres, axis=0), np.max(centres, axis=0)
    step = round(float(chance.uniform(*images["pixel_mm"])), 4)
    middle = np.array(scan.pose.place(tuple((low + high) / 2))).round(1)
    count = int((high[2] - low[2] + 2 * images["z_margin_mm"]) / scan.slice_mm) + 1
    matrix = images["matrix"]
    return axial_grid((count, matrix, matrix), (scan.slice_mm, step, step), tuple(middle))


def _labels(plan):
    words = {
        f"metastasis_{number}": "yes" if one.metastasis else "no"
        for number, one in enumerate(plan.lesions, 1)
    }
    return Labels(values={**words, "axilla": "yes" if "yes" in words.values() else "no"})


def _facts(plan, nodes, scan):
    facts = {"phase": scan.phase, "kernel": scan.kernel, "slice_mm": scan.slice_mm}
    # That at least one node has it.
    facts["axilla_risk"] = float(1 - np.prod([1 - one.risk for one in plan.lesions]))
    for number, (one, node) in enumerate(zip(plan.lesions, nodes, strict=True), 1):
        facts[f"oracle_{number}"] = one.risk
        facts[f"bean_{number}"] = node.notch > 0
        for name, value in COHORT.law.values(dict(one.places)).items():
            facts[f"{name}_{number}"] = round(value, 4)
    return facts
