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
    libraries = ["torch", "monai"]           # what it imports beyond NumPy
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
    image_type_absent = ["FAT"]              # words that it must not carry
    kernel = ["B3*"]                         # globs for Convolution Kernel
    contrast = "any"                         # required | absent | any
    header = { EchoTime = [60, 300] }        # ranges of numbers, by DICOM keyword
    header_absent = ["InversionTime"]        # numbers that must be absent or 0
    words_absent = ["EP", "DARK FLUID"]      # words that no name of the sequence may hold
    phase = "arterial"                       # non_contrast | arterial | portal_venous | delayed
    lossy = false
    rank = ["original", "thin_slices", "large_coverage", "soft_kernel"]
    window = [40, 400]                       # centre, width of pictures

    [rois.tumor]                             # a region that somebody draws, on an input's grid
    input = "ct"                             # *
    many = false
    one_piece = false                        # each is one lesion: parts are refused
    codes = [["4147007", "SCT", "Mass"]]     # what it is, one of these
    sites = [["10200004", "SCT", "Liver"]]   # where it is, one of these
    sources = ["SEG", "RTSTRUCT", "SR"]      # objects that may hold it
    from = "liver_mass"                      # plugin whose result serves where nobody drew it
    when_missing = "wait"                    # wait | automatic (that plugin's result) | refuse
    fraction = 0.5                           # of a FRACTIONAL segment's maximum

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
    interval = "95 % interval"               # what Measurement.interval is

    [maps.attention]                         # one table per map name of the Result
    label = "Grad-CAM"                       # *
    quantity = ["130403", "DCM", "Gradient-weighted class activation"]  # *
    unit = ["1", "UCUM", "no units"]

    [qualities.risk]                         # one table per quality name of the Result
    code = ["RISK", "99SENTINEL", "Predicted risk"]  # *
    choices.high = ["15508007", "SCT", "High risk"]  # * at least one choice

    [clinical.ca19_9]                        # a value that it can use, and do without
    kind = "number"                          # * number | integer | words | flag
    code = ["CA19-9", "99SENTINEL", "CA 19-9"]  # * its concept in our SR
    label = ""                               # for people; default: the code's meaning
    unit = ["k[IU]/L", "UCUM", "k[IU]/L"]    # * of a number
    range = [0, 100000]                      # * of a number or integer, in its unit
    choices.g1 = […]                         # * of words, as in qualities
    attribute = "PatientWeight"              # attribute that may hold it
    sr = [["24108-3", "LN", "CA 19-9"]]      # items of SRs that may hold it; default: code

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

    [cohort]                                 # what `cohort.py` draws its phantoms by
    file = "cohort.toml"                     # *
    sha256 = "60303a…"                       # *

    [evaluation]                             # of a classifier: docs/evaluation.md
    probability = "malignant"                # * a measurement, unit 1 or %
    outcome = "metastasis"                   # * a column of labels

    [radiomics]                              # features of texture and shape: docs/toolkit.md
    image_types = ["original", "wavelet"]    # *
    classes = ["shape", "glcm"]              # *
    pre_crop = true                          # *
    bin_width = 25                           # * this or bin_count
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from node.clinical_file import clinical_codes, clinical_faults, clinical_spec
from node.code_lists import check_code
from node.errors import ManifestError
from node.keywords import why_no_attribute, why_no_number
from node.manifest import (
    Code,
    CohortSpec,
    InputRole,
    Limits,
    Manifest,
    MapSpec,
    QualitySpec,
    Range,
    SegmentSpec,
)
from node.manifest_evaluation import evaluation_of
from node.manifest_measurements import count_faults, measurement_specs
from node.manifest_radiomics import radiomics_of
from node.manifest_rois import codes_of_rois, roi_roles
from node.manifest_tables import (
    CodeRow,
    InputTable,
    LimitsTable,
    PluginTable,
    QualityTable,
    RangeRow,
    SegmentTable,
)
from node.model import Grade
from node.plugin_files import check_cohort, check_weights, digest_of, file_hashes
from node.toml_file import Table, nearest, parse_table, read_toml
from node.toml_file import fail as fail_with

MANIFEST_NAME = "plugin.toml"
CODE_NAME = "plugin.py"

#: Keys that become fields of `Manifest` as they are.
_KEPT = (
    *("name", "version", "title", "intended_use", "source", "attributes", "finding_name"),
    *(
        "training",
        "parameters",
        "weights",
        "libraries",
        "python",
        "manufacturer",
        "private_schemes",
    ),
)

_RANGES = {"slices", "slice_spacing_mm", "slice_thickness_mm", "pixel_spacing_mm"}


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
    plugin = parse_table(PluginTable, table, where=where, error=ManifestError)
    inputs = {name: _input(name, role, where) for name, role in plugin.inputs.items()}
    _check_codes(plugin, where)
    for fault in (*clinical_faults(plugin.clinical), *count_faults(plugin)):
        _fail(where, fault)
    _check_attributes(plugin.attributes, where)
    digest = _pin(folder, plugin, where)
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
    folder: Path, plugin: PluginTable, inputs: Mapping[str, InputRole], where: str, digest: str
) -> Manifest:
    kept = {key: getattr(plugin, key) for key in _KEPT}
    radiomics = radiomics_of(plugin.radiomics, where)
    return Manifest(
        folder=folder,
        grade=Grade(plugin.grade),
        inputs=inputs,
        rois=roi_roles(plugin, where),
        segments={name: _segment(name, spec) for name, spec in plugin.segments.items()},
        measurements=measurement_specs(plugin, radiomics),
        maps={
            name: MapSpec(name=name, label=m.label, quantity=Code(*m.quantity), unit=Code(*m.unit))
            for name, m in plugin.maps.items()
        },
        qualities={name: _quality(name, q) for name, q in plugin.qualities.items()},
        clinical={name: clinical_spec(name, one) for name, one in plugin.clinical.items()},
        limits=_limits(plugin.limits, where),
        finding=_code(plugin.finding),
        cohort=CohortSpec(**plugin.cohort.model_dump()) if plugin.cohort else None,
        evaluation=evaluation_of(plugin, where),
        radiomics=radiomics,
        algorithm_family=Code(*plugin.algorithm_family),
        digest=digest,
        **kept,
    )


