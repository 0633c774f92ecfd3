"""Reading, splitting and refusing real series; truth from masks and contours of other makers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.dicom.frames import SourceSeries, Stack
from node.dicom.geometry import check_stack
from node.dicom.kinds import unsuitable_kind
from node.dicom.pixels import PixelsUndecodable, decode
from node.dicom.quick_header import quick_header
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.errors import MalformedDataset, RefusalCode, Refused
from node.inference.volume import build_volume
from node.manifest import InputRole
from tests.make import shared_data

HU = InputRole(name="ct", modality=("CT",))
RAW = InputRole(name="any", modality=("CT", "MR", "PT"), values="raw", allow=("SECONDARY",))
PATIENTS = ["STS_002", "STS_003", "STS_008", "STS_024"]


def files(folder: str) -> list[Path]:
    return sorted(path for path in shared_data(folder).rglob("*") if path.is_file())


def dicom(folder: str) -> list[Path]:
    return [path for path in files(folder) if path.suffix == ".dcm"]


def only_series(paths: Sequence[Path]) -> SourceSeries:
    (series,) = read_series(paths)
    return series


def only_stack(folder: str) -> Stack:
    (stack,) = split_series(only_series(dicom(folder)))
    return stack


def refusal_of(series: SourceSeries) -> Refused:
    with pytest.raises(Refused) as caught:
        split_series(series)
    return caught.value


@pytest.mark.parametrize("patient", PATIENTS)
@pytest.mark.parametrize("kind", ["CT", "MR_T1", "PET"])
def test_affine_equals_that_of_the_nifti_mask(patient, kind):
    nibabel = pytest.importorskip("nibabel")
    folder = f"sts-sarcoma/{patient}/{kind}"
    mask = nibabel.load(shared_data(f"{folder}/mask.nii.gz"))
    geometry = only_stack(f"{folder}/image").geometry
    # NIfTI has (x, y, z) indices and RAS+; ours are (slice, row, column) and LPS+.
    to_ours = np.eye(4)[[2, 1, 0, 3]]
    lps = np.diag([-1.0, -1, 1, 1]) @ mask.affine @ to_ours
    assert geometry.shape == mask.shape[::-1]
    assert np.allclose(geometry.affine, lps, atol=2e-3)


@pytest.mark.parametrize("patient", PATIENTS)
@pytest.mark.parametrize("kind", ["CT", "MR_T1"])
def test_contours_drawn_on_our_grid_fill_exactly_the_mask(patient, kind):
    nibabel = pytest.importorskip("nibabel")
    folder = f"sts-sarcoma/{patient}/{kind}"
    stack = only_stack(f"{folder}/image")
    truth = np.asarray(nibabel.load(shared_data(f"{folder}/mask.nii.gz")).dataobj).T > 0
    filled = fill(dcmread(dicom(f"{folder}/rtstruct")[0]), stack)
    assert truth.any()
    assert np.array_equal(filled, truth)


def fill(rtstruct, stack: Stack) -> np.ndarray:
    """Return the voxels whose centre lies inside an odd number of contours of their plane."""
    filled = np.zeros(stack.geometry.shape, bool)
    to_index = np.linalg.inv(np.array(stack.geometry.affine))
    for contour in rtstruct.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        index = (to_index @ np.c_[points, np.ones(len(points))].T)[:3].T
        plane = round(float(index[:, 0].mean()))
        assert np.abs(index[:, 0] - plane).max() < 0.01
        filled[plane] ^= inside(index[:, 1:], filled.shape[1:])
    return filled


def inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixel centres lie in a polygon of (row, column) corners, by crossings."""
    rows, columns = np.indices(shape, float)
    odd = np.zeros(shape, bool)
    for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if r0 == r1:
            continue
        crosses = (r0 > rows) != (r1 > rows)
        odd ^= crosses & (columns < (c1 - c0) * (rows - r0) / (r1 - r0) + c0)
    return odd


def test_pet_has_a_slope_per_image_and_a_unit():
    folder = "sts-sarcoma/STS_002/PET/image"
    stack = only_stack(folder)
    made = build_volume(stack, RAW)
    assert len({frame.rescale_slope for frame in stack.frames}) > 1
    assert made.array.dtype == np.float32
    assert made.unit == "g/ml"
    for index in (0, 20, 47):
        ds = dcmread(stack.frames[index].path)
        expected = ds.pixel_array * float(ds.RescaleSlope)
        assert np.allclose(made.array[index], expected, rtol=1e-6)


