"""Our SEG and SR as readers by other people see them: dcmqi, dicom3tools, DCMTK."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node.dicom.frames import SourceSeries, Stack
from node.plugin import Result
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from tests.integration.test_results_real_data import contours_on_grid, emri_with_places
from tests.make import enhanced_ct, shared_data
from tests.peers import beside_python, dciodvfy, dcmtk, run_tool
from tests.results_case import (
    odd_mask,
    on_grid,
    one_segment,
    pixels_of,
    read_nifti,
    real_series,
    request_of,
    stack_and_headers,
    synthetic_series,
)

pytestmark = pytest.mark.peer

PATIENTS = ("STS_002", "STS_003", "STS_008", "STS_024")
Mask = Callable[[Stack], NDArray[Any]]


def made(series: SourceSeries, mask: Mask, folder: Path, *, which: int = 0) -> EncodeRequest:
    """Write SEG and SR of a made-up result into `folder`, after the gate."""
    beside_python("dciodvfy")
    stack, _ = stack_and_headers(series, which=which)
    request = request_of(series, one_segment(mask(stack), stack), which=which)
    objects = encode(request)
    check_objects(objects, request)
    for item in objects:
        (folder / f"{item.role}.dcm").write_bytes(item.content)
    return request


def read_by_dcmqi(folder: Path, stack: Stack) -> NDArray[np.uint8]:
    """The SEG's only segment on the source grid, placed by its coordinates alone."""
    tool = beside_python("segimage2itkimage")
    run_tool([tool, "--inputDICOM", folder / "seg.dcm", "--outputDirectory", folder, "-t", "nii"])
    (image,) = folder.glob("*.nii.gz")
    return np.asarray(on_grid(stack, *read_nifti(image)))


def report_by_dcmqi(folder: Path) -> dict[str, Any]:
    out = folder / "sr.json"
    tool = beside_python("tid1500reader")
    run_tool([tool, "--inputDICOM", folder / "sr.dcm", "--outputMetadata", out])
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def volume_in(report: dict[str, Any]) -> float:
    (item,) = report["Measurements"][0]["measurementItems"]
    assert item["quantity"]["CodeValue"] == "118565006"
    return float(item["value"])


@pytest.mark.parametrize("modality", ["CT", "MR_T1"])
@pytest.mark.parametrize("patient", PATIENTS)
def test_dcmqi_reads_the_rtstructs_tumour_as_the_experts_mask(
    tmp_path: Path, patient: str, modality: str
) -> None:
    source = shared_data(f"sts-sarcoma/{patient}/{modality}")

    request = made(
        real_series(source / "image"),
        lambda stack: contours_on_grid(stack, source / "rtstruct/RS.dcm"),
        tmp_path,
    )

    stack = request.stacks["ct"]
    expert = on_grid(stack, *read_nifti(source / "mask.nii.gz"))
    assert np.array_equal(read_by_dcmqi(tmp_path, stack), expert)
    assert volume_in(report_by_dcmqi(tmp_path)) == pytest.approx(
        request.result.measurements[0].value, abs=0.0005
    )


def test_dcmqi_reads_a_sagittal_phase_as_it_was_made(tmp_path: Path) -> None:
    series = real_series(shared_data("breast-dce-ucsf-br-06/dce"))

    request = made(series, lambda s: odd_mask(s.geometry.shape), tmp_path, which=1)

    stack = request.stacks["ct"]
    assert np.array_equal(read_by_dcmqi(tmp_path, stack), odd_mask(stack.geometry.shape))


def test_dcmqi_reads_an_oblique_series_as_it_was_made(tmp_path: Path) -> None:
    series = real_series(shared_data("sts-raw-001-mr-t2fs/image"))

    request = made(series, lambda s: odd_mask(s.geometry.shape), tmp_path)

    stack = request.stacks["ct"]
    assert np.array_equal(read_by_dcmqi(tmp_path, stack), odd_mask(stack.geometry.shape))


def test_dcmqi_reads_all_above_300_hu_and_the_same_volume(tmp_path: Path) -> None:
    series = real_series(shared_data("crlm-ct-1004/ct"))

    request = made(series, lambda stack: pixels_of(stack) >= 300, tmp_path)

    stack, segment = request.stacks["ct"], request.result.segments[0]
    assert np.array_equal(read_by_dcmqi(tmp_path, stack), segment.mask)
    expected = np.count_nonzero(segment.mask) * 5.0 * 0.796875**2 / 1000
    assert volume_in(report_by_dcmqi(tmp_path)) == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize(
    "image", [lambda: enhanced_ct((6, 9, 10)), emri_with_places], ids=["CT", "real MR"]
)
def test_dcmqi_reads_the_seg_of_a_multiframe_source(
    tmp_path: Path, image: Callable[[], Any]
) -> None:
    request = made(synthetic_series([image()]), lambda s: odd_mask(s.geometry.shape), tmp_path)

    stack = request.stacks["ct"]
    assert np.array_equal(read_by_dcmqi(tmp_path, stack), odd_mask(stack.geometry.shape))


def test_s05_dciodvfy_finds_no_error_where_the_source_has_none(tmp_path: Path) -> None:
    series = real_series(shared_data("crlm-ct-1004/ct"))

    made(series, lambda stack: pixels_of(stack) >= 300, tmp_path)

    assert dciodvfy(tmp_path / "seg.dcm") == []
    assert dciodvfy(tmp_path / "sr.dcm") == []


def test_s07_dcmtk_and_dciodvfy_read_the_report_that_found_nothing(tmp_path: Path) -> None:
    series = real_series(shared_data("crlm-ct-1004/ct"))
    request = request_of(series, Result())
    (report,) = encode(request)
    check_objects([report], request)
    path = tmp_path / "sr.dcm"
    path.write_bytes(report.content)

    text = run_tool([dcmtk("dsrdump"), "+Pl", path])

    assert "no mass >= 0.5 mL detected by Ball Finder 1.2.0 in series 2, positions" in text
    assert dciodvfy(path) == []
