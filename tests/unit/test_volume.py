import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate

from node.dicom.decoding import each_stored
from node.dicom.frames import Stack
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.errors import RefusalCode, Refused
from node.inference.volume import build_volume
from node.manifest import InputRole
from node.plugin import Volume
from tests.make import ct_series, enhanced_ct, gradient, mr_series, write_series

HU = InputRole(name="ct", modality=("CT",))
RAW = InputRole(name="any", modality=("CT",), values="raw")
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"


def stack_of(paths: list[Path]) -> Stack:
    (series,) = read_series(paths)
    (stack,) = split_series(series)
    return stack


def volume(
    folder: Path, datasets: list[Dataset], role: InputRole = RAW, syntax: str = ""
) -> Volume:
    return build_volume(stack_of(write_series(folder, datasets, transfer_syntax_uid=syntax)), role)


def refusal_of(paths: list[Path], role: InputRole = RAW) -> Refused:
    with pytest.raises(Refused) as caught:
        build_volume(stack_of(paths), role)
    return caught.value


def set_pixels(ds: Dataset, stored: np.ndarray, bits_stored: int | None = None) -> None:
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored = bits, bits_stored or bits
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    data = stored.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"


def test_s20_values_are_hu_in_int16_at_their_place(tmp_path):
    hu = gradient((5, 6, 7))
    made = volume(tmp_path, ct_series((5, 6, 7), values=hu)[::-1], HU)
    assert made.array.dtype == np.int16
    assert np.array_equal(made.array, hu)
    assert made.unit == "[hnsf'U]"
    assert made.padding is None
    assert made.spacing_mm == pytest.approx((5.0, 0.8, 0.7))


@pytest.mark.parametrize("syntax", [IMPLICIT, DEFLATED, RLE])
def test_every_encoding_gives_the_same_values(tmp_path, syntax):
    hu = gradient((4, 6, 8))
    made = volume(tmp_path, ct_series((4, 6, 8), values=hu), HU, syntax)
    assert np.array_equal(made.array, hu)


def test_big_endian_pixels_are_swapped(tmp_path):
    hu = gradient((3, 4, 4))
    for index, ds in enumerate(ct_series((3, 4, 4), values=hu)):
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds.file_meta.TransferSyntaxUID = BIG_ENDIAN
        dcmwrite(tmp_path / f"{index}.dcm", ds, enforce_file_format=True)
    assert np.array_equal(build_volume(stack_of(sorted(tmp_path.iterdir())), HU).array, hu)


def test_s20_each_image_has_its_own_slope(tmp_path):
    stored = np.arange(3 * 16, dtype=np.uint16).reshape(3, 4, 4)
    slopes = {i: {"RescaleSlope": 0.25 * (i + 1), "RescaleIntercept": 0} for i in range(3)}
    planes = mr_series((3, 4, 4), values=stored, per_instance=slopes, Modality="PT")
    made = volume(tmp_path, planes)
    assert made.array.dtype == np.float32
    for index in range(3):
        assert np.array_equal(made.array[index], stored[index] * np.float32(0.25 * (index + 1)))


def test_values_beyond_int16_become_float32_and_stay_exact(tmp_path):
    stored = np.array([0, 40000, 65535], np.uint16).repeat(16).reshape(3, 4, 4)
    made = volume(tmp_path, mr_series((3, 4, 4), values=stored))
    assert made.array.dtype == np.float32
    assert np.array_equal(made.array, stored)


def test_intercepts_that_are_not_whole_give_float32(tmp_path):
    made = volume(tmp_path, mr_series((2, 4, 4), RescaleSlope=1, RescaleIntercept=0.5))
    assert made.array.dtype == np.float32
    assert made.array[0, 0, 0] % 1 == 0.5


def test_s20_hu_that_no_scanner_measures_are_refused(tmp_path):
    metal = np.full((2, 4, 4), 10_000, np.int16)
    refusal = refusal_of(
        write_series(tmp_path, ct_series((2, 4, 4), RescaleSlope=10.0, values=metal)), HU
    )
    assert refusal.code is RefusalCode.VALUES_IMPLAUSIBLE
    assert "values from 109216 to 109216 HU" in refusal.sentence


def test_s20_values_that_are_not_finite_are_refused_for_every_role(tmp_path):
    stored = np.full((2, 4, 4), 30000, np.uint16)
    refusal = refusal_of(
        write_series(tmp_path, mr_series((2, 4, 4), values=stored, RescaleSlope=1e38))
    )
    assert refusal.code is RefusalCode.VALUES_IMPLAUSIBLE
    assert "no finite numbers" in refusal.sentence


