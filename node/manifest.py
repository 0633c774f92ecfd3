"""What a plugin's manifest says, as frozen values. `node.manifest_file` reads it from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.model import Grade
from node.radiomics_settings import RadiomicsSettings

#: Largest float there is, for limits that nobody set.
UNLIMITED = float("inf")


#: Contrast phases in the order in which they follow a bolus.
PHASES = ("non_contrast", "arterial", "portal_venous", "delayed")


@dataclass(frozen=True)
class Code:
    """A coded concept: value, coding scheme designator, meaning (PS3.3 section 8.8)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Range:
    """A closed interval."""

    low: float = -UNLIMITED
    high: float = UNLIMITED

    def __contains__(self, value: float) -> bool:
        """Return whether low <= value <= high."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class InputRole:
    """What a series must be to serve one input of a plugin (S17-S20)."""

    name: str
    #: Modality (0008,0060), one of these.
    modality: tuple[str, ...]
    #: ``axial``, ``sagittal``, ``coronal`` (nearest within 45 degrees) or ``any``.
    plane: str = "any"
    slices: Range = Range(2, UNLIMITED)
    slice_spacing_mm: Range = Range()
    slice_thickness_mm: Range = Range()
    pixel_spacing_mm: Range = Range()
    #: ``HU``: the values must be Hounsfield units by S20; ``raw``: after rescale, unit unknown.
    values: str = "HU"
    #: Words of Image Type that a DERIVED image may carry (``MPR``, ``RECON``…).
    allow: tuple[str, ...] = ()
    #: Words that Image Type must carry.
    image_type_has: tuple[str, ...] = ()
    #: Words that it must not carry.
    image_type_absent: tuple[str, ...] = ()
    #: Globs for Convolution Kernel (0018,1210), case ignored; () = any.
    kernel: tuple[str, ...] = ()
    #: ``required``, ``absent`` or ``any``.
    contrast: str = "any"
    #: Numbers of the header that a series must have, by DICOM keyword.
    header: Mapping[str, Range] = field(default_factory=dict)
    #: Numbers of the header that must be absent or 0, by DICOM keyword.
    header_absent: tuple[str, ...] = ()
    #: Words that no text which names the sequence may hold: ``EP``, ``DARK FLUID``.
    words_absent: tuple[str, ...] = ()
    #: Contrast phase, one of `PHASES`; "" = not asked for.
    phase: str = ""
    #: Whether images with a lossy history (0028,2110) are accepted.
    lossy: bool = False
    #: Display window (centre, width) in the values' unit, for pictures; None: by modality.
    window: tuple[float, float] | None = None
    #: Criteria in order, the first decides: ``original``, ``most_slices``, ``thin_slices``,
    #: ``large_coverage``, ``soft_kernel``, ``names_contrast``, ``recent``.
    rank: tuple[str, ...] = ("original", "thin_slices", "large_coverage", "soft_kernel")


#: Objects that a region of interest may lie in.
ROI_SOURCES = ("SEG", "RTSTRUCT", "SR")


@dataclass(frozen=True, kw_only=True)
class RoiRole:
    """A region that the plugin needs beside the images, and what happens without it (S21)."""

    name: str
    #: The input role on whose grid the plugin gets it.
    input: str
    #: Whether there may be several.
    many: bool = False
    #: Whether each must be one lesion: one connected part.
    one_piece: bool = False
    #: What it is: Segmented Property Type, RT ROI Identification Code or Finding, one of these.
    codes: tuple[Code, ...] = ()
    #: Where it is, one of these; () or a region that names no site: anywhere.
    sites: tuple[Code, ...] = ()
    #: Which objects others may draw it in, of `ROI_SOURCES`; () = none.
    sources: tuple[str, ...] = ROI_SOURCES
    #: Name of the plugin whose result serves where nobody drew one; "" = none.
    from_plugin: str = ""
    #: ``wait``, ``automatic`` (for that plugin's result) or ``refuse``.
    when_missing: str = "wait"
    #: Voxels of a FRACTIONAL segment count from this part of its maximum on.
    fraction: float = 0.5


@dataclass(frozen=True, kw_only=True)
class SegmentSpec:
    """How a segment of the Result is coded in SEG and SR."""

    name: str
    label: str
    category: Code
    type: Code
    region: Code | None = None
    #: Recommended display colour, 0-255 each.
    color_rgb: tuple[int, int, int] = (255, 64, 64)
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class MeasurementSpec:
    """How a number of the Result is coded in the SR."""

    name: str
    code: Code
    #: UCUM.
    unit: Code
    method: Code | None = None
    derivation: Code | None = None
    #: Digits after the point in the SR.
    digits: int = 2
    #: What the interval of a value is, in words: ``95 % interval``.
    interval: str = "95 % interval"


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """How a map of the Result is coded in a Parametric Map."""

    name: str
    label: str
    #: What the numbers mean (0040,9220), one of CID 7180 or a private code.
    quantity: Code
    #: UCUM.
    unit: Code


@dataclass(frozen=True, kw_only=True)
class QualitySpec:
    """How a statement of the Result is coded in the SR."""

    name: str
    code: Code
    #: Name of the choice, as the plugin says it, to its code.
    choices: Mapping[str, Code]


@dataclass(frozen=True, kw_only=True)
class ClinicalSpec:
    """A clinical value that a plugin can use, and can do without."""

    name: str
    #: ``number``, ``integer``, ``words`` or ``flag``.
    kind: str
    #: As people name it.
    label: str
    #: Its concept in our SR.
    code: Code
    #: UCUM; None for words and flags.
    unit: Code | None = None
    #: Allowed, in `unit`.
    range: Range = Range()
    #: Of ``words``: name of the choice to its code.
    choices: Mapping[str, Code] = field(default_factory=dict)
    #: DICOM keyword of an attribute that may hold it; "" = none.
    attribute: str = ""
    #: Concepts of items that may hold it in SRs of the study.
    sr: tuple[Code, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may take, and for whom the plugin is meant (S22)."""

    time_s: float = 600.0
    memory_mb: int = 8192
    #: ``any``, ``cpu`` or ``cuda``.
    device: str = "any"
    #: None: any age, known or not. Otherwise an unknown age is refused.
    age_years: Range | None = None
    #: Body Part Examined (0018,0015), case ignored; () = any. An absent one is accepted
    #: only if () or if it holds "".
    body_parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """The law of the plugin's phantoms, pinned before anything was trained on them (E11)."""

    #: Relative to the plugin's folder.
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure of an evaluation on phantoms must reach."""

    #: A key of ``report.json``.
    figure: str
    least: float | None = None
    greatest: float | None = None


#: Of any classifier; a manifest may say others.
GOALS = (
    Goal(figure="oracle_auroc", least=0.92, greatest=0.97),
    Goal(figure="auroc_below_oracle", greatest=0.06),
    Goal(figure="auroc_above_best_baseline", least=0.10),
    Goal(figure="least_better_low", least=0.0),
)


@dataclass(frozen=True, kw_only=True)
class MeasuredGroups:
    """Groups of cases by a number that the plugin measured."""

    measurement: str
    #: Rising; a group ends at each of them, itself included.
    cuts: tuple[float, ...]
    #: UCUM, of the measurement.
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """Which of a classifier's numbers are compared with which labels (docs/evaluation.md)."""

    #: A measurement: how likely the outcome is.
    probability: str
    #: Divides measured probabilities: 100 for those in %.
    scale: float = 1.0
    #: A column of labels: what is true.
    outcome: str
    #: What that column says of those who have it.
    positive: str | float = "yes"
    #: From 0 to 1; at or above it a case is called positive.
    threshold: float = 0.5
    #: Other measured probabilities, each compared with `probability`.
    also: tuple[str, ...] = ()
    #: One of `also`, of a network that learned with parts exchanged between patients; "" = none.
    swapped: str = ""
    #: Measurements whose own part in the outcome is asked for.
    factors: tuple[str, ...] = ()
    #: Columns of labels: how long, and whether it happened; "" = no survival.
    time: str = ""
    event: str = ""
    #: Those of `also` that must be better than `probability`.
    better: tuple[str, ...] = ()
    #: Of `also`, with the fact of the cohort that holds the law of each.
    laws: tuple[tuple[str, str], ...] = ()
    groups: tuple[MeasuredGroups, ...] = ()
    goals: tuple[Goal, ...] = GOALS


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One plugin version, pinned by its digest."""

    folder: Path
    name: str
    version: str
    title: str
    intended_use: str
    source: str
    grade: Grade
    inputs: Mapping[str, InputRole]
    rois: Mapping[str, RoiRole] = field(default_factory=dict)
    segments: Mapping[str, SegmentSpec] = field(default_factory=dict)
    measurements: Mapping[str, MeasurementSpec] = field(default_factory=dict)
    maps: Mapping[str, MapSpec] = field(default_factory=dict)
    qualities: Mapping[str, QualitySpec] = field(default_factory=dict)
    #: Clinical values that it can use; it must run without them.
    clinical: Mapping[str, ClinicalSpec] = field(default_factory=dict)
    limits: Limits = Limits()
    #: DICOM keywords that go into `Case.attributes`.
    attributes: tuple[str, ...] = ()
    #: What the plugin looks for, for "no … detected" (S7): "voxels >= 300 HU".
    finding_name: str = "finding"
    #: Provenance of the training, one sentence; "" where nothing was trained.
    training: str = ""
    #: Settings of the algorithm; written into the SR as algorithm parameters.
    parameters: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    #: Weights file (relative to the folder) to SHA-256.
    weights: Mapping[str, str] = field(default_factory=dict)
    #: None: the plugin has no phantoms of its own.
    cohort: CohortSpec | None = None
    #: None: it is judged by its masks.
    evaluation: EvaluationSpec | None = None
    #: None: it asks for no radiomics features.
    radiomics: RadiomicsSettings | None = None
    #: What it imports that the node itself does not need, by the names that are imported.
    libraries: tuple[str, ...] = ()
    #: Another Python interpreter for the child (E7); "" = ours.
    python: str = ""
    #: Concept of the finding in the SR's measurement group; None: the segment's type.
    finding: Code | None = None
    manufacturer: str = "Sentinel Node"
    #: Private coding schemes that the plugin's codes use, beside 99SENTINEL; they are the
    #: manufacturer's, and each object identifies those it holds.
    private_schemes: tuple[str, ...] = ()
    #: Algorithm Family of TID 4019 and of the SEG, one of CID 7162.
    algorithm_family: Code = Code("123110", "DCM", "Artificial Intelligence")
    #: SHA-256 over the plugin's files: its identity, bit for bit.
    digest: str = ""

    @property
    def name_version(self) -> str:
        """Return ``name@version``."""
        return f"{self.name}@{self.version}"
