"""Notes about a run: AI did not run, a result is withdrawn, a result is rejected (S7, S8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydicom import Dataset

from node.dicom import codes
from node.dicom.uids import derived_uid
from node.manifest import Code
from node.model import Job
from node.results.coding import add_coding_schemes
from node.results.encode import encoded
from node.results.request import EncodedObject
from node.results.sentences import RESEARCH_USE
from node.results.sr import Reference, add_evidence
from node.results.sr_items import code, container, text
from node.results.writing import Author, device_uid, moment_of

#: After everything that a run makes (S25).
POSITION = 1000


@dataclass(frozen=True, kw_only=True)
class StoredAuthor:
    """A plugin as rows and objects remember it, which may not be installed any more."""

    name: str
    version: str
    digest: str
    title: str
    manufacturer: str
    private_schemes: tuple[str, ...] = ()

    @property
    def name_version(self) -> str:
        """Return ``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class NoteRequest:
    """Everything that decides the bytes of a note; nothing else does (S1).

    Attributes
    ----------
    source : Dataset
        Header that patient, study and order are copied from (S3), decoded.
    role : str
        Of the evidence; with the job and the encoding it makes the UIDs.
    at : float
        The one time that it says: of the row that asked for it.
    sr_class : str
        Of its profile; part of its UIDs only where it is not as usual, so that all other notes
        keep theirs.
    """

    job: Job
    manifest: Author
    source: Dataset = field(repr=False)
    role: str
    at: float
    charset: str = "ISO_IR 192"
    content_qualification: str = "RESEARCH"
    device_serial_number: str = "1"
    institution: str = ""
    station_name: str = ""
    sr_class: str = "comprehensive 3d"

    @property
    def released(self) -> bool:
        """Return whether it may go without the word RESEARCH."""
        return self.content_qualification == "PRODUCT"

    @property
    def time(self) -> datetime:
        """Return its time, in the zone of the source."""
        return moment_of(self.at, self.source)

    @property
    def device_uid(self) -> str:
        """Return the Device UID of the plugin."""
        return device_uid(self.manifest)

    def uid(self, *parts: str) -> str:
        """Return a UID: f(job, run, role, profile) (S1)."""
        plain = "|comprehensive" if self.sr_class == "comprehensive" else ""
        profile = f"{self.charset}|{self.content_qualification}{plain}"
        return derived_uid(
            self.job.id, str(self.job.run_number), profile, "note", self.role, *parts
        )


def sentences(request: NoteRequest, said: Iterable[str], *, outcome: Code | None = None) -> Dataset:
    """Return the container of what a note says, in a code and in words."""
    evaluations = container(codes.QUALITATIVE_EVALUATIONS)
    coded = [code("CONTAINS", codes.FINDINGS_SUMMARY, outcome)] if outcome else []
    words = [*said, *(() if request.released else (RESEARCH_USE,))]
    evaluations.ContentSequence = [
        *coded,
        *(text("CONTAINS", codes.COMMENT, sentence) for sentence in words),
    ]
    return evaluations


def finished(
    request: NoteRequest, ds: Dataset, references: Sequence[Reference], *, number: int = 0
) -> EncodedObject:
    """Return a note as the bytes of its file."""
    add_evidence(ds, references)
    add_coding_schemes(ds, request.source, request.manifest)
    return encoded(ds, role=request.role, position=POSITION + number, charset=request.charset)
