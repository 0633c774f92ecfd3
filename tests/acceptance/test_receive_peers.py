"""Receiving from DCMTK: what its tools can send arrives, durable and as it was."""

import io
import json
import logging
import subprocess

import pydicom
import pytest

from node import logs
from node.storage.intake_rows import instances_of_study, list_quarantine, list_studies
from tests.integration.receiving import receiving
from tests.integration.test_receiver import REAL, is_dicom
from tests.make import shared_data
from tests.peers import ENVIRONMENT, dcmtk

#: How many objects of each folder DCMTK can send at least; it refuses to read the others.
FROM_DCMTK = {"awkward": 60, "seg-sr-objects": 20, "totalseg-example": 0}

pytestmark = pytest.mark.peer


def call(*command):
    return subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def stored(node):
    return [
        instance
        for study in list_studies(node.db, limit=1000)
        for instance in instances_of_study(node.db, study.study_instance_uid)
    ]


def test_echoscu(tmp_path):
    with receiving(tmp_path) as node:
        assert call(dcmtk("echoscu"), "127.0.0.1", node.port).returncode == 0


def test_storescu_sends_a_whole_ct(tmp_path):
    folder = shared_data("crlm-ct-1004/ct")
    with receiving(tmp_path) as node:
        sent = call(dcmtk("storescu"), "-aec", "SENTINEL", "127.0.0.1", node.port, "+sd", folder)
        assert sent.returncode == 0, sent.stderr
        instances = stored(node)
        sources = {
            str(ds.SOPInstanceUID): ds.PixelData
            for ds in (pydicom.dcmread(path) for path in folder.iterdir())
        }
        assert len(instances) == len(sources)
        for instance in instances:
            kept = pydicom.dcmread(node.files.absolute(instance.path))
            assert kept.PixelData == sources[instance.sop_instance_uid]


@pytest.mark.parametrize("folder", REAL)
def test_s11_dcmsend_of_every_real_object_and_the_node_goes_on(tmp_path, folder):
    """What DCMTK refuses to read goes as raw bytes in tests/integration/test_receiver.py."""
    paths = [p for p in shared_data(folder).rglob("*") if p.is_file() and is_dicom(p)]
    acknowledged = 0
    with receiving(tmp_path) as node:
        for path in paths:
            command = (dcmtk("dcmsend"), "-v", "-aec", "SENTINEL", "--decompress-never")
            sent = call(*command, "127.0.0.1", node.port, path)
            acknowledged += "with status SUCCESS  : 1" in sent.stdout + sent.stderr
        held = {row.sha256 for row in list_quarantine(node.db, limit=1000)}
        kept = {instance.content_sha256 for instance in stored(node)}
        # Files that are copies of one another are acknowledged each and kept once.
        assert len(held | kept) <= acknowledged
        assert acknowledged >= FROM_DCMTK[folder]
        assert len(held | kept) >= FROM_DCMTK[folder] // 2
        assert call(dcmtk("echoscu"), "127.0.0.1", node.port).returncode == 0


def test_s28_the_receivers_log_at_debug_names_no_patient_and_no_uid(tmp_path):
    folder = shared_data("crlm-ct-1004/ct")
    text = io.StringIO()
    before = logging.getLogger().handlers[:], logging.getLogger().level
    logs.configure("DEBUG", stream=text)
    try:
        with receiving(tmp_path) as node:
            call(dcmtk("storescu"), "-aec", "SENTINEL", "127.0.0.1", node.port, "+sd", folder)
            call(dcmtk("storescu"), "-aec", "SENTINEL", "127.0.0.1", node.port, "+sd", folder)
            (study,) = list_studies(node.db)
    finally:
        logs.configure("INFO", stream=io.StringIO())
        logging.captureWarnings(False)
        logging.getLogger().handlers[:], logging.getLogger().level = before
    ds = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    lines = text.getvalue().splitlines()
    assert len([line for line in lines if json.loads(line)["event"] == "instance received"]) == 82
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID"):
        assert str(ds[keyword].value) not in text.getvalue(), keyword
    assert study.study_instance_uid not in text.getvalue()
    assert str(node.files.data_dir) not in text.getvalue()
