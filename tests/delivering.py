"""An outbox with jobs in it, and DICOM peers that answer as a test wants: for delivery tests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer
from sqlalchemy import insert, select, update

from node.delivery.deliver import DeliveryEvent, Outlet, deliver_due
from node.delivery.destination import Destination, OutgoingObject
from node.model import Delivery, DestinationGrade, Evidence, Identity, Job, JobState
from node.settings import DestinationSettings
from node.storage.database import Database
from node.storage.delivery_rows import list_deliveries
from node.storage.files import Files
from node.storage.tables import delivery, evidence, job, metadata, study
from tests.make import ct_series, made, part10

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
VERIFICATION = "1.2.840.10008.1.1"

PATIENT = Identity(
    patient_id="TEST-1",
    issuer_of_patient_id="TESTS",
    patient_name="Müller^Jürgen",
    patient_birth_date="19600101",
    patient_sex="O",
    accession_number="ACC-1",
)


def evidence_pair() -> list[Dataset]:
    """Return two objects of one study that travel like a SEG and an SR; not more than that."""
    seg = ct_series((1, 8, 8), PatientName=PATIENT.patient_name)[0]
    seg.SOPClassUID, seg.Modality = SEG, "SEG"
    seg.SegmentSequence = [made(SegmentNumber=1, SegmentLabel="Größe >= 300 HU")]
    sr = ct_series((1, 8, 8), PatientName=PATIENT.patient_name)[0]
    sr.SOPClassUID, sr.Modality = SR, "SR"
    sr.StudyInstanceUID, sr.SeriesInstanceUID = seg.StudyInstanceUID, generate_uid()
    value = made(NumericValue="12.5", FloatingPointValue=12.5)
    sr.ContentSequence = [made(ValueType="NUM", MeasuredValueSequence=[value])]
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        del sr[keyword]
    return [seg, sr]


def outgoing(folder: Path, ds: Dataset, *, role: str = "seg", position: int = 0) -> OutgoingObject:
    """Write a data set as evidence; return it as a destination gets it."""
    content = part10(ds)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{role}-{hashlib.sha256(content).hexdigest()[:8]}.dcm"
    path.write_bytes(content)
    made_evidence = Evidence(
        id=position + 1,
        job_id="0" * 32,
        role=role,
        study_instance_uid=str(ds.StudyInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        path=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        position=position,
    )
    return OutgoingObject(evidence=made_evidence, path=path)


def settings_for(name: str = "pacs", **overrides: Any) -> DestinationSettings:
    values: dict[str, Any] = {
        "name": name,
        "kind": "dicom",
        "grade": DestinationGrade.TEST,
        "ae_title": "ARCHIVE",
        "host": "127.0.0.1",
        "timeout_s": 5.0,
    }
    return DestinationSettings(**(values | overrides))


@dataclass
class Outbox:
    """Rows and files of a node with finished jobs, and a sender over them."""

    folder: Path
    db: Database
    files: Files
    outlets: list[Outlet] = field(default_factory=list)
    events: list[DeliveryEvent] = field(default_factory=list)
    refusal: Any = None

    def add_job(
        self, destinations: Sequence[str] = ("pacs",), *, created_at: float = 0.0
    ) -> list[Dataset]:
        """Insert a completed job with a SEG and an SR; return the two data sets."""
        pair = evidence_pair()
        with self.db.write() as connection:
            count = len(connection.execute(select(job.c.id)).all()) + 1
            job_id = f"{count:032x}"
            study_id = connection.execute(insert(study).values(**_study_row(pair[0]))).lastrowid
            connection.execute(
                insert(job).values(**_job_row(job_id, study_id, destinations, created_at))
            )
        folder = self.files.evidence_folder(job_id)
        for position, (role, ds) in enumerate(zip(("seg", "sr"), pair, strict=True)):
            item = outgoing(folder, ds, role=role, position=position)
            self._add_evidence(job_id, item, destinations, created_at)
        return pair

    def _add_evidence(
        self, job_id: str, item: OutgoingObject, destinations: Sequence[str], now: float
    ) -> None:
        values = {k: v for k, v in vars(item.evidence).items() if k not in ("id", "path", "job_id")}
        path = self.files.relative(item.path)
        with self.db.write() as connection:
            evidence_id = connection.execute(
                insert(evidence).values(
                    **values, path=path, job_id=job_id, checks={}, created_at=now
                )
            ).lastrowid
            for name in destinations:
                connection.execute(
                    insert(delivery).values(
                        job_id=job_id,
                        evidence_id=evidence_id,
                        destination=name,
                        state="PENDING",
                        position=item.evidence.position,
                        attempts=0,
                        next_attempt_at=now,
                        status="",
                        reason="",
                        owner="",
                    )
                )

    def open(self, destination: Destination, name: str = "pacs", **overrides: Any) -> Outlet:
        """Add an outlet."""
        outlet = Outlet(settings=settings_for(name, **overrides), destination=destination)
        self.outlets.append(outlet)
        return outlet

    def deliver(self, now: float, *, owner: str = "me") -> int:
        """Deliver what is due at all outlets."""
        return deliver_due(
            self.db,
            self.files,
            self.outlets,
            now=now,
            owner=owner,
            allowed=self.allowed,
            on_event=self.events.append,
        )

    def allowed(self, _job: Job, _settings: DestinationSettings) -> Any:
        return self.refusal

    def rows(self, **filters: Any) -> list[Delivery]:
        """Return the deliveries by id."""
        return sorted((d for d, _ in list_deliveries(self.db, **filters)), key=lambda d: d.id)

    def states(self, **filters: Any) -> list[str]:
        return [str(row.state) for row in self.rows(**filters)]

    def evidence(self) -> list[Evidence]:
        return sorted({e.id: e for _, e in list_deliveries(self.db)}.values(), key=lambda e: e.id)

    def set(self, **values: Any) -> None:
        """Change all delivery rows behind the program's back."""
        with self.db.write() as connection:
            connection.execute(update(delivery).values(**values))


