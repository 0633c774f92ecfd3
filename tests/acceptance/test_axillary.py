"""Paper 001 through the node: images by storescu, later a SEG of the nodes, the SR in Orthanc."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from node.inference.child import load_module
from node.phantom.dicom_study import write_subject
from tests.acceptance.test_contour_peers import items
from tests.acceptance.test_mediastinal import texts
from tests.peers import dciodvfy, orthanc, storescu
from tests.site import running_site

pytestmark = pytest.mark.peer

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "axillary_node_metastasis"
TISSUE, NODE = ("85756007", "SCT", "Tissue"), ("59441001", "SCT", "Lymph Node")
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
name = "nodes"
plugin = "axillary_node_metastasis"
when = {{ Modality = "CT" }}
destinations = ["archive"]
quiet_s = 2
max_age_days = 36500
"""
#: Far from the seeds of any training or evaluation.
SEED = 900_003


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A patient with two nodes: images, and a SEG of both."""
    cohort = load_module(PLUGIN, "cohort.py")
    plan = next(p for p in cohort.subjects("test", 20, seed=SEED) if len(p.lesions) == 2)
    subject = cohort.render(plan)
    masks = {roi.label: roi.mask for roi in subject.case.rois["axillary_node"]}
    drawn = replace(subject, labels=replace(subject.labels, masks=masks))
    folder = tmp_path_factory.mktemp("axilla")
    codes = dict.fromkeys(masks, (TISSUE, NODE))
    made = write_subject(drawn, folder / "study", truth="seg", codes=codes)
    (contour,) = made.truth_paths
    (folder / "contour").mkdir()
    shutil.copy(contour, folder / "contour")
    return folder / "study" / "ct", folder / "contour"


def numbers(report, code):
    """Values of one measurement of an SR."""
    return [
        float(one.MeasuredValueSequence[0].NumericValue)
        for one in items(report)
        if one.ValueType == "NUM" and one.ConceptNameCodeSequence[0].CodeValue == code
    ]


def test_a_segmentation_that_comes_later_is_judged_node_by_node(tmp_path, study):
    images, contour = study
    with (
        orthanc(tmp_path / "pacs") as pacs,
        running_site(
            tmp_path / "site", RULES.format(port=pacs.dicom_port), node="roi_quiet_s = 1"
        ) as site,
    ):
        pacs.upload(sorted(images.iterdir()))
        storescu(images, site.port, calling="PACS", called="SENTINEL")
        site.wait_for_jobs(1, "WAITING", timeout_s=180)
        pacs.upload(sorted(contour.iterdir()))
        storescu(contour, site.port, calling="PACS", called="SENTINEL")
        site.wait_for_jobs(1, timeout_s=180)
        site.wait_for_deliveries(4)  # SEG, SR, and two maps
        (sr,) = pacs.files_of("SR")

    (tmp_path / "sr.dcm").write_bytes(sr)
    report = dcmread(io.BytesIO(sr))
    p = numbers(report, "111047")
    assert len(p) == 2 and all(0 <= value <= 100 for value in p)
    assert numbers(report, "P-AXILLA") == [max(p)]
    said = " ".join(texts(report))
    assert "no clinical validity" in said and "Research use only" in said
    assert dciodvfy(tmp_path / "sr.dcm") == []
