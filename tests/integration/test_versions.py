"""S2 on real and made objects: what a second version of a SOP Instance UID turns out to be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from node.audit import Audit
from node.dicom.compare import Difference, compare_files
from node.dicom.part10 import content_sha256, read_part10, scan_file
from node.errors import Refused
from node.intake.versions import choose_version, resolve_versions
from node.model import InstanceState, StudyState
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import (
    NewInstance,
    change_study,
    get_study,
    record_instance,
    versions_of,
)
from node.storage.migrate import migrate
from tests.make import ct_series, made, part10, rtstruct, shared_data

LOSSLESS = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)


@dataclass
class Site:
    db: Database
    files: Files
    study: str = ""
    sop: str = ""

    def receive(self, content: bytes, *, at: float) -> None:
        """Store and record a file as the receiver would."""
        temporary = self.files.new_incoming()
        temporary.write_bytes(content)
        meta, header = scan_file(temporary)
        sha256 = content_sha256(temporary, meta)
        self.study, self.sop = header.uid("StudyInstanceUID"), header.uid("SOPInstanceUID")
        uids = (self.study, header.uid("SeriesInstanceUID"), self.sop)
        final = self.files.instance_path(*uids)
        if final.exists():
            final = self.files.instance_path(*uids, sha256=sha256)
        self.files.publish(temporary, final)
        record_instance(
            self.db,
            NewInstance(
                study_instance_uid=self.study,
                series_instance_uid=uids[1],
                sop_instance_uid=self.sop,
                sop_class_uid=header.uid("SOPClassUID"),
                transfer_syntax_uid=meta.transfer_syntax_uid,
                modality=header.text("Modality"),
                content_sha256=sha256,
                pixel_sha256=header.pixel_sha256(),
                path=self.files.relative(final),
                size_bytes=final.stat().st_size,
                received_at=at,
                calling_ae="PACS",
                called_ae="SENTINEL",
                peer="",
            ),
        )

    def states(self) -> list[InstanceState]:
        return [version.state for version in versions_of(self.db, self.sop)]

    def on_disk(self) -> int:
        return len(list(self.files.data_dir.glob("studies/*/*/*.dcm")))

    def finish(self, now: float) -> None:
        for old, new in (
            (StudyState.RECEIVING, StudyState.COMPLETE),
            (StudyState.COMPLETE, StudyState.ROUTED),
        ):
            change_study(self.db, self.study, old, new, now=now)

    def study_state(self) -> StudyState:
        study = get_study(self.db, self.study)
        assert study is not None
        return study.state


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    files = Files(tmp_path)
    files.prepare()
    url = f"sqlite:///{tmp_path / 'node.db'}"
    migrate(url, tmp_path)
    database = Database(url)
    yield Site(db=database, files=files)
    database.close()


@pytest.fixture
def image() -> Dataset:
    return ct_series((1, 16, 16))[0]


def changed(image: Dataset, **attributes: object) -> Dataset:
    other = copy.deepcopy(image)
    for keyword, value in attributes.items():
        setattr(other, keyword, value)
    return other


def other_pixels(image: Dataset) -> Dataset:
    array = np.frombuffer(image.PixelData, np.int16).copy()
    array[7] += 1
    return changed(image, PixelData=array.tobytes())


# --- one real CT in 15 transfer syntaxes -------------------------------------------------------


def real_ct(tmp_path: Path) -> dict[str, Path]:
    """Return the same image by transfer syntax, all under one SOP Instance UID."""
    folder = shared_data("awkward/transfer-syntaxes")
    implicit = dcmread(next(folder.glob("CT_LittleEndianImplicit*")))
    paths = {}
    for source in sorted(folder.glob("CT_*")):
        syntax = str(dcmread(source, specific_tags=[]).file_meta.TransferSyntaxUID)
        ds = dcmread(source)
        if ds.SOPInstanceUID != implicit.SOPInstanceUID:  # dcmtk gave the lossy ones new ones
            ds.SOPInstanceUID = implicit.SOPInstanceUID
            paths[syntax] = tmp_path / source.name
            ds.save_as(paths[syntax])
        else:
            paths[syntax] = source
    return paths


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_s02_lossless_transcodings_are_equal_and_lossy_ones_conflict(tmp_path: Path) -> None:
    paths = real_ct(tmp_path)
    first = paths["1.2.840.10008.1.2"]
    found = {syntax: compare_files(first, path) for syntax, path in paths.items()}
    assert {syntax for syntax, d in found.items() if d is Difference.NONE} == {
        "1.2.840.10008.1.2",
        *LOSSLESS,
    }
    assert {d for syntax, d in found.items() if syntax not in LOSSLESS} == {
        Difference.NONE,
        Difference.CONTENT,
    }
    # What nobody here can decode is equal to itself only.
    for syntax in ("1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"):
        assert compare_files(paths[syntax], paths[syntax]) is Difference.NONE


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_s02_a_transcoded_copy_is_stored_once(site: Site, tmp_path: Path) -> None:
    paths = real_ct(tmp_path)
    site.receive(paths["1.2.840.10008.1.2"].read_bytes(), at=1.0)
    site.receive(paths["1.2.840.10008.1.2.4.90"].read_bytes(), at=2.0)
    assert site.states() == [InstanceState.STORED, InstanceState.UNRESOLVED]
    assert resolve_versions(site.db, site.files, now=3.0) == {"duplicate": 1}
    assert site.states() == [InstanceState.STORED, InstanceState.DUPLICATE]
    assert site.on_disk() == 1
    assert resolve_versions(site.db, site.files, now=4.0) == {}


# --- corrections -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientName": "Right^Name"},
        {"PatientID": "P-2", "IssuerOfPatientID": "NEW"},
        {"StudyDescription": "another"},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Mueller=Müller"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_s02_a_corrected_header_wins_and_opens_the_study(
    site: Site, image: Dataset, attributes: dict[str, object]
) -> None:
    site.receive(part10(image), at=1.0)
    site.finish(2.0)
    site.receive(part10(changed(image, **attributes)), at=3.0)
    site.finish(4.0)
    assert resolve_versions(site.db, site.files, now=5.0) == {"correction": 1}
    assert site.states() == [InstanceState.REPLACED, InstanceState.STORED]
    assert site.on_disk() == 2
    assert site.study_state() is StudyState.RECEIVING


def test_s02_a_correction_of_a_correction_wins_again(site: Site, image: Dataset) -> None:
    for number in range(3):
        site.receive(part10(changed(image, PatientName=f"Name^{number}")), at=float(number))
    assert resolve_versions(site.db, site.files, now=5.0) == {"correction": 2}
    assert site.states() == [
        InstanceState.REPLACED,
        InstanceState.REPLACED,
        InstanceState.STORED,
    ]


def test_s02_equal_text_in_another_character_set_is_no_correction(
    site: Site, image: Dataset
) -> None:
    latin = changed(image, SpecificCharacterSet="ISO_IR 100", PatientName="Müller")
    utf8 = changed(image, SpecificCharacterSet="ISO_IR 192", PatientName="Müller")
    site.receive(part10(latin), at=1.0)
    site.receive(part10(utf8), at=2.0)
    assert resolve_versions(site.db, site.files, now=5.0) == {"duplicate": 1}


# --- conflicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        other_pixels,
        lambda image: changed(image, ImagePositionPatient=[1, 2, 3]),
        lambda image: changed(image, PixelSpacing=[0.5, 0.5]),
        lambda image: changed(image, RescaleIntercept="0"),
        lambda image: changed(image, SeriesInstanceUID="1.2.3.4"),
    ],
    ids=["pixels", "position", "spacing", "rescale", "series"],
)
def test_s02_other_pixels_or_geometry_conflict_and_both_files_stay(
    site: Site, image: Dataset, edit: Callable[[Dataset], Dataset]
) -> None:
    site.receive(part10(image), at=1.0)
    site.receive(part10(edit(image)), at=2.0)
    assert resolve_versions(site.db, site.files, now=3.0) == {"conflict": 1}
    assert site.states() == [InstanceState.CONFLICT, InstanceState.CONFLICT]
    assert site.on_disk() == 2


def test_s02_an_administrator_chooses_and_the_study_opens_again(
    site: Site, image: Dataset, tmp_path: Path
) -> None:
    site.receive(part10(image), at=1.0)
    site.receive(part10(other_pixels(image)), at=2.0)
    resolve_versions(site.db, site.files, now=3.0)
    site.finish(4.0)
    second = versions_of(site.db, site.sop)[1]
    audit = Audit(tmp_path)
    choose_version(site.db, site.sop, second.content_sha256, now=5.0, audit=audit)
    assert site.states() == [InstanceState.REPLACED, InstanceState.STORED]
    assert site.study_state() is StudyState.RECEIVING
    written = next((tmp_path / "audit").iterdir()).read_text()
    assert "version chosen" in written
    assert site.sop not in written


def test_s02_only_a_version_in_conflict_can_be_chosen(site: Site, image: Dataset) -> None:
    site.receive(part10(image), at=1.0)
    with pytest.raises(Refused, match="among 0 in conflict"):
        choose_version(site.db, site.sop, "f" * 64, now=2.0)


def test_s02_a_third_version_joins_the_conflict_or_is_a_duplicate(
    site: Site, image: Dataset
) -> None:
    site.receive(part10(image), at=1.0)
    site.receive(part10(other_pixels(image)), at=2.0)
    resolve_versions(site.db, site.files, now=3.0)
    site.receive(part10(other_pixels(image), transfer_syntax_uid="1.2.840.10008.1.2"), at=4.0)
    site.receive(part10(changed(image, Rows=8, Columns=32)), at=5.0)
    assert resolve_versions(site.db, site.files, now=6.0) == {"duplicate": 1, "conflict": 1}
    conflict, duplicate = InstanceState.CONFLICT, InstanceState.DUPLICATE
    assert site.states() == [conflict, conflict, duplicate, conflict]


def test_s02_contours_are_content(site: Site) -> None:
    images = ct_series((3, 16, 16))
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float64)
    first = rtstruct(images, {"GTV": [(0, square)]})
    moved = copy.deepcopy(first)
    moved.ROIContourSequence[0].ContourSequence[0].ContourData = [float(i) for i in range(9)]
    renamed = changed(first, PatientName="Other^Name")
    paths = {}
    for name, ds in (("first", first), ("moved", moved), ("renamed", renamed)):
        paths[name] = site.files.incoming / name
        paths[name].write_bytes(part10(ds))
    assert compare_files(paths["first"], paths["moved"]) is Difference.CONTENT
    assert compare_files(paths["first"], paths["renamed"]) is Difference.HEADER


def test_s02_what_cannot_be_read_is_not_equal(site: Site, image: Dataset) -> None:
    good, bad = site.files.incoming / "good", site.files.incoming / "bad"
    good.write_bytes(part10(image))
    bad.write_bytes(b"no DICOM")
    assert compare_files(good, bad) is Difference.CONTENT


def test_s02_undeclared_names_that_differ_are_a_correction(site: Site, image: Dataset) -> None:
    """Both are undecodable, which must not make them equal."""
    plain = part10(changed(image, SpecificCharacterSet=None, PatientName="AAxBB"))
    first, second = plain.replace(b"AAxBB", b"AA\xe4BB"), plain.replace(b"AAxBB", b"AA\xf6BB")
    paths = [site.files.incoming / "1", site.files.incoming / "2"]
    for path, content in zip(paths, (first, second), strict=True):
        path.write_bytes(content)
    assert compare_files(*paths) is Difference.HEADER


def test_s02_a_version_whose_file_is_gone_stays_unresolved(site: Site, image: Dataset) -> None:
    site.receive(part10(image), at=1.0)
    site.receive(part10(other_pixels(image)), at=2.0)
    site.files.absolute(versions_of(site.db, site.sop)[0].path).unlink()
    assert resolve_versions(site.db, site.files, now=3.0) == {}
    assert site.states() == [InstanceState.STORED, InstanceState.UNRESOLVED]


def test_s02_private_sequences_are_compared_too(site: Site, image: Dataset) -> None:
    first, second = copy.deepcopy(image), copy.deepcopy(image)
    for ds, value in ((first, "a"), (second, "b")):
        block = ds.private_block(0x0099, "SENTINEL TEST", create=True)
        block.add_new(1, "SQ", [made(CodeValue=value)])
    paths = [site.files.incoming / "1", site.files.incoming / "2"]
    for path, ds in zip(paths, (first, second), strict=True):
        path.write_bytes(part10(ds))
    assert compare_files(*paths) is Difference.HEADER
    assert read_part10(paths[0]).sop_instance_uid == image.SOPInstanceUID
