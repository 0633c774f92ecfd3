"""Drives OHIF as a person does (double click, Yes), and asks it where things are."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.viewers.measure import Placement

if TYPE_CHECKING:  # collected by `make test` too, which installs no browser
    from playwright.sync_api import Page

VERSION = "3.13.2"

_PAINTED = """() => [...document.querySelectorAll('canvas.cornerstone-canvas')].some((c) => {
  const x = c.getContext('2d');
  if (!x) return false;
  const d = x.getImageData(0, 0, c.width, c.height).data;
  for (let i = 0; i < d.length; i += 44) if (d[i] + d[i + 1] + d[i + 2] > 0) return true;
  return false;
})"""
# Cornerstone's own imageToWorldCoords takes the spacing of rows for that of columns (3.13.2), so
# the place of a voxel is worked out from the header that the viewer holds.
_WORLD = """
  const toCanvas = (viewport, [column, row]) => {
    const m = window.cornerstone.metaData.get('imagePlaneModule', viewport.getCurrentImageId());
    return viewport.worldToCanvas(m.imagePositionPatient.map((v, i) => v
      + column * m.columnPixelSpacing * m.imageOrientationPatient[i]
      + row * m.rowPixelSpacing * m.imageOrientationPatient[i + 3]));
  };
"""
_FRAMES = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
_SHOW = """async (uid) => {
  const {viewport} = window.cornerstone.getEnabledElements()[0];
  const index = viewport.getImageIds().findIndex((id) => id.includes('/instances/' + uid + '/'));
  if (index < 0) throw new Error('this viewport does not hold the image');
  await viewport.setImageIdIndex(index);
  viewport.render();
}"""
_AIM = (
    "([column, row, zoom]) => {"
    + _WORLD
    + """
  const {viewport} = window.cornerstone.getEnabledElements()[0];
  viewport.resetCamera();
  viewport.setZoom(zoom);
  const [x, y] = toCanvas(viewport, [column, row]);
  const pan = viewport.getPan();
  const {clientWidth, clientHeight} = viewport.element;
  viewport.setPan([pan[0] + clientWidth / 2 - x, pan[1] + clientHeight / 2 - y]);
  viewport.render();
}"""
)
_PLACE = (
    "() => {"
    + _WORLD
    + """
  const {viewport} = window.cornerstone.getEnabledElements()[0];
  return [toCanvas(viewport, [0, 0]), toCanvas(viewport, [10, 10])];
}"""
)
_OVERLAY = """(wanted) => {
  const service = window.services.segmentationService;
  const {viewport} = window.cornerstone.getEnabledElements()[0];
  const all = service.getSegmentationRepresentations(viewport.id);
  for (const one of all) {
    if (one.visible !== wanted)
      service.toggleSegmentationRepresentationVisibility(viewport.id, one);
  }
  return all.length;
}"""


class Ohif:
    """One page of OHIF with one study."""

    name = f"OHIF {VERSION}"
    nearest = False

    def __init__(self, page: Page, base: str, study_instance_uid: str):
        self.page = page
        self.errors: list[str] = []
        self._crash = ""
        page.on("pageerror", lambda error: self.errors.append(str(error)[:300]))
        page.goto(
            f"{base}/viewer?StudyInstanceUIDs={study_instance_uid}", wait_until="domcontentloaded"
        )
        page.wait_for_selector("canvas.cornerstone-canvas")
        page.wait_for_function(_PAINTED)

    def load(self, series_number: int, *, hydrate: bool = True, timeout_s: float = 30.0) -> None:
        """Double-click a series; answer Yes, or leave it, if OHIF asks to load it for good."""
        entry = self.page.locator('div[draggable="true"]', has_text=f"S:{series_number}")
        label = entry.locator('[data-cy="series-description-label"]')
        label.first.wait_for()
        label.first.dblclick()
        yes = self.page.get_by_role("button", name="Yes", exact=True)
        self._wait_for_question(yes, timeout_s)
        if yes.count() and hydrate:
            yes.first.click()
            self._until(lambda: yes.count() == 0, timeout_s)
        if not self.error():
            self._settle(must=False)

    def _wait_for_question(self, yes: Any, timeout_s: float) -> None:
        """Return when OHIF asks, fails, or shows the series without a question."""
        deadline = time.monotonic() + timeout_s
        quiet = 0.0
        while time.monotonic() < deadline and not (yes.count() or self.error()):
            begin = time.monotonic()
            self._settle(must=False)
            quiet += time.monotonic() - begin
            if quiet > 5.0:
                return

    def segments_shown(self, *, timeout_s: float = 30.0) -> int:
        """Return the number of segmentations in the viewport, waiting for the first."""
        self._until(lambda: self.page.evaluate(_OVERLAY, True) > 0, timeout_s)
        return int(self.page.evaluate(_OVERLAY, True))

    def show(self, sop_instance_uid: str) -> None:
        """Go to the image."""
        self.page.evaluate(_SHOW, sop_instance_uid)

    def aim(self, row: float, column: float, scale: float) -> None:
        """Zoom so that a voxel is about `scale` pixels wide, this voxel in the middle."""
        self.page.evaluate(_AIM, [column, row, 1.0])
        zoom = scale / abs(self.guess().scale_x)
        self.page.evaluate(_AIM, [column, row, zoom])

    def guess(self) -> Placement:
        """Return where OHIF says that the image lies."""
        (x0, y0), (x1, y1) = self.page.evaluate(_PLACE)
        sx, sy = (x1 - x0) / 10, (y1 - y0) / 10
        return Placement(scale_x=sx, scale_y=sy, left=x0 - sx / 2, top=y0 - sy / 2)

    def picture(self, *, overlay: bool) -> NDArray[np.uint8]:
        """Return what the viewport shows, (height, width, 3), with or without overlay."""
        self.page.evaluate(_OVERLAY, overlay)
        self._settle()
        return pixels(self.page.screenshot(clip=self._box()))

    def letters(self) -> Mapping[str, str]:
        """Return the patient's sides that OHIF writes at the viewport's edges, by place."""
        found = self.page.evaluate(
            """() => [...document.querySelectorAll('.orientation-marker')].map(
                 (m) => [m.parentElement.className + ' ' + m.className, m.textContent])"""
        )
        places = ("top", "left", "right", "bottom")
        return {p: text for names, text in found for p in places if f"{p}-mid" in names}

    def text(self) -> str:
        """Return every word in the viewports."""
        return str(self.page.locator('[data-cy="viewport-grid"]').first.inner_text(timeout=5_000))

    def outlines(self, *, timeout_s: float = 15.0) -> list[NDArray[np.float64]]:
        """Return the closed lines drawn over the image, each (points, 2) as x, y on the screen.

        OHIF sometimes draws them with the next movement only: the wheel turns there and back.
        """
        deadline = time.monotonic() + timeout_s
        box = self._box()
        while not (found := self._drawn()) and time.monotonic() < deadline:
            self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            for turn in (100, -100):
                self.page.mouse.wheel(0, turn)
                self._settle(must=False)
        return found

    def _drawn(self) -> list[NDArray[np.float64]]:
        drawn = self.page.evaluate(
            """() => [...document.querySelectorAll('.svg-layer polyline')].map(
                 (line) => line.getAttribute('points'))"""
        )
        lines = [np.array(text.replace(",", " ").split(), float).reshape(-1, 2) for text in drawn]
        return [line for line in lines if len(line) > 3]

    def shows_image(self) -> bool:
        """Return whether the viewport holds an image; a report as text has none."""
        return self.page.locator("canvas.cornerstone-canvas").count() > 0

    def current(self) -> str:
        """Return the identifier of the image in the viewport, its SOP Instance UID inside."""
        return str(
            self.page.evaluate(
                "() => window.cornerstone.getEnabledElements()[0].viewport.getCurrentImageId()"
            )
        )

    def page_text(self) -> str:
        return str(self.page.locator("body").inner_text())

    def problems(self) -> list[str]:
        """Return what the page stumbled over, and what its error dialog said."""
        return [*self.errors, *([self.error()] if self.error() else [])]

    def error(self) -> str:
        """Return what OHIF's error dialog said, empty if there never was one."""
        if self._crash:
            return self._crash
        if self.page.get_by_text("Something went wrong").count():
            details = self.page.get_by_text("Show Details")
            if details.count():
                details.first.click()
                self.page.wait_for_timeout(500)
            self._crash = " ".join(self.page_text().split())[:600]
        return self._crash

    def _box(self) -> Any:
        """Return where the image is; a report has none, and a crash leaves an empty page."""
        canvas = self.page.locator("canvas.cornerstone-canvas")
        return canvas.first.bounding_box() if canvas.count() else None

    def _settle(self, *, must: bool = True) -> None:
        """Wait until two pictures in a row are the same; fail if they `must` and are not."""
        before = b""
        deadline = time.monotonic() + (60 if must else 15)
        while time.monotonic() < deadline:
            self.page.evaluate(_FRAMES)
            self.page.wait_for_timeout(60)
            now = self.page.screenshot(clip=self._box())
            if now == before:
                return
            before = now
        if must:
            raise AssertionError("the picture does not come to rest")

    def _until(self, condition: Any, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s:.0f} s; OHIF: {self.error() or 'silent'}")
            self.page.wait_for_timeout(100)


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
