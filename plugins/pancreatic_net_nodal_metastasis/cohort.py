"""Synthetic pancreases with one neuroendocrine tumour, and pathology: `cohort.toml` has the law."""

import itertools
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np

from node.phantom import cohort
from node.phantom.abdomen import abdomen
from node.phantom.acquisition import acquire
from node.phantom.altered import ball_at, covered, grown, shifted
from node.phantom.cohort import BODY, OTHER_SCAN, PLAN, SCAN, Cohort
from node.phantom.grid import turned
from node.phantom.law import Survival, mirrored
from node.phantom.masses import Radial
from node.phantom.scene import Paint, Texture, axial_grid
from node.phantom.shapes import Both, Ellipsoid, Grown, Tube, Waves, Wavy, Without
from node.phantom.subject import Subject
from node.phantom.thorax import ChestAnatomy
from node.phantom.tissue import contrast
from node.plugin import Case, Labels, Roi, Volume

COHORT = Cohort.beside(__file__)
#: The only input role, and the phase that the phantom draws for it.
CT, PHASE = "ct", "portal"
TUMOR = "tumor"
SHIFTED, GROWN, COVERED = "contour shifted", "contour grown", "disc over the tumor"
#: Tumours up to this are a group of their own: whether to operate on them is debated.
SMALL_MM = 20.0


@dataclass(frozen=True, kw_only=True)
class Plan(cohort.Plan):
    """One subject before it is drawn; the same plan gives the same voxels."""

    #: Where each cause lies in its range.
    places: tuple[tuple[str, float], ...] = ()
    #: What pathology found, by the names of `cohort.toml`.
    pathology: tuple[tuple[str, str], ...] = ()
    #: What the law makes of the causes alone, and of causes and pathology.
    risk: float = 0.5
    full_risk: float = 0.5
    metastasis: bool = False
    #: Until the tumour comes back or the last visit.
    months: float = 0.0
    came_back: bool = False


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
    volume, (roi,) = subject.case.volumes[CT], subject.case.rois[TUMOR]
    altered = COHORT.table["altered"]
    array, mask, spacing_mm = volume.array, roi.mask, volume.spacing_mm
    if plan.altered == SHIFTED:
        turn = COHORT.streams(plan, OTHER_SCAN).lesion.uniform(0, 2 * np.pi)
        away = (altered["shift_mm"] * np.sin(turn), altered["shift_mm"] * np.cos(turn))
        mask = shifted(mask, spacing_mm, away)
    elif plan.altered == GROWN:
        mask = grown(mask, spacing_mm, altered["grow_mm"])
    elif plan.altered == COVERED:
        array = _hidden(array, mask, spacing_mm, COHORT.streams(plan, OTHER_SCAN).lesion)
        # The outline alone tells how large it is.
        mask = ball_at(mask, spacing_mm, altered["outline_mm"])
    case = replace(
        subject.case,
        volumes={CT: replace(volume, array=array.copy())},
        rois={TUMOR: (replace(roi, mask=mask.copy()),)},
    )
    return replace(subject, case=case)


def risks(places, pathology):
    """Return the risk by the causes alone, and that by causes and pathology."""
    shown, found = COHORT.law.logit(places), dict(pathology)
    ways, shares = _pathology()
    of_each = 1 / (1 + np.exp(-(shown + np.array([adds for _, adds in ways]))))
    known = next(number for number, (names, _) in enumerate(ways) if names == found)
    return float(of_each @ shares), float(of_each[known])


@cache
def _pathology():
    """Return all that pathology may find with what it adds to the logit, and how often each is."""
    factors, ways, shares = COHORT.table["pathology"], [], []
    for choices in itertools.product(*(factor["shares"] for factor in factors.values())):
        names = dict(zip(factors, choices, strict=True))
        shares.append(np.prod([factors[name]["shares"][one] for name, one in names.items()]))
        ways.append((names, sum(factors[name]["adds"][one] for name, one in names.items())))
    mean = sum(share * adds for share, (_, adds) in zip(shares, ways, strict=True))
    return [(names, adds - mean) for names, adds in ways], np.array(shares)