def test_s20_padding_may_be_any_value(tmp_path):
    hu = np.zeros((2, 4, 4), np.int16)
    hu[0, 0, 0] = 31000
    pad = {"PixelPaddingValue": 32024, "RescaleSlope": 10.0}
    made = volume(tmp_path, ct_series((2, 4, 4), values=hu, **pad), HU)
    assert made.padding is not None
    assert np.argwhere(made.padding).tolist() == [[0, 0, 0]]


def test_s20_metal_on_the_extended_scale_is_hu(tmp_path):
    hu = np.full((2, 4, 4), 30710, np.int16)
    made = volume(tmp_path, ct_series((2, 4, 4), values=hu), HU)
    assert (made.array == 30710).all()


def test_s20_padding_is_masked_and_nothing_else(tmp_path):
    hu = gradient((3, 4, 4))
    hu[0, 0, 0] = hu[2, 3, 3] = -3024
    made = volume(tmp_path, ct_series((3, 4, 4), values=hu, PixelPaddingValue=-2000), HU)
    assert made.padding is not None
    assert np.argwhere(made.padding).tolist() == [[0, 0, 0], [2, 3, 3]]


def test_s20_a_padding_range_is_masked(tmp_path):
    hu = np.array([-3024, -3000, -2900, 0] * 4, np.int16).repeat(2).reshape(2, 4, 4)
    planes = ct_series((2, 4, 4), values=hu, PixelPaddingValue=-2000)
    for ds in planes:
        ds.add_new("PixelPaddingRangeLimit", "SS", -1950)
    made = volume(tmp_path, planes, HU)
    assert made.padding is not None
    assert np.array_equal(made.padding, hu < -2950)


def test_signed_values_in_fewer_bits_than_allocated_keep_their_sign(tmp_path):
    stored = np.arange(-16, 16, dtype=np.int16).reshape(2, 4, 4)
    planes = ct_series((2, 4, 4), RescaleIntercept=0)
    for ds, plane in zip(planes, stored, strict=True):
        set_pixels(ds, (plane & 0x0FFF).astype(np.int16), bits_stored=12)
    assert np.array_equal(volume(tmp_path, planes).array, stored)


def test_overlay_bits_above_the_high_bit_are_no_values(tmp_path):
    stored = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    planes = mr_series((2, 4, 4))
    for ds, plane in zip(planes, stored, strict=True):
        set_pixels(ds, plane | 0xF000, bits_stored=12)
    assert np.array_equal(volume(tmp_path, planes).array, stored)


def test_eight_bit_planes_of_odd_length(tmp_path):
    stored = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    planes = mr_series((3, 3, 3))
    for ds, plane in zip(planes, stored, strict=True):
        set_pixels(ds, plane)
    made = volume(tmp_path, planes)
    assert made.array.dtype == np.int16
    assert np.array_equal(made.array, stored)


def test_thirty_two_bit_planes(tmp_path):
    stored = np.array([-70000, 5, 9, 100000] * 8, np.int32).reshape(2, 4, 4)
    planes = mr_series((2, 4, 4))
    for ds, plane in zip(planes, stored, strict=True):
        set_pixels(ds, plane)
    made = volume(tmp_path, planes)
    assert made.array.dtype == np.float32
    assert np.array_equal(made.array, stored)


