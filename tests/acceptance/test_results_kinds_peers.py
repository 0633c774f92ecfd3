"""Every kind of object as readers by other people see it: reports, maps, and 14 geometries."""

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

from node.dicom.frames import Stack
from node.plugin import Result, Segment
from node.profiles import PROFILES, STANDARD, ViewerProfile
from node.results import dciodvfy
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from node.results.seg import LABELMAP_STORAGE, MAX_FRACTION
from tests.integration.test_results_real_data import emri_with_places
from tests.make import enhanced_ct
from tests.peers import beside_python, run_tool
from tests.results_case import (
    full_request,
    odd_mask,
    on_grid,
    read_nifti,
    request_of,
    source_header,
    stack_and_headers,
    synthetic_series,
)
from tests.sources import source

pytestmark = pytest.mark.peer

EVERYTHING = {"secondary_capture": True, "key_objects": True, "parametric_map": True}
BITS = ViewerProfile(name="bits", **EVERYTHING)
LABELS = ViewerProfile(name="labels", seg="labelmap", sr="outline", **EVERYTHING)
FRACTIONS = ViewerProfile(
    name="fractions",
    seg="fractional",
    sr="text",
    sr_class="comprehensive",
    pictures="frames",
    **EVERYTHING,
)
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


def of_source(name: str, profile: ViewerProfile) -> EncodeRequest:
    series, which = source(name)
    return full_request(series, profile, which=which)


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


def fractions(shape: tuple[int, int, int]) -> st.SearchStrategy[NDArray[np.uint8]]:
    """Any parts of 255 on a grid."""
    return arrays(np.uint8, shape, elements=st.integers(0, MAX_FRACTION))


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("name", GEOMETRIES)
@given(data=st.data())
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_dcmqi_and_highdicom_read_the_mask_where_it_was(
    name: str, kind: str, data: st.DataObject
) -> None:
    """What is drawn varies; marks that no flip, turn or shift leaves in place are always there."""
    series = synthetic_series(GEOMETRIES[name]())
    stack, _ = stack_and_headers(series)
    slices, rows, columns = stack.geometry.shape
    stored = odd_mask(stack.geometry.shape) * np.uint8(MAX_FRACTION)
    drawn = data.draw(fractions((slices, min(rows, 7), min(columns, 7))))
    stored[:, -drawn.shape[1] :, : drawn.shape[2]] |= drawn
    segment = Segment(
        name="tumour",
        mask=stored > 0,
        role="ct",
        probability=stored / np.float32(MAX_FRACTION) if kind == "fractional" else None,
    )
    request = request_of(series, Result(segments=(segment,)), profile=replace(STANDARD, seg=kind))

    made = encode(request)[0]

    assert (made.sop_class_uid == LABELMAP_STORAGE) == (kind == "labelmap")
    assert np.array_equal(read_by_dcmqi(made.content, stack), stored > 0)
    expected = stored if kind == "fractional" else stored > 0
    assert np.array_equal(read_by_highdicom(made.content, stack), expected)


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
    """What is stored of the only segment: 0 and 1, or parts of 255."""
    seg = hd.seg.segread(io.BytesIO(content))
    volume = seg.get_volume(combine_segments=False, rescale_fractional=False)
    values = np.asarray(volume.array)
    values = values[..., -1] if values.ndim == 4 else values
    return on_floats(stack, values, np.asarray(volume.affine))
