"""What every stage of one node works with: settings, rows, files, trail, plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from node.audit import Audit
from node.manifest import Manifest
from node.settings import Settings
from node.storage.database import Database
from node.storage.files import Files


@dataclass(frozen=True, kw_only=True)
class Node:
    """The opened parts of one node; one per process."""

    settings: Settings
    db: Database
    files: Files
    audit: Audit
    #: By ``name@version``.
    manifests: Mapping[str, Manifest]

    def close(self) -> None:
        """Give back the connections to the rows."""
        self.db.close()
