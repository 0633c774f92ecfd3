"""Read a plugin's ``plugin.toml`` and pin its files; nothing of the plugin is imported.

The layout (* must be there; the rest shows its default or an example)::

    name = "commissioning"                   # * a-z, 0-9, _ and -
    version = "1.0.0"                        # * major.minor.patch
    title = "Commissioning display check"    # *
    intended_use = "Checks where overlays …" # * a sentence
    source = "Sentinel Node"                 # * paper, or who wrote it
    grade = "evaluated"                      # * phantom | evaluated; only a site approves
    finding_name = "voxels >= 300 HU"        # for "no … detected"
    training = ""                            # provenance of trained weights, a sentence
    attributes = ["PatientAge"]              # DICOM keywords for Case.attributes, no identity
    manufacturer = "Sentinel Node"
    python = ""                              # another interpreter for the child
    finding = ["4147007", "SCT", "Mass"]     # finding of the SR; default: the segment's type
    private_schemes = []                     # 99… schemes used, beside 99SENTINEL

    [inputs.ct]                              # * one table per role; its name is the role
    modality = ["CT"]                        # *
    plane = "any"                            # axial | sagittal | coronal | any
    slices = [2, inf]                        # every range is [low, high], in mm where it says so
    slice_spacing_mm = [0, inf]
    slice_thickness_mm = [0, inf]
    pixel_spacing_mm = [0, inf]
    values = "HU"                            # HU | raw
    allow = ["MPR"]                          # words a DERIVED image may carry
    image_type_has = ["AXIAL"]               # words Image Type must carry
    kernel = ["B3*"]                         # globs for Convolution Kernel
    contrast = "any"                         # required | absent | any
    lossy = false
    rank = ["original", "thin_slices", "large_coverage", "soft_kernel"]

    [segments.dense]                         # one table per segment name of the Result
    label = "Voxels >= 300 HU"               # *
    category = ["85756007", "SCT", "Tissue"] # * [value, scheme, meaning], checked by PS3.16
    type = ["85756007", "SCT", "Tissue"]     # *
    region = ["10200004", "SCT", "Liver"]
    color_rgb = [255, 64, 64]
    description = ""

    [measurements.volume]                    # one table per measurement name of the Result
    code = ["118565006", "SCT", "Volume"]    # *
    unit = ["mm3", "UCUM", "cubic millimeter"]  # *
    method = […]
    derivation = […]
    digits = 2

    [limits]
    time_s = 600
    memory_mb = 8192
    device = "any"                           # any | cpu | cuda
    age_years = [18, inf]
    body_parts = ["CHEST", ""]               # "" = absent is accepted

    [parameters]                             # written into the SR as algorithm parameters
    threshold_hu = 300

    [weights]                                # file → SHA-256
    "weights.safetensors" = "9f86d0…"
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import Field, StringConstraints

from node.code_lists import check_code
from node.errors import ManifestError
from node.keywords import known_keywords, vr_of
from node.manifest import (
    Code,
    InputRole,
    Limits,
    Manifest,
    MeasurementSpec,
    Range,
    SegmentSpec,
)
from node.model import Grade
from node.plugin_files import check_weights, digest_of, file_hashes
from node.toml_file import (
    Bound,
    Flag,
    Number,
    Said,
    Table,
    Text,
    Whole,
    nearest,
    parse_table,
    read_toml,
)
from node.toml_file import fail as fail_with

MANIFEST_NAME = "plugin.toml"
CODE_NAME = "plugin.py"

#: Value representations that no plugin needs, and that name people, places or objects.
_NOT_FOR_PLUGINS = frozenset({"PN", "UI", "SQ", "UN", "OB", "OW", "LT", "ST", "UT", "DA", "DT"})
_IDENTITY = re.compile(
    r"PatientID|OtherPatientIDs|IssuerOf|Accession|StudyID|Address|Telephone|Institution|"
    r"StationName|SerialNumber|Residence|Insurance|MilitaryRank|Religio|AdmissionID|Description$"
)

#: Keys that become fields of `Manifest` as they are.
_KEPT = (
    *("name", "version", "title", "intended_use", "source", "attributes", "finding_name"),
    *("training", "parameters", "weights", "python", "manufacturer"),
)

_Name = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
_Version = Annotated[
    str, Field(strict=True, pattern=r"^\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]+)?$", max_length=32)
]
# PS3.5 6.2: LO holds 64 characters, SH 16, CS 16 of a closed repertoire.
_Lo = Annotated[str, Field(strict=True), StringConstraints(min_length=1, max_length=64)]
_Sh = Annotated[str, Field(strict=True), StringConstraints(min_length=1, max_length=16)]
_Cs = Annotated[str, Field(strict=True, pattern=r"^[A-Z0-9_ ]{1,16}$")]
_Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
_Range = tuple[Bound, Bound]
_Code = tuple[_Sh, _Sh, _Lo]
_Rank = Literal["original", "most_slices", "thin_slices", "large_coverage", "soft_kernel", "recent"]


_RANGES = {"slices", "slice_spacing_mm", "slice_thickness_mm", "pixel_spacing_mm"}


class _Input(Table):
    modality: Annotated[tuple[_Cs, ...], Field(min_length=1)]
    plane: Literal["axial", "sagittal", "coronal", "any"] = "any"
    slices: _Range = (2, math.inf)
    slice_spacing_mm: _Range = (-math.inf, math.inf)
    slice_thickness_mm: _Range = (-math.inf, math.inf)
    pixel_spacing_mm: _Range = (-math.inf, math.inf)
    values: Literal["HU", "raw"] = "HU"
    allow: tuple[_Cs, ...] = ()
    image_type_has: tuple[_Cs, ...] = ()
    kernel: tuple[Said, ...] = ()
    contrast: Literal["required", "absent", "any"] = "any"
    lossy: Flag = False
    rank: tuple[_Rank, ...] = ("original", "thin_slices", "large_coverage", "soft_kernel")


class _Segment(Table):
    label: _Lo
    category: _Code
    type: _Code
    region: _Code | None = None
    color_rgb: tuple[_Byte, _Byte, _Byte] = (255, 64, 64)
    description: Text = ""


class _Measurement(Table):
    code: _Code
    unit: _Code
    method: _Code | None = None
    derivation: _Code | None = None
    digits: Annotated[int, Field(strict=True, ge=0, le=9)] = 2


class _Limits(Table):
    time_s: Annotated[Number, Field(gt=0)] = 600.0
    memory_mb: Annotated[Whole, Field(gt=0)] = 8192
    device: Literal["any", "cpu", "cuda"] = "any"
    age_years: _Range | None = None
    body_parts: tuple[Text, ...] = ()


class _Plugin(Table):
    name: _Name
    version: _Version
    title: _Lo
    intended_use: Said
    source: Said
    grade: Literal["phantom", "evaluated"]
    inputs: Annotated[dict[_Name, _Input], Field(min_length=1)]
    segments: dict[_Name, _Segment] = Field(default_factory=dict)
    measurements: dict[_Name, _Measurement] = Field(default_factory=dict)
    limits: _Limits = _Limits()
    attributes: tuple[Text, ...] = ()
    finding_name: Said = "finding"
    training: Text = ""
    parameters: dict[Said, Flag | Whole | Number | Text] = Field(default_factory=dict)
    weights: dict[Said, Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict
    )
    python: Text = ""
    finding: _Code | None = None
    manufacturer: _Lo = "Sentinel Node"
    algorithm_family: _Code = ("123110", "DCM", "Artificial Intelligence")
    private_schemes: tuple[Annotated[str, Field(pattern=r"^99[A-Z0-9_]{1,14}$")], ...] = ()


def parse_manifest(folder: Path) -> Manifest:
    """Read, check and pin the plugin in `folder`.

    Raises
    ------
    ManifestError
        One sentence: an unknown key with the nearest known one, a code that is not in
        PS3.16, a weights file with another hash, a grade that only a site may give…
    """
    where = f"{folder.name}/{MANIFEST_NAME}"
    table = _read(folder, where)
    if table.get("grade") == Grade.APPROVED_HERE:
        _fail(where, 'grade = "approved here" is given by a site\'s [[releases]], not by a plugin')
    plugin = parse_table(_Plugin, table, where=where, error=ManifestError)
    inputs = {name: _input(name, role, where) for name, role in plugin.inputs.items()}
    _check_codes(plugin, where)
    _check_attributes(plugin.attributes, where)
    digest = _pin(folder, plugin.weights, where)
    return _manifest(folder, plugin, inputs, where, digest)


def find_manifest(plugin: str, manifests: Iterable[Manifest]) -> Manifest:
    """Return the manifest that a rule's `plugin` (``name`` or ``name@version``) means.

    Raises
    ------
    ManifestError
        If there is none, with the nearest name, or if several versions fit.
    """
    known = tuple(manifests)
    found = [m for m in known if plugin in (m.name, m.name_version)]
    if len(found) == 1:
        return found[0]
    if not found:
        hint = nearest(plugin, [m.name for m in known])
        raise ManifestError(f'there is no plugin "{plugin}"{hint}')
    versions = ", ".join(sorted(m.name_version for m in found))
    raise ManifestError(f'plugin "{plugin}" is here in several versions: name one of {versions}')


def _read(folder: Path, where: str) -> dict[str, object]:
    try:
        text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
    except OSError as error:
        _fail(where, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        _fail(where, "is not UTF-8 text")
    if not (folder / CODE_NAME).is_file():
        _fail(where, f"{CODE_NAME} is missing beside it")
    return read_toml(text, where=where, error=ManifestError)


def _fail(where: str, sentence: str) -> NoReturn:
    fail_with(ManifestError, where, sentence)


def _manifest(
    folder: Path, plugin: _Plugin, inputs: Mapping[str, InputRole], where: str, digest: str
) -> Manifest:
    kept = {key: getattr(plugin, key) for key in _KEPT}
    return Manifest(
        folder=folder,
        grade=Grade(plugin.grade),
        inputs=inputs,
        segments={name: _segment(name, spec) for name, spec in plugin.segments.items()},
        measurements={name: _measurement(name, m) for name, m in plugin.measurements.items()},
        limits=_limits(plugin.limits, where),
        finding=_code(plugin.finding),
        algorithm_family=Code(*plugin.algorithm_family),
        digest=digest,
        **kept,
    )


def _input(name: str, role: _Input, where: str) -> InputRole:
    if role.values == "HU" and set(role.modality) != {"CT"}:
        _fail(where, f'inputs.{name}.values = "HU" needs modality = ["CT"]; write values = "raw"')
    at = f"inputs.{name}"
    return InputRole(
        name=name,
        slices=_range(role.slices, f"{at}.slices", where),
        slice_spacing_mm=_range(role.slice_spacing_mm, f"{at}.slice_spacing_mm", where),
        slice_thickness_mm=_range(role.slice_thickness_mm, f"{at}.slice_thickness_mm", where),
        pixel_spacing_mm=_range(role.pixel_spacing_mm, f"{at}.pixel_spacing_mm", where),
        **role.model_dump(exclude=_RANGES),
    )


def _segment(name: str, spec: _Segment) -> SegmentSpec:
    return SegmentSpec(
        name=name,
        label=spec.label,
        category=Code(*spec.category),
        type=Code(*spec.type),
        region=_code(spec.region),
        color_rgb=spec.color_rgb,
        description=spec.description,
    )


def _measurement(name: str, spec: _Measurement) -> MeasurementSpec:
    return MeasurementSpec(
        name=name,
        code=Code(*spec.code),
        unit=Code(*spec.unit),
        method=_code(spec.method),
        derivation=_code(spec.derivation),
        digits=spec.digits,
    )


def _limits(limits: _Limits, where: str) -> Limits:
    ages = limits.age_years
    return Limits(
        time_s=limits.time_s,
        memory_mb=limits.memory_mb,
        device=limits.device,
        age_years=_range(ages, "limits.age_years", where) if ages else None,
        body_parts=limits.body_parts,
    )


def _code(code: _Code | None) -> Code | None:
    return Code(*code) if code else None


def _range(bounds: _Range, key: str, where: str) -> Range:
    low, high = bounds
    if not low <= high:  # NaN as well
        _fail(where, f"{key} = [{low}, {high}]: the first number must not exceed the second")
    return Range(low, high)


def _check_codes(plugin: _Plugin, where: str) -> None:
    for key, code in _codes(plugin):
        try:
            check_code(Code(*code), plugin.private_schemes)
        except ManifestError as error:
            _fail(where, f"{key}: {error}")
    for name, measurement in plugin.measurements.items():
        if measurement.unit[1] != "UCUM":
            _fail(where, f"measurements.{name}.unit must be of scheme UCUM")


def _codes(plugin: _Plugin) -> Iterator[tuple[str, _Code]]:
    tables: list[tuple[str, Table]] = [
        *((f"segments.{name}", spec) for name, spec in plugin.segments.items()),
        *((f"measurements.{name}", spec) for name, spec in plugin.measurements.items()),
    ]
    keys = ("category", "type", "region", "code", "unit", "method", "derivation")
    found = [(f"{at}.{key}", getattr(table, key, None)) for at, table in tables for key in keys]
    own = [("finding", plugin.finding), ("algorithm_family", plugin.algorithm_family)]
    yield from ((at, code) for at, code in [*found, *own] if code)


def _check_attributes(keywords: Iterable[str], where: str) -> None:
    for keyword in keywords:
        vr = vr_of(keyword)
        if not vr:
            hint = nearest(keyword, known_keywords())
            _fail(where, f"attributes: {keyword} is not a DICOM keyword{hint}")
        if _IDENTITY.search(keyword) or vr in _NOT_FOR_PLUGINS:
            _fail(
                where, f"attributes: {keyword} could identify a person; a plugin gets no identity"
            )


def _pin(folder: Path, weights: Mapping[str, str], where: str) -> str:
    try:
        hashes = file_hashes(folder)
        check_weights(weights, hashes)
    except ManifestError as error:
        _fail(where, str(error))
    return digest_of(hashes)