@contextmanager
def open_outbox(folder: Path) -> Any:
    files = Files(folder)
    files.prepare()
    db = Database(f"sqlite:///{folder / 'node.db'}")
    metadata.create_all(db.engine)
    try:
        yield Outbox(folder, db, files)
    finally:
        db.close()


def _study_row(ds: Dataset) -> dict[str, Any]:
    return {
        "study_instance_uid": str(ds.StudyInstanceUID),
        "state": "ROUTED",
        "first_received_at": 0.0,
        "last_received_at": 0.0,
        "last_image_at": 0.0,
    }


def _job_row(
    job_id: str, study_id: Any, destinations: Sequence[str], created_at: float
) -> dict[str, Any]:
    return {
        "id": job_id,
        "study_id": study_id,
        "study_revision": 1,
        "rule": "all",
        "plugin": "commissioning",
        "plugin_version": "1",
        "plugin_digest": "0" * 64,
        "state": str(JobState.COMPLETED),
        "fingerprint": job_id * 2,
        "inputs": [],
        "destinations": list(destinations),
        "created_at": created_at,
        "ended_at": created_at,
    }


@dataclass
class Peer:
    """A DICOM archive on loopback that behaves as badly as a test wants."""

    #: Storage SOP classes that it takes.
    classes: Sequence[str] = (SEG, SR)
    #: Gets the number of the C-STORE (from 0) and its SOP Instance UID; returns the status,
    #: or None to abort the association.
    answer: Callable[[int, str], int | None] = lambda _n, _uid: 0x0000
    #: Changes each data set before it is kept.
    coerce: Callable[[Dataset], None] = lambda _ds: None
    #: Whether it accepts these contexts, and what it answers there.
    find: bool = True
    get: bool = True
    find_status: int = 0x0000
    get_status: int = 0x0000
    #: The only calling AE title that it lets in; "" = any.
    known_calling: str = ""
    port: int = 0
    kept: dict[str, Dataset] = field(default_factory=dict)
    received: list[tuple[str, bytes]] = field(default_factory=list)
    associations: int = 0
    _server: Any = None

    def _entity(self) -> AE:
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(VERIFICATION)
        for uid in self.classes:
            entity.add_supported_context(uid, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
        for wanted, uid in ((self.find, FIND), (self.get, GET)):
            if wanted:
                entity.add_supported_context(uid)
        if self.known_calling:
            entity.require_calling_aet = [self.known_calling]
        return entity

    def __enter__(self) -> Peer:
        entity = self._entity()
        self._server = entity.make_server(
            ("127.0.0.1", self.port),
            server_class=ThreadedAssociationServer,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_C_FIND, self._on_find),
                (evt.EVT_C_GET, self._on_get),
            ],
        )
        self.port = self._server.socket.getsockname()[1]
        # As `start_server` does, but its shutdown would take half a second.
        entity._servers.append(self._server)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _on_requested(self, _event: Any) -> None:
        self.associations += 1

    def _on_store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        status = self.answer(len(self.received), uid)
        self.received.append((uid, event.request.DataSet.getvalue()))
        if status is None:
            event.assoc.abort()
            return 0x0110
        if status == 0 or status >> 12 == 0xB:
            ds = event.dataset
            ds.file_meta = event.file_meta
            self.coerce(ds)
            self.kept[uid] = ds
        return status

    def _on_find(self, event: Any) -> Any:
        if self.find_status:
            yield self.find_status, None
            return
        query = event.identifier
        seen = set()
        for ds in list(self.kept.values()):
            level = "SOPInstanceUID" if query.QueryRetrieveLevel == "IMAGE" else "StudyInstanceUID"
            wanted = query.get(level)
            if (not wanted or ds[level].value == wanted) and ds[level].value not in seen:
                seen.add(ds[level].value)
                answer = Dataset()
                answer.SpecificCharacterSet = "ISO_IR 192"
                for element in query:
                    if element.tag in ds:
                        answer.add(ds[element.tag])
                answer.QueryRetrieveLevel = query.QueryRetrieveLevel
                yield 0xFF00, answer

    def _on_get(self, event: Any) -> Any:
        found = [d for u, d in self.kept.items() if u == event.identifier.SOPInstanceUID]
        if self.get_status:
            yield 1
            yield self.get_status, None
            return
        yield len(found)
        for ds in found:
            yield 0xFF00, ds
