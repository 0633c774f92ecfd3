"""The peers that all other acceptance tests rest on do what those tests think they do."""

import numpy as np
import pytest
from pydicom import dcmread

from node.phantom.archive import DemoArchive
from node.phantom.study import make_ct_study
from tests.make import free_port, shared_data
from tests.peers import (
    beside_python,
    dciodvfy,
    dcmqrscp,
    orthanc,
    run_tool,
    segimage2itkimage,
    storescu,
    tid1500reader,
    wait_until,
)

pytestmark = pytest.mark.peer


def test_orthanc_stores_finds_and_routes_every_series_on(tmp_path):
    study = make_ct_study(tmp_path / "ct", shape=(4, 64, 64))
    with (
        DemoArchive(tmp_path / "archive", free_port(), "NODE") as node,
        orthanc(tmp_path / "orthanc", auto_route_to=("NODE", node.port)) as pacs,
    ):
        storescu(tmp_path / "ct", pacs.dicom_port, calling="SCANNER", called="ORTHANC")
        assert len(pacs.instances()) == 4
        assert len(pacs.lookup(study.sop_instance_uids[0])) == 1
        wait_until(lambda: len(node.received) == 4, timeout_s=20, what="four routed images")
    assert set(node.hashes()) == set(study.sop_instance_uids)


def test_orthanc_keeps_what_it_had_over_a_restart(tmp_path):
    study = make_ct_study(tmp_path / "ct", shape=(2, 64, 64))
    with orthanc(tmp_path / "orthanc") as pacs:
        pacs.upload(study.paths)
        pacs.stop()
        pacs.start()
        assert len(pacs.files_of("CT")) == 2


def test_dcmqrscp_takes_what_storescu_sends(tmp_path):
    make_ct_study(tmp_path / "ct", shape=(2, 64, 64))
    with dcmqrscp(tmp_path / "pacs") as port:
        storescu(tmp_path / "ct", port, calling="SCANNER", called="DCMTK")
        kept = [p for p in (tmp_path / "pacs" / "data").iterdir() if p.name != "index.dat"]
    assert len(kept) == 2


def test_dcmqi_reads_a_segmentation(tmp_path):
    seg = shared_data("seg-sr-objects/dcmqi/liver.dcm")
    paths = segimage2itkimage(seg, tmp_path / "nifti")
    nibabel = pytest.importorskip("nibabel")
    mask = np.asanyarray(nibabel.load(paths[0]).dataobj)
    assert mask.sum() == dcmread(seg).pixel_array.sum()


def test_dcmqi_reads_a_report(tmp_path):
    folder = shared_data("seg-sr-objects/dcmqi/sr-example")
    reports = [p for p in folder.rglob("*.dcm") if dcmread(p).Modality == "SR"]
    assert tid1500reader(reports[0], tmp_path / "sr.json")["Measurements"]


def test_the_validator_finds_no_fault_in_the_phantom_and_finds_one_we_make(tmp_path):
    study = make_ct_study(tmp_path, shape=(2, 64, 64))
    assert [dciodvfy(path) for path in study.paths] == [[], []]
    image = dcmread(study.paths[0])
    del image.Rows
    image.save_as(tmp_path / "broken.dcm")
    assert any("Rows" in line for line in dciodvfy(tmp_path / "broken.dcm"))
    assert "dicom" in run_tool([beside_python("python"), "-c", "print('dicom')"])
