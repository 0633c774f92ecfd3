"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from node.phantom.archive import DemoArchive
from tests.peers import Orthanc, orthanc

# The machine is shared by all tests: a deadline would measure the others.
settings.register_profile("node", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("node")


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