def _plan(split, seed, index):
    plan = Plan(split=split, seed=seed, index=index)
    streams = COHORT.streams(plan, PLAN)
    places = COHORT.law.drawn(streams.lesion)
    pathology = {
        name: str(streams.lesion.choice(list(one["shares"]), p=list(one["shares"].values())))
        for name, one in COHORT.table["pathology"].items()
    }
    risk, full_risk = risks(places, pathology)
    metastasis = bool(streams.outcome.random() < full_risk)
    months, came_back = Survival(**COHORT.table["survival"]).drawn(metastasis, streams.outcome)
    return replace(
        plan,
        institution=COHORT.site_of(plan, [metastasis], streams.acquisition),
        places=tuple(places.items()),
        pathology=tuple(pathology.items()),
        risk=risk,
        full_risk=full_risk,
        metastasis=metastasis,
        months=months,
        came_back=came_back,
    )


def _mirrored(plan, cause):
    """Return the same patient, scan and noise with one cause mirrored."""
    places = mirrored(dict(plan.places), cause)
    risk, full_risk = risks(places, plan.pathology)
    return replace(plan, places=tuple(places.items()), risk=risk, full_risk=full_risk)


@lru_cache(maxsize=2)
def _drawn(plan):
    """Draw one subject as it is; the cases altered afterwards use it again."""
    body, scan = COHORT.streams(plan, BODY), replace(COHORT.scan(plan), phase=PHASE)
    anatomy = ChestAnatomy.drawn(body.anatomy)
    place_chance, shape_chance, look = body.lesion.spawn(3)
    part, centre = _place(anatomy.wall, place_chance)
    grid = _grid(centre, scan, COHORT.streams(plan, SCAN).lesion)
    blood = contrast(PHASE, np.random.default_rng([anatomy.seed, 2]))
    belly = abdomen(anatomy, blood=blood, pose=scan.pose)
    values = COHORT.law.values(dict(plan.places))
    shape = _shape(plan, centre, values, shape_chance)
    scene = belly.with_paints(_tumor(shape, blood, values, look)).scene
    noise = COHORT.streams(plan, OTHER_SCAN if plan.changed == "noise" else SCAN).noise
    hu = acquire(scene.render(grid), scan, noise, grid=grid)
    roi = Roi(mask=scene.mask(grid, TUMOR), role=CT, label=TUMOR, source="a phantom's outline")
    return Subject(
        patient=plan.patient,
        institution=scan.institution.name,
        case=Case(
            volumes={CT: Volume(array=hu, affine=grid.affine, unit="[hnsf'U]", modality="CT")},
            rois={TUMOR: (roi,)},
            values={n: {"yes": True, "no": False}.get(v, v) for n, v in plan.pathology},
        ),
        labels=_labels(plan),
        facts=_facts(plan, scan, part),
        headers={CT: _header(scan, anatomy)},
    )


def _place(wall, chance):
    """Return the part of the pancreas that the tumour lies in, and its middle in the body."""
    tumor = COHORT.table["tumor"]
    part = str(chance.choice(list(tumor["places_mm"])))
    middle = np.array(wall.at(*tumor["places_mm"][part]))
    return part, _point(middle + chance.normal(0, tumor["spread_mm"], 3))


def _grid(centre, scan, chance):
    """Return the grid of the scan: one size for all, the tumour near its middle."""
    images = COHORT.table["images"]
    step = round(float(chance.uniform(*images["pixel_mm"])), 4)
    off = chance.normal(0, 1, 3) * images["off_middle_mm"]
    middle = (np.array(scan.pose.place(centre)) + off).round(1)
    count, matrix = int(images["depth_mm"] / scan.slice_mm) + 1, images["matrix"]
    return axial_grid((count, matrix, matrix), (scan.slice_mm, step, step), _point(middle))


