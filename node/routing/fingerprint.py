"""What makes equal work equal (S1), and an input set the same (S14).

See ``docs/decisions/0001-job-fingerprint.md``: the bare revision number is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from node.clinical_values import ClinicalValue
from node.manifest import Manifest
from node.model import Identity, JobInput
from node.roi_choice import JobRoi
from node.settings import RuleSettings


def work_fingerprint(
    study_instance_uid: str,
    rule: RuleSettings,
    manifest: Manifest,
    inputs: Sequence[JobInput],
    identity: Identity,
    clinical: Sequence[ClinicalValue] = (),
    rois: Sequence[JobRoi] = (),
) -> str:
    """Return the SHA-256 of everything that a run's result and its way depend on.

    The selected SOP Instance UIDs with frame numbers and pixel hashes, the regions with the
    content of their objects, the patient's identity, the plugin's digest, the rule's name,
    plugin, destinations and shadow mode, and the clinical values that the plugin gets: what
    they are, not who said so.
    """
    return _sha256(
        "work",
        study_instance_uid,
        _rule(rule),
        manifest.digest,
        asdict(identity),
        sorted((asdict(one) for one in inputs), key=lambda one: str(one["role"])),
        *_clinical(clinical),
        *_regions(manifest, rois),
    )


def refusal_fingerprint(
    study_instance_uid: str, rule: RuleSettings, manifest: Manifest, code: str, sentence: str
) -> str:
    """Return the SHA-256 of a refusal: the same one is not counted twice (S7)."""
    return _sha256("refusal", study_instance_uid, _rule(rule), manifest.digest, code, sentence)


def _clinical(values: Sequence[ClinicalValue]) -> list[object]:
    """Return what the plugin gets; nothing at all where it gets none: as before there were any."""
    used = sorted([one.name, repr(one.value), one.unit] for one in values if one.used)
    return [{"clinical": used}] if used else []


def _regions(manifest: Manifest, rois: Sequence[JobRoi]) -> list[object]:
    """Return the regions; nothing at all where a plugin needs none: as before there were any."""
    if not manifest.rois:
        return []
    documents = (_region(one) for one in rois)
    return [
        sorted(
            documents,
            key=lambda one: (str(one["role"]), str(one["sop_instance_uid"]), int(one["number"])),
        )
    ]


def _region(one: JobRoi) -> dict[str, Any]:
    """Return a region; what it replaced is left out where it is nothing: as before it was kept."""
    document = asdict(one)
    if not one.edit_of:
        del document["edit_of"]
    return document


def _rule(rule: RuleSettings) -> list[object]:
    return [rule.name, rule.plugin, sorted(rule.destinations), rule.shadow]


def _sha256(*parts: object) -> str:
    document = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()
