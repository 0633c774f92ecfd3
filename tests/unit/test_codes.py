"""Coded concepts: they are what the standard's dictionaries say."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.sr._concepts_dict import concepts

from node.dicom import codes
from node.manifest import Code

OURS = [value for value in vars(codes).values() if isinstance(value, Code)]
OURS += [*codes.MODALITIES.values(), *codes.PROCEDURES.values(), *codes.OUTPUTS.values()]
OURS = [code for code in OURS if code.scheme != codes.PRIVATE_SCHEME]
#: TID 1500 row 12 uses the first; UCUM units are composed, not listed.
UNLISTED = {"C0034375", "mm", "{pixels}"}


@pytest.mark.parametrize("code", OURS, ids=lambda code: f"{code.value} {code.meaning}")
def test_every_code_of_ours_is_in_the_standards_dictionaries(code: Code) -> None:
    known = {
        (value, meaning.lower())
        for entries in concepts[code.scheme].values()
        for value, (meaning, *_) in entries.items()
    }

    assert code.value in UNLISTED or (code.value, code.meaning.lower()) in known


def test_private_codes_are_ours_and_fit_their_attributes() -> None:
    writers = [codes.PICTURE, codes.WITHDRAWN_REPORT, codes.CHANGE, codes.CHANGE_PERCENT]
    private = [*codes.PRIVATE_OUTPUTS.values(), *writers]

    assert len({code.value for code in private}) == len(private)
    for code in private:
        assert code.scheme == codes.PRIVATE_SCHEME
        assert len(code.value) <= 16 and len(code.meaning) <= 64


def test_a_code_survives_the_way_through_an_item() -> None:
    assert codes.code_of_item(codes.code_item(codes.SEGMENTATION)) == codes.SEGMENTATION


@pytest.mark.parametrize("missing", ["CodeValue", "CodingSchemeDesignator", "CodeMeaning"])
def test_an_incomplete_code_of_a_source_is_not_copied(missing: str) -> None:
    item = codes.code_item(codes.SEGMENTATION)
    delattr(item, missing)

    assert codes.code_of_item(item) is None


def test_a_code_whose_meaning_is_too_long_is_not_copied() -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "x" * 64
    item["CodeMeaning"]._value = "x" * 65

    assert codes.code_of_item(item) is None
