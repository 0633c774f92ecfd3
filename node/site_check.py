"""What `sentinel-node check` looks at, beyond what reading the settings already refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from node.errors import NodeError, SettingsError, StorageUnavailable
from node.manifest import Manifest
from node.results.dciodvfy import validator
from node.settings import Settings
from node.settings_check import check_against
from node.storage.database import Database, schema_revision
from node.storage.delivery_rows import oldest_pending
from node.storage.files import Files


def check_site(
    settings: Settings, manifests: Mapping[str, Manifest]
) -> Iterator[tuple[str, str | None]]:
    """Yield what was looked at, and what is wrong with it (None: nothing).

    The settings themselves were checked when they were read.
    """
    yield "settings", None
    yield "rules and plugins", _problem_of(lambda: check_against(settings, manifests))
    yield "data folder", _problem_of(lambda: _check_folder(settings.data_dir))
    yield "rows", _problem_of(lambda: _check_rows(settings))
    yield "outbox", _problem_of(lambda: _check_outbox(settings))
    yield (
        "validator dciodvfy",
        None
        if validator()
        else ("not installed: objects leave without its checks; install the extra `validate`"),
    )
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
        raise StorageUnavailable(f"{folder} is not there yet; `serve` or `upgrade` makes it")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StorageUnavailable(f"{folder} cannot be written by this user")


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


def _free_space(settings: Settings) -> Iterator[tuple[str, str | None]]:
    if not settings.data_dir.is_dir():
        return
    free_mb = Files(settings.data_dir).free_bytes() >> 20
    least = settings.receive.min_free_mb
    yield (
        f"free space ({free_mb} MB)",
        None if free_mb > least else f"at {least} MB the node answers A700; free the disk",
    )
