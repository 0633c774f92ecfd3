"""Headers are read behind a guard, without a word of their values, and name the patient."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import pytest
from pydicom import Dataset

from node.dicom.headers import identity_of, quiet_pydicom, read_header
from node.errors import MalformedDataset, NodeError
from tests.make import ct_series, made, part10, shared_data, write_series


def test_a_header_has_no_pixels_and_knows_its_file(tmp_path: Path) -> None:
    path = write_series(tmp_path, ct_series((1, 16, 16), PatientID="P-7"))[0]
    ds = read_header(path)
    assert ds.PatientID == "P-7"
    assert "PixelData" not in ds
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_identity_leaves_out_what_says_nothing() -> None:
    ds = made(
        PatientID=" P-1 ",
        PatientName="Doe^Jane^^^",
        PatientBirthDate="19700101",
        IssuerOfPatientID="SITE",
        AccessionNumber="A1",
    )
    identity = identity_of(ds)
    assert identity.patient_id == "P-1"
    assert identity.patient_name == "Doe^Jane"
    assert identity.issuer_of_patient_id == "SITE"
    assert (identity.patient_birth_date, identity.patient_sex) == ("19700101", "")
    assert identity.accession_number == "A1"


def test_identity_of_an_empty_data_set_is_empty() -> None:
    assert identity_of(Dataset()).patient_id == ""


def test_a_file_with_200_nested_sequences_is_refused_before_pydicom_recurses(
    tmp_path: Path,
) -> None:
    inner = made(CodeValue="x")
    for _ in range(200):
        inner = made(ConceptNameCodeSequence=[inner])
    image = ct_series((1, 8, 8))[0]
    image.AnatomicRegionSequence = [inner]
    path = tmp_path / "deep.dcm"
    path.write_bytes(part10(image))
    with pytest.raises(MalformedDataset) as failure:
        read_header(path)
    assert failure.value.code == "TOO_DEEP"


@pytest.mark.parametrize("content", [b"", b"short", bytes(1000), bytes(128) + b"DICM"])
def test_what_is_no_dicom_file_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(content)
    with pytest.raises(MalformedDataset):
        read_header(path)


def test_a_file_that_is_gone_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_header(tmp_path / "none.dcm")


def test_s28_every_real_header_is_read_or_refused_without_a_warning() -> None:
    read = refused = 0
    for path in sorted(shared_data("awkward").rglob("*")):
        if not path.is_file() or path.suffix not in {"", ".dcm"}:
            continue
        try:
            identity_of(read_header(path))
            read += 1
        except NodeError:
            refused += 1
    assert read > 80
    assert refused < 10


def test_s28_warnings_return_after_the_last_reader_and_not_before() -> None:
    def shown() -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("value", UserWarning, stacklevel=1)
        return bool(caught)

    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_pydicom():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with quiet_pydicom():
            thread.start()
            inside.wait(5)
        hidden = not shown()
        leave.set()
        thread.join()
        assert hidden
        assert shown()
