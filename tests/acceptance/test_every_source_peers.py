"""Every kind of object on every real source: the validator and dcmqi, a reader by others (S5)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.valuerep import PersonName

from node.dicom.frames import SourceSeries
from node.dicom.headers import read_header
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.errors import MalformedDataset, Refused
from node.profiles import ViewerProfile
from node.results.check import check_objects
from node.results.encode import EncodedObject, EncodeRequest, encode
from tests.acceptance.test_results_kinds_peers import BITS, FRACTIONS, KINDS, of_source
from tests.make import shared_data
from tests.peers import beside_python, dcmtk, run_tool, segimage2itkimage
from tests.results_case import full_request, on_grid, read_nifti
from tests.sources import FOLDERS, REFUSED, SOURCES
from tests.unit.test_results_charset import NAMES

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("profile", KINDS, ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", SOURCES)
def test_s05_every_kind_on_every_source_is_valid_and_read_by_dcmqi(
    tmp_path: Path, name: str, profile: ViewerProfile
) -> None:
    request = of_source(name, profile)

    objects = checked(request)

    assert_dcmqi_reads(objects, request, tmp_path)


def checked(request: EncodeRequest) -> dict[str, EncodedObject]:
    """Encode, and let the gate look with the validator: an own finding raises."""
    beside_python("dciodvfy")
    objects = encode(request)
    checks = check_objects(objects, request)
    assert all(facts["dciodvfy"]["ran"] for facts in checks.values())  # type: ignore[index]
    return {item.role: item for item in objects}


def assert_dcmqi_reads(
    objects: dict[str, EncodedObject], request: EncodeRequest, folder: Path
) -> None:
    for role in ("seg", "sr"):
        (folder / f"{role}.dcm").write_bytes(objects[role].content)
    stack = request.stacks["ct"]
    images = segimage2itkimage(folder / "seg.dcm", folder / "images")
    read = sum(on_grid(stack, *read_nifti(image)) for image in images)
    assert np.array_equal(read, stored(request))
    report = report_by_dcmqi(folder)
    # Groups on a segment (TID 1411) are what this reader knows; outlines and text it passes over.
    if request.profile.sr == "segment":
        values = {float(i["value"]) for g in report["Measurements"] for i in g["measurementItems"]}
        assert {1.5, 9.5, 81.2} <= values


def stored(request: EncodeRequest) -> NDArray[np.uint8]:
    """How many segments hold each voxel: those of the masks, or where a fraction is not 0."""
    found = np.zeros(request.stacks["ct"].geometry.shape, np.uint8)
    for segment in request.result.segments:
        fraction = segment.probability if request.profile.seg == "fractional" else None
        found += segment.mask != 0 if fraction is None else np.rint(fraction * 255) > 0
    return found


def report_by_dcmqi(folder: Path) -> dict[str, Any]:
    out = folder / "sr.json"
    tool = beside_python("tid1500reader")
    said = run_tool([tool, "--inputDICOM", folder / "sr.dcm", "--outputMetadata", out])
    assert out.exists(), said
    found: dict[str, Any] = json.loads(out.read_text())
    return found


# --- what cannot be encoded --------------------------------------------------------------------


@pytest.mark.parametrize("folder", REFUSED)
def test_what_is_not_encodable_is_refused_with_a_sentence(folder: str) -> None:
    files = sorted(path for path in shared_data(folder).iterdir() if path.is_file())
    readable, codes = [], set()
    for path in files:
        try:
            read_series([path])
        except MalformedDataset as malformed:
            assert len(str(malformed).split()) > 3
            codes.add("")
        else:
            readable.append(path)

    for series in read_series(readable):
        with pytest.raises(Refused) as refused:
            encode_any(series)
        codes.add(refused.value.code)
        assert len(str(refused.value).split()) > 3

    assert codes == REFUSED[folder]


def encode_any(series: SourceSeries) -> None:
    for which, _ in enumerate(split_series(series)):
        for profile in KINDS:
            encode(full_request(series, profile, which=which))


def test_no_folder_of_real_images_is_forgotten() -> None:
    root = shared_data()
    images = [*root.rglob("*.dcm"), *(root / "awkward/dicomdir-mixed").rglob("[!.]*")]
    folders = {str(path.parent.relative_to(root)) for path in images if path.is_file()}

    known = {folder for folder, _ in FOLDERS.values()} | set(REFUSED)
    contours = {folder for folder in folders if folder.endswith("/rtstruct")}
    assert folders - contours == known


# --- character sets ----------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [BITS, FRACTIONS], ids=lambda profile: profile.name)
@pytest.mark.parametrize(("charset", "name"), NAMES, ids=[charset for charset, _ in NAMES])
def test_s06_a_real_source_keeps_its_names_in_every_character_set(
    tmp_path: Path, charset: str, name: str, profile: ViewerProfile
) -> None:
    """Written in the source's own set, and read by DCMTK as well as by dcmqi."""
    series = renamed(tmp_path, charset, name)
    request = replace(full_request(series, profile), charset=charset)

    objects = checked(request)

    assert_dcmqi_reads(objects, request, tmp_path)
    for role in ("seg", "sr"):
        ds = dcmread(tmp_path / f"{role}.dcm", stop_before_pixels=True)
        assert without_empty_groups(str(ds.PatientName)) == without_empty_groups(name)
        if "IR 87" not in charset:  # unknown to Debian's DCMTK, which converts by glibc's iconv
            file = tmp_path / f"{role}.dcm"
            shown = run_tool([dcmtk("dcmdump"), "+U8", "+P", "PatientName", file])
            assert name.rstrip("=") in shown


def renamed(folder: Path, charset: str, name: str) -> SourceSeries:
    """Return a real CT whose patient has another name, written in another character set."""
    place = folder / "source"
    place.mkdir()
    for path in sorted(shared_data("seg-sr-objects/dcmqi/24x38x3/image").iterdir()):
        ds: Dataset = dcmread(path)
        ds.SpecificCharacterSet = charset.split("\\")
        ds.PatientName = PersonName(name)
        ds.save_as(place / path.name)
        assert str(read_header(place / path.name).PatientName).startswith(name.split("=")[0])
    (series,) = read_series(sorted(place.iterdir()))
    return series


def without_empty_groups(name: str) -> str:
    return name.rstrip("=")
