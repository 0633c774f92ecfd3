"""Evidence on disk: written once, durable before its row is (S1, S12)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from node.model import NewEvidence
from node.results.request import EncodedObject
from node.storage.files import Files


def write_evidence(
    objects: Sequence[EncodedObject],
    checks: Mapping[str, Mapping[str, object]],
    *,
    files: Files,
    job_id: str,
) -> tuple[NewEvidence, ...]:
    """Write the objects into the job's evidence folder and return their rows to be.

    The name holds the content's hash: an attempt that lost its lease can only add a file that
    no row will ever name, never change one that a row names.

    Raises
    ------
    FileExistsError
        If other bytes lie under that name.
    """
    folder = files.evidence_folder(job_id)
    return tuple(_write(item, checks[item.role], folder, files) for item in objects)


def _write(
    item: EncodedObject, checks: Mapping[str, object], folder: Path, files: Files
) -> NewEvidence:
    sha256 = hashlib.sha256(item.content).hexdigest()
    path = folder / f"{item.sop_instance_uid}.{sha256[:8]}.dcm"
    try:
        files.write(path, item.content)
    except FileExistsError:
        if path.read_bytes() != item.content:
            raise
        files.settle(path)
    return NewEvidence(
        role=item.role,
        study_instance_uid=item.study_instance_uid,
        series_instance_uid=item.series_instance_uid,
        sop_instance_uid=item.sop_instance_uid,
        sop_class_uid=item.sop_class_uid,
        transfer_syntax_uid=item.transfer_syntax_uid,
        path=files.relative(path),
        sha256=sha256,
        size_bytes=len(item.content),
        position=item.position,
        checks=checks,
    )
