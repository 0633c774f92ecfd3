"""Puts the parts together: the one place where stages meet settings, rows and files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from node import logs
from node.audit import Audit
from node.inference.registry import builtin_plugin_folder, check_not_shadowed, discover
from node.intake.reindex import recover
from node.manifest import Manifest
from node.parts import Node
from node.settings import Settings
from node.settings_check import check_against
from node.storage.database import Database
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
