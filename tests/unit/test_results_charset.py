"""S6: names are the same after decoding, whatever the source's character set is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.valuerep import PersonName

from node.dicom.headers import read_header
from node.results.check import check_objects
from node.results.encode import encode
from tests.results_case import ball_result, parsed, request_of, source_header

NAMES = [
    ("ISO_IR 100", "Buc^Jérôme"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东="),
    ("ISO_IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoDong=王^小东="),
    ("ISO_IR 126", "Διονυσιος"),
]


def headers_from_files(folder: Path, charset: str, name: str, assumed: str = "") -> list[Dataset]:
    headers = []
    for index in range(5):
        ds = source_header(index)
        ds.SpecificCharacterSet = charset.split("\\") if charset else None
        ds.PatientName = PersonName(name)
        ds.StudyDescription = "Thorax"
        stream = io.BytesIO()
        if charset:
            dcmwrite(stream, ds, enforce_file_format=True)
        else:
            ds.SpecificCharacterSet = assumed
            dcmwrite(stream, ds, enforce_file_format=True)
            declared = f"CS{chr(len(assumed))}\0{assumed}".encode()
            spaces = f"CS{chr(len(assumed))}\0{' ' * len(assumed)}".encode()
            stream = io.BytesIO(stream.getvalue().replace(declared, spaces, 1))
        path = folder / f"{index}.dcm"
        path.write_bytes(stream.getvalue())
        headers.append(read_header(path, assumed_charset=assumed))
    return headers


@pytest.mark.parametrize(("charset", "name"), NAMES, ids=[c for c, _ in NAMES])
@pytest.mark.parametrize("target", ["ISO_IR 192", "source"])
def test_s06_names_are_equal_after_decoding(
    tmp_path: Path, charset: str, name: str, target: str
) -> None:
    headers = headers_from_files(tmp_path, charset, name)
    wanted = charset if target == "source" else target

    request = request_of(headers, ball_result(), charset=wanted)
    objects = encode(request)

    for encoded in objects:
        ds = parsed(encoded)
        assert str(ds.PatientName).rstrip("=") == name.rstrip("=")
    check_objects(objects, request)


def test_s06_undeclared_text_is_read_by_the_peers_assumed_set(tmp_path: Path) -> None:
    headers = headers_from_files(tmp_path, "", "Люкceмбypг", assumed="ISO_IR 144")

    (seg, _) = encode(request_of(headers, ball_result()))

    assert parsed(seg).PatientName == "Люкceмбypг"
    assert parsed(seg).SpecificCharacterSet == "ISO_IR 192"


def test_s06_what_the_wanted_set_cannot_hold_is_written_in_unicode(tmp_path: Path) -> None:
    headers = headers_from_files(tmp_path, "ISO_IR 192", "山田^太郎")

    (seg, report) = encode(request_of(headers, ball_result(), charset="ISO_IR 100"))

    assert parsed(seg).SpecificCharacterSet == "ISO_IR 192"
    assert dcmread(io.BytesIO(report.content)).PatientName == "山田^太郎"


def test_s06_the_sources_set_is_kept_where_it_holds_everything(tmp_path: Path) -> None:
    headers = headers_from_files(tmp_path, "ISO_IR 100", "Buc^Jérôme")

    (seg, _) = encode(request_of(headers, ball_result(), charset="ISO_IR 100"))

    assert parsed(seg).SpecificCharacterSet == "ISO_IR 100"
