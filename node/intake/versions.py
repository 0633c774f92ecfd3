"""The same SOP Instance UID received again: stored once, corrected, or in conflict (S2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.audit import Audit
from node.dicom.compare import Difference, compare_files, differing_attributes
from node.errors import MalformedDataset, RefusalCode, Refused
from node.logs import get_logger, hashed
from node.model import Instance, InstanceState
from node.storage.completion_rows import settle_versions
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import unresolved_instances, versions_of

#: So many comparisons in one sweep: other studies wait for the same sweep.
_AT_ONCE = 200

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What became of the versions of one instance."""

    #: ``duplicate``, ``correction`` or ``conflict``.
    outcome: str
    states: dict[int, InstanceState] = field(default_factory=dict)
    reopens: bool = False


def resolve_versions(
    db: Database, files: Files, *, now: float, audit: Audit | None = None
) -> dict[str, int]:
    """Compare what waits for it with what is here, and settle it; return counts by outcome.

    Equal or only transcoded: the extra file is dropped, its row remembers the bytes. Header
    only: the newest wins, and the study opens again so that a corrected identity is seen.
    Pixels, geometry or content: CONFLICT, all files stay until `choose_version`.
    """
    counts: dict[str, int] = {}
    for found in unresolved_instances(db, limit=_AT_ONCE):
        versions = versions_of(db, found.sop_instance_uid)
        settlement = _settle(files, found, versions)
        if settlement is None or not settle_versions(
            db,
            {version.id: version.state for version in versions},
            settlement.states,
            reopen_study_uid=found.study_instance_uid if settlement.reopens else "",
            now=now,
        ):
            continue  # a file is not there, or another version arrived meanwhile: next sweep
        counts[settlement.outcome] = counts.get(settlement.outcome, 0) + 1
        _tell(found, settlement.outcome, audit)
        if settlement.states.get(found.id) is InstanceState.DUPLICATE:
            files.absolute(found.path).unlink(missing_ok=True)
    return counts


def choose_version(
    db: Database,
    sop_instance_uid: str,
    content_sha256: str,
    *,
    now: float,
    audit: Audit | None = None,
) -> None:
    """Use one version of an instance in conflict, by an administrator's word; its study reopens.

    Raises
    ------
    Refused
        UID_CONFLICT if there is no conflict, no such version, or a new one just arrived.
    """
    versions = versions_of(db, sop_instance_uid)
    in_conflict = [v for v in versions if v.state is InstanceState.CONFLICT]
    chosen = next((v for v in in_conflict if v.content_sha256 == content_sha256), None)
    if chosen is None:
        raise Refused(
            RefusalCode.UID_CONFLICT,
            f"no version with that content among {len(in_conflict)} in conflict",
        )
    states = {v.id: InstanceState.REPLACED for v in in_conflict}
    states[chosen.id] = InstanceState.STORED
    settled = settle_versions(
        db,
        {version.id: version.state for version in versions},
        states,
        reopen_study_uid=chosen.study_instance_uid,
        now=now,
    )
    if not settled:
        raise Refused(RefusalCode.UID_CONFLICT, "another version just arrived; look again")
    _tell(chosen, "chosen", audit)


def what_differs(files: Files, first: Instance, other: Instance) -> str:
    """Return in words, without values, what an administrator chooses between."""
    said = []
    if first.study_instance_uid != other.study_instance_uid:
        said.append("another study")
    if first.pixel_sha256 != other.pixel_sha256:
        coded = first.transfer_syntax_uid != other.transfer_syntax_uid
        said.append("pixels (also encoded differently)" if coded else "pixels")
    try:
        said += differing_attributes(files.absolute(first.path), files.absolute(other.path))
    except (OSError, MalformedDataset):
        said.append("a header that cannot be read")
    return ", ".join(said) or "nothing that is shown here"


def _settle(files: Files, new: Instance, versions: tuple[Instance, ...]) -> Settlement | None:
    """Return what `new` means for all versions, None if that cannot be said yet."""
    conflicting = [v for v in versions if v.state is InstanceState.CONFLICT]
    if conflicting:
        return _settle_in_conflict(files, new, conflicting)
    stored = next((v for v in versions if v.state is InstanceState.STORED), None)
    if stored is None:
        return _first_of(new)
    difference = _compare(files, stored, new)
    if difference is None:
        return None
    if difference is Difference.NONE:
        return Settlement(outcome="duplicate", states={new.id: InstanceState.DUPLICATE})
    if difference is Difference.HEADER:
        states = {stored.id: InstanceState.REPLACED, new.id: InstanceState.STORED}
        return Settlement(outcome="correction", states=states, reopens=True)
    states = {stored.id: InstanceState.CONFLICT, new.id: InstanceState.CONFLICT}
    return Settlement(outcome="conflict", states=states, reopens=True)


def _settle_in_conflict(
    files: Files, new: Instance, conflicting: list[Instance]
) -> Settlement | None:
    for known in conflicting:
        difference = _compare(files, known, new)
        if difference is None:
            return None
        if difference is Difference.NONE:
            return Settlement(outcome="duplicate", states={new.id: InstanceState.DUPLICATE})
    return Settlement(outcome="conflict", states={new.id: InstanceState.CONFLICT})


def _first_of(new: Instance) -> Settlement:
    """Use `new` if nothing else is in use (rows were lost and made again in another order)."""
    return Settlement(outcome="first", states={new.id: InstanceState.STORED}, reopens=True)


def _compare(files: Files, known: Instance, new: Instance) -> Difference | None:
    if known.study_instance_uid != new.study_instance_uid:
        return Difference.CONTENT
    try:
        return compare_files(files.absolute(known.path), files.absolute(new.path))
    except OSError as error:
        log.error(
            "alarm: file of an instance cannot be read",
            instance=hashed(new.sop_instance_uid),
            reason=error.strerror or type(error).__name__,
        )
        return None


def _tell(version: Instance, outcome: str, audit: Audit | None) -> None:
    instance = hashed(version.sop_instance_uid)
    (log.warning if outcome == "conflict" else log.info)(
        "version settled", instance=instance, outcome=outcome
    )
    if audit is not None and outcome != "duplicate":
        audit.record(f"version {outcome}", instance, content_sha256=version.content_sha256)
