"""One job from stored images to evidence in the outbox: read this page first.

A peer's C-STORE became files and rows (`node.intake`); when the study was complete, a rule chose
a plugin and the images for each of its inputs (`node.routing`), and that choice is the job.
Here the job is computed. What it leaves in the outbox, `node.delivery` sends and proves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pydicom import Dataset

from node.dicom.charset import source_charset
from node.dicom.frames import SourceSeries, Stack
from node.dicom.source import read_series
from node.editions import Edition, editions_of
from node.errors import EvidenceRejected, InputUnsettled, ManifestError, RefusalCode, Refused
from node.inference.case import build_case, select_frames
from node.inference.rois import rois_of_case
from node.inference.runner import RunOutcome
from node.job_regions import feeds_another, regions_of_job, source_regions
from node.logs import get_logger
from node.manifest import Manifest
from node.model import InstanceState, Job, JobInput, NewEvidence
from node.parts import Node
from node.plugin import Case
from node.priors import follow_up_of, places_of, prior_of
from node.results.check import check_objects
from node.results.encode import EncodeRequest, encode
from node.results.picture import overlay_picture
from node.results.write import write_evidence
from node.storage.intake_rows import get_study, instances_of_study
from node.storage.lease_rows import finish_job

log = get_logger(__name__)

_Failure = Refused | EvidenceRejected
#: Stands for a destination where an edition was for a plugin that takes the result.
_ANOTHER_PLUGIN = "(another plugin)"


class CaseRunner(Protocol):
    """What runs a plugin on a Case: a warm child process, or a fake in a test."""

    @property
    def device(self) -> str:
        """Return ``cpu`` or ``cuda:N``."""

    def run(self, manifest: Manifest, case: Case, *, job_folder: Path) -> RunOutcome:
        """Return the plugin's Result, or raise an `AttemptFailed`."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The chosen images of a job by input role: geometry and headers, no pixels yet."""

    stacks: Mapping[str, Stack]
    #: Header of each distinct instance, in stack order.
    headers: Mapping[str, tuple[Dataset, ...]]


