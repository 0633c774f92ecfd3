from pathlib import Path

import pytest

from node.phantom.index import Index, entry_of
from tests.make import ct_series, made, part10


def index_of(*datasets):
    index = Index()
    for number, ds in enumerate(datasets):
        index.add(entry_of(part10(ds), Path(str(number))))
    return index


def studies(index, **keys):
    return index.find(made(QueryRetrieveLevel="STUDY", **keys))


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ("", 2),
        ("20250101", 1),
        ("20250101-20250630", 1),
        ("-20251231", 2),
        ("20250602-", 1),
        ("20260101-", 0),
    ],
)
def test_dates_match_by_range(asked, count):
    first = ct_series((1, 4, 4), StudyDate="20250101")
    second = ct_series((1, 4, 4), StudyDate="20250701")
    assert len(studies(index_of(*first, *second), StudyDate=asked)) == count


def test_names_match_without_case_and_with_wild_cards():
    index = index_of(*ct_series((1, 4, 4), PatientName="Phantom^Demo"))
    assert len(studies(index, PatientName="PHANTOM*")) == 1
    assert len(studies(index, PatientName="Phantom?Demo")) == 1
    assert studies(index, PatientName="Other*") == []


def test_a_list_of_uids_matches_any_of_them():
    series = ct_series((3, 4, 4))
    uids = [ds.SOPInstanceUID for ds in series[:2]]
    query = made(QueryRetrieveLevel="IMAGE", SOPInstanceUID=uids)
    assert len(index_of(*series).find(query)) == 2


def test_answers_hold_what_was_asked_and_text_is_decoded():
    series = ct_series((1, 4, 4), SpecificCharacterSet="ISO_IR 100", PatientName="M\xfcller^A")
    (answer,) = studies(index_of(*series), PatientName="", ModalitiesInStudy="")
    assert str(answer.PatientName) == "Müller^A"
    assert answer.ModalitiesInStudy == "CT"
    assert "PatientID" not in answer


def test_bytes_that_are_no_dicom_have_no_values():
    entry = entry_of(b"not DICOM", Path("x"))
    assert set(entry.values.values()) == {""}
