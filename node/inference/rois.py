"""The regions of a job again, as masks on the grids of its inputs (S21)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Stack
from node.dicom.regions import Region, RegionRules, mask_on, regions_of
from node.errors import MalformedDataset, RefusalCode, Refused
from node.inference.roi_parts import check_one_piece
from node.manifest import Manifest, RoiRole
from node.plugin import Roi
from node.roi_choice import EarlierRegion, JobRoi

_PARTS = {
    "SEG": "segment {} of a segmentation (SEG)",
    "RTSTRUCT": "ROI {} of a structure set (RTSTRUCT)",
    "SR": "measurement group {} of a report (SR)",
}
_HOW = {
    "MANUAL": "drawn by hand",
    "SEMIAUTOMATIC": "drawn with help of a program",
    "AUTOMATIC": "made by a program",
}
_LABEL_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class RoiFile:
    """One stored object that holds a region of a job, or that a report's region points at."""

    path: Path
    content_sha256: str


@dataclass(frozen=True, kw_only=True)
class ReadRoi:
    """A region of a job: what the plugin gets, and what the report says of it."""

    chosen: JobRoi
    region: Region
    roi: Roi
    #: Whether it says that it was made on another series, and came over by nearest voxel.
    carried: bool = False


def read_rois(
    manifest: Manifest,
    chosen: Sequence[JobRoi],
    files: Mapping[str, RoiFile],
    stacks: Mapping[str, Stack],
    *,
    others: Sequence[Stack] = (),
    assumed_charset: str = "",
) -> tuple[ReadRoi, ...]:
    """Return the regions of a job on the grids of their inputs.

    Parameters
    ----------
    manifest : Manifest
    chosen : sequence of JobRoi
        What was chosen when the job was made.
    files : mapping of SOP Instance UID to RoiFile
        What is here now: the chosen objects, and what reports among them point at.
    stacks : mapping of input role to Stack
    others : sequence of Stack
        Further images of the study, on which a contour may have been drawn.
    assumed_charset : str
        As for `regions_of`.

    Raises
    ------
    Refused
        INPUT_CHANGED if an object is gone or has another content; ROI_SEVERAL if two regions
        are one thing drawn twice, or one that must be one lesion has parts; any code
        of `mask_on`.
    """
    reader = _Reader(
        manifest=manifest,
        files=files,
        stacks=stacks,
        others=others,
        assumed_charset=assumed_charset,
    )
    found = tuple(reader.read(one) for one in chosen)
    for name in manifest.rois:
        of_role = [one for one in found if one.chosen.role == name]
        _refuse_twice(name, of_role)
        _refuse_doubtful_edits(name, of_role, reader)
    return found


def rois_of_case(manifest: Manifest, found: Sequence[ReadRoi]) -> Mapping[str, tuple[Roi, ...]]:
    """Return the regions as the plugin gets them, by role."""
    return {
        name: tuple(one.roi for one in found if one.chosen.role == name) for name in manifest.rois
    }


