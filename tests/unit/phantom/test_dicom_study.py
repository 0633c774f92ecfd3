import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import dcmread

from node.dicom.geometry import check_stack
from node.dicom.region_grid import fill
from node.dicom.regions import mask_on, refusal_of, regions_of
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.phantom.dicom_study import write_subject
from node.phantom.outline import loops
from node.phantom.subject import Subject
from node.plugin import Case, Labels, Volume
from tests.unit.phantom.subjects import chest_subject, ring

NOW = 1_700_000_000.0


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_filling_outlines_gives_any_mask_back(mask):
    again = fill(loops(mask), mask.shape)
    assert np.array_equal(again, mask)


def test_a_hole_is_a_loop_of_its_own():
    assert [len(loops(plane)) for plane in ring()] == [0, 3, 2]


def test_what_is_written_reads_back_as_the_array(tmp_path):
    subject = chest_subject(1)
    study = write_subject(subject, tmp_path, now=NOW)
    (series,) = read_series(study.series["ct"].paths)
    frames, geometry = check_stack(series.frames)
    volume = subject.case.volumes["ct"]
    assert np.allclose(geometry.affine, volume.affine, atol=1e-4)
    stored = [dcmread(frame.path) for frame in frames]
    hu = np.stack([ds.pixel_array.astype(int) + int(ds.RescaleIntercept) for ds in stored])
    assert np.array_equal(hu, volume.array)
    assert study.series["ct"].sop_instance_uids == tuple(ds.SOPInstanceUID for ds in stored)
    assert stored[0].InstitutionName.startswith("Phantom") and stored[0].PatientID == "PH0001"
    assert stored[0].ConvolutionKernel == subject.headers["ct"]["ConvolutionKernel"]


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_the_truth_reads_back_voxel_for_voxel(tmp_path, kind):
    subject = chest_subject(2)
    study = write_subject(subject, tmp_path, now=NOW, truth=kind, labels={"tumor": "Tumor"})
    (series,) = read_series(study.series["ct"].paths)
    (stack,) = split_series(series)
    (path,) = study.truth_paths
    (region,) = regions_of(path)
    assert region.name == "Tumor" and refusal_of(region) is None
    assert np.array_equal(mask_on(region, stack), subject.labels.masks["tumor"])


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_holes_and_several_parts_survive(tmp_path, kind):
    mask = ring()
    volume = Volume(
        array=np.zeros(mask.shape, np.int16),
        affine=chest_subject(1).case.volumes["ct"].affine,
        unit="[hnsf'U]",
        modality="CT",
    )
    subject = Subject(
        patient="P1",
        institution="T001",
        case=Case(volumes={"ct": volume}),
        labels=Labels(masks={"tumor": mask, "nothing": np.zeros_like(mask)}),
    )
    study = write_subject(subject, tmp_path, now=NOW, truth=kind)
    (stack,) = split_series(read_series(study.series["ct"].paths)[0])
    (region,) = regions_of(study.truth_paths[0])
    assert np.array_equal(mask_on(region, stack), mask)


def test_nothing_to_outline_writes_no_truth(tmp_path):
    study = write_subject(chest_subject(1, tumour=False), tmp_path, now=NOW)
    assert study.truth_paths == ()


def test_the_same_subject_and_time_give_the_same_files(tmp_path):
    one = write_subject(chest_subject(4), tmp_path / "a", now=NOW)
    two = write_subject(chest_subject(4), tmp_path / "b", now=NOW)
    other = write_subject(chest_subject(5), tmp_path / "c", now=NOW)
    assert [p.read_bytes() for p in (*one.series["ct"].paths, *one.truth_paths)] == [
        p.read_bytes() for p in (*two.series["ct"].paths, *two.truth_paths)
    ]
    assert one.study_instance_uid != other.study_instance_uid


def test_unknown_words_and_masks_that_fit_nothing_are_refused(tmp_path):
    subject = chest_subject(1)
    with pytest.raises(ValueError, match="truth is seg"):
        write_subject(subject, tmp_path, truth="nifti")
    odd = Subject(
        patient="P1",
        institution="T001",
        case=subject.case,
        labels=Labels(masks={"tumor": np.ones((2, 2, 2), bool)}),
    )
    with pytest.raises(ValueError, match="fits no volume"):
        write_subject(odd, tmp_path)
