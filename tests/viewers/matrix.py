"""Photographs what each viewer shows, for docs/viewers.md: python -m tests.viewers.matrix.

Phantoms only. Look at every picture before it is committed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from node.profiles import PROFILES
from tests.make import REPOSITORY
from tests.viewers.bench import Bench, running_bench
from tests.viewers.conftest import compute, number
from tests.viewers.dwv import HEIGHT, WIDTH, Dwv
from tests.viewers.objects import ProfileObjects, encode_as, encode_profile
from tests.viewers.ohif import Ohif
from tests.viewers.studies import ImageStack, mask_of, write_phantom
from tests.viewers.test_follow_up import FOLLOW_UP

PICTURES = REPOSITORY / "docs" / "viewers"
MAX_BYTES = 150_000
SQUARE = (2.5, 0.8, 0.8)


def save(png: bytes, name: str) -> None:
    """Keep a picture, small enough for a repository."""
    PICTURES.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((900, 640))
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        # An octree keeps the few pixels of a thin coloured line.
        small = picture.quantize(colours, method=Image.Quantize.FASTOCTREE)
        small.save(buffer, "PNG", optimize=True)
        if len(buffer.getvalue()) <= MAX_BYTES:
            break
    (PICTURES / f"{name}.png").write_bytes(buffer.getvalue())


class Photographer:
    def __init__(self, bench: Bench, folder: Path):
        self.bench = bench
        self.folder = folder

    def phantom(
        self, plane: str, profile: str, spacing: tuple[float, float, float] = (2.5, 0.8, 0.9)
    ) -> tuple[ImageStack, ProfileObjects]:
        name = f"{plane}-{profile}-{spacing[2]}"
        stack = write_phantom(self.folder / name, plane, spacing=spacing)
        return stack, encode_profile(stack, profile, self.folder / f"{name}-objects")

    def overlay(self, name: str) -> None:
        """Take what the node itself made of a study, in both viewers."""
        study = compute(name, self.folder)
        objects = ProfileObjects(profile="standard", files={"seg": study.seg})
        self.ohif(study.stack, objects, "seg", f"ohif-{name}")
        self.dwv(study.stack, objects, "seg", f"dwv-{name}")

    def ohif(
        self,
        stack: ImageStack,
        objects: ProfileObjects,
        role: str,
        name: str,
        *,
        hydrate: bool = True,
    ) -> None:
        paths = [*stack.paths, *objects.files.values()]
        with self.bench.holding(paths) as uid, self.bench.page() as page:
            ohif = Ohif(page, self.bench.base, uid)
            ohif.load(number(objects.files[role]), hydrate=hydrate)
            if role == "seg":
                ohif.segments_shown()
                self._to_the_lesion(ohif, stack, objects.files[role])
            page.wait_for_timeout(3_000)
            # OHIF sometimes draws an outline with the next movement only.
            page.mouse.move(700, 500)
            page.mouse.wheel(0, 100)
            page.wait_for_timeout(500)
            # A report as text begins with its images: the values are at its end.
            page.mouse.wheel(0, -100 if ohif.shows_image() else 5_000)
            page.wait_for_timeout(1_500)
            save(page.screenshot(), name)

    def dwv(self, stack: ImageStack, objects: ProfileObjects, role: str, name: str) -> None:
        images = stack.paths if role == "seg" else [objects.files[role]]
        seg = objects.files[role] if role == "seg" else None
        paths = [*stack.paths, *objects.files.values()]
        with self.bench.holding(paths), self.bench.page() as page:
            dwv = Dwv(page, self.bench, images, seg)
            if seg:
                self._to_the_lesion(dwv, stack, seg)
            page.wait_for_timeout(1_000)
            save(page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}), name)

    def _to_the_lesion(self, viewer: Ohif | Dwv, stack: ImageStack, seg: Path) -> None:
        largest = int(mask_of(seg, stack).sum(axis=(1, 2)).argmax())
        viewer.show(stack.sop_instance_uids[largest])
        viewer.picture(overlay=True)


def photograph(to: Photographer) -> None:
    for plane in ("axial", "sagittal", "coronal", "oblique"):
        stack, objects = to.phantom(plane, "ohif")
        to.ohif(stack, objects, "seg", f"ohif-seg-{plane}")
        to.dwv(stack, objects, "seg", f"dwv-seg-{plane}")
    for name in ("sides-axial", "sides-prone", "tumour"):
        to.overlay(name)
    stack, objects = to.phantom("axial", "ohif", SQUARE)
    to.ohif(stack, objects, "sr", "ohif-sr-outline", hydrate=False)
    stack, objects = to.phantom("axial", "plain_pacs", SQUARE)
    to.ohif(stack, objects, "sr", "ohif-sr-text")
    to.ohif(stack, objects, "sc", "ohif-sc")
    photograph_pages(to)
    photograph_follow_up(to)


def photograph_pages(to: Photographer) -> None:
    stack, objects = to.phantom("axial", "dwv", SQUARE)
    to.dwv(stack, objects, "sc", "dwv-sc")


def photograph_follow_up(to: Photographer) -> None:
    stack = write_phantom(to.folder / "follow-up", "axial", spacing=SQUARE)
    for profile in ("plain_pacs", "ohif"):
        folder = to.folder / f"follow-up-{profile}"
        objects = encode_as(stack, PROFILES[profile], folder, follow_up=FOLLOW_UP)
        to.ohif(stack, objects, "sr", f"ohif-follow-up-{profile}", hydrate=False)
    objects = encode_as(stack, PROFILES["dwv"], to.folder / "follow-up-dwv", follow_up=FOLLOW_UP)
    to.dwv(stack, objects, "seg", "dwv-follow-up")


def main(work: Callable[[Photographer], None] = photograph) -> None:
    from playwright.sync_api import sync_playwright  # not installed for `make test`

    with (
        TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        running_bench(Path(folder) / "bench", playwright) as bench,
    ):
        work(Photographer(bench, Path(folder)))


if __name__ == "__main__":
    main()
