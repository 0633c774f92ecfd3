"""The regions of a study as routing sees them: headers of SEG, RTSTRUCT and SR, no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from node.dicom.regions import REGION_CLASSES, Region, regions_of
from node.dicom.values import lookup_in, text
from node.errors import MalformedDataset
from node.model import Instance, InstanceState
from node.routing.reading import SeriesRow
from node.routing.rois import FoundRegion
from node.storage.files import Files


class StudyRegions:
    """Reads the regions of one study when they are first asked for.

    Parameters
    ----------
    files : Files
    rows : sequence of SeriesRow
        What peers routed to us; ours are not among them (S17).
    assumed_charset : str
        Character set of undeclared 8-bit text of the study's sender (S6).
    """

    def __init__(self, files: Files, rows: Sequence[SeriesRow], assumed_charset: str):
        self._files = files
        self._rows = rows
        self._charset = assumed_charset
        #: Why objects could not be read, one sentence each.
        self.unreadable: list[str] = []

    @cached_property
    def found(self) -> tuple[FoundRegion, ...]:
        """Return every region, in order of arrival."""
        objects = [
            (one, row)
            for row in self._rows
            for one in row.instances
            if one.sop_class_uid in REGION_CLASSES
        ]
        return tuple(
            FoundRegion(
                region=region,
                content_sha256=one.content_sha256,
                in_conflict=one.state is InstanceState.CONFLICT,
                series_number=text(lookup_in(row.header)("SeriesNumber")),
            )
            for one, row in sorted(objects, key=lambda pair: pair[0].id)
            for region in self._regions_of(one)
        )

    def _regions_of(self, one: Instance) -> Iterator[Region]:
        path = self._files.absolute(one.path)
        try:
            yield from regions_of(path, assumed_charset=self._charset)
        except MalformedDataset as error:
            self.unreadable.append(f"{one.modality}: {error}")
        except OSError as error:
            self.unreadable.append(f"{one.modality}: a file cannot be read: {error.strerror}")
