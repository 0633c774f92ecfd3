import numpy as np
import pytest

from node.plugin import Volume
from node.toolkit.crops import adjustable_crop, fixed_crop, largest_slice

SHAPE = (5, 40, 60)
ROW_MM, COLUMN_MM = 0.8, 0.5


def volume(array=None, *, unit="[hnsf'U]", padding=None):
    affine = np.diag([COLUMN_MM, ROW_MM, 3.0, 1.0])[:, [2, 1, 0, 3]]
    array = np.zeros(SHAPE, np.int16) if array is None else array
    return Volume(array=array, affine=affine, unit=unit, modality="CT", padding=padding)


def region(rows=(10, 16), columns=(20, 30), index=2):
    mask = np.zeros(SHAPE, bool)
    mask[index, slice(*rows), slice(*columns)] = True
    mask[0, 3, 3] = True
    return mask


def test_a_crop_in_whole_pixels_is_a_slice_of_the_array():
    array = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)
    mask = region()  # rows 10 to 15, columns 20 to 29: middle (12.5, 24.5)

    found = fixed_crop(volume(array), mask, side_px=12, size=(12, 12))

    assert found.image.dtype == np.float32
    assert np.array_equal(found.image, array[2, 7:19, 19:31])
    assert np.array_equal(found.mask, mask[2, 7:19, 19:31])


def test_a_crop_over_the_edge_is_padded_with_air():
    array = np.full(SHAPE, 40, np.int16)
    mask = region(rows=(0, 2), columns=(58, 60))

    found = fixed_crop(volume(array), mask, side_px=8, size=(8, 8))

    assert (found.image[:3] == -1024).all() and (found.image[:, -3:] == -1024).all()
    assert (found.image[3:, :5] == 40).all()


def test_other_units_and_padding_have_the_lowest_value_or_what_is_asked_for():
    array = np.full(SHAPE, 7.0, np.float32)
    array[2, 0, 0] = 3
    mask = region(rows=(0, 2), columns=(0, 2))
    padding = np.zeros(SHAPE, bool)
    padding[2, :, 4:] = True

    low = fixed_crop(volume(array, unit="1"), mask, side_px=8, size=(8, 8)).image
    asked = fixed_crop(volume(array, padding=padding), mask, side_px=8, size=(8, 8), fill=-1).image

    assert low[0, 0] == 3 and low[-1, -1] == 7
    assert asked[0, 0] == -1 and asked[-1, -1] == -1 and asked[-1, 4] == 7


def test_a_fixed_crop_in_mm_is_square_in_the_patient():
    mask = region(rows=(10, 20), columns=(20, 36))  # 8 mm x 8 mm
    found = fixed_crop(volume(), mask, side_mm=16, size=(64, 64))

    assert found.place.extent == pytest.approx((16 / ROW_MM, 16 / COLUMN_MM))
    rows, columns = (np.flatnonzero(found.mask.any(axis=axis)) for axis in (1, 0))
    assert rows.size == columns.size == 32  # half of the side either way