def test_monochrome1_values_stay_as_stored(tmp_path):
    hu = gradient((3, 4, 4))
    planes = ct_series((3, 4, 4), values=hu, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(volume(tmp_path, planes, HU).array, hu)


@pytest.mark.parametrize("syntax", ["", DEFLATED])
def test_s20_frames_of_a_multiframe_image_lie_in_stack_order(tmp_path, syntax):
    hu = gradient((4, 5, 6))
    upside_down = {i: {"ImagePositionPatient": [0.0, 0.0, 20.0 - 5 * i]} for i in range(4)}
    image = enhanced_ct((4, 5, 6), values=hu, per_frame=upside_down)
    assert np.array_equal(volume(tmp_path, [image], HU, syntax).array, hu[::-1])


def test_s20_frames_have_their_own_intercept(tmp_path):
    hu = gradient((3, 4, 4))
    image = enhanced_ct((3, 4, 4), values=hu, per_frame={1: {"RescaleIntercept": -1000}})
    made = volume(tmp_path, [image], HU)
    assert np.array_equal(made.array[1], hu[1] + 24)
    assert np.array_equal(made.array[2], hu[2])


def cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def test_truncated_pixels_are_refused(tmp_path):
    paths = write_series(tmp_path, ct_series((3, 4, 4)))
    cut(paths[1], 6)
    refusal = refusal_of(paths)
    assert refusal.code is RefusalCode.PIXELS_TRUNCATED
    assert refusal.sentence.startswith("image 2 of 3: ")


def test_truncated_compressed_pixels_are_refused(tmp_path):
    paths = write_series(tmp_path, ct_series((3, 4, 4)), transfer_syntax_uid=RLE)
    cut(paths[1], 20)
    assert refusal_of(paths).code is RefusalCode.PIXELS_TRUNCATED


def test_more_pixels_than_the_header_says_are_refused(tmp_path):
    planes = ct_series((3, 4, 4))
    planes[2].PixelData += b"\0" * 8
    refusal = refusal_of(write_series(tmp_path, planes))
    assert refusal.code is RefusalCode.PIXEL_FORMAT_UNSUITABLE
    assert "40 bytes of pixel data where 32" in refusal.sentence


def test_an_image_without_pixels_is_refused(tmp_path):
    planes = ct_series((3, 4, 4))
    del planes[1].PixelData
    refusal = refusal_of(write_series(tmp_path, planes))
    assert refusal.code is RefusalCode.PIXELS_MISSING
    assert refusal.sentence == "image 2 of 3: the image has no pixel data"


def test_s20_what_no_codec_decodes_is_refused_by_name(tmp_path):
    paths = []
    for index, ds in enumerate(ct_series((2, 4, 4))):
        ds.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.55"
        paths.append(tmp_path / f"{index}.dcm")
        dcmwrite(paths[-1], ds, enforce_file_format=True)
    refusal = refusal_of(paths, InputRole(name="r", modality=("CT",), values="raw", lossy=True))
    assert refusal.code is RefusalCode.PIXELS_UNDECODABLE
    assert "Process 10 and 12" in refusal.sentence
    assert "1.2.840.10008.1.2.4.55" in refusal.sentence


def test_bytes_that_the_codec_cannot_decode_are_refused_by_name(tmp_path):
    paths = write_series(tmp_path, ct_series((2, 4, 4)), transfer_syntax_uid=RLE)
    ds = dcmread(paths[0])
    ds.PixelData = encapsulate([b"\x01\x00\x00\x00" + b"\xff" * 70])
    ds["PixelData"].is_undefined_length = True
    dcmwrite(paths[0], ds, enforce_file_format=True)
    refusal = refusal_of(paths)
    assert refusal.code is RefusalCode.PIXELS_UNDECODABLE
    assert "RLE Lossless" in refusal.sentence


def jpeg_2000(folder: Path, hu: np.ndarray) -> list[Path]:
    paths = []
    for index, ds in enumerate(ct_series(hu.shape, values=hu)):
        ds.compress(JPEG_2000_LOSSLESS, generate_instance_uid=False)
        paths.append(folder / f"{index:03d}.dcm")
        dcmwrite(paths[-1], ds, enforce_file_format=True)
    return paths


@pytest.mark.parametrize("worth_workers_s", [0.0, 1e9])
def test_compressed_images_are_decoded_by_workers_or_here_alike(tmp_path, worth_workers_s):
    hu = gradient((9, 64, 64))
    frames = stack_of(jpeg_2000(tmp_path, hu)).frames
    found = np.zeros(hu.shape, np.int16)

    def take(index: int, stored: np.ndarray) -> None:
        found[index] = stored - 1024

    each_stored(frames, take, worth_workers_s=worth_workers_s)
    assert np.array_equal(found, hu)


@pytest.mark.parametrize("worth_workers_s", [0.0, 1e9])
def test_a_fault_in_a_codec_is_a_refusal_wherever_it_runs(tmp_path, worth_workers_s):
    paths = jpeg_2000(tmp_path, gradient((9, 64, 64)))
    ds = dcmread(paths[7])
    ds.PixelData = encapsulate([b"no code stream at all"])
    ds["PixelData"].is_undefined_length = True
    dcmwrite(paths[7], ds, enforce_file_format=True)
    with pytest.raises(Refused) as caught:
        each_stored(stack_of(paths).frames, lambda *_: None, worth_workers_s=worth_workers_s)
    assert caught.value.code is RefusalCode.PIXELS_UNDECODABLE
    assert "JPEG 2000" in caught.value.sentence


def test_a_decoding_worker_ends_with_its_parents_pipe():
    worker = subprocess.Popen(
        [sys.executable, "-m", "node.dicom.decode_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    out, _ = worker.communicate(b'{"path": "/nowhere.dcm", "indices": [0]}\n', timeout=30)
    assert out == b'{"failed": true}\n'
    assert worker.returncode == 0
