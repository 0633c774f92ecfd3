import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.dicom.frames import SourceSeries
from node.dicom.stacks import clusters, split_series
from node.errors import RefusalCode, Refused
from tests.make import ct_series, enhanced_mr, mr_series
from tests.unit.reading import series


def phases(count: int = 3, slices: int = 4, **per_phase) -> list:
    """Return `count` MR phases at the same positions in one series; values by phase."""
    first = mr_series((slices, 4, 4), AcquisitionTime=None, ContentTime=None)
    planes = []
    for phase in range(count):
        copies = mr_series((slices, 4, 4), AcquisitionTime=None, ContentTime=None)
        for index, ds in enumerate(copies):
            ds.SeriesInstanceUID = first[0].SeriesInstanceUID
            ds.FrameOfReferenceUID = first[0].FrameOfReferenceUID
            for keyword, values in per_phase.items():
                value = values[phase]
                setattr(ds, keyword, value(index) if callable(value) else value)
        planes += copies
    return planes


def refusal_of(one: SourceSeries) -> Refused:
    with pytest.raises(Refused) as caught:
        split_series(one)
    return caught.value


def test_a_plain_series_is_one_stack_without_a_label():
    (stack,) = split_series(series(ct_series((5, 4, 4))))
    assert stack.label == ""
    assert stack.geometry.shape == (5, 4, 4)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIdentifier", [1, 2, 3]),
        ("TriggerTime", [0, 100, 200]),
        ("AcquisitionTime", ["100000", "100100", "100200"]),
        ("AcquisitionNumber", [1, 2, 3]),
        ("EchoNumbers", [1, 2, 3]),
        ("EchoTime", [2.3, 4.6, 6.9]),
        ("DiffusionBValue", [0.0, 400.0, 800.0]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "M", w] for w in ("W", "F", "IP")]),
        ("KVP", [80, 100, 140]),
        ("ConvolutionKernel", ["B30f", "B50f", "B70f"]),
    ],
)
def test_s18_a_discriminator_that_gives_equal_stacks_is_accepted(keyword, values):
    stacks = split_series(series(phases(3, **{keyword: values})))
    assert len(stacks) == 3
    assert all(stack.label.startswith(f"{keyword}=") for stack in stacks)
    assert {stack.geometry.shape for stack in stacks} == {(4, 4, 4)}


def test_s18_discriminators_are_tried_in_their_order():
    planes = phases(2, TemporalPositionIdentifier=[1, 2], AcquisitionNumber=[7, 8])
    labels = [stack.label for stack in split_series(series(planes))]
    assert labels == ["TemporalPositionIdentifier=1", "TemporalPositionIdentifier=2"]


def test_s18_two_discriminators_together_when_one_is_not_enough():
    planes = phases(4, TemporalPositionIdentifier=[1, 1, 2, 2], EchoNumbers=[1, 2, 1, 2])
    labels = [stack.label for stack in split_series(series(planes))]
    assert len(labels) == 4
    assert labels[0] == "TemporalPositionIdentifier=1, EchoNumbers=1"


def test_s18_groups_of_unequal_positions_are_not_accepted():
    planes = phases(2, AcquisitionNumber=[1, 2])[:-1]
    refusal = refusal_of(series(planes))
    assert refusal.code is RefusalCode.PHASES_MIXED
    assert "AcquisitionNumber (2 values)" in refusal.sentence


def test_s18_phases_that_nothing_separates_are_refused():
    refusal = refusal_of(series(phases(3)))
    assert refusal.code is RefusalCode.PHASES_MIXED
    assert "12 planes at 4 positions" in refusal.sentence
    assert "no attribute varies" in refusal.sentence


def test_s19_an_image_too_many_is_a_duplicate_and_no_phase():
    planes = mr_series((6, 4, 4))
    for index, ds in enumerate(planes):
        ds.ContentTime = f"1104{index:02d}.5"
    planes[3].ImagePositionPatient = planes[2].ImagePositionPatient
    refusal = refusal_of(series(planes))
    assert refusal.code is RefusalCode.POSITION_DUPLICATE
    assert "6 planes at 5 positions" in refusal.sentence
    planes[3].TemporalPositionIdentifier = 2
    assert refusal_of(series(planes)).code is RefusalCode.PHASES_MIXED


def test_s18_content_time_comes_last_and_never_names_a_phase():
    planes = phases(3, ContentTime=["102551", "103238", "103832"], AcquisitionNumber=[1, 2, 2])
    labels = [stack.label for stack in split_series(series(planes))]
    assert labels == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]


def test_s18_content_time_splits_only_by_gaps_wider_than_three_spreads():
    def spread(start: int, seconds: int):
        return lambda index: f"10{start:02d}{index * seconds:02d}"

    apart = phases(2, ContentTime=[spread(0, 5), spread(2, 5)])  # 15 s inside, 105 s between
    assert len(split_series(series(apart))) == 2
    near = phases(2, ContentTime=[spread(0, 15), spread(1, 15)])  # 45 s inside, 15 s between
    assert refusal_of(series(near)).code is RefusalCode.PHASES_MIXED


