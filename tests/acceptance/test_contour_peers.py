"""Images by storescu, later a contour by storescu into the same study, the report in Orthanc."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from tests.make import ct_series, write_series
from tests.peers import dciodvfy, orthanc, storescu, tid1500reader
from tests.regions_case import binary, blob, written
from tests.roi_plugin import write_roi_plugin
from tests.site import running_site

pytestmark = pytest.mark.peer

SHAPE = (8, 24, 20)
SPACING = (4.0, 0.9, 0.8)


def settings(pacs, plugins: Path) -> tuple[str, str]:
    rules = f"""
[[peers]]
name = "pacs"
ae_title = "PACS"
hosts = ["127.0.0.1"]

[[destinations]]
name = "archive"
kind = "dicom"
grade = "research"
profile = "standard"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {pacs.dicom_port}

[[rules]]
name = "contours"
plugin = "contour_volume"
when = {{ Modality = "CT" }}
destinations = ["archive"]
quiet_s = 6
max_age_days = 36500
"""
    return rules, f'plugin_dirs = ["{plugins}"]\nroi_quiet_s = 1'


def volume_mm3(report: Dataset) -> list[float]:
    found = [
        float(one.MeasuredValueSequence[0].NumericValue)
        for one in items(report)
        if one.ValueType == "NUM" and one.ConceptNameCodeSequence[0].CodeValue == "118565006"
    ]
    return found


def items(ds: Dataset) -> list[Dataset]:
    own = list(ds.get("ContentSequence", []))
    return own + [below for one in own for below in items(one)]


def test_s21_a_contour_by_storescu_starts_the_job_and_its_report_is_in_orthanc(tmp_path: Path):
    ct = ct_series(SHAPE, spacing=SPACING)
    mask = blob(SHAPE)
    drawn = binary(ct, mask)
    write_series(tmp_path / "ct", ct)
    contour = written(tmp_path / "contour" / "seg.dcm", drawn)
    plugins = write_roi_plugin(tmp_path / "plugins")
    with orthanc(tmp_path / "pacs") as pacs:
        rules, node = settings(pacs, plugins)
        with running_site(tmp_path / "site", rules, node=node) as site:
            pacs.upload(sorted((tmp_path / "ct").iterdir()))
            storescu(tmp_path / "ct", site.port, calling="PACS", called="SENTINEL")
            (waits,) = site.wait_for_jobs(1, "WAITING")
            pacs.upload([contour])
            storescu(contour.parent, site.port, calling="PACS", called="SENTINEL")
            (job,) = site.wait_for_jobs(1)
            site.wait_for_deliveries(2)
            explained = site.run("explain", job["study"]).stdout
            (sr,) = pacs.files_of("SR")

    assert "ROI_MISSING" in str(waits)
    assert job["job"] == waits["job"]
    assert "only contours came" in explained
    assert "region for tumor: segment 1 of the SEG" in explained
    report = dcmread(io.BytesIO(sr))
    expected = np.count_nonzero(mask) * np.prod(SPACING)
    assert volume_mm3(report) == pytest.approx([expected], abs=0.01)
    evidence = [
        image.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    ]
    assert drawn.SOPInstanceUID in evidence
    assert any(drawn.SOPInstanceUID in one.get("TextValue", "") for one in items(report))
    (tmp_path / "sr.dcm").write_bytes(sr)
    assert dciodvfy(tmp_path / "sr.dcm") == []
    assert len(tid1500reader(tmp_path / "sr.dcm", tmp_path / "sr.json")["Measurements"]) == 1
