from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.sequence import Sequence as Items

from node.dicom.charset import source_charset
from node.dicom.headers import read_header
from node.dicom.quick_header import quick_header
from node.dicom.source import frames_of, read_series
from node.errors import MalformedDataset
from tests.make import ct_series, enhanced_ct, enhanced_mr, made, mr_series, write_series

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def only_frame(**overrides):
    (frame,) = frames_of(ct_series((1, 4, 6), **overrides)[0], Path("x.dcm"))
    return frame


def test_a_single_frame_instance_is_one_frame_numbered_zero():
    frame = only_frame(RescaleType="HU", PixelPaddingValue=-2000)
    assert (frame.frame_number, frame.number_of_frames) == (0, 1)
    assert (frame.rows, frame.columns) == (4, 6)
    assert frame.pixel_spacing_mm == (0.8, 0.7)
    assert (frame.rescale_slope, frame.rescale_intercept, frame.rescale_type) == (1, -1024, "HU")
    assert frame.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert frame.pixel_padding_value == -2000


def test_values_that_are_no_numbers_are_none_and_never_raise():
    frame = only_frame(PixelSpacing=None, SliceThickness="", ImagePositionPatient=[1, 2])
    assert frame.pixel_spacing_mm is None
    assert frame.slice_thickness_mm is None
    assert frame.image_position_patient is None


def test_an_object_without_pixels_has_no_frames():
    ds = ct_series((1, 4, 4))[0]
    del ds.Rows
    assert frames_of(ds, Path("x.dcm")) == ()


def test_one_multiframe_image_is_as_many_frames_with_their_own_values():
    image = enhanced_ct(
        (3, 4, 4),
        per_frame={
            1: {"RescaleIntercept": -1000, "FrameType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"]},
            2: {"ImagePositionPatient": [1.0, 2.0, 3.0], "TemporalPositionIndex": 2},
        },
    )
    frames = frames_of(image, Path("x.dcm"))
    assert [f.frame_number for f in frames] == [1, 2, 3]
    assert [f.rescale_intercept for f in frames] == [-1024, -1000, -1024]
    assert frames[1].image_type[0] == "DERIVED"
    assert frames[2].image_position_patient == (1, 2, 3)
    assert dict(frames[2].discriminators)["TemporalPositionIdentifier"] == "2"
    assert frames[0].pixel_spacing_mm == (0.8, 0.7)


def test_groups_of_a_frame_win_over_shared_ones():
    image = enhanced_mr((2, 4, 4))
    own = made(PixelSpacing=[2.0, 3.0], SliceThickness=4.0)
    image.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = [own]
    first, second = frames_of(image, Path("x.dcm"))
    assert first.pixel_spacing_mm == (0.8, 0.7)
    assert second.pixel_spacing_mm == (2, 3)


def test_a_leftover_position_at_the_top_of_a_multiframe_image_fills_no_gap():
    image = enhanced_mr((2, 4, 4))
    image.ImagePositionPatient = [0, 0, 0]
    del image.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    first, second = frames_of(image, Path("x.dcm"))
    assert first.image_position_patient is not None
    assert second.image_position_patient is None


def test_a_multiframe_image_of_one_frame_is_still_multiframe():
    (frame,) = frames_of(enhanced_ct((1, 4, 4)), Path("x.dcm"))
    assert (frame.frame_number, frame.number_of_frames) == (1, 1)


def test_frames_without_functional_groups_share_the_top_level():
    ds = mr_series((1, 4, 4))[0]
    ds.NumberOfFrames = 3
    frames = frames_of(ds, Path("x.dcm"))
    assert [f.frame_number for f in frames] == [1, 2, 3]
    assert len({f.image_position_patient for f in frames}) == 1


@pytest.mark.parametrize("uid", ["50", "51", "81"])
def test_s20_a_lossy_transfer_syntax_is_a_lossy_history(uid):
    ds = ct_series((1, 4, 4))[0]
    ds.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{uid}"
    assert frames_of(ds, Path("x.dcm"))[0].lossy


def test_s20_a_padding_value_written_without_its_sign_is_understood():
    ds = ct_series((1, 4, 4))[0]
    ds.add_new("PixelPaddingValue", "US", 63536)
    assert frames_of(ds, Path("x.dcm"))[0].pixel_padding_value == -2000


