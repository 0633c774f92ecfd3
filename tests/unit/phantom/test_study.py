import time

import numpy as np
from pydicom import dcmread

from node.phantom.study import make_ct_study

NOW = 1_700_000_000.0


def test_truth_is_what_the_files_hold(tmp_path):
    study = make_ct_study(tmp_path, shape=(12, 96, 96), now=NOW)
    images = [dcmread(path) for path in study.paths]
    hu = np.stack([image.pixel_array.astype(np.int32) + image.RescaleIntercept for image in images])
    assert np.array_equal(hu >= 300, study.truth)
    assert 0 < study.truth.mean() < 0.1
    voxel_ml = np.prod([float(v) for v in (*images[0].PixelSpacing, 3.0)]) / 1000
    assert abs(study.volume_ml - study.truth.sum() * voxel_ml) < 1e-6
    assert [image.SOPInstanceUID for image in images] == list(study.sop_instance_uids)


def test_planes_lie_where_the_affine_says(tmp_path):
    study = make_ct_study(tmp_path, shape=(5, 32, 32), now=NOW)
    for index, path in enumerate(study.paths):
        expected = study.affine @ np.array([index, 0, 0, 1.0])
        assert np.allclose(dcmread(path).ImagePositionPatient, expected[:3], atol=1e-5)


def test_instance_numbers_run_against_the_normal(tmp_path):
    study = make_ct_study(tmp_path, shape=(3, 16, 16), now=NOW)
    assert [int(dcmread(path).InstanceNumber) for path in study.paths] == [3, 2, 1]


def test_bone_stands_well_above_the_threshold(tmp_path):
    study = make_ct_study(tmp_path, shape=(8, 256, 256), now=NOW)
    images = [dcmread(path) for path in study.paths]
    hu = np.stack([image.pixel_array.astype(np.int32) + image.RescaleIntercept for image in images])
    assert np.median(hu[study.truth]) > 500
    lung = (hu > -950) & (hu < -750)
    assert lung.mean() > 0.05


def test_one_seed_and_time_give_one_study(tmp_path):
    first = make_ct_study(tmp_path / "a", shape=(2, 16, 16), now=NOW, seed=7)
    again = make_ct_study(tmp_path / "b", shape=(2, 16, 16), now=NOW, seed=7)
    other = make_ct_study(tmp_path / "c", shape=(2, 16, 16), now=NOW, seed=8)
    assert [p.read_bytes() for p in first.paths] == [p.read_bytes() for p in again.paths]
    assert first.study_instance_uid != other.study_instance_uid


def test_the_default_date_is_today(tmp_path):
    study = make_ct_study(tmp_path, shape=(2, 16, 16))
    today = time.strftime("%Y%m%d", time.gmtime())
    assert abs(int(dcmread(study.paths[0]).StudyDate) - int(today)) <= 1 or today.endswith("01")
    assert str(dcmread(study.paths[0]).PatientName) == "Phantom^Demo"
