"""Synthetic heads with a nasopharyngeal tumour, on T1 after gadolinium and T2: `cohort.toml`."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from node.phantom import cohort
from node.phantom.altered import ball_at, covered, grown, shifted
from node.phantom.cohort import BODY, OTHER_SCAN, PLAN, SCAN, Cohort
from node.phantom.grid import Lattice, Pose, turned
from node.phantom.head_neck import HeadAnatomy, head_neck
from node.phantom.law import mirrored
from node.phantom.masses import Radial
from node.phantom.mri import MrScan, acquire_mr
from node.phantom.scene import Paint, Texture
from node.phantom.shapes import Ellipsoid, Union, Waves
from node.phantom.subject import Subject
from node.plugin import Case, Labels, Roi, Volume

COHORT = Cohort.beside(__file__)
#: Input role to the sequence that the phantom draws, and to the region outlined on it.
SEQUENCES = {"t1_contrast": "T1C", "t2": "T2"}
TUMOR = {"t1_contrast": "tumor_t1_contrast", "t2": "tumor_t2"}
#: What may change without changing the risk.
NUISANCES = ("institution", "noise", "bias", "pose")
#: How finely is looked what waves do inside a tumour and around it.
STEP_MM = 2.0
DIRECTIONS = np.random.default_rng(0).standard_normal((4000, 3)).astype(np.float32)
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
SHIFTED, GROWN, COVERED = "contours shifted", "contours grown", "disc over the tumour"


@dataclass(frozen=True, kw_only=True)
class Plan(cohort.Plan):
    """One subject before it is drawn; the same plan gives the same voxels."""

    #: Where each cause lies in its range, and what the law made of it.
    places: tuple[tuple[str, float], ...] = ()
    risk: float = 0.5
    recurrence: bool = False
    #: What the law knows nothing of.
    diameter_mm: float = 40.0
    n_category: str = "n0"
    ebv_dna: float = 0.0


def subjects(split, count, *, seed):
    """Return the plans of a split."""
    return [_plan(split, seed, index) for index in range(count)]


def variants(plan):
    """Return the same patient with one thing changed, for each thing that may be."""
    kinds = {SHIFTED: "input", GROWN: "input", COVERED: "blank"}
    return COHORT.variants(plan, kinds=kinds, mirror=_mirrored, nuisances=NUISANCES)


def render(plan):
    """Draw one subject."""
    subject = _drawn(replace(plan, altered=""))
    altered, volumes, rois = COHORT.table["altered"], {}, {}
    away = _away(plan, altered["shift_mm"])
    for role, volume in subject.case.volumes.items():
        (roi,) = subject.case.rois[TUMOR[role]]
        array, mask, spacing_mm = volume.array.copy(), roi.mask.copy(), volume.spacing_mm
        if plan.altered == SHIFTED:
            mask = shifted(mask, spacing_mm, away)
        elif plan.altered == GROWN:
            mask = grown(mask, spacing_mm, altered["grow_mm"])
        elif plan.altered == COVERED:
            array = _hidden(array, spacing_mm, mask)
            # The outline alone tells how irregular it is.
            mask = ball_at(mask, spacing_mm, altered["outline_mm"])
        volumes[role] = replace(volume, array=array)
        rois[TUMOR[role]] = (replace(roi, mask=mask),)
    return replace(subject, case=replace(subject.case, volumes=volumes, rois=rois))


def _hidden(array, spacing_mm, mask):
    """Return an image with a disc of grain over the tumour: one value alone would be refused."""
    altered, chance = COHORT.table["altered"], np.random.default_rng(0)
    grain = chance.normal(altered["disc_value"], altered["disc_grain"], array.shape)
    disc = covered(
        np.zeros(array.shape, bool), spacing_mm, mask, diameter_mm=altered["disc_mm"], value=1
    )
    return np.where(disc, np.rint(grain), array).astype(array.dtype)


@lru_cache(maxsize=2)
def _drawn(plan):
    """Draw one subject as it is; the cases altered afterwards use it again."""
    anatomy = HeadAnatomy.drawn(COHORT.streams(plan, BODY).anatomy)
    noise = COHORT.streams(plan, OTHER_SCAN if plan.changed == "noise" else SCAN).noise
    volumes, rois, headers, images = {}, {}, {}, COHORT.table["images"]
    for role, scan in _scans(plan).items():
        body = head_neck(
            anatomy,
            sequence=scan.sequence,
            rng=np.random.default_rng([anatomy.seed, 2]),
            pose=scan.pose,
        )
        scene = body.with_paints(_tumor(plan, role, body)).scene
        grid = scan.grid(images["matrix"], z_mm=tuple(images["z_mm"]))
        signal = acquire_mr(scene.render(grid), scan, noise, grid=grid)
        volumes[role] = Volume(array=signal, affine=grid.affine, unit="1", modality="MR")
        mask = scene.mask(grid, "tumor")
        rois[TUMOR[role]] = (
            Roi(mask=mask, role=role, label="tumor", source="a phantom's outline"),
        )
        headers[role] = {**scan.headers(), "PatientSex": anatomy.sex}
    return Subject(
        patient=plan.patient,
        institution=COHORT.sites(plan.split)[plan.institution].name,
        case=Case(volumes=volumes, rois=rois, values=_clinical(plan, anatomy)),
        labels=Labels(values={"recurrence": "yes" if plan.recurrence else "no"}),
        facts=_facts(plan, scan),
        headers=headers,
    )


def _plan(split, seed, index):
    plan = Plan(split=split, seed=seed, index=index)
    streams, clinical = COHORT.streams(plan, PLAN), COHORT.table["clinical"]
    places = COHORT.law.drawn(streams.lesion)
    risk = COHORT.law.risk(places)
    recurrence = bool(streams.outcome.random() < risk)
    shares = clinical["n_share"]["yes" if recurrence else "no"]
    ebv, chance = clinical["ebv_dna"], streams.anatomy
    exponent = ebv["mean"] + ebv["more"] * recurrence + ebv["sd"] * chance.standard_normal()
    return replace(
        plan,
        institution=COHORT.site_of(plan, [recurrence], streams.acquisition),
        places=tuple(places.items()),
        risk=risk,
        recurrence=recurrence,
        diameter_mm=float(chance.uniform(*COHORT.table["tumor"]["diameter_mm"])),
        n_category=f"n{int(chance.choice(len(shares), p=shares))}",
        ebv_dna=float(round(10 ** np.clip(exponent, 0, 7))),
    )


def _mirrored(plan, cause):
    """Return the same patient, scan and noise with one cause mirrored."""
    places = mirrored(dict(plan.places), cause)
    return replace(plan, places=tuple(places.items()), risk=COHORT.law.risk(places))


def _away(plan, by_mm):
    """Return how far contours are moved along rows and columns."""
    turn = COHORT.streams(plan, OTHER_SCAN).lesion.uniform(0, 2 * np.pi)
    return by_mm * np.sin(turn), by_mm * np.cos(turn)


def _scans(plan):
    """Return the scan of each sequence: one visit, the patient moved a little in between."""
    images, site = COHORT.table["images"], COHORT.sites(plan.split)[plan.institution]
    streams, other = COHORT.streams(plan, SCAN), COHORT.streams(plan, OTHER_SCAN)
    chance = (other if plan.changed == "institution" else streams).acquisition
    lying = (other if plan.changed == "pose" else streams).outcome
    pose, scans = MrScan.drawn(site, lying, "T1C").pose, {}
    for role, sequence in SEQUENCES.items():
        scan = MrScan.drawn(site, chance, sequence, pose=pose)
        if plan.changed == "bias":
            scan = replace(scan, bias_seed=int(other.anatomy.integers(2**31)))
        scans[role] = replace(
            scan,
            bias=images["bias"] * scan.bias,
            # As the institution's CT, so that its noisier half is the noisier half here too.
            noise=images["noise"] * site.noise_hu * float(chance.lognormal(0, 0.1)),
        )
        moved = np.array(pose.shift_mm) + lying.normal(0, 1, 3) * images["moved_mm"]
        pose = Pose(turn_deg=pose.turn_deg, shift_mm=_point(moved))
    return scans


def _tumor(plan, role, body):
    """Return the paint of the tumour in one sequence; both sequences draw the same shape."""
    sequence, values = COHORT.table["sequences"][role], COHORT.law.values(dict(plan.places))
    shape_chance, *looks = COHORT.streams(plan, BODY).lesion.spawn(3)
    look = looks[list(SEQUENCES).index(role)]
    low, high = sequence["signal"]
    times = low + (high - low) * values["signal"]
    signal = body.palette["muscle"] * times * look.lognormal(0, COHORT.table["tumor"]["jitter"])
    shape = _shape(plan, body.anatomy, values["irregularity"], shape_chance)
    waves = Waves.drawn(look, values["coarseness"], count=24)
    mean, sd = _inside(shape, waves)
    varies = sequence["texture"] * values["heterogeneity"] * float(signal) / sd
    return Paint(
        shape=shape,
        value=float(signal) - varies * mean,
        name="tumor",
        stage="top",
        edge_mm=1.0,
        texture=Texture(waves, varies),
    )


def _inside(shape, waves):
    """Return mean and deviation of waves inside a shape.

    Few of them fit into a tumour: left to chance, it would be brighter or smoother than the law
    says.
    """
    low, high = np.array(shape.bounds)
    matrix = np.diag([STEP_MM] * 3 + [1.0])
    matrix[:3, 3] = low
    count_x, count_y, count_z = (int(n) for n in np.ceil((high - low) / STEP_MM))
    lattice = Lattice((count_x, count_y, count_z), matrix)
    values = np.broadcast_to(waves.on(lattice), lattice.shape)[shape.field(lattice) < 0]
    return float(values.mean()), float(values.std())


def _around(waves):
    """Return the deviation of waves over all directions."""
    x, y, z = DIRECTIONS.T
    return float(waves.at(x, y, z).std())


def _shape(plan, anatomy, irregularity, chance):
    """Return the outline of a tumour in the body."""
    tumor = COHORT.table["tumor"]
    place = tumor["places_mm"][int(chance.integers(len(tumor["places_mm"])))]
    centre = np.array(anatomy.at(*place)) + chance.normal(0, tumor["spread_mm"], 3)
    depth = 0.02 + 0.23 * irregularity
    ratios = np.array([1.0, *chance.uniform(*tumor["flatness"], 2)])
    # Waves reach outwards: an irregular tumour is not to be a larger one.
    half = plan.diameter_mm / 2 / (1 + depth) * ratios
    turn = tuple(float(v) for v in chance.uniform(-35, 35, 3))
    waves = Waves.drawn(chance, 1.2, count=24)
    shape = Radial(_point(centre), _point(half), turn, waves, depth / _around(waves))
    way, has_lobe = chance.standard_normal(3), _has_lobe(plan, chance)
    if not has_lobe:
        return shape
    away = 0.8 * half.min() * way / np.linalg.norm(way)
    lobe = Ellipsoid(_point(centre + turned(turn) @ away), _point(0.45 * half), turn)
    return Union((shape, lobe), blend_mm=0.1 * float(half.min()))


def _has_lobe(plan, chance):
    return bool(chance.random() < COHORT.table["tumor"]["lobe"]) and plan.split == "test"


def _point(values):
    return tuple(float(v) for v in values)


def _clinical(plan, anatomy):
    """Return what a clinic would know of the patient, as the manifest names it."""
    t = t_category(plan.diameter_mm)
    return {
        "sex": anatomy.sex.lower(),
        "age": float(round(anatomy.age)),
        "t_category": t,
        "n_category": plan.n_category,
        "stage": stage_of(t, plan.n_category),
        "ebv_dna": plan.ebv_dna,
    }


def t_category(diameter_mm):
    """Return the T category of a phantom's tumour: by its longest extent."""
    reached = [t for t, mm in COHORT.table["clinical"]["t_from_mm"].items() if diameter_mm >= mm]
    return reached[-1] if reached else "t2"


def stage_of(t, n):
    """Return the stage of T2-T4 and N0-N3 without distant metastasis."""
    if t == "t4" or n == "n3":
        return "iva"
    return "iii" if t == "t3" or n == "n2" else "ii"


def _facts(plan, scan):
    values = {name: round(value, 4) for name, value in COHORT.law.values(dict(plan.places)).items()}
    return {
        "oracle": plan.risk,
        "field_t": f"{scan.field_t:g}",
        "slice_mm": scan.slice_mm,
        "diameter": round(plan.diameter_mm, 1),
        **values,
    }
