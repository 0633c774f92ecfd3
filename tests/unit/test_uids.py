"""UIDs as names of files and as derived identifiers."""

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.uids import derived_uid, valid_uid


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "2.25.0", "0.1", "1.2.03", "1" * 64])
def test_usable_uids_pass(uid):
    assert valid_uid(uid)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        ".",
        "..",
        "1.",
        ".1",
        "1..2",
        "1.2/3",
        "../1.2",
        "1.2\n",
        "1.2 ",
        "1.2\0",
        "1.a",
        "²",
        "٣.1",
        "1" * 65,
    ],
)
def test_what_could_leave_the_folder_or_is_no_uid_is_refused(uid):
    assert not valid_uid(uid)


@given(st.lists(st.text(), max_size=5))
def test_s01_derived_uids_are_valid_and_repeat(parts):
    uid = derived_uid(*parts)
    assert uid == derived_uid(*parts)
    assert pydicom.uid.UID(uid).is_valid
    assert valid_uid(uid)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_s01_other_parts_give_other_uids(one, other):
    assert (derived_uid(*one) == derived_uid(*other)) is (one == other)
