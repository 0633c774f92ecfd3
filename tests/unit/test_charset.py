"""S6: names are equal after decoding, whatever set they came in."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom import DataElement, Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom.charset import (
    decode_text,
    is_damaged,
    known_charset,
    parse_charset,
    repair_charset,
    source_charset,
)
from node.dicom.headers import identity_of, read_header
from node.errors import RefusalCode, Refused

# PS3.5 annexes H, I, J and K have most of these names.
YAMADA = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
KATAKANA = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
HONG = (
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
)
CASES = [
    (["ISO_IR 100"], "Müller^Jürgen".encode("latin_1"), "Müller^Jürgen"),
    (["ISO_IR 144"], "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    (["ISO_IR 192"], "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    (["GB18030"], "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    (["GBK"], "Wang=王^小东".encode("gbk"), "Wang=王^小东"),
    (["ISO_IR 126"], "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    (["ISO_IR 127"], "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
    (["ISO_IR 166"], "นามสกุล".encode("tis_620"), "นามสกุล"),
    (["ISO_IR 13"], b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (["", "ISO 2022 IR 87"], YAMADA, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], KATAKANA, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
    (["", "ISO 2022 IR 149"], HONG, "Hong^Gildong=洪^吉洞=홍^길동"),
    (["", "ISO 2022 IR 58"], b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang=张^小东"),
    (
        ["ISO 2022 IR 100", "ISO 2022 IR 144"],
        b"M\xfcller=\x1b-L" + "Люк".encode("iso8859_5") + b"=\x1b-AM\xfc",
        "Müller=Люк=Mü",
    ),
    # As scanners write it: one escape for the whole name, one for none at all.
    (["", "ISO 2022 IR 149"], b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf", "홍^길동"),
    (["", "ISO 2022 IR 149"], b"\xc8\xab^\xb1\xe6\xb5\xbf", "홍^길동"),
    (["ISO-IR 100"], b"M\xfcller", "Müller"),
    (["ISO2022 IR 100"], b"M\xfcller", "Müller"),
]


@pytest.mark.parametrize(("terms", "data", "name"), CASES, ids=lambda value: str(value)[:24])
def test_s06_declared_sets_give_the_same_name(
    terms: list[str], data: bytes, name: str, tmp_path: Path
) -> None:
    assert decode_text(data, parse_charset(terms), person_name=True) == name
    ds = read_header(written(tmp_path, terms, data))
    assert str(ds.PatientName) == name
    assert identity_of(ds).patient_name == name
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert source_charset(ds) == tuple(terms)


@pytest.mark.parametrize(("terms", "data", "name"), CASES, ids=lambda value: str(value)[:24])
def test_s06_what_was_decoded_is_written_as_utf8_and_read_back(
    terms: list[str], data: bytes, name: str, tmp_path: Path
) -> None:
    ds = read_header(written(tmp_path, terms, data))
    again = io.BytesIO()
    ds.save_as(again)
    raw = pydicom.dcmread(io.BytesIO(again.getvalue()))
    assert name.encode() in again.getvalue()
    assert str(raw.PatientName) == name


def test_s06_two_byte_kanji_that_hold_the_bytes_of_delimiters_stay_whole() -> None:
    name = "俊^旬"  # 3D53 and 3D5C: `=` and a backslash inside of characters
    data = b"\x1b$B\x3d\x53\x1b(B^\x1b$B\x3d\x5c\x1b(B"
    assert decode_text(data, parse_charset(["", "ISO 2022 IR 87"]), person_name=True) == name


def test_s06_undeclared_text_is_decoded_by_the_assumed_set_of_the_peer(tmp_path: Path) -> None:
    path = written(tmp_path, None, "Łukasz".encode("iso8859_2"))
    ds = read_header(path, assumed_charset="ISO_IR 101")
    assert str(ds.PatientName) == "Łukasz"
    assert source_charset(ds) == ()


def test_s06_undeclared_text_without_an_assumed_set_is_marked_and_refused(tmp_path: Path) -> None:
    ds = read_header(written(tmp_path, None, b"M\xfcller^Anna"))
    assert is_damaged(str(ds.PatientName))
    with pytest.raises(Refused) as refusal:
        identity_of(ds)
    assert refusal.value.code is RefusalCode.SOURCE_ATTRIBUTE_UNUSABLE
    assert "PatientName" in refusal.value.sentence
    assert "ller" not in refusal.value.sentence


def test_s06_bytes_that_the_declared_set_does_not_have_are_marked() -> None:
    assert is_damaged(decode_text(b"M\xfcller", parse_charset(["ISO_IR 192"])))
    assert is_damaged(decode_text(b"M\xfcller", parse_charset(["ISO_IR 999"])))
    assert is_damaged(decode_text(b"\x1b%Gx", parse_charset(["", "ISO 2022 IR 87"])))


def test_s06_a_declared_set_wins_over_the_assumed_one() -> None:
    assert decode_text(b"\xe4", parse_charset(["ISO_IR 100"], "ISO_IR 144")) == "ä"
    assert decode_text(b"\xe4", parse_charset(["ISO_IR 6"], "ISO_IR 144")) == "ф"


def test_s06_items_inherit_the_set_of_their_data_set_or_have_their_own(tmp_path: Path) -> None:
    own, heir = Dataset(), Dataset()
    own.SpecificCharacterSet = "ISO_IR 144"
    own.add(DataElement("CodeMeaning", "LO", "Люк"))
    heir.add(DataElement("CodeMeaning", "LO", "Knöchel"))
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.AnatomicRegionSequence = [own, heir]
    path = tmp_path / "items.dcm"
    save(ds, path)
    read = read_header(path)
    assert [item.CodeMeaning for item in read.AnatomicRegionSequence] == ["Люк", "Knöchel"]
    assert all("SpecificCharacterSet" not in item for item in read.AnatomicRegionSequence)


def test_s06_text_with_several_values_is_split_after_decoding(tmp_path: Path) -> None:
    path = written(tmp_path, ["GB18030"], b"x", OtherPatientNames="张\\東誠".encode("gb18030"))
    assert [str(name) for name in read_header(path).OtherPatientNames] == ["张", "東誠"]


@pytest.mark.parametrize("term", ["ISO_IR 13", "ISO 2022 IR 159", "GB18030", "ISO 2022 58"])
def test_settings_can_ask_whether_a_set_is_known(term: str) -> None:
    assert known_charset(term)
    assert not known_charset("latin-1")


def test_a_data_set_in_memory_is_repaired_as_well() -> None:
    ds = Dataset()
    ds.PatientName = "Doe"
    assert repair_charset(ds).SpecificCharacterSet == "ISO_IR 192"


def written(folder: Path, terms: list[str] | None, name: bytes, **others: bytes) -> Path:
    """Write a header whose text is exactly these bytes (implicit VR, as raw values)."""
    values = {"PatientID": b"P-1", "PatientName": name, **others}
    body = b"" if terms is None else element(0x00080005, "\\".join(terms).encode())
    for keyword, value in sorted(values.items(), key=lambda pair: tag_of(pair[0])):
        body += element(tag_of(keyword), value)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    head = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(head, meta)
    path = folder / "text.dcm"
    path.write_bytes(bytes(128) + b"DICM" + head.getvalue() + body)
    return path


def tag_of(keyword: str) -> int:
    return int(pydicom.datadict.tag_for_keyword(keyword) or 0)


def element(tag: int, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    group, number = tag >> 16, tag & 0xFFFF
    lengths = len(value).to_bytes(4, "little")
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + lengths + value


def save(ds: Dataset, path: Path) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
