"""The walk over encoded data sets: what it finds, what stops it, that it always ends."""

import struct
import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from node.dicom.scan import ScanLimits, scan
from node.errors import MalformedDataset

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.70"


def encoded(ds, syntax=EXPLICIT):
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG_ENDIAN
    write_dataset(buffer, ds)
    content = buffer.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        content = deflater.compress(content) + deflater.flush()
    return content


def example(depth=1, undefined=False):
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = "1.2.3"
    ds.Modality = "CT"
    inner = Dataset()
    inner.SOPInstanceUID = "9.9.9"
    inner.CodeValue = "1"
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = Sequence([inner])
        outer["ContentSequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        inner = outer
    ds.update(inner)
    ds.PatientID = "P"
    ds.StudyInstanceUID = "1.2.3.4"
    ds.SeriesInstanceUID = "1.2.3.5"
    ds.Rows = 2
    ds.PixelData = b"\1\2\3\4"
    ds["PixelData"].VR = "OW"
    return ds


def nested_by_hand(depth, defined):
    """(0008,1115) sequences in one another, explicit VR, followed by study and series UIDs."""
    content = b""
    for _ in range(depth):
        if defined:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
            content = struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, len(item)) + item
        else:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + content
            item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
            content = struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF) + item
            content += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    head, tail = Dataset(), Dataset()
    head.SOPInstanceUID = "1.2.3"
    tail.StudyInstanceUID, tail.SeriesInstanceUID = "1.2.3.4", "1.2.3.5"
    return encoded(head) + content + encoded(tail)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_uids_and_pixels_are_found_in_every_encoding(syntax, undefined):
    header = scan(encoded(example(3, undefined), syntax), syntax)
    header.require_sound()
    assert header.uid("SOPInstanceUID") == "1.2.3"
    assert header.uid("StudyInstanceUID") == "1.2.3.4"
    assert header.uid("SeriesInstanceUID") == "1.2.3.5"
    assert header.text("Modality") == "CT"
    assert bytes(header.dataset[header.pixel_start : header.pixel_end]) == b"\1\2\3\4"
    assert header.deepest == 3


@pytest.mark.parametrize("defined", [False, True])
@pytest.mark.parametrize("depth", [200, 5000])
def test_s11_deep_nesting_is_a_fault_and_uids_behind_it_are_read(depth, defined):
    header = scan(nested_by_hand(depth, defined), EXPLICIT)
    assert header.fault is not None
    assert header.fault.code == "TOO_DEEP"
    assert header.uid("StudyInstanceUID") == "1.2.3.4"
    assert header.uid("SeriesInstanceUID") == "1.2.3.5"
    with pytest.raises(MalformedDataset, match="deeper than 32"):
        header.require_sound()


def test_endless_nesting_ends():
    opening = struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    header = scan(opening * 50_000, EXPLICIT)
    assert header.fault.code == "TOO_DEEP"


def test_nesting_at_the_limit_is_no_fault():
    assert scan(nested_by_hand(32, True), EXPLICIT).fault is None
    assert scan(nested_by_hand(33, True), EXPLICIT).fault is not None


def test_hidden_nesting_in_un_is_seen():
    inner = nested_by_hand(40, True)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    content = struct.pack("<HH2sHL", 9, 0x1010, b"UN", 0, len(item)) + item
    assert scan(content, EXPLICIT).fault.code == "TOO_DEEP"


def test_private_bytes_that_only_look_like_a_sequence_are_no_fault():
    junk = struct.pack("<HHL", 0xFFFE, 0xE000, 4000) + b"\xff" * 24
    content = struct.pack("<HH2sHL", 9, 0x1010, b"UN", 0, len(junk)) + junk
    header = scan(content + encoded(example()), EXPLICIT)
    assert header.fault is None
    assert header.uid("StudyInstanceUID") == "1.2.3.4"


def test_implicit_data_under_an_explicit_name_is_read():
    header = scan(encoded(example(), IMPLICIT), JPEG)
    assert header.uid("StudyInstanceUID") == "1.2.3.4"


