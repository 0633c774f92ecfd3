"""Real SEG, RTSTRUCT and SR of other makers against known masks and other readers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node.dicom.frames import Stack
from node.dicom.regions import Region, RegionRules, mask_on, refusal_of, regions_of
from node.errors import RefusalCode, Refused
from tests.make import ct_series, shared_data, write_series
from tests.regions_case import stacks_in
from tests.results_case import on_grid, read_nifti

UNAPPROVED = RegionRules(unapproved=True)
PATIENTS = ("STS_002", "STS_003", "STS_008", "STS_024")
#: Tumour volume in the CT, mL (README of the data).
VOLUMES = {"STS_002": 53.3, "STS_003": 80.1, "STS_008": 27.6, "STS_024": 77.6}
#: Every SEG that lies in a patient's coordinates.
SEGMENTATIONS = (
    "dcmqi/liver.dcm",
    "dcmqi/partial_overlaps.dcm",
    "dcmqi/23x38x3/seg/label.seg",
    "dcmqi/24x38x3/seg/label.seg",
    "dcmqi/labelmap/sparse-labelmap-noppv.dcm",
    "dcmqi/labelmap/sparse-labelmap-ppv5.dcm",
    "dcmqi/sr-example/seg.dcm",
    "highdicom/seg_image_ct_binary.dcm",
    "highdicom/seg_image_ct_binary_fractional.dcm",
    "highdicom/seg_image_ct_binary_overlap.dcm",
    "highdicom/seg_image_ct_true_fractional.dcm",
    "qin-headneck-0139/seg_11_segments.dcm",
)


def sarcoma(patient: str, modality: str) -> tuple[Stack, Region, NDArray[Any]]:
    """Image, contour, and the mask that the data set's author made of it."""
    folder = shared_data(f"sts-sarcoma/{patient}/{modality}")
    (stack,) = stacks_in(folder / "image")
    (region,) = regions_of(folder / "rtstruct/RS.dcm")
    return stack, region, on_grid(stack, *read_nifti(folder / "mask.nii.gz")).astype(bool)


def image_of(seg: Dataset, volume: Any, folder: Path) -> Stack:
    """An image on the grid of a volume (highdicom), in the patient and study of the SEG."""
    affine = np.array(volume.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    shape = volume.array.shape[:3]
    deep = (max(shape[0], 2), *shape[1:])
    same = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "FrameOfReferenceUID")
    datasets = ct_series(
        deep,
        spacing=tuple(map(float, spacing)),
        orientation=[*directions[:, 2], *directions[:, 1]],
        origin=affine[:3, 3],
        **{keyword: seg.get(keyword) for keyword in same},
    )
    # Positions as the volume has them: its slices may run against the normal.
    for index, ds in enumerate(datasets):
        ds.ImagePositionPatient = [*map(float, (affine @ [index, 0, 0, 1])[:3])]
    write_series(folder, datasets)
    (stack,) = stacks_in(folder)
    return stack


