"""The tables of a ``plugin.toml``, as pydantic checks them; `node.manifest_file` uses them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from node.toml_file import Bound, Flag, Number, Said, Table, Text, Whole

_Name = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
_Version = Annotated[
    str, Field(strict=True, pattern=r"^\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]+)?$", max_length=32)
]
# PS3.5 6.2: LO holds 64 characters, SH 16, CS 16 of a closed repertoire.
_Lo = Annotated[str, Field(strict=True), StringConstraints(min_length=1, max_length=64)]
_Sh = Annotated[str, Field(strict=True), StringConstraints(min_length=1, max_length=16)]
_Cs = Annotated[str, Field(strict=True, pattern=r"^[A-Z0-9_ ]{1,16}$")]
_Words = Annotated[str, Field(strict=True, pattern=r"^[A-Z0-9]+( [A-Z0-9]+)*$", max_length=64)]
_Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
RangeRow = tuple[Bound, Bound]
CodeRow = tuple[_Sh, _Sh, _Lo]
_Sha256 = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
_Above0 = Annotated[Number, Field(gt=0)]
#: Of voxels and filters: finer ones than any scanner's would not fit into the memory.
_Millimetres = Annotated[Number, Field(ge=0.05, le=100)]
_Share = Annotated[Number, Field(ge=0, le=1)]
_ImageType = Literal[
    "original", "wavelet", "log", "square", "squareroot", "logarithm", "exponential", "gradient"
]
_FeatureClass = Literal["shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]
_Rank = Literal[
    "original",
    "most_slices",
    "thin_slices",
    "large_coverage",
    "soft_kernel",
    "names_contrast",
    "recent",
]


class InputTable(Table):
    """``[inputs.ROLE]``."""

    modality: Annotated[tuple[_Cs, ...], Field(min_length=1)]
    plane: Literal["axial", "sagittal", "coronal", "any"] = "any"
    slices: RangeRow = (2, math.inf)
    slice_spacing_mm: RangeRow = (-math.inf, math.inf)
    slice_thickness_mm: RangeRow = (-math.inf, math.inf)
    pixel_spacing_mm: RangeRow = (-math.inf, math.inf)
    values: Literal["HU", "raw"] = "HU"
    allow: tuple[_Cs, ...] = ()
    image_type_has: tuple[_Cs, ...] = ()
    image_type_absent: tuple[_Cs, ...] = ()
    kernel: tuple[Said, ...] = ()
    contrast: Literal["required", "absent", "any"] = "any"
    header: dict[str, RangeRow] = Field(default_factory=dict)
    header_absent: tuple[Said, ...] = ()
    words_absent: tuple[_Words, ...] = ()
    phase: Literal["non_contrast", "arterial", "portal_venous", "delayed"] | None = None
    lossy: Flag = False
    window: tuple[Number, Annotated[Number, Field(gt=0)]] | None = None
    rank: tuple[_Rank, ...] = ("original", "thin_slices", "large_coverage", "soft_kernel")


class RoiTable(Table):
    """``[rois.NAME]``."""

    input: _Name
    many: Flag = False
    one_piece: Flag = False
    codes: tuple[CodeRow, ...] = ()
    sites: tuple[CodeRow, ...] = ()
    sources: tuple[Literal["SEG", "RTSTRUCT", "SR"], ...] = ("SEG", "RTSTRUCT", "SR")
    from_plugin: Annotated[_Name | None, Field(alias="from")] = None
    when_missing: Literal["wait", "automatic", "refuse"] = "wait"
    fraction: Annotated[Number, Field(gt=0, le=1)] = 0.5


class SegmentTable(Table):
    """``[segments.NAME]``."""

    label: _Lo
    category: CodeRow
    type: CodeRow
    region: CodeRow | None = None
    color_rgb: tuple[_Byte, _Byte, _Byte] = (255, 64, 64)
    description: Text = ""


class MeasurementTable(Table):
    """``[measurements.NAME]``."""

    code: CodeRow
    unit: CodeRow
    method: CodeRow | None = None
    derivation: CodeRow | None = None
    digits: Annotated[int, Field(strict=True, ge=0, le=9)] = 2
    interval: _Lo = "95 % interval"
    count: Annotated[Whole, Field(ge=1, le=4096)] | None = None


class MapTable(Table):
    """``[maps.NAME]``."""

    label: _Lo
    quantity: CodeRow
    unit: CodeRow = ("1", "UCUM", "no units")


class QualityTable(Table):
    """``[qualities.NAME]``."""

    code: CodeRow
    choices: Annotated[dict[Said, CodeRow], Field(min_length=1)]


class ClinicalTable(Table):
    """``[clinical.NAME]``."""

    kind: Literal["number", "integer", "words", "flag"]
    code: CodeRow
    label: Annotated[str, Field(strict=True), StringConstraints(max_length=64)] = ""
    unit: CodeRow | None = None
    range: RangeRow | None = None
    choices: dict[Said, CodeRow] = Field(default_factory=dict)
    attribute: Text = ""
    sr: tuple[CodeRow, ...] = ()


class LimitsTable(Table):
    """``[limits]``."""

    time_s: Annotated[Number, Field(gt=0)] = 600.0
    memory_mb: Annotated[Whole, Field(gt=0)] = 8192
    device: Literal["any", "cpu", "cuda"] = "any"
    age_years: RangeRow | None = None
    body_parts: tuple[Text, ...] = ()


class _Cohort(Table):
    file: Said
    sha256: _Sha256


class GoalsTable(Table):
    """``[evaluation.goals]``; None: that of any classifier, or none."""

    oracle_auroc: tuple[_Share, _Share] | None = None
    auroc_below_oracle: Number | None = None
    auroc_above_best_baseline: Number | None = None
    greatest_group_below_oracle: Number | None = None
    least_gain: Number | None = None
    least_gain_low: Number | None = None
    least_better_low: Number | None = None
    planted_share: _Share | None = None
    planted_enrichment: _Above0 | None = None
    log_rank_p: _Share | None = None


class EvaluationTable(Table):
    """``[evaluation]``."""

    probability: _Name
    outcome: Said
    positive: Text | Number = "yes"
    threshold: Text = ""
    also: tuple[_Name, ...] = ()
    swapped: Text = ""
    factors: tuple[_Name, ...] = ()
    time: Text = ""
    event: Text = ""
    better: tuple[_Name, ...] = ()
    laws: dict[_Name, Said] = Field(default_factory=dict)
    groups: dict[_Name, Annotated[tuple[Number, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    goals: GoalsTable = GoalsTable()


class RadiomicsTable(Table):
    """``[radiomics]``."""

    image_types: Annotated[tuple[_ImageType, ...], Field(min_length=1)]
    classes: Annotated[tuple[_FeatureClass, ...], Field(min_length=1)]
    pre_crop: Flag
    bin_width: Annotated[Number, Field(gt=0)] | None = None
    bin_count: Annotated[Whole, Field(ge=2, le=4096)] | None = None
    log_sigma_mm: tuple[_Millimetres, ...] = ()
    wavelet: Literal["coif1", "haar", "db2", "db4", "sym4"] = "coif1"
    spacing_mm: tuple[_Millimetres, _Millimetres, _Millimetres] | None = None
    interpolator: Literal["bspline", "linear", "nearest"] = "bspline"
    pad_voxels: Annotated[Whole, Field(ge=0, le=100)] = 5
    clip: tuple[Number, Number] | None = None
    normalize: Flag = False
    normalize_scale: _Above0 = 1.0
    remove_outliers_sd: _Above0 | None = None
    shift: Number = 0.0
    drop: tuple[Text, ...] = ()
    least_voxels: Annotated[Whole, Field(ge=64)] = 64


class PluginTable(Table):
    """The whole file."""

    name: _Name
    version: _Version
    title: _Lo
    intended_use: Said
    source: Said
    grade: Literal["phantom", "evaluated"]
    inputs: Annotated[dict[_Name, InputTable], Field(min_length=1)]
    rois: dict[_Name, RoiTable] = Field(default_factory=dict)
    segments: dict[_Name, SegmentTable] = Field(default_factory=dict)
    measurements: dict[_Name, MeasurementTable] = Field(default_factory=dict)
    maps: dict[_Name, MapTable] = Field(default_factory=dict)
    qualities: dict[_Name, QualityTable] = Field(default_factory=dict)
    clinical: dict[_Name, ClinicalTable] = Field(default_factory=dict)
    limits: LimitsTable = LimitsTable()
    attributes: tuple[Text, ...] = ()
    finding_name: Said = "finding"
    training: Text = ""
    parameters: dict[Said, Flag | Whole | Number | Text] = Field(default_factory=dict)
    weights: dict[Said, _Sha256] = Field(default_factory=dict)
    cohort: _Cohort | None = None
    evaluation: EvaluationTable | None = None
    radiomics: RadiomicsTable | None = None
    libraries: tuple[
        Annotated[str, Field(strict=True, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")], ...
    ] = ()
    python: Text = ""
    finding: CodeRow | None = None
    manufacturer: _Lo = "Sentinel Node"
    algorithm_family: CodeRow = ("123110", "DCM", "Artificial Intelligence")
    private_schemes: tuple[Annotated[str, Field(pattern=r"^99[A-Z0-9_]{1,14}$")], ...] = ()
