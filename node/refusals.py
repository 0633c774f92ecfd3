"""Tells destinations that a plugin did not run, where an administrator wants that (S7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pydicom import Dataset

from node.dicom.charset import source_charset
from node.dicom.find import NOT_IMAGES, count_images
from node.dicom.headers import read_header
from node.editions import Edition, editions_of
from node.errors import NodeError, QueryFailed, RefusalCode, Refused
from node.logs import get_logger
from node.manifest import Manifest
from node.model import NOT_RUN, InstanceState, Job, JobState, NewEvidence, Origin
from node.parts import Node
from node.results.check import check_note
from node.results.not_run import not_run_report
from node.results.notes import NoteRequest
from node.results.write import write_evidence
from node.routing.guards import check_identity
from node.settings import PeerSettings
from node.storage.completion_rows import counts_by_series
from node.storage.intake_rows import get_study, instances_of_study
from node.storage.refusal_rows import (
    Silence,
    Telling,
    commit_not_run,
    count_equal,
    is_latest_word,
    left_out_lately,
    note_telling,
    notes_made,
    silences,
)

log = get_logger(__name__)

#: More equal refusals an hour are a fault of the site, not news about patients.
MOST_EQUAL = 20
_HOUR_S = 3600.0
#: Nobody wants to read after a day that AI did not run.
_STALE_S = 24 * _HOUR_S
_AGAIN_S = 60.0
_DEFAULT_GRACE_S = 900.0
TOO_MANY = "TOO_MANY"
#: Whose study it is, is not known; or the administrator stopped the plugin.
_NEVER_TOLD = frozenset(
    {
        RefusalCode.IDENTITY_MIXED,
        RefusalCode.IDENTITY_MISSING,
        RefusalCode.PLUGIN_DISABLED,
        RefusalCode.GRADE_NOT_RELEASED,
    }
)

CountAtPeer = Callable[[PeerSettings, str], Mapping[str, int]]


def tell_refusals(node: Node, *, now: float, count_at_peer: CountAtPeer | None = None) -> int:
    """Look at every job that did not run and is due; return how many reports were made.

    Parameters
    ----------
    count_at_peer : callable, optional
        How to ask a query peer for images by series; default is C-FIND.
    """
    count = count_at_peer or partial(count_images, calling_ae=node.settings.ae_titles[0])
    made = 0
    for one in silences(node.db, since=now - _STALE_S, now=now):
        if now < (one.job.ended_at or now) + _grace_s(node, one.job):
            continue
        try:
            made += _tell(node, one, now=now, count_at_peer=count)
        except Refused as refusal:
            _leave_out(node, one.job, refusal.code, refusal.sentence, now)
        except (NodeError, OSError) as error:
            code = getattr(error, "code", "SYSTEM_ERROR")
            log.error("alarm: not told that a job did not run", job=one.job.id, code=str(code))
            _leave_out(node, one.job, str(code), str(error), now)
    return made


def _tell(node: Node, one: Silence, *, now: float, count_at_peer: CountAtPeer) -> int:
    job = one.job
    names = {d.name for d in node.settings.destinations if d.not_run}
    wanting = tuple(name for name in job.destinations if name in names)
    if not wanting:
        return _leave_out(node, job, "NOT_WANTED", "no destination of it has not_run = true", now)
    if job.reason_code in _NEVER_TOLD:
        return _leave_out(node, job, job.reason_code, "this reason is told to nobody", now)
    if not one.settled:
        return _wait(node, job, "the study is not with its rules", now)
    if not is_latest_word(node.db, one):
        return _leave_out(node, job, "OUTDATED", "the rule decided anew since", now)
    if _are_too_many(node, job):
        return _stop_telling(node, job, now)
    missing = _missing(node, one, count_at_peer)
    if missing:
        return _wait(node, job, missing, now)
    return _make(node, replace(job, destinations=wanting), job, now)


def _make(node: Node, told: Job, job: Job, now: float) -> int:
    """Write the report in each edition that its destinations need, and commit them."""
    manifest = node.manifests.get(job.plugin_name_version)
    images = _images(node, job)
    if manifest is None or manifest.digest != job.plugin_digest:
        return _leave_out(node, job, "PLUGIN_GONE", "the plugin is not installed any more", now)
    if not images:
        return _leave_out(node, job, "NO_IMAGE", "no image of the study can be read", now)
    number = notes_made(node.db, job.id) + 1
    role = NOT_RUN if number == 1 else f"{NOT_RUN}{number}"
    editions = _editions(node, told, manifest, images[0])
    made = [_evidence(node, job, manifest, images, one, role) for one in editions]
    to = [addressee for one in editions for addressee in one.addressees]
    if not commit_not_run(node.db, job, made, to, now=now):
        return 0
    node.audit.record("did not run, told", job.id, code=job.reason_code, objects=len(made))
    log.info("told that a job did not run", job=job.id, code=job.reason_code)
    return len(made)


def _editions(node: Node, told: Job, manifest: Manifest, image: Dataset) -> tuple[Edition, ...]:
    """Return the editions by what decides a note: nothing else of a profile does."""
    declared = source_charset(image)
    grouped: dict[tuple[str, str, str], Edition] = {}
    for one in editions_of(told, node.settings, manifest, declared=declared):
        key = (one.charset, one.content_qualification, one.profile.sr_class)
        known = grouped.get(key)
        grouped[key] = (
            one
            if known is None
            else replace(known, destinations=(*known.destinations, *one.destinations))
        )
    return tuple(grouped.values())


def _evidence(
    node: Node,
    job: Job,
    manifest: Manifest,
    images: Sequence[Dataset],
    edition: Edition,
    role: str,
) -> NewEvidence:
    """Return one report, checked and on disk."""
    request = NoteRequest(
        job=job,
        manifest=manifest,
        source=images[0],
        role=role,
        at=job.ended_at or job.created_at,
        charset=edition.charset,
        content_qualification=edition.content_qualification,
        device_serial_number=node.settings.device_serial_number or "1",
        institution=node.settings.institution,
        sr_class=edition.profile.sr_class,
        station_name=node.settings.ae_titles[0],
    )
    made = not_run_report(request, images, code=job.reason_code, sentence=_sentence(job))
    checks = {role: check_note(made, images[0])}
    (written,) = write_evidence([made], checks, files=node.files, job_id=job.id)
    return replace(written, encoding=edition.encoding)


def _sentence(job: Job) -> str:
    """Return the refusal; of a failure only that: its words are for administrators."""
    return job.reason if job.state is JobState.REFUSED else "the computation failed"


def _images(node: Node, job: Job) -> tuple[Dataset, ...]:
    """Return the header of one image of each series: the chosen ones, else all of the study.

    Raises
    ------
    Refused
        If the images name several patients, or none (S3).
    """
    chosen = {one.sop_instance_uids[0] for one in job.inputs}
    study = get_study(node.db, job.study_instance_uid)
    charset = next(
        (p.assumed_charset for p in node.settings.peers if study and p.name == study.peer), ""
    )
    headers: list[Dataset] = []
    for one in instances_of_study(node.db, job.study_instance_uid):
        usable = one.state is InstanceState.STORED and one.origin is Origin.ROUTED
        if not usable or one.modality in NOT_IMAGES:
            continue
        try:
            headers.append(read_header(node.files.absolute(one.path), assumed_charset=charset))
        except NodeError:
            continue
    # A refusal for another reason may hide that the study holds two patients.
    if headers:
        check_identity(headers)
    first: dict[str, Dataset] = {}
    for ds in headers:
        if not chosen or str(ds.SOPInstanceUID) in chosen:
            first.setdefault(str(ds.SeriesInstanceUID), ds)
    return tuple(first.values())


def _missing(node: Node, one: Silence, count_at_peer: CountAtPeer) -> str:
    """Return what the archive has and we do not, "" if nothing (or nobody can be asked)."""
    peer = next((p for p in node.settings.peers if p.query and p.name == one.peer), None)
    peer = peer or next((p for p in node.settings.peers if p.query), None)
    if peer is None:
        return ""
    try:
        there = count_at_peer(peer, one.job.study_instance_uid)
    except QueryFailed as failure:
        return str(failure)
    here = {uid: n for uid, (_, n) in counts_by_series(node.db, one.study_id, NOT_IMAGES).items()}
    lacking = sum(max(0, count - here.get(uid, 0)) for uid, count in there.items())
    return f"{peer.name} has {lacking} images more than are here" if lacking else ""


def _are_too_many(node: Node, job: Job) -> bool:
    ended = job.ended_at or job.created_at
    until = ended + min(_grace_s(node, job), _HOUR_S)
    return count_equal(node.db, job, since=until - _HOUR_S, until=until) > MOST_EQUAL


def _stop_telling(node: Node, job: Job, now: float) -> int:
    """Leave it out, with one alarm for all that are equal."""
    if not left_out_lately(node.db, job, TOO_MANY, since=now - _HOUR_S):
        log.error(
            "alarm: too many equal refusals, none is told",
            rule=job.rule,
            plugin=job.plugin_name_version,
            code=job.reason_code,
        )
        node.audit.record("did not run, not told", job.id, code=job.reason_code, why=TOO_MANY)
    return _leave_out(node, job, TOO_MANY, f"more than {MOST_EQUAL} equal ones in an hour", now)


def _leave_out(node: Node, job: Job, code: str, sentence: str, now: float) -> int:
    note_telling(node.db, job, Telling.LEFT_OUT, code=code, sentence=sentence, now=now)
    return 0


def _wait(node: Node, job: Job, sentence: str, now: float) -> int:
    until = now + _AGAIN_S
    note_telling(node.db, job, Telling.WAITS, sentence=sentence, now=now, next_look_at=until)
    return 0


def _grace_s(node: Node, job: Job) -> float:
    graces = {rule.name: rule.grace_s for rule in node.settings.rules}
    return graces.get(job.rule, _DEFAULT_GRACE_S)