def source_sentence(region: Region) -> str:
    """Return where a region comes from, without names and UIDs."""
    part = _PARTS[region.source_kind].format(region.number)
    return ", ".join(word for word in (part, _HOW.get(region.algorithm, "")) if word)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """What is here to read regions from."""

    manifest: Manifest
    files: Mapping[str, RoiFile]
    stacks: Mapping[str, Stack]
    others: Sequence[Stack]
    assumed_charset: str

    def read(self, chosen: JobRoi) -> ReadRoi:
        role = self.manifest.rois[chosen.role]
        try:
            regions = list(self._regions(chosen))
            region = next((one for one in regions if _is(one, chosen)), None)
            if region is None:
                raise Refused(RefusalCode.INPUT_CHANGED, "the chosen region is not in its object")
            mask = self._mask(region, role, regions)
        except Refused as refusal:
            raise Refused(refusal.code, f"{role.name}: {refusal.sentence}") from None
        except (MalformedDataset, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise Refused(RefusalCode.ROI_UNREADABLE, f"{role.name}: {why}") from error
        stack = self.stacks[role.input]
        roi = Roi(
            mask=mask,
            role=role.input,
            label=region.name[:_LABEL_LENGTH],
            source=source_sentence(region),
        )
        check_one_piece(role, roi, stack.geometry.spacing_mm)
        made_on = region.referenced_series
        carried = bool(made_on) and stack.series_instance_uid not in made_on
        return ReadRoi(chosen=chosen, region=region, roi=roi, carried=carried)

    def earlier(self, one: EarlierRegion, role: RoiRole) -> NDArray[np.bool_] | None:
        """Return the mask of a region that was left out as edited; None: there is none to have."""
        try:
            file = self._file(one.sop_instance_uid, one.content_sha256)
            regions = regions_of(file.path, assumed_charset=self.assumed_charset)
            return next(self._mask(r, role, regions) for r in regions if _is(r, one))
        except (Refused, MalformedDataset, OSError, StopIteration):
            return None

    def _mask(self, region: Region, role: RoiRole, regions: Sequence[Region]) -> NDArray[np.bool_]:
        return mask_on(
            region,
            self.stacks[role.input],
            # What nobody approved was refused when the job was made, by the rule's setting.
            rules=RegionRules(fraction=role.fraction, unapproved=True),
            regions=regions,
            stacks=(*self.stacks.values(), *self.others),
            assumed_charset=self.assumed_charset,
        )

    def _regions(self, chosen: JobRoi) -> Iterator[Region]:
        """Yield the regions of the chosen object, and of what its report points at."""
        own = self._file(chosen.sop_instance_uid, chosen.content_sha256)
        for region in regions_of(own.path, assumed_charset=self.assumed_charset):
            yield region
            if _is(region, chosen) and region.segment_of is not None and chosen.points_at_sha256:
                pointed = self._file(region.segment_of[0], chosen.points_at_sha256)
                yield from regions_of(pointed.path, assumed_charset=self.assumed_charset)

    def _file(self, uid: str, content_sha256: str) -> RoiFile:
        found = self.files.get(uid)
        if found is None or found.content_sha256 != content_sha256:
            gone = "is not here any more" if found is None else "has another content by now"
            raise Refused(RefusalCode.INPUT_CHANGED, f"the object of the region {gone}")
        return found


def _is(region: Region, chosen: JobRoi | EarlierRegion) -> bool:
    return (region.sop_instance_uid, region.number) == (chosen.sop_instance_uid, chosen.number)


def _refuse_twice(name: str, found: Sequence[ReadRoi]) -> None:
    """Refuse two regions of which both cannot be meant: one thing drawn twice.

    Of two objects neither knew the other, so one shared voxel is too much. Who drew both in one
    object saw them side by side: neighbours may touch and overlap there, by half of the smaller.
    """
    places = [np.flatnonzero(one.roi.mask) for one in found]
    for number, one in enumerate(found):
        for before, other in enumerate(found[:number]):
            together = one.chosen.sop_instance_uid == other.chosen.sop_instance_uid
            smaller = min(places[number].size, places[before].size)
            shared = np.intersect1d(places[number], places[before], assume_unique=True).size
            if shared > (smaller / 2 if together else 0):
                raise Refused(
                    RefusalCode.ROI_SEVERAL,
                    f"{name}: {_told(other)} and {_told(one)} {_how_alike(together)}; one of them "
                    "is not meant: store all that are meant, each once, in one object",
                )


def _refuse_doubtful_edits(name: str, found: Sequence[ReadRoi], reader: _Reader) -> None:
    """Refuse where a region counts as edited by its name alone, and lies elsewhere than its edit.

    Viewers call everything "Segment 1": what shares no voxel may be another lesion (S21).
    """
    for earlier in {one for new in found for one in new.chosen.edit_of}:
        mask = reader.earlier(earlier, reader.manifest.rois[name])
        news = [one.roi.mask for one in found if earlier in one.chosen.edit_of]
        if mask is not None and not any((mask & new).any() for new in news):
            raise Refused(
                RefusalCode.ROI_SEVERAL,
                f"{name}: a region that has the name and author of a later one shares no voxel "
                "with it: whether it was moved or is another lesion, nothing tells; draw both in "
                "one object, give them names of their own, or say "
                f"rois.{name}.latest = true in the rule",
            )


def _told(one: ReadRoi) -> str:
    """Return what a region is, and which of those that look alike: when it was made."""
    made = one.region.created_at[:12]
    return one.roi.source + (f" ({made[:8]} {made[8:10]}:{made[10:]})" if len(made) == 12 else "")


def _how_alike(together: bool) -> str:
    return (
        "lie in one object and share more than half of the smaller one"
        if together
        else "lie in two objects and overlap"
    )
