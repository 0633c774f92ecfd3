"""What the report says of the regions that went in: which object, whose, made how (S21)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from node.dicom.codes import SOURCE_OF_MEASUREMENT
from node.dicom.regions import Region
from node.results.sr_items import item

_PART = {"SEG": "segment", "RTSTRUCT": "ROI", "SR": "measurement group"}
_HOW = {"MANUAL": "manual", "SEMIAUTOMATIC": "semi-automatic", "AUTOMATIC": "automatic"}


@dataclass(frozen=True, kw_only=True)
class SourceRegion:
    """One region that the plugin got."""

    #: Name of the ROI role.
    role: str
    region: Region
    #: Name and version of our plugin that made it; "": somebody else did.
    made_by: str = ""
    #: Whether it was made on another series and carried over to the one that was judged.
    carried: bool = False
    #: Whether the object is, or will be, where the report goes; else it is named in words only.
    referenced: bool = True


def region_sentence(one: SourceRegion, patient_name: str) -> str:
    """Return where a region comes from: object, author, manual or automatic.

    Parameters
    ----------
    patient_name : str
        An author of this name is left out: some writers put the patient there.
    """
    region = one.region
    label = f" “{region.name}”" if region.name else ""
    kind = region.source_kind
    words = [f"{_PART[kind]} {region.number}{label} of {kind} {region.sop_instance_uid}"]
    how = _HOW.get(region.algorithm, "")
    author = region.creator.rstrip("^= ")
    if one.made_by:
        words.append(f"made by {one.made_by}, verified by nobody")
    elif author and author.casefold() != patient_name.rstrip("^= ").casefold():
        words.append(f"by {author}")
    carried = "made on another series and carried over" if one.carried else ""
    words += [word for word in (how, carried, _moment(region.created_at)) if word]
    return f"Region {one.role}: {', '.join(words)}."


def region_items(regions: tuple[SourceRegion, ...]) -> Iterator[Dataset]:
    """Yield a reference to the object of each region."""
    seen: set[tuple[str, int]] = set()
    for one in regions:
        region = one.region
        key = (region.sop_instance_uid, region.number)
        if not one.referenced or key in seen:
            continue
        seen.add(key)
        reference = Dataset()
        reference.ReferencedSOPClassUID = region.sop_class_uid
        reference.ReferencedSOPInstanceUID = region.sop_instance_uid
        if region.source_kind == "SEG":
            reference.ReferencedSegmentNumber = [region.number]
        value_type = "IMAGE" if region.source_kind == "SEG" else "COMPOSITE"
        found = item("CONTAINS", value_type, SOURCE_OF_MEASUREMENT)
        found.ReferencedSOPSequence = [reference]
        yield found


def region_references(regions: tuple[SourceRegion, ...]) -> Iterator[tuple[str, str, str, str]]:
    """Yield study, series, SOP class and SOP instance of each object, for the evidence."""
    for one in regions:
        region = one.region
        if one.referenced:
            yield (
                region.study_instance_uid,
                region.series_instance_uid,
                region.sop_class_uid,
                region.sop_instance_uid,
            )


def _moment(created_at: str) -> str:
    """Return a moment as people read it.

    Examples
    --------
    >>> _moment("20260301101500.5"), _moment("20260301"), _moment("")
    ('2026-03-01 10:15', '2026-03-01', '')
    """
    if len(created_at) < 8 or not created_at[:8].isdigit():
        return ""
    day = f"{created_at[:4]}-{created_at[4:6]}-{created_at[6:8]}"
    return f"{day} {created_at[8:10]}:{created_at[10:12]}" if len(created_at) >= 12 else day