def test_files_are_grouped_by_series(tmp_path):
    ct, mr = ct_series((2, 4, 4)), mr_series((3, 4, 4))
    paths = [*write_series(tmp_path / "ct", ct), *write_series(tmp_path / "mr", mr)]
    first, second = read_series(paths[::-1])
    assert (first.modality, len(first.frames)) == ("MR", 3)
    assert (second.modality, len(second.frames)) == ("CT", 2)
    assert second.series_instance_uid == ct[0].SeriesInstanceUID


def test_s6_text_of_every_series_is_unicode(tmp_path):
    paths = write_series(
        tmp_path, ct_series((1, 4, 4), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^J")
    )
    (series,) = read_series(paths)
    assert str(series.headers[0].PatientName) == "Müller^J"
    assert series.headers[0].SpecificCharacterSet == "ISO_IR 192"


def test_s6_undeclared_text_is_decoded_by_the_assumed_set(tmp_path):
    ds = ct_series((1, 4, 4), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^J")[0]
    path = write_series(tmp_path, [ds])[0]
    data = path.read_bytes()
    at = data.index(b"ISO_IR 100")
    path.write_bytes(data[: at - 8] + data[at + 10 :])
    (series,) = read_series([path], assumed_charset="ISO_IR 100")
    assert str(series.headers[0].PatientName) == "Müller^J"


def nested(depth: int) -> Dataset:
    ds = made(CodeMeaning="deep")
    for _ in range(depth):
        ds = made(ContentSequence=Items([ds]))
    return ds


def test_headers_nested_too_deep_are_refused_here_too(tmp_path):
    ds = ct_series((1, 4, 4))[0]
    ds.ContentSequence = nested(40).ContentSequence
    path = tmp_path / "deep.dcm"
    dcmwrite(path, ds, enforce_file_format=True)
    assert quick_header(path) is None
    with pytest.raises(MalformedDataset):
        read_series([path])


def assert_same(quick: Dataset, slow: Dataset) -> None:
    assert list(quick.keys()) == list(slow.keys())
    for tag in slow:
        ours, theirs = quick[tag.tag], tag
        assert ours.VR == theirs.VR
        if ours.VR == "SQ":
            assert len(ours.value) == len(theirs.value)
            for one, other in zip(ours.value, theirs.value, strict=True):
                assert_same(one, other)
        else:
            assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("syntax", ["", IMPLICIT, RLE])
def test_quick_headers_equal_those_of_pydicom(tmp_path, syntax):
    datasets = [
        *ct_series((1, 4, 4), ContentSequence=nested(5).ContentSequence),
        *mr_series((1, 4, 4), SpecificCharacterSet="ISO_IR 192", PatientName="田中^花子"),
        *([] if syntax == RLE else [enhanced_ct((3, 4, 4))]),
    ]
    for path in write_series(tmp_path, datasets, transfer_syntax_uid=syntax):
        quick = quick_header(path)
        assert quick is not None
        slow = read_header(path)
        assert_same(quick.dataset, slow)
        assert_same(quick.dataset.file_meta, slow.file_meta)
        assert source_charset(quick.dataset) == source_charset(slow)


@pytest.mark.parametrize("syntax", [BIG_ENDIAN, DEFLATED])
def test_unusual_encodings_are_left_to_the_careful_reader(tmp_path, syntax):
    ds = ct_series((1, 4, 4))[0]
    path = write_series(tmp_path, [ds], transfer_syntax_uid=DEFLATED)[0]
    if syntax == BIG_ENDIAN:
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds.file_meta.TransferSyntaxUID = BIG_ENDIAN
        dcmwrite(path, ds, enforce_file_format=True)
    assert quick_header(path) is None
    (series,) = read_series([path])
    assert series.frames[0].rows == 4


def test_quick_headers_never_guess_about_damaged_files(tmp_path):
    whole = write_series(tmp_path, ct_series((1, 4, 4)))[0].read_bytes()
    path = tmp_path / "damaged.dcm"
    for cut in range(130, len(whole), 37):
        path.write_bytes(whole[:cut])
        quick = quick_header(path)
        if quick is None:
            continue
        try:
            slow = read_header(path)
        except MalformedDataset:
            pytest.fail(f"cut at {cut}: quick accepted what the careful reader refuses")
        assert_same(quick.dataset, slow)
