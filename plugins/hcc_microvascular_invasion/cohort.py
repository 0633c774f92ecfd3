"""Synthetic livers with one carcinoma in two phases, and the fat beside them: `cohort.toml`."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from node.phantom import cohort
from node.phantom.abdomen import Omentum, abdomen
from node.phantom.acquisition import acquire
from node.phantom.altered import ball_at, covered, grown, shifted
from node.phantom.cohort import BODY, OTHER_SCAN, PLAN, SCAN, Cohort
from node.phantom.grid import Pose, turned
from node.phantom.law import Survival, mirrored
from node.phantom.masses import Radial
from node.phantom.scene import Layer, Paint, Texture, axial_grid
from node.phantom.shapes import Both, Ellipsoid, Grown, Union, Waves, Wavy
from node.phantom.subject import Subject
from node.phantom.thorax import ChestAnatomy
from node.phantom.tissue import contrast
from node.plugin import Case, Labels, Roi, Volume

COHORT = Cohort.beside(__file__)
#: Input role to the phase that the phantom draws.
PHASES = {"arterial": "early", "portal_venous": "portal"}
#: Contours are drawn on this one.
DRAWN_ON = "portal_venous"
TUMOR, FAT = "tumor", "lesser_omental_fat"
SHIFTED, GROWN, COVERED = "contours shifted", "contours grown", "discs over tumor and fat"
SWAPPED = "fat of another patient"
#: Cross-section of the fat's region at size 1 in the average body, cm2.
REGION_CM2 = np.pi * 30 * 20 / 100


@dataclass(frozen=True, kw_only=True)
class Plan(cohort.Plan):
    """One subject before it is drawn; the same plan gives the same voxels."""

    #: Where each cause lies in its range, and what the law made of it.
    places: tuple[tuple[str, float], ...] = ()
    risk: float = 0.5
    invasion: bool = False
    #: Until death or the last visit.
    months: float = 0.0
    died: bool = False


def subjects(split, count, *, seed):
    """Return the plans of a split."""
    return [_plan(split, seed, index) for index in range(count)]


def variants(plan):
    """Return the same patient with one thing changed, for each thing that may be."""
    kinds = {SHIFTED: "input", GROWN: "input", SWAPPED: "swap", COVERED: "blank"}
    return COHORT.variants(plan, kinds=kinds, mirror=_mirrored)


def render(plan):
    """Draw one subject."""
    subject = _drawn(plan if plan.altered == SWAPPED else replace(plan, altered=""))
    altered, volumes = COHORT.table["altered"], dict(subject.case.volumes)
    spacing_mm = volumes[DRAWN_ON].spacing_mm
    masks = {name: roi.mask for name, (roi,) in subject.case.rois.items()}
    if plan.altered == SHIFTED:
        turn = COHORT.streams(plan, OTHER_SCAN).lesion.uniform(0, 2 * np.pi)
        away = (altered["shift_mm"] * np.sin(turn), altered["shift_mm"] * np.cos(turn))
        masks = {name: shifted(mask, spacing_mm, away) for name, mask in masks.items()}
    elif plan.altered == GROWN:
        masks = {n: grown(mask, spacing_mm, altered["grow_mm"]) for n, mask in masks.items()}
    elif plan.altered == COVERED:
        for name, mask in masks.items():
            disc = {"diameter_mm": altered[name]["disc_mm"], "value": altered["disc_hu"]}
            for role, volume in volumes.items():
                hidden = covered(volume.array, spacing_mm, mask, **disc)
                volumes[role] = replace(volume, array=hidden)
            # The outline alone tells how large it is.
            masks[name] = ball_at(mask, spacing_mm, altered[name]["outline_mm"])
    case = replace(
        subject.case,
        volumes={role: replace(v, array=v.array.copy()) for role, v in volumes.items()},
        rois={
            name: (replace(roi, mask=masks[name].copy()),)
            for name, (roi,) in subject.case.rois.items()
        },
    )
    return replace(subject, case=case)


@lru_cache(maxsize=2)
def _drawn(plan):
    """Draw one subject as it is; the cases altered afterwards use it again."""
    body, scan = COHORT.streams(plan, BODY), COHORT.scan(plan)
    anatomy = ChestAnatomy.drawn(body.anatomy)
    values = COHORT.law.values(_shown(plan))
    grid = _grid(anatomy.wall, scan, COHORT.streams(plan, SCAN).lesion)
    noise = COHORT.streams(plan, OTHER_SCAN if plan.changed == "noise" else SCAN).noise
    volumes, masks = {}, {}
    for role, pose in zip(PHASES, _poses(plan, scan), strict=True):
        belly = _belly(plan, role, anatomy, values, pose)
        hu = acquire(belly.scene.render(grid), scan, noise, grid=grid)
        volumes[role] = Volume(array=hu, affine=grid.affine, unit="[hnsf'U]", modality="CT")
        if role == DRAWN_ON:
            masks = {TUMOR: belly.scene.mask(grid, TUMOR)}
            masks[FAT] = belly.scene.mask(grid, "lesser omentum")
    return Subject(
        patient=plan.patient,
        institution=scan.institution.name,
        case=Case(
            volumes=volumes,
            rois={
                name: (Roi(mask=mask, role=DRAWN_ON, label=name, source="a phantom's outline"),)
                for name, mask in masks.items()
            },
        ),
        labels=_labels(plan),
        facts=_facts(plan, scan),
        headers={role: _header(role, scan, anatomy) for role in PHASES},
    )


def _plan(split, seed, index):
    plan = Plan(split=split, seed=seed, index=index)
    streams = COHORT.streams(plan, PLAN)
    places = COHORT.law.drawn(streams.lesion)
    risk = COHORT.law.risk(places)
    invasion = bool(streams.outcome.random() < risk)
    months, died = Survival(**COHORT.table["survival"]).drawn(invasion, streams.outcome)
    return replace(
        plan,
        institution=COHORT.site_of(plan, [invasion], streams.acquisition),
        places=tuple(places.items()),
        risk=risk,
        invasion=invasion,
        months=months,
        died=died,
    )


def _mirrored(plan, cause):
    """Return the same patient, scan and noise with one cause mirrored."""
    places = mirrored(dict(plan.places), cause)
    return replace(plan, places=tuple(places.items()), risk=COHORT.law.risk(places))


def _shown(plan):
    """Return the places that the images show: the plan's, or with the next patient's fat."""
    places = dict(plan.places)
    if plan.altered == SWAPPED:
        places["loat"] = dict(_plan(plan.split, plan.seed, plan.index + 1).places)["loat"]
    return places


def _poses(plan, scan):
    """Return how the patient lies in the two phases: nearly the same."""
    chance = COHORT.streams(plan, OTHER_SCAN if plan.changed == "pose" else SCAN).outcome
    moved = chance.normal(0, 1, 3) * COHORT.table["images"]["moved_mm"]
    later = tuple(float(v) for v in np.array(scan.pose.shift_mm) + moved)
    return scan.pose, Pose(turn_deg=scan.pose.turn_deg, shift_mm=later)


def _grid(wall, scan, chance):
    """Return the grid of both phases, whatever lies in it."""
    images = COHORT.table["images"]
    low, high = (wall.size[2] * end for end in images["z_mm"])
    step = round(float(chance.uniform(*images["pixel_mm"])), 4)
    middle = wall.at(*images["middle_mm"], 0.0)
    centre = np.array(scan.pose.place((middle[0], middle[1], (low + high) / 2))).round(1)
    count, matrix = int((high - low) / scan.slice_mm) + 1, images["matrix"]
    return axial_grid((count, matrix, matrix), (scan.slice_mm, step, step), tuple(centre))


def _belly(plan, role, anatomy, values, pose):
    """Return the abdomen with its tumour in one phase; both phases draw the same shapes."""
    body, phase = COHORT.streams(plan, BODY), PHASES[role]
    fat, size = COHORT.table["omentum"], anatomy.wall.size
    omentum = Omentum(
        # The drawn area is that in this patient, not in the average one.
        size=float(np.sqrt(values["loat"] / REGION_CM2 / (size[0] * size[1]))),
        fat_hu=float(body.outcome.uniform(*fat["fat_hu"])),
        stranding_hu=float(body.outcome.uniform(*fat["stranding_hu"])),
    )
    blood = contrast(phase, np.random.default_rng([anatomy.seed, 2]))
    belly = abdomen(anatomy, blood=blood, omentum=omentum, pose=pose)
    liver = Union([paint.shape for paint in belly.scene.paints if paint.name == "liver"])
    return belly.with_paints(_tumor(plan, anatomy.wall, blood, values, body.lesion, liver))


def _tumor(plan, wall, blood, values, chance, liver):
    """Return the paints of a tumour in one phase, and of what enhances around it."""
    tumor, arterial = COHORT.table["tumor"], blood.phase == PHASES["arterial"]
    shape_chance, inside, look = chance.spawn(3)
    shape = _shape(plan, wall, values, shape_chance)
    whole = Both((shape, Grown(liver, 1.0)))
    uptake = {role: float(look.uniform(*tumor[f"{role}_hu"])) for role in ("arterial", "portal")}
    hu = blood.liver + uptake["arterial" if arterial else "portal"]
    texture = Texture(Waves.drawn(look, 12.0), float(look.uniform(3, 7)))
    capsule = look.random() < tumor["capsule"], float(look.uniform(*tumor["capsule_hu"]))
    body = Paint(shape=whole, value=hu, name=TUMOR, stage="top", edge_mm=1.0, texture=texture)
    if capsule[0] and not arterial:
        shell = (Layer(2.0, hu),)
        body = replace(body, value=blood.liver + capsule[1], layers=shell)
    paints = [body]
    if arterial:
        patches = Texture(Waves.drawn(look, 14.0), 0.12 * values["corona"])
        around = Both((Grown(shape, 8.0), liver))
        corona = Paint(
            shape=around,
            value=blood.liver + values["corona"],
            name="corona",
            stage="top",
            edge_mm=4.0,
            texture=patches,
        )
        paints.insert(0, corona)
    if inside.random() < tumor["necrosis"]:
        paints.append(_necrosis(shape, values["diameter"], inside))
    return paints


def _shape(plan, wall, values, chance):
    """Return the outline of a tumour in the body, before the liver ends it."""
    tumor = COHORT.table["tumor"]
    place = tumor["places_mm"][int(chance.integers(len(tumor["places_mm"])))]
    centre = tuple(
        float(v) for v in np.array(wall.at(*place)) + chance.normal(0, tumor["spread_mm"], 3)
    )
    depth = 0.02 + 0.15 * values["margin"]
    ratios = np.array([1.0, *chance.uniform(*tumor["flatness"], 2)])
    # Waves reach outwards: a rough tumour is not to be a larger one.
    half = tuple(float(v) for v in values["diameter"] / 2 / (1 + depth) * ratios)
    turn = tuple(float(v) for v in chance.uniform(-35, 35, 3))
    shape = Radial(centre, half, turn, Waves.drawn(chance, 1.2, count=8), depth)
    way, has_bud = chance.standard_normal(3), chance.random() < tumor["bud"]
    if plan.split != "test" or not has_bud:
        return shape
    away = 0.8 * min(half) * way / np.linalg.norm(way)
    where = tuple(float(v) for v in np.array(centre) + turned(turn) @ away)
    bud = Ellipsoid(where, tuple(0.45 * h for h in half), turn)
    return Union((shape, bud), blend_mm=0.1 * min(half))


def _necrosis(shape, diameter_mm, chance):
    low, high = np.array(shape.bounds)
    middle = (low + high) / 2 + chance.uniform(-0.08, 0.08, 3) * diameter_mm
    half = diameter_mm * chance.uniform(0.1, 0.22, 3)
    core = Ellipsoid(tuple(float(v) for v in middle), tuple(float(v) for v in half))
    wavy = Wavy(core, Waves.drawn(chance, 10.0), 0.03 * diameter_mm)
    value = float(chance.uniform(14, 28))
    kept = Both((Grown(shape, -3.0), wavy))
    return Paint(shape=kept, value=value, name=TUMOR, stage="top", edge_mm=4.0)


def _header(role, scan, anatomy):
    words = {"arterial": "ARTERIAL", "portal_venous": "PORTAL VENOUS"}
    return {
        **scan.headers(),
        "PatientSex": anatomy.sex,
        "BodyPartExamined": "ABDOMEN",
        "StudyDescription": "CT LIVER",
        "ProtocolName": "Liver dual phase",
        "SeriesDescription": f"{words[role]}, synthetic",
        "ContrastBolusAgent": "Iodine, synthetic",
    }


def _labels(plan):
    return Labels(
        values={
            "mvi": "yes" if plan.invasion else "no",
            "os_months": round(plan.months, 2),
            "os_event": int(plan.died),
        }
    )


def _facts(plan, scan):
    values = {name: round(value, 4) for name, value in COHORT.law.values(_shown(plan)).items()}
    return {"oracle": plan.risk, "kernel": scan.kernel, "slice_mm": scan.slice_mm, **values}