def test_the_oblique_mr_with_gaps_between_its_slices():
    stack = only_stack("sts-raw-001-mr-t2fs/image")
    assert stack.label == ""
    assert stack.geometry.shape == (40, 384, 384)
    assert stack.geometry.spacing_mm == pytest.approx((5.2, 0.5234, 0.5234), abs=1e-4)
    assert stack.frames[0].slice_thickness_mm == 4
    assert stack.geometry.oblique_degrees == pytest.approx(2.05, abs=0.01)
    assert len({dict(f.discriminators)["ContentTime"] for f in stack.frames}) == 39
    affine = np.array(stack.geometry.affine)
    for index, frame in enumerate(stack.frames):
        assert np.allclose(affine[:3] @ [index, 0, 0, 1], frame.image_position_patient, atol=0.01)


def test_every_voxel_of_a_whole_abdomen_equals_pydicom():
    stack = only_stack("crlm-ct-1004/ct")
    made = build_volume(stack, HU)
    assert made.array.dtype == np.int16
    assert made.array.shape == (41, 512, 512)
    assert made.padding is not None
    for index, frame in enumerate(stack.frames):
        stored = dcmread(frame.path).pixel_array
        assert np.array_equal(made.array[index], stored.astype(np.int32) - 1024)
        assert np.array_equal(made.padding[index], stored == -2000)


def test_s18_three_phases_in_one_series_become_three_volumes_never_one():
    series = only_series(dicom("breast-dce-ucsf-br-06/dce"))
    stacks = split_series(series)
    assert [stack.label for stack in stacks] == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]
    times = [{dict(f.discriminators)["ContentTime"] for f in stack.frames} for stack in stacks]
    assert times == [{"102551"}, {"103238"}, {"103832"}]
    assert {stack.geometry.plane for stack in stacks} == {"sagittal"}
    assert {stack.geometry.shape for stack in stacks} == {(60, 256, 256)}
    means = [build_volume(stack, RAW).array.mean() for stack in stacks]
    assert means[1] > means[0]  # contrast came after the first


def test_s18_phases_without_their_times_are_refused():
    series = only_series(dicom("breast-dce-ucsf-br-06/dce"))
    blind = tuple(
        replace(f, discriminators=tuple(d for d in f.discriminators if d[0] != "ContentTime"))
        for f in series.frames
    )
    refusal = refusal_of(replace(series, frames=blind))
    assert refusal.code is RefusalCode.PHASES_MIXED
    assert "180 planes at 60 positions" in refusal.sentence
    assert "AcquisitionNumber (2 values)" in refusal.sentence


def test_s19_a_tilted_head_ct_is_refused_by_its_measured_tilt():
    refusal = refusal_of(only_series(dicom("awkward/ct-gantry-tilt-variable-spacing")))
    assert refusal.code is RefusalCode.GANTRY_TILT
    assert "18.5 degrees" in refusal.sentence


def test_s17_localizers_and_captures_under_modality_ct_are_refused():
    for series in read_series(dicom("awkward/localizer-and-sc")):
        refusal = refusal_of(series)
        assert refusal.code is RefusalCode.IMAGE_KIND_UNSUITABLE
        assert "localizer" in refusal.sentence or "secondary capture" in refusal.sentence


def test_a_mixed_dicomdir_yields_its_one_regular_stack_and_reasons_for_the_rest():
    paths = [path for path in files("awkward/dicomdir-mixed") if path.name != "DICOMDIR"]
    found, codes = [], []
    for series in read_series(paths):
        try:
            found += [stack.geometry.shape for stack in split_series(series)]
        except Refused as refusal:
            codes.append(refusal.code)
    assert found == [(5, 16, 16)]
    assert set(codes) == {
        RefusalCode.ORIENTATION_MISSING,  # CR
        RefusalCode.SLICE_MISSING,
        RefusalCode.IMAGE_KIND_UNSUITABLE,  # scouts, MIPs
        RefusalCode.TOO_FEW_SLICES,
        RefusalCode.ORIENTATION_MIXED,  # three-plane localizers not called so
    }


MULTIFRAME = "awkward/multiframe"


@pytest.mark.parametrize("name", ["RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless"])
def test_a_multiframe_mr_has_equal_values_in_every_encoding(name):
    plain = list(decode(shared_data(f"{MULTIFRAME}/emri_small.dcm"), range(10)))
    other = list(decode(shared_data(f"{MULTIFRAME}/emri_small_{name}.dcm"), range(10)))
    assert len(plain) == len(other) == 10
    assert all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))
    assert not np.array_equal(plain[0], plain[1])


