"""Fixtures that every test may use."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest
import structlog
from hypothesis import settings

from node.phantom.archive import DemoArchive
from tests.peers import Orthanc, orthanc

# Readline, which pytest imports, writes these where workers of pytest-xdist inherit them: all that
# our commands print would be 80 characters wide there.
for name in ("COLUMNS", "LINES") if "PYTEST_XDIST_WORKER" in os.environ else ():
    os.environ.pop(name, None)

# The machine is shared by all tests: a deadline would measure the others.
settings.register_profile("node", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("node")


@pytest.fixture(scope="module", autouse=True)
def _plugins_as_before() -> Iterator[None]:
    """Forget the plugins a file of tests has loaded: each has a `prepare.py` of its own."""
    hooks, path, known = list(sys.path_hooks), list(sys.path), set(sys.modules)
    yield
    sys.path_hooks[:], sys.path[:] = hooks, path
    sys.path_importer_cache.clear()
    for name in set(sys.modules) - known:
        if _is_of_a_plugin(sys.modules[name]):
            del sys.modules[name]


def _is_of_a_plugin(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and (Path(file).parent / "plugin.py").is_file()


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Undo `node.logs.configure`: its stream closes with the test that configured it."""
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    for name in [None, *logging.root.manager.loggerDict]:
        logger = logging.getLogger(name)
        ours = [handler for handler in logger.handlers if type(handler).__module__ == "node.logs"]
        for handler in ours:
            logger.removeHandler(handler)
            logger.propagate = True
            logger.setLevel(logging.NOTSET if name else logging.WARNING)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[DemoArchive]:
    """Return a listening DICOM archive that keeps and counts what it gets."""
    with DemoArchive(tmp_path / "archive") as running:
        yield running


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Return a function that starts an Orthanc (`tests.peers.orthanc`), ended with the test."""
    with ExitStack() as stack:
        count = iter(range(100))

        def start(**options: object) -> Orthanc:
            folder = tmp_path / f"orthanc-{next(count)}"
            return stack.enter_context(orthanc(folder, **options))  # type: ignore[arg-type]

        yield start
