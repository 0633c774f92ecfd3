"""Maps in pictures: where they are hot, in colours that rise, below the outlines, and said so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from node.plugin import Map, Result, Segment
from node.profiles import DWV, PLAIN_PACS, ViewerProfile
from node.results.check import check_objects
from node.results.encode import encode
from node.results.heat import MAX_HEAT, colours, hottest_slices
from node.results.request import EncodeRequest
from tests.results_case import full_manifest, full_request, parsed, synthetic_headers

RED = (255, 0, 0)
#: A picture of 6 x 7 pixels of 0.8 mm is so wide; so are the pixels of it.
SIDE = 768 / 7
SQUARE = ["0.8", "0.8"]


def none_installed() -> None:
    return None


def mask_of(*places: Any, slices: int = 5) -> NDArray[np.bool_]:
    mask = np.zeros((slices, 6, 7), np.bool_)
    for place in places:
        mask[place] = True
    return mask


def heat_of(values: dict[Any, float], *, slices: int = 5, name: str = "attention") -> Map:
    array = np.zeros((slices, 6, 7), np.float32)
    for place, value in values.items():
        array[place] = value
    return Map(name=name, array=array, role="ct")


def asked(
    masks: list[NDArray[np.bool_]], *maps: Map, profile: ViewerProfile = PLAIN_PACS
) -> EncodeRequest:
    slices = next(iter([*masks, *(one.array for one in maps)])).shape[0]
    plain = full_manifest()
    other = replace(plain.maps["attention"], name="other", label="Grad-CAM, other crop")
    result = Result(
        segments=tuple(
            Segment(name="tumour", mask=mask, role="ct", finding=number)
            for number, mask in enumerate(masks, start=1)
        ),
        maps=maps,
    )
    request = full_request(
        synthetic_headers(slices, PixelSpacing=SQUARE),
        profile,
        manifest=replace(plain, maps={**plain.maps, "other": other}),
    )
    return replace(request, result=result)


def pictures(request: EncodeRequest) -> list[Dataset]:
    objects = encode(request)
    check_objects(objects, request, find_validator=none_installed)
    return [parsed(item) for item in objects if item.role.startswith("sc")]


def slices_of(request: EncodeRequest) -> list[int]:
    return [index for _, index in hottest_slices(request)]


def pixel(ds: Dataset, row: int, column: int) -> NDArray[np.int64]:
    """Colour in the middle of a source pixel."""
    place = np.rint((np.array([row, column]) + 0.5) * SIDE).astype(int)
    return ds.pixel_array[tuple(place)].astype(int)


BLOCK = np.s_[1:4, 1:5, 1:5]


def test_a_profile_of_pictures_shows_the_heat_in_colour_below_the_outline() -> None:
    heat = heat_of({(2, 2): 0.2, (2, 2, 2): 1.0})

    found = pictures(asked([mask_of(BLOCK)], heat))

    told = [ds for ds in found if "Grad-CAM" in ds.DerivationDescription]
    (shown,) = told
    assert shown.DerivationDescription == (
        "Outlines and values, and in colour Grad-CAM, burned in by ball@1.2.0"
    )
    assert shown.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.3"
    assert shown.BurnedInAnnotation == "YES"
    assert np.ptp(pixel(shown, 2, 2)) > 40  # hot
    assert np.ptp(pixel(shown, 0, 5)) == 0  # the map is 0 there
    assert (shown.pixel_array == RED).all(axis=2).any()
    (plain,) = (
        ds
        for ds in found
        if ds.SourceImageSequence == shown.SourceImageSequence and ds is not shown
    )
    assert np.ptp(pixel(plain, 2, 2)) == 0
    assert plain.DerivationDescription == "Outlines and values burned in by ball@1.2.0"
    assert shown.Rows == plain.Rows + 25  # the bar that explains the colours


def test_pictures_in_one_object_hold_the_same_heat() -> None:
    heat = heat_of({(2, 2, 2): 1.0}), heat_of({(3, 2, 2): 1.0}, name="other")
    images = pictures(asked([mask_of(BLOCK)], *heat))
    (frames,) = pictures(asked([mask_of(BLOCK)], *heat, profile=DWV))

    assert len(images) == frames.NumberOfFrames == 5
    for ds, pixels in zip(images, frames.pixel_array, strict=True):
        assert np.array_equal(pixels[: ds.Rows], ds.pixel_array)
    assert "Grad-CAM; Grad-CAM, other crop" in frames.DerivationDescription


def test_each_finding_and_map_has_its_hottest_slice() -> None:
    left, right = mask_of(np.s_[0:3, 1:3, 0:2]), mask_of(np.s_[2:5, 1:3, 4:7])
    one = heat_of({(1, 1, 1): 0.5, (4, 2, 5): 0.6, (3, 2, 5): 0.1})
    other = heat_of({(2, 1, 1): 0.3, (2, 2, 5): 0.4}, name="other")

    found = hottest_slices(asked([left, right], one, other))

    assert [(shown.name, index) for shown, index in found] == [
        ("attention", 1),
        ("attention", 4),
        ("other", 2),
    ]


def test_heat_beside_every_finding_or_without_any_is_shown_where_it_is_most() -> None:
    heat = heat_of({(0, 5, 6): 0.5, (4, 5, 6): 0.6})

    beside, alone = asked([mask_of(BLOCK)], heat), asked([], heat)

    assert slices_of(beside) == slices_of(alone) == [4]
    assert len(pictures(beside)) == 4
    (only,) = pictures(alone)
    assert np.ptp(pixel(only, 5, 6)) > 40


def test_a_map_without_heat_makes_no_picture() -> None:
    assert slices_of(asked([mask_of(BLOCK)], heat_of({}))) == []
    assert pictures(asked([], heat_of({}))) == []


def test_of_many_findings_the_hottest_are_shown_and_half_of_the_pictures_stay_outlines() -> None:
    masks = [mask_of(np.s_[index, 1:3, 1:3], slices=40) for index in range(40)]
    heat = heat_of({(index, 1, 1): 1 + index for index in range(40)}, slices=40)
    request = asked(masks, heat)

    assert slices_of(request) == list(range(40 - MAX_HEAT, 40))
    found = pictures(request)
    assert len(found) == 24
    assert sum("Grad-CAM" in ds.DerivationDescription for ds in found) == MAX_HEAT == 12


def test_below_zero_has_a_colour_too() -> None:
    assert slices_of(asked([mask_of(BLOCK)], heat_of({(2, 2, 2): -1.0, (1, 2, 2): 0.5}))) == [2]


def test_every_colour_is_lighter_than_the_one_before() -> None:
    red, green, blue = colours(np.linspace(0, 1, 200)).T

    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()


def test_a_picture_without_outline_and_heat_is_a_fault() -> None:
    request = asked([], heat_of({(2, 2, 2): 1.0}))
    objects = encode(request)
    moved = replace(request, result=Result(maps=(heat_of({(3, 2, 2): 1.0}),)))

    with pytest.raises(Exception, match="no finding is outlined"):
        check_objects(objects, moved, find_validator=none_installed)
