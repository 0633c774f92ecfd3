"""Secondary Capture images with findings burned in, for viewers that show no SEG (S27)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from node.dicom.codes import PICTURE, code_item
from node.results.coding import add_coding_schemes, short
from node.results.drawing import page_of_slice, sides
from node.results.planes import add_lossy, source_image
from node.results.request import EncodeRequest, Finding
from node.results.source import add_anatomy, add_side, copy_request_attributes, new_object

#: Pictures of one run at most: beyond it nobody turns pages.
MAX_PICTURES = 24


def captures(request: EncodeRequest) -> Iterator[tuple[str, Dataset]]:
    """Yield (input role, data set) of each image with pictures; all are of one series.

    One picture an image, or all of an input as frames of one, as the profile says. Modality is
    OT, not the source's: a picture is no measurement, and hanging protocols that look for the CT
    must not find it.
    """
    chosen = _chosen(request)
    if request.profile.pictures == "frames":
        roles = dict.fromkeys(role for role, _ in chosen)
        parts = [(role, [index for other, index in chosen if other == role]) for role in roles]
    else:
        parts = [(role, [index]) for role, index in chosen]
    for number, (role, slices) in enumerate(parts, start=1):
        yield role, _capture(request, role, slices, number)


def _chosen(request: EncodeRequest) -> list[tuple[str, int]]:
    """Return (input role, slice) in order: each finding's largest slice, and what fits.

    Where there are too many, slices are left out evenly.
    """
    largest = dict.fromkeys((f.segment.role, f.largest) for f in request.findings)
    first = list(largest)[:MAX_PICTURES]
    further = [place for place in _covered(request) if place not in largest]
    room = MAX_PICTURES - len(first)
    if len(further) > room:
        further = [further[int(i)] for i in np.linspace(0, len(further) - 1, room)] if room else []
    roles = list(request.stacks)
    return sorted({*first, *further}, key=lambda place: (roles.index(place[0]), place[1]))


def _covered(request: EncodeRequest) -> list[tuple[str, int]]:
    places = {
        (finding.segment.role, index)
        for finding in request.findings
        for index in range(finding.first, finding.last + 1)
        if finding.segment.mask[index].any()
    }
    return sorted(places)


def _capture(request: EncodeRequest, role: str, slices: Sequence[int], number: int) -> Dataset:
    """Return one image with a picture of each slice (PS3.3 A.8.1, A.8.5), uncompressed colour."""
    stack, source = request.stacks[role], request.headers[role][0]
    on_slices = [[f for f in request.findings if _shown(f, role, one)] for one in slices]
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
    add_anatomy(ds, source, [f.spec.region for shown in on_slices for f in shown])
    add_side(ds, source)
    add_lossy(ds, stack, source)
    directions = stack.frames[0].image_orientation_patient
    assert directions is not None  # the geometry gate refused such frames
    ds.PatientOrientation = [sides(directions[:3])[1], sides(directions[3:])[1]]
    ds.DerivationDescription = short(
        f"Outlines and values burned in by {request.manifest.name_version}", 1024
    )
    # In the order of the frames.
    ds.SourceImageSequence = [source_image(stack.frames[i], same_place=False) for i in slices]
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    pages = [
        np.asarray(page_of_slice(request, shown, request.volumes[role], index))
        for index, shown in zip(slices, on_slices, strict=True)
    ]
    _add_pixels(ds, pages)
    if frames:
        _add_pages(ds, len(pages))
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _shown(finding: Finding, role: str, slice_index: int) -> bool:
    return (
        finding.segment.role == role
        and finding.first <= slice_index <= finding.last
        and bool(finding.segment.mask[slice_index].any())
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
