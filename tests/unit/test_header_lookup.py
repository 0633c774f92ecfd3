"""Values of headers: what cannot be read is not there, whatever pydicom raises of it."""

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from node.dicom.values import lookup_in


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("DiffusionBValue", "FD", b"abcd"),
        ("DiffusionBValue", "UN", b"abcd"),
        ("Rows", "US", b"abc"),
        ("ContrastBolusAgentSequence", "SQ", b"abcd"),
        ("ContrastBolusAgentSequence", "UN", b"\xfe\xff\x00\xe0\xff"),
    ],
)
def test_a_value_of_broken_length_is_none(keyword, vr, value):
    ds, tag = Dataset(), Tag(keyword)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    assert lookup_in(ds)(keyword) is None
