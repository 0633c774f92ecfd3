"""Puts the built-in plugins into the wheel; everything else is said in pyproject.toml.

In a checkout they lie in ``plugins/``, a folder like anybody's. A wheel has no place beside the
package, so they travel as ``node/_plugins``; `node.inference.registry` finds them in both.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPlugins(build_py):
    """`build_py` that also copies the plugin folders, unless the install is editable."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "node" / "_plugins"
        shutil.rmtree(target, ignore_errors=True)
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(Path(__file__).parent / "plugins", target, ignore=ignored)


setup(cmdclass={"build_py": BuildWithPlugins})
