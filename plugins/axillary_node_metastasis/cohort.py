"""Synthetic armpits with one to three outlined nodes each; law: `cohort.toml`."""

import tomllib
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from node.phantom.acquisition import Acquisition, acquire
from node.phantom.altered import covered, grown, shifted
from node.phantom.breast import Node, armpit, female_anatomy, lymph_node
from node.phantom.grid import Lattice
from node.phantom.institutions import institutions
from node.phantom.law import Law, by_noise, in_first_group, mirrored
from node.phantom.scene import axial_grid
from node.phantom.subject import Streams, Subject, Variant
from node.phantom.thorax import thorax
from node.plugin import Case, Labels, Roi, Volume

#: Splits draw from streams of their own: no subject of one is ever in another.
SPLITS = {"train": 0, "tuning": 1, "test": 2}
ROLE, REGION = "ct", "axillary_node"
#: What may change without changing the risk.
NUISANCES = ("institution", "noise", "table", "pose")
SHIFTED, GROWN, COVERED = "contour shifted", "contour grown", "disc over the node"
#: Nodes lie at least so far outside of the chest's inner wall: beyond the ribs.
RIBS_MM = 24.0
# What a subject's streams are spawned for.
_PLAN, _BODY, _SCAN, _OTHER_SCAN = range(4)


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One outlined node: where its causes lie in their ranges, and what the law made of it."""

    places: tuple[tuple[str, float], ...]
    risk: float
    metastasis: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One subject before it is drawn; the same plan gives the same voxels."""

    split: str
    seed: int
    index: int
    institution: int
    lesions: tuple[Lesion, ...]
    #: Which of `NUISANCES` is another one than drawn.
    changed: str = ""
    #: What happens to the images and contours after they were made.
    altered: str = ""

    @property
    def patient(self):
        return f"{self.split}-{self.seed}-{self.index:04d}"

    def streams(self, purpose):
        return Streams.of(table()["seed"], SPLITS[self.split], self.seed, self.index, purpose)


@cache
def table():
    """Return what `cohort.toml` says."""
    return tomllib.loads(Path(__file__).with_name("cohort.toml").read_text(encoding="utf-8"))


@cache
def law():
    """Return the law."""
    return Law.of(table()["law"])


@cache
def sites(split):
    """Return the institutions of a split; those of the test are never seen in training."""
    family = "test" if split == "test" else "train"
    return institutions(table()["institutions"][family], seed=table()["seed"], family=family)


def subjects(split, count, *, seed):
    """Return the plans of a split."""
    return [_plan(split, seed, index) for index in range(count)]


def variants(plan):
    """Return the same patient with one thing changed, for each thing that may be."""
    apart = _apart(plan)
    return [
        Variant(name=SHIFTED, kind="input", plan=replace(plan, altered=SHIFTED)),
        Variant(name=GROWN, kind="input", plan=replace(plan, altered=GROWN)),
        # Noise tells institutions apart, and those go with the outcome: not in these two.
        Variant(name=COVERED, kind="blank", plan=replace(apart, altered=COVERED)),
        Variant(name="institution drawn apart", kind="control", plan=apart),
        *(Variant(name=cause, kind="cause", plan=_mirrored(plan, cause)) for cause in law().causes),
        *(Variant(name=what, kind="nuisance", plan=_other(plan, what)) for what in NUISANCES),
    ]


def render(plan):
    """Draw one subject."""
    subject = _drawn(replace(plan, altered=""))
    volume, regions = subject.case.volumes[ROLE], subject.case.rois[REGION]
    hu, masks = volume.array.copy(), [region.mask.copy() for region in regions]
    altered = table()["altered"]
    if plan.altered == SHIFTED:
        turn = plan.streams(_OTHER_SCAN).lesion.uniform(0, 2 * np.pi, len(masks))
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
    body, scan = plan.streams(_BODY), _scan(plan)
    side = str(body.anatomy.choice(("left", "right")))
    chest = thorax(
        female_anatomy(body.anatomy),
        phase=scan.phase,
        rng=plan.streams(_SCAN).anatomy,
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
    grid = _grid(chest, scan, centres, plan.streams(_SCAN).lesion)
    noise = plan.streams(_OTHER_SCAN if plan.changed == "noise" else _SCAN).noise
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
        lesions.append(replace(lesion, places=tuple(places.items()), risk=law().risk(places)))
    return replace(plan, lesions=tuple(lesions))


def _other(plan, what):
    """Return the same patient with another institution, noise, table or pose."""
    if what != "institution":
        return replace(plan, changed=what)
    other = (plan.institution + len(sites(plan.split)) // 2) % len(sites(plan.split))
    return replace(plan, changed=what, institution=other)


def _apart(plan):
    """Return the same patient at an institution that the outcome has no say in."""
    chance = plan.streams(_PLAN).noise
    return replace(plan, institution=int(chance.integers(len(sites(plan.split)))))


def _plan(split, seed, index):
    plan = Plan(split=split, seed=seed, index=index, institution=0, lesions=())
    streams, counts = plan.streams(_PLAN), table()["nodes"]["counts"]
    lesions = []
    for _ in range(1 + int(streams.anatomy.choice(len(counts), p=counts))):
        places = law().drawn(streams.lesion)
        risk = law().risk(places)
        happened = bool(streams.outcome.random() < risk)
        lesions.append(Lesion(places=tuple(places.items()), risk=risk, metastasis=happened))
    share = table()["institutions"]["share"][split]
    first = in_first_group([one.metastasis for one in lesions], share, streams.acquisition)
    institution = int(streams.acquisition.choice(by_noise(sites(split))[0 if first else 1]))
    return replace(plan, institution=institution, lesions=tuple(lesions))


def _scan(plan):
    """Return the scan of a plan: as its institution scans, but one armpit in thin slices."""
    images, streams = table()["images"], plan.streams(_SCAN)
    other = plan.streams(_OTHER_SCAN)
    drawn_from = other if plan.changed == "institution" else streams
    scan = Acquisition.drawn(sites(plan.split)[plan.institution], drawn_from.acquisition)
    if plan.changed == "pose":
        scan = replace(scan, pose=Acquisition.drawn(scan.institution, other.acquisition).pose)
    if plan.changed == "table":
        scan = replace(scan, table={"none": "flat", "flat": "curved"}.get(scan.table, "none"))
    scan = scan.with_slices(float(np.clip(scan.slice_mm, *images["slice_mm"])))
    return replace(scan, noise_hu=images["noise"] * scan.noise_hu, circle=False)


def _centres(chest, side, chance):
    """Return where nodes may lie, in an order that says nothing, outside of the ribs."""
    nodes, wall, sign = table()["nodes"], chest.anatomy.wall, 1 if side == "left" else -1
    centres = []
    for x, y, z in nodes["places_mm"]:
        middle = np.array(wall.at(sign * x, y, z)) + chance.normal(0, nodes["spread_mm"], 3)
        here = Lattice.of(axial_grid((1, 1, 1), (1.0, 1.0, 1.0), tuple(middle)))
        middle[0] += sign * max(0.0, RIBS_MM - float(wall.cavity(here)[0, 0, 0]))
        centres.append(tuple(float(v) for v in middle))
    return [centres[n] for n in chance.permutation(len(centres))]


def _node(plan, number, node_hu, chance):
    """Return (the node as the generator sees it, the stream of its shape)."""
    values, nodes = law().values(dict(plan.lesions[number - 1].places)), table()["nodes"]
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
    images = table()["images"]
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
        for name, value in law().values(dict(one.places)).items():
            facts[f"{name}_{number}"] = round(value, 4)
    return facts
