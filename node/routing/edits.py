"""Which regions are edits of others: what was edited is not meant any more (S21)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from node.dicom.regions import Region


class HasRegion(Protocol):
    """Something about a region."""

    @property
    def region(self) -> Region:
        """Return the region."""


R = TypeVar("R", bound=HasRegion)


def newest_edits(found: Sequence[R]) -> list[R]:
    """Return the regions without those of objects that were edited since.

    One object replaces another if both say when they were made and it is the later one, if
    they are of one kind and one author, and if each fitting region of the older one is in the
    newer one again: by Tracking UID; where not both have one, by name inside one series.
    """
    objects: dict[str, list[R]] = defaultdict(list)
    for one in found:
        objects[one.region.sop_instance_uid].append(one)
    edited = {
        uid
        for uid, old in objects.items()
        if any(_replaces(new, old) for other, new in objects.items() if other != uid)
    }
    return [one for one in found if one.region.sop_instance_uid not in edited]


def edited_by_name(new: R, found: Sequence[R], current: Sequence[R]) -> list[R]:
    """Return the regions that are not current any more, and that `new` is in place of by its name.

    A name says little: whether they were moved away from or are other lesions, their voxels tell.
    """
    gone = [one for one in found if one not in current]
    return [
        one
        for one in gone
        if _by_one_hand(new.region, one.region)
        and not (one.region.tracking_uid and new.region.tracking_uid)
        and _same(one.region, new.region)
    ]


def latest_object(found: Sequence[R]) -> list[R]:
    """Return the regions of the object that says it was made last; all if nothing says so."""
    moments = {one.region.sop_instance_uid: one.region.created_at for one in found}
    latest = max(moments.values(), default="")
    last = [uid for uid, moment in moments.items() if moment == latest]
    if not latest or len(last) > 1:
        return list(found)
    return [one for one in found if one.region.sop_instance_uid == last[0]]


def _replaces(new: Sequence[HasRegion], old: Sequence[HasRegion]) -> bool:
    first, then = old[0].region, new[0].region
    if not first.created_at or then.created_at <= first.created_at:
        return False
    if not _by_one_hand(then, first):
        return False
    return all(any(_same(one.region, other.region) for other in new) for one in old)


def _by_one_hand(one: Region, other: Region) -> bool:
    return (one.source_kind, one.creator) == (other.source_kind, other.creator)


def _same(one: Region, other: Region) -> bool:
    if one.tracking_uid and other.tracking_uid:
        return one.tracking_uid == other.tracking_uid
    named = one.name.strip() != "" and one.name == other.name
    in_one_series = one.series_instance_uid == other.series_instance_uid
    return named and in_one_series and not _apart(one, other)


def _apart(one: Region, other: Region) -> bool:
    """Return whether two regions name images, and none in common.

    Viewers call everything "Segment 1": two nodes of one name are two nodes.
    """
    images = set(one.referenced_instances), set(other.referenced_instances)
    return all(images) and images[0].isdisjoint(images[1])
