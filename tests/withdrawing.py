"""A node with finished jobs whose real objects lie at destinations: for tests of withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from node.audit import Audit
from node.delivery.deliver import deliver_due
from node.delivery.destination import Destination, MemoryDestination
from node.delivery.events import DeliveryEvent
from node.delivery.turn import Outlet
from node.delivery.withdraw import withdraw_due
from node.model import Addressee, DestinationGrade, Job, JobState, WithdrawalState
from node.parts import Node
from node.profiles import STANDARD, ViewerProfile
from node.results.encode import encode
from node.results.not_run import not_run_report
from node.results.notes import NoteRequest
from node.results.write import write_evidence
from node.settings import DestinationSettings, Settings
from node.storage.database import Database
from node.storage.delivery_rows import list_deliveries
from node.storage.files import Files
from node.storage.job_values import insert_row
from node.storage.lease_rows import add_delivery, add_evidence
from node.storage.tables import job as job_table
from node.storage.tables import metadata, study
from node.storage.withdrawal_rows import Taken, withdrawals
from node.withdrawals import prepare_withdrawals, withdraw_job, withdraw_replaced
from tests.results_case import full_request, job, manifest, synthetic_headers

NOW = 1_790_001_000.0
#: A SEG and an SR.
PLAIN = ViewerProfile(name="plain", parametric_map=False)
IOCM = replace(PLAIN, name="iocm", iocm="quality")


def place(name: str = "pacs", **changes: Any) -> DestinationSettings:
    plain = DestinationSettings(
        name=name,
        kind="dicom",
        grade=DestinationGrade.RESEARCH,
        ae_title="ARCHIVE",
        host="127.0.0.1",
        profile=PLAIN,
    )
    return replace(plain, **changes)


class WithdrawingSite:
    """Rows, files and destinations of one node."""

    def __init__(self, folder: Path, *places: DestinationSettings):
        settings = Settings(data_dir=folder / "data", destinations=places or (place(),))
        self.files = Files(settings.data_dir)
        self.files.prepare()
        self.db = Database(settings.resolved_database_url)
        metadata.create_all(self.db.engine)
        self.node = Node(
            settings=settings,
            db=self.db,
            files=self.files,
            audit=Audit(settings.data_dir),
            manifests={},
        )
        self.outlets = [
            Outlet(settings=one, destination=MemoryDestination()) for one in settings.destinations
        ]
        self.events: list[DeliveryEvent] = []
        self.refusal: Any = None
        self._runs = 0

    def pacs(self, name: str = "pacs") -> Any:
        return next(o.destination for o in self.outlets if o.settings.name == name)

    def open(self, destination: Destination, name: str = "pacs") -> None:
        """Put a real destination in the place of the fake."""
        self.outlets = [
            replace(o, destination=destination) if o.settings.name == name else o
            for o in self.outlets
        ]

    def change(self, name: str = "pacs", **changes: Any) -> None:
        """Change the settings of a destination."""
        places = tuple(
            replace(one, **changes) if one.name == name else one
            for one in self.node.settings.destinations
        )
        self.node = replace(self.node, settings=replace(self.node.settings, destinations=places))
        self.outlets = [
            replace(o, settings=self.node.settings.destination(o.settings.name))
            for o in self.outlets
        ]

    def run(self, *, to: Sequence[str] = (), headers: Any = None, **changes: Any) -> Job:
        """A completed job on the one study, its objects in the outbox."""
        self._runs += 1
        number = self._runs
        names = tuple(to) or tuple(one.name for one in self.node.settings.destinations)
        made = job(
            id=f"{number:032x}",
            **{
                "state": JobState.COMPLETED,
                "fingerprint": "f" * 64,
                "run_number": number,
                "destinations": names,
                "created_at": NOW - 1000 + number,
                "ended_at": NOW - 1000 + number,
                **changes,
            },
        )
        headers = headers or synthetic_headers()
        made = replace(made, study_instance_uid=str(headers[0].StudyInstanceUID))
        self._add(made, headers, names)
        return made

    def refuse(self) -> Job:
        """A job on the one study that did not run, the note in the outbox."""
        self._runs += 1
        number = self._runs
        names = tuple(one.name for one in self.node.settings.destinations)
        header = synthetic_headers()[0]
        made = job(
            id=f"{number:032x}",
            state=JobState.REFUSED,
            reason_code="SLICE_MISSING",
            fingerprint=f"{number:064x}",
            created_at=NOW - 1000 + number,
            ended_at=NOW - 1000 + number,
            study_instance_uid=str(header.StudyInstanceUID),
            destinations=names,
        )
        self._insert(made)
        request = NoteRequest(
            job=made, manifest=manifest(), source=header, role="notrun", at=NOW - 1000
        )
        note = not_run_report(request, [header], code="SLICE_MISSING", sentence="a gap")
        written = write_evidence([note], {"notrun": {}}, files=self.files, job_id=made.id)
        self._fill(made, written, self.node.settings.destinations)
        return made

    def add_result(self, made: Job) -> None:
        """The job ran after all, after a retry."""
        with self.db.write() as connection:
            connection.execute(
                update(job_table).where(job_table.c.id == made.id).values(state="COMPLETED")
            )
        self._encode(made, synthetic_headers(), made.destinations)

    def _add(self, made: Job, headers: Any, names: Sequence[str]) -> None:
        self._insert(made)
        self._encode(made, headers, names)

    def _encode(self, made: Job, headers: Any, names: Sequence[str]) -> None:
        groups: dict[str, list[DestinationSettings]] = {}
        for name in names:
            one = self.node.settings.destination(name)
            groups.setdefault(replace(one.profile, iocm="none").encoding, []).append(one)
        for encoding, places in groups.items():
            request = full_request(headers, places[0].profile, job=made)
            objects = encode(request)
            written = write_evidence(
                objects, {o.role: {} for o in objects}, files=self.files, job_id=made.id
            )
            self._fill(made, [replace(w, encoding=encoding) for w in written], places)

    def _insert(self, made: Job) -> None:
        with self.db.write() as connection:
            known = connection.execute(
                select(study.c.id).where(study.c.study_instance_uid == made.study_instance_uid)
            ).first()
            if known is None:
                connection.execute(insert(study).values(**_study_row(made)))
            insert_row(connection, made)

    def _fill(self, made: Job, written: Any, places: Sequence[DestinationSettings]) -> None:
        with self.db.write() as connection:
            for new in written:
                evidence_id = add_evidence(connection, made.id, new, NOW)
                for one in places:
                    to = Addressee(
                        destination=one.name, profile=one.profile.name, encoding=new.encoding
                    )
                    add_delivery(connection, made.id, evidence_id, new, to, now=NOW - 900)

    def deliver(self, now: float = NOW) -> None:
        deliver_due(
            self.db,
            self.files,
            self.outlets,
            now=now,
            owner="me",
            allowed=lambda _job, _settings: self.refusal,
            on_event=self.events.append,
        )

    def withdraw(self, made: Job, reason: str = "left and right swapped") -> int:
        return withdraw_job(self.node, made.id, reason=reason, now=NOW)

    def settle(self, now: float = NOW + 10) -> None:
        """Let the sweeps and the senders do what there is to do."""
        self.deliver(now)
        withdraw_replaced(self.node, now=now)
        prepare_withdrawals(self.node, now=now)
        self.deliver(now)
        self.look(now)

    def look(self, now: float) -> None:
        for outlet in self.outlets:
            withdraw_due(self.db, self.files, outlet, now=now, on_event=self.events.append)

    def taken(self, made: Job | None = None) -> tuple[Taken, ...]:
        return withdrawals(self.db, jobs=[made.id] if made else ())

    def states(self, made: Job | None = None) -> set[WithdrawalState]:
        return {one.withdrawal.state for one in self.taken(made)}

    def deliveries(self, made: Job) -> dict[tuple[str, str], str]:
        """(destination, role) → state."""
        return {
            (d.destination, e.role): str(d.state)
            for d, e in list_deliveries(self.db, job_id=made.id)
        }

    def set(self, table: Any, **values: Any) -> None:
        with self.db.write() as connection:
            connection.execute(update(table).values(**values))


def _study_row(made: Job) -> dict[str, Any]:
    return {
        "study_instance_uid": made.study_instance_uid,
        "state": "ROUTED",
        "revision": 1,
        "first_received_at": 0.0,
        "last_received_at": 0.0,
        "last_image_at": 0.0,
    }


__all__ = ["IOCM", "NOW", "PLAIN", "STANDARD", "WithdrawingSite", "place"]
