"""Regions that somebody outlined (SEG, RTSTRUCT, SR) become the labels of a case."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Stack
from node.dicom.regions import Region, RegionRules, mask_on, regions_of
from node.errors import LearningError, NodeError
from node.inference.roi_parts import check_one_piece
from node.inference.rois import source_sentence
from node.manifest import Code, Manifest, RoiRole, SegmentSpec
from node.plugin import Roi

#: Research data are rarely approved in a planning system.
_RULES = RegionRules(unapproved=True)
_NUMBER = re.compile(r"\s*#?\s*\d+$")


def masks_of(
    manifest: Manifest, paths: Sequence[Path], stacks: Mapping[str, Stack], *, outlined: bool
) -> dict[str, NDArray[np.bool_]]:
    """Return the reference mask of each segment of the manifest.

    Parameters
    ----------
    manifest : Manifest
        A region belongs to the segment whose name or label it has; a number may follow
        (``Tumor 2``): several regions of one object are one mask together.
    paths : sequence of Path
        Files of the study that are no images.
    stacks : mapping of input role to Stack
        The chosen images.
    outlined : bool
        False: the table says that there is nothing; every mask is empty.

    Raises
    ------
    LearningError
        If a region is missing, or is there though the table says none, or two objects outline
        the same.
    Refused
        If a region does not fit the images.
    """
    if not manifest.segments:
        return {}
    regions = [region for path in paths for region in regions_of(path)]
    found = {
        name: _drawn_here([r for r in regions if _means(r, spec)], stacks)
        for name, spec in manifest.segments.items()
    }
    _check_found(manifest, regions, found, outlined)
    return {name: _mask(name, chosen, regions, stacks) for name, chosen in found.items()}


def rois_of(
    manifest: Manifest, paths: Sequence[Path], stacks: Mapping[str, Stack], *, reader: str = ""
) -> dict[str, tuple[Roi, ...]]:
    """Return the regions that the plugin asks for beside the images, by role.

    A region belongs to the role whose code it has, or whose name (``Tumor 2`` to ``tumor``):
    research data are rarely coded. Of a `reader` other than the first the objections say so.

    Raises
    ------
    LearningError
        If there is none, or are several where the manifest asks for one.
    Refused
        If a region does not fit the images, or must be one lesion and has parts.
    """
    if not manifest.rois:
        return {}
    regions = [region for path in paths for region in regions_of(path)]
    try:
        return {
            name: tuple(_roi(role, one, regions, stacks) for one in _serving(role, regions, stacks))
            for name, role in manifest.rois.items()
        }
    except NodeError as error:
        if not reader:
            raise
        raise LearningError(f"the {reader} reader: {error}", code="DATA_INVALID") from error


def _roi(
    role: RoiRole, chosen: Region, regions: Sequence[Region], stacks: Mapping[str, Stack]
) -> Roi:
    stack = stacks[role.input]
    mask = mask_on(chosen, stack, rules=_RULES, regions=regions, stacks=tuple(stacks.values()))
    label, source = chosen.name[:64], source_sentence(chosen)
    roi = Roi(mask=mask, role=role.input, label=label, source=source)
    check_one_piece(role, roi, stack.geometry.spacing_mm)
    return roi


def _serving(
    role: RoiRole, regions: Sequence[Region], stacks: Mapping[str, Stack]
) -> Sequence[Region]:
    """Return the regions that serve a role; one, unless it takes many."""
    found = _drawn_here([one for one in regions if _serves(one, role)], stacks)
    if not found or (len(found) > 1 and not role.many):
        there = ", ".join(sorted({f"`{region.name}`" for region in regions})) or "none"
        raise LearningError(
            f"{len(found)} regions for the role `{role.name}` among its SEG, RTSTRUCT and SR "
            f"(there: {there}); the plugin asks for {'one or more' if role.many else 'one'}, with "
            f"a code of the manifest or named `{role.name}`"
        )
    return found


def _serves(region: Region, role: RoiRole) -> bool:
    named = _NUMBER.sub("", _plain(region.name)) == _plain(role.name)
    return named or (region.type is not None and _key(region.type) in map(_key, role.codes))


def _key(code: Code) -> tuple[str, str]:
    return code.value, code.scheme


def _means(region: Region, spec: SegmentSpec) -> bool:
    names = {_plain(spec.name), _plain(spec.label)}
    said = {_plain(region.name), _plain(region.label)}
    return bool(names & (said | {_NUMBER.sub("", name) for name in said}))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _check_found(
    manifest: Manifest,
    regions: Sequence[Region],
    found: Mapping[str, Sequence[Region]],
    outlined: bool,
) -> None:
    any_found = any(found.values())
    if outlined and not any_found:
        wanted = ", ".join(f"`{spec.label}`" for spec in manifest.segments.values())
        there = ", ".join(sorted({f"`{region.name}`" for region in regions})) or "none"
        raise LearningError(
            f"no region named {wanted} among its SEG and RTSTRUCT (there: {there}); outline it, "
            "or write `none` in the column `regions` if there is nothing to outline"
        )
    if not outlined and any_found:
        raise LearningError(
            "the column `regions` says none, yet there is a region of that name; correct one"
        )


def _mask(
    name: str, chosen: Sequence[Region], regions: Sequence[Region], stacks: Mapping[str, Stack]
) -> NDArray[np.bool_]:
    objects = {region.sop_instance_uid for region in chosen}
    if len(objects) > 1:
        raise LearningError(
            f"{len(objects)} objects outline `{name}`; leave the one that is the reference"
        )
    stack = _drawn_on(chosen, stacks)
    mask = np.zeros(stack.geometry.shape, np.bool_)
    for region in chosen:
        mask |= mask_on(region, stack, rules=_RULES, regions=regions, stacks=tuple(stacks.values()))
    return mask


def _drawn_here(regions: Sequence[Region], stacks: Mapping[str, Stack]) -> Sequence[Region]:
    """Return the regions that were drawn on the chosen images, if there are any, else all."""
    chosen = {stack.series_instance_uid for stack in stacks.values()}
    here = [region for region in regions if chosen & set(region.referenced_series)]
    return here or regions


def _drawn_on(chosen: Sequence[Region], stacks: Mapping[str, Stack]) -> Stack:
    """Return the chosen images that the regions were drawn on, else the first role's."""
    referenced = {uid for region in chosen for uid in region.referenced_series}
    fitting = (s for s in stacks.values() if s.series_instance_uid in referenced)
    return next(fitting, next(iter(stacks.values())))
