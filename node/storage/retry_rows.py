"""Rows of jobs that ended, and that are wanted again: by a person's word, or as files are well."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, and_, exists, or_, select, update

from node.errors import NodeError, RefusalCode
from node.model import (
    LEGAL_JOB_CHANGES,
    LEGAL_STUDY_CHANGES,
    Job,
    JobState,
    StudyState,
    check_change,
)
from node.storage.database import Database
from node.storage.job_rows import Way, way_of
from node.storage.job_values import existing_job, insert_row, latest_run
from node.storage.tables import attempt, decision, job, study

#: Why a job was refused that may be well when its study is looked at again.
_OF_FILES: Final = (RefusalCode.UID_CONFLICT.value, RefusalCode.INPUT_CHANGED.value)
#: Attempts that count no more once a person wants the job again.
_ENDED_BADLY: Final = ("failed", "lease lost", "refused")
#: What such attempts become.
_ASKED_FOR: Final = "retried"
#: What the reason of a job ends with that waited in vain and is wanted again: it has no attempt.
_WAITS_ANEW: Final = "; retried"


def retry_job(db: Database, job_id: str, *, way: Way | None = None, now: float) -> None:
    """Let a FAILED or REFUSED job be tried again, with all its attempts.

    A job that the rules refused before it ran, or that used regions, goes back to them: its
    study is looked at anew, so that no guard is passed by (S22), and no region used that was
    taken back or edited since (S21). With regions of a report, also if it is COMPLETED: an edit
    of it re-opens no study by itself (S14). The rules are asked, too, where another job of the
    study may have lacked the result. `way` is as in `rerun`; the rules know their own.

    Raises
    ------
    NodeError
        If there is no such job, or nothing of it can be tried again.
    """
    with db.write() as connection:
        old = existing_job(connection, job_id)
        of_report = any(roi.source_kind == "SR" for roi in old.rois)
        ended_badly = old.state in (JobState.FAILED, JobState.REFUSED)
        if not ended_badly and not (of_report and old.state is JobState.COMPLETED):
            raise NodeError(
                f"the job is {old.state}; only FAILED and REFUSED ones can be retried, "
                "and COMPLETED ones that used a region of a report (SR)"
            )
        if old.rois:
            _refuse_older_run(connection, old)
        missed = _ask_to_wait(connection, old)
        if old.attempt == 0 or old.rois or missed:
            look_again_in(connection, old.study_instance_uid, reason="a job is retried", now=now)
        if not ended_badly or old.attempt == 0:
            return
        _forget_attempts(connection, old)
        if not old.rois:
            _begin_again(connection, old, way_of(old) if way is None else way)


def resume(connection: Connection, kept: Job, wanted: Job) -> bool:
    """Let equal work begin again that ended badly, now that the rules want it with its files.

    A person asked for it; or an image had two versions, or was gone, when the job ran, and then
    one was chosen, or came again.

    Parameters
    ----------
    connection : write transaction of the caller
    kept : Job
        The last run of equal work.
    wanted : Job
        As the rules would have it inserted.

    Returns
    -------
    bool
        Whether it is SCHEDULED again.
    """
    if wanted.state is not JobState.SCHEDULED or not is_wanted_again(connection, kept):
        return False
    _forget_attempts(connection, kept)
    _begin_again(connection, kept, way_of(wanted))
    return True


def is_wanted_again(connection: Connection, ended: Job) -> bool:
    """Return whether a job begins, or waits, again as soon as the rules say that it may."""
    if ended.state not in (JobState.FAILED, JobState.REFUSED):
        return False
    if ended.attempt == 0:
        return ended.reason.endswith(_WAITS_ANEW)
    of_files = ended.state is JobState.REFUSED and ended.reason_code in _OF_FILES
    return of_files or _is_asked_for(connection, ended)


def wait_again(connection: Connection, kept: Job, wanted: Job) -> str:
    """Let work wait anew whose wait was over, where it or what it waited for is retried.

    Parameters
    ----------
    kept, wanted : Job
        As in `resume`.

    Returns
    -------
    str
        Id of the new run that waits; "" if there is none.
    """
    if wanted.state is not JobState.WAITING or not is_wanted_again(connection, kept):
        return ""
    insert_row(connection, replace(wanted, run_number=kept.run_number + 1))
    return wanted.id


def look_again(
    db: Database, study_instance_uid: str, *, reason: str, now: float, unless_held_by: str = ""
) -> bool:
    """Give a routed study to the rules again, though no image of it is new.

    One that is HELD because a rule held it counts as routed: other rules have jobs of it, and
    what held it holds it again. One held for another reason waits for a person.

    Parameters
    ----------
    reason : str
        Kept with the study.
    unless_held_by : str
        Name of a rule whose job this is for: if that one holds the study, asking is in vain.

    Returns
    -------
    bool
        Whether the rules will look.
    """
    with db.write() as connection:
        return look_again_in(
            connection, study_instance_uid, reason=reason, now=now, unless_held_by=unless_held_by
        )


def look_again_in(
    connection: Connection,
    study_instance_uid: str,
    *,
    reason: str,
    now: float,
    unless_held_by: str = "",
) -> bool:
    """Do `look_again` inside a write transaction of the caller."""
    for old in (StudyState.ROUTED, StudyState.HELD):
        check_change(LEGAL_STUDY_CHANGES, old, StudyState.COMPLETE)
    held = and_(
        decision.c.study_id == study.c.id,
        decision.c.study_revision == study.c.revision,
        decision.c.outcome == "held",
    )
    in_vain = exists(select(decision.c.id).where(held, decision.c.rule == unless_held_by))
    by_a_rule = and_(
        study.c.state == StudyState.HELD.value, exists(select(decision.c.id).where(held)), ~in_vain
    )
    asked = connection.execute(
        update(study)
        .where(
            study.c.study_instance_uid == study_instance_uid,
            or_(study.c.state == StudyState.ROUTED.value, by_a_rule),
        )
        .values(
            state=StudyState.COMPLETE.value,
            revision=study.c.revision + 1,
            completed_at=now,
            completed_reason=reason,
        )
    )
    return asked.rowcount == 1


def _begin_again(connection: Connection, old: Job, to: Way) -> None:
    check_change(LEGAL_JOB_CHANGES, old.state, JobState.SCHEDULED)
    values = {"state": JobState.SCHEDULED.value, "reason_code": "", "reason": ""}
    connection.execute(
        update(job)
        .where(job.c.id == old.id)
        .values(**values, ended_at=None, destinations=list(to.destinations), shadow=to.shadow)
    )


def _forget_attempts(connection: Connection, old: Job) -> None:
    """Count no attempt so far; that is also how a person's word is kept until the rules looked."""
    connection.execute(
        update(attempt)
        .where(attempt.c.job_id == old.id, attempt.c.outcome.in_(_ENDED_BADLY))
        .values(outcome=_ASKED_FOR)
    )


