"""The files behind the regions of a job: stored objects, our own evidence, images drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node.dicom.frames import Stack
from node.dicom.regions import regions_of
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from node.errors import MalformedDataset, RefusalCode, Refused
from node.inference.rois import ReadRoi, RoiFile, read_rois
from node.manifest import Manifest
from node.model import Instance, InstanceState, Job
from node.parts import Node
from node.results.regions import SourceRegion
from node.routing.reading import usable
from node.storage.delivery_rows import evidence_of_job, list_deliveries
from node.storage.intake_rows import instances_of_study
from node.storage.job_rows import get_job


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What is here of the job's study."""

    node: Node
    job: Job
    instances: Mapping[str, Instance]
    charset: str


def regions_of_job(
    job: Job, node: Node, manifest: Manifest, stacks: Mapping[str, Stack], *, charset: str
) -> tuple[ReadRoi, ...]:
    """Return the regions that were chosen for a job, on the grids of its inputs.

    Raises
    ------
    Refused
        If an object is gone, in conflict with another version, or makes no mask.
    """
    if not job.rois:
        return ()
    rows = usable(instances_of_study(node.db, job.study_instance_uid))
    study = _Study(node=node, job=job, instances=rows, charset=charset)
    files = _files(study)
    others = tuple(_drawn_on(study, files))
    return read_rois(manifest, job.rois, files, stacks, others=others, assumed_charset=charset)


def feeds_another(job: Job, node: Node) -> bool:
    """Return whether a plugin that is here may take the result as its region."""
    wanted = {role.from_plugin for one in node.manifests.values() for role in one.rois.values()}
    return job.plugin in wanted


def source_regions(regions: Sequence[ReadRoi], node: Node) -> tuple[SourceRegion, ...]:
    """Return what the report says of the regions that a plugin got."""
    return tuple(_source_region(one, node) for one in regions)


def _source_region(one: ReadRoi, node: Node) -> SourceRegion:
    job_id, region = one.chosen.from_job, one.region
    if not job_id:
        return SourceRegion(role=one.chosen.role, region=region, carried=one.carried)
    sent = {made.sop_instance_uid for _, made in list_deliveries(node.db, job_id=job_id)}
    return SourceRegion(
        role=one.chosen.role,
        region=region,
        made_by=get_job(node.db, job_id).plugin_name_version,
        carried=one.carried,
        referenced=region.sop_instance_uid in sent,
    )


def _files(study: _Study) -> Mapping[str, RoiFile]:
    """Return every object that may hold a region, and what we made ourselves for this job."""
    found: dict[str, RoiFile] = {}
    chosen = {one.sop_instance_uid for one in study.job.rois}
    for uid, one in study.instances.items():
        if one.state is InstanceState.CONFLICT and uid in chosen:
            raise Refused(
                RefusalCode.UID_CONFLICT,
                "two versions of the object of a region are here; choose one with "
                "`sentinel-node choose`",
            )
        path = study.node.files.absolute(one.path)
        found[uid] = RoiFile(path=path, content_sha256=one.content_sha256)
    for job_id in {one.from_job for one in study.job.rois if one.from_job}:
        for made in evidence_of_job(study.node.db, job_id):
            path = study.node.files.absolute(made.path)
            found[made.sop_instance_uid] = RoiFile(path=path, content_sha256=made.sha256)
    return found


def _drawn_on(study: _Study, files: Mapping[str, RoiFile]) -> Iterator[Stack]:
    """Yield the stacks of the series, beside the inputs, that outlines were drawn on."""
    drawn = {
        one.sop_instance_uid
        for one in study.job.rois
        if one.source_kind != "SEG" and one.sop_instance_uid in files
    }
    series: dict[str, None] = {}
    for uid in sorted(drawn):
        for image in _images_of(files[uid], study.charset):
            if image in study.instances:
                series.setdefault(study.instances[image].series_instance_uid)
    known = {one.series_instance_uid for one in study.job.inputs}
    for one in series:
        if one not in known:
            yield from _stacks(study, one)


def _images_of(file: RoiFile, charset: str) -> Sequence[str]:
    try:
        regions = regions_of(file.path, assumed_charset=charset)
    except (MalformedDataset, OSError):  # said again, with the role, when it is read
        return ()
    return [image for region in regions for image in region.referenced_instances]


def _stacks(study: _Study, series_instance_uid: str) -> Sequence[Stack]:
    paths = [
        study.node.files.absolute(one.path)
        for one in study.instances.values()
        if one.series_instance_uid == series_instance_uid
    ]
    try:
        found = read_series(paths, assumed_charset=study.charset)
        return [stack for one in found for stack in split_series(one)]
    except (Refused, MalformedDataset, OSError):  # then nothing can be filled on it
        return ()
