"""plugin.toml: the complete layout is read, each fault is one sentence, files are pinned."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from node.errors import ManifestError
from node.manifest import Code, Limits, Range, RoiRole
from node.manifest_file import find_manifest, parse_manifest
from node.model import Grade
from node.plugin_files import folder_digest

COMPLETE = """
name = "liver_mass"
version = "1.2.3"
title = "Liver mass"
intended_use = "Outlines masses of the liver on portal venous CT."
source = "Doe et al. 2026"
grade = "phantom"
finding_name = "masses >= 0.5 mL"
training = "trained on synthetic phantoms, no clinical validity"
attributes = ["PatientAge", "PatientSex"]
manufacturer = "Klinikum"
python = "/opt/env/bin/python"
finding = ["4147007", "SCT", "Mass"]
private_schemes = ["99KLINIKUM"]

[inputs.portal_venous]
modality = ["CT"]
plane = "axial"
slices = [20, 2000]
slice_spacing_mm = [0.5, 5]
slice_thickness_mm = [0, 5.0]
pixel_spacing_mm = [0.3, 1.5]
values = "HU"
allow = ["RECON"]
image_type_has = ["AXIAL"]
image_type_absent = ["FAT"]
kernel = ["B3*", "STANDARD"]
contrast = "required"
phase = "portal_venous"
lossy = true
rank = ["most_slices", "recent"]

[inputs.t2]
modality = ["MR"]
values = "raw"
header = { EchoTime = [60, 300] }
header_absent = ["InversionTime"]
words_absent = ["EP", "DARK FLUID"]

[segments.mass]
label = "Mass"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["4147007", "SCT", "Mass"]
region = ["10200004", "SCT", "Liver"]
color_rgb = [255, 0, 10]
description = "a mass"

[measurements.volume]
code = ["118565006", "SCT", "Volume"]
unit = ["mL", "UCUM", "mL"]
method = ["VOL-1", "99KLINIKUM", "Voxel count"]
derivation = ["373098007", "SCT", "Mean"]
digits = 3

[limits]
time_s = 60
memory_mb = 4096
device = "cuda"
age_years = [18, inf]
body_parts = ["LIVER", "ABDOMEN", ""]

[parameters]
threshold = 0.5
folds = 5
augment = true
name = "x"

[weights]
"model.safetensors" = "%s"
"""
WEIGHTS = b"weights"
COMPLETE %= hashlib.sha256(WEIGHTS).hexdigest()
SMALL = """
name = "small"
version = "1.0.0"
title = "Small"
intended_use = "Tests."
source = "tests"
grade = "phantom"
[inputs.ct]
modality = ["CT"]
"""
SEGMENT = """
[segments.mass]
label = "Mass"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "plugin"
    place.mkdir()
    (place / "plugin.py").write_text("class Plugin: ...\n")
    (place / "model.safetensors").write_bytes(WEIGHTS)
    return place


def parse(folder: Path, text: str):
    (folder / "plugin.toml").write_text(text)
    return parse_manifest(folder)