def test_an_adjustable_crop_shows_every_region_equally_large():
    sizes = []
    for side in (8, 16):
        mask = region(rows=(20 - side // 2, 20 + side // 2), columns=(30 - side, 30 + side))
        found = adjustable_crop(volume(), mask, factor=1.25, size=(100, 100))
        sizes.append(np.count_nonzero(found.mask.any(axis=0)))
        # wider than high: 2 * 0.5 mm against 0.8 mm
        assert found.place.extent[1] * COLUMN_MM == pytest.approx(1.25 * 2 * side * COLUMN_MM)

    assert sizes == pytest.approx([80, 80], abs=1)
    tiny = adjustable_crop(volume(), region((5, 6), (5, 6)), least_mm=20, size=(10, 10))
    assert tiny.place.extent[0] * ROW_MM == pytest.approx(20)


@pytest.mark.parametrize("side", [24, 96])
def test_values_between_pixels_are_interpolated_like_torch_does(side):
    """Enlarged or averaged: antialiased bilinear, as torch and Pillow do it."""
    functional = pytest.importorskip("torch").nn.functional
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(1).normal(0, 100, (1, 60, 60)).astype(np.float32)
    mask = np.zeros(array.shape, bool)
    mask[0, 20:40, 20:40] = True
    cube = Volume(array=array, affine=np.eye(4), unit="[hnsf'U]", modality="CT")

    found = fixed_crop(cube, mask, side_px=48, size=(side, side)).image

    whole = functional.interpolate(
        torch.from_numpy(array[None, :, 6:54, 6:54]),
        size=(side, side),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0, 0].numpy()
    assert found[2:-2, 2:-2] == pytest.approx(whole[2:-2, 2:-2], abs=1e-2)


def test_a_map_of_the_crop_lands_where_it_belongs():
    mask = region(rows=(10, 17), columns=(20, 31))
    found = fixed_crop(volume(), mask, side_mm=20, size=(224, 224))

    back = found.place.to_source(found.mask.astype(np.float32))

    assert back.shape == SHAPE and back.dtype == np.float32
    assert not back[[0, 1, 3, 4]].any()
    assert np.array_equal(back[2] > 0.5, mask[2])


@pytest.mark.parametrize("count", [1, 7, 50])
def test_a_layers_own_coarse_map_may_be_given_back(count):
    found = fixed_crop(volume(), region(), side_mm=12, size=(64, 64))
    heat = np.zeros((count, count), np.float32)
    heat[0, 0] = 1.0

    back = found.place.to_source(heat)[2]

    at = np.unravel_index(back.argmax(), back.shape)
    assert 0.0 < back.max() <= 1.0 and back.min() == 0.0
    assert count == 50 or back.max() == 1.0
    row, column = found.place.middle
    assert count == 1 or (at[0] < row and at[1] < column)
    inside = np.argwhere(back > 0)
    assert (abs(inside - (row, column)) <= np.array(found.place.extent) / 2).all()


def test_the_same_place_is_cut_from_another_phase():
    array = np.random.default_rng(0).integers(0, 9, SHAPE).astype(np.int16)
    found = fixed_crop(volume(), region(), side_px=10, size=(10, 10))

    assert np.array_equal(found.place.cut(array[3]), array[3, 8:18, 20:30])
    with pytest.raises(ValueError, match="the plane has shape"):
        found.place.cut(array[3, :-1])


def test_the_largest_slice_or_the_one_that_is_named():
    mask = region()
    mask[3, 10:12, 10:12] = True

    assert largest_slice(mask) == 2
    assert fixed_crop(volume(), mask, side_px=4, slice_index=3).place.slice_index == 3


@pytest.mark.parametrize(
    ("mask", "options", "sentence"),
    [
        (np.zeros(SHAPE, bool), {"side_px": 4}, "region is empty"),
        (region(), {"side_px": 4, "slice_index": 1}, "empty in slice 1"),
        (region()[:-1], {"side_px": 4}, "the region has shape"),
        (region(), {}, "mm or in pixels"),
        (region(), {"side_px": 4, "side_mm": 4}, "mm or in pixels"),
        (region(), {"side_px": 0}, "holds nothing"),
    ],
)
def test_what_cannot_be_cropped_is_said(mask, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fixed_crop(volume(), mask, **options)


@pytest.mark.parametrize("one", [np.uint8(1), 1.0, np.int64(1)])
def test_a_region_of_ones_is_that_of_truths(one):
    mask = region()

    found = fixed_crop(volume(), mask * one, side_px=12, size=(12, 12))

    assert np.array_equal(found.mask, mask[2, 7:19, 19:31])


@pytest.mark.parametrize(("value", "held"), [(2, "2"), (255, "255"), (-1, "-1"), (0.3, "0.3")])
def test_a_label_map_or_a_probability_is_no_region(value, held):
    for crop in (fixed_crop, adjustable_crop):
        with pytest.raises(ValueError, match=f"True and False, or 1 and 0, but .* holds {held}"):
            crop(volume(), region() * value, **({"side_px": 8} if crop is fixed_crop else {}))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"slice_index": 99}, "no slice 99; the volume has 0 to 4"),
        ({"slice_index": -1}, "no slice -1"),
        ({"slice_index": 2.0}, "slice_index is 2.0; say a whole number"),
        ({"slice_index": True}, "slice_index is True; say a whole number"),
        ({"slice_index": "2"}, "slice_index is '2'; say a whole number"),
        ({"size": 32}, r"size is 32; say \(rows, columns\)"),
        ({"size": (32.5, 32)}, "in whole pixels"),
        ({"size": (True, True)}, "in whole pixels"),
        ({"size": (0, 32)}, "holds nothing"),
        ({"side_mm": 1e9}, "100 times the plane"),
        ({"side_mm": float("nan")}, "holds nothing"),
    ],
)
def test_what_is_no_crop_is_said(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        fixed_crop(volume(), region(), **{"side_mm": 10.0, "size": (8, 8)} | asked)


def test_a_plane_is_no_volume():
    with pytest.raises(ValueError, match="slices, rows and columns, not the shape"):
        largest_slice(region()[2])


def test_only_what_goes_into_a_crop_has_to_be_a_number():
    array = np.zeros(SHAPE, np.float32)
    array[2, 0, 0] = np.nan
    far = fixed_crop(volume(array), region(), side_px=8, size=(8, 8))
    other = fixed_crop(volume(array, unit="1"), region(), side_px=8, size=(8, 8))
    array[2, 12, 24] = np.inf

    assert (far.image == 0).all() and (other.image == 0).all()
    with pytest.raises(ValueError, match="inside the crop is not finite"):
        fixed_crop(volume(array), region(), side_px=8, size=(8, 8))


@pytest.mark.parametrize("index", [3, np.int64(3), np.uint8(3)])
def test_any_whole_number_names_a_slice(index):
    mask = region(index=3)

    assert fixed_crop(volume(), mask, side_px=4, slice_index=index).place.slice_index == 3


@pytest.mark.parametrize("factor", [1.0, float("nan")])
def test_a_least_side_is_a_number(factor):
    with pytest.raises(ValueError, match=r"factor is .* and least_mm nan; both must be numbers"):
        adjustable_crop(volume(), region(), factor=factor, least_mm=float("nan"))
