"""Which results a newer one replaces, and which results a plugin made (S8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select

from node.model import DeliveryState, Job, JobState
from node.storage.database import Database
from node.storage.job_values import job_query, to_job
from node.storage.note_roles import is_not_run, takes_back
from node.storage.tables import delivery, evidence, job, withdrawal

_PROVEN = DeliveryState.PROVEN.value


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A delivery that a newer one at the same destination replaces."""

    delivery_id: int
    job_id: str
    destination: str
    #: The job whose result is proven there now; maybe the same one, after a retry.
    by: str


def replaced_deliveries(db: Database, *, since: float) -> tuple[Replaced, ...]:
    """Return what newer results replace that were proven since then, and was not withdrawn yet.

    Replaced are, on the same study, by the same rule and at the same destination:

    - results of the same package by a newer result, once all of it is proven there; another
      version of a plugin never replaces results by itself;
    - "did not run" by a later result of any version, or by a later "did not run".
    """
    old, made, earlier = delivery.alias("old"), evidence.alias("made"), job.alias("earlier")
    new, now_there, later = delivery.alias("new"), evidence.alias("there"), job.alias("later")
    taken, gone = withdrawal.alias("taken"), withdrawal.alias("gone")
    result, told = ~is_not_run(made), is_not_run(made)
    new_result = and_(~is_not_run(now_there), later.c.state == JobState.COMPLETED.value)
    same_package = earlier.c.plugin_digest == later.c.plugin_digest
    another = later.c.id != earlier.c.id
    query: Select[Any] = (
        select(old.c.id, old.c.job_id, old.c.destination, later.c.id.label("by"))
        .select_from(new)
        .join(now_there, now_there.c.id == new.c.evidence_id)
        .join(later, later.c.id == new.c.job_id)
        .join(earlier, _same_question(earlier, later))
        .join(old, and_(old.c.job_id == earlier.c.id, old.c.destination == new.c.destination))
        .join(made, made.c.id == old.c.evidence_id)
        .outerjoin(taken, taken.c.delivery_id == old.c.id)
        .outerjoin(gone, gone.c.delivery_id == new.c.id)
        .where(
            *(new.c.state == _PROVEN, new.c.proven_at > since),
            *(taken.c.id.is_(None), gone.c.id.is_(None)),
            *(~takes_back(made), ~takes_back(now_there), made.c.id != now_there.c.id),
            or_(
                and_(result, new_result, same_package, another),
                and_(told, new_result),
                and_(told, is_not_run(now_there), now_there.c.id > made.c.id),
            ),
            not_(_unproven_part(new, now_there)),
        )
        .distinct()
        .order_by(old.c.id)
    )
    with db.read() as connection:
        found: dict[int, Replaced] = {}
        for row in connection.execute(query):
            found[row.id] = Replaced(
                delivery_id=row.id, job_id=row.job_id, destination=row.destination, by=row.by
            )
    return tuple(found.values())


def _same_question(earlier: Any, later: Any) -> ColumnElement[bool]:
    newer = or_(later.c.created_at > earlier.c.created_at, later.c.id == earlier.c.id)
    return and_(
        earlier.c.study_id == later.c.study_id,
        earlier.c.rule == later.c.rule,
        earlier.c.plugin == later.c.plugin,
        newer,
    )


def _unproven_part(new: Any, there: Any) -> ColumnElement[bool]:
    """Return whether something of the newer answer is not proven at the destination yet."""
    part, object_ = delivery.alias("part"), evidence.alias("part_of")
    return (
        select(part.c.id)
        .join(object_, object_.c.id == part.c.evidence_id)
        .where(
            part.c.job_id == new.c.job_id,
            part.c.destination == new.c.destination,
            part.c.state != _PROVEN,
            ~takes_back(object_),
            is_not_run(object_) == is_not_run(there),
        )
        .exists()
    )


def jobs_of_plugin(
    db: Database,
    *,
    plugin: str = "",
    version: str = "",
    digest: str = "",
    since: float | None = None,
    until: float | None = None,
) -> tuple[Job, ...]:
    """Return the completed jobs of a plugin, the oldest first.

    Parameters
    ----------
    digest : str
        Beginning of the package's SHA-256.
    since, until : float or None
        When they ended; `until` itself is left out.
    """
    wanted: Sequence[ColumnElement[bool]] = [
        job.c.state == JobState.COMPLETED.value,
        *([job.c.plugin == plugin] if plugin else []),
        *([job.c.plugin_version == version] if version else []),
        *([job.c.plugin_digest.startswith(digest, autoescape=True)] if digest else []),
        *([job.c.ended_at >= since] if since is not None else []),
        *([job.c.ended_at < until] if until is not None else []),
    ]
    query = job_query().where(*wanted).order_by(job.c.ended_at, job.c.id)
    with db.read() as connection:
        return tuple(to_job(row) for row in connection.execute(query))


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package of a plugin."""

    plugin: str
    version: str
    digest: str


def packages_with_results(db: Database) -> tuple[Package, ...]:
    """Return the packages that ever made a result here, by name and version."""
    columns = (job.c.plugin, job.c.plugin_version, job.c.plugin_digest)
    made = select(*columns).where(job.c.state == JobState.COMPLETED.value).distinct()
    with db.read() as connection:
        return tuple(
            Package(plugin=row.plugin, version=row.plugin_version, digest=row.plugin_digest)
            for row in connection.execute(made.order_by(*columns))
        )
