"""Puts the built-in plugins into the wheel, as ``node/_plugins``; all else is in pyproject.toml.

In a checkout `plugins/` stands beside `node/`, a folder like anybody's and not a package;
`node.inference.registry.builtin_plugin_folder` finds either (E9).
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPlugins(build_py):
    """Copies `plugins/` when a wheel is made; an editable install reads it in place."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "node", "_plugins")
            shutil.rmtree(target, ignore_errors=True)  # of an older build
            caches = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*")
            shutil.copytree("plugins", target, ignore=caches)


setup(cmdclass={"build_py": BuildWithPlugins})
