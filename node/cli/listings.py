"""Commands that show rows: studies, jobs, deliveries, quarantine, explain."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from node.cli.common import (
    JsonOption,
    SettingsOption,
    clock_time,
    console,
    error_console,
    opened_node,
    sentences,
    show,
)
from node.errors import NodeError, SettingsError
from node.model import DeliveryState, Job, JobState, StudyState
from node.parts import Node
from node.storage.count_rows import count_rows, studies_starting

LimitOption = Annotated[int, typer.Option(help="How many rows, the newest first.")]

StateOption = Annotated[
    list[str] | None, typer.Option(help="Only rows in this state; may be given several times.")
]
_State = TypeVar("_State", bound=StrEnum)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (studies, jobs, deliveries, quarantine, explain):
        app.command()(command)


def studies(
    settings: SettingsOption = None, as_json: JsonOption = False, limit: LimitOption = 100
) -> None:
    """List studies: what came in, how many instances, and whether it is complete, with why."""
    from node.storage.intake_rows import instances_of_study, list_studies

    with sentences(), opened_node(settings) as node:
        rows = [
            {
                "study": study.study_instance_uid,
                "state": str(study.state),
                "revision": study.revision,
                "instances": len(instances_of_study(node.db, study.study_instance_uid)),
                "from": study.peer or study.calling_ae,
                "to": study.called_ae,
                "received": clock_time(study.last_received_at),
                "reason": study.completed_reason,
            }
            for study in list_studies(node.db, limit=limit)
        ]
        show(rows, as_json=as_json, empty="No study came in yet.")
        _say_more(node, "studies", len(rows))


def jobs(
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 100,
    retry: Annotated[
        str,
        typer.Option(
            help="Try this FAILED or REFUSED job again, or have the rules look again for it; "
            "also for a COMPLETED one that used a region of a report (SR)."
        ),
    ] = "",
    state: StateOption = None,
) -> None:
    """List jobs: which plugin ran on which study, and how it ended."""
    from node.routing.ways import way_of_today
    from node.storage.job_rows import get_job, list_jobs
    from node.storage.retry_rows import retry_job

    with sentences(), opened_node(settings) as node:
        if retry:
            way = way_of_today(node.settings, get_job(node.db, retry))
            retry_job(node.db, retry, way=way, now=time.time())
            node.audit.record("job retried", retry)
            console.print(_what_follows(node, retry), soft_wrap=True)
            return
        states = _states(JobState, state)
        rows = [
            {
                "job": job.id,
                "plugin": job.plugin_name_version,
                "rule": job.rule,
                "study": job.study_instance_uid,
                "state": str(job.state),
                "attempt": job.attempt,
                "code": job.reason_code,
                "reason": job.reason or _left_out(node, job),
                "told": _told(node, job),
                "created": clock_time(job.created_at),
                "ended": clock_time(job.ended_at),
            }
            for job in list_jobs(node.db, limit=limit, states=states)
        ]
        show(rows, as_json=as_json, empty="No such job." if states else "No job yet.")
        _say_more(node, "jobs", len(rows), states)


def _told(node: Node, job: Job) -> str:
    """Return whether destinations were told that the job did not run, with why not (S7)."""
    from node.storage.refusal_rows import NOT_RUN_STATES, telling_of

    found = telling_of(node.db, job.id) if job.state in NOT_RUN_STATES else None
    return "" if found is None else ": ".join(str(part) for part in found if part)


def _what_follows(node: Node, job_id: str) -> str:
    """Return what happens now to a job that is retried."""
    from node.storage.intake_rows import get_study
    from node.storage.job_rows import get_job

    job = get_job(node.db, job_id)
    if job.state in (JobState.SCHEDULED, JobState.IN_PROGRESS):
        return f"The job {job_id} will be tried again."
    study = get_study(node.db, job.study_instance_uid)
    if study is not None and study.state is StudyState.HELD:
        return f"The study of job {job_id} is HELD: the rules look when it is back-filled."
    return (
        f"The rules look at the study of job {job_id} again; "
        f"`sentinel-node explain {job.study_instance_uid}` says what came of it."
    )


def _left_out(node: Node, job: Job) -> str:
    """Return which destinations get nothing of a result that others get, with why."""
    from node.storage.job_rows import get_report

    if job.state is not JobState.COMPLETED:
        return ""
    refused = get_report(node.db, job.id).get("left_out", {})
    return "; ".join(f"nothing to {name}, {why}" for name, why in refused.items())


def deliveries(
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 100,
    retry: Annotated[
        bool, typer.Option("--retry", help="Send all dead letters again, from now on.")
    ] = False,
    state: StateOption = None,
) -> None:
    """List deliveries: which object went where, was stored, was found again."""
    from node.storage.delivery_rows import list_deliveries, retry_failed

    with sentences(), opened_node(settings) as node:
        if retry:
            count = retry_failed(node.db, now=time.time())
            node.audit.record("dead letters restarted", "deliveries", count=count)
            console.print(f"{count} dead letters will be sent again.")
            return
        states = _states(DeliveryState, state)
        rows = [
            {
                "delivery": delivery.id,
                "job": delivery.job_id,
                "object": evidence.role,
                "sop_instance_uid": evidence.sop_instance_uid,
                "destination": delivery.destination,
                "profile": delivery.profile,
                "state": str(delivery.state),
                "attempts": delivery.attempts,
                "sent": clock_time(delivery.sent_at),
                "proven": clock_time(delivery.proven_at),
                "status": delivery.status,
                "reason": delivery.reason,
            }
            for delivery, evidence in list_deliveries(node.db, limit=limit, states=states)
        ]
        empty = "No such delivery." if states else "Nothing to deliver yet."
        show(rows, as_json=as_json, empty=empty)
        _say_more(node, "deliveries", len(rows), states)


def quarantine(
    settings: SettingsOption = None, as_json: JsonOption = False, limit: LimitOption = 100
) -> None:
    """List objects that were kept but cannot be processed, each with its reason."""
    from node.storage.quarantine_rows import list_quarantine

    with sentences(), opened_node(settings) as node:
        rows = [
            {
                "received": clock_time(item.received_at),
                "from": item.calling_ae,
                "code": item.code,
                "reason": item.sentence,
                "file": item.path,
                "bytes": item.size_bytes,
            }
            for item in list_quarantine(node.db, limit=limit)
        ]
        show(rows, as_json=as_json, empty="The quarantine is empty.")
        _say_more(node, "quarantine", len(rows))


def explain(
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID, or its beginning.")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why models did or did not run: rules, predicates, candidates, scores."""
    from node.routing.explain import explain_document, explain_text

    with sentences(), opened_node(settings) as node:
        study_uid = _whole_uid(node, study_uid)
        if as_json:
            document = explain_document(node.db, study_uid)
            sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
        else:
            text = explain_text(node.db, study_uid)
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def _states(kind: type[_State], words: Sequence[str] | None) -> tuple[_State, ...]:
    known = {str(one): one for one in kind}
    for word in words or ():
        if word.upper() not in known:
            raise SettingsError(f"there is no state `{word}`; there are: {', '.join(known)}")
    return tuple(known[word.upper()] for word in words or ())


def _say_more(node: Node, listing: str, listed: int, states: Sequence[str] = ()) -> None:
    """Say on standard error that there is more than what was listed."""
    count = count_rows(node.db, listing, [str(state) for state in states])
    if count > listed:
        error_console.print(f"{listed} of {count}; `--limit {count}` shows all")


def _whole_uid(node: Node, given: str) -> str:
    """Return the one study whose UID starts so; what is unknown is returned as it is."""
    found = studies_starting(node.db, given)
    if len(found) > 1:
        raise NodeError(f"several studies start with {given}: {', '.join(found)}; give more of it")
    return found[0] if found else given
