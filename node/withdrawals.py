"""Takes results back: asked for by a person, or replaced by a proven newer result (S8).

Here the notes are made and put into the outbox. `node.delivery.withdraw` then looks whether the
objects are gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from pydicom import Dataset

from node.dicom.charset import source_charset
from node.dicom.headers import read_header
from node.errors import NodeError
from node.logs import get_logger
from node.model import REJECTION, WITHDRAWN, Addressee, Job, NewEvidence, WithdrawalState
from node.parts import Node
from node.results.check import check_note
from node.results.notes import NoteRequest
from node.results.withdrawal import Retraction, author_of, rejection, withdrawn_report
from node.results.write import write_evidence
from node.settings import DestinationSettings
from node.storage.delivery_rows import evidence_of_job
from node.storage.job_rows import get_job
from node.storage.replaced_rows import Replaced, replaced_deliveries
from node.storage.withdrawal_rows import (
    Taken,
    deliveries_to_withdraw,
    look_later,
    prepare,
    record_look,
    request_withdrawal,
    requested,
    stop_unsent,
)

log = get_logger(__name__)

#: A newer result that was proven longer ago was looked at before.
LATELY_S = 7 * 86400.0
#: Characters of a reason; it stands in a report, in rows and in the trail.
LONGEST_REASON = 1000
_AGAIN_S = 60.0
_REPORTS = ("sr", "notrun")


def check_reason(reason: str) -> None:
    """Refuse a reason that is too long for a note.

    Raises
    ------
    NodeError
        If it has more than `LONGEST_REASON` characters.
    """
    if len(reason) > LONGEST_REASON:
        raise NodeError(
            f"the reason has {len(reason)} characters; a note takes at most {LONGEST_REASON}: "
            "shorten it"
        )


def withdraw_job(node: Node, job_id: str, *, reason: str, now: float) -> int:
    """Ask for everything of a job to be taken back, everywhere; return how many deliveries.

    Raises
    ------
    NodeError
        If there is no such job, or the reason is too long (`check_reason`).
    """
    reason = reason.strip()
    check_reason(reason)
    job = get_job(node.db, job_id)
    found = deliveries_to_withdraw(node.db, job.id)
    request_withdrawal(node.db, found, reason=reason, now=now)
    if found:
        node.audit.record("withdrawal asked for", job.id, reason=reason, deliveries=len(found))
    return len(found)


def withdraw_replaced(node: Node, *, now: float, since_s: float = LATELY_S) -> int:
    """Ask for what newer results replace that were proven lately; return how many deliveries."""
    found = replaced_deliveries(node.db, since=now - since_s)
    for one in found:
        same = one.by == one.job_id
        reason = "the plugin ran later" if same else "a newer result replaces it"
        see = _newer_result(node, one)
        request_withdrawal(node.db, [one.delivery_id], reason=reason, see=see, now=now)
    for job_id in dict.fromkeys(one.job_id for one in found):
        count = sum(one.job_id == job_id for one in found)
        node.audit.record("withdrawal asked for", job_id, reason="replaced", deliveries=count)
    return len(found)


def prepare_withdrawals(node: Node, *, now: float) -> int:
    """Stop what has not left, and write the notes for what has; return how many objects."""
    prepared = 0
    for (job_id, destination), taken in requested(node.db, now=now).items():
        try:
            prepared += _prepare(node, job_id, destination, taken, now)
        except (NodeError, OSError) as error:
            _give_up(node, job_id, destination, taken, error, now)
    return prepared


def _give_up(
    node: Node,
    job_id: str,
    destination: str,
    taken: Sequence[Taken],
    error: NodeError | OSError,
    now: float,
) -> None:
    """Come again where that may help; else leave it to a person."""
    code = str(getattr(error, "code", "SYSTEM_ERROR"))
    log.error("alarm: withdrawal not prepared", job=job_id, to=destination, code=code)
    for one in taken:
        if isinstance(error, OSError) or error.retry:
            look_later(node.db, one.withdrawal, code, until=now + _AGAIN_S)
        else:
            _leave_to_a_person(node, one, f"the note could not be made: {code}: {error}", now)


def _leave_to_a_person(node: Node, one: Taken, sentence: str, now: float) -> None:
    state = WithdrawalState.UNKNOWN
    record_look(node.db, one.withdrawal, state, sentence, now=now, next_look_at=now)


def _prepare(node: Node, job_id: str, destination: str, taken: Sequence[Taken], now: float) -> int:
    left = stop_unsent(node.db, taken, now=now)
    if not left:
        return 0
    to = next((d for d in node.settings.destinations if d.name == destination), None)
    if to is None:
        sentence = "the settings do not name this destination any more"
        for one in left:
            _leave_to_a_person(node, one, sentence, now)
        log.error("alarm: withdrawal needs a person", job=job_id, to=destination)
        return 0
    means = _means(to)
    if means != "note":
        return len(left) * prepare(node.db, left, means=means, now=now)
    return sum(_note(node, job_id, to, part, now) for part in _by_encoding(left))


def _means(to: DestinationSettings) -> str:
    if to.kind == "folder":
        return "mark"
    return "delete" if to.withdraw == "delete" else "note"


def _by_encoding(taken: Sequence[Taken]) -> list[list[Taken]]:
    """Return the objects by the report that they belong to."""
    groups: dict[tuple[str, bool], list[Taken]] = {}
    for one in taken:
        groups.setdefault((one.evidence.encoding, one.evidence.kind == "notrun"), []).append(one)
    return list(groups.values())


def _note(
    node: Node,
    job_id: str,
    to: DestinationSettings,
    part: Sequence[Taken],
    now: float,
) -> int:
    """Write the note for objects of one encoding, and put it into the outbox."""
    job = get_job(node.db, job_id)
    report = _report(node, job, part)
    iocm = to.profile.iocm
    first = part[0].withdrawal
    kind = WITHDRAWN if iocm == "none" else REJECTION
    role = f"{kind}{min(one.withdrawal.id for one in part)}"
    request = NoteRequest(
        job=job,
        manifest=author_of(report, job),
        source=report,
        role=role,
        at=first.requested_at,
        charset="\\".join(source_charset(report)) or "ISO_IR 192",
        content_qualification=str(report.get("ContentQualification") or "RESEARCH"),
        device_serial_number=node.settings.device_serial_number or "1",
        institution=node.settings.institution,
        station_name=node.settings.ae_titles[0],
        sr_class=to.profile.sr_class,
    )
    what = Retraction(
        evidence=tuple(one.evidence for one in part), reason=first.reason, see=first.see
    )
    made = (
        withdrawn_report(request, what)
        if kind == WITHDRAWN
        else rejection(request, what, title=iocm)
    )
    checks = {role: check_note(made, report)}
    (written,) = write_evidence([made], checks, files=node.files, job_id=job.id)
    written = replace(written, encoding=part[0].evidence.encoding)
    return len(part) * _commit(node, part, written, to, now)


def _commit(
    node: Node,
    part: Sequence[Taken],
    note: NewEvidence,
    to: DestinationSettings,
    now: float,
) -> bool:
    addressee = Addressee(destination=to.name, profile=to.profile.name, encoding=note.encoding)
    done = prepare(node.db, part, means="note", note=note, to=addressee, now=now)
    if done:
        log.info("withdrawal prepared", job=part[0].delivery.job_id, to=to.name, objects=len(part))
    return done


def _report(node: Node, job: Job, part: Sequence[Taken]) -> Dataset:
    """Return the report of the run that these objects belong to, or "did not run" itself."""
    if part[0].evidence.kind == "notrun":
        return read_header(node.files.absolute(part[0].evidence.path))
    encoding = part[0].evidence.encoding
    for one in evidence_of_job(node.db, job.id):
        if one.encoding == encoding and one.role == "sr":
            return read_header(node.files.absolute(one.path))
    raise NodeError("the run has no report, from which the note could be made")


def _newer_result(node: Node, one: Replaced) -> str:
    """Return where the newer result is, in words."""
    reports = [e for e in evidence_of_job(node.db, one.by) if e.kind in _REPORTS]
    if not reports:
        return ""
    ds = read_header(node.files.absolute(reports[-1].path))
    moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(get_job(node.db, one.by).created_at))
    return f"the newer report in series {ds.get('SeriesNumber')}, of the job of {moment}"
