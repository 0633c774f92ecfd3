"""What the phantom writes against dicom3tools' validator."""

import pytest

from node.phantom.dicom_study import write_subject
from tests.peers import dciodvfy
from tests.unit.phantom.subjects import chest_subject
from tests.unit.phantom.test_bodies import head_subject

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("truth", ["seg", "rtstruct"])
@pytest.mark.parametrize("made", [chest_subject, head_subject])
def test_images_and_truth_conform(tmp_path, truth, made):
    study = write_subject(made(), tmp_path, truth=truth, now=1.7e9)
    first = [written.paths[0] for written in study.series.values()]
    for path in (*first, *study.truth_paths):
        assert dciodvfy(path) == []
