"""What must hold after a storm. `pending` may still come true; `broken` never will again."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from node.phantom.archive import dataset_sha256
from tests.chaos.archive import ChaosArchive
from tests.chaos.plan import Image, Plan
from tests.chaos.rows import Row, Rows, integrity
from tests.chaos.senders import Material
from tests.chaos.site import ChaosSite

_DONE = frozenset({"PROVEN", "ACCEPTED"})
#: Of a withdrawal: what stands at the destination is known, or is a task for a person.
_LOOKED_AT = frozenset({"HIDDEN", "VISIBLE", "UNKNOWN", "NOT SENT"})
_JOB_ENDED = frozenset({"COMPLETED", "CANCELED", "REFUSED"})


@dataclass(frozen=True)
class Checker:
    """Compares rows, files and the archive with what was acknowledged."""

    plan: Plan
    material: Material
    site: ChaosSite
    archive: ChaosArchive

    # --- what may still come true -------------------------------------------------------------

    def pending(self, rows: Rows, acknowledged: set[Image]) -> list[str]:
        """Return what is not finished yet; empty when the node has come to rest."""
        return [
            *(f"instance {i['id']} is UNRESOLVED" for i in rows.instance if _is(i, "UNRESOLVED")),
            *self._unfinished_studies(rows, acknowledged),
            *(f"job {j['id'][:8]} is {_why(j)}" for j in rows.job if j["state"] not in _JOB_ENDED),
            *self._unfinished_deliveries(rows),
        ]

    def _unfinished_studies(self, rows: Rows, acknowledged: set[Image]) -> Iterator[str]:
        by_uid = {row["study_instance_uid"]: row for row in rows.study}
        for number, uid in enumerate(self.material.study_uids):
            if not any(image.study == number for image in acknowledged):
                continue
            row = by_uid.get(uid)
            if row is None:
                yield f"study {number} has no row"
            elif row["state"] != "ROUTED":
                yield f"study {number} is {row['state']} ({row['completed_reason']})"
            elif number in self._conflicts(acknowledged):
                if not _refused_for_conflict(row, rows):
                    yield f"study {number} is in conflict and nobody says so"
            elif not any(
                job["state"] == "COMPLETED" and job["uids"] == self._uids(number)
                for job in rows.job
                if job["study_id"] == row["id"]
            ):
                yield f"study {number} has no COMPLETED job of all its images"

    def _unfinished_deliveries(self, rows: Rows) -> Iterator[str]:
        canceled = {j["id"] for j in rows.job if j["reason_code"] or j["state"] != "COMPLETED"}
        withdrawn = {w["delivery_id"] for w in rows.withdrawal if w["state"] in _LOOKED_AT}
        for one in rows.delivery:
            superseded = one["state"] == "CANCELED" and (
                one["job_id"] in canceled or one["id"] in withdrawn or "SUPERSEDED" in one["reason"]
            )
            if one["state"] not in _DONE and not superseded:
                yield f"delivery {one['id']} is {_why(one)}"

    def _conflicts(self, acknowledged: set[Image]) -> set[int]:
        """Studies of which both versions of an image were acknowledged."""
        versions: dict[str, set[str]] = defaultdict(set)
        for image in acknowledged:
            versions[self.material.sop_uids[image]].add(image.version)
        return {
            image.study
            for image in acknowledged
            if image.version == "pixels" and len(versions[self.material.sop_uids[image]]) > 1
        }

    def _uids(self, study: int) -> frozenset[str]:
        return frozenset(u for i, u in self.material.sop_uids.items() if i.study == study)

    # --- what must never be -------------------------------------------------------------------

    def broken(self, rows: Rows, acknowledged: set[Image]) -> list[str]:
        """Return every promise that was not kept."""
        found = [
            *self._lost_instances(rows, acknowledged),
            *_doubled_jobs(rows),
            *self._wrong_results(rows),
        ]
        if (said := integrity(self.site.data)) != "ok":
            found.append(f"the database is damaged: {said[:200]}")
        return found

    def _lost_instances(self, rows: Rows, acknowledged: set[Image]) -> Iterator[str]:
        by_key = {(r["sop_instance_uid"], r["content_sha256"]): r for r in rows.instance}
        for image in acknowledged:
            key = (self.material.sop_uids[image], self.material.sha256[image])
            row = by_key.get(key)
            if row is None:
                yield f"LOST: {image} was acknowledged and has no row"
            elif row["state"] != "DUPLICATE":
                path = self.site.data / row["path"]
                if not path.exists():
                    yield f"LOST: {image} ({row['state']}) has a row and no file"
                elif dataset_sha256(path) != key[1]:
                    yield f"LOST: the file of {image} holds other bytes"
        known = {self.site.data / row["path"] for row in rows.instance}
        orphans = set(self.site.data.glob("studies/*/*/*.dcm")) - known
        if orphans:
            yield f"{len(orphans)} files have no row"

    def _wrong_results(self, rows: Rows) -> Iterator[str]:
        made = {row["sop_instance_uid"]: row for row in rows.evidence}
        for number, (uid, hashes) in enumerate(sorted(self.archive.hashes().items())):
            if len(hashes) > 1:
                yield f"result {number} came with {len(hashes)} different contents under one UID"
            if uid not in made:
                yield f"result {number} is at the archive and nobody made it"
        kept = {s.sop_instance_uid: s.sha256 for s in self.archive.received if s.path}
        for one in rows.delivery:
            evidence = next(e for e in rows.evidence if e["id"] == one["evidence_id"])
            if one["state"] not in _DONE:
                continue
            path = self.site.data / evidence["path"]
            if hashlib.sha256(path.read_bytes()).hexdigest() != evidence["sha256"]:
                yield f"evidence {evidence['id']} is not what its row says"
            if kept.get(evidence["sop_instance_uid"]) != dataset_sha256(path):
                yield f"LOST: delivery {one['id']} is {one['state']}, the archive has it not"

    def after_stop(self) -> list[str]:
        """Return what a stopped node left behind."""
        left = [f"process {p.pid} {' '.join(p.cmdline()[-6:])}" for p in self.site.processes()]
        parts = list((self.site.data / "incoming").iterdir())
        return left + [f"{len(parts)} leftovers in incoming/"] * bool(parts)


def silent(rows: Rows, log: str) -> list[str]:
    """Return what needs a person and did not say so."""
    found = [
        f"job {j['id'][:8]} is {j['state']} without a reason"
        for j in rows.job
        if j["state"] in {"FAILED", "REFUSED", "WAITING"} and not j["reason"]
    ]
    dead = [d for d in rows.delivery if d["state"] == "FAILED"]
    if dead and "alarm: delivery" not in log:
        found.append(f"{len(dead)} dead letters without an alarm")
    return found


def _doubled_jobs(rows: Rows) -> Iterator[str]:
    work = Counter((j["study_id"], j["rule"], j["uids"], j["fingerprint"]) for j in rows.job)
    if doubled := [key for key, count in work.items() if count > 1]:
        yield f"{len(doubled)} pieces of work were done more than once"
    roles = Counter((e["job_id"], e["role"]) for e in rows.evidence)
    if any(count > 1 for count in roles.values()):
        yield "a job made the same evidence twice"
    with_results = {e["job_id"] for e in rows.evidence}
    for job in rows.job:
        if job["state"] == "COMPLETED" and job["id"] not in with_results:
            yield f"job {job['id'][:8]} is COMPLETED without a result"


def _refused_for_conflict(study: Row, rows: Rows) -> bool:
    last = [d for d in rows.decision if d["study_id"] == study["id"]]
    newest = max((d["study_revision"] for d in last), default=None)
    return any(d["code"] == "UID_CONFLICT" for d in last if d["study_revision"] == newest)


def _is(row: Row, state: str) -> bool:
    return bool(row["state"] == state)


def _why(row: Row) -> str:
    more = row.get("reason_code") or row.get("status") or ""
    return f"{row['state']} {more} {row['reason']}".strip()
