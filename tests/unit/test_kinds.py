from dataclasses import replace

import pytest

from node.dicom.kinds import is_original, never_suitable, not_hounsfield, unsuitable_kind
from node.errors import RefusalCode
from tests.unit.reading import ct_frames

CT = ct_frames((1, 4, 4))[0]


def typed(*words: str):
    return replace(CT, image_type=words)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (typed("ORIGINAL", "PRIMARY", "LOCALIZER"), "localizer"),
        (typed("DERIVED", "SECONDARY", "REF_SURVIEW"), "localizer"),
        (replace(CT, sop_class_uid="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
        (replace(CT, sop_class_uid="1.2.840.10008.5.1.4.1.1.7.4"), "secondary capture"),
        (typed("DERIVED", "SECONDARY", "SCREEN SAVE"), "screen capture"),
        (typed("DERIVED", "SECONDARY", "PROJECTION IMAGE"), "projection"),
        (typed("DERIVED", "PRIMARY", "MIP"), "MIP"),
        (typed("DERIVED", "PRIMARY", "AXIAL", "MIN_IP"), "MIN_IP"),
        (replace(CT, hints=(("VolumeBasedCalculationTechnique", "MAX_IP"),)), "MAX_IP"),
        (typed("DERIVED", "PRIMARY", "SUBTRACTION"), "subtraction"),
        (typed("DERIVED", "PRIMARY", "M", "ND", "SUB"), "subtraction"),
        (typed("DERIVED", "PRIMARY", "DIFFUSION", "ADC"), "parametric map"),
        (typed("DERIVED", "PRIMARY", "PERFUSION", "RCBF"), "parametric map"),
        (replace(CT, sop_class_uid="1.2.840.10008.5.1.4.1.1.30"), "parametric map"),
        (replace(CT, sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4"), "segmentation"),
        (replace(CT, samples_per_pixel=3, photometric_interpretation="RGB"), "colour"),
        (replace(CT, photometric_interpretation="PALETTE COLOR"), "colour"),
        (replace(CT, photometric_interpretation=""), "colour"),
    ],
)
def test_s17_these_kinds_are_never_computed_on(frame, said):
    everything = ("MIP", "SUB", "ADC", "PROJECTION IMAGE", "DERIVED", "SECONDARY", "LOCALIZER")
    objection = unsuitable_kind(frame, allow=everything)
    assert objection is not None
    code, sentence = objection
    assert code is RefusalCode.IMAGE_KIND_UNSUITABLE
    assert said in sentence


def test_s17_derived_images_need_a_word_the_manifest_allows():
    reformatted = typed("DERIVED", "PRIMARY", "MPR")
    assert never_suitable(reformatted) is None
    objection = unsuitable_kind(reformatted)
    assert objection is not None and "DERIVED\\PRIMARY\\MPR" in objection[1]
    assert unsuitable_kind(reformatted, allow=("RECON",)) is not None
    assert unsuitable_kind(reformatted, allow=("RECON", "mpr")) is None


def test_s17_original_images_need_no_permission():
    assert unsuitable_kind(CT) is None
    assert unsuitable_kind(replace(CT, photometric_interpretation="MONOCHROME1")) is None
    assert is_original(CT) and not is_original(typed("DERIVED", "PRIMARY"))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (replace(CT, modality="MR"), "modality is MR"),
        (replace(CT, modality=""), "modality is absent"),
        (typed("ORIGINAL", "PRIMARY", "LOCALIZER"), "localizer"),
        (replace(CT, rescale_type="US"), "Rescale Type is US"),
        (replace(CT, rescale_type="HU_MOD"), "HU_MOD"),
        (replace(CT, rescale_type="MG/ML"), "MG/ML"),
        (typed("DERIVED", "SECONDARY", "IODINE"), "IODINE"),
        (typed("DERIVED", "PRIMARY", "AXIAL", "EFF_Z"), "EFF_Z"),
        (typed("DERIVED", "PRIMARY", "VOLUME", "VNC"), "VNC"),
        (typed("ORIGINAL", "PRIMARY", "AXIAL", "CBCT"), "cone beam"),
        (replace(CT, hints=(("SeriesDescription", "THORAX CBCT 4D"),)), "cone beam"),
        (replace(CT, hints=(("ScanOptions", "CONE BEAM"),)), "cone beam"),
        (replace(CT, hints=(("ManufacturerModelName", "XVI"),)), "cone beam"),
    ],
)
def test_s20_these_values_are_not_hu(frame, said):
    objection = not_hounsfield(frame)
    assert objection is not None
    assert objection[0] is RefusalCode.VALUES_NOT_HU
    assert said in objection[1]


@pytest.mark.parametrize("rescale_type", ["", "HU"])
def test_s20_ct_with_rescale_type_absent_or_hu_is_hu(rescale_type):
    assert not_hounsfield(replace(CT, rescale_type=rescale_type)) is None


def test_s28_no_sentence_repeats_a_series_description():
    objection = not_hounsfield(replace(CT, hints=(("SeriesDescription", "CBCT DOE JANE"),)))
    assert objection is not None and "DOE" not in objection[1]
