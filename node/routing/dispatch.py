"""Complete studies meet the rules: each rule makes a job, or says why not (S14, S15, S22).

Every rule is asked, in the order of the file; every rule that matches makes its own job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from node.errors import ManifestError, NodeError, RefusalCode, Refused
from node.logs import get_logger, hashed
from node.manifest import Manifest
from node.manifest_file import find_manifest
from node.model import (
    InstanceState,
    Job,
    JobInput,
    JobState,
    Origin,
    Study,
    StudyState,
)
from node.routing.chain import Chain, in_order
from node.routing.clinical import clinical_document
from node.routing.clinical_sources import ClinicalSources
from node.routing.documents import candidate_document, evaluation_document, series_document
from node.routing.fingerprint import refusal_fingerprint, work_fingerprint
from node.routing.guards import (
    check_identity,
    check_patient,
    check_plugin,
    is_known,
    released_lately,
    too_old,
)
from node.routing.reading import SeriesRow, StudyImages
from node.routing.region_reading import StudyRegions
from node.routing.rois import RoiChoice, candidate_documents, choose_rois
from node.routing.rules import evaluate, facts_of
from node.routing.selection import Chosen, Selection, select
from node.routing.waiting import tell_waiting
from node.settings import RuleSettings, Settings
from node.storage.database import Database
from node.storage.decision_rows import Decision, judged_at, released_at
from node.storage.files import Files
from node.storage.intake_rows import change_study, instances_of_study, studies_in_state
from node.storage.job_rows import new_job_id, plugins_off
from node.storage.routing_rows import Ruling, commit_routing, release_to_rules
from node.storage.waiting_rows import WAITS_FOR_REGION, WAITS_FOR_RESULT

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """One study on its way through the rules."""

    study: Study
    images: StudyImages
    rows: tuple[SeriesRow, ...]
    clinical: ClinicalSources
    regions: StudyRegions
    chain: Chain
    settings: Settings
    manifests: Mapping[str, Manifest]
    #: Plugins whose kill switch is on, with the reason.
    off: Mapping[str, str]
    released_at: float | None
    #: When each rule last took the study, or refused it, for its plugin.
    judged_at: Mapping[tuple[str, str], float]
    now: float


def dispatch_complete(
    db: Database,
    files: Files,
    settings: Settings,
    manifests: Mapping[str, Manifest],
    *,
    now: float,
) -> int:
    """Give every complete study to the rules; return how many were decided.

    A study whose images cannot be looked at by a defect of ours is held with an alarm, and
    never keeps others waiting.
    """
    decided = 0
    for study in studies_in_state(db, StudyState.COMPLETE):
        try:
            made = dispatch_study(
                study, db=db, files=files, settings=settings, manifests=manifests, now=now
            )
        except NodeError as error:
            log.error(
                "alarm: study not routed", study=hashed(study.study_instance_uid), code=error.code
            )
            continue
        except Exception:
            name = hashed(study.study_instance_uid)
            log.exception("alarm: study held, routing failed by a defect", study=name)
            change_study(
                db, study.study_instance_uid, StudyState.COMPLETE, StudyState.HELD, now=now
            )
            continue
        decided += made is not None
    return decided


def dispatch_study(
    study: Study,
    *,
    db: Database,
    files: Files,
    settings: Settings,
    manifests: Mapping[str, Manifest],
    now: float,
) -> tuple[Decision, ...] | None:
    """Ask every rule about one complete study, and commit what they say.

    Returns
    -------
    tuple of Decision, or None
        None: versions of an instance still wait for their comparison (S2), or the study
        changed meanwhile; it stays as it is and comes again.
    """
    instances = instances_of_study(db, study.study_instance_uid)
    routed = [one for one in instances if one.origin is Origin.ROUTED]
    if any(one.state is InstanceState.UNRESOLVED for one in routed):
        return None
    charset = next((p.assumed_charset for p in settings.peers if p.name == study.peer), "")
    images = StudyImages(files, instances, charset)
    rows = images.rows()
    regions = StudyRegions(db, files, study.study_instance_uid, rows, charset)
    desk = _Desk(
        study=study,
        images=images,
        rows=rows,
        clinical=ClinicalSources(db, files, study.study_instance_uid, rows, charset),
        regions=regions,
        chain=Chain(db=db, files=files, rejected=regions.rejected),
        settings=settings,
        manifests=manifests,
        off=plugins_off(db),
        released_at=released_at(db, study.study_instance_uid),
        judged_at=judged_at(db, study.study_instance_uid),
        now=now,
    )
    rulings: list[Ruling] = []
    for rule in in_order(settings.rules, manifests):
        chain = replace(desk.chain, rulings=tuple(rulings))
        rulings.append(_rule_on(replace(desk, chain=chain), rule))
    held = any(ruling.decision.outcome == "held" for ruling in rulings)
    state = StudyState.HELD if held else StudyState.ROUTED
    made = commit_routing(db, study, rulings, state=state, now=now)
    if made is not None:
        outcomes = [decision.outcome for decision in made]
        log.info("study routed", study=hashed(study.study_instance_uid), outcomes=outcomes)
        tell_waiting(db, desk.regions)
    return made


def backfill(db: Database, study_instance_uid: str, *, now: float) -> None:
    """Let the rules look at a held study, whatever its age (S15).

    Raises
    ------
    NodeError
        If there is no such study, or it is not held.
    """
    release_to_rules(db, study_instance_uid, now=now)


def _rule_on(desk: _Desk, rule: RuleSettings) -> Ruling:
    """Return what one rule says of the study."""
    document: dict[str, object] = {}
    matched = _matched(desk, rule, document)
    if not matched:
        sentence = "" if document["series"] else _no_images(desk)
        return _ruling(desk, rule, "not matched", document, sentence=sentence)
    held = too_old(matched[0].header, rule, now=desk.now)
    if held and not _is_let_through(desk, rule, matched):
        return _ruling(
            desk, rule, "held", document, RefusalCode.STUDY_TOO_OLD.value, f"{held}; back-fill it"
        )
    try:
        manifest = find_manifest(rule.plugin, desk.manifests.values())
    except ManifestError as error:
        return _ruling(desk, rule, "refused", document, str(error.code), str(error))
    return _ruling_with(desk, rule, manifest, matched, document)


def _is_let_through(desk: _Desk, rule: RuleSettings, matched: Sequence[SeriesRow]) -> bool:
    """Return whether the age of the study does not matter: released, or no image is new."""
    if released_lately(desk.released_at, rule, now=desk.now):
        return True
    # Whatever else came, like a viewer's screenshot, is no image that this rule is about.
    images = (one for row in matched for one in row.instances)
    return is_known(images, desk.judged_at.get((rule.name, rule.plugin.partition("@")[0])))


def _ruling_with(
    desk: _Desk,
    rule: RuleSettings,
    manifest: Manifest,
    matched: Sequence[SeriesRow],
    document: dict[str, object],
) -> Ruling:
    inputs: list[JobInput] = []
    try:
        guards = check_plugin(manifest, rule, desk.settings, desk.off)
        identity = check_identity([row.header for row in desk.rows])
        selection = _select(desk, rule, manifest, matched, document)
        inputs += _job_inputs(selection, desk.images)
        _refuse_conflict(inputs, desk.images)
        headers = [one for chosen in selection.inputs.values() for one in chosen.series.headers]
        check_identity([desk.rows[0].header, *headers])
        chosen = [c.header for c in selection.inputs.values()]
        guards += check_patient(manifest.limits, chosen)
        clinical = desk.clinical.of(manifest, chosen[0] if chosen else matched[0].header)
        regions = _regions(desk, rule, manifest, selection, document)
    except Refused as refusal:
        code, sentence = refusal.code.value, refusal.sentence
        refused = refusal_fingerprint(desk.study.study_instance_uid, rule, manifest, code, sentence)
        job = _job(desk, rule, manifest, inputs, refused, refusal)
        return _ruling(desk, rule, "refused", document, code, sentence, job)
    document["guards"] = [asdict(guard) for guard in guards]
    document["notes"] = list(selection.notes)
    document["clinical"] = clinical_document(clinical)
    document["clinical_notes"] = list(desk.clinical.notes)
    study_uid = desk.study.study_instance_uid
    work = work_fingerprint(study_uid, rule, manifest, inputs, identity, clinical, regions.rois)
    job = _job(desk, rule, manifest, inputs, work, None)
    job = replace(job, clinical=clinical, rois=regions.rois)
    if regions.missing:
        return _waiting(desk, rule, document, regions, job)
    return _ruling(desk, rule, "scheduled", document, "", "; ".join(selection.notes), job)


def _waiting(
    desk: _Desk, rule: RuleSettings, document: dict[str, object], regions: RoiChoice, job: Job
) -> Ruling:
    """Let the job wait for the regions that its plugin lacks."""
    code = WAITS_FOR_RESULT if regions.waits_for_result else WAITS_FOR_REGION
    sentence = regions.missing_sentence
    job = replace(job, state=JobState.WAITING, reason_code=code, reason=sentence)
    return _ruling(desk, rule, "waiting", document, code, sentence, job)


def _regions(
    desk: _Desk,
    rule: RuleSettings,
    manifest: Manifest,
    selection: Selection,
    document: dict[str, object],
) -> RoiChoice:
    """Return the regions that the plugin needs, or what it may wait for; raises `Refused`."""
    if not manifest.rois:
        return RoiChoice()
    results = desk.chain.result_of
    choice = choose_rois(manifest, rule.rois, desk.regions.found, selection.inputs, results)
    document["rois"] = candidate_documents(choice)
    document["unreadable_regions"] = list(desk.regions.unreadable)
    if choice.refusal is not None:
        raise choice.refusal
    return choice


def _no_images(desk: _Desk) -> str:
    modalities = ", ".join(sorted({row.modality or "no modality" for row in desk.rows}))
    return f"no image series that can be read (others: {modalities or 'none'})"


def _matched(desk: _Desk, rule: RuleSettings, document: dict[str, object]) -> tuple[SeriesRow, ...]:
    """Return the image series for which the condition holds, and record each evaluation."""
    kept, evaluations, others = [], [], []
    for row in desk.rows:
        if not row.is_image:
            others.append(series_document(row))
            continue
        facts = facts_of(
            row.header,
            rule.when,
            called_ae=row.instances[0].called_ae,
            peer=desk.study.peer,
        )
        evaluation = evaluate(rule.when, facts)
        evaluations.append(evaluation_document(row, evaluation))
        if evaluation.matched:
            kept.append(row)
    document["series"] = evaluations
    document["other_series"] = others
    document["unreadable"] = dict(desk.images.unreadable)
    return tuple(kept)


def _select(
    desk: _Desk,
    rule: RuleSettings,
    manifest: Manifest,
    matched: Sequence[SeriesRow],
    document: dict[str, object],
) -> Selection:
    """Return the choice for every role; raises `Refused`."""
    sources, unreadable = [], []
    wanted = {modality for role in manifest.inputs.values() for modality in role.modality}
    for row in matched:
        # What no role can use is not worth its headers: the first shows it by its modality.
        try:
            sources.append(desk.images.source(row, whole=row.modality in wanted))
        except Refused as refusal:
            unreadable.append(f"{refusal.code}: {refusal.sentence}")
    selection = select(manifest, sources, rule.phases)
    document["candidates"] = [candidate_document(one) for one in selection.candidates]
    document["left_out"] = unreadable
    if selection.refusal is not None:
        raise selection.refusal
    return selection


def _job_inputs(selection: Selection, images: StudyImages) -> tuple[JobInput, ...]:
    return tuple(_job_input(role, chosen, images) for role, chosen in selection.inputs.items())


def _job_input(role: str, chosen: Chosen, images: StudyImages) -> JobInput:
    frames = chosen.stack.frames
    uids = tuple(frame.sop_instance_uid for frame in frames)
    return JobInput(
        role=role,
        series_instance_uid=chosen.stack.series_instance_uid,
        sop_instance_uids=uids,
        frame_numbers=tuple(frame.frame_number for frame in frames),
        stack=chosen.stack.label,
        pixel_sha256=tuple(sorted(images.instance(uid).pixel_sha256 for uid in set(uids))),
    )


def _refuse_conflict(inputs: Sequence[JobInput], images: StudyImages) -> None:
    """Raise `Refused` if a chosen instance has two versions that differ (S2)."""
    uids = {uid for one in inputs for uid in one.sop_instance_uids}
    count = sum(images.instance(uid).state is InstanceState.CONFLICT for uid in uids)
    if count:
        raise Refused(
            RefusalCode.UID_CONFLICT,
            f"{count} of the {len(uids)} chosen images are here in two versions that differ; "
            "choose one with `sentinel-node choose`",
        )


def _job(
    desk: _Desk,
    rule: RuleSettings,
    manifest: Manifest,
    inputs: Sequence[JobInput],
    fingerprint: str,
    refusal: Refused | None,
) -> Job:
    return Job(
        id=new_job_id(),
        study_instance_uid=desk.study.study_instance_uid,
        study_revision=desk.study.revision,
        rule=rule.name,
        plugin=manifest.name,
        plugin_version=manifest.version,
        plugin_digest=manifest.digest,
        state=JobState.SCHEDULED if refusal is None else JobState.REFUSED,
        reason_code="" if refusal is None else refusal.code.value,
        reason="" if refusal is None else refusal.sentence,
        fingerprint=fingerprint,
        run_number=1,
        inputs=tuple(inputs),
        destinations=rule.destinations,
        attempt=0,
        created_at=desk.now,
        started_at=None,
        ended_at=None if refusal is None else desk.now,
        shadow=rule.shadow,
    )


def _ruling(
    desk: _Desk,
    rule: RuleSettings,
    outcome: str,
    document: Mapping[str, object],
    code: str = "",
    sentence: str = "",
    job: Job | None = None,
) -> Ruling:
    decision = Decision(
        study_revision=desk.study.revision,
        rule=rule.name,
        plugin=rule.plugin if job is None else job.plugin_name_version,
        at=desk.now,
        outcome=outcome,
        code=code,
        sentence=sentence,
        document=document,
    )
    return Ruling(decision=decision, job=job)