def read_by_highdicom(path: Path, regions: Sequence[Region]) -> Any:
    """The segments as one volume with the segments as its last axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hd.seg.segread(path).get_volume(
            segment_numbers=[region.number for region in regions],
            combine_segments=False,
            rescale_fractional=True,
            allow_missing_positions=True,
        )


@pytest.mark.parametrize("modality", ["CT", "MR_T1", "PET"])
@pytest.mark.parametrize("patient", PATIENTS)
def test_contours_of_real_tumours_give_the_published_mask(patient: str, modality: str) -> None:
    stack, region, truth = sarcoma(patient, modality)

    got = mask_on(region, stack, rules=UNAPPROVED)

    np.testing.assert_array_equal(got, truth)
    if modality == "CT":
        millilitres = got.sum() * np.prod(stack.geometry.spacing_mm) / 1000
        assert round(millilitres, 1) == VOLUMES[patient]


def test_s21_real_unapproved_contours_need_the_setting() -> None:
    stack, region, _ = sarcoma("STS_008", "MR_T1")

    with pytest.raises(Refused) as caught:
        mask_on(region, stack)

    assert caught.value.code is RefusalCode.ROI_UNAPPROVED


@pytest.mark.parametrize("patient", PATIENTS)
def test_contours_of_the_pet_reach_the_ct_through_their_frame_of_reference(patient: str) -> None:
    """Nearest voxels of 4 to 5 mm on a grid of 1 mm: the same region but for its rim."""
    ct, _, truth = sarcoma(patient, "CT")
    pet, region, on_pet = sarcoma(patient, "PET")

    got = mask_on(region, ct, rules=UNAPPROVED, stacks=[pet])

    millilitres = [
        mask.sum() * np.prod(stack.geometry.spacing_mm) / 1000
        for mask, stack in ((got, ct), (on_pet, pet))
    ]
    assert millilitres[0] == pytest.approx(millilitres[1], rel=0.02)
    assert 2 * (got & truth).sum() / (got.sum() + truth.sum()) > 0.85


def test_s21_contour_of_another_patient_is_refused() -> None:
    stack, _, _ = sarcoma("STS_008", "CT")
    _, region, _ = sarcoma("STS_002", "CT")

    with pytest.raises(Refused) as caught:
        mask_on(region, stack, rules=UNAPPROVED)

    assert caught.value.code is RefusalCode.ROI_OTHER_PATIENT


def test_tumour_and_oedema_on_an_oblique_mr_with_gaps_between_slices() -> None:
    folder = shared_data("sts-raw-001-mr-t2fs")
    (stack,) = stacks_in(folder / "image")

    regions = {region.name: region for region in regions_of(folder / "rtstruct/1-1.dcm")}
    masks = {name: mask_on(one, stack, rules=UNAPPROVED) for name, one in regions.items()}

    assert set(masks) == {"GTV_Mass", "GTV_Edema"}
    planes = {name: int(mask.any(axis=(1, 2)).sum()) for name, mask in masks.items()}
    assert planes == {"GTV_Mass": 20, "GTV_Edema": 32}
    # Areas by the shoelace formula: what pixel centres can differ from that is the rim.
    for name, mask in masks.items():
        between_rows, between_columns = stack.geometry.spacing_mm[1:]
        area = mask.sum() * between_rows * between_columns
        assert area == pytest.approx(polygon_area(folder, regions[name].number), rel=0.005)


def polygon_area(folder: Path, number: int) -> float:
    """Area of all contours of a ROI in mm2, islands and holes by their nesting left out."""
    ds = dcmread(folder / "rtstruct/1-1.dcm")
    (roi,) = [r for r in ds.ROIContourSequence if r.ReferencedROINumber == number]
    total = 0.0
    for contour in roi.ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        middle = points - points[0]
        crossed = np.cross(middle, np.roll(middle, -1, axis=0))
        total += float(np.linalg.norm(crossed.sum(axis=0))) / 2
    return total


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_segments_of_other_makers_are_what_highdicom_reads(tmp_path: Path, name: str) -> None:
    path = shared_data(f"seg-sr-objects/{name}")
    seg = dcmread(path)
    regions = regions_of(path)
    assert regions

    volume = read_by_highdicom(path, regions)
    stack = image_of(seg, volume, tmp_path)
    masks = np.moveaxis(np.asarray(volume.array, float) >= 0.5, -1, 0)
    if _runs_down(volume):
        masks = masks[:, ::-1]
    for region, expected in zip(regions, masks, strict=True):
        if not expected.any():
            with pytest.raises(Refused) as caught:
                mask_on(region, stack)
            assert caught.value.code is RefusalCode.ROI_EMPTY
        else:
            np.testing.assert_array_equal(mask_on(region, stack)[: len(expected)], expected)


def _runs_down(volume: Any) -> bool:
    return float(np.linalg.det(np.array(volume.affine)[:3, [0, 2, 1]])) < 0


@pytest.mark.parametrize("name", ["23x38x3", "24x38x3"])
def test_segment_is_the_same_on_single_frames_and_on_their_multiframe(name: str) -> None:
    folder = shared_data(f"seg-sr-objects/dcmqi/{name}")
    (region,) = regions_of(folder / "seg/label.seg")

    (single,), (multi,) = stacks_in(folder / "image"), stacks_in(folder / "multiframe")

    np.testing.assert_array_equal(mask_on(region, single), mask_on(region, multi))


@pytest.mark.parametrize("name", ["liver_rle.dcm", "liver_deflate.dcm"])
def test_compressed_segments_equal_the_uncompressed_one(name: str) -> None:
    (stack,) = stacks_in(shared_data("seg-sr-objects/dcmqi/ct-3slice"))
    (plain,) = regions_of(shared_data("seg-sr-objects/dcmqi/liver.dcm"))
    (packed,) = regions_of(shared_data(f"awkward/seg-encodings/{name}"))

    got = mask_on(packed, stack, rules=RegionRules(other_study=True))

    assert got.sum() == 107098
    np.testing.assert_array_equal(got, mask_on(plain, stack))


def test_sparse_label_map_leaves_the_missing_plane_empty() -> None:
    (stack,) = stacks_in(shared_data("seg-sr-objects/dcmqi/24x38x3/image"))
    (region,) = regions_of(shared_data("seg-sr-objects/dcmqi/labelmap/sparse-labelmap-ppv5.dcm"))

    got = mask_on(region, stack)

    assert got.sum(axis=(1, 2)).tolist() == [315, 0, 315]


def test_fractional_volume_of_interest_lies_on_every_phase_of_the_breast() -> None:
    stacks = stacks_in(shared_data("breast-dce-ucsf-br-06/dce"))
    path = shared_data("breast-dce-ucsf-br-06/seg/1-1.dcm")
    (region,) = regions_of(path)
    assert len(stacks) == 3

    masks = [mask_on(region, stack) for stack in stacks]

    seg = dcmread(path)
    stored = seg.pixel_array
    assert masks[0].sum() == (stored >= 127.5).sum()
    positions = [
        float(groups.PlanePositionSequence[0].ImagePositionPatient[0])
        for groups in seg.PerFrameFunctionalGroupsSequence
    ]
    for frame, position in zip(stored, positions, strict=True):
        (index,) = (
            i
            for i, each in enumerate(stacks[0].frames)
            if each.image_position_patient is not None
            and abs(each.image_position_patient[0] - position) < 0.01
        )
        np.testing.assert_array_equal(masks[0][index], frame >= 127.5)
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_report_of_another_maker_leads_to_its_segment(tmp_path: Path) -> None:
    folder = shared_data("seg-sr-objects/dcmqi/sr-example")
    regions = [r for name in ("seg.dcm", "sr.dcm") for r in regions_of(folder / name)]
    segment, group = regions
    volume = read_by_highdicom(folder / "seg.dcm", [segment])
    stack = image_of(dcmread(folder / "seg.dcm"), volume, tmp_path)

    got = mask_on(group, stack, regions=regions)

    np.testing.assert_array_equal(got, mask_on(segment, stack))
    assert group.segment_of == (segment.sop_instance_uid, (1,))
    assert (group.source_kind, group.name) == ("SR", "primary tumor")


def test_circle_of_another_maker_is_filled_where_it_was_drawn(tmp_path: Path) -> None:
    """Its image with two neighbours, for a single plane is no stack."""
    plane = dcmread(shared_data("seg-sr-objects/highdicom/ct_image.dcm"))
    for index, offset in enumerate((-5.0, 0.0, 5.0)):
        ds = dcmread(shared_data("seg-sr-objects/highdicom/ct_image.dcm"))
        x, y, z = map(float, plane.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z + offset]
        if offset:
            ds.SOPInstanceUID = f"1.2.3.{index}"
        write_series(tmp_path / str(index), [ds])
    paths = sorted(tmp_path.glob("*/*.dcm"))
    for index, path in enumerate(paths):
        path.rename(tmp_path / f"{index}.dcm")
    (stack,) = stacks_in(tmp_path)
    name = "seg-sr-objects/highdicom/sr_document_with_multiple_groups.dcm"
    lung, aorta, vertebra = regions_of(shared_data(name))

    same_patient = RegionRules(other_study=True)
    got = mask_on(lung, stack, rules=same_patient)

    rows, columns = np.indices(stack.geometry.shape[1:]) + 0.5
    np.testing.assert_array_equal(got[1], (columns - 45) ** 2 + (rows - 55) ** 2 < 100)
    assert not got[[0, 2]].any()
    for region in (aorta, vertebra):
        refusal = refusal_of(region)
        assert refusal is not None
        assert refusal[0] is RefusalCode.ROI_NOT_AN_AREA


@pytest.mark.parametrize("name", ["seg_image_sm_dots.dcm", "seg_image_sm_control_labelmap.dcm"])
def test_segments_of_slides_are_listed_and_refused(name: str) -> None:
    for region in regions_of(shared_data(f"seg-sr-objects/highdicom/{name}")):
        refusal = refusal_of(region)
        assert refusal is not None
        assert refusal[0] is RefusalCode.ROI_UNREADABLE


def test_no_real_file_stops_the_listing() -> None:
    """Images, parametric maps, presentation states, broken files: () or an error of ours."""
    listed = 0
    for path in sorted(shared_data("seg-sr-objects").rglob("*")):
        if path.suffix in (".dcm", ".seg"):
            listed += len(regions_of(path))
    assert listed == 103
    assert regions_of(shared_data("awkward/seg-encodings/parametric_map_float.dcm")) == ()