def test_every_key_is_read(folder: Path):
    found = parse(folder, COMPLETE)

    assert found.name_version == "liver_mass@1.2.3"
    assert found.grade is Grade.PHANTOM
    assert list(found.inputs) == ["portal_venous", "t2"]
    role = found.inputs["portal_venous"]
    assert role.name == "portal_venous"
    assert (role.slices, role.slice_spacing_mm) == (Range(20, 2000), Range(0.5, 5.0))
    assert (role.slice_thickness_mm, role.pixel_spacing_mm) == (Range(0, 5), Range(0.3, 1.5))
    assert (role.kernel, role.contrast, role.lossy) == (("B3*", "STANDARD"), "required", True)
    t2 = found.inputs["t2"]
    assert t2.header == {"EchoTime": Range(60, 300)}
    assert (t2.header_absent, t2.words_absent) == (("InversionTime",), ("EP", "DARK FLUID"))
    assert (role.phase, found.inputs["t2"].phase) == ("portal_venous", "")
    assert (role.allow, role.image_type_has) == (("RECON",), ("AXIAL",))
    assert role.image_type_absent == ("FAT",)
    assert role.rank == ("most_slices", "recent")
    assert found.segments["mass"].region == Code("10200004", "SCT", "Liver")
    assert found.segments["mass"].color_rgb == (255, 0, 10)
    assert found.measurements["volume"].method == Code("VOL-1", "99KLINIKUM", "Voxel count")
    assert found.measurements["volume"].digits == 3
    assert found.finding == Code("4147007", "SCT", "Mass")
    assert found.limits == Limits(
        time_s=60.0,
        memory_mb=4096,
        device="cuda",
        age_years=Range(18, float("inf")),
        body_parts=("LIVER", "ABDOMEN", ""),
    )
    assert found.parameters == {"threshold": 0.5, "folds": 5, "augment": True, "name": "x"}
    assert found.weights == {"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    assert (found.manufacturer, found.python) == ("Klinikum", "/opt/env/bin/python")
    assert len(found.digest) == 64


def test_flags_and_numbers_of_parameters_keep_their_kind(folder: Path):
    found = parse(folder, COMPLETE).parameters

    assert [type(value) for value in found.values()] == [float, int, bool, str]


FAULTS = {
    "mistyped key": ("titel", 'title = "Small"', 'titel = "Small"', 'did you mean "title"?'),
    "mistyped nested": ("", 'modality = ["CT"]', 'modalty = ["CT"]', 'did you mean "modality"?'),
    "missing": ("", 'source = "tests"', "", "source is missing"),
    "grade of the site": ("", '"phantom"', '"approved here"', "[[releases]]"),
    "unknown grade": ("", '"phantom"', '"phantoms"', 'did you mean "phantom"?'),
    "version": ("", '"1.0.0"', '"1.0"', "version"),
    "phase": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nphase = "portal"',
        'inputs.ct.phase = "portal" must be one of non_contrast, arterial, portal_venous, delayed '
        '(did you mean "portal_venous"?)',
    ),
    "header of words": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nheader = { KVPP = [80, 140] }',
        'inputs.ct.header: KVPP is not a DICOM keyword (did you mean "KVP"?)',
    ),
    "header without number": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nheader = { Modality = [1, 2] }',
        "inputs.ct.header: Modality holds no number",
    ),
    "absent header without number": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nheader_absent = ["ScanningSequence"]',
        "inputs.ct.header_absent: ScanningSequence",
    ),
    "a word that is none": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nwords_absent = ["*"]',
        "inputs.ct.words_absent",
    ),
    "phase without contrast": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nphase = "arterial"\ncontrast = "absent"',
        'inputs.ct.contrast = "absent" excludes phase = "arterial"; leave one out',
    ),
    "native with contrast": (
        "",
        'modality = ["CT"]',
        'modality = ["CT"]\nphase = "non_contrast"\ncontrast = "required"',
        'contrast = "required" excludes phase = "non_contrast"',
    ),
    "name": ("", '"small"', '"Small Plugin"', "name"),
    "no input": ("", '[inputs.ct]\nmodality = ["CT"]', "[inputs]", "inputs"),
    "HU of MR": ("", '["CT"]', '["MR"]', 'values = "raw"'),
    "rank": ("", '["CT"]', '["CT"]\nrank = ["thin"]', 'did you mean "thin_slices"?'),
    "plane": ("", '["CT"]', '["CT"]\nplane = "oblique"', "must be one of axial"),
    "range": ("", '["CT"]', '["CT"]\nslices = [9, 2]', "must not exceed"),
    "range of one": ("", '["CT"]', '["CT"]\nslices = [9]', "slices"),
    "nan range": ("", '["CT"]', '["CT"]\nslices = [nan, 2]', "must not exceed"),
    "unknown attribute": (
        "",
        'grade = "phantom"',
        'grade = "phantom"\nattributes = ["PatientAg"]',
        'did you mean "PatientAge"?',
    ),
    "identity": (
        "",
        'grade = "phantom"',
        'grade = "phantom"\nattributes = ["PatientID"]',
        "gets no identity",
    ),
    "birth date": (
        "",
        'grade = "phantom"',
        'grade = "phantom"\nattributes = ["PatientBirthDate"]',
        "gets no identity",
    ),
    "weights hash": (
        "",
        "[inputs.ct]",
        f'[weights]\n"model.safetensors" = "{"0" * 64}"\n[inputs.ct]',
        "the manifest says 000",
    ),
    "no weights": (
        "",
        "[inputs.ct]",
        f'[weights]\n"model.safetensor" = "{"0" * 64}"\n[inputs.ct]',
        'did you mean "model.safetensors"?',
    ),
    "pickle": ("", "[inputs.ct]", f'[weights]\n"m.pkl" = "{"0" * 64}"\n[inputs.ct]', "pickles run"),
    "outside": (
        "",
        "[inputs.ct]",
        f'[weights]\n"../plugin.toml" = "{"0" * 64}"\n[inputs.ct]',
        "no such file",
    ),
}


