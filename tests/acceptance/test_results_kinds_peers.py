"""Every kind of object as readers by other people see it, on real sources and 14 geometries."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node.dicom.frames import SourceSeries, Stack
from node.errors import Refused
from node.plugin import Result, Segment
from node.profiles import PROFILES, STANDARD, ViewerProfile
from node.results import dciodvfy
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from node.results.seg import LABELMAP_STORAGE
from tests.integration.test_results_real_data import emri_with_places
from tests.make import enhanced_ct, shared_data
from tests.peers import beside_python, run_tool
from tests.results_case import (
    full_request,
    on_grid,
    read_nifti,
    real_series,
    request_of,
    source_header,
    stack_and_headers,
    synthetic_series,
)

pytestmark = pytest.mark.peer

EVERYTHING = {"secondary_capture": True, "key_objects": True, "parametric_map": True}
BITS = ViewerProfile(name="bits", **EVERYTHING)
LABELS = ViewerProfile(name="labels", seg="labelmap", sr="outline", **EVERYTHING)
FRACTIONS = ViewerProfile(name="fractions", seg="fractional", sr="text", **EVERYTHING)
KINDS = (BITS, LABELS, FRACTIONS)
#: A label map under the report of every ready profile that has one, by wish and for want of room.
LABELLED = tuple(
    changed
    for profile in PROFILES.values()
    if profile.seg != "none"
    for changed in (
        replace(profile, name=f"{profile.name} labels", seg="labelmap"),
        replace(profile, name=f"{profile.name} beyond", labelmap_beyond=True, max_seg_frames=50),
    )
)


# --- real sources ------------------------------------------------------------------------------

SOURCES: dict[str, Callable[[], tuple[SourceSeries, int]]] = {
    "CT axial": lambda: (real_series(shared_data("crlm-ct-1004/ct")), 0),
    "MR sagittal phase": lambda: (real_series(shared_data("breast-dce-ucsf-br-06/dce")), 1),
    "MR oblique": lambda: (real_series(shared_data("sts-raw-001-mr-t2fs/image")), 0),
    **{
        f"{patient} {kind}": lambda patient=patient, kind=kind: (  # type: ignore[misc]
            real_series(shared_data(f"sts-sarcoma/{patient}/{kind}/image")),
            0,
        )
        for patient in ("STS_002", "STS_003", "STS_008", "STS_024")
        for kind in ("CT", "MR_T1")
    },
    "CT multi-frame": lambda: (synthetic_series([enhanced_ct((6, 9, 10))]), 0),
    "MR multi-frame": lambda: (synthetic_series([emri_with_places()]), 0),
}


def of_source(name: str, profile: ViewerProfile) -> EncodeRequest:
    try:
        series, which = SOURCES[name]()
        return full_request(series, profile, which=which)
    except Refused as refused:
        pytest.skip(f"{name}: {refused}")


@pytest.mark.parametrize("profile", KINDS, ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", SOURCES)
def test_s05_no_kind_has_a_finding_of_its_own_on_a_real_source(
    name: str, profile: ViewerProfile
) -> None:
    beside_python("dciodvfy")
    request = of_source(name, profile)

    checks = check_objects(encode(request), request)

    assert all(facts["dciodvfy"]["ran"] for facts in checks.values())  # type: ignore[index]


@pytest.mark.parametrize("profile", LABELLED, ids=lambda profile: profile.name)
def test_s05_a_label_map_and_its_report_have_no_finding_of_their_own(
    profile: ViewerProfile,
) -> None:
    beside_python("dciodvfy")
    request = of_source("CT axial", profile)

    objects = encode(request)
    checks = check_objects(objects, request)

    assert LABELMAP_STORAGE in {one.sop_class_uid for one in objects}
    assert all(facts["dciodvfy"]["ran"] for facts in checks.values())  # type: ignore[index]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_s07_found_nothing_has_no_finding_of_its_own_in_any_profile(
    profile: ViewerProfile,
) -> None:
    request = replace(of_source("CT axial", profile), result=Result())

    checks = check_objects(encode(request), request)

    assert list(checks) == ["sr"] and checks["sr"]["dciodvfy"]["ran"]  # type: ignore[index]


def test_the_validator_sees_what_is_wrong() -> None:
    """The test of the test: a map without its presentation is an error to dciodvfy."""
    program = dciodvfy.validator()
    assert program is not None
    items = {item.role: item for item in encode(of_source("CT axial", BITS))}
    ds = dcmread(io.BytesIO(items["pm"].content))
    del ds.PresentationLUTShape
    stream = io.BytesIO()
    ds.save_as(stream)

    said = dciodvfy.run(program, stream.getvalue())

    assert said is not None and any(message.level == "Error" for message in said)


# --- readers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", KINDS, ids=lambda profile: profile.name)
def test_dcmqi_reads_the_measurements_of_every_shape_of_report(
    tmp_path: Path, profile: ViewerProfile
) -> None:
    request = of_source("CT axial", profile)
    items = {item.role: item for item in encode(request)}
    path = tmp_path / "sr.dcm"
    path.write_bytes(items["sr"].content)

    out = run_tool(
        [
            beside_python("tid1500reader"),
            "--inputDICOM",
            path,
            "--outputMetadata",
            path.with_suffix(".json"),
        ]
    )

    said = path.with_suffix(".json").read_text() if path.with_suffix(".json").exists() else out
    if profile is BITS:  # TID 1411 with a segment is what this reader knows
        assert '"81.' in said and "Probability of cancer" in said


def test_highdicom_reads_the_reports_groups() -> None:
    for profile in KINDS:
        items = {item.role: item for item in encode(of_source("CT axial", profile))}
        report = hd.sr.srread(io.BytesIO(items["sr"].content))
        content = report.content
        groups = (
            content.get_image_measurement_groups()
            if profile is FRACTIONS
            else content.get_volumetric_roi_measurement_groups()
        )
        values = [m.value for group in groups for m in group.get_measurements()]
        assert 81.2 in values and 1.5 in values


def test_highdicom_reads_the_map_where_and_as_it_was_made() -> None:
    request = of_source("CT axial", BITS)
    items = {item.role: item for item in encode(request)}

    image = hd.imread(io.BytesIO(items["pm"].content))
    volume = image.get_volume(apply_real_world_transform=False)

    placed = on_floats(request.stacks["ct"], np.asarray(volume.array), np.asarray(volume.affine))
    assert np.array_equal(placed, request.result.maps[0].array)


def on_floats(stack: Stack, values: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Values on the grid of a stack, put there by their coordinates alone."""
    indices = np.indices(values.shape).reshape(3, -1)
    points = affine @ np.vstack([indices, np.ones(indices.shape[1])])
    exact = (np.linalg.inv(np.array(stack.geometry.affine)) @ points)[:3]
    whole = np.rint(exact).astype(int)
    assert np.abs(exact - whole).max() < 0.01
    placed = np.zeros(stack.geometry.shape, values.dtype)
    placed[tuple(whole)] = values.reshape(-1)
    return placed


