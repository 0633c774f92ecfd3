"""Jobs as rows and as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, func, insert, select

from node.clinical_values import ClinicalValue
from node.errors import NodeError
from node.model import Job, JobInput, JobState
from node.roi_choice import EarlierRegion, JobRoi
from node.storage.statements import columns_of
from node.storage.tables import job, job_clinical, study

#: Reason code of a job whose study has a newer revision: it ends undelivered (S14).
SUPERSEDED: Final = "SUPERSEDED"

#: Key of an input's document that images lack: what it is instead.
_KIND: Final = "kind"
_ROI: Final = "roi"

_COLUMNS: Final = (
    *("id", "study_revision", "rule", "plugin", "plugin_version", "plugin_digest"),
    *("reason_code", "reason", "fingerprint", "run_number", "attempt"),
    *("created_at", "started_at", "ended_at", "owner", "lease_until", "shadow"),
)


def job_query() -> Select[Any]:
    """Return a query for rows that `to_job` understands."""
    known = select(job_clinical.c.document).where(job_clinical.c.job_id == job.c.id)
    clinical = known.correlate(job).scalar_subquery().label("clinical")
    return select(job, study.c.study_instance_uid, clinical).join(
        study, job.c.study_id == study.c.id
    )


def to_job(row: Row[Any]) -> Job:
    """Return a row of `job_query` as a value."""
    return Job(
        study_instance_uid=row.study_instance_uid,
        state=JobState(row.state),
        inputs=tuple(_to_input(one) for one in row.inputs if _KIND not in one),
        rois=tuple(_to_roi(one) for one in row.inputs if one.get(_KIND) == _ROI),
        clinical=tuple(_to_clinical(one) for one in row.clinical or ()),
        destinations=tuple(row.destinations),
        **columns_of(row, _COLUMNS),
    )


def existing_job(connection: Connection, job_id: str) -> Job:
    """Return a job; raises `NodeError` if there is none."""
    row = connection.execute(job_query().where(job.c.id == job_id)).first()
    if row is None:
        raise NodeError(f"there is no job {job_id[:64]}")
    return to_job(row)


def latest_run(connection: Connection, fingerprint: str) -> Job | None:
    """Return the last run of equal work, None if there was none."""
    newest = (
        select(func.max(job.c.run_number)).where(job.c.fingerprint == fingerprint).scalar_subquery()
    )
    query = job_query().where(job.c.fingerprint == fingerprint, job.c.run_number == newest)
    row = connection.execute(query).first()
    return None if row is None else to_job(row)


def insert_row(connection: Connection, made: Job) -> None:
    """Add a job as it is."""
    of_study = select(study.c.id).where(study.c.study_instance_uid == made.study_instance_uid)
    connection.execute(
        insert(job).values(
            study_id=connection.execute(of_study).scalar_one(),
            state=made.state.value,
            inputs=input_documents(made),
            destinations=list(made.destinations),
            **columns_of(made, _COLUMNS),
        )
    )
    keep_clinical(connection, made.id, made.clinical)


def keep_clinical(connection: Connection, job_id: str, values: Sequence[ClinicalValue]) -> None:
    """Write the clinical values of a job, instead of those that it had."""
    connection.execute(delete(job_clinical).where(job_clinical.c.job_id == job_id))
    if values:
        document = [asdict(one) for one in values]
        connection.execute(insert(job_clinical).values(job_id=job_id, document=document))


def _to_clinical(document: Mapping[str, Any]) -> ClinicalValue:
    return ClinicalValue(**{**document, "against": tuple(document["against"])})


def input_documents(made: Job) -> list[dict[str, Any]]:
    """Return the images and regions of a job as its row keeps them: both are its inputs (S14)."""
    regions = [{_KIND: _ROI, **asdict(one)} for one in made.rois]
    return [*(asdict(one) for one in made.inputs), *regions]


def _to_roi(document: Mapping[str, Any]) -> JobRoi:
    # A row of before has none.
    earlier = tuple(EarlierRegion(**one) for one in document.get("edit_of", ()))
    said = {key: value for key, value in document.items() if key != _KIND}
    return JobRoi(**{**said, "edit_of": earlier})


def _to_input(document: Mapping[str, Any]) -> JobInput:
    return JobInput(
        role=document["role"],
        series_instance_uid=document["series_instance_uid"],
        sop_instance_uids=tuple(document["sop_instance_uids"]),
        frame_numbers=tuple(document["frame_numbers"]),
        stack=document["stack"],
        pixel_sha256=tuple(document["pixel_sha256"]),
    )
