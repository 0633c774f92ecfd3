from pathlib import Path

import numpy as np
import pytest

from node.dicom.age import patient_age_years
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.errors import RefusalCode, Refused
from node.inference.case import attributes_of, build_case, select_frames
from node.manifest import InputRole, Manifest
from node.model import Grade, JobInput
from tests.make import ct_series, enhanced_ct, gradient, made, write_series


def manifest(*attributes: str) -> Manifest:
    return Manifest(
        folder=Path(),
        name="p",
        version="1",
        title="P",
        intended_use="tests",
        source="none",
        grade=Grade.PHANTOM,
        inputs={"ct": InputRole(name="ct", modality=("CT",))},
        attributes=attributes,
    )


def chosen(stack) -> JobInput:
    return JobInput(
        role="ct",
        series_instance_uid=stack.series_instance_uid,
        sop_instance_uids=tuple(frame.sop_instance_uid for frame in stack.frames),
        frame_numbers=tuple(frame.frame_number for frame in stack.frames),
        stack=stack.label,
    )


def test_the_chosen_frames_come_back_as_the_stack_they_were(tmp_path):
    paths = write_series(tmp_path, ct_series((5, 4, 4))[::-1])
    (stack,) = split_series(read_series(paths)[0])
    assert select_frames(read_series(paths[::-1]), chosen(stack)) == stack


def test_the_chosen_frames_of_a_multiframe_image_come_back(tmp_path):
    paths = write_series(tmp_path, [enhanced_ct((5, 4, 4))])
    (stack,) = split_series(read_series(paths)[0])
    assert select_frames(read_series(paths), chosen(stack)).frames == stack.frames


def test_a_frame_that_is_gone_changes_the_input(tmp_path):
    paths = write_series(tmp_path, ct_series((5, 4, 4)))
    (stack,) = split_series(read_series(paths)[0])
    with pytest.raises(Refused) as caught:
        select_frames(read_series(paths[:-1]), chosen(stack))
    assert caught.value.code is RefusalCode.INPUT_CHANGED
    assert "1 of 5 chosen images of role ct" in caught.value.sentence


def test_positions_that_changed_change_the_input(tmp_path):
    planes = ct_series((5, 4, 4))
    (stack,) = split_series(read_series(write_series(tmp_path / "a", planes))[0])
    for index, ds in enumerate(planes):
        ds.ImagePositionPatient = [0, 0, -5 * index]
    with pytest.raises(Refused) as caught:
        select_frames(read_series(write_series(tmp_path / "b", planes)), chosen(stack))
    assert caught.value.code is RefusalCode.INPUT_CHANGED


def test_more_images_than_were_chosen_do_no_harm(tmp_path):
    paths = write_series(tmp_path, ct_series((6, 4, 4)))
    (stack,) = split_series(read_series(paths[:5])[0])
    assert len(select_frames(read_series(paths), chosen(stack)).frames) == 5


def test_a_case_has_volumes_by_role_and_only_the_attributes_asked_for(tmp_path):
    hu = gradient((3, 4, 4))
    paths = write_series(tmp_path, ct_series((3, 4, 4), values=hu, PatientAge="064Y"))
    (series,) = read_series(paths)
    (stack,) = split_series(series)
    case = build_case(
        manifest("PatientAge", "KVP", "StudyComments"),
        {"ct": stack},
        {"ct": series.headers},
        "cpu",
    )
    assert np.array_equal(case.volumes["ct"].array, hu)
    assert case.attributes == {"PatientAge": 64.0, "KVP": 120.0}
    assert case.device == "cpu"


@pytest.mark.parametrize(
    ("age", "years"), [("064Y", 64.0), ("006M", 0.5), ("010W", 0.19), ("010D", 0.03)]
)
def test_age_comes_in_years(age, years):
    assert patient_age_years(made(PatientAge=age)) == pytest.approx(years, abs=0.01)


def test_age_without_an_age_string_comes_from_birth_and_study_date():
    ds = made(PatientBirthDate="19600102", StudyDate="20240102")
    assert patient_age_years(ds) == pytest.approx(64, abs=0.01)


@pytest.mark.parametrize(
    "header",
    [
        made(),
        made(PatientAge=""),
        made(PatientBirthDate="19600102"),
        made(PatientBirthDate="20250101", StudyDate="20240101"),
    ],
)
def test_an_unknown_age_is_absent(header):
    assert patient_age_years(header) is None
    assert attributes_of(header, ("PatientAge",)) == {}


def test_sex_is_one_of_three_letters_or_absent():
    assert attributes_of(made(PatientSex="F"), ("PatientSex",)) == {"PatientSex": "F"}
    assert attributes_of(made(PatientSex="?"), ("PatientSex",)) == {}


def test_text_stays_text_and_numbers_become_floats():
    header = made(SliceThickness="2.5", PatientID="007", ImageType=["A", "B"], SamplesPerPixel=1)
    assert attributes_of(
        header, ("SliceThickness", "PatientID", "ImageType", "SamplesPerPixel")
    ) == {
        "SliceThickness": 2.5,
        "PatientID": "007",
        "ImageType": "A\\B",
        "SamplesPerPixel": 1.0,
    }
