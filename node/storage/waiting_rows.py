"""Rows of jobs that wait for a region: started by its arrival, or ended by time (S21)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select, update

from node.errors import RefusalCode
from node.model import LEGAL_JOB_CHANGES, Job, JobState, Origin, StudyState, check_change
from node.storage.database import Database
from node.storage.job_values import (
    input_documents,
    keep_clinical,
    latest_run,
)
from node.storage.tables import instance, job, study

#: Reason codes of a job that waits for a region, or for the result that shall be one.
WAITS_FOR_REGION: Final = RefusalCode.ROI_MISSING.value
WAITS_FOR_RESULT: Final = "RESULT_PENDING"
_CODES: Final = (WAITS_FOR_REGION, WAITS_FOR_RESULT)
_LATE_S: Final = 2.0
#: Between what a job waits for and what it was told since.
_TOLD: Final = f"; {RefusalCode.ROI_OTHER_STUDY.value}: "
#: States of a job whose result is still to come.
UNDER_WAY: Final = frozenset({JobState.WAITING, JobState.SCHEDULED, JobState.IN_PROGRESS})


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job that waits for a region, without its long list of images."""

    id: str
    study_instance_uid: str
    rule: str
    plugin: str
    plugin_version: str
    plugin_digest: str
    reason_code: str
    reason: str
    created_at: float

    @property
    def plugin_name_version(self) -> str:
        """Return ``name@version``."""
        return f"{self.plugin}@{self.plugin_version}"


def waiting_jobs(db: Database) -> tuple[WaitingJob, ...]:
    """Return the jobs that wait for a region, the oldest first."""
    own = [job.c[name] for name in WaitingJob.__dataclass_fields__ if name in job.c]
    query = (
        select(study.c.study_instance_uid, *own)
        .join(study, study.c.id == job.c.study_id)
        .where(_waits())
        .order_by(job.c.created_at, job.c.id)
    )
    with db.read() as connection:
        return tuple(WaitingJob(**row._mapping) for row in connection.execute(query))


def note_on_waiting(db: Database, study_instance_uids: Collection[str], note: str) -> int:
    """Tell jobs that wait for a region of one in another study; return how many were not yet."""
    ids = select(study.c.id).where(study.c.study_instance_uid.in_(study_instance_uids))
    with db.write() as connection:
        noted = connection.execute(
            update(job)
            .where(
                _waits(),
                job.c.reason_code == WAITS_FOR_REGION,
                job.c.study_id.in_(ids),
                ~job.c.reason.contains(note, autoescape=True),
            )
            .values(reason=job.c.reason + f"{_TOLD}{note}")
        )
        return noted.rowcount


def is_under_way(db: Database, study_instance_uid: str, plugins: Collection[str]) -> bool:
    """Return whether a job of one of these plugins on the study is not done yet."""
    query = (
        select(job.c.id)
        .join(study, study.c.id == job.c.study_id)
        .where(
            study.c.study_instance_uid == study_instance_uid,
            job.c.plugin.in_(plugins),
            job.c.state.in_([state.value for state in UNDER_WAY]),
        )
        .limit(1)
    )
    with db.read() as connection:
        return connection.execute(query).first() is not None


def reports_arrived(
    db: Database, sop_classes: Collection[str], *, now: float, quiet_s: float
) -> tuple[str, ...]:
    """Return routed studies with a job that waits, to which reports came since the rules looked.

    Reports re-open no study (S14); here they only have the rules asked again.

    Parameters
    ----------
    sop_classes : collection of str
        Those of the reports.
    quiet_s : float
        Nothing came to the study for so long.
    """
    # A report may be recorded a moment after the time that it says.
    late = instance.c.received_at > study.c.completed_at - _LATE_S
    query = (
        select(study.c.study_instance_uid)
        .join(job, job.c.study_id == study.c.id)
        .join(instance, instance.c.study_id == study.c.id)
        .where(
            *(_waits(), job.c.reason_code == WAITS_FOR_REGION),
            study.c.state.in_((StudyState.ROUTED.value, StudyState.HELD.value)),
            study.c.last_received_at <= now - quiet_s,
            instance.c.origin == Origin.ROUTED.value,
            instance.c.sop_class_uid.in_(sop_classes),
            late,
        )
        .distinct()
    )
    with db.read() as connection:
        return tuple(row.study_instance_uid for row in connection.execute(query))


def start_waiting(connection: Connection, study_id: int, ready: Job) -> str:
    """Let the job that waits for this work begin, or be refused; in the caller's transaction.

    Parameters
    ----------
    ready : Job
        As it would be inserted, SCHEDULED or REFUSED: with its regions and its fingerprint.

    Returns
    -------
    str
        Id of the job that waited and waits no more; "" if none did, or if equal work is here
        already.
    """
    if ready.state is JobState.WAITING or latest_run(connection, ready.fingerprint):
        return ""
    row: Any = connection.execute(
        select(job.c.id)
        .where(
            _waits(),
            job.c.study_id == study_id,
            job.c.rule == ready.rule,
            job.c.plugin_digest == ready.plugin_digest,
            job.c.shadow == ready.shadow,
        )
        .order_by(job.c.created_at, job.c.id)
        .limit(1)
        .with_for_update()
    ).first()
    if row is None:
        return ""
    check_change(LEGAL_JOB_CHANGES, JobState.WAITING, ready.state)
    connection.execute(
        update(job)
        .where(job.c.id == row.id)
        .values(
            state=ready.state.value,
            reason_code=ready.reason_code,
            reason=ready.reason,
            ended_at=ready.ended_at,
            fingerprint=ready.fingerprint,
            study_revision=ready.study_revision,
            inputs=input_documents(ready),
            destinations=list(ready.destinations),
        )
    )
    keep_clinical(connection, row.id, ready.clinical)
    return str(row.id)


def renew_reason(connection: Connection, job_id: str, latest: Job) -> None:
    """Let a job that goes on waiting say what it waits for by the latest look of the rules.

    What it was told of contours in other studies stays.
    """
    where = _waits() & (job.c.id == job_id)
    before = connection.execute(select(job.c.reason).where(where).with_for_update()).scalar()
    if before is None:
        return
    _, mark, told = str(before).partition(_TOLD)
    connection.execute(
        update(job)
        .where(where)
        .values(reason_code=latest.reason_code, reason=f"{latest.reason}{mark}{told}")
    )


def end_waiting(db: Database, waited: WaitingJob, *, code: str, reason: str, now: float) -> bool:
    """Refuse a job that waited long enough; False if it does not wait any more."""
    check_change(LEGAL_JOB_CHANGES, JobState.WAITING, JobState.REFUSED)
    with db.write() as connection:
        ended = connection.execute(
            update(job)
            .where(_waits(), job.c.id == waited.id)
            .values(state=JobState.REFUSED.value, reason_code=code, reason=reason, ended_at=now)
        )
        return ended.rowcount == 1


def _waits() -> Any:
    return (job.c.state == JobState.WAITING.value) & job.c.reason_code.in_(_CODES)