def _is_asked_for(connection: Connection, ended: Job) -> bool:
    query = select(attempt.c.outcome).where(
        attempt.c.job_id == ended.id, attempt.c.attempt == ended.attempt
    )
    return connection.execute(query).scalar_one_or_none() == _ASKED_FOR


def _refuse_older_run(connection: Connection, old: Job) -> None:
    """Raise `NodeError` if a newer run of the same work is here: the rules know the last one."""
    last = latest_run(connection, old.fingerprint)
    if last is not None and last.id != old.id:
        raise NodeError(
            f"run {last.run_number} of the same work, {last.id}, is newer and {last.state}; "
            "retry that one, or `rerun` it"
        )


def _ask_to_wait(connection: Connection, ended: Job) -> bool:
    """Note on jobs that were refused for want of a region that they are wanted again.

    It may have been the result of `ended`, or be the job itself. Returns whether there are any.
    """
    of_study = select(study.c.id).where(study.c.study_instance_uid == ended.study_instance_uid)
    lacking = and_(
        job.c.study_id == of_study.scalar_subquery(),
        or_(job.c.plugin != ended.plugin, job.c.id == ended.id),
        job.c.state == JobState.REFUSED.value,
        job.c.reason_code == RefusalCode.ROI_MISSING.value,
        job.c.attempt == 0,
    )
    there = connection.execute(select(job.c.id).where(lacking).limit(1)).first() is not None
    fresh = ~job.c.reason.endswith(_WAITS_ANEW, autoescape=True)
    connection.execute(update(job).where(lacking, fresh).values(reason=job.c.reason + _WAITS_ANEW))
    return there
