"""Reports: outlines in images and in space, and segments that a report points at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.frames import Stack
from node.dicom.region_grid import fill
from node.dicom.regions import Region, mask_on, regions_of
from node.errors import RefusalCode, Refused
from node.results.encode import encode
from tests.make import enhanced_ct, made, write_series
from tests.regions_case import (
    binary,
    blob,
    group,
    image,
    named,
    outline,
    outline_3d,
    report,
    segment_reference,
    segmentation,
    stacks_in,
    written,
)
from tests.results_case import one_segment, request_of

SHAPE = (6, 20, 24)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
#: An L as (column, row) of an SCOORD, closed.
SHAPED = np.array([[2.6, 3.7], [15.9, 3.7], [15.9, 9.2], [8.1, 9.2], [8.1, 16.8], [2.6, 16.8]])
CLOSED = [*SHAPED.reshape(-1), *SHAPED[0]]
#: What it encloses, by the definition of SCOORD: the first pixel's centre is (0.5, 0.5).
FILLED = fill([SHAPED[:, ::-1] - 0.5], SHAPE[1:])


@pytest.fixture
def ct(tmp_path: Path) -> tuple[Stack, list[Dataset]]:
    return image(tmp_path / "ct", SHAPE, spacing=(5.0, 0.8, 0.7))


def read(tmp_path: Path, ds: Dataset) -> tuple[Region, ...]:
    return regions_of(written(tmp_path / "sr.dcm", ds))


def refusal(region: Region, stack: Stack, **kwargs: Any) -> RefusalCode:
    with pytest.raises(Refused) as caught:
        mask_on(region, stack, **kwargs)
    assert caught.value.sentence
    return caught.value.code


def test_closed_polylines_per_slice_make_a_region(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    lines = [outline(images[z], "POLYLINE", CLOSED) for z in (2, 3)]

    (region,) = read(tmp_path, report(images, group(*lines)))
    got = mask_on(region, stack)

    np.testing.assert_array_equal(got[2], FILLED)
    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), [2, 3])
    assert (region.name, region.label, region.tracking_uid) == ("Lesion 1", "Neoplasm", "1.2.77")
    assert region.type is not None and region.type.value == "108369006"
    assert (region.creator, region.created_at) == ("Reader^Two", "20260302090000")
    assert region.referenced_series == (stack.series_instance_uid,)
    assert region.referenced_instances == tuple(stack.frames[z].sop_instance_uid for z in (2, 3))


def test_box_takes_the_pixels_whose_centres_it_holds(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    box = [2, 3, 7, 3, 7, 10, 2, 10, 2, 3]  # columns 2 to 7, rows 3 to 10, along pixel borders

    (region,) = read(tmp_path, report(images, group(outline(images[1], "POLYLINE", box))))
    got = mask_on(region, stack)

    expected = np.zeros(SHAPE, np.bool_)
    expected[1, 3:10, 2:7] = True
    np.testing.assert_array_equal(got, expected)


def test_circle_and_ellipse_are_filled_by_pixel_centre(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    circle = outline(images[1], "CIRCLE", [10.5, 9.5, 10.5, 15.2])
    ellipse = outline(images[3], "ELLIPSE", [4, 9, 18, 9, 11, 5.2, 11, 12.8])

    one, other = read(tmp_path, report(images, group(circle), group(ellipse)))

    rows, columns = np.indices(SHAPE[1:]) + 0.5
    inside = (columns - 10.5) ** 2 + (rows - 9.5) ** 2 < 5.7**2
    np.testing.assert_array_equal(mask_on(one, stack)[1], inside)
    inside = ((columns - 11) / 7) ** 2 + ((rows - 9) / 3.8) ** 2 < 1
    np.testing.assert_array_equal(mask_on(other, stack)[3], inside)
    assert (one.number, other.number) == (1, 2)


def test_outlines_below_the_measurements_of_a_group_are_its_region(tmp_path: Path, ct: Any) -> None:
    """As viewers write it: area and mean, each inferred from the same outline."""
    stack, images = ct
    measured = [
        made(ValueType="NUM", ContentSequence=[outline(images[2], "POLYLINE", CLOSED)])
        for _ in range(2)
    ]

    (region,) = read(tmp_path, report(images, group(*measured)))

    np.testing.assert_array_equal(mask_on(region, stack)[2], FILLED)


def test_image_given_by_reference_inside_the_report_is_found(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    line = outline(images[2], "POLYLINE", CLOSED)
    source = line.ContentSequence[0]
    line.ContentSequence = [
        made(RelationshipType="SELECTED FROM", ReferencedContentItemIdentifier=[1, 3, 1])
    ]
    ds = report(images, group(line))
    ds.ContentSequence.append(
        made(
            ValueType="CONTAINER",
            ConceptNameCodeSequence=named("111028"),
            ContentSequence=[source],
        )
    )

    (region,) = read(tmp_path, ds)

    np.testing.assert_array_equal(mask_on(region, stack)[2], FILLED)


def test_frames_of_a_multiframe_image_are_told_apart(tmp_path: Path) -> None:
    ds = enhanced_ct(SHAPE)
    write_series(tmp_path / "ct", [ds])
    (stack,) = stacks_in(tmp_path / "ct")
    line = outline(ds, "POLYLINE", CLOSED, frame=3)

    (region,) = read(tmp_path, report([ds], group(line)))
    got = mask_on(region, stack)

    index = [frame.frame_number for frame in stack.frames].index(3)
    np.testing.assert_array_equal(got[index], FILLED)
    assert got.sum() == FILLED.sum()


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE])
@pytest.mark.parametrize("graphic", ["POLYGON", "POLYLINE"])
def test_outlines_in_space_lie_on_the_planes(
    tmp_path: Path, orientation: tuple[float, ...], graphic: str
) -> None:
    stack, images = image(tmp_path / "ct", SHAPE, orientation=orientation)
    lines = [in_space(stack, graphic, z) for z in (1, 2)]

    (region,) = read(tmp_path, report(images, group(*lines)))
    got = mask_on(region, stack)

    np.testing.assert_array_equal(got[1], FILLED)
    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), [1, 2])
    assert region.frame_of_reference_uid == stack.geometry.frame_of_reference_uid


def in_space(stack: Stack, graphic: str, plane: float) -> Dataset:
    rows_columns = SHAPED[[*range(len(SHAPED)), 0], ::-1] - 0.5
    ones = np.ones(len(rows_columns))
    index = np.column_stack([ones * plane, rows_columns, ones])
    points = (np.array(stack.geometry.affine) @ index.T)[:3].T
    return outline_3d(stack.geometry.frame_of_reference_uid, graphic, points)


# --- segments -----------------------------------------------------------------------------------


def test_region_that_is_a_segment_is_read_from_the_segmentation(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    seg = binary(images, blob(SHAPE), number=4)
    segments = regions_of(written(tmp_path / "seg.dcm", seg))

    (region,) = read(tmp_path, report(images, group(segment_reference(seg, 4))))

    assert region.segment_of == (seg.SOPInstanceUID, (4,))
    np.testing.assert_array_equal(mask_on(region, stack, regions=segments), blob(SHAPE))


def test_region_of_two_segments_is_their_union(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    one, other = blob(SHAPE), np.roll(blob(SHAPE), 2, axis=1)
    frames = [(n, z, m[z]) for n, m in ((1, one), (2, other)) for z in range(1, 5)]
    seg = segmentation(images, frames)
    segments = regions_of(written(tmp_path / "seg.dcm", seg))

    (region,) = read(tmp_path, report(images, group(segment_reference(seg, 1, 2))))

    np.testing.assert_array_equal(mask_on(region, stack, regions=segments), one | other)


def test_region_of_one_segmentation_frame_is_that_frame(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    seg = binary(images, blob(SHAPE))
    segments = regions_of(written(tmp_path / "seg.dcm", seg))

    (region,) = read(tmp_path, report(images, group(segment_reference(seg, 1, frames=[2]))))
    got = mask_on(region, stack, regions=segments)

    np.testing.assert_array_equal(got[2], blob(SHAPE)[2])
    assert np.flatnonzero(got.any(axis=(1, 2))).tolist() == [2]


def test_our_own_report_leads_to_our_own_segment(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    request = request_of(images, one_segment(blob(SHAPE), stack))
    for number, each in enumerate(encode(request)):
        (tmp_path / f"{number}.dcm").write_bytes(each.content)
    regions = [r for path in sorted(tmp_path.glob("*.dcm")) for r in regions_of(path)]

    (from_report,) = [r for r in regions if r.source_kind == "SR"]

    np.testing.assert_array_equal(mask_on(from_report, stack, regions=regions), blob(SHAPE))
    (from_seg,) = [r for r in regions if r.source_kind == "SEG"]
    assert from_report.tracking_uid == from_seg.tracking_uid


def test_s21_segment_that_is_not_at_hand_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    seg = binary(images, blob(SHAPE))
    segments = regions_of(written(tmp_path / "seg.dcm", seg))

    (absent,) = read(tmp_path, report(images, group(segment_reference(seg, 1))))
    assert refusal(absent, stack) is RefusalCode.ROI_SEGMENT_MISSING

    (wrong,) = read(tmp_path, report(images, group(segment_reference(seg, 9))))
    assert refusal(wrong, stack, regions=segments) is RefusalCode.ROI_SEGMENT_MISSING


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graphic", "data"),
    [
        ("POLYLINE", CLOSED[:-2]),
        ("POLYLINE", [1, 1, 5, 5]),
        ("POINT", [3, 3]),
        ("MULTIPOINT", CLOSED),
        ("ELLIPSE", [1, 1, 9, 9]),
        ("ELLIPSE", [4, 9, 18, 9, 11, 5, 18, 12]),
        ("CIRCLE", [1, 1, 2]),
    ],
)
def test_s21_what_encloses_nothing_is_refused(
    tmp_path: Path, ct: Any, graphic: str, data: list[float]
) -> None:
    stack, images = ct

    (region,) = read(tmp_path, report(images, group(outline(images[1], graphic, data))))

    assert region.fault is not None
    assert refusal(region, stack) is RefusalCode.ROI_NOT_AN_AREA


def test_ellipsoid_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ellipsoid = outline_3d(stack.geometry.frame_of_reference_uid, "ELLIPSOID", np.eye(6, 3))

    (region,) = read(tmp_path, report(images, group(ellipsoid)))

    assert refusal(region, stack) is RefusalCode.ROI_NOT_AN_AREA


def test_s21_outline_on_images_that_are_not_at_hand_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    other, others = image(tmp_path / "other", SHAPE, StudyInstanceUID=images[0].StudyInstanceUID)

    (region,) = read(tmp_path, report(images, group(outline(others[1], "POLYLINE", CLOSED))))

    assert refusal(region, stack) is RefusalCode.ROI_SEGMENT_MISSING
    # At hand, but in a frame of reference of its own.
    assert refusal(region, stack, stacks=[other]) is RefusalCode.ROI_FRAME_OF_REFERENCE


def test_outline_on_another_series_of_the_same_space_is_resampled(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    same = {
        keyword: images[0].get(keyword) for keyword in ("StudyInstanceUID", "FrameOfReferenceUID")
    }
    thin, _ = image(
        tmp_path / "thin",
        (12, 20, 24),
        spacing=(2.5, 0.8, 0.7),
        origin=(-10.0, -20.0, -31.25),
        **same,
    )

    (region,) = read(tmp_path, report(images, group(outline(images[1], "POLYLINE", CLOSED))))
    got: NDArray[np.bool_] = mask_on(region, thin, stacks=[stack])

    np.testing.assert_array_equal(np.flatnonzero(got.any(axis=(1, 2))), [2, 3])
    np.testing.assert_array_equal(got[2], FILLED)


def test_s21_outline_in_another_space_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    line = in_space(stack, "POLYGON", 1)
    line.ReferencedFrameOfReferenceUID = "1.2.3"

    (region,) = read(tmp_path, report(images, group(line)))

    assert refusal(region, stack) is RefusalCode.ROI_FRAME_OF_REFERENCE


def test_s21_outline_in_space_between_planes_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct

    (region,) = read(tmp_path, report(images, group(in_space(stack, "POLYGON", 1.4))))

    assert refusal(region, stack) is RefusalCode.ROI_NOT_ON_PLANES


def test_s26_group_with_two_kinds_of_region_is_refused(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    seg = binary(images, blob(SHAPE))
    mixed = group(outline(images[1], "POLYLINE", CLOSED), segment_reference(seg, 1))

    (region,) = read(tmp_path, report(images, mixed))

    assert refusal(region, stack) is RefusalCode.ROI_AMBIGUOUS


def test_group_without_a_region_is_not_listed(tmp_path: Path, ct: Any) -> None:
    _, images = ct
    plain = group(made(ValueType="NUM"))
    with_region = group(outline(images[1], "POLYLINE", CLOSED))

    (region,) = read(tmp_path, report(images, plain, with_region))

    assert region.number == 2


@pytest.mark.parametrize("case", ["two segmentations", "no segment", "two kinds", "two spaces"])
def test_groups_that_say_two_things_or_half_a_thing_are_refused(
    tmp_path: Path, ct: Any, case: str
) -> None:
    stack, images = ct
    seg, other = binary(images, blob(SHAPE)), binary(images, blob(SHAPE))
    moved = in_space(stack, "POLYGON", 2)
    moved.ReferencedFrameOfReferenceUID = "1.2.3"
    content = {
        "two segmentations": [segment_reference(seg, 1), segment_reference(other, 1)],
        "no segment": [segment_reference(seg)],
        "two kinds": [outline(images[1], "POLYLINE", CLOSED), in_space(stack, "POLYGON", 1)],
        "two spaces": [in_space(stack, "POLYGON", 1), moved],
    }

    (region,) = read(tmp_path, report(images, group(*content[case])))

    expected = "ROI_UNREADABLE" if case == "no segment" else "ROI_AMBIGUOUS"
    assert refusal(region, stack).value == expected


def test_frame_of_an_image_that_is_not_in_the_stack_is_refused(tmp_path: Path) -> None:
    ds = enhanced_ct(SHAPE)
    write_series(tmp_path / "ct", [ds])
    (stack,) = stacks_in(tmp_path / "ct")

    (region,) = read(tmp_path, report([ds], group(outline(ds, "POLYLINE", CLOSED, frame=60))))

    assert refusal(region, stack) is RefusalCode.ROI_SEGMENT_MISSING


@pytest.mark.parametrize(("frame", "there"), [(0, True), (1, True), (5, False)])
def test_an_image_of_one_frame_has_no_fifth(
    tmp_path: Path, ct: Any, frame: int, there: bool
) -> None:
    stack, images = ct
    (region,) = read(
        tmp_path, report(images, group(outline(images[2], "POLYLINE", CLOSED, frame=frame)))
    )

    if there:
        assert mask_on(region, stack).any()
        return
    with pytest.raises(Refused, match="a frame that is not part of the stack"):
        mask_on(region, stack)
