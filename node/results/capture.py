"""Secondary Capture images with findings burned in, for viewers that show no SEG (S27)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from node.dicom.codes import PICTURE, code_item
from node.plugin import Map
from node.results.coding import add_coding_schemes, short
from node.results.drawing import page_of_slice, sides
from node.results.heat import hottest_slices, map_words
from node.results.planes import add_lossy, source_image
from node.results.request import EncodeRequest, Finding
from node.results.source import add_anatomy, add_side, copy_request_attributes, new_object

#: Pictures of one run at most: beyond it nobody turns pages.
MAX_PICTURES = 24


@dataclass(frozen=True, kw_only=True)
class _Page:
    """One picture: a slice of an input with its findings, and a map over it if there is one."""

    role: str
    slice_index: int
    heat: Map | None = None


def captures(request: EncodeRequest) -> Iterator[tuple[str, Dataset]]:
    """Yield (input role, data set) of each image with pictures; all are of one series.

    One picture an image, or all of an input as frames of one, as the profile says. Modality is
    OT, not the source's: a picture is no measurement, and hanging protocols that look for the CT
    must not find it.
    """
    chosen = _chosen(request)
    if request.profile.pictures == "frames":
        roles = dict.fromkeys(page.role for page in chosen)
        parts = [[page for page in chosen if page.role == role] for role in roles]
    else:
        parts = [[page] for page in chosen]
    for number, pages in enumerate(parts, start=1):
        yield pages[0].role, _capture(request, pages, number)


def _chosen(request: EncodeRequest) -> list[_Page]:
    """Return the pictures in order: of each slice the findings, then the maps over them."""
    heat = [
        _Page(role=one.role, slice_index=index, heat=one) for one, index in hottest_slices(request)
    ]
    outlined = _outlined(request, MAX_PICTURES - len(heat))
    # Sorting keeps the order of those on one slice.
    plain = [_Page(role=role, slice_index=index) for role, index in outlined]
    roles = list(request.stacks)
    return sorted([*plain, *heat], key=lambda page: (roles.index(page.role), page.slice_index))


def _outlined(request: EncodeRequest, room: int) -> set[tuple[str, int]]:
    """Return (input role, slice) of pictures of findings: each one's largest, and what fits.

    Where there are too many, slices are left out evenly.
    """
    largest = dict.fromkeys((f.segment.role, f.largest) for f in request.findings)
    first = list(largest)[:room]
    further = [place for place in _covered(request) if place not in largest]
    room -= len(first)
    if len(further) > room:
        further = [further[int(i)] for i in np.linspace(0, len(further) - 1, room)] if room else []
    return {*first, *further}


def _covered(request: EncodeRequest) -> list[tuple[str, int]]:
    places = {
        (finding.segment.role, index)
        for finding in request.findings
        for index in range(finding.first, finding.last + 1)
        if finding.segment.mask[index].any()
    }
    return sorted(places)


def _capture(request: EncodeRequest, pages: Sequence[_Page], number: int) -> Dataset:
    """Return one image with pictures of one input (PS3.3 A.8.1, A.8.5), uncompressed colour."""
    role = pages[0].role
    stack, source = request.stacks[role], request.headers[role][0]
    shown = [[f for f in request.findings if _shown(f, page)] for page in pages]
    ds = new_object(request, role=f"sc{number}", modality="OT")
    del ds.ContentQualification  # not in these IODs; the picture and the description say it (S4)
    frames = request.profile.pictures == "frames"
    ds.SOPClassUID = (
        MultiFrameTrueColorSecondaryCaptureImageStorage if frames else SecondaryCaptureImageStorage
    )
    ds.SeriesInstanceUID = request.uid("series", "sc")
    ds.InstanceNumber = number
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.SeriesDescriptionCodeSequence = [code_item(PICTURE)]
    copy_request_attributes(source, ds)
    add_anatomy(ds, source, [f.spec.region for findings in shown for f in findings])
    add_side(ds, source)
    add_lossy(ds, stack, source)
    directions = stack.frames[0].image_orientation_patient
    assert directions is not None  # the geometry gate refused such frames
    ds.PatientOrientation = [sides(directions[:3])[1], sides(directions[3:])[1]]
    ds.DerivationDescription = short(_burned_in(request, pages), 1024)
    # In the order of the frames.
    ds.SourceImageSequence = [
        source_image(stack.frames[page.slice_index], same_place=False) for page in pages
    ]
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    _add_pixels(
        ds,
        [_drawn(request, page, findings) for page, findings in zip(pages, shown, strict=True)],
    )
    if frames:
        _add_pages(ds, len(pages))
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _burned_in(request: EncodeRequest, pages: Sequence[_Page]) -> str:
    heat = {page.heat.name: page.heat for page in pages if page.heat is not None}
    maps = "; ".join(map_words(request, one) for one in heat.values())
    colour = f", and in colour {maps}," if maps else ""
    return f"Outlines and values{colour} burned in by {request.manifest.name_version}"


def _shown(finding: Finding, page: _Page) -> bool:
    return (
        finding.segment.role == page.role
        and finding.first <= page.slice_index <= finding.last
        and bool(finding.segment.mask[page.slice_index].any())
    )


def _drawn(request: EncodeRequest, page: _Page, findings: Sequence[Finding]) -> NDArray[np.uint8]:
    volume = request.volumes[page.role]
    return np.asarray(
        page_of_slice(
            request, page.role, page.slice_index, findings=findings, volume=volume, heat=page.heat
        )
    )


def _add_pixels(ds: Dataset, pages: Sequence[NDArray[np.uint8]]) -> None:
    """Write RGB pictures (rows, columns, 3) of equal width, the shorter ones on black."""
    ds.Rows, ds.Columns = max(len(page) for page in pages), pages[0].shape[1]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    below = [np.zeros((ds.Rows - len(page), ds.Columns, 3), np.uint8) for page in pages]
    parts = [part for pair in zip(pages, below, strict=True) for part in pair]
    content = b"".join(part.tobytes() for part in parts)
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB"


def _add_pages(ds: Dataset, count: int) -> None:
    """Say that the frames are pages, not moments in time (PS3.3 C.7.6.6, C.8.6.4)."""
    ds.NumberOfFrames = count
    ds.FrameIncrementPointer = tag_for_keyword("PageNumberVector")
    ds.PageNumberVector = list(range(1, count + 1))