@pytest.mark.parametrize(
    ("old", "new", "sentence"), [fault[1:] for fault in FAULTS.values()], ids=FAULTS
)
def test_a_fault_is_one_sentence(folder: Path, old: str, new: str, sentence: str):
    assert old in SMALL

    with pytest.raises(ManifestError) as caught:
        parse(folder, SMALL.replace(old, new))

    assert str(caught.value).startswith("plugin/plugin.toml: ")
    assert sentence in str(caught.value)


CODES = {
    "wrong digit": ('["4147008", "SCT", "Mass"]', "not in the dictionaries of PS3.16"),
    "other meaning": ('["10200004", "SCT", "Mass"]', 'means "Liver", not "Mass"'),
    "trap of Fat": ('["85756007", "SCT", "Fat"]', "not"),
    "scheme": ('["4147007", "SNOMED", "Mass"]', "unknown coding scheme SNOMED"),
    "foreign private scheme": ('["M", "99SITE", "Mass"]', "not declared"),
    "two parts": ('["4147007", "SCT"]', "type"),
    "empty meaning": ('["4147007", "SCT", ""]', "type"),
    "long value": ('["12345678901234567", "SCT", "Mass"]', "type"),
}


@pytest.mark.parametrize(("code", "sentence"), CODES.values(), ids=CODES)
def test_a_code_must_exist_and_mean_what_is_said(folder: Path, code: str, sentence: str):
    with pytest.raises(ManifestError, match=r"segments\.mass\.type") as caught:
        parse(folder, SMALL + SEGMENT.format(code))

    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        '["4147007", "SCT", "mass"]',
        '["108369006", "SCT", "Tumor"]',
        '["108369006", "SCT", "Neoplasm"]',
        '["ANY", "99SENTINEL", "Anything"]',
    ],
)
def test_known_codes_and_our_private_scheme_are_accepted(folder: Path, code: str):
    assert parse(folder, SMALL + SEGMENT.format(code)).segments["mass"].label == "Mass"


def test_a_unit_is_a_unit(folder: Path):
    text = '[measurements.v]\ncode = ["118565006", "SCT", "Volume"]\nunit = {}\n'

    with pytest.raises(ManifestError, match="scheme UCUM"):
        parse(folder, SMALL + text.format('["4147007", "SCT", "Mass"]'))
    with pytest.raises(ManifestError, match="not in the dictionaries"):
        parse(folder, SMALL + text.format('["furlong", "UCUM", "furlong"]'))
    found = parse(folder, SMALL + text.format('["mm3", "UCUM", "mm3"]'))
    assert found.measurements["v"].unit.value == "mm3"


def test_code_and_manifest_must_be_there(folder: Path):
    with pytest.raises(ManifestError, match="cannot be read"):
        parse_manifest(folder)
    (folder / "plugin.py").unlink()
    with pytest.raises(ManifestError, match=r"plugin\.py is missing"):
        parse(folder, SMALL)


def test_the_digest_pins_every_byte_and_name(folder: Path):
    first = parse(folder, SMALL).digest
    (folder / "net.py").write_text("x = 1")
    second = folder_digest(folder)
    (folder / "net.py").rename(folder / "nets.py")
    third = folder_digest(folder)
    (folder / "nets.py").write_text("x = 2")

    assert len({first, second, third, folder_digest(folder)}) == 4


def test_the_digest_does_not_know_caches(folder: Path):
    first = parse(folder, SMALL).digest
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "plugin.cpython-311.pyc").write_bytes(b"x")
    (folder / "old.pyc").write_bytes(b"x")

    assert folder_digest(folder) == first


def test_a_link_is_refused_since_nothing_pins_its_target(folder: Path, tmp_path: Path):
    (folder / "net.py").symlink_to(tmp_path / "elsewhere.py")

    with pytest.raises(ManifestError, match="is a link"):
        parse(folder, SMALL)


