"""The regions of a study as routing sees them: headers of SEG, RTSTRUCT and SR, no pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from node.dicom.regions import REGION_CLASSES, Region, regions_of
from node.dicom.rejection_notes import NOTE_CLASSES, rejected_by
from node.dicom.values import lookup_in, text
from node.errors import MalformedDataset
from node.model import Instance, InstanceState
from node.routing.reading import SeriesRow
from node.routing.rois import FoundRegion
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import studies_of

T = TypeVar("T")


class StudyRegions:
    """Reads the regions of one study when they are first asked for.

    Parameters
    ----------
    db : Database
        Knows in which study the images lie that a region was drawn on.
    files : Files
    study_instance_uid : str
    rows : sequence of SeriesRow
        What peers routed to us; ours are not among them (S17).
    assumed_charset : str
        Character set of undeclared 8-bit text of the study's sender (S6).
    """

    def __init__(
        self,
        db: Database,
        files: Files,
        study_instance_uid: str,
        rows: Sequence[SeriesRow],
        assumed_charset: str,
    ):
        self._db = db
        self._files = files
        self._study_uid = study_instance_uid
        self._rows = rows
        self._charset = assumed_charset
        #: Why objects could not be read, one sentence each.
        self.unreadable: list[str] = []

    @cached_property
    def found(self) -> tuple[FoundRegion, ...]:
        """Return every region, in order of arrival."""
        return tuple(
            FoundRegion(
                region=region,
                content_sha256=one.content_sha256,
                in_conflict=one.state is InstanceState.CONFLICT,
                series_number=text(lookup_in(row.header)("SeriesNumber")),
                on_other_study=any(uid in self._elsewhere for uid in _drawn_on(region)),
                rejected=self._is_rejected(one, region),
            )
            for one, row, region in self._read
        )

    @property
    def studies_named(self) -> frozenset[str]:
        """Return the other studies on whose images a region of this one was drawn."""
        return frozenset().union(*self._elsewhere.values())

    @cached_property
    def _read(self) -> tuple[tuple[Instance, SeriesRow, Region], ...]:
        objects = [
            (one, row)
            for row in self._rows
            for one in row.instances
            if one.sop_class_uid in REGION_CLASSES
        ]
        return tuple(
            (one, row, region)
            for one, row in sorted(objects, key=lambda pair: pair[0].id)
            for region in self._read_with(regions_of, one)
        )

    @cached_property
    def rejected(self) -> frozenset[str]:
        """Return SOP Instance UIDs of what rejection notes of the study take back."""
        notes = [
            one for row in self._rows for one in row.instances if one.sop_class_uid in NOTE_CLASSES
        ]
        return frozenset().union(*(self._read_with(rejected_by, one) for one in notes))

    def _is_rejected(self, one: Instance, region: Region) -> bool:
        """Return whether an object is taken back, or the segmentation that it points at."""
        pointed = "" if region.segment_of is None else region.segment_of[0]
        return one.sop_instance_uid in self.rejected or pointed in self.rejected

    @cached_property
    def _elsewhere(self) -> Mapping[str, frozenset[str]]:
        """Return images and series that regions name and that lie in other studies alone."""
        here = {one.sop_instance_uid for row in self._rows for one in row.instances}
        here |= {row.series_instance_uid for row in self._rows}
        named = {uid for _, _, region in self._read for uid in _drawn_on(region)} - here
        studies = studies_of(self._db, named)
        return {uid: known for uid, known in studies.items() if self._study_uid not in known}

    def _read_with(self, read: Callable[..., Iterable[T]], one: Instance) -> tuple[T, ...]:
        """Return what a file holds; nothing, and why, where it cannot be read."""
        path = self._files.absolute(one.path)
        try:
            return tuple(read(path, assumed_charset=self._charset))
        except MalformedDataset as error:
            self.unreadable.append(f"{one.modality}: {error}")
        except OSError as error:
            self.unreadable.append(f"{one.modality}: a file cannot be read: {error.strerror}")
        return ()


def _drawn_on(region: Region) -> tuple[str, ...]:
    return region.referenced_instances + region.referenced_series