def _tumor(shape, blood, values, look):
    """Return the paints of a tumour."""
    tumor = COHORT.table["tumor"]
    texture = Texture(Waves.drawn(look, tumor["grain_mm"], count=10), values["heterogeneity"])
    hu = blood.pancreas + values["enhancement"]
    whole = Paint(shape=shape, value=hu, name=TUMOR, stage="top", edge_mm=0.8, texture=texture)
    has_cyst, size = look.random() < tumor["cyst"], float(look.uniform(*tumor["cyst_size"]))
    if not has_cyst:
        return [whole]
    low, high = np.array(shape.bounds)
    middle = (low + high) / 2 + look.uniform(-0.08, 0.08, 3) * values["diameter"]
    core = Ellipsoid(_point(middle), _point(size * values["diameter"] * look.uniform(0.8, 1.2, 3)))
    wavy = Wavy(core, Waves.drawn(look, 8.0), 0.02 * values["diameter"])
    hole = Both((Grown(shape, -2.0), wavy))
    dark = float(look.uniform(10, 25))
    return [whole, Paint(shape=hole, value=dark, name=TUMOR, stage="top", edge_mm=1.5)]


def _shape(plan, centre, values, chance):
    """Return the outline of a tumour in the body."""
    tumor = COHORT.table["tumor"]
    depth = 0.015 + 0.17 * values["irregularity"]
    ratios = np.array([1.0, *chance.uniform(*tumor["flatness"], 2)])
    # Waves reach outwards: a rough tumour is not to be a larger one.
    half = _point(values["diameter"] / 2 / (1 + depth) * ratios)
    turn = _point(chance.uniform(-35, 35, 3))
    shape = Radial(centre, half, turn, Waves.drawn(chance, 1.1, count=8), depth)
    way, has_groove = turned(turn) @ np.array([0.0, 1.0, 0.0]), chance.random() < tumor["groove"]
    if plan.split != "test" or not has_groove:
        return shape
    along = turned(turn) @ np.array([1.0, 0.0, 0.0]) * 1.5 * half[0]
    line = np.array(centre) + 1.05 * half[1] * way + np.array([[-1.0], [1.0]]) * along
    return Without(shape, Tube(line, np.full(2, 0.4 * min(half))))


def _hidden(array, mask, spacing_mm, chance):
    """Return an image with a disc over the tumour: one value, noise of one strength."""
    altered = COHORT.table["altered"]
    nothing = np.zeros(array.shape, bool)
    disc = covered(nothing, spacing_mm, mask, diameter_mm=altered["disc_mm"], value=1)
    noise = chance.normal(altered["disc_hu"], altered["disc_noise_hu"], array.shape)
    return np.where(disc, np.rint(noise), array).astype(array.dtype)


def _header(scan, anatomy):
    return {
        **scan.headers(),
        "PatientSex": anatomy.sex,
        "BodyPartExamined": "ABDOMEN",
        "StudyDescription": "CT PANCREAS",
        "ProtocolName": "Pancreas",
        "SeriesDescription": "PORTAL VENOUS, synthetic",
    }


def _labels(plan):
    return Labels(
        values={
            "nodal_metastasis": "yes" if plan.metastasis else "no",
            "dfs_months": round(plan.months, 2),
            "dfs_event": int(plan.came_back),
        }
    )


def _facts(plan, scan, part):
    values = {name: round(v, 4) for name, v in COHORT.law.values(dict(plan.places)).items()}
    return {
        "oracle": plan.risk,
        "oracle of the nomogram": plan.full_risk,
        "size_group": "> 2 cm" if values["diameter"] > SMALL_MM else "<= 2 cm",
        "part": part,
        "kernel": scan.kernel,
        "slice_mm": scan.slice_mm,
        **values,
        **dict(plan.pathology),
    }


def _point(values):
    x, y, z = (float(v) for v in values)
    return (x, y, z)
