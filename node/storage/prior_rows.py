"""What may be a prior of a later study: one row a completed job, found by patient (S10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, insert, select

from node.manifest import Code
from node.model import DeliveryState, Job, JobState
from node.storage.database import Database
from node.storage.job_values import SUPERSEDED, job_query, to_job
from node.storage.note_roles import is_not_run, takes_back
from node.storage.tables import delivery, evidence, job, prior, withdrawal

Point = tuple[float, float, float]

#: How a delivery's reason begins where the destination knows another patient, or the file is
#: not what was made: such a result is nobody's prior (S3).
_IN_DOUBT = ("IDENTITY_DIFFERS", "PATIENT_DIFFERS", "EVIDENCE_CHANGED", "EVIDENCE_MISSING")
#: The newest so many results of a patient are looked at.
_MOST = 50


@dataclass(frozen=True, kw_only=True)
class PriorValue:
    """One number of a finding, as its report says it."""

    #: Of the manifest's table.
    name: str
    code: Code
    unit: Code
    value: float
    digits: int


@dataclass(frozen=True, kw_only=True)
class PriorFinding:
    """One finding of a result: its name over time, its place, its numbers."""

    segment: str
    finding: int
    #: Input role whose grid it lies on.
    role: str
    #: Tracking ID: as its report names it.
    label: str
    tracking_uid: str
    frame_of_reference_uid: str
    #: mm, LPS+.
    centroid_mm: Point
    #: Corners of the box around all its voxels, mm, LPS+.
    low_mm: Point
    high_mm: Point
    values: tuple[PriorValue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewPrior:
    """What a finished job leaves for later studies. Patient data: never for a log."""

    patient_id: str = field(repr=False)
    issuer_of_patient_id: str = field(repr=False)
    #: As in the header: YYYYMMDD, HHMMSS….
    study_date: str = field(repr=False)
    study_time: str = field(repr=False)
    series_description: str = field(repr=False)
    findings: tuple[PriorFinding, ...]


@dataclass(frozen=True, kw_only=True)
class Prior(NewPrior):
    """The same as stored, with the job that made it."""

    job: Job


def add_prior(connection: Connection, job_id: str, new: NewPrior) -> None:
    """Add one row inside the transaction that completes the job."""
    connection.execute(
        insert(prior).values(
            job_id=job_id,
            patient_id=new.patient_id,
            issuer_of_patient_id=new.issuer_of_patient_id,
            study_date=new.study_date,
            study_time=new.study_time,
            series_description=new.series_description,
            findings=[asdict(one) for one in new.findings],
        )
    )


def priors_of(
    db: Database, *, patient_id: str, issuer_of_patient_id: str, plugin: str, but: str
) -> tuple[Prior, ...]:
    """Return results of one patient and plugin that still stand, the newest study first.

    One stands if its job is completed, is no shadow, was not superseded, and something of it
    was sent or is about to be; nothing of it is withdrawn, stopped, held for another patient,
    or found changed. Equal Patient ID *and* issuer are asked for, both may be empty.

    Parameters
    ----------
    but : str
        Id of the job that asks.
    """
    query = (
        job_query()
        .add_columns(*(column for column in prior.c if column.name != "job_id"))
        .join(prior, prior.c.job_id == job.c.id)
        .where(
            prior.c.patient_id == patient_id,
            prior.c.issuer_of_patient_id == issuer_of_patient_id,
            *(job.c.plugin == plugin, job.c.id != but),
            *(job.c.state == JobState.COMPLETED.value, job.c.reason_code != SUPERSEDED),
            job.c.shadow.is_(False),
            exists(_deliveries().where(delivery.c.state != DeliveryState.FAILED.value)),
            ~exists(_deliveries().where(_doubtful())),
        )
        .order_by(prior.c.study_date.desc(), prior.c.study_time.desc(), job.c.ended_at.desc())
        .limit(_MOST)
    )
    with db.read() as connection:
        return tuple(map(_to_prior, connection.execute(query)))


def _deliveries() -> Any:
    """Return the deliveries of a job's result; notes about the run are none."""
    return (
        select(delivery.c.id)
        .join(evidence, evidence.c.id == delivery.c.evidence_id)
        .where(delivery.c.job_id == job.c.id, ~is_not_run(), ~takes_back())
        .correlate(job)
    )


def _doubtful() -> ColumnElement[bool]:
    taken_back = exists(select(withdrawal.c.id).where(withdrawal.c.delivery_id == delivery.c.id))
    doubt = delivery.c.state == DeliveryState.CANCELED.value
    for word in _IN_DOUBT:
        doubt = doubt | delivery.c.reason.startswith(word, autoescape=True)
    return doubt | taken_back.correlate(delivery)


def _to_prior(row: Row[Any]) -> Prior:
    return Prior(
        job=to_job(row),
        patient_id=row.patient_id,
        issuer_of_patient_id=row.issuer_of_patient_id,
        study_date=row.study_date,
        study_time=row.study_time,
        series_description=row.series_description,
        findings=tuple(_to_finding(one) for one in row.findings),
    )


def _to_finding(document: Mapping[str, Any]) -> PriorFinding:
    places = {name: _point(document[name]) for name in ("centroid_mm", "low_mm", "high_mm")}
    values = tuple(_to_value(one) for one in document["values"])
    return PriorFinding(**{**document, **places, "values": values})


def _to_value(document: Mapping[str, Any]) -> PriorValue:
    codes = {name: Code(**document[name]) for name in ("code", "unit")}
    return PriorValue(**{**document, **codes})


def _point(numbers: Sequence[float]) -> Point:
    x, y, z = (float(number) for number in numbers)
    return (x, y, z)
