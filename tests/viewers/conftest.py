"""One bench and one browser for all tests of a run; studies by name, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from tests.make import shared_data
from tests.viewers.bench import Bench, require_viewers, running_bench
from tests.viewers.studies import ImageStack, read_stack, run_node, write_phantom


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A study, and the evidence that the node made of it."""

    images: Path
    stack: ImageStack
    evidence: Path

    @property
    def seg(self) -> Path:
        return self.evidence / "seg.dcm"

    @property
    def sr(self) -> Path:
        return self.evidence / "sr.dcm"

    def files(self, *evidence: Path) -> list[Path]:
        return [*self.stack.paths, *evidence]


def number(path: Path) -> int:
    """Return the Series Number, by which an object is found in a viewer's list."""
    return int(pydicom.dcmread(path, stop_before_pixels=True).SeriesNumber)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    require_viewers()
    from playwright.sync_api import sync_playwright  # not installed for `make test`

    with (
        sync_playwright() as playwright,
        running_bench(tmp_path_factory.mktemp("bench"), playwright) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Computed]:
    """Return a function: name of a study -> what commissioning made of it.

    Names: a plane of `studies.ORIENTATIONS`, "nothing" for a phantom without a lesion,
    "square" for one with square pixels, or "crlm-ct-1004", a real CT.
    """
    require_viewers()
    folder = tmp_path_factory.mktemp("studies")
    known: dict[str, Computed] = {}

    def compute(name: str) -> Computed:
        if name not in known:
            images = folder / name
            if name == "crlm-ct-1004":
                images = shared_data("crlm-ct-1004/ct")
            elif name == "nothing":
                write_phantom(images, "axial", lesion=False)
            elif name == "square":
                write_phantom(images, "axial", spacing=(2.5, 0.8, 0.8))
            else:
                write_phantom(images, name)
            evidence = run_node(images, folder / f"{name}-evidence", "commissioning")
            known[name] = Computed(images=images, stack=read_stack(images), evidence=evidence)
        return known[name]

    return compute
