"""What `sentinel-node check` looks at, beyond what reading the settings already refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from node.delivery.echo import echo_destination
from node.errors import NodeError, SettingsError, StorageUnavailable
from node.manifest import Manifest
from node.results.dciodvfy import validator
from node.settings import DestinationSettings, Settings
from node.settings_check import check_against
from node.storage.database import SCHEMA_REVISION, Database, schema_revision
from node.storage.delivery_rows import oldest_pending
from node.storage.files import Files
from node.storage.switch_rows import plugins_off
from node.storage.withdrawal_rows import count_tasks
from node.web_access import web_access


def check_site(
    settings: Settings, manifests: Mapping[str, Manifest]
) -> Iterator[tuple[str, str | None]]:
    """Yield what was looked at, and what is wrong with it (None: nothing).

    The settings themselves were checked when they were read.
    """
    yield "settings", None
    yield "rules and plugins", _problem_of(lambda: check_against(settings, manifests))
    if settings.data_dir.exists():
        yield "data folder", _problem_of(lambda: _check_folder(settings.data_dir))
    else:
        yield f"data folder {settings.data_dir} (will be made at the first start)", None
    yield from _rows(settings)
    for one in settings.destinations:
        words = f"destination {one.name} (profile {one.profile.name})"
        yield words, _problem_of(partial(_check_destination, one, settings))
    yield (
        "validator dciodvfy",
        None
        if validator()
        else ("not installed: objects leave without its checks; install the extra `validate`"),
    )
    if settings.web.port is not None:
        words = f"HTTP service on {settings.web.bind}:{settings.web.port}"
        yield words, _problem_of(lambda: _check_web(settings))
    yield from _free_space(settings)
    if settings.promiscuous:
        yield "promiscuous", "any caller is accepted; for tests only"


def _problem_of(look: Callable[[], None]) -> str | None:
    try:
        look()
    except NodeError as error:
        return str(error)
    return None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise StorageUnavailable(f"{folder} is no folder; name another `data_dir`")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StorageUnavailable(f"{folder} cannot be written by this user")


def never_started(settings: Settings) -> bool:
    """Return whether there are no rows at all yet: not even another program's.

    Raises
    ------
    StorageUnavailable
        If the database cannot be reached.
    """
    url = make_url(settings.resolved_database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return True  # to connect would make the file
    db = Database(settings.resolved_database_url)
    try:
        with db.read() as connection:
            return not inspect(connection).get_table_names()
    finally:
        db.close()


def switched_off(settings: Settings) -> dict[str, str]:
    """Return the plugins whose kill switch is on, with the reason; {} before the first start."""
    if never_started(settings):
        return {}
    db = Database(settings.resolved_database_url)
    try:
        db.check_schema()
        return plugins_off(db)
    finally:
        db.close()


def _rows(settings: Settings) -> Iterator[tuple[str, str | None]]:
    try:
        fresh = never_started(settings)
    except NodeError as error:
        yield "rows", str(error)
        return
    if fresh:
        yield "rows (will be made at the first start)", None
        return
    yield "rows", _problem_of(lambda: _check_rows(settings))
    yield "outbox", _problem_of(lambda: _check_outbox(settings))
    yield "withdrawals", _problem_of(lambda: _check_withdrawals(settings))
    try:
        off = switched_off(settings)
    except NodeError:  # said above
        return
    for name, reason in off.items():
        yield f"plugin {name} is switched off ({reason}); `plugins on {name}` ends it", None


def _check_destination(destination: DestinationSettings, settings: Settings) -> None:
    echo_destination(destination, settings.ae_titles[0])


def _check_web(settings: Settings) -> None:
    web_access(settings)


def _check_rows(settings: Settings) -> None:
    db = Database(settings.resolved_database_url)
    try:
        db.check_schema()
    finally:
        db.close()


def _check_outbox(settings: Settings) -> None:
    """Evidence for a destination that was removed from the settings would wait for ever."""
    db = Database(settings.resolved_database_url)
    try:
        if not schema_revision(db):
            return
        lost = sorted(set(oldest_pending(db)) - {one.name for one in settings.destinations})
    finally:
        db.close()
    if lost:
        raise SettingsError(
            f"results wait for destinations that the settings do not name: {', '.join(lost)}; "
            "put them back until `sentinel-node deliveries` shows nothing PENDING there"
        )


def _check_withdrawals(settings: Settings) -> None:
    """Withdrawn results that are still found where they were are a person's task (S8)."""
    db = Database(settings.resolved_database_url)
    try:
        if schema_revision(db) != SCHEMA_REVISION:
            return
        tasks = count_tasks(db)
    finally:
        db.close()
    if tasks:
        raise SettingsError(
            f"{tasks} withdrawn objects are still found at their destination, or cannot be looked "
            "for; `sentinel-node withdrawals --tasks` lists them"
        )


def _free_space(settings: Settings) -> Iterator[tuple[str, str | None]]:
    if not settings.data_dir.is_dir():
        return
    free_mb = Files(settings.data_dir).free_bytes() >> 20
    least = settings.receive.min_free_mb
    yield (
        f"free space ({free_mb} MB)",
        None if free_mb > least else f"at {least} MB the node answers A700; free the disk",
    )