def _input(name: str, role: InputTable, where: str) -> InputRole:
    if role.values == "HU" and set(role.modality) != {"CT"}:
        _fail(where, f'inputs.{name}.values = "HU" needs modality = ["CT"]; write values = "raw"')
    at = f"inputs.{name}"
    never = "required" if role.phase == "non_contrast" else "absent"
    if role.phase and role.contrast == never:
        _fail(where, f'{at}.contrast = "{never}" excludes phase = "{role.phase}"; leave one out')
    return InputRole(
        name=name,
        slices=_range(role.slices, f"{at}.slices", where),
        slice_spacing_mm=_range(role.slice_spacing_mm, f"{at}.slice_spacing_mm", where),
        slice_thickness_mm=_range(role.slice_thickness_mm, f"{at}.slice_thickness_mm", where),
        pixel_spacing_mm=_range(role.pixel_spacing_mm, f"{at}.pixel_spacing_mm", where),
        header=_header(role.header, f"{at}.header", where),
        header_absent=_numeric(role.header_absent, f"{at}.header_absent", where),
        phase=role.phase or "",
        **role.model_dump(exclude={*_RANGES, "header", "header_absent", "phase"}),
    )


def _header(ranges: Mapping[str, RangeRow], at: str, where: str) -> Mapping[str, Range]:
    keywords = _numeric(tuple(ranges), at, where)
    return {keyword: _range(ranges[keyword], f"{at}.{keyword}", where) for keyword in keywords}


def _numeric(keywords: tuple[str, ...], at: str, where: str) -> tuple[str, ...]:
    """Return keywords that each name one number of a header."""
    for keyword in keywords:
        if fault := why_no_number(keyword):
            _fail(where, f"{at}: {fault}")
    return keywords


def _segment(name: str, spec: SegmentTable) -> SegmentSpec:
    return SegmentSpec(
        name=name,
        label=spec.label,
        category=Code(*spec.category),
        type=Code(*spec.type),
        region=_code(spec.region),
        color_rgb=spec.color_rgb,
        description=spec.description,
    )


def _quality(name: str, spec: QualityTable) -> QualitySpec:
    choices = {choice: Code(*code) for choice, code in spec.choices.items()}
    return QualitySpec(name=name, code=Code(*spec.code), choices=choices)


def _limits(limits: LimitsTable, where: str) -> Limits:
    ages = limits.age_years
    return Limits(
        time_s=limits.time_s,
        memory_mb=limits.memory_mb,
        device=limits.device,
        age_years=_range(ages, "limits.age_years", where) if ages else None,
        body_parts=limits.body_parts,
    )


def _code(code: CodeRow | None) -> Code | None:
    return Code(*code) if code else None


def _range(bounds: RangeRow, key: str, where: str) -> Range:
    low, high = bounds
    if not low <= high:  # NaN as well
        _fail(where, f"{key} = [{low}, {high}]: the first number must not exceed the second")
    return Range(low, high)


def _check_codes(plugin: PluginTable, where: str) -> None:
    for key, code in _codes(plugin):
        try:
            check_code(Code(*code), plugin.private_schemes)
        except ManifestError as error:
            _fail(where, f"{key}: {error}")
    units = {
        **{f"measurements.{name}.unit": m.unit for name, m in plugin.measurements.items()},
        **{f"maps.{name}.unit": m.unit for name, m in plugin.maps.items()},
    }
    for key, unit in units.items():
        if unit[1] != "UCUM":
            _fail(where, f"{key} must be of scheme UCUM")


def _codes(plugin: PluginTable) -> Iterator[tuple[str, CodeRow]]:
    tables: list[tuple[str, Table]] = [
        *((f"segments.{name}", spec) for name, spec in plugin.segments.items()),
        *((f"measurements.{name}", spec) for name, spec in plugin.measurements.items()),
        *((f"maps.{name}", spec) for name, spec in plugin.maps.items()),
        *((f"qualities.{name}", spec) for name, spec in plugin.qualities.items()),
    ]
    keys = ("category", "type", "region", "code", "quantity", "unit", "method", "derivation")
    found = [(f"{at}.{key}", getattr(table, key, None)) for at, table in tables for key in keys]
    own = [
        ("finding", plugin.finding),
        ("algorithm_family", plugin.algorithm_family),
        *(
            (f"qualities.{name}.choices.{choice}", code)
            for name, quality in plugin.qualities.items()
            for choice, code in quality.choices.items()
        ),
        *codes_of_rois(plugin),
        *clinical_codes(plugin.clinical),
    ]
    yield from ((at, code) for at, code in [*found, *own] if code)


def _check_attributes(keywords: Iterable[str], where: str) -> None:
    for keyword in keywords:
        if fault := why_no_attribute(keyword):
            _fail(where, f"attributes: {fault}")


def _pin(folder: Path, plugin: PluginTable, where: str) -> str:
    try:
        hashes = file_hashes(folder)
        check_weights(plugin.weights, hashes)
        if plugin.cohort is not None:
            check_cohort(plugin.cohort.file, plugin.cohort.sha256, hashes)
    except ManifestError as error:
        _fail(where, str(error))
    return digest_of(hashes)
