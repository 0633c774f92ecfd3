"""The first trained model through the whole node: phantoms by storescu, SEG and SR in Orthanc."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.phantom.dicom_study import write_subject
from tests.acceptance.test_main_path import on_grid
from tests.peers import dciodvfy, orthanc, segimage2itkimage, storescu
from tests.site import running_site

pytestmark = pytest.mark.peer

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "anterior_mediastinal_tumor"
RULES = """
[[peers]]
name = "pacs"
ae_title = "PACS"
hosts = ["127.0.0.1"]

[[destinations]]
name = "archive"
kind = "dicom"
profile = "standard"
grade = "research"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {port}

[[rules]]
name = "chest"
plugin = "anterior_mediastinal_tumor"
when = {{ Modality = "CT" }}
destinations = ["archive"]
quiet_s = 2
max_age_days = 36500
"""
#: Far from the seeds of any training or evaluation.
SEED = 900_001


@pytest.fixture(scope="module")
def cohort():
    """The plugin's own phantoms, loaded by path as the node loads them."""
    sys.path.insert(0, str(PLUGIN))
    try:
        spec = importlib.util.spec_from_file_location("mediastinal_cohort", PLUGIN / "cohort.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(PLUGIN))


def drawn(cohort, *, tumor):
    """The first test subject with, or without, a tumour of at least 10 mL."""
    for plan in cohort.subjects("test", 40, seed=SEED):
        subject = cohort.render(plan)
        volume = subject.case.volumes["ct"]
        size_ml = subject.labels.masks["mass"].sum() * volume.voxel_volume_mm3 / 1000
        if (size_ml > 10) == tumor and (size_ml == 0) != tumor:
            return subject
    raise AssertionError("no such subject among 40")


def texts(dataset):
    """All text values of an SR, in order."""
    found = [dataset.TextValue] if "TextValue" in dataset else []
    for item in dataset.get("ContentSequence", ()):
        found += texts(item)
    return found


def sent_through(tmp_path, subject, *, objects):
    """Send a subject by storescu; return (study, SEG files, SR files) that Orthanc holds."""
    study = write_subject(subject, tmp_path / "study", truth="none")
    with (
        orthanc(tmp_path / "pacs") as pacs,
        running_site(tmp_path / "site", RULES.format(port=pacs.dicom_port)) as site,
    ):
        pacs.upload(study.series["ct"].paths)
        storescu(tmp_path / "study" / "ct", site.port, calling="PACS", called="SENTINEL")
        site.wait_for_jobs(1, timeout_s=180)
        site.wait_for_deliveries(objects)
        return study, pacs.files_of("SEG"), pacs.files_of("SR")


def test_a_phantom_mass_sent_by_storescu_is_outlined_as_dcmqi_reads_it(tmp_path, cohort):
    subject = drawn(cohort, tumor=True)
    study, seg, sr = sent_through(tmp_path, subject, objects=2)
    assert (len(seg), len(sr)) == (1, 1)
    (tmp_path / "seg.dcm").write_bytes(seg[0])
    (tmp_path / "sr.dcm").write_bytes(sr[0])
    planes = [dcmread(path, stop_before_pixels=True) for path in study.series["ct"].paths]
    truth = subject.labels.masks["mass"]
    found = np.zeros_like(truth)
    for image in segimage2itkimage(tmp_path / "seg.dcm", tmp_path / "nifti"):
        found |= on_grid(image, planes, truth.shape)
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice >= 0.80, f"Dice {dice:.3f} for {subject.facts}"
    assert dciodvfy(tmp_path / "seg.dcm") == dciodvfy(tmp_path / "sr.dcm") == []
    said = " ".join(texts(dcmread(tmp_path / "sr.dcm")))
    assert "synthetic phantoms (seed 0), no clinical validity" in said
    assert "Research use only" in said


def test_s07_a_phantom_without_a_mass_gets_a_report_that_says_so(tmp_path, cohort):
    subject = drawn(cohort, tumor=False)
    _, seg, sr = sent_through(tmp_path, subject, objects=1)
    assert (len(seg), len(sr)) == (0, 1)
    (tmp_path / "sr.dcm").write_bytes(sr[0])
    said = " ".join(texts(dcmread(tmp_path / "sr.dcm")))
    assert "no anterior mediastinal mass >= 0.5 mL detected" in said
    assert "does not exclude" in said
    assert dciodvfy(tmp_path / "sr.dcm") == []
