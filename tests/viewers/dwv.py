"""Drives dwv on the page of tests/viewers/dwv, with the mouse wheel where a person would."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tests.viewers.bench import Bench
from tests.viewers.measure import Placement
from tests.viewers.ohif import pixels

if TYPE_CHECKING:  # collected by `make test` too, which installs no browser
    from playwright.sync_api import Page

VERSION = "0.36.4"
WIDTH, HEIGHT = 760, 680

_READY = "() => window.ready || window.errors.length"
_GROUP = "const group = window.app.getLayerGroupByDivId('layerGroup0');"
_LAYER = _GROUP + "const layer = group.getViewLayersByDataId(window.imageId)[0];"
_SHOW = (
    "(uid) => {"
    + _LAYER
    + """
  const image = window.app.getData(window.imageId).image;
  const count = image.getGeometry().getSize().get(2);
  for (let k = 0; k < count; k++) {
    const values = layer.getViewController().getCurrentIndex().getValues().slice();
    values[2] = k;
    const index = new window.Index(values);
    if (image.getImageUid(index) === uid) {
      layer.getViewController().setCurrentIndex(index);
      return;
    }
  }
  throw new Error('dwv does not hold the image');
}"""
)
_PLACE = (
    "() => {"
    + _LAYER
    + """
  const Point = layer.displayToPlanePos.bind(layer);
  const at = (x, y) => {
    const p = Point({getX: () => x, getY: () => y});
    return [p.getX(), p.getY()];
  };
  return [at(0, 0), at(100, 100)];
}"""
)
_COUNT = """() => {
  const size = window.app.getData(window.imageId).image.getGeometry().getSize();
  return size.get(size.length() - 1);
}"""
_TURN = (
    "(frame) => {"
    + _LAYER
    + """
  const values = layer.getViewController().getCurrentIndex().getValues().slice();
  values[values.length - 1] = frame;
  layer.getViewController().setCurrentIndex(new window.Index(values));
}"""
)
_RESET = "() => window.app.resetZoomPan()"
_OVERLAY = (
    "(wanted) => {"
    + _GROUP
    + """
  if (!window.segId) return 0;
  const layers = group.getViewLayersByDataId(window.segId);
  for (const layer of layers) layer.display(wanted);
  return layers.length;
}"""
)


class Dwv:
    """One page of dwv with one series and one SEG."""

    name = f"dwv {VERSION}"
    #: dwv draws each voxel as a rectangle of one grey.
    nearest = True

    def __init__(self, page: Page, bench: Bench, images: Sequence[Path], seg: Path | None):
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)[:300]))
        address = bench.list_for_dwv(images, seg)
        page.goto(f"{bench.base}/dwv/index.html?list={quote(address)}")
        page.wait_for_function(_READY)

    def problems(self) -> list[str]:
        """Return what dwv or the page complained of."""
        return [*self.errors, *self.page.evaluate("() => window.errors")]

    def segments_shown(self) -> int:
        return int(self.page.evaluate(_OVERLAY, True))

    def letters(self) -> Mapping[str, str]:
        """Return nothing: dwv writes no letters, a page around it would."""
        return {}

    def show(self, sop_instance_uid: str) -> None:
        self.page.evaluate(_SHOW, sop_instance_uid)

    def pages(self) -> int:
        """Return along how many slices or frames one can scroll."""
        return int(self.page.evaluate(_COUNT))

    def turn_to(self, page: int) -> None:
        """Go to a slice or frame, from 0."""
        self.page.evaluate(_TURN, page)

    def aim(self, row: float, column: float, scale: float) -> None:
        """Turn the wheel with the mouse on a voxel until one is `scale` pixels wide."""
        self.page.evaluate(_RESET)
        for _ in range(100):
            place = self.guess()
            x = place.left + place.scale_x * (column + 0.5)
            y = place.top + place.scale_y * (row + 0.5)
            if abs(place.scale_x) >= scale:
                return
            self.page.mouse.move(x, y)
            self.page.mouse.wheel(0, -100)
            self.page.wait_for_timeout(20)
        raise AssertionError("dwv does not zoom")

    def guess(self) -> Placement:
        """Return where dwv says that the image lies."""
        (x0, y0), (x1, y1) = self.page.evaluate(_PLACE)
        sx, sy = 100 / (x1 - x0), 100 / (y1 - y0)
        return Placement(scale_x=sx, scale_y=sy, left=-x0 * sx, top=-y0 * sy)

    def picture(self, *, overlay: bool) -> NDArray[np.uint8]:
        """Return what dwv shows, (height, width, 3), with or without overlay."""
        self.page.evaluate(_OVERLAY, overlay)
        before, deadline = b"", time.monotonic() + 60
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}
        while time.monotonic() < deadline:
            self.page.wait_for_timeout(60)
            now = self.page.screenshot(clip=clip)
            if now == before:
                return pixels(now)
            before = now
        raise AssertionError("the picture does not come to rest")