@dataclass(frozen=True)
class Stopwatch:
    """Seconds per stage of one job, for the job's report and the benchmark."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        start = time.monotonic()
        try:
            yield
        finally:
            spent = self.seconds.get(name, 0.0) + time.monotonic() - start
            self.seconds[name] = round(spent, 4)


def process(job: Job, node: Node, runner: CaseRunner) -> tuple[NewEvidence, ...]:
    """Compute one claimed job and commit its evidence, its deliveries and its end at once.

    Raises
    ------
    Refused
        If the images are not fit for the plugin.
    AttemptFailed
        If the plugin crashed, timed out, or returned what its manifest does not allow.
    EvidenceRejected
        If an object of every edition fails a check; nothing leaves.
    LeaseLost
        If another worker owns the job by now.
    """
    watch = Stopwatch()
    manifest = manifest_of(job, node)
    folder = node.files.job_folder(job.id)
    with watch.stage("read headers and geometry"):
        sources = read_sources(job, node)
    with watch.stage("read pixels"):
        case = build_case(manifest, sources.stacks, sources.headers, runner.device)
        case = replace(case, values={v.name: v.value for v in job.clinical if v.value is not None})
        regions = regions_of_job(job, node, manifest, sources.stacks, charset=charset_of(job, node))
        case = replace(case, rois=rois_of_case(manifest, regions))
    with watch.stage("run the plugin"):
        outcome = runner.run(manifest, case, job_folder=folder)
    declared = source_charset(next(iter(sources.headers.values()))[0])
    requests = {
        one: replace(
            encode_request(job, node, manifest, sources, case=case, outcome=outcome, edition=one),
            regions=source_regions(regions, node),
        )
        for one in editions_of(
            job, node.settings, manifest, declared=declared, feeds=feeds_another(job, node)
        )
    }
    with watch.stage("look for priors"):
        request = next(iter(requests.values()))
        places = places_of(request)
        follow_up = follow_up_of(request, places, node)
    requests = {one: replace(r, follow_up=follow_up) for one, r in requests.items()}
    made, refused = make_evidence(requests, node, watch)
    request = next(iter(requests.values()))
    with watch.stage("draw"):
        picture = overlay_picture(request, case, node.files.evidence_folder(job.id))
    evidence = tuple(one for part in made.values() for one in part)
    finish_job(
        node.db,
        job,
        evidence=evidence,
        destinations=() if job.shadow else [to for one in made for to in one.addressees],
        report=report_of(outcome, manifest, watch, picture)
        | {"left_out": refused, "priors": list(follow_up.audit)},
        prior=prior_of(request, places),
        now=time.time(),
    )
    note_clinical(job, node)
    node.files.drop_job_folder(job.id)
    return evidence


def note_clinical(job: Job, node: Node) -> None:
    """Put on record which clinical values went into a result; the values stand in its row."""
    if used := [v for v in job.clinical if v.used]:
        names = ", ".join(f"{one.name} ({one.source})" for one in used)
        node.audit.record("clinical values used", job.id, values=names)


def manifest_of(job: Job, node: Node) -> Manifest:
    """Return the manifest of the job's plugin, bit for bit the one the job was made for.

    Raises
    ------
    ManifestError
        If the plugin is gone or its files changed since.
    """
    manifest = node.manifests.get(job.plugin_name_version)
    if manifest is None or manifest.digest != job.plugin_digest:
        raise ManifestError(
            f"plugin {job.plugin_name_version} with digest {job.plugin_digest[:12]} is not "
            "installed any more; install it again, or let the rules look at the study anew"
        )
    return manifest


def read_sources(job: Job, node: Node) -> Sources:
    """Read the headers of the chosen images and check their geometry again.

    Raises
    ------
    Refused
        If an image is gone, in conflict with another version, or does not fit the others.
    """
    charset = charset_of(job, node)
    paths = _paths_of_images(job, node)
    stacks: dict[str, Stack] = {}
    headers: dict[str, tuple[Dataset, ...]] = {}
    for chosen in job.inputs:
        series = read_series(
            [paths[uid] for uid in dict.fromkeys(chosen.sop_instance_uids)],
            assumed_charset=charset,
        )
        stacks[chosen.role] = select_frames(series, chosen)
        headers[chosen.role] = _headers_in_order(series, chosen)
    return Sources(stacks=stacks, headers=headers)


def charset_of(job: Job, node: Node) -> str:
    """Return the character set of undeclared text of the study's sender (S6)."""
    study = get_study(node.db, job.study_instance_uid)
    peers = node.settings.peers
    return next((p.assumed_charset for p in peers if study and p.name == study.peer), "")


def encode_request(
    job: Job,
    node: Node,
    manifest: Manifest,
    sources: Sources,
    *,
    case: Case,
    outcome: RunOutcome,
    edition: Edition,
) -> EncodeRequest:
    """Return everything that decides the bytes of one edition of the evidence."""
    return EncodeRequest(
        job=job,
        manifest=manifest,
        result=outcome.result,
        stacks=sources.stacks,
        headers=sources.headers,
        content_qualification=edition.content_qualification,
        charset=edition.charset,
        device_serial_number=node.settings.device_serial_number or "1",
        institution=node.settings.institution,
        station_name=node.settings.ae_titles[0],
        profile=edition.profile,
        volumes=case.volumes,
    )


