"""Start of the command ``sentinel-node``: says so if another package named ``node`` is in the way.

The import package is called ``node``; a module of that name elsewhere on the path would be
started in its place, with an error that nobody understands (E9).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    spec = importlib.util.find_spec("node")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    if not any((place / "inference" / "child.py").is_file() for place in places):
        where = spec.origin if spec else "nowhere"
        sys.exit(
            f"sentinel-node: another package named `node` ({where}) shadows Sentinel Node's; "
            "uninstall it or give Sentinel Node a virtual environment of its own"
        )
    from node.cli import main as command_line

    command_line()
