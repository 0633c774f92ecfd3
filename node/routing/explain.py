"""Why models did or did not run on a study: every decision as a document, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from node.clinical_values import ClinicalValue, source_words, value_words
from node.errors import NodeError
from node.model import InstanceState, Job, Study
from node.storage.database import Database
from node.storage.decision_rows import Decision, decisions_of_study
from node.storage.delivery_rows import list_deliveries
from node.storage.intake_rows import get_study, instances_of_study
from node.storage.job_rows import get_report, jobs_of_study
from node.storage.withdrawal_rows import Withdrawal, withdrawals

#: What went where, one entry for each destination; or what was looked at; JSON-able.
_Sent = Sequence[Mapping[str, Any]]


def explain_document(db: Database, study_instance_uid: str) -> dict[str, Any]:
    """Return all that was decided about a study, JSON-able.

    Returns
    -------
    dict
        ``study`` (state, revision, why it was complete), ``conflicts`` (SOP Instance UIDs in
        two versions that differ), ``decisions`` (oldest first: rule,
        outcome, code, sentence, ``document`` with predicates, candidates, scores, guards),
        ``jobs`` (every run, newest first: state, reason, ``deliveries`` with the state of each
        object, its reason and whether it was withdrawn, ``priors``: which earlier results were
        looked at, and what came of it).

    Raises
    ------
    NodeError
        If nothing of the study is here.
    """
    study = get_study(db, study_instance_uid)
    if study is None:
        raise NodeError("there is no such study here; `sentinel-node studies` lists what came in")
    return {
        "study": asdict(study),
        "conflicts": _conflicts(db, study_instance_uid),
        "decisions": [asdict(one) for one in decisions_of_study(db, study_instance_uid)],
        "jobs": [
            {
                **_job_document(one),
                "deliveries": _deliveries(db, one.id),
                "priors": _priors(db, one.id),
            }
            for one in reversed(jobs_of_study(db, study_instance_uid))
        ],
    }


def explain_text(db: Database, study_instance_uid: str) -> str:
    """Return the same for a person: the latest revision in full, older ones in a line each."""
    study = get_study(db, study_instance_uid)
    if study is None:
        raise NodeError("there is no such study here; `sentinel-node studies` lists what came in")
    jobs = jobs_of_study(db, study_instance_uid)
    conflicts = _conflicts(db, study_instance_uid)
    lines = [*_head(study), *map(_conflict, conflicts)]
    lines += _body(decisions_of_study(db, study_instance_uid), {job.id: job for job in jobs})
    lines += _runs(db, jobs)
    return "\n".join(lines) + "\n"


def _conflicts(db: Database, study_instance_uid: str) -> list[str]:
    """Return the SOP Instance UIDs of a study that wait for a choice between versions (S2)."""
    found = instances_of_study(db, study_instance_uid)
    waiting = [one.sop_instance_uid for one in found if one.state is InstanceState.CONFLICT]
    return list(dict.fromkeys(waiting))


def _conflict(sop_instance_uid: str) -> str:
    return f"  in conflict: `sentinel-node choose {sop_instance_uid}`"


def _head(study: Study) -> Iterator[str]:
    yield f"study {study.study_instance_uid}"
    yield f"  {study.state}, revision {study.revision}, from {study.peer or study.calling_ae}"
    if study.completed_at is not None:
        yield f"  complete {_at(study.completed_at)}: {study.completed_reason}"


def _body(decisions: Sequence[Decision], jobs: Mapping[str, Job]) -> Iterator[str]:
    if not decisions:
        yield "  no rule has looked at it yet"
        return
    latest = max(one.study_revision for one in decisions)
    for decision in decisions:
        yield ""
        yield from _decision(decision, full=decision.study_revision == latest)
        job = jobs.get(decision.job_id or "")
        if job is not None and decision.study_revision == latest:
            yield f"  job {job.id}: {_state(job)}"


def _runs(db: Database, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield every run, the newest first: what a person ran again has no decision of a rule."""
    if jobs:
        yield from ("", "runs, newest first:")
    for job in reversed(jobs):
        yield from _job(job, _deliveries(db, job.id), _priors(db, job.id))


def _decision(decision: Decision, *, full: bool) -> Iterator[str]:
    who = f"rule “{decision.rule}” → {decision.plugin}" if decision.rule else "administrator"
    code = f" {decision.code}" if decision.code else ""
    head = f"{_at(decision.at)} revision {decision.study_revision}, {who}: {decision.outcome}{code}"
    yield head
    if decision.sentence:
        yield f"  {decision.sentence}"
    if not full:
        return
    document = decision.document
    for series in document.get("series", ()):
        yield from _series(series)
    for other in document.get("other_series", ()):
        yield f"  {_named(other)} holds no images that rules look at"
    for uid, reason in document.get("unreadable", {}).items():
        yield f"  series {uid} cannot be read: {reason}"
    yield from (f"  left out: {reason}" for reason in document.get("left_out", ()))
    yield from _candidates(document.get("candidates", ()))
    yield from map(_region, document.get("rois", ()))
    yield from (f"  not read: {reason}" for reason in document.get("unreadable_regions", ()))
    yield from (f"  {one['name']}: {one['sentence']}" for one in document.get("guards", ()))
    yield from map(_clinical, document.get("clinical", ()))
    yield from (f"  clinical values: {note}" for note in document.get("clinical_notes", ()))


