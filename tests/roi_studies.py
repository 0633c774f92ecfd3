"""A study that suits a plugin, by its manifest alone: images for its inputs, regions on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.manifest import Code, InputRole, Manifest, RoiRole
from node.manifest_file import MANIFEST_NAME, parse_manifest
from tests.make import ct_series, mr_series, with_identity_of
from tests.regions_case import code, segment, segmentation

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
SHAPE = (12, 40, 36)
SPACING = (3.0, 0.8, 0.7)

Mask = NDArray[np.bool_]


def shipped_with_regions() -> tuple[Path, ...]:
    """Return the folders of the plugins of this repository that need a region."""
    found = sorted(PLUGINS.glob(f"*/{MANIFEST_NAME}"))
    return tuple(path.parent for path in found if parse_manifest(path.parent).rois)


def block(shape: tuple[int, int, int] = SHAPE) -> Mask:
    """Return a region of some slices in the middle."""
    mask = np.zeros(shape, np.bool_)
    mask[3:9, 12:26, 10:24] = True
    return mask


def images_for(manifest: Manifest) -> dict[str, list[Dataset]]:
    """Return a series for each input, all in one study and one frame of reference."""
    roles = enumerate(manifest.inputs.values(), start=1)
    series = {role.name: _series(role, number, manifest) for number, role in roles}
    first = next(iter(series.values()))
    return {name: with_identity_of(first[0], one) for name, one in series.items()}


def _series(role: InputRole, number: int, manifest: Manifest) -> list[Dataset]:
    header: dict[str, object] = {
        "SeriesNumber": number,
        "SeriesDescription": role.phase.replace("_", " ") or role.name,
        "BodyPartExamined": next(iter(manifest.limits.body_parts), "CHEST") or "CHEST",
        **{name: (both.low + both.high) / 2 for name, both in role.header.items()},
    }
    if role.contrast == "required":
        header["ContrastBolusAgent"] = "Phantom"
    if "CT" in role.modality:
        soft = np.full(SHAPE, 60, np.int16)
        return ct_series(SHAPE, spacing=SPACING, values=soft, **header)  # type: ignore[arg-type]
    return mr_series(SHAPE, spacing=SPACING, **header)  # type: ignore[arg-type]


def regions_for(
    manifest: Manifest,
    images: Mapping[str, Sequence[Dataset]],
    masks: Mapping[str, Sequence[Mask]] | None = None,
    **changes: object,
) -> list[Dataset]:
    """Return a SEG for each input that a region is needed on, coded as the manifest asks.

    Without `masks` (by ROI role) each region is one `block`, a little apart from the others.
    """
    if masks is None:
        masks = {n: [np.roll(block(), i, 2)] for i, n in enumerate(manifest.rois)}
    inputs = dict.fromkeys(role.input for role in manifest.rois.values())
    made = []
    for name in inputs:
        on = [role for role in manifest.rois.values() if role.input == name]
        pairs = [(role, mask) for role in on for mask in masks.get(role.name, ())]
        if pairs:
            made.append(_seg(images[name], pairs, changes))
    return made


def _seg(
    images: Sequence[Dataset],
    pairs: Sequence[tuple[RoiRole, Mask]],
    changes: Mapping[str, object],
) -> Dataset:
    frames = [
        (number, int(index), mask[index])
        for number, (_, mask) in enumerate(pairs, start=1)
        for index in np.flatnonzero(mask.any(axis=(1, 2)))
    ]
    segments = [_segment(number, role) for number, (role, _) in enumerate(pairs, start=1)]
    return segmentation(images, frames, **{"SegmentSequence": segments, **changes})


def _segment(number: int, role: RoiRole) -> Dataset:
    made = segment(number, role.name, _values(role.codes[0]))
    if role.sites:
        made.AnatomicRegionSequence = [code(_values(role.sites[0]))]
    return made


def _values(of: Code) -> dict[str, str]:
    return {
        "CodeValue": of.value,
        "CodingSchemeDesignator": of.scheme,
        "CodeMeaning": of.meaning,
    }