def make_evidence(
    requests: Mapping[Edition, EncodeRequest], node: Node, watch: Stopwatch
) -> tuple[Mapping[Edition, tuple[NewEvidence, ...]], Mapping[str, str]]:
    """Encode, check and write each edition of a job's evidence.

    Returns
    -------
    (made, refused)
        The evidence of each edition; and by destination why it gets nothing, although others do.

    Raises
    ------
    Refused
        If no edition can be encoded.
    EvidenceRejected
        If no edition passes, and an object of one fails a check: that is our fault.
    """
    made: dict[Edition, tuple[NewEvidence, ...]] = {}
    failures: dict[Edition, _Failure] = {}
    for edition, request in requests.items():
        try:
            with watch.stage("encode"):
                objects = encode(request)
            with watch.stage("check"):
                # Nothing is written of an edition before all of it has passed.
                checks = check_objects(objects, request)
                written = write_evidence(objects, checks, files=node.files, job_id=request.job.id)
        except (Refused, EvidenceRejected) as failure:
            failures[edition] = failure
            continue
        made[edition] = tuple(replace(one, encoding=edition.encoding) for one in written)
    if not made:
        raise min(failures.values(), key=lambda why: isinstance(why, Refused))
    return made, _alarmed(failures, requests)


def _alarmed(
    failures: Mapping[Edition, _Failure],
    requests: Mapping[Edition, EncodeRequest],
) -> Mapping[str, str]:
    """Say who gets nothing, and why; a result that feeds another plugin may go to nobody."""
    left_out: dict[str, str] = {}
    for edition, why in failures.items():
        about = requests[edition]
        words = {"job": about.job.id, "rule": about.job.rule, "code": str(why.code)}
        if isinstance(why, EvidenceRejected):  # its sentence holds no value of the patient
            words["check"] = str(why)
        for name in [to.name for to in edition.destinations] or [_ANOTHER_PLUGIN]:
            log.error(
                "alarm: a destination gets nothing",
                destination=name,
                profile=edition.profile.name,
                **words,
            )
            left_out[name] = f"{why.code}: {why}"
    return left_out


def report_of(
    outcome: RunOutcome, manifest: Manifest, watch: Stopwatch, picture: Path | None
) -> dict[str, object]:
    """Return what the job's row keeps for people: numbers, seconds, memory, the picture."""
    return {
        "measurements": [
            {
                "name": m.name,
                "value": m.value,
                "unit": manifest.measurements[m.name].unit.value,
                "segment": m.segment,
                "finding": m.finding,
            }
            for m in outcome.result.measurements
        ],
        "segments": [manifest.segments[s.name].label for s in outcome.result.segments],
        "seconds": watch.seconds,
        "device": outcome.device,
        "peak_memory_mb": outcome.peak_memory_mb,
        "picture": str(picture) if picture else "",
    }


def _paths_of_images(job: Job, node: Node) -> Mapping[str, Path]:
    """Return the file of each chosen SOP Instance UID."""
    wanted = {uid for chosen in job.inputs for uid in chosen.sop_instance_uids}
    found: dict[str, Path] = {}
    for instance in instances_of_study(node.db, job.study_instance_uid):
        if instance.sop_instance_uid not in wanted:
            continue
        if instance.state is InstanceState.UNRESOLVED:
            raise InputUnsettled("another version of one of the chosen images just arrived")
        if instance.state is InstanceState.CONFLICT:
            raise Refused(
                RefusalCode.UID_CONFLICT,
                "two versions of one of the chosen images are here; choose one with "
                "`sentinel-node choose`",
            )
        if instance.state is InstanceState.STORED:
            found[instance.sop_instance_uid] = node.files.absolute(instance.path)
    if wanted - found.keys():
        raise Refused(
            RefusalCode.INPUT_CHANGED,
            f"{len(wanted - found.keys())} of {len(wanted)} chosen images are not here any more",
        )
    return found


def _headers_in_order(series: tuple[SourceSeries, ...], chosen: JobInput) -> tuple[Dataset, ...]:
    by_uid = {str(ds.SOPInstanceUID): ds for one in series for ds in one.headers}
    return tuple(by_uid[uid] for uid in dict.fromkeys(chosen.sop_instance_uids))
