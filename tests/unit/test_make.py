import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from tests.make import (
    SAGITTAL,
    ct_series,
    enhanced_ct,
    enhanced_mr,
    gradient,
    mr_series,
    part10,
    rtstruct,
    with_identity_of,
    write_series,
)


def test_instances_of_a_series_share_nothing_but_the_series():
    series = ct_series((4, 8, 8), per_instance={2: {"SliceThickness": None}}, PatientID="X")
    assert len({ds.SOPInstanceUID for ds in series}) == 4
    assert len({ds.SeriesInstanceUID for ds in series}) == 1
    assert [float(ds.ImagePositionPatient[2]) for ds in series] == [-30, -25, -20, -15]
    assert ["SliceThickness" in ds for ds in series] == [True, True, False, True]
    assert {ds.PatientID for ds in series} == {"X"}


@pytest.mark.parametrize("syntax", ["", ImplicitVRLittleEndian, RLELossless])
def test_values_survive_the_file(tmp_path, syntax):
    series = ct_series((2, 8, 10))
    paths = write_series(tmp_path, series, transfer_syntax_uid=syntax)
    hu = np.stack([dcmread(p).pixel_array.astype(int) - 1024 for p in paths])
    assert np.array_equal(hu, gradient((2, 8, 10)))
    assert [dcmread(p).SOPInstanceUID for p in paths] == [d.SOPInstanceUID for d in series]


def test_sagittal_planes_follow_their_normal():
    series = mr_series((3, 8, 8), orientation=SAGITTAL, spacing=(2.0, 1.0, 1.0))
    assert [float(ds.ImagePositionPatient[0]) for ds in series] == [-10, -12, -14]


@pytest.mark.parametrize("make", [enhanced_ct, enhanced_mr])
def test_enhanced_images_carry_groups_per_frame(make):
    image = make((3, 8, 8), per_frame={1: {"StackID": "2", "RescaleSlope": 2}})
    read = dcmread(io.BytesIO(part10(image)))
    groups = read.PerFrameFunctionalGroupsSequence
    assert read.pixel_array.shape == (3, 8, 8)
    assert [g.FrameContentSequence[0].StackID for g in groups] == ["1", "2", "1"]
    assert [g.PixelValueTransformationSequence[0].RescaleSlope for g in groups] == [1, 2, 1]


def test_contours_refer_to_their_images():
    images = ct_series((2, 8, 8))
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.0]])
    ds = dcmread(io.BytesIO(part10(rtstruct(images, {"GTV": [(1, square)]}))))
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    reference = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
    assert reference == images[1].SOPInstanceUID
    assert contour.NumberOfContourPoints == 3


def test_series_can_be_put_into_one_study():
    ct, mr = ct_series((1, 8, 8)), mr_series((1, 8, 8))
    with_identity_of(ct[0], mr)
    assert mr[0].StudyInstanceUID == ct[0].StudyInstanceUID
    assert mr[0].FrameOfReferenceUID == ct[0].FrameOfReferenceUID
