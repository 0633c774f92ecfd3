from dataclasses import replace

import pytest

from node.dicom.frames import Stack
from node.dicom.geometry import check_stack
from node.errors import RefusalCode, Refused
from node.inference.gate import check_values
from node.manifest import InputRole
from tests.make import mr_series
from tests.unit.reading import ct_frames, frames

HU = InputRole(name="ct", modality=("CT",))
RAW = InputRole(name="any", modality=("CT", "MR", "PT"), values="raw")


def stack(members, last=None) -> Stack:
    ordered, geometry = check_stack(members)
    if last:
        ordered = (*ordered[:-1], replace(ordered[-1], **last))
    return Stack(series_instance_uid="1.2", label="", frames=ordered, geometry=geometry)


def test_s20_a_plain_ct_is_hu():
    assert check_values(stack(ct_frames()), HU) == "[hnsf'U]"


def test_s20_a_role_of_raw_values_takes_mr_without_a_unit():
    assert check_values(stack(frames(mr_series((3, 4, 4)))), RAW) == "1"


def test_s20_pet_says_its_unit():
    pet = [replace(f, modality="PT", hints=(("Units", "BQML"),)) for f in ct_frames()]
    assert check_values(stack(pet), RAW) == "Bq/ml"


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ({"pixel_representation": 0}, RefusalCode.PIXEL_FORMAT_MIXED),
        ({"bits_allocated": 32}, RefusalCode.PIXEL_FORMAT_MIXED),
        ({"photometric_interpretation": "MONOCHROME1"}, RefusalCode.PIXEL_FORMAT_MIXED),
        ({"bits_stored": 17}, RefusalCode.PIXEL_FORMAT_UNSUITABLE),
        ({"high_bit": 14}, RefusalCode.PIXEL_FORMAT_UNSUITABLE),
        ({"has_modality_lut": True}, RefusalCode.MODALITY_LUT),
        ({"rescale_slope": None}, RefusalCode.RESCALE_MISSING),
        ({"rescale_slope": 0.0}, RefusalCode.RESCALE_MISSING),
        ({"rescale_slope": -1.0}, RefusalCode.VALUES_IMPLAUSIBLE),
        ({"rescale_slope": 1e30}, RefusalCode.VALUES_IMPLAUSIBLE),
        ({"rescale_slope": 1e-30}, RefusalCode.VALUES_IMPLAUSIBLE),
        ({"rescale_type": ""}, RefusalCode.PIXEL_FORMAT_MIXED),
        ({"rescale_type": "US"}, RefusalCode.VALUES_NOT_HU),
        ({"modality": "MR"}, RefusalCode.VALUES_NOT_HU),
        ({"lossy": True}, RefusalCode.LOSSY_COMPRESSED),
        ({"image_type": ("DERIVED", "PRIMARY", "MPR")}, RefusalCode.IMAGE_KIND_UNSUITABLE),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, RefusalCode.IMAGE_KIND_UNSUITABLE),
        ({"samples_per_pixel": 3}, RefusalCode.IMAGE_KIND_UNSUITABLE),
    ],
)
def test_s20_one_image_that_does_not_suit_refuses_the_stack(last, code):
    with pytest.raises(Refused) as caught:
        check_values(stack(ct_frames(), last), HU)
    assert caught.value.code is code


def test_s20_all_images_of_one_bit_are_refused():
    with pytest.raises(Refused) as caught:
        check_values(stack(ct_frames(BitsAllocated=1, BitsStored=1, HighBit=0)), HU)
    assert caught.value.code is RefusalCode.PIXEL_FORMAT_UNSUITABLE


def test_s20_ct_without_rescale_is_not_hu():
    with pytest.raises(Refused) as caught:
        check_values(stack(ct_frames(RescaleSlope=None, RescaleIntercept=None)), HU)
    assert caught.value.code is RefusalCode.RESCALE_MISSING


def test_s20_a_role_may_accept_a_lossy_history():
    lossy = stack(ct_frames(LossyImageCompression="01"))
    assert check_values(lossy, replace(HU, lossy=True)) == "[hnsf'U]"


def test_s20_slopes_may_differ_from_image_to_image():
    pet = stack(ct_frames(), {"rescale_slope": 0.5})
    assert check_values(pet, RAW) == "1"
