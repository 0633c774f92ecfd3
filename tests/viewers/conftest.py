"""One bench and one browser for all tests of a run; studies by name, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from tests.make import shared_data
from tests.viewers.bench import Bench, require_viewers, running_bench
from tests.viewers.dwv import Dwv
from tests.viewers.ohif import Ohif
from tests.viewers.sides import ball_and_cube
from tests.viewers.studies import (
    TUMOUR_PLUGIN,
    ImageStack,
    body,
    mask_of,
    read_stack,
    run_node,
    write_phantom,
    write_tumour,
)


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A study, and the evidence that the node made of it."""

    stack: ImageStack
    evidence: Path
    plugin: str

    @property
    def seg(self) -> Path:
        return self.evidence / "seg.dcm"

    @property
    def sr(self) -> Path:
        return self.evidence / "sr.dcm"

    @property
    def mask(self) -> NDArray[np.bool_]:
        """What a viewer must mark: the dense voxels, or what a trained network's SEG holds."""
        if self.plugin == "commissioning":
            return self.stack.dense
        return mask_of(self.seg, self.stack)

    def files(self, *evidence: Path) -> list[Path]:
        return [*self.stack.paths, *evidence]


def number(path: Path) -> int:
    """Return the Series Number, by which an object is found in a viewer's list."""
    return int(pydicom.dcmread(path, stop_before_pixels=True).SeriesNumber)


def written(name: str, folder: Path) -> Path:
    """Return the folder of a study's images, written if it is a phantom.

    Names: a plane of `studies.ORIENTATIONS`, "sides-" and a plane, "nothing" for a phantom
    without a lesion, "square" for one with square pixels, "tumour" for one of the tumour
    plugin's own, "crlm-ct-1004" for a real CT.
    """
    if name == "crlm-ct-1004":
        return shared_data("crlm-ct-1004/ct")
    if name == "tumour":
        return write_tumour(folder)
    if name == "nothing":
        write_phantom(folder, "axial", draw=body)
    elif name == "square":
        write_phantom(folder, "axial", spacing=(2.5, 0.8, 0.8))
    elif name.startswith("sides-"):
        write_phantom(folder, name.removeprefix("sides-"), draw=ball_and_cube)
    else:
        write_phantom(folder, name)
    return folder


def compute(name: str, folder: Path) -> Computed:
    """Write the study `name` (see `written`) and run the node on it, both in `folder`."""
    images = written(name, folder / name)
    plugin = TUMOUR_PLUGIN.name if name == "tumour" else "commissioning"
    evidence = run_node(images, folder / f"{name}-evidence", plugin)
    return Computed(stack=read_stack(images), evidence=evidence, plugin=plugin)


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
    """Return `compute` with a memory: name of a study (see `written`) -> what the node made."""
    require_viewers()
    folder = tmp_path_factory.mktemp("studies")
    return cache(lambda name: compute(name, folder))


@pytest.fixture(params=["ohif", "dwv"])
def opened(request, bench):
    """Return a function: images and a SEG -> a context that holds them open in a viewer."""

    @contextmanager
    def opening(stack: ImageStack, seg: Path) -> Iterator[Ohif | Dwv]:
        with bench.holding([*stack.paths, seg]) as uid, bench.page() as page:
            viewer: Ohif | Dwv
            if request.param == "dwv":
                viewer = Dwv(page, bench, stack.paths, seg)
            else:
                viewer = Ohif(page, bench.base, uid)
                viewer.load(number(seg))
            assert viewer.problems() == []
            assert viewer.segments_shown() == 1
            yield viewer
            assert viewer.problems() == []

    return opening