def test_a_plugin_is_found_by_name_or_name_and_version(folder: Path):
    small = parse(folder, SMALL)
    newer = parse(folder, SMALL.replace("1.0.0", "1.1.0"))

    assert find_manifest("small", [small]) is small
    assert find_manifest("small@1.1.0", [small, newer]) is newer
    with pytest.raises(ManifestError, match=r"name one of small@1\.0\.0, small@1\.1\.0"):
        find_manifest("small", [small, newer])
    with pytest.raises(ManifestError, match='did you mean "small"'):
        find_manifest("smal", [small])
    with pytest.raises(ManifestError, match="there is no plugin"):
        find_manifest("small", [])


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80), st.integers(min_value=0, max_value=len(COMPLETE)))
def test_no_manifest_crashes_the_parser(folder: Path, text: str, place: int):
    (folder / "plugin.toml").write_text(
        COMPLETE[:place] + text + COMPLETE[place + 5 :], encoding="utf-8", errors="replace"
    )
    try:
        parse_manifest(folder)
    except ManifestError as error:
        assert "\n" not in str(error)


MAPS = """
[maps.heat]
label = "Heat"
quantity = ["130403", "DCM", "Gradient-weighted class activation"]
[qualities.risk]
code = ["AIP-RISK", "99SENTINEL", "Predicted risk group"]
choices.high = ["15508007", "SCT", "High risk"]
[measurements.p]
code = ["122157", "DCM", "Probability"]
unit = ["%", "UCUM", "%"]
interval = "90 % interval"
"""


def test_maps_qualities_windows_and_intervals_are_read(folder: Path):
    found = parse(folder, SMALL + "window = [50, 350]\n" + MAPS)

    assert found.inputs["ct"].window == (50.0, 350.0)
    assert found.maps["heat"].unit == Code("1", "UCUM", "no units")
    assert found.qualities["risk"].choices == {"high": Code("15508007", "SCT", "High risk")}
    assert found.measurements["p"].interval == "90 % interval"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"130403"', '"130499"', "maps.heat.quantity"),
        ("15508007", "15508008", "qualities.risk.choices.high"),
        ('label = "Heat"', 'label = "Heat"\nunit = ["mm", "SCT", "mm"]', "maps.heat.unit"),
        ("choices.high = ", "choice = ", "choices"),
    ],
)
def test_codes_of_maps_and_qualities_are_checked(folder: Path, old: str, new: str, sentence: str):
    with pytest.raises(ManifestError, match=sentence):
        parse(folder, SMALL + MAPS.replace(old, new))


def test_a_window_has_a_width(folder: Path):
    with pytest.raises(ManifestError, match="window"):
        parse(folder, SMALL + "window = [50, 0]\n")


ROIS = """
[rois.tumor]
input = "ct"
many = true
one_piece = true
codes = [["4147007", "SCT", "Mass"]]
sites = [["10200004", "SCT", "Liver"]]
sources = ["SEG"]
from = "liver_mass"
when_missing = "automatic"
fraction = 0.3
[rois.fat]
input = "ct"
"""


def test_regions_are_read(folder: Path):
    found = parse(folder, SMALL + ROIS).rois

    assert found["fat"] == RoiRole(name="fat", input="ct")
    assert found["tumor"] == RoiRole(
        name="tumor",
        input="ct",
        many=True,
        one_piece=True,
        codes=(Code("4147007", "SCT", "Mass"),),
        sites=(Code("10200004", "SCT", "Liver"),),
        sources=("SEG",),
        from_plugin="liver_mass",
        when_missing="automatic",
        fraction=0.3,
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('input = "ct"\nmany', 'input = "mr"\nmany', 'rois.tumor.input = "mr": there is no such'),
        ('"liver_mass"', '"small"', "cannot wait for its own result"),
        ('"automatic"', '"wait"', 'rois.tumor.when_missing = "wait": with from'),
        ('from = "liver_mass"\n', "", "rois.tumor.when_missing = .* needs from"),
        ('codes = [["4147007", "SCT", "Mass"]]\n', "", "rois.tumor.codes is missing"),
        ('"4147007"', '"4147008"', r"rois.tumor.codes\[1\]: "),
        ("many = ", "meny = ", r'unknown key rois.tumor.meny \(did you mean "many"'),
        ("from = ", "form = ", r'unknown key rois.tumor.form \(did you mean "from"'),
        ('["SEG"]', '["PR"]', "rois.tumor.sources.* must be one of SEG, RTSTRUCT, SR"),
        ("0.3", "0", "rois.tumor.fraction = 0"),
        (
            '[rois.fat]\ninput = "ct"',
            '[rois.fat]\ninput = "ct"\nsources = []',
            "nothing could serve",
        ),
    ],
)
def test_a_fault_of_a_region_is_one_sentence(folder: Path, old: str, new: str, sentence: str):
    assert old in ROIS
    with pytest.raises(ManifestError, match=sentence):
        parse(folder, SMALL + ROIS.replace(old, new, 1))
