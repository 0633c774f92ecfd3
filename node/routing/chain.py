"""One plugin's result as another one's region: which is asked first, and what it found (S21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.dicom.regions import regions_of
from node.dicom.segmentation import SEGMENTATION_CLASSES
from node.errors import MalformedDataset, ManifestError
from node.manifest import Manifest
from node.manifest_file import find_manifest
from node.model import Evidence, Job, JobState
from node.routing.rois import FoundRegion, PluginResult
from node.settings import RuleSettings
from node.storage.database import Database
from node.storage.delivery_rows import evidence_of_job, list_deliveries
from node.storage.files import Files
from node.storage.job_rows import get_report
from node.storage.job_values import SUPERSEDED, latest_run
from node.storage.retry_rows import is_wanted_again
from node.storage.routing_rows import Ruling
from node.storage.waiting_rows import UNDER_WAY
from node.storage.withdrawal_rows import withdrawals


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What the rules said of a study so far, for plugins that need another one's result."""

    db: Database
    files: Files
    #: SOP Instance UIDs of what rejection notes take back; results of ours may be among them.
    rejected: frozenset[str] = frozenset()
    rulings: Sequence[Ruling] = ()

    def result_of(self, plugin: str) -> PluginResult:
        """Return what a plugin found in the images that the rules gave it now."""
        jobs = [
            ruling.job
            for ruling in self.rulings
            if ruling.job is not None and ruling.job.plugin == plugin
        ]
        if not jobs:
            return PluginResult(sentence=f"no rule gave these images to {plugin}")
        results = [self._result_of(job) for job in jobs]
        there = next((one for one in results if one.found), None)
        if any(one.pending for one in results):
            return PluginResult(pending=True)
        if there is None:
            return results[0]
        found = tuple(region for one in results for region in one.found)
        return PluginResult(found=found)

    def _result_of(self, job: Job) -> PluginResult:
        if job.state is JobState.REFUSED:
            return PluginResult(sentence=f"{job.plugin} was refused, {job.reason_code}")
        with self.db.read() as connection:
            known = latest_run(connection, job.fingerprint)
            again = known is not None and is_wanted_again(connection, known)
        # What was canceled or superseded is wanted again now: it will be a new run.
        if known is None or again or known.reason_code == SUPERSEDED:
            return PluginResult(pending=True)
        if known.state in UNDER_WAY or known.state is JobState.CANCELED:
            return PluginResult(pending=True)
        if known.state is not JobState.COMPLETED:
            return PluginResult(sentence=f"{job.plugin} did not run, {known.reason_code}")
        # One that only a newer result replaced names that one.
        taken = withdrawals(self.db, jobs=[known.id])
        if any(not one.withdrawal.see for one in taken):
            return PluginResult(sentence=f"the result of job {known.id} was withdrawn")
        return self._found_by(known)

    def _found_by(self, job: Job) -> PluginResult:
        # Each destination has a copy under a UID of its own; the note names the one it has.
        made = evidence_of_job(self.db, job.id)
        rejected = any(one.sop_instance_uid in self.rejected for one in made)
        try:
            found = tuple(
                FoundRegion(
                    region=region,
                    content_sha256=one.sha256,
                    from_job=job.id,
                    rejected=rejected,
                )
                for one in _segmentations(self.db, job.id)
                for region in regions_of(self.files.absolute(one.path))
            )
        except (MalformedDataset, OSError):
            return PluginResult(sentence=f"the segmentation of job {job.id} cannot be read")
        if not found and get_report(self.db, job.id).get("left_out"):
            return PluginResult(sentence=f"no segmentation of job {job.id} could be made")
        return PluginResult(found=found)


def in_order(
    rules: Sequence[RuleSettings], manifests: Mapping[str, Manifest]
) -> list[RuleSettings]:
    """Return rules so that a plugin comes after those whose result it needs.

    Else in the order of the file. Plugins that need each other keep it, too: neither result
    will ever be there.
    """
    depths = {rule.name: _depth(rule.plugin, manifests, frozenset()) for rule in rules}
    return sorted(rules, key=lambda rule: depths[rule.name])


def _depth(plugin: str, manifests: Mapping[str, Manifest], above: frozenset[str]) -> int:
    try:
        manifest = find_manifest(plugin, manifests.values())
    except ManifestError:
        return 0
    if manifest.name in above:
        return 0
    needed = {role.from_plugin for role in manifest.rois.values()} - {""}
    below = above | {manifest.name}
    return max((1 + _depth(one, manifests, below) for one in needed), default=0)


def _segmentations(db: Database, job_id: str) -> list[Evidence]:
    """Return the segmentations of a job in one encoding: of masks, and one that is sent."""
    made = [one for one in evidence_of_job(db, job_id) if one.sop_class_uid in SEGMENTATION_CLASSES]
    sent = {evidence.id for _, evidence in list_deliveries(db, job_id=job_id)}
    best = min(
        made, key=lambda one: ("seg=fractional" in one.encoding, one.id not in sent), default=None
    )
    return [one for one in made if best is not None and one.encoding == best.encoding]