def test_cut_header_keeps_what_was_readable():
    whole = encoded(example())
    header = scan(whole[: whole.index(b"1.2.3.5") + 2], EXPLICIT)
    assert header.fault.code == "MALFORMED"
    assert header.uid("SOPInstanceUID") == "1.2.3"
    assert header.uid("SeriesInstanceUID") == ""


def test_cut_pixels_are_noted_and_no_fault():
    header = scan(encoded(example())[:-2], EXPLICIT)
    assert header.fault is None
    assert header.pixels_truncated


def test_broken_sequence_of_known_length_is_a_fault_with_uids_behind_it():
    broken = struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, 16)
    broken += struct.pack("<HHL", 0xFFFE, 0xE000, 8) + b"\x08\x00\x18\x00UI\xff\x00"
    header = scan(broken + encoded(example()), EXPLICIT)
    assert header.fault.code == "MALFORMED"
    assert header.uid("StudyInstanceUID") == "1.2.3.4"


def test_large_headers_are_a_fault_but_large_documents_are_not():
    ds = example()
    ds.add_new(0x00091001, "LO", "x")
    ds.add_new(0x00420011, "OB", bytes(3 << 20))
    limits = ScanLimits(max_header_bytes=1 << 20)
    assert scan(encoded(ds), EXPLICIT, limits=limits).fault is None
    many = struct.pack("<HH2sH", 9, 0x1001, b"LO", 1000) + b"x" * 1000
    assert scan(many * 1200, EXPLICIT, limits=limits).fault.code == "HEADER_TOO_LARGE"


def test_deflate_bombs_are_a_fault():
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(encoded(example()) + bytes(4 << 20)) + deflater.flush()
    header = scan(bomb, DEFLATED, limits=ScanLimits(max_inflated_bytes=1 << 20))
    assert header.fault.code == "INFLATED_TOO_LARGE"
    assert header.uid("StudyInstanceUID") == "1.2.3.4"


def test_what_is_not_deflated_under_that_name_is_a_fault():
    assert scan(b"\xff" * 100, DEFLATED).fault.code == "MALFORMED"


def test_fragments_end_where_the_sequence_ends():
    fragments = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    fragments += struct.pack("<HHL", 0xFFFE, 0xE000, 12) + b"\xfe\xff\xdd\xe0" + bytes(8)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    pixel = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    padding = struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4)
    header = scan(pixel + fragments + end + padding, JPEG)
    assert bytes(header.dataset[header.pixel_start : header.pixel_end]) == fragments
    assert not header.pixels_truncated
    assert scan(pixel + fragments, JPEG).pixels_truncated


def _agrees_with_pydicom(content, syntax):
    header = scan(content, syntax)
    ds = pydicom.dcmread(BytesIO(_with_meta(content, syntax)), stop_before_pixels=True, force=True)
    return header.uid("StudyInstanceUID") == str(ds.get("StudyInstanceUID", ""))


def _with_meta(content, syntax):
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax) + len(syntax) % 2)
    meta += syntax.encode() + b"\0" * (len(syntax) % 2)
    size = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    return bytes(128) + b"DICM" + size + meta + content


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_agrees_with_pydicom(syntax):
    assert _agrees_with_pydicom(encoded(example(2, True), syntax), syntax)


SYNTAXES = st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG])
REAL = {syntax: encoded(example(4, True), syntax) for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN)}


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=2000), SYNTAXES)
def test_s11_arbitrary_bytes_never_raise(content, syntax):
    scan(content, syntax).pixel_sha256()


@settings(max_examples=500, deadline=1000)
@given(
    st.sampled_from(sorted(REAL)),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=6)), max_size=6),
    st.integers(0, 2000),
    SYNTAXES,
)
def test_s11_mutated_headers_never_raise(real, changes, cut, syntax):
    content = bytearray(REAL[real])
    for position, new in changes:
        content[position : position + len(new)] = new
    header = scan(bytes(content[: len(content) - cut % len(content)]), syntax)
    assert header.pixel_end is None or header.pixel_end <= len(header.dataset)
