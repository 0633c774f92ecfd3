"""Puts the parts together: the one place where stages meet settings, rows and files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from node import logs
from node.audit import Audit
from node.errors import NodeError, SettingsError, StorageUnavailable
from node.inference.registry import builtin_plugin_folder, check_not_shadowed, discover
from node.intake.reindex import recover
from node.manifest import Manifest
from node.parts import Node
from node.results.dciodvfy import validator
from node.settings import Settings
from node.settings_check import check_against
from node.storage.database import Database, schema_revision
from node.storage.delivery_rows import oldest_pending
from node.storage.files import Files
from node.storage.migrate import migrate


def read_manifests(settings: Settings) -> Mapping[str, Manifest]:
    """Return the plugins of this site by ``name@version``, built-ins included."""
    return discover((builtin_plugin_folder(), *settings.plugin_dirs))


def prepare_data(settings: Settings, *, backed_up: bool = False) -> tuple[str, str]:
    """Make the data folder, and bring the rows to our schema after a backup (E3).

    Only the supervisor and ``sentinel-node upgrade`` may call this.

    Parameters
    ----------
    settings : Settings
        As read and checked.
    backed_up : bool
        An administrator made a backup of a database that we cannot copy ourselves.

    Returns
    -------
    (str, str)
        The schema before and after; "" before the first start.
    """
    Files(settings.data_dir).prepare()
    folder = backup_folder(settings)
    return migrate(settings.resolved_database_url, folder, backed_up=backed_up)


def recover_data(settings: Settings) -> None:
    """Do what an unclean stop left undone (E2); before anything is received."""
    db = Database(settings.resolved_database_url)
    try:
        recover(db, Files(settings.data_dir), now=time.time())
    finally:
        db.close()


def backup_folder(settings: Settings) -> Path:
    """Return where copies of the rows go before a migration."""
    return settings.data_dir / "backup"


def open_node(settings: Settings, *, with_plugins: bool = True) -> Node:
    """Open rows and files of a prepared data folder.

    Parameters
    ----------
    settings : Settings
        As read and checked.
    with_plugins : bool
        Whether to read the manifests and check the rules against them; the receiver does not.

    Raises
    ------
    SchemaMismatch
        If the rows have another schema.
    SettingsError, ManifestError
        If rules and plugins do not fit.
    """
    check_not_shadowed()
    db = Database(settings.resolved_database_url)
    db.check_schema()
    manifests: Mapping[str, Manifest] = {}
    if with_plugins:
        manifests = read_manifests(settings)
        check_against(settings, manifests)
    return Node(
        settings=settings,
        db=db,
        files=Files(settings.data_dir),
        audit=Audit(settings.data_dir),
        manifests=manifests,
    )


def configure_logs(settings: Settings) -> None:
    """Send this process's logs to standard error, with the node's own key for hashes."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.configure(settings.log_level, key=logs.load_key(settings.data_dir / "hash.key"))


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
