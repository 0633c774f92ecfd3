"""DCMTK sends a real CT, the node runs, Orthanc holds SEG and SR, dcmqi reads them."""

import json

import nibabel
import numpy as np
import pytest

from node.dicom.source import read_series
from tests.make import shared_data
from tests.peers import dciodvfy, orthanc, segimage2itkimage, storescu, tid1500reader
from tests.site import running_site

pytestmark = pytest.mark.peer


def rules(pacs, *, kind="dicom", more=""):
    place = (
        f'ae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {pacs.dicom_port}'
        if kind == "dicom"
        else f'url = "{pacs.url}"'
    )
    return f"""
[[peers]]
name = "pacs"
ae_title = "PACS"
hosts = ["127.0.0.1"]

[[destinations]]
name = "archive"
kind = "{kind}"
grade = "research"
profile = "standard"
{place}

[[rules]]
name = "display check"
plugin = "commissioning"
when = {{ Modality = "CT" }}
destinations = ["archive"]
quiet_s = 2
max_age_days = 36500
{more}
"""


def hu_of(paths):
    """The CT's values, read by pydicom alone, slices by z."""
    import pydicom

    planes = sorted((pydicom.dcmread(p) for p in paths), key=lambda d: d.ImagePositionPatient[2])
    return np.stack([d.pixel_array * d.RescaleSlope + d.RescaleIntercept for d in planes]), planes


@pytest.mark.parametrize("kind", ["dicom", "orthanc"])
def test_a_real_ct_by_storescu_becomes_a_seg_and_an_sr_that_dcmqi_reads(tmp_path, kind):
    folder = shared_data("crlm-ct-1004/ct")
    paths = sorted(folder.glob("*.dcm"))
    hu, planes = hu_of(paths)
    expected = hu >= 300
    spacing = [float(v) for v in planes[0].PixelSpacing]
    step = abs(planes[1].ImagePositionPatient[2] - planes[0].ImagePositionPatient[2])
    expected_ml = expected.sum() * spacing[0] * spacing[1] * step / 1000

    with (
        orthanc(tmp_path / "pacs") as pacs,
        running_site(tmp_path / "site", rules(pacs, kind=kind)) as site,
    ):
        pacs.upload(paths)
        storescu(folder, site.port, calling="PACS", called="SENTINEL")
        (job,) = site.wait_for_jobs(1)
        site.wait_for_deliveries(2)
        explained = site.run("explain", job["study"]).stdout
        seg, sr = pacs.files_of("SEG"), pacs.files_of("SR")

    assert (len(seg), len(sr)) == (1, 1)
    (tmp_path / "seg.dcm").write_bytes(seg[0])
    (tmp_path / "sr.dcm").write_bytes(sr[0])
    (image,) = segimage2itkimage(tmp_path / "seg.dcm", tmp_path / "nifti")
    assert np.array_equal(on_grid(image, planes, expected.shape), expected)
    document = tid1500reader(tmp_path / "sr.dcm", tmp_path / "sr.json")
    assert volume_ml(document) == pytest.approx(expected_ml, rel=1e-3)
    assert dciodvfy(tmp_path / "seg.dcm") == []
    assert dciodvfy(tmp_path / "sr.dcm") == []
    assert "display check" in explained and "commissioning" in explained


def on_grid(nifti, planes, shape):
    """A NIfTI of dcmqi (x, y, z; RAS affine) put on the CT's grid (slices, rows, columns)."""
    image = nibabel.load(nifti)
    data = np.asarray(image.dataobj)  # (columns, rows, slices) of the part that has voxels
    indices = np.argwhere(data > 0)
    ras = nibabel.affines.apply_affine(image.affine, indices)
    lps = ras * [-1, -1, 1]
    first = planes[0]
    step = planes[1].ImagePositionPatient[2] - first.ImagePositionPatient[2]
    origin = np.array(first.ImagePositionPatient, float)
    row_mm, column_mm = (float(v) for v in first.PixelSpacing)
    grid = np.rint((lps - origin) / [column_mm, row_mm, step]).astype(int)
    found = np.zeros(shape, bool)
    found[grid[:, 2], grid[:, 1], grid[:, 0]] = True
    return found


def volume_ml(document):
    items = [
        item
        for group in document["Measurements"]
        for item in group["measurementItems"]
        if item["quantity"]["CodeValue"] == "118565006"
    ]
    assert len(items) == 1, json.dumps(document)[:2000]
    unit = items[0]["units"]["CodeValue"]
    return float(items[0]["value"]) * {"cm3": 1.0, "mL": 1.0, "ml": 1.0, "mm3": 0.001}[unit]


def test_s14_an_archive_that_routes_everything_back_at_us_makes_one_job(tmp_path):
    """Orthanc forwards every series it gets to us, our own results included, for five minutes."""
    import os
    import time

    seconds = float(os.environ.get("SENTINEL_LOOP_S", "300"))
    folder = shared_data("crlm-ct-1004/ct")
    from tests.make import free_port

    port = free_port()
    with orthanc(tmp_path / "pacs", auto_route_to=("SENTINEL", port)) as pacs:
        more = rules(pacs).replace('ae_title = "PACS"', 'ae_title = "ORTHANC"')
        with running_site(tmp_path / "site", more, port=port) as site:
            begin = time.monotonic()
            pacs.upload(sorted(folder.glob("*.dcm")))
            site.wait_for_jobs(1)
            site.wait_for_deliveries(2)
            own = site.wait(
                lambda: [s for s in site.rows("studies") if s["instances"] >= 43],
                "our own results to come back",
            )
            while time.monotonic() - begin < seconds:
                time.sleep(1.0)
            jobs, deliveries = site.rows("jobs"), site.rows("deliveries")

    assert len(own) == 1
    assert [job["state"] for job in jobs] == ["COMPLETED"]
    assert len(deliveries) == 2


def test_sources_are_kept_as_they_were_received(tmp_path):
    folder = shared_data("crlm-ct-1004/ct")
    with orthanc(tmp_path / "pacs") as pacs, running_site(tmp_path / "site", rules(pacs)) as site:
        storescu(folder, site.port, calling="PACS", called="SENTINEL")
        site.wait_for_jobs(1)
        kept = read_series(sorted(site.data.glob("studies/*/*/*.dcm")))

    assert sum(len(series.frames) for series in kept) >= 41
