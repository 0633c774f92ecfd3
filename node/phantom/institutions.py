"""Virtual institutions: each scans in its own way. Nobody's hospital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

#: Reconstruction kernels: blur (sigma in mm), share of sharpening, grain of the noise.
KERNELS: Mapping[str, tuple[float, float, str]] = {
    "soft": (0.75, 0.0, "soft"),
    "standard": (0.55, 0.0, "medium"),
    "medium": (0.5, 0.25, "medium"),
    "sharp": (0.35, 0.7, "fine"),
    # Only in a test cohort (E11): overshoots at edges, patchy noise of a strong denoiser.
    "edge": (0.6, 1.3, "patchy"),
}
TEST_ONLY_KERNEL = "edge"
TRAIN_KERNELS = tuple(name for name in KERNELS if name != TEST_ONLY_KERNEL)

_VENDORS = (
    ("Phantom Works A", ("A-16", "A-64", "A-Force"), "B{}f", {"soft": 20, "standard": 31,
     "medium": 40, "sharp": 60, "edge": 80}),
    ("Phantom Works B", ("Lumen 64", "Lumen 256"), "{}", {"soft": "SOFT", "standard": "STANDARD",
     "medium": "DETAIL", "sharp": "LUNG", "edge": "EDGE"}),
    ("Phantom Works C", ("C-One", "C-One Plus"), "FC{:02d}", {"soft": 3, "standard": 8,
     "medium": 13, "sharp": 51, "edge": 86}),
    ("Phantom Works D", ("Brio", "Brio 128"), "{}", {"soft": "A", "standard": "B", "medium": "C",
     "sharp": "L", "edge": "YD"}),
)  # fmt: skip
_SITES = ("North", "South", "East", "West", "Lake", "Hill", "River", "Bay", "Forest", "Harbour")


@dataclass(frozen=True, kw_only=True)
class Institution:
    """How one institution scans.

    Attributes
    ----------
    name : str
        Starts with the family's letter: no name is in two families.
    family : "train" or "test"
    manufacturer, model : str
    kernels : kernel names, and the names the vendor gives them
    kernel_weights : how often each is used
    noise_hu : typical standard deviation of the noise at 1.5 mm³-like voxels
    slice_mm : usual distances of slices; one is drawn for each patient
    overlap : thickness / distance of slices
    fov_margin_mm : how much wider than the body the field of view is
    offset_mm : how far off centre patients lie, right-left and up-down
    turn_deg : how crooked they lie (standard deviation)
    arms_up : share of patients with the arms beside the head
    phases : phase name to share of patients
    table : "flat", "curved", "thin" or "none"
    circle : True where the field of view's corners are cut off
    kvp : tube voltages in use
    habits : DICOM keyword to value, the same in all of its images
    """

    name: str
    family: str
    manufacturer: str
    model: str
    kernels: Mapping[str, str]
    kernel_weights: tuple[float, ...]
    noise_hu: float
    slice_mm: tuple[float, ...]
    overlap: float
    fov_margin_mm: float
    offset_mm: tuple[float, float]
    turn_deg: float
    arms_up: float
    phases: Mapping[str, float]
    table: str
    circle: bool
    kvp: tuple[float, ...]
    habits: Mapping[str, object] = field(default_factory=dict)


def institutions(count: int, *, seed: int, family: str = "train") -> tuple[Institution, ...]:
    """Draw institutions; the same arguments give the same ones.

    Parameters
    ----------
    count : how many
    seed : of the cohort
    family : "train" or "test"
        Families share no institution; the kernel "edge" with its patchy noise occurs only in the
        test family.

    Raises
    ------
    ValueError
        Unknown family.
    """
    if family not in ("train", "test"):
        raise ValueError(f"the family is train or test, not {family}")
    number = 0 if family == "train" else 1
    seeds = np.random.SeedSequence([seed, number, 20_140]).spawn(count)
    return tuple(
        _drawn(index, family, np.random.default_rng(part)) for index, part in enumerate(seeds)
    )


def _drawn(index: int, family: str, rng: np.random.Generator) -> Institution:
    manufacturer, models, pattern, names = _VENDORS[int(rng.integers(len(_VENDORS)))]
    known: Mapping[str, object] = names
    used = list(rng.choice(TRAIN_KERNELS[:3], size=int(rng.integers(1, 3)), replace=False))
    if rng.random() < 0.25:
        used.append("sharp")
    if family == "test" and rng.random() < 0.35:
        used = [TEST_ONLY_KERNEL, *used[:1]]
    slices = ((1.0, 1.25), (1.5, 2.0), (2.5, 3.0), (3.0,), (3.75, 5.0), (5.0,), (4.0, 5.0))
    mix = rng.dirichlet((0.8, 0.8, 1.2))
    site = f"{_SITES[int(rng.integers(len(_SITES)))]} Site"
    letter = "T" if family == "train" else "E"
    return Institution(
        name=f"{letter}{index + 1:03d} {site}",
        family=family,
        manufacturer=manufacturer,
        model=str(rng.choice(models)),
        kernels={str(name): pattern.format(known[str(name)]) for name in used},
        kernel_weights=tuple(float(v) for v in rng.dirichlet(np.full(len(used), 2.0))),
        noise_hu=float(rng.uniform(7, 20)),
        slice_mm=slices[int(rng.integers(len(slices)))],
        overlap=float(rng.choice((1.0, 1.0, 1.0, 1.25, 1.6))),
        fov_margin_mm=float(rng.uniform(-14, 50)),
        offset_mm=(float(rng.normal(0, 6)), float(rng.normal(0, 10))),
        turn_deg=float(rng.uniform(0.8, 3.5)),
        arms_up=float(rng.uniform(0.75, 1.0)),
        phases=dict(zip(("none", "early", "portal"), map(float, mix), strict=True)),
        table=str(rng.choice(("flat", "curved", "curved", "thin", "none"))),
        circle=bool(rng.random() < 0.5),
        kvp=tuple(float(v) for v in rng.choice((80, 100, 110, 120, 130), size=2)),
        habits={
            "InstitutionName": f"Phantom {site} {letter}{index + 1:03d} (no hospital)",
            "StationName": f"CT{letter}{index + 1:03d}",
            "DeviceSerialNumber": str(int(rng.integers(10_000, 99_999))),
            "SoftwareVersions": f"{int(rng.integers(1, 9))}.{int(rng.integers(0, 10))}",
            "StudyDescription": str(
                rng.choice(("CT CHEST", "THORAX", "Chest routine", "CT THORAX W/WO", "TORAX"))
            ),
            "ProtocolName": str(
                rng.choice(("Chest", "Thorax_Routine", "2.1 CHEST", "MEDIASTINUM"))
            ),
        },
    )
