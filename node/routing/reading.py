"""The images of a study as routing sees them: one header a series, the rest when needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from node.dicom.frames import SourceSeries
from node.dicom.headers import read_header
from node.dicom.source import read_series
from node.dicom.values import lookup_in, number
from node.errors import MalformedDataset, RefusalCode, Refused
from node.model import Instance, InstanceState, Origin
from node.storage.files import Files

#: Objects with pixels that are labels, not images.
_NO_IMAGES = frozenset({"SEG", "RTDOSE"})


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """One series as its rows say, with the header of the instance that came first."""

    series_instance_uid: str
    modality: str
    instances: tuple[Instance, ...]
    header: Dataset

    @property
    def is_image(self) -> bool:
        """Return whether its objects hold images that a rule may ask for."""
        look = lookup_in(self.header)
        return self.modality not in _NO_IMAGES and bool(number(look("Rows")))


class StudyImages:
    """Reads headers of one study, each file at most twice, and keeps them.

    Parameters
    ----------
    files : Files
    instances : sequence of Instance
        All versions of all instances of the study.
    assumed_charset : str
        Character set of undeclared 8-bit text of its sender (S6).
    """

    def __init__(self, files: Files, instances: Sequence[Instance], assumed_charset: str):
        self._files = files
        self._charset = assumed_charset
        self._usable = usable(instances)
        self._read: dict[str, SourceSeries] = {}
        #: Series whose files cannot be parsed, with the reason.
        self.unreadable: dict[str, str] = {}

    def rows(self) -> tuple[SeriesRow, ...]:
        """Return each series with its first header, in order of arrival."""
        by_series: dict[str, list[Instance]] = {}
        for one in self._usable.values():
            by_series.setdefault(one.series_instance_uid, []).append(one)
        found = (self._row(uid, members) for uid, members in by_series.items())
        return tuple(row for row in found if row is not None)

    def source(self, row: SeriesRow, *, whole: bool = True) -> SourceSeries:
        """Return every header and frame of a series; its first header only unless `whole`.

        Raises
        ------
        Refused
            If a file is gone or cannot be parsed: a series is used whole or not at all.
        """
        uid = row.series_instance_uid
        if not whole:
            return SourceSeries(
                series_instance_uid=uid,
                study_instance_uid=row.instances[0].study_instance_uid,
                modality=row.modality,
                headers=(row.header,),
                frames=(),
            )
        if uid not in self._read:
            paths = [self._files.absolute(one.path) for one in row.instances]
            try:
                found = read_series(paths, assumed_charset=self._charset)
            except MalformedDataset as error:
                raise Refused(
                    RefusalCode.SOURCE_ATTRIBUTE_UNUSABLE, f"a header is unusable: {error}"
                ) from error
            except OSError as error:
                raise Refused(
                    RefusalCode.INPUT_CHANGED, f"a file cannot be read: {error.strerror}"
                ) from error
            self._read[uid] = next(one for one in found if one.series_instance_uid == uid)
        return self._read[uid]

    def instance(self, sop_instance_uid: str) -> Instance:
        """Return the row of an instance that is in use."""
        return self._usable[sop_instance_uid]

    def _row(self, uid: str, members: Sequence[Instance]) -> SeriesRow | None:
        path = self._files.absolute(members[0].path)
        try:
            header = read_header(path, assumed_charset=self._charset)
        except MalformedDataset as error:
            self.unreadable[uid] = str(error)
            return None
        except OSError as error:
            self.unreadable[uid] = f"a file cannot be read: {error.strerror}"
            return None
        return SeriesRow(
            series_instance_uid=uid,
            modality=members[0].modality,
            instances=tuple(members),
            header=header,
        )


def usable(instances: Sequence[Instance]) -> Mapping[str, Instance]:
    """Return the version in use of each SOP Instance UID that a peer routed to us.

    Ours (S17) and retrieved ones (S15) are none of the rules' business. Of versions in
    CONFLICT the first stands for all, so that what needs it can be refused by name (S2).
    """
    kept: dict[str, Instance] = {}
    for one in instances:
        if one.origin is not Origin.ROUTED:
            continue
        if one.state is InstanceState.STORED:
            kept[one.sop_instance_uid] = one
        elif one.state is InstanceState.CONFLICT:
            kept.setdefault(one.sop_instance_uid, one)
    return kept