def test_s18_many_content_times_do_not_split_one_phase():
    planes = mr_series((40, 4, 4))
    for index, ds in enumerate(planes):
        ds.ContentTime = f"1104{index:02d}.5" if index < 20 else f"1106{index:02d}.5"
    (stack,) = split_series(series(planes))
    assert stack.label == ""


def test_s18_acquisition_times_that_differ_by_slice_are_clustered():
    times = [lambda i: f"1000{i:02d}", lambda i: f"1010{i:02d}"]
    stacks = split_series(series(phases(2, AcquisitionTime=times)))
    assert [s.label for s in stacks] == [
        "AcquisitionTime part 1 of 2",
        "AcquisitionTime part 2 of 2",
    ]


@settings(max_examples=25, deadline=None)
@given(order=st.randoms(use_true_random=False))
def test_s18_the_order_of_files_changes_nothing(order):
    planes = phases(3, ContentTime=["102551", "103238", "103832"])
    shuffled = list(planes)
    order.shuffle(shuffled)
    in_order, mixed = split_series(series(planes)), split_series(series(shuffled))
    uids = [
        [[f.sop_instance_uid for f in s.frames] for s in stacks] for stacks in (in_order, mixed)
    ]
    assert uids[0] == uids[1]


def test_s18_a_regular_grid_of_two_echoes_is_no_volume():
    planes = mr_series((6, 4, 4), per_instance={i: {"EchoNumbers": 1 + i % 2} for i in range(6)})
    refusal = refusal_of(series(planes))
    assert refusal.code is RefusalCode.PHASES_MIXED
    assert "EchoNumbers" in refusal.sentence


def test_s20_enhanced_frames_split_by_temporal_position():
    image = enhanced_mr(
        (6, 4, 4),
        per_frame={
            i: {
                "TemporalPositionIndex": 1 + i // 3,
                "ImagePositionPatient": [0.0, 0.0, float(i % 3)],
            }
            for i in range(6)
        },
    )
    first, second = split_series(series([image]))
    assert [frame.frame_number for frame in first.frames] == [1, 2, 3]
    assert [frame.frame_number for frame in second.frames] == [4, 5, 6]


def test_s20_enhanced_stacks_may_lie_at_other_places():
    image = enhanced_mr(
        (6, 4, 4),
        per_frame={
            i: {
                "StackID": str(1 + i // 3),
                "ImagePositionPatient": [0.0, 0.0, float(i % 3 + 100 * (i // 3))],
            }
            for i in range(6)
        },
    )
    stacks = split_series(series([image]))
    assert [stack.label for stack in stacks] == ["StackID=1", "StackID=2"]


def test_s17_a_localizer_in_the_series_is_left_out():
    planes = ct_series((5, 4, 4))
    localizer = ct_series(
        (1, 8, 4), orientation=(1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )[0]
    localizer.SeriesInstanceUID = planes[0].SeriesInstanceUID
    (stack,) = split_series(series([localizer, *planes]))
    assert localizer.SOPInstanceUID not in {f.sop_instance_uid for f in stack.frames}
    assert len(stack.frames) == 5


def test_s17_a_series_of_localizers_only_is_refused():
    refusal = refusal_of(
        series(ct_series((3, 4, 4), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    )
    assert refusal.code is RefusalCode.IMAGE_KIND_UNSUITABLE
    assert "localizer" in refusal.sentence


def test_the_refusal_of_the_whole_is_told_when_nothing_is_mixed():
    planes = ct_series((6, 4, 4))
    assert refusal_of(series(planes[:2] + planes[4:])).code is RefusalCode.SLICE_MISSING


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 86400), min_size=2, max_size=40), st.integers(2, 5))
def test_s18_clusters_lie_more_than_three_spreads_apart(times, count):
    values = np.array(times)
    parts = clusters(values, count)
    if parts is None:
        return
    own = [np.sort(values[parts == part]) for part in range(1, count + 1)]
    spread = max(one[-1] - one[0] for one in own)
    assert all(after[0] - before[-1] > 3 * spread for before, after in pairwise(own))


def test_s18_a_long_series_is_split_or_refused_in_little_time():
    planes = mr_series((40, 4, 4), ContentTime=None, AcquisitionTime=None)
    one = series(planes)
    many = tuple(
        replace(frame, discriminators=(("AcquisitionTime", f"10{i:02d}00.{j:02d}"),))
        for i in range(60)
        for j, frame in enumerate(one.frames)
    )
    start = time.process_time()
    stacks = split_series(replace(one, frames=many))
    assert len(stacks) == 60
    assert stacks[9].label == "AcquisitionTime part 10 of 60"
    assert time.process_time() - start < 5
