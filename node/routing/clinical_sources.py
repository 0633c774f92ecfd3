"""Where clinical values of a study are looked for: persons' entries, reports, one header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from pydicom import Dataset

from node.clinical_values import ClinicalValue
from node.dicom.headers import read_header
from node.dicom.report_regions import REPORT_CLASSES
from node.dicom.report_values import Report, current, read_report
from node.errors import MalformedDataset
from node.manifest import Manifest
from node.model import Instance, InstanceState
from node.routing.clinical import clinical_values, wanted_concepts
from node.routing.guards import check_identity
from node.routing.reading import SeriesRow
from node.storage.clinical_rows import entries_of_study, holding
from node.storage.database import Database
from node.storage.files import Files


class ClinicalSources:
    """Reads what a plugin asks for; nothing for plugins that ask for nothing.

    Parameters
    ----------
    db, files : Database, Files
    study_instance_uid : str
    rows : sequence of SeriesRow
        What peers routed to us of the study; never our own objects (S17).
    assumed_charset : str
        Character set of undeclared 8-bit text of its sender (S6).
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
        self._study = study_instance_uid
        self._rows = rows
        self._charset = assumed_charset
        #: Reports that were not looked into, and why.
        self.notes: list[str] = []

    def of(self, manifest: Manifest, header: Dataset) -> tuple[ClinicalValue, ...]:
        """Return what is known of the values that the plugin can use.

        Parameters
        ----------
        manifest : Manifest
        header : Dataset
            Of the images that were chosen for its first input: attributes are read there (S3).

        Raises
        ------
        Refused
            IDENTITY_MIXED if a report is of another patient (S3).
        """
        if not manifest.clinical:
            return ()
        entries = holding(entries_of_study(self._db, self._study))
        concepts = wanted_concepts(manifest.clinical)
        reports = current(read_report(ds, concepts) for ds in self._reports)
        check_identity([header, *(ds for ds in self._reports)])
        return clinical_values(manifest.clinical, entries, self._complete(reports), header)

    def _complete(self, reports: Sequence[Report]) -> tuple[Report, ...]:
        whole = tuple(report for report in reports if report.complete)
        if len(whole) < len(reports):
            self._note(f"{len(reports) - len(whole)} unfinished reports were not read")
        return whole

    @cached_property
    def _reports(self) -> tuple[Dataset, ...]:
        return tuple(self._read())

    def _read(self) -> Iterator[Dataset]:
        for row in self._rows:
            for one in row.instances:
                if one.sop_class_uid in REPORT_CLASSES:
                    yield from self._report(one)

    def _report(self, one: Instance) -> Iterator[Dataset]:
        if one.state is not InstanceState.STORED:
            self._note("a report is here in two versions that differ and was not read")
            return
        try:
            yield read_header(self._files.absolute(one.path), assumed_charset=self._charset)
        except (MalformedDataset, OSError) as error:
            self._note(f"a report cannot be read: {error}")

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