# --- geometries --------------------------------------------------------------------------------


def planes(
    *,
    directions: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    spacing: tuple[float, float] = (0.8, 0.8),
    step: float = 3.0,
    origin: tuple[float, ...] = (-20.0, -30.0, 10.0),
    count: int = 5,
) -> list[Dataset]:
    """Headers of parallel planes of 6 x 7 voxels; a negative step runs against the normal."""
    row, column = np.array(directions[:3]), np.array(directions[3:])
    normal = np.cross(row, column)
    return [
        source_header(
            index,
            ImageOrientationPatient=[float(f"{v:.12g}") for v in directions],
            ImagePositionPatient=[f"{v:.10g}" for v in np.array(origin) + index * step * normal],
            PixelSpacing=list(spacing),
            SliceThickness=abs(step),
        )
        for index in range(count)
    ]


def turned(about_x: float, about_z: float) -> tuple[float, ...]:
    a, b = np.radians(about_x), np.radians(about_z)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = z @ x
    return (*matrix[:, 0], *matrix[:, 1])


GEOMETRIES: dict[str, Callable[[], list[Dataset]]] = {
    "axial": planes,
    "sagittal": lambda: planes(directions=(0, 1, 0, 0, 0, -1)),
    "coronal": lambda: planes(directions=(1, 0, 0, 0, 0, -1)),
    "oblique": lambda: planes(directions=turned(25, 15)),
    "feet first": lambda: planes(directions=(-1, 0, 0, 0, 1, 0)),
    "unequal spacing": lambda: planes(spacing=(0.5, 1.3)),
    "0.6 mm": lambda: planes(step=0.6, spacing=(0.6, 0.6)),
    "5 mm": lambda: planes(step=5.0),
    "two slices": lambda: planes(count=2),
    "reversed order": lambda: planes()[::-1],
    "negative direction": lambda: planes(directions=(1, 0, 0, 0, -1, 0), step=-3.0),
    "far from the origin": lambda: planes(origin=(512.5, -801.25, -1402.75)),
    "multi-frame CT": lambda: [enhanced_ct((5, 6, 7))],
    "multi-frame MR": lambda: [emri_with_places()],
}


def a_mask(shape: tuple[int, int, int]) -> st.SearchStrategy[NDArray[np.bool_]]:
    """Any mask with a voxel."""
    return arrays(np.bool_, shape).filter(lambda mask: bool(mask.any()))


@pytest.mark.parametrize("name", GEOMETRIES)
@given(data=st.data(), kind=st.sampled_from(["binary", "labelmap", "fractional"]))
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_dcmqi_and_highdicom_read_the_mask_where_it_was(
    name: str, data: st.DataObject, kind: str
) -> None:
    series = synthetic_series(GEOMETRIES[name]())
    stack, _ = stack_and_headers(series)
    slices, rows, columns = stack.geometry.shape
    small = data.draw(a_mask((slices, min(rows, 7), min(columns, 7))))
    mask = np.zeros(stack.geometry.shape, bool)
    mask[:, -small.shape[1] :, : small.shape[2]] = small
    result = Result(segments=(Segment(name="tumour", mask=mask, role="ct"),))
    request = request_of(series, result, profile=replace(STANDARD, seg=kind))

    content = encode(request)[0].content

    assert np.array_equal(read_by_dcmqi(content, stack), mask)
    assert np.array_equal(read_by_highdicom(content, stack), mask)


def read_by_dcmqi(content: bytes, stack: Stack) -> NDArray[Any]:
    tool = beside_python("segimage2itkimage")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "seg.dcm").write_bytes(content)
        run_tool(
            [tool, "--inputDICOM", folder / "seg.dcm", "--outputDirectory", folder, "-t", "nii"]
        )
        (image,) = folder.glob("*.nii.gz")
        return np.asarray(on_grid(stack, *read_nifti(image)))


def read_by_highdicom(content: bytes, stack: Stack) -> NDArray[Any]:
    seg = hd.seg.segread(io.BytesIO(content))
    volume = seg.get_volume(combine_segments=False, rescale_fractional=False)
    values = np.asarray(volume.array)
    values = values[..., -1] if values.ndim == 4 else values
    return np.asarray(on_grid(stack, values > 0, np.asarray(volume.affine)))
