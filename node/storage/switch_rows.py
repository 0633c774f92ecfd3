"""The kill switch of a plugin: nothing of it runs, nothing of it leaves (S22)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from node.errors import RefusalCode
from node.model import (
    LEGAL_DELIVERY_CHANGES,
    LEGAL_JOB_CHANGES,
    DeliveryState,
    JobState,
    check_change,
)
from node.storage.database import Database
from node.storage.note_roles import takes_back
from node.storage.tables import delivery, evidence, job, plugin_switch

_CODE: Final = RefusalCode.PLUGIN_DISABLED.value
_MARK: Final = f"{_CODE}: "


def set_plugin_switch(
    db: Database, plugin: str, *, off: bool, reason: str = "", now: float
) -> None:
    """Switch a plugin off or on, with everything of it that waits.

    Off: its jobs wait, its evidence that has not left is stopped. On: both go on. A run in
    progress finishes, but its evidence stays here. What was already sent stays where it is.
    """
    with db.write() as connection:
        connection.execute(delete(plugin_switch).where(plugin_switch.c.plugin == plugin))
        values = {"plugin": plugin, "off": off, "reason": reason, "at": now}
        connection.execute(insert(plugin_switch).values(**values))
        if off:
            _stop_jobs(connection, plugin, reason)
            _stop_deliveries(connection, plugin, reason)
        else:
            _release_jobs(connection, plugin)
            _release_deliveries(connection, plugin, now)


def is_plugin_off(db: Database, plugin: str) -> bool:
    """Return whether the kill switch of a plugin is on."""
    return plugin in plugins_off(db)


def plugins_off(db: Database) -> dict[str, str]:
    """Return the plugins that are switched off, with the reason that was given."""
    with db.read() as connection:
        return plugins_off_in(connection)


def plugins_off_in(connection: Connection) -> dict[str, str]:
    """Do `plugins_off` inside a transaction of the caller."""
    rows = connection.execute(
        select(plugin_switch.c.plugin, plugin_switch.c.reason).where(plugin_switch.c.off)
    )
    return {row.plugin: row.reason for row in rows}


def stopped_reason(reason: str) -> str:
    """Return what a stopped delivery says of itself."""
    return f"{_MARK}the plugin is switched off{f' ({reason})' if reason else ''}"


def _stop_jobs(connection: Connection, plugin: str, reason: str) -> None:
    check_change(LEGAL_JOB_CHANGES, JobState.SCHEDULED, JobState.WAITING)
    connection.execute(
        update(job)
        .where(job.c.plugin == plugin, job.c.state == JobState.SCHEDULED.value)
        .values(
            state=JobState.WAITING.value,
            reason_code=_CODE,
            reason=stopped_reason(reason).removeprefix(_MARK),
        )
    )


def _release_jobs(connection: Connection, plugin: str) -> None:
    check_change(LEGAL_JOB_CHANGES, JobState.WAITING, JobState.SCHEDULED)
    connection.execute(
        update(job)
        .where(
            job.c.plugin == plugin,
            job.c.state == JobState.WAITING.value,
            job.c.reason_code == _CODE,
        )
        .values(state=JobState.SCHEDULED.value, reason_code="", reason="")
    )


def _stop_deliveries(connection: Connection, plugin: str, reason: str) -> None:
    check_change(LEGAL_DELIVERY_CHANGES, DeliveryState.PENDING, DeliveryState.CANCELED)
    connection.execute(
        update(delivery)
        .where(
            delivery.c.job_id.in_(_jobs_of(plugin)),
            delivery.c.state == DeliveryState.PENDING.value,
            # What takes results back must leave, above all now (S8).
            delivery.c.evidence_id.not_in(select(evidence.c.id).where(takes_back())),
        )
        # Whoever is sending it now loses the lease, and with it the next object.
        .values(
            state=DeliveryState.CANCELED.value,
            reason=stopped_reason(reason),
            owner="",
            lease_until=None,
        )
    )


def _release_deliveries(connection: Connection, plugin: str, now: float) -> None:
    check_change(LEGAL_DELIVERY_CHANGES, DeliveryState.CANCELED, DeliveryState.PENDING)
    connection.execute(
        update(delivery)
        .where(
            delivery.c.job_id.in_(_jobs_of(plugin)),
            delivery.c.state == DeliveryState.CANCELED.value,
            delivery.c.reason.startswith(_MARK, autoescape=True),
        )
        .values(state=DeliveryState.PENDING.value, reason="", next_attempt_at=now)
    )


def _jobs_of(plugin: str) -> Any:
    return select(job.c.id).where(job.c.plugin == plugin)