def test_a_multiframe_that_is_too_short_is_not_decoded():
    with pytest.raises(PixelsUndecodable):
        list(decode(shared_data(f"{MULTIFRAME}/emri_small_jpeg_2k_lossless_too_short.dcm"), [9]))


def test_frames_of_a_real_multiframe_are_read_and_what_they_lack_is_told():
    series = only_series([shared_data(f"{MULTIFRAME}/emri_small.dcm")])
    assert [frame.frame_number for frame in series.frames] == list(range(1, 11))
    assert refusal_of(series).code is RefusalCode.ORIENTATION_MISSING


SYNTAXES = "awkward/transfer-syntaxes"
LOSSLESS = ["1.2", "1.2.2", "1.2.1.99", "1.2.5", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90"]


def in_syntax(last: str) -> Path:
    return next(p for p in files(SYNTAXES) if p.name.endswith(f"_1.2.840.10008.{last}.dcm"))


def pair_of(path: Path) -> Stack:
    """Return a stack of the one image twice, 5 mm apart: one alone is no volume."""
    (frame,) = only_series([path]).frames
    x, y, z = frame.image_position_patient or (0.0, 0.0, 0.0)
    above = replace(frame, image_position_patient=(x, y, z + 5))
    ordered, geometry = check_stack((frame, above))
    return Stack(series_instance_uid="1.2", label="", frames=ordered, geometry=geometry)


@pytest.mark.parametrize("last", LOSSLESS)
def test_lossless_encodings_of_one_ct_image_give_equal_hu(last):
    plain = build_volume(pair_of(in_syntax("1.2.1")), HU).array
    assert np.array_equal(build_volume(pair_of(in_syntax(last)), HU).array, plain)


@pytest.mark.parametrize(("last", "grey_levels"), [("1.2.4.81", 1), ("1.2.4.91", 5)])
def test_s20_lossy_images_need_permission_and_are_near_the_truth(last, grey_levels):
    stack = pair_of(in_syntax(last))
    with pytest.raises(Refused) as caught:
        build_volume(stack, replace(HU, allow=("AXIAL",)))
    assert caught.value.code is RefusalCode.LOSSY_COMPRESSED
    plain = build_volume(pair_of(in_syntax("1.2.1")), HU).array
    lossy = build_volume(stack, replace(HU, allow=("AXIAL",), lossy=True)).array
    assert np.abs(lossy.astype(int) - plain).max() <= grey_levels


@pytest.mark.parametrize("last", ["1.2.4.51", "1.2.4.53", "1.2.4.55"])
def test_s20_what_the_codecs_cannot_decode_is_refused_by_name(last):
    with pytest.raises(Refused) as caught:
        build_volume(pair_of(in_syntax(last)), replace(HU, allow=("AXIAL",), lossy=True))
    assert caught.value.code is RefusalCode.PIXELS_UNDECODABLE
    assert f"1.2.840.10008.{last}" in caught.value.sentence


def test_truncated_pixels_of_a_real_mr_are_refused():
    with pytest.raises(Refused) as caught:
        build_volume(pair_of(shared_data("awkward/malformed/MR_truncated.dcm")), RAW)
    assert caught.value.code is RefusalCode.PIXELS_TRUNCATED


def test_malformed_files_are_refused_or_read_never_worse():
    for path in [*files("awkward/malformed"), *files("awkward/small-singles")]:
        try:
            (series,) = read_series([path])
            split_series(series)
        except (MalformedDataset, Refused):
            continue
        pytest.fail(f"{path.name} became a volume")


def test_segmentations_and_maps_are_no_inputs():
    for path in [*files("awkward/seg-encodings"), *dicom("seg-sr-objects")]:
        for frame in only_series([path]).frames:
            if frame.modality not in ("CT", "SM"):
                assert unsuitable_kind(frame, allow=("SECONDARY", "PRIMARY")) is not None


def test_single_and_multiframe_ct_of_one_phantom_are_the_same_volume():
    folder = "seg-sr-objects/dcmqi/23x38x3"
    single = build_volume(only_stack(f"{folder}/image"), RAW)
    multi = build_volume(only_stack(f"{folder}/multiframe"), RAW)
    assert np.array_equal(single.array, multi.array)
    assert np.allclose(single.affine, multi.affine)


def test_quick_headers_read_nearly_all_real_files():
    paths = [path for path in dicom("") if path.read_bytes()[128:132] == b"DICM"]
    quick = sum(quick_header(path) is not None for path in paths)
    assert quick > 0.98 * len(paths)
