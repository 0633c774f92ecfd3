"""What the networks see of a tumour and of the fat, the same in training and in a run."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from checks import check_phases, check_regions, check_shown

from node.toolkit.crops import Place, fixed_crop, largest_slice
from node.toolkit.grids import AIR_HU, Box, part_of, resample
from node.toolkit.intensity import hu_window
from node.toolkit.settings import check_numbers, check_ranges

FOLDER = Path(__file__).resolve().parent
SETTINGS = tomllib.loads((FOLDER / "plugin.toml").read_text(encoding="utf-8"))["parameters"]
check_numbers(
    SETTINGS,
    {
        **{"tumor_mm": (1.0, 500.0), "fat_mm": (1.0, 500.0), "input_px": (32, 1024)},
        **{"slices": (1, 31), "slice_gap_mm": (0.1, 100.0), "threshold": (0.0, 1.0)},
        **{"width": (0.01, 4.0), "dropout": (0.0, 0.9), "attention_from_stage": (1, 4)},
        # What enhances around a tumour lies up to 8 mm outside of its outline.
        "margin_mm": (10.0, 500.0),
    },
)
check_ranges(SETTINGS, ("window_low_hu", "window_high_hu"), ("fat_low_hu", "fat_high_hu"))
PHASES = ("arterial", "portal_venous")
#: Both regions are drawn on this phase.
DRAWN_ON = "portal_venous"
TUMOR, FAT = "tumor", "lesser_omental_fat"


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the networks see of a patient, and what it was taken from.

    `images` are float32 in [0, 1], shape (channels, rows, columns): each phase, the `outline` of
    the tumour in the same slices, and the `fat`. `fat` is the fat in the drawn region, on the
    grid of `DRAWN_ON`; `areas_cm2` is its area in each slice.
    """

    images: dict[str, np.ndarray]
    places: dict[str, Place]
    fat: np.ndarray
    areas_cm2: np.ndarray


def seen_of(case):
    """Return what the networks see of a case; raises `Unsuitable` of one that none can judge."""
    volume = case.volumes[DRAWN_ON]
    (tumor,), (region,) = case.rois[TUMOR], case.rois[FAT]
    check_regions(volume, tumor.mask, region.mask)
    check_phases(case.volumes["arterial"], volume, tumor.mask)
    fat = fat_in(volume, region.mask)
    areas = areas_cm2(volume, fat)
    widest = int(areas.argmax()) if fat.any() else largest_slice(region.mask)
    places = {
        TUMOR: place_of(volume, tumor.mask, largest_slice(tumor.mask), side="tumor_mm"),
        FAT: place_of(volume, region.mask, widest, side="fat_mm"),
    }
    window = SETTINGS["window_low_hu"], SETTINGS["window_high_hu"]
    place = places[TUMOR]
    around = slices_around(volume, case.volumes["arterial"], tumor.mask)
    outlines = tumor.mask[around]
    images = {}
    for role in PHASES:
        planes = planes_of(case.volumes[role], volume.grid, around)
        check_shown(planes, outlines, role)
        images[role] = hu_window(np.stack([place.cut(plane) for plane in planes]), *window)
    images["outline"] = np.stack([place.cut(one, fill=0.0) for one in outlines]).clip(0.0, 1.0)
    # Nothing but the fat is left of the other crop, as the paper's group does it.
    grey = hu_window(volume.array[widest], SETTINGS["fat_low_hu"], SETTINGS["fat_high_hu"])
    images["fat"] = places[FAT].cut(np.where(fat[widest], grey, 0.0), fill=0.0)[None].clip(0, 1)
    images = {name: image.astype(np.float32) for name, image in images.items()}
    return Seen(images=images, places=places, fat=fat, areas_cm2=areas)


def fat_in(volume, region):
    """Return where fat lies in the drawn region, by its HU."""
    fat = region & (volume.array >= SETTINGS["fat_low_hu"])
    fat &= volume.array <= SETTINGS["fat_high_hu"]
    return fat if volume.padding is None else fat & ~volume.padding


def areas_cm2(volume, mask):
    """Return the area of a mask in each slice."""
    _, row_mm, column_mm = volume.spacing_mm
    return np.count_nonzero(mask, axis=(1, 2)) * row_mm * column_mm / 100


def place_of(volume, mask, slice_index, *, side):
    """Return a square around a region in a slice: one size for all, larger where it must be."""
    rows, columns = (np.flatnonzero(mask[slice_index].any(axis=axis)) for axis in (1, 0))
    _, row_mm, column_mm = volume.spacing_mm
    longest_mm = max(np.ptp(rows) * row_mm + row_mm, np.ptp(columns) * column_mm + column_mm)
    side_mm = max(SETTINGS[side], float(longest_mm) + 2 * SETTINGS["margin_mm"])
    pixels = SETTINGS["input_px"], SETTINGS["input_px"]
    return fixed_crop(volume, mask, side_mm=side_mm, size=pixels, slice_index=slice_index).place


def slices_around(volume, other, mask):
    """Return the slices that are seen; where a phase ends, the last one of both again."""
    middle = largest_slice(mask)
    step = max(1, round(SETTINGS["slice_gap_mm"] / volume.spacing_mm[0]))
    reach = SETTINGS["slices"] // 2
    found = middle + step * np.arange(-reach, reach + 1)
    row, column = np.argwhere(mask[middle]).mean(axis=0)
    slices = np.arange(len(volume.array))
    there = np.stack([slices, *(np.full(len(slices), at) for at in (row, column, 1.0))])
    places = (np.linalg.inv(other.affine) @ volume.affine @ there)[:3]
    ends = np.array(other.array.shape)[:, None] - 0.49
    shown = ((places > -0.51) & (places < ends)).all(axis=0) | (slices == middle)
    return np.clip(found, slices[shown].min(), slices[shown].max()).tolist()


def planes_of(volume, grid, slices):
    """Return planes of a grid, HU of a volume on that grid or on another one; padding is air."""
    array = np.asarray(volume.array, np.float32)
    if volume.padding is not None:
        array = np.where(volume.padding, np.float32(AIR_HU), array)
    if volume.grid.shape == grid.shape and np.allclose(volume.affine, grid.affine, atol=1e-3):
        return array[slices]
    low, high = min(slices), max(slices) + 1
    box = Box(start=(low, 0, 0), stop=(high, *grid.shape[1:]))
    target = part_of(grid, box)
    moved = resample(array, replace(volume, array=array).grid, target, order="linear", fill=AIR_HU)
    return moved[np.array(slices) - low]