def _clinical(document: Mapping[str, Any]) -> str:
    one = ClinicalValue(**{**document, "against": tuple(document["against"])})
    said = f"{value_words(one)} ({source_words(one)})" if one.used else f"not used, {one.why_not}"
    against = f"; against it: {', '.join(one.against)}" if one.used and one.against else ""
    return f"  clinical value {one.name}: {said}{against}"


def _region(one: Mapping[str, Any]) -> str:
    named = f" “{one['name']}”" if one["name"] else ""
    why = f"{one['code']}: {one['sentence']}" if one["code"] else one["sentence"]
    verdict = "CHOSEN" if one["chosen"] else f"no, {why}"
    return f"  region for {one['role']}: {one['place']}{named}, fits by its {one['by']}: {verdict}"


def _state(job: Job) -> str:
    reason = f": {job.reason_code} {job.reason}" if job.reason_code else ""
    return f"{job.state}{reason}"


def _job(job: Job, sent: _Sent, priors: _Sent) -> Iterator[str]:
    of = f"{job.plugin_name_version} by rule “{job.rule}”"
    yield f"  job {job.id}, run {job.run_number} of {of}, {_at(job.created_at)}: {_state(job)}"
    for one in priors:
        kept = len(one["tracking_uids"])
        tracked = f"; {kept} Tracking UID{'' if kept == 1 else 's'} kept" if kept else ""
        yield f"    earlier result, job {one['job']} ({one['plugin']}): {one['use']}{tracked}"
    for one in sent:
        if "left_out" in one:
            yield f"    to {one['destination']}: nothing, {one['left_out']}"
        else:
            yield from _sent_to(one)


def _sent_to(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield the states of the objects at one destination, then each reason once."""
    taken = one["withdrawn"]
    objects = ", ".join(
        f"{role} {state}" + (f" (withdrawn: {taken[role]})" if role in taken else "")
        for role, state in one["objects"].items()
    )
    yield f"    to {one['destination']} (profile {one['profile'] or '?'}): {objects}"
    for reason in dict.fromkeys(one["reasons"].values()):
        roles = ", ".join(role for role, why in one["reasons"].items() if why == reason)
        yield f"      {roles}: {reason}"


def _series(series: Mapping[str, Any]) -> Iterator[str]:
    verdict = "matches" if series["matched"] else "does not match"
    yield f"  {_named(series)} {verdict}"
    for line in series["predicates"]:
        # The outermost `all` says what the line above says.
        if line["depth"] > 0:
            mark = "+" if line["held"] else "-"
            found = f" (found: {line['found']})" if line["found"] else ""
            yield f"  {'  ' * line['depth']}{mark} {line['said']}{found}"


def _named(series: Mapping[str, Any]) -> str:
    count = series["instances"]
    instances = f"{count} instance{'' if count == 1 else 's'}"
    return f"series {series['series_number'] or '?'} ({series['modality']}, {instances})"


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in candidates:
        stack = f" ({one['stack']})" if one["stack"] else ""
        place = f"series {one['series_number']}{stack}, {one['slices']} slices"
        if one["code"]:
            yield f"  candidate for {one['role']}: {place}: no, {one['code']}: {one['sentence']}"
            continue
        scores = ", ".join(f"{name} {score:g}" for name, score in one["scores"].items())
        chosen = "CHOSEN" if one["chosen"] else "fits"
        # Decisions of older versions say nothing of a phase.
        phase = f"; {one['phase']}" if one.get("phase") else ""
        yield f"  candidate for {one['role']}: {place}: {chosen} [{scores}]{phase}"


def _deliveries(db: Database, job_id: str) -> _Sent:
    """Return for each destination of a job its viewer profile, and how each object fares."""
    taken = {one.delivery.id: _fate(one.withdrawal) for one in withdrawals(db, jobs=[job_id])}
    found: dict[str, dict[str, Any]] = {}
    for delivery, evidence in list_deliveries(db, job_id=job_id):
        words = {"destination": delivery.destination, "profile": delivery.profile}
        fresh = {**words, "objects": {}, "reasons": {}, "withdrawn": {}}
        to = found.setdefault(delivery.destination, fresh)
        to["objects"][evidence.role] = str(delivery.state)
        if delivery.reason:
            to["reasons"][evidence.role] = delivery.reason
        if delivery.id in taken:
            to["withdrawn"][evidence.role] = taken[delivery.id]
    left_out = get_report(db, job_id).get("left_out", {})
    refused = [{"destination": name, "left_out": why} for name, why in left_out.items()]
    return [*found.values(), *refused]


def _fate(taken: Withdrawal) -> str:
    """Return what became of something withdrawn."""
    return str(taken.state) if taken.done_at is None else f"{taken.state}, done by hand"


def _priors(db: Database, job_id: str) -> _Sent:
    """Return which earlier results the run of a job looked at (S10)."""
    found: _Sent = get_report(db, job_id).get("priors", ())
    return found


def _job_document(job: Job) -> dict[str, Any]:
    document = asdict(job)
    document["inputs"] = [
        {
            "role": one.role,
            "series_instance_uid": one.series_instance_uid,
            "stack": one.stack,
            "planes": len(one.sop_instance_uids),
        }
        for one in job.inputs
    ]
    document["rois"] = [
        {"role": one.role, "object": one.source_kind, "number": one.number} for one in job.rois
    ]
    return document


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
